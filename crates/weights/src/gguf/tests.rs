//! Round trips, hostile headers, truncation at every byte, split files and real vocabularies.

use super::{Array, Gguf, GgufErrorKind as Kind, GgufWriter, Metadata, Strings, Value};
use crate::{Bytes, Checkpoint, DType, MetadataError, WeightsError};
use bolero::check;
use std::path::{Path, PathBuf};

/// A header put together field by field, so that any field can lie.
#[derive(Clone)]
struct Raw(Vec<u8>);

impl Raw {
    fn new(tensors: u64, entries: u64) -> Raw {
        let mut raw = Raw(b"GGUF".to_vec());
        raw.u32(3).u64(tensors).u64(entries);
        raw
    }

    fn u32(&mut self, v: u32) -> &mut Raw {
        self.0.extend(v.to_le_bytes());
        self
    }

    fn u64(&mut self, v: u64) -> &mut Raw {
        self.0.extend(v.to_le_bytes());
        self
    }

    fn string(&mut self, v: impl AsRef<[u8]>) -> &mut Raw {
        self.u64(v.as_ref().len() as u64).0.extend(v.as_ref());
        self
    }

    fn tensor(&mut self, name: &str, sizes: &[u64], dtype: u32, offset: u64) -> &mut Raw {
        self.string(name).u32(sizes.len() as u32);
        for &size in sizes {
            self.u64(size);
        }
        self.u32(dtype).u64(offset)
    }

    /// Pads to the data section and adds `bytes` of data.
    fn data(&mut self, bytes: usize) -> &mut Raw {
        let start = self.0.len().next_multiple_of(32);
        self.0.resize(start + bytes, 0);
        self
    }

    fn read(&self) -> Result<Gguf, crate::GgufError> {
        Gguf::from_bytes(Bytes::from_vec(self.0.clone()))
    }

    fn refusal(&self) -> String {
        self.read().expect_err("refused").to_string()
    }
}

fn write(writer: GgufWriter<'_>) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("model.gguf");
    writer.write(&path).expect("written");
    std::fs::read(&path).expect("read")
}

