//! Each command on tiny checkpoints.

use crate::data::{chat_model, freehold, golden, home, json_output, output, write};
use serde_json::{Value, json};

#[test]
fn help_teaches_by_example() {
    let home = home();
    let text = output(freehold(home.path()).arg("--help"));
    assert!(text.contains("freehold pull smollm2:135m") && text.contains("Exit codes"));
    for command in [
        "pull", "list", "show", "run", "serve", "pack", "bench", "trace", "tokenize", "render",
        "embed",
    ] {
        let text = output(freehold(home.path()).args([command, "--help"]));
        assert!(text.contains(&format!("  freehold {command} ")), "{command}: {text}");
    }
}

#[test]
fn show_examines_every_golden() {
    let home = home();
    for path in testkit::golden_models() {
        let report =
            json_output(freehold(home.path()).arg("show").arg(&path).args(["--json", "--tensors"]));
        assert_eq!(report["cannot_run"], Value::Null, "{}", path.display());
        let config = std::fs::read(path.join("config.json")).expect("a golden has one");
        let config: Value = serde_json::from_slice(&config).expect("it is JSON");
        assert_eq!(report["architecture"]["layers"], config["num_hidden_layers"]);
        assert_eq!(report["architecture"]["hidden_size"], config["hidden_size"]);
        let tensors = report["tensors"].as_array().expect("--tensors was given");
        let elements = |t: &Value| -> u64 {
            t["shape"].as_array().into_iter().flatten().filter_map(Value::as_u64).product()
        };
        let total: u64 = tensors.iter().map(elements).sum();
        assert_eq!(report["parameters"]["total"].as_u64(), Some(total), "{}", path.display());
        assert!(report["memory"]["kv_bytes_per_1k_tokens"]["f16"].as_u64() > Some(0));
    }
}

#[test]
fn show_speaks_to_people() {
    let home = home();
    let text = output(freehold(home.path()).arg("show").arg(golden("qwen3-tied")).arg("--tensors"));
    for word in [
        "Architecture",
        "qwen3",
        "query and key norms",
        "Memory",
        "KV cache",
        "self_attn.q_norm.weight",
    ] {
        assert!(text.contains(word), "{word} is missing in {text}");
    }
}

/// Largest relative difference that the reference's own f32 rounding explains, with room.
const TOLERANCE: f32 = 2e-4;

#[test]
fn trace_writes_what_the_reference_computed() {
    let home = home();
    let out = home.path().join("out.safetensors");
    for model in testkit::golden_models() {
        let expected = model.join("expected.safetensors");
        let expected = weights::Checkpoint::open(&expected).expect("a golden has one");
        let tokens: Vec<String> = expected
            .tensor("tokens")
            .expect("a golden says which tokens")
            .data
            .chunks_exact(4)
            .map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes")).to_string())
            .collect();
        let mut trace = freehold(home.path());
        trace.arg("trace").arg(&model).args(["--tokens", &tokens.join(","), "--layers", "--out"]);
        output(trace.arg(&out));
        let written = weights::Checkpoint::open(&out).expect("it was written");
        for tensor in expected.tensors().filter(|tensor| tensor.name != "tokens") {
            let name = format!("{} {}", model.display(), tensor.name);
            let got = written.tensor(&tensor.name).expect(&name);
            assert_eq!(got.shape, tensor.shape, "{name}");
            let (got, expected) =
                (got.to_f32().expect("it is f32"), tensor.to_f32().expect("it is f32"));
            let scale = expected.iter().fold(0f32, |max, x| max.max(x.abs()));
            let far = got.iter().zip(&expected).find(|(a, b)| (*a - *b).abs() > TOLERANCE * scale);
            assert_eq!(far, None, "{name}");
        }
    }
}

#[test]
fn trace_finds_no_difference_between_a_model_and_itself() {
    let home = home();
    let model = golden("qwen2-tied");
    let text = output(
        freehold(home.path())
            .arg("trace")
            .arg(&model)
            .args(["--tokens", "1,2,3,4", "--json", "--against"])
            .arg(&model),
    );
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect();
    assert!(lines.iter().any(|line| line["name"] == "logits"));
    for line in &lines[..lines.len() - 1] {
        assert_eq!(line["max_difference"], json!(0.0), "{line}");
    }
    assert_eq!(lines.last().map(|line| line["equal"].clone()), Some(json!(4)));
}

