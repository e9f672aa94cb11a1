//! Chat templates as folders and files hold them.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::path::Path;

use serde_json::json;
use text::{ChatTemplate, RenderInput, TemplateError};
use weights::{Gguf, GgufWriter};

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn text_of(template: &ChatTemplate, tools: bool) -> String {
    let input = RenderInput {
        messages: json!([]),
        tools: tools.then(|| json!([{"name": "f"}])),
        ..RenderInput::default()
    };
    template.render(&input).unwrap().text
}

#[test]
fn a_template_alone_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    let error = ChatTemplate::from_hf_folder(folder.path()).unwrap_err();
    assert!(matches!(error, TemplateError::Missing(_)), "{error}");
    write(folder.path(), "chat_template.jinja", "{{ bos_token }}x{{ messages | length }}");
    assert_eq!(text_of(&ChatTemplate::from_hf_folder(folder.path()).unwrap(), false), "x0");
    write(
        folder.path(),
        "tokenizer_config.json",
        r#"{"bos_token": {"content": "<s>"}, "chat_template": "old"}"#,
    );
    assert_eq!(text_of(&ChatTemplate::from_hf_folder(folder.path()).unwrap(), false), "<s>x0");
}

#[test]
fn named_templates_are_chosen_by_what_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let list = json!([{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"}, {"name": "rag", "template": "R"}]);
    write(folder.path(), "tokenizer_config.json", &json!({"chat_template": list}).to_string());
    let template = ChatTemplate::from_hf_folder(folder.path()).unwrap();
    assert_eq!(template.names().collect::<Vec<_>>(), ["default", "tool_use", "rag"]);
    assert_eq!((text_of(&template, false), text_of(&template, true)), ("D".into(), "T".into()));
    let ask = |name: &str| {
        let input = RenderInput { template: Some(name.to_owned()), ..RenderInput::default() };
        template.render(&input).map(|rendered| rendered.text)
    };
    assert_eq!(ask("rag").unwrap(), "R");
    let error = ask("other").unwrap_err().to_string();
    assert_eq!(error, "no chat template named \"other\"; there are: default, tool_use, rag");
    write(folder.path(), "chat_template.jinja", "J");
    write(folder.path(), "additional_chat_templates/tool_use.jinja", "A");
    let template = ChatTemplate::from_hf_folder(folder.path()).unwrap();
    assert_eq!((text_of(&template, false), text_of(&template, true)), ("J".into(), "A".into()));
}

#[test]
fn malformed_files_are_refused_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "tokenizer_config.json", r#"{"chat_template": [{"name": 1}]}"#);
    let error = ChatTemplate::from_hf_folder(folder.path()).unwrap_err().to_string();
    assert!(error.starts_with("tokenizer_config.json: chat_template: expected"), "{error}");
    write(folder.path(), "tokenizer_config.json", "{");
    assert!(ChatTemplate::from_hf_folder(folder.path()).is_err());
}

#[test]
fn a_gguf_file_holds_its_templates_in_its_metadata() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.gguf");
    let mut file = GgufWriter::new();
    file.set("general.architecture", "llama");
    file.set("tokenizer.ggml.tokens", vec!["<s>".to_owned(), "</s>".to_owned()]);
    file.set("tokenizer.ggml.bos_token_id", 0u32);
    file.set("tokenizer.ggml.eos_token_id", 9u32);
    file.set("tokenizer.chat_template", "{{ bos_token }}{{ eos_token is defined }}");
    file.set("tokenizer.chat_templates", vec!["tool_use".to_owned()]);
    file.set("tokenizer.chat_template.tool_use", "tools");
    file.write(&path).unwrap();
    let template = ChatTemplate::from_gguf(&Gguf::open(&path).unwrap()).unwrap();
    assert_eq!(text_of(&template, false), "<s>False");
    assert_eq!(text_of(&template, true), "tools");
}