/// Two tensors and one value of every kind.
fn sample() -> GgufWriter<'static> {
    let mut file = GgufWriter::new();
    file.set("general.architecture", "llama")
        .set("a.u8", 200u8)
        .set("a.i8", -3i8)
        .set("a.u16", 60_000u16)
        .set("a.i16", -300i16)
        .set("a.u32", 4_000_000_000u32)
        .set("a.i32", -70_000i32)
        .set("a.u64", u64::MAX)
        .set("a.i64", i64::MIN)
        .set("a.f32", 1e-5f32)
        .set("a.f64", 1e300f64)
        .set("a.bool", true)
        .set("a.numbers", vec![1i32, -2, 3])
        .set("a.floats", vec![0.5f32, -0.25])
        .set("a.bools", [true, false].as_slice())
        .set("a.strings", ["one", "", "drei"].as_slice());
    let bytes: Strings = [b"\xff\xfe".as_slice(), b"ok"].into_iter().collect();
    file.set("a.pieces", bytes);
    let nested = ["x", "y"].map(|s| Array::Strings([s].into_iter().collect()));
    file.set("a.nested", Value::Array(Array::Arrays(nested.to_vec())));
    file.tensor_f32("floats", DType::F32, &[2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    file.tensor_f32("blocks", DType::Q8_0, &[2, 32], vec![0.5; 64]);
    file
}

#[test]
fn what_is_written_is_read() {
    let gguf = Gguf::from_bytes(Bytes::from_vec(write(sample()))).expect("valid");
    let m = gguf.metadata();
    assert_eq!((gguf.version(), gguf.alignment(), m.len()), (3, 32, 18));
    assert_eq!(m.iter().next().map(|(key, _)| key), Some("general.architecture"));
    assert_eq!(m.str("general.architecture"), Ok(Some("llama")));
    assert_eq!((m.u64("a.u8"), m.i64("a.i8")), (Ok(Some(200)), Ok(Some(-3))));
    assert_eq!((m.u64("a.u16"), m.i64("a.i16")), (Ok(Some(60_000)), Ok(Some(-300))));
    assert_eq!((m.u64("a.u32"), m.i64("a.i32")), (Ok(Some(4_000_000_000)), Ok(Some(-70_000))));
    assert_eq!((m.u64("a.u64"), m.i64("a.i64")), (Ok(Some(u64::MAX)), Ok(Some(i64::MIN))));
    assert_eq!((m.f32("a.f32"), m.f32("a.f64")), (Ok(Some(1e-5)), Ok(Some(f32::INFINITY))));
    assert_eq!(m.bool("a.bool"), Ok(Some(true)));
    assert_eq!(m.i64s("a.numbers"), Ok(Some(vec![1, -2, 3])));
    assert_eq!(m.f32s("a.floats"), Ok(Some(vec![0.5, -0.25])));
    assert_eq!(m.bools("a.bools"), Ok(Some(vec![true, false])));
    let strings = m.need("a.strings", Metadata::strings).expect("there");
    let texts: Vec<_> = strings.strs().map(|s| s.expect("UTF-8")).collect();
    assert_eq!(texts, ["one", "", "drei"]);
    assert_eq!((strings.get(2), strings.get(3)), (Some(b"drei".as_slice()), None));
    let pieces = m.need("a.pieces", Metadata::strings).expect("there");
    assert_eq!(pieces.get(0), Some(b"\xff\xfe".as_slice()), "bytes are kept as they are");
    assert!(pieces.strs().next().is_some_and(|s| s.is_err()));
    assert!(matches!(m.get("a.nested"), Some(Value::Array(Array::Arrays(a))) if a.len() == 2));

    let floats = gguf.tensor("floats").expect("there");
    assert_eq!((floats.shape.as_slice(), floats.dtype), ([2, 3].as_slice(), DType::F32));
    assert_eq!(floats.to_f32(), Ok(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    let blocks = gguf.tensor("blocks").expect("there");
    assert!(blocks.to_f32().expect("decodes").iter().all(|v| (v - 0.5).abs() < 1e-3));
    assert_eq!(gguf.tensors().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["floats", "blocks"]);
    assert!(gguf.tensor("none").is_none());

    let mut again = GgufWriter::new();
    again.set_all(m);
    for t in gguf.tensors() {
        again.tensor_bytes(&t.name, t.dtype, &t.shape, t.data.clone());
    }
    assert!(write(again) == write(sample()), "writing what was read gives the same bytes");
}

#[test]
fn getters_tell_missing_from_wrong() {
    let gguf = Gguf::from_bytes(Bytes::from_vec(write(sample()))).expect("valid");
    let m = gguf.metadata();
    assert_eq!(m.u64("none"), Ok(None));
    assert_eq!(m.need("none", Metadata::u64), Err(MetadataError::Missing("none".into())));
    let wrong = m.u64("a.i8").expect_err("negative").to_string();
    assert_eq!(wrong, "metadata key a.i8: expected an integer that is not negative, found i8 -3");
    let wrong = m.str("a.numbers").expect_err("not a string").to_string();
    assert_eq!(wrong, "metadata key a.numbers: expected string, found array of 3 i32");
    assert!(m.u64s("a.numbers").is_err(), "one is negative");
    assert!(m.f32("a.u8").is_err());
    assert!(m.strings("a.floats").is_err());
}

/// Every prefix of a file is refused, and no prefix is a panic.
#[test]
fn truncation_at_every_byte_is_refused() {
    let file = write(sample());
    for len in 0..file.len() {
        let refused = Gguf::from_bytes(Bytes::from_vec(file[..len].to_vec()));
        assert!(refused.is_err(), "{len} of {} bytes", file.len());
    }
}

#[test]
fn a_file_of_metadata_alone_opens() {
    let mut raw = Raw::new(0, 1);
    raw.string("k").u32(0).0.push(7);
    let gguf = raw.read().expect("valid, though it ends before the data section would begin");
    assert_eq!((gguf.tensors().len(), gguf.metadata().u64("k")), (0, Ok(Some(7))));
}

#[test]
fn magic_version_and_byte_order() {
    let start = |magic: &[u8], version: u32| {
        let mut raw = Raw(magic.to_vec());
        raw.u32(version).u64(0).u64(0);
        raw.read().map(|g| g.version()).map_err(|e| e.to_string())
    };
    assert_eq!(start(b"GGUF", 2), Ok(2));
    assert_eq!(start(b"GGUF", 3), Ok(3));
    assert!(start(b"GGML", 3).expect_err("refused").contains("expected the magic bytes GGUF"));
    assert!(start(b"GGUF", 1).expect_err("refused").contains("expected version 2 or 3, found 1"));
    assert!(start(b"GGUF", 4).expect_err("refused").contains("found 4"));
    assert!(start(b"GGUF", 3 << 24).expect_err("refused").contains("big-endian"));
}

#[test]
fn counts_are_not_believed() {
    assert!(Raw::new(u64::MAX, 0).refusal().contains("the tensor count"));
    assert!(Raw::new(0, u64::MAX).refusal().contains("the metadata count"));
    let huge_array = |element: u32| {
        let mut raw = Raw::new(0, 1);
        raw.string("k").u32(9).u32(element).u64(u64::MAX / 2).u64(0);
        raw.refusal()
    };
    for element in 0..=12 {
        assert!(huge_array(element).contains("the length of an array"), "type {element}");
    }
    let mut raw = Raw::new(0, 1);
    raw.string("k").u32(8).u64(u64::MAX);
    assert!(raw.refusal().contains("cut short"));
    let mut raw = Raw::new(0, 1);
    raw.u64(70_000).u64(0).u64(0);
    assert!(raw.refusal().contains("the length of a name is 70000"));
}

#[test]
fn nested_arrays_have_a_limit() {
    let nested = |depth: u32| {
        let mut raw = Raw::new(0, 1);
        raw.string("k").u32(9);
        for _ in 1..depth {
            raw.u32(9).u64(1);
        }
        raw.u32(0).u64(0);
        raw.read().map(|_| ())
    };
    assert!(nested(4).is_ok());
    let refused = nested(100_000).expect_err("too deep");
    assert!(matches!(refused.kind, Kind::TooMany { what: "the depth of nested arrays", .. }));
}

#[test]
fn keys_and_values_are_checked() {
    let entry = |key: &[u8], value_type: u32, value: &[u8]| {
        let mut raw = Raw::new(0, 1);
        raw.string(key).u32(value_type).0.extend(value);
        raw.read().map(|_| ()).map_err(|e| e.to_string())
    };
    assert!(entry(b"", 0, &[1; 8]).expect_err("refused").contains("empty"));
    assert!(entry(b"\xff", 0, &[1; 8]).expect_err("refused").contains("UTF-8"));
    assert!(entry(b"k", 13, &[1; 8]).expect_err("refused").contains("unknown value type 13"));
    assert!(entry(b"k", 7, &[2]).expect_err("refused").contains("expected 0 or 1"));
    let bools = [7, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 9];
    assert!(entry(b"k", 9, &bools).expect_err("refused").contains("found 9"));
    assert!(entry(b"k", 8, b"\x02\0\0\0\0\0\0\0\xff\xff").is_ok(), "values keep raw bytes");

    let mut twice = Raw::new(0, 2);
    twice.string("k").u32(0).0.push(1);
    twice.string("k").u32(0).0.push(2);
    assert!(twice.refusal().contains("key k appears twice"));
}

#[test]
fn alignment_is_a_power_of_two() {
    let aligned = |value: u32| {
        let mut raw = Raw::new(0, 1);
        raw.string("general.alignment").u32(4).u32(value);
        raw.read().map(|g| g.alignment()).map_err(|e| e.to_string())
    };
    assert_eq!((aligned(1), aligned(64), aligned(1 << 31)), (Ok(1), Ok(64), Ok(1 << 31)));
    assert!(aligned(0).expect_err("refused").contains("expected a power of two"));
    assert!(aligned(48).expect_err("refused").contains("found 48"));
    let mut raw = Raw::new(0, 1);
    raw.string("general.alignment").u32(8).string("32");
    assert!(raw.refusal().contains("found another type"));
}

#[test]
fn tensor_entries_are_checked() {
    let refusal = |sizes: &[u64], dtype: u32, offset: u64| {
        let mut raw = Raw::new(1, 0);
        raw.tensor("t", sizes, dtype, offset).data(64).refusal()
    };
    for sizes in [&[][..], &[0], &[4, 0], &[1, 1, 1, 1, 1], &[u64::MAX, 2], &[1 << 62]] {
        let text = refusal(sizes, 0, 0);
        assert!(text.contains("expected 1 to 4 dimensions") && text.contains("tensor t"), "{text}");
    }
    assert!(refusal(&[33], 2, 0).contains("Q4_0 has blocks of 32"));
    assert!(refusal(&[4], 43, 0).contains("unknown tensor type number 43"));
    assert!(refusal(&[4], 0, 16).contains("multiple of 32"));
    assert!(refusal(&[17], 0, 0).contains("end beyond the file"));
    assert!(refusal(&[1], 0, 64).contains("end beyond the file"));
    assert!(refusal(&[1], 0, u64::MAX - 31).contains("end beyond the file"));
    assert!(Raw::new(1, 0).tensor("", &[1], 0, 0).data(64).refusal().contains("empty"));
    let whole = Raw::new(1, 0).tensor("t", &[16], 0, 0).data(64).read();
    assert_eq!(whole.expect("valid").tensor("t").map(|t| t.data.len()), Some(64));
}

#[test]
fn tensors_may_not_share_bytes_or_names() {
    let pair = |a: (&str, u64), b: (&str, u64)| {
        let mut raw = Raw::new(2, 0);
        raw.tensor(a.0, &[16], 0, a.1).tensor(b.0, &[16], 0, b.1).data(128);
        raw.read().map(|_| ()).map_err(|e| e.to_string())
    };
    assert_eq!(pair(("a", 64), ("b", 0)), Ok(()), "any order");
    assert!(pair(("a", 0), ("b", 32)).expect_err("refused").contains("overlap those of tensor b"));
    assert!(pair(("a", 64), ("b", 64)).expect_err("refused").contains("overlap"));
    assert!(pair(("a", 0), ("a", 64)).expect_err("refused").contains("tensor a appears twice"));
}

#[test]
fn known_types_that_do_not_decode_are_listed_and_refused_by_name() {
    // IQ2_XXS with its known size, and IQ4_K of another project between two tensors.
    let mut raw = Raw::new(3, 0);
    raw.tensor("a", &[256, 2], 16, 0).tensor("b", &[256], 139, 160).tensor("c", &[4], 0, 320);
    let gguf = raw.data(336).read().expect("opens");
    let a = gguf.tensor("a").expect("listed");
    assert_eq!((a.dtype.name(), a.data.len()), ("IQ2_XXS", 132));
    let refused = a.check_supported().expect_err("not decoded").to_string();
    assert_eq!(refused, "tensor a: type IQ2_XXS is known but not supported");
    let b = gguf.tensor("b").expect("listed");
    assert_eq!((b.dtype.name(), b.data.len()), ("IQ4_K", 160));
    assert!(b.to_f32().is_err() && b.dequantize_row(0, &mut [0.0; 256]).is_err());
    assert!(gguf.tensor("c").expect("listed").check_supported().is_ok());
}

/// Writes part `number` of `count` with one tensor named after it.
fn write_part(dir: &Path, number: u16, count: u16, tensors: i32, name: &str) -> PathBuf {
    let mut part = GgufWriter::new();
    part.set("split.no", number).set("split.count", count).set("split.tensors.count", tensors);
    if number == 0 {
        part.set("general.name", "first");
    }
    part.tensor_f32(name, DType::F32, &[4], vec![f32::from(number); 4]);
    let path = dir.join(format!("m-{:05}-of-{count:05}.gguf", number + 1));
    part.write(&path).expect("written");
    path
}

#[test]
fn any_part_opens_a_split_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let parts: Vec<_> = (0..3).map(|i| write_part(dir.path(), i, 3, 3, &format!("t{i}"))).collect();
    for path in &parts {
        let gguf = Gguf::open(path).expect("opens");
        assert_eq!(gguf.metadata().str("general.name"), Ok(Some("first")));
        assert_eq!(gguf.files(), parts);
        let values: Vec<_> = gguf.tensors().map(|t| t.to_f32().expect("floats")[0]).collect();
        assert_eq!(values, [0.0, 1.0, 2.0]);
    }
}

#[test]
fn parts_must_fit_together() {
    let dir = tempfile::tempdir().expect("a folder");
    let first = write_part(dir.path(), 0, 2, 2, "t0");
    let refusal = || Gguf::open(&first).map(|_| ()).expect_err("refused").to_string();
    assert!(refusal().contains("m-00002-of-00002.gguf"), "the missing part is named");
    let second = write_part(dir.path(), 1, 2, 2, "t0");
    assert!(refusal().contains("tensor t0 appears in two parts"));
    write_part(dir.path(), 1, 2, 2, "t1");
    Gguf::open(&first).expect("opens");
    write_part(dir.path(), 0, 2, 5, "t0");
    assert!(refusal().contains("expected 5 tensors in all parts, found 2"));
    std::fs::copy(&first, &second).expect("copied");
    assert!(refusal().contains("expected split.no 1 and split.count 2, found 0 and 2"));
    let renamed = dir.path().join("other.gguf");
    std::fs::copy(&first, &renamed).expect("copied");
    let text = Gguf::open(&renamed).map(|_| ()).expect_err("refused").to_string();
    assert!(text.contains("expected a name that ends in -00001-of-00002.gguf"), "{text}");
}

#[test]
fn the_writer_refuses_what_the_reader_would() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("m.gguf");
    let refusal =
        |build: &dyn for<'a> Fn(&'a mut GgufWriter<'static>) -> &'a mut GgufWriter<'static>| {
            let mut file = GgufWriter::new();
            build(&mut file);
            let text = file.write(&path).expect_err("refused").to_string();
            assert_eq!(
                std::fs::read_dir(dir.path()).expect("listed").count(),
                0,
                "nothing is left"
            );
            text
        };
    let shape = refusal(&|f| f.tensor_f32("t", DType::Q4_0, &[2, 33], vec![0.0; 66]));
    assert!(shape.contains("Q4_0 cannot have the shape [2, 33]"), "{shape}");
    refusal(&|f| f.tensor_f32("t", DType::F32, &[], vec![0.0]));
    refusal(&|f| f.tensor_f32("t", DType::F32, &[1; 5], vec![0.0]));
    let short = refusal(&|f| f.tensor_f32("t", DType::F32, &[3], vec![0.0; 2]));
    assert!(short.contains("expected 12 bytes, found 8"), "{short}");
    let nan = refusal(&|f| f.tensor_f32("t", DType::Q8_0, &[32], vec![f32::NAN; 32]));
    assert!(nan.contains("element 0 is NaN"), "{nan}");
    refusal(&|f| f.set("general.alignment", 33u32));
}

