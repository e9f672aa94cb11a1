//! Packed files as users meet them: the same numbers with and without, found by themselves,
//! ignored with one warning when they do not fit, and gone when they are asked to go.

use crate::data::{chat_model, failure, freehold, golden, home, json_output, output};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

fn tiny_gguf() -> PathBuf {
    golden("qwen3-tied").join("model.gguf")
}

/// A model by path, outside the home that its packed file goes to.
fn model_in(folder: &Path) -> PathBuf {
    let path = folder.join("m.gguf");
    std::fs::copy(tiny_gguf(), &path).expect("there is room");
    path
}

fn pack(home: &Path, model: &Path, flags: &[&str]) -> Value {
    json_output(freehold(home).arg("pack").arg(model).args(flags).arg("--json"))
}

fn packed_path(report: &Value) -> PathBuf {
    PathBuf::from(report["path"].as_str().expect("a path"))
}

/// What `bench` computes, whether over a packed file, and what it said on standard error.
fn bench(home: &Path, model: &Path, flags: &[&str]) -> (Value, bool, String) {
    let args = ["--prompt", "9", "--generate", "3", "--repeat", "1", "--json"];
    let out = freehold(home).arg("bench").arg(model).args(args).args(flags).output();
    let out = out.expect("the binary starts");
    let said = String::from_utf8(out.stderr).expect("UTF-8");
    assert!(out.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&out.stdout).expect("one JSON object");
    let is_mapped = report["mapped_bytes"].as_u64().expect("a number") > 0;
    (report["logits_hash"].clone(), is_mapped, said)
}

#[test]
fn a_packed_file_is_found_by_itself_and_changes_no_bit() {
    let home = home();
    // Floats of each type, widths that are no whole blocks, a head of its own, experts.
    let names = ["llama-f16", "llama-bf16", "llama-odd-sizes", "qwen2-untied", "qwen3moe-norm"];
    for model in names.map(golden) {
        for flags in [&[][..], &["--activations", "f32"]] {
            let (expected, is_mapped, _) = bench(home.path(), &model, flags);
            let report = pack(home.path(), &model, flags);
            assert_eq!(report["written"], json!(!is_mapped), "{}", model.display());
            assert_eq!(pack(home.path(), &model, flags)["written"], json!(false));
            let size = std::fs::metadata(packed_path(&report)).expect("it was written").len();
            assert_eq!(report["bytes"], json!(size));
            let (got, is_mapped, said) = bench(home.path(), &model, flags);
            assert_eq!((&got, is_mapped, said.as_str()), (&expected, true, ""));
            let off = [flags, &["--packed", "off"]].concat();
            assert!(!bench(home.path(), &model, &off).1);
        }
    }
}

#[test]
fn run_and_trace_use_it_and_show_and_list_tell_of_it() {
    let home = home();
    let model = chat_model(home.path());
    let run = || {
        let args = ["Hello", "--max-tokens", "12", "--temperature", "0", "--quiet"];
        output(freehold(home.path()).arg("run").arg(&model).args(args))
    };
    let trace = |packed: &str| {
        let args = ["--tokens", "1,2,3", "--packed", packed, "--out", "out"];
        output(freehold(home.path()).arg("trace").arg(&model).args(args));
        std::fs::read(home.path().join("out")).expect("it was written")
    };
    let show = || json_output(freehold(home.path()).arg("show").arg(&model).arg("--json"));
    let before = run();
    assert_eq!(show()["packed_bytes"], json!(0));
    let report = pack(home.path(), &model, &[]);
    assert_eq!(run(), before);
    assert_eq!(trace("on"), trace("off"));
    assert_eq!(show()["packed_bytes"], report["bytes"]);
    let text = output(freehold(home.path()).arg("show").arg(&model));
    assert!(text.contains("mapped in place of packing"), "{text}");
    let removed = json_output(freehold(home.path()).args(["pack", "model", "--remove", "--json"]));
    assert!(removed["bytes_freed"].as_u64() >= report["bytes"].as_u64(), "{removed}");
    let text = output(freehold(home.path()).args(["pack", "model", "--remove"]));
    assert!(text.contains("has no packed file"), "{text}");
    assert_eq!(run(), before);
}

#[test]
fn a_model_of_the_home_takes_its_packed_file_along() {
    let home = home();
    let file = tiny_gguf();
    output(freehold(home.path()).arg("pull").arg(&file).args(["--name", "tiny:a"]));
    let report = pack(home.path(), Path::new("tiny:a"), &[]);
    let listed = json_output(freehold(home.path()).args(["list", "--json"]));
    assert_eq!(listed["packed_bytes"], report["bytes"]);
    assert!(bench(home.path(), Path::new("tiny:a"), &[]).1);
    let removed = json_output(freehold(home.path()).args(["rm", "tiny:a", "--json"]));
    let both = listed["bytes"].as_u64().zip(report["bytes"].as_u64()).map(|(a, b)| a + b);
    assert!(removed["bytes_freed"].as_u64() >= both, "{removed}");
    assert!(!packed_path(&report).exists());
}

