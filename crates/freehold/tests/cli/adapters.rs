//! `MODEL+ADAPTER`: traced as PEFT computes it, served beside the model alone, refused by name.

use crate::data::{chat_model, failure, freehold, golden, home, json_output, output, write};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use testkit::http;
use testkit::process::{Server, free_port};

/// Largest relative difference that the reference's own f32 rounding explains, with room.
const TOLERANCE: f32 = 2e-4;

fn golden_adapter(name: &str) -> PathBuf {
    let path = testkit::repository_root().join("testdata/adapters").join(name);
    assert!(path.is_dir(), "{} is part of the repository", path.display());
    path
}

pub(crate) fn with_adapter(model: &Path, adapter: &Path) -> String {
    format!("{}+{}", model.display(), adapter.display())
}

#[test]
fn trace_writes_what_peft_computed() {
    let home = home();
    let out = home.path().join("out.safetensors");
    for adapter in testkit::golden_adapters() {
        let config = std::fs::read(adapter.join("adapter_config.json")).expect("it has one");
        let config: Value = serde_json::from_slice(&config).expect("it is JSON");
        let base = golden(config["base_model_name_or_path"].as_str().expect("a name"));
        let expected = weights::Checkpoint::open(&adapter.join("expected.safetensors"));
        let expected = expected.expect("a golden has one");
        let words = expected.tensor("tokens").expect("it says which tokens").data.chunks_exact(4);
        let tokens: Vec<String> = words
            .map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes")).to_string())
            .collect();
        let mut trace = freehold(home.path());
        trace.arg("trace").arg(with_adapter(&base, &adapter));
        output(trace.args(["--tokens", &tokens.join(","), "--out"]).arg(&out));
        let written = weights::Checkpoint::open(&out).expect("it was written");
        let logits = |file: &weights::Checkpoint| {
            file.tensor("logits").expect("logits").to_f32().expect("f32")
        };
        let (got, expected) = (logits(&written), logits(&expected));
        let scale = expected.iter().fold(0f32, |max, x| max.max(x.abs()));
        let far = got.iter().zip(&expected).find(|(a, b)| (*a - *b).abs() > TOLERANCE * scale);
        assert_eq!((far, got.len()), (None, expected.len()), "{}", adapter.display());
    }
}

/// An adapter over the tiny chat model: every query and down projection.
pub(crate) fn chat_adapter(folder: &Path) -> PathBuf {
    let adapter = folder.join("lora+1");
    std::fs::create_dir_all(&adapter).expect("the folder is ours");
    let config = std::fs::read(folder.join("model/config.json")).expect("the model has one");
    let config: Value = serde_json::from_slice(&config).expect("it is JSON");
    let size = |key: &str| config[key].as_u64().expect("a number") as usize;
    let (hidden, width) = (size("hidden_size"), size("intermediate_size"));
    let mut tensors = Vec::new();
    for layer in 0..size("num_hidden_layers") {
        for (module, outputs, inputs) in
            [("self_attn.q_proj", hidden, hidden), ("mlp.down_proj", hidden, width)]
        {
            let name =
                |half| format!("base_model.model.model.layers.{layer}.{module}.{half}.weight");
            let values = |len: usize| (0..len).map(|i| (i * 7 % 13) as f32 / 13.0 - 0.4).collect();
            tensors.push((name("lora_A"), vec![2, inputs], values(2 * inputs)));
            tensors.push((name("lora_B"), vec![outputs, 2], values(outputs * 2)));
        }
    }
    let tensors = tensors
        .iter()
        .map(|(name, shape, values): &(String, Vec<usize>, Vec<f32>)| (name, shape, values));
    weights::write_safetensors(&adapter.join("adapter_model.safetensors"), tensors)
        .expect("written");
    let config = json!({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "down_proj"]});
    write(&adapter.join("adapter_config.json"), &config.to_string());
    adapter
}