#[test]
fn real_vocabularies_open() {
    let Some(data) = testkit::shared_data() else {
        return testkit::skipped("the shared vocabularies are not here");
    };
    let mut files = 0;
    for entry in std::fs::read_dir(data.join("vocab")).expect("listed") {
        let path = entry.expect("listed").path();
        if path.extension().is_none_or(|e| e != "gguf") {
            continue;
        }
        let gguf = Gguf::open(&path).unwrap_or_else(|e| panic!("{e}"));
        let tokens = gguf.metadata().need("tokenizer.ggml.tokens", Metadata::strings);
        let tokens = tokens.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(tokens.len() > 10_000, "{}", path.display());
        assert_eq!(tokens.iter().len(), tokens.len());
        files += 1;
    }
    assert!(files > 0);
}

#[test]
fn the_real_model_opens_without_reading_its_weights() {
    let Some(path) = testkit::smollm2() else {
        return testkit::skipped("the real model is not here");
    };
    let Ok(Checkpoint::Gguf(gguf)) = Checkpoint::open(&path) else { panic!("opens as GGUF") };
    assert_eq!(gguf.metadata().u64("llama.block_count"), Ok(Some(30)));
    let embedding = gguf.tensor("token_embd.weight").expect("there");
    assert_eq!(embedding.shape, [49152, 576]);
    let mut row = vec![0.0; 576];
    embedding.dequantize_row(49151, &mut row).expect("decodes");
    assert!(row.iter().all(|v| v.is_finite()) && row.iter().any(|v| *v != 0.0));
}

