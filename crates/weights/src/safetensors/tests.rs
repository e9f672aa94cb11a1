//! Round trips, hostile headers, folders with shards, and path tricks.

use super::{HfFolder, from_bytes, write_safetensors, write_safetensors_typed};
use crate::{Bytes, Checkpoint, DType, SafetensorsError, Tensor, WeightsError};
use bolero::check;
use std::path::Path;
use tempfile::TempDir;

fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn read(header: &str, data: usize) -> Result<Vec<Tensor>, String> {
    from_bytes(&Bytes::from_vec(file(header, data))).map_err(|e| e.to_string())
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn put(dir: &TempDir, name: &str, text: &str) {
    std::fs::write(dir.path().join(name), text).expect("written");
}

fn shard(dir: &Path, name: &str, tensors: &[(&str, f32)]) {
    let tensors = tensors.iter().map(|&(tensor, value)| (tensor, [2], [value; 2]));
    write_safetensors(&dir.join(name), tensors).expect("written");
}

#[test]
fn what_is_written_is_read() {
    let dir = folder();
    let path = dir.path().join("model.safetensors");
    let values: Vec<f32> = (0..6).map(|i| i as f32 * 0.5).collect();
    let tensors = [("w", DType::F32), ("h", DType::F16), ("b", DType::BF16)];
    let shape = [2usize, 3];
    write_safetensors_typed(&path, tensors.map(|(n, t)| (n, t, shape, &values))).expect("written");
    let checkpoint = Checkpoint::open(&path).expect("opens");
    assert_eq!(checkpoint.tensors().len(), 3);
    for (name, dtype) in tensors {
        let tensor = checkpoint.tensor(name).expect("there");
        assert_eq!((tensor.dtype, tensor.shape.as_slice()), (dtype, [2, 3].as_slice()));
        assert_eq!(tensor.to_f32().as_ref(), Ok(&values));
    }
    assert_eq!(checkpoint.file_bytes(), std::fs::metadata(&path).expect("there").len());
}

#[test]
fn odd_but_valid_files_open() {
    assert_eq!(read("{}", 0).map(|t| t.len()), Ok(0));
    let scalar = r#"{"__metadata__":{"format":"pt"},"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}   "#;
    assert_eq!(read(scalar, 4).expect("valid")[0].to_f32(), Ok(vec![0.0]));
    let empty = r#"{"e":{"dtype":"F32","shape":[0,3],"data_offsets":[0,0]}}"#;
    assert_eq!(read(empty, 0).expect("valid")[0].to_f32(), Ok(vec![]));
}

#[test]
fn other_types_are_listed_and_refused_by_name() {
    let header = r#"{"ids":{"dtype":"I64","shape":[2],"data_offsets":[0,16]},"w":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[16,20]}}"#;
    let tensors = read(header, 20).expect("opens");
    let refused = tensors[1].check_supported().expect_err("not decoded").to_string();
    assert_eq!(refused, "tensor w: type F8_E4M3 is known but not supported");
    let unknown = r#"{"w":{"dtype":"F7","shape":[4],"data_offsets":[0,4]}}"#;
    assert_eq!(read(unknown, 4).expect_err("refused"), "tensor w: unknown type \"F7\"");
}

#[test]
fn headers_are_checked() {
    let one = |shape: &str, offsets: &str, data: usize| {
        read(
            &format!(r#"{{"t":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#),
            data,
        )
        .expect_err("refused")
    };
    assert!(one("[2]", "[0,8]", 4).contains("cut short"));
    assert!(one("[2]", "[0,8]", 9).contains("1 bytes after the last tensor"));
    assert!(one("[3]", "[0,8]", 8).contains("does not take the 8 bytes"));
    assert!(one("[2]", "[4,12]", 12).contains("begin at 0, found 4 to 12"));
    assert!(one("[2]", "[8,0]", 8).contains("begin at 0"));
    assert!(one("[4294967296,4294967296,4294967296]", "[0,8]", 8).contains("overflows"));
    assert!(one("[18446744073709551615]", "[0,8]", 8).contains("does not take"));
    assert!(one("[-1]", "[0,8]", 8).contains("header"));
    assert!(one("[1.5]", "[0,8]", 8).contains("header"));
    assert!(one("[1,1,1,1,1,1,1,1,2]", "[0,8]", 8).contains("at most 8 dimensions"));
    assert!(one("[2]", "[0,8,9]", 8).contains("header"));
    let twice = r#"{"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"t":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
    assert!(read(twice, 8).expect_err("refused").contains("tensor t appears twice"));
    let overlap = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    assert!(read(overlap, 4).expect_err("refused").contains("begin at 4"));
    let deep = format!(r#"{{"t":{}"#, "[".repeat(100_000));
    assert!(read(&deep, 0).expect_err("refused").contains("header"));
    assert!(read("[]", 0).is_err() && read("", 0).is_err() && read("{", 0).is_err());
    let strided = r#"{"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"strides":[2]}}"#;
    assert!(read(strided, 4).expect_err("refused").contains("strides"));
}

#[test]
fn lengths_are_not_believed() {
    let long = from_bytes(&Bytes::from_vec(u64::MAX.to_le_bytes().to_vec()));
    assert!(matches!(long, Err(SafetensorsError::HeaderTooLong { found: u64::MAX, .. })));
    let beyond = from_bytes(&Bytes::from_vec(1000u64.to_le_bytes().to_vec()));
    assert!(matches!(beyond, Err(SafetensorsError::CutShort { expected: 1000, found: 0, .. })));
    let dir = folder();
    let path = dir.path().join("t.safetensors");
    shard(dir.path(), "t.safetensors", &[("a", 1.0), ("b", 2.0)]);
    let whole = std::fs::read(&path).expect("read");
    for len in 0..whole.len() {
        assert!(from_bytes(&Bytes::from_vec(whole[..len].to_vec())).is_err(), "{len} bytes");
    }
}

#[test]
fn a_folder_of_shards_opens_as_one() {
    let dir = folder();
    shard(dir.path(), "model-00001-of-00002.safetensors", &[("a", 1.0)]);
    shard(dir.path(), "model-00002-of-00002.safetensors", &[("b", 2.0)]);
    put(
        &dir,
        "model.safetensors.index.json",
        r#"{"metadata":{"total_size":16},"weight_map":
        {"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}"#,
    );
    put(&dir, "config.json", r#"{"z": 1, "model_type":"llama"}"#);
    put(&dir, "generation_config.json", r#"{"eos_token_id": 2}"#);
    put(&dir, "tokenizer.json", "{}");
    let Ok(Checkpoint::Folder(f)) = Checkpoint::open(dir.path()) else { panic!("a folder") };
    assert_eq!(f.tensors().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(f.tensor("b").and_then(|t| t.to_f32().ok()), Some(vec![2.0; 2]));
    assert_eq!(f.config()["model_type"], "llama");
    assert_eq!(f.generation_config().map(|g| g["eos_token_id"] == 2), Some(true));
    assert!(f.tokenizer_json_path().is_some() && f.chat_template_path().is_none());
    assert_eq!(f.files().len(), 2);
    let text = f.need("chat_template.jinja").expect_err("missing").to_string();
    assert!(text.ends_with("chat_template.jinja is missing"), "{text}");
}

#[test]
fn folders_with_parts_open_for_readers_of_parts() {
    let dir = folder();
    let nothing = Checkpoint::open(dir.path()).map(|_| ()).expect_err("empty").to_string();
    assert!(nothing.contains("neither config.json nor weights"), "{nothing}");
    std::fs::write(dir.path().join("q.gguf"), b"").expect("written");
    let text = Checkpoint::open(dir.path()).map(|_| ()).expect_err("no folder of HF").to_string();
    assert!(text.contains("such as q.gguf"), "{text}");
    put(&dir, "chat_template.jinja", "{{ messages }}");
    let Ok(Checkpoint::Folder(f)) = Checkpoint::open(dir.path()) else { panic!("a folder") };
    assert!(f.config().is_null() && f.tensors().len() == 0);
    put(&dir, "model.safetensors.index.json", r#"{"weight_map":{"a":"gone.safetensors"}}"#);
    let text = HfFolder::open(dir.path()).map(|_| ()).expect_err("missing").to_string();
    assert!(text.ends_with("gone.safetensors is missing"), "{text}");
    HfFolder::open_without_weights(dir.path()).expect("opens for its template");
}

#[test]
fn an_index_must_agree_with_its_shards() {
    let dir = folder();
    shard(dir.path(), "1.safetensors", &[("a", 1.0), ("b", 1.0)]);
    shard(dir.path(), "2.safetensors", &[("b", 2.0), ("c", 2.0)]);
    let open = |map: &str| {
        put(&dir, "model.safetensors.index.json", &format!(r#"{{"weight_map":{map}}}"#));
        HfFolder::open(dir.path()).map_err(|e| e.to_string())
    };
    let f = open(r#"{"a":"1.safetensors","b":"2.safetensors"}"#).expect("the index decides");
    assert_eq!(f.tensor("b").and_then(|t| t.to_f32().ok()), Some(vec![2.0; 2]));
    assert!(f.tensor("c").is_some(), "what a shard holds beside the index is there too");
    let absent = open(r#"{"a":"1.safetensors","x":"1.safetensors"}"#).expect_err("refused");
    assert!(absent.contains("tensor x") && absent.contains("does not hold it"), "{absent}");
    let unclear = open(r#"{"a":"1.safetensors","c":"2.safetensors"}"#).expect_err("refused");
    assert!(unclear.contains("tensor b: it is in two files"), "{unclear}");
    assert!(open("[]").expect_err("refused").contains("an object of tensor names"));
    assert!(open(r#"{"a":1}"#).expect_err("refused").contains("expected a string"));
    let many: Vec<_> = (0..5000).map(|i| format!(r#""{i}":"{i}.safetensors""#)).collect();
    let text = open(&format!("{{{}}}", many.join(","))).expect_err("refused");
    assert!(text.contains("more than 4096 shards"), "{text}");
}

#[test]
fn an_index_names_files_of_its_folder_only() {
    let outside = folder();
    shard(outside.path(), "w.safetensors", &[("a", 1.0)]);
    let dir = folder();
    let open = |name: &str| {
        let index = serde_json::json!({ "weight_map": { "a": name } });
        put(&dir, "model.safetensors.index.json", &index.to_string());
        HfFolder::open(dir.path()).map(|_| ()).map_err(|e| e.to_string())
    };
    let absolute = outside.path().join("w.safetensors");
    let absolute = absolute.to_str().expect("UTF-8");
    for name in [
        "../w.safetensors",
        absolute,
        "a/../w.safetensors",
        "..\\w.safetensors",
        "",
        "..",
        "C:w.safetensors",
        ".w.safetensors",
        "w\0.safetensors",
    ] {
        assert!(open(name).expect_err("refused").contains("plain name"), "{name:?}");
    }
    assert!(open("config.json").expect_err("refused").contains("ends in .safetensors"));
}

#[test]
#[cfg(unix)]
fn links_lead_into_caches_and_nowhere_else() {
    use std::os::unix::fs::symlink;
    let cache = folder();
    let snapshot = cache.path().join("snapshots/main");
    std::fs::create_dir_all(&snapshot).expect("made");
    std::fs::create_dir(cache.path().join("blobs")).expect("made");
    shard(&cache.path().join("blobs"), "0123", &[("a", 3.0)]);
    symlink("../../blobs/0123", snapshot.join("w.safetensors")).expect("linked");
    let index = r#"{"weight_map":{"a":"w.safetensors"}}"#;
    std::fs::write(snapshot.join("model.safetensors.index.json"), index).expect("written");
    let f = HfFolder::open(&snapshot).expect("the way a hub cache lays it out");
    assert_eq!(f.tensor("a").and_then(|t| t.to_f32().ok()), Some(vec![3.0; 2]));

    shard(cache.path(), "elsewhere.safetensors", &[("a", 4.0)]);
    std::fs::remove_file(snapshot.join("w.safetensors")).expect("removed");
    symlink("../../elsewhere.safetensors", snapshot.join("w.safetensors")).expect("linked");
    let text = HfFolder::open(&snapshot).map(|_| ()).expect_err("refused").to_string();
    assert!(text.contains("outside this folder"), "{text}");
}

#[test]
fn configurations_are_bounded_json() {
    let dir = folder();
    put(&dir, "config.json", &"[".repeat(1_000_000));
    let text = HfFolder::open(dir.path()).map(|_| ()).expect_err("refused").to_string();
    assert!(text.contains("config.json") && text.contains("recursion"), "{text}");
    put(&dir, "config.json", &" ".repeat((4 << 20) + 1));
    let text = HfFolder::open(dir.path()).map(|_| ()).expect_err("refused").to_string();
    assert!(text.contains("at most 4194304"), "{text}");
}

#[test]
fn what_is_no_model_is_named() {
    let dir = folder();
    let open = |content: &[u8]| {
        let path = dir.path().join("file");
        std::fs::write(&path, content).expect("written");
        Checkpoint::open(&path).map(|_| ()).expect_err("refused").to_string()
    };
    assert!(open(b"").contains("an empty file"));
    assert!(open(b"version https://git-lfs.github.com/spec/v1\n").contains("Git LFS pointer"));
    assert!(open(b"PK\x03\x04aaaaaaaaaaaa").contains("zip archive"));
    assert!(open(b"tjggaaaaaaaaaaaaa").contains("formats before GGUF"));
    assert!(open(b"hello").contains("begins with the bytes [68, 65, 6c, 6c, 6f]"));
    let gone = Checkpoint::open(&dir.path().join("gone"));
    assert!(matches!(gone, Err(WeightsError::Io { .. })));
}

#[test]
fn the_writer_refuses_what_the_reader_would() {
    let dir = folder();
    let path = dir.path().join("t.safetensors");
    let unfilled = write_safetensors(&path, [("t", [3], [1.0; 2])]).expect_err("refused");
    assert!(unfilled.to_string().contains("2 values do not fill [3]"), "{unfilled}");
    let twice = write_safetensors(&path, [("t", [1], [1.0]), ("t", [1], [2.0])]);
    assert!(twice.expect_err("refused").to_string().contains("taken"));
    let typed = write_safetensors_typed(&path, [("t", DType::Q8_0, [32], [0.0; 32])]);
    assert!(typed.expect_err("refused").to_string().contains("no type Q8_0"));
    assert!(!path.exists());
    let none: [(&str, [usize; 0], [f32; 0]); 0] = [];
    write_safetensors(&path, none).expect("a file of nothing is valid");
    assert_eq!(Checkpoint::open(&path).expect("opens").tensors().len(), 0);
}

#[test]
fn fuzz_headers() {
    let valid = r#"{"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[4],"data_offsets":[8,16]}}"#;
    let changes = bolero::generator::produce::<Vec<(u16, u8)>>().with().len(0usize..4);
    check!().with_iterations(20_000).with_generator(changes).for_each(|changes| {
        let mut bytes = file(valid, 16);
        for &(at, byte) in changes {
            let at = usize::from(at) % bytes.len();
            bytes[at] = byte;
        }
        if let Ok(tensors) = from_bytes(&Bytes::from_vec(bytes)) {
            assert!(tensors.iter().map(|t| t.data.len()).sum::<usize>() <= 16);
        }
    });
}

#[test]
fn fuzz_indices() {
    let dir = folder();
    shard(dir.path(), "w.safetensors", &[("a", 1.0)]);
    let valid = br#"{"weight_map":{"a":"w.safetensors"}}"#;
    let changes = bolero::generator::produce::<Vec<(u16, u8)>>().with().len(0usize..4);
    check!().with_iterations(500).with_generator(changes).for_each(|changes| {
        let mut bytes = valid.to_vec();
        for &(at, byte) in changes {
            let at = usize::from(at) % bytes.len();
            bytes[at] = byte;
        }
        let path = dir.path().join("model.safetensors.index.json");
        std::fs::write(path, bytes).expect("written");
        if let Ok(f) = HfFolder::open(dir.path()) {
            assert!(f.files().iter().all(|p| p.parent() == Some(dir.path())));
        }
    });
}
