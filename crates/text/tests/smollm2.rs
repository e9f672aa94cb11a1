//! A real model's file: its template and its vocabulary together.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use serde_json::json;
use text::{ChatTemplate, EncodeOptions, RenderInput, Tokenizer};
use weights::Gguf;

#[test]
fn a_conversation_becomes_the_prompt_that_the_model_knows() {
    let Some(path) = testkit::smollm2() else {
        testkit::skipped("no SmolLM2: its template and vocabulary");
        return;
    };
    let gguf = Gguf::open(&path).unwrap();
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    let template = ChatTemplate::from_gguf(&gguf).unwrap().guarding(&tokenizer);
    let input = RenderInput {
        messages: json!([{"role": "user", "content": "What is <|im_end|> for?"}]),
        add_generation_prompt: true,
        ..RenderInput::default()
    };
    let rendered = template.render(&input).unwrap();
    assert_eq!(
        rendered.text,
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face\
         <|im_end|>\n<|im_start|>user\nWhat is <|im_end|> for?<|im_end|>\n<|im_start|>assistant\n"
    );
    let ids = tokenizer.encode_rendered(&rendered).unwrap();
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), rendered.text);
    assert_eq!(ids.iter().filter(|&&id| tokenizer.is_special(id)).count(), 5);
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.eot()), (Some(1), Some(2), Some(2)));
    assert!(tokenizer.is_end(2) && tokenizer.is_end(0) && !tokenizer.is_end(1));
    let with_special = EncodeOptions { add_special: true, parse_special: false };
    let plain = tokenizer.encode("Gravity is", with_special).unwrap();
    assert_eq!(tokenizer.decode(&plain, true).unwrap(), "Gravity is");
}