/// A vocabulary of a large model's size: no time may be lost per string.
#[test]
fn a_large_vocabulary_opens() {
    let strings: Strings = (0..300_000).map(|i| format!("piece{i}")).collect();
    let mut file = GgufWriter::new();
    file.set("tokenizer.ggml.tokens", strings).set("tokenizer.ggml.scores", vec![0.5f32; 300_000]);
    let bytes = Bytes::from_vec(write(file));
    let gguf = Gguf::from_bytes(bytes).expect("valid");
    let tokens = gguf.metadata().need("tokenizer.ggml.tokens", Metadata::strings).expect("there");
    assert_eq!(tokens.get(299_999), Some(b"piece299999".as_slice()));
}

#[test]
fn errors_name_file_and_place() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("bad.gguf");
    std::fs::write(&path, b"GGUF\x03\0\0\0").expect("written");
    let text = Gguf::open(&path).map(|_| ()).expect_err("refused").to_string();
    assert!(
        text.contains("bad.gguf") && text.contains("byte 8") && text.contains("cut short"),
        "{text}"
    );
    let missing = Gguf::open(&dir.path().join("none.gguf"));
    assert!(matches!(missing, Err(WeightsError::Io { action: "open", .. })));
}

/// What holds for every file that opens.
fn check_opened(gguf: &Gguf, file_bytes: usize) {
    let total: usize = gguf.tensors().map(|t| t.data.len()).sum();
    assert!(total <= file_bytes, "tensors do not overlap, so they fit the file");
    for tensor in gguf.tensors() {
        assert!(gguf.tensor(&tensor.name).is_some());
        if tensor.dtype.is_supported() {
            assert_eq!(tensor.row_bytes().map(|r| r * tensor.rows()), Ok(tensor.data.len()));
        }
    }
    for (key, value) in gguf.metadata().iter() {
        assert!(gguf.metadata().get(key).is_some());
        if let Some(Array::Strings(strings)) = value.as_array() {
            assert!(strings.iter().map(<[u8]>::len).sum::<usize>() <= file_bytes);
        }
    }
}