#[test]
fn a_file_that_does_not_fit_is_ignored_with_one_warning_until_it_is_packed_again() {
    let home = home();
    let model = model_in(home.path());
    let (expected, ..) = bench(home.path(), &model, &[]);
    let path = packed_path(&pack(home.path(), &model, &[]));
    let good = std::fs::read(&path).expect("it was written");
    let change = |at: u64, bytes: &[u8]| {
        let mut file = File::options().write(true).open(&path).expect("ours");
        file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(bytes)).expect("written");
    };
    let table = u64::from_le_bytes(good[48..56].try_into().expect("eight bytes"));
    let cut = |len: u64| File::options().write(true).open(&path).and_then(|f| f.set_len(len));
    let damages: [(&dyn Fn(), &str); 6] = [
        (&|| cut(good.len() as u64 - 1).expect("cut"), "cut short"),
        (&|| cut(0).expect("cut"), "cut short"),
        (&|| change(0, b"GGUF"), "no packed file"),
        (&|| change(8, &[7]), "of another version: expected 1, got 7"),
        (&|| change(30, &[7; 4]), "hash of its header"),
        (&|| change(table + 20, &[7; 4]), "hash of its table"),
    ];
    for (damage, reason) in damages {
        damage();
        let (got, is_mapped, said) = bench(home.path(), &model, &[]);
        assert_eq!((&got, is_mapped), (&expected, false));
        assert!(said.contains(reason) && said.contains("`freehold pack "), "{reason}: {said}");
        assert_eq!(said.matches("warning").count(), 1, "{said}");
        let text = output(freehold(home.path()).arg("show").arg(&model));
        assert!(text.contains("not used: ") && text.contains(reason), "{text}");
        assert_eq!(bench(home.path(), &model, &["--packed", "off"]).2, "");
        assert_eq!(pack(home.path(), &model, &[])["written"], json!(true));
        assert!(bench(home.path(), &model, &[]).1);
    }
    // A folder in its place.
    std::fs::remove_file(&path).and_then(|()| std::fs::create_dir(&path)).expect("ours");
    assert!(bench(home.path(), &model, &[]).2.contains("not a regular file"));
    failure(freehold(home.path()).arg("pack").arg(&model), 1);
    std::fs::remove_dir(&path).expect("ours");
    // The model changes: nothing of the old one is used.
    pack(home.path(), &model, &[]);
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(9);
    File::options().write(true).open(&model).and_then(|f| f.set_modified(later)).expect("ours");
    let (got, is_mapped, said) = bench(home.path(), &model, &[]);
    assert!(got == expected && !is_mapped && said.contains("out of date"), "{said}");
    assert_eq!(pack(home.path(), &model, &[])["written"], json!(true));
    assert_eq!(std::fs::read_dir(path.parent().expect("a folder")).expect("listed").count(), 2);
}

#[test]
fn packed_files_of_models_that_are_gone_are_listed_and_pruned() {
    let home = home();
    let model = model_in(home.path());
    let other = home.path().join("elsewhere");
    std::fs::create_dir(&other).expect("ours");
    pack(&other, &model, &[]);
    let said = || {
        let out = freehold(&other).arg("list").output();
        String::from_utf8(out.expect("the binary starts").stderr).expect("UTF-8")
    };
    assert!(said().contains("of a model elsewhere"), "{}", said());
    std::fs::remove_file(&model).expect("ours");
    assert!(said().contains("of a model that is gone"), "{}", said());
    let freed = json_output(freehold(&other).args(["pack", "--prune", "--json"]));
    assert!(freed["bytes_freed"].as_u64() > Some(0), "{freed}");
    assert_eq!(said(), "");
}

#[test]
fn what_cannot_be_packed_is_refused_and_leaves_nothing() {
    let home = home();
    let message = failure(freehold(home.path()).args(["pack"]), 2);
    assert!(message.contains("<MODEL>"), "{message}");
    failure(freehold(home.path()).args(["pack", "no/such.gguf"]), 1);
    std::fs::write(home.path().join("bad.gguf"), "GGUF").expect("ours");
    let message = failure(freehold(home.path()).args(["pack", "bad.gguf"]), 1);
    assert!(message.contains("cannot pack bad.gguf"), "{message}");
    assert!(!home.path().join("packed").exists());
}