#[test]
fn an_adapter_is_served_beside_its_model() {
    let home = home();
    let model = chat_model(home.path());
    let adapter = chat_adapter(home.path());
    let port = free_port().expect("a port is free");
    let mut command = freehold(home.path());
    command.arg("serve").arg(with_adapter(&model, &adapter));
    command.args(["--port", &port.to_string()]).stderr(Stdio::inherit());
    let address = format!("127.0.0.1:{port}");
    let server = Server::start(&mut command, &address, Duration::from_secs(60)).expect("ready");
    let models = http::get(&server.address, "/v1/models").expect("it answers").body;
    let models: Value = serde_json::from_str(&models).expect("it is JSON");
    let ids: Vec<&str> =
        models["data"].as_array().into_iter().flatten().filter_map(|m| m["id"].as_str()).collect();
    assert_eq!(ids, ["model", "model+lora+1"]);
    let ask = |model: &str| {
        let body = json!({"model": model, "prompt": "Hi", "temperature": 0, "max_tokens": 8,
            "logprobs": 2});
        let answer =
            http::post(&server.address, "/v1/completions", &body.to_string()).expect("it answers");
        assert_eq!(answer.status, 200, "{}", answer.body);
        let answer: Value = serde_json::from_str(&answer.body).expect("it is JSON");
        answer["choices"][0].clone()
    };
    let (base, adapted) = (ask("model"), ask("model+lora+1"));
    assert_ne!(base["logprobs"], adapted["logprobs"]);
    assert_eq!(ask(&model.display().to_string()), base);
    assert_eq!(ask(&with_adapter(&model, &adapter)), adapted);
    let body = json!({"model": "model+other", "prompt": "Hi"}).to_string();
    let unknown = http::post(&server.address, "/v1/completions", &body).expect("it answers");
    assert_eq!(unknown.status, 404);
    assert!(unknown.body.contains("model+lora+1"), "{}", unknown.body);
}

#[test]
fn run_and_bench_take_an_adapter() {
    let home = home();
    let model = chat_model(home.path());
    let both = with_adapter(&model, &chat_adapter(home.path()));
    let answer = |model: &str| {
        output(freehold(home.path()).arg("run").arg(model).args([
            "Hello",
            "--temperature",
            "0",
            "--max-tokens",
            "24",
        ]))
    };
    assert_ne!(answer(&both), answer(&model.display().to_string()));
    let report = json_output(freehold(home.path()).arg("bench").arg(&both).args([
        "--prompt",
        "8",
        "--generate",
        "2",
        "--repeat",
        "1",
        "--json",
    ]));
    assert!(report["adapter_bytes"].as_u64() > Some(0), "{report}");
    assert!(report["decode_tokens_per_second"].as_f64() > Some(0.0), "{report}");
}

#[test]
fn adapters_that_do_not_fit_are_refused_by_name() {
    let home = home();
    let refused = |model: &str, adapter: &str, words: &[&str]| {
        let mut trace = freehold(home.path());
        trace.arg("trace").arg(with_adapter(&golden(model), &golden_adapter(adapter)));
        let message = failure(trace.args(["--tokens", "1,2", "--out", "out.safetensors"]), 1);
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    };
    refused("llama-gqa", "qwen3-subset", &["cannot load the adapter", "layer 1", "1 layers"]);
    refused("llama-mha", "llama-rslora", &["mlp.down_proj", "[16, 20]", "[18, 20]"]);
    refused("llama-gqa", "../models/qwen3-tied", &["not an adapter", "whole model"]);
    let mut trace = freehold(home.path());
    trace.arg("trace").arg(format!("{}+./nowhere", golden("llama-gqa").display()));
    let message = failure(trace.args(["--tokens", "1,2", "--out", "out.safetensors"]), 1);
    assert!(message.contains("nowhere"), "{message}");
    let pack = failure(freehold(home.path()).args(["pack", "qwen3:0.6b+./nowhere"]), 1);
    assert!(pack.contains("no adapter") && pack.contains("./nowhere"), "{pack}");
}