/// Some bytes of a valid file changed, moved or cut: reaches deeper than random bytes do.
#[test]
fn fuzz_changed_files() {
    let file = write(sample());
    let changes = bolero::generator::produce::<Vec<(u16, u8)>>().with().len(0usize..6);
    let cut = bolero::generator::produce::<u16>();
    check!().with_iterations(20_000).with_generator((changes, cut)).for_each(|(changes, cut)| {
        let mut bytes = file.clone();
        for &(at, byte) in changes {
            let at = usize::from(at) % bytes.len();
            bytes[at] = byte;
        }
        if cut % 4 == 0 {
            bytes.truncate(usize::from(*cut) % file.len());
        }
        let len = bytes.len();
        if let Ok(gguf) = Gguf::from_bytes(Bytes::from_vec(bytes)) {
            check_opened(&gguf, len);
        }
    });
}

#[test]
fn fuzz_any_bytes() {
    check!().with_max_len(512).with_iterations(20_000).for_each(|tail: &[u8]| {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend_from_slice(tail);
        let len = bytes.len();
        if let Ok(gguf) = Gguf::from_bytes(Bytes::from_vec(bytes)) {
            check_opened(&gguf, len);
        }
    });
}

/// The canary: a reader that believed counts would be found out by the inputs above.
#[test]
fn the_changed_files_reach_the_checks() {
    let file = write(sample());
    let mut reached = std::collections::BTreeSet::new();
    for at in 0..file.len() {
        for byte in [0, 1, 0x7f, 0xff] {
            let mut bytes = file.clone();
            bytes[at] = byte;
            if let Err(e) = Gguf::from_bytes(Bytes::from_vec(bytes)) {
                let kind = format!("{:?}", e.kind);
                reached.insert(kind.split(['(', ' ', '{']).next().unwrap_or_default().to_owned());
            }
        }
    }
    for kind in [
        "Magic",
        "Version",
        "CutShort",
        "TooMany",
        "NotUtf8",
        "ValueType",
        "Boolean",
        "TensorType",
        "Dimensions",
        "PartialBlock",
        "Data",
    ] {
        assert!(reached.contains(kind), "{kind} was not reached: {reached:?}");
    }
}