#[test]
fn bench_reports_the_stable_names() {
    let home = home();
    let report = json_output(freehold(home.path()).arg("bench").arg(golden("llama-gqa")).args([
        "--prompt",
        "8",
        "--generate",
        "4",
        "--threads",
        "2",
        "--repeat",
        "3",
        "--batch",
        "2",
        "--depth",
        "3",
        "--json",
    ]));
    for key in ["prefill_tokens_per_second", "decode_tokens_per_second", "load_seconds"] {
        assert!(report[key].as_f64() > Some(0.0), "{key}: {report}");
    }
    assert_eq!(report["threads"], json!(2));
    assert!(report["isa"].is_string());
    if cfg!(target_os = "linux") {
        assert!(report["peak_rss_bytes"].as_u64() > Some(1 << 20));
    }
}

#[test]
fn tokenize_and_render_need_no_weights() {
    let home = home();
    let model = chat_model(home.path());
    for entry in std::fs::read_dir(&model).expect("it is a folder").flatten() {
        if entry.path().extension().is_some_and(|e| e == "safetensors")
            || entry.file_name() == "config.json"
        {
            std::fs::remove_file(entry.path()).expect("it is ours");
        }
    }
    write(&home.path().join("text"), "ab </s>\n");
    let tokens = json_output(freehold(home.path()).arg("tokenize").arg(&model).args([
        "--file",
        "text",
        "--no-special",
        "--json",
    ]));
    let ids: Vec<u64> =
        tokens["tokens"].as_array().expect("a list").iter().filter_map(Value::as_u64).collect();
    // Text never becomes the special token that it spells.
    assert!(ids.len() == 8 && !ids.contains(&1), "{ids:?}");
    std::fs::remove_file(model.join("tokenizer.json")).expect("it is ours");
    write(&home.path().join("m.json"), r#"[{"role": "user", "content": "Hi"}]"#);
    let mut render = freehold(home.path());
    render.arg("render").arg(&model).args(["--messages", "m.json"]);
    assert_eq!(output(&mut render), "user: Hi\nassistant:");
    assert_eq!(output(render.arg("--no-generation-prompt")), "user: Hi\n");
}

#[test]
fn run_answers_once_and_repeats_itself_for_a_seed() {
    let home = home();
    let model = chat_model(home.path());
    let answer = |seed: &str| {
        output(freehold(home.path()).arg("run").arg(&model).args([
            "Hello",
            "--max-tokens",
            "12",
            "--temperature",
            "1",
            "--seed",
            seed,
        ]))
    };
    assert_eq!(answer("1"), answer("1"));
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    use std::process::Stdio;
    let home = home();
    let mut show = freehold(home.path());
    show.arg("show")
        .arg(golden("llama-gqa"))
        .arg("--tensors")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = show.spawn().expect("the binary starts");
    drop(child.stdout.take());
    let out = child.wait_with_output().expect("it ends");
    assert!(out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn list_names_what_was_taken_into_the_home_and_rm_removes_it() {
    let home = home();
    let file =
        testkit::golden_models().into_iter().map(|m| m.join("model.gguf")).find(|p| p.is_file());
    let file = file.expect("some golden is a GGUF file too");
    let pulled = json_output(
        freehold(home.path()).arg("pull").arg(&file).args(["--name", "tiny:a", "--json"]),
    );
    assert!(
        pulled["path"]
            .as_str()
            .is_some_and(|path| path.starts_with(&*home.path().to_string_lossy()))
    );
    let listed = json_output(freehold(home.path()).args(["list", "--json"]));
    assert_eq!(listed["model"], json!("tiny:a"));
    assert_eq!(listed["bytes"].as_u64(), std::fs::metadata(&file).ok().map(|m| m.len()));
    output(freehold(home.path()).args(["show", "tiny:a"]));
    let removed = json_output(freehold(home.path()).args(["rm", "tiny:a", "--json"]));
    assert_eq!(removed["bytes_freed"], listed["bytes"]);
    assert_eq!(output(freehold(home.path()).args(["list", "--json"])), "");
}
