//! What the tests run on: the binary, tiny checkpoints, and a tiny vocabulary of its own.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// The binary with a data folder of its own and no hub: nothing here may reach a network.
pub(crate) fn freehold(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freehold"));
    command
        .env("FREEHOLD_HOME", home)
        .env("HF_HUB_OFFLINE", "1")
        .env_remove("FREEHOLD_CONFIG")
        .current_dir(home)
        .stdin(Stdio::null());
    command
}

/// What a command printed; it must have succeeded.
pub(crate) fn output(command: &mut Command) -> String {
    let out = command.output().expect("the binary starts");
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("the output is UTF-8")
}

/// The one JSON object that a command printed.
pub(crate) fn json_output(command: &mut Command) -> Value {
    serde_json::from_str(&output(command)).expect("the output is one JSON value")
}

/// A command that must fail with `code`, and what it said on standard error.
pub(crate) fn failure(command: &mut Command, code: i32) -> String {
    let out: Output = command.output().expect("the binary starts");
    let message = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(code), "{command:?}: {message}");
    assert!(!message.contains("panicked"), "{command:?}: {message}");
    message
}

pub(crate) fn home() -> TempDir {
    tempfile::tempdir().expect("the system has a folder for temporary files")
}

/// A tiny checkpoint of the repository.
pub(crate) fn golden(name: &str) -> PathBuf {
    let path = testkit::repository_root().join("testdata/models").join(name);
    assert!(path.is_dir(), "{} is part of the repository", path.display());
    path
}

/// A tiny checkpoint with a byte-level tokenizer and a chat template, made in `folder`.
pub(crate) fn chat_model(folder: &Path) -> PathBuf {
    let model = folder.join("model");
    std::fs::create_dir_all(&model).expect("the folder is ours");
    for entry in std::fs::read_dir(golden("llama-gqa")).expect("it is a folder").flatten() {
        let name = entry.file_name();
        if name != "expected.safetensors" {
            std::fs::copy(entry.path(), model.join(name)).expect("there is room");
        }
    }
    let config = std::fs::read(model.join("config.json")).expect("a checkpoint has one");
    let config: Value = serde_json::from_slice(&config).expect("it is JSON");
    let vocab_size = config["vocab_size"].as_u64().expect("a number");
    write(&model.join("tokenizer.json"), &tokenizer(vocab_size).to_string());
    let special = json!({"bos_token": "<s>", "eos_token": "</s>"});
    write(&model.join("tokenizer_config.json"), &special.to_string());
    let template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}\
                    {% if add_generation_prompt %}assistant:{% endif %}";
    write(&model.join("chat_template.jinja"), template);
    model
}

/// Printable ASCII but the tilde, a space as `Ġ` and a line end as `Ċ`, one token each, after two special
/// tokens.
fn tokenizer(vocab_size: u64) -> Value {
    let mut vocab = serde_json::Map::new();
    vocab.insert("<s>".into(), json!(0));
    vocab.insert("</s>".into(), json!(1));
    let letters = (33..126u8).map(|byte| char::from(byte).to_string());
    for piece in letters.chain(["Ġ".to_owned(), "Ċ".to_owned()]) {
        let id = vocab.len();
        vocab.insert(piece, json!(id));
    }
    assert!(vocab.len() as u64 <= vocab_size, "the checkpoint has room for {}", vocab.len());
    let added = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true})
    };
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [added(0, "<s>"), added(1, "</s>")],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
            "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true,
            "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null,
            "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": []},
    })
}

pub(crate) fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("the folder is ours");
}
