//! Tiny tokenizers of every kind: ids from a folder and from GGUF metadata are those of the
//! tokenizers library, and text comes back from them.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod support;

use std::sync::{Arc, OnceLock};

use proptest::prelude::*;
use serde_json::Value;
use support::{TINY, from_folder, from_gguf, json};
use text::{Detokenizer, EncodeOptions, Tokenizer};

const PLAIN: EncodeOptions = EncodeOptions { add_special: false, parse_special: false };
const PARSED: EncodeOptions = EncodeOptions { add_special: false, parse_special: true };
const SPECIAL: EncodeOptions = EncodeOptions { add_special: true, parse_special: true };

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn check(name: &str, source: &str, tokenizer: &Tokenizer) {
    let file = json(name, "cases.json");
    for case in file["cases"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        for (options, key) in [(PLAIN, "plain"), (PARSED, "parsed"), (SPECIAL, "special")] {
            // The library's unigram finds special tokens in plain text; here they are not found.
            let expected = ids(&case[key]);
            let special = |&id: &u32| tokenizer.is_special(id) && Some(id) != tokenizer.unk();
            if options == PLAIN && expected.iter().any(special) {
                assert_eq!(*name, *"unigram");
                continue;
            }
            let found = tokenizer.encode(text, options).unwrap();
            assert_eq!(found, expected, "{name} from {source}, {key}: {text:?}");
        }
    }
}

#[test]
fn ids_from_a_folder_are_the_library_s() {
    for (name, ..) in TINY {
        check(name, "a folder", &from_folder(name));
    }
}

#[test]
fn ids_from_gguf_metadata_are_the_library_s() {
    for (name, ..) in TINY {
        check(name, "GGUF", &from_gguf(name));
    }
}

#[test]
fn decoded_text_is_the_library_s() {
    for (name, ..) in TINY {
        // The library tidies up the text of WordPiece for people ("a ." becomes "a.").
        if *name == "word-piece" {
            continue;
        }
        for tokenizer in [from_folder(name), from_gguf(name)] {
            let file = json(name, "cases.json");
            for case in file["cases"].as_array().unwrap() {
                let expected = case["decoded"].as_str().unwrap();
                let found = tokenizer.decode(&ids(&case["plain"]), false).unwrap();
                assert_eq!(found, expected, "{name}: {:?}", case["text"]);
            }
        }
    }
}

#[test]
fn both_sources_agree_on_what_tokens_are() {
    for (name, ..) in TINY {
        let (folder, gguf) = (from_folder(name), from_gguf(name));
        assert_eq!(folder.vocab_size(), gguf.vocab_size(), "{name}");
        assert_eq!(folder.special_tokens(), gguf.special_tokens(), "{name}");
        assert_eq!(folder.ends(), gguf.ends(), "{name}");
        assert_eq!((folder.eos(), folder.eot()), (gguf.eos(), gguf.eot()), "{name}");
        for id in 0..folder.vocab_size() as u32 {
            assert_eq!(
                folder.token_bytes(id).unwrap(),
                gguf.token_bytes(id).unwrap(),
                "{name} {id}"
            );
            assert_eq!(folder.is_special(id), gguf.is_special(id), "{name} {id}");
        }
        assert!(folder.token_bytes(folder.vocab_size() as u32).is_err());
    }
}

#[test]
fn token_bytes_are_what_a_token_adds_to_a_text() {
    let tokenizer = from_folder("llama-bpe");
    for text in ["hello, Мир 今天🦙\n\t", " \u{1}\u{7f}é"] {
        let ids = tokenizer.encode(text, PLAIN).unwrap();
        let bytes: Vec<u8> =
            ids.iter().flat_map(|&id| tokenizer.token_bytes(id).unwrap().to_vec()).collect();
        assert_eq!(bytes, text.as_bytes());
    }
    assert_eq!(
        tokenizer.bos().map(|id| tokenizer.token_bytes(id).unwrap()),
        Some(&b"<|begin|>"[..])
    );
    let end = tokenizer.eot().unwrap();
    assert!(tokenizer.is_special(end) && tokenizer.is_end(end));
    assert!(!tokenizer.is_end(0));
}

fn texts() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => "\\PC{0,8}",
        2 => "[ \\n\\ta-z0-9]{0,12}",
        1 => prop::sample::select(vec!["<|im_end|>", "<|im_start|>", "<think>", "<s>", "▁", "[MASK]", "<0x41>"])
            .prop_map(str::to_owned),
    ];
    prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

/// Every tiny tokenizer from either source, with its name.
fn every() -> &'static [(&'static str, Tokenizer)] {
    static ALL: OnceLock<Vec<(&str, Tokenizer)>> = OnceLock::new();
    ALL.get_or_init(|| {
        let both = |&(name, ..): &(&'static str, _, _)| {
            [(name, from_folder(name)), (name, from_gguf(name))]
        };
        TINY.iter().flat_map(both).collect()
    })
}

proptest! {
    #[test]
    fn plain_text_never_becomes_a_special_token_and_comes_back(text in texts()) {
        for (name, tokenizer) in every() {
            let ids = tokenizer.encode(&text, PLAIN).unwrap();
            for &id in &ids {
                prop_assert!(Some(id) == tokenizer.unk() || !tokenizer.is_special(id), "{}", name);
            }
            let has_unk = ids.iter().any(|&id| Some(id) == tokenizer.unk());
            // WordPiece and NFC keep the meaning, not the text; unigram here has no bytes.
            // Sentences spell their own mark as a space, and begin anew after added tokens.
            let is_sentence = *name == "sentence-bpe";
            if has_unk
                || ["word-piece", "qwen2", "unigram"].contains(name)
                || is_sentence && (text.contains('▁') || text.contains("<think>"))
            {
                continue;
            }
            prop_assert_eq!(tokenizer.decode(&ids, true).unwrap(), text.as_str(), "{}", name);
        }
    }

    #[test]
    fn detokenizing_one_by_one_equals_decoding_the_whole(
        ids in prop::collection::vec(0u32..445, 0..40), show in any::<bool>(), which in 0usize..6,
    ) {
        let tokenizer = Arc::new(from_gguf(TINY[which].0));
        let mut detokenizer = Detokenizer::new(tokenizer.clone(), show);
        let mut text = String::new();
        for &id in &ids {
            text.push_str(detokenizer.push(id).unwrap());
        }
        text.push_str(detokenizer.finish());
        prop_assert_eq!(text, tokenizer.decode(&ids, show).unwrap());
    }
}

#[test]
fn texts_beyond_the_limits_are_refused() {
    let tokenizer = from_folder("gpt-2");
    let spaces = " ".repeat(text::tokenizer::MAX_WHITESPACE_RUN + 1);
    let error = tokenizer.encode(&spaces, PLAIN).unwrap_err();
    assert!(error.to_string().contains("white space"), "{error}");
    let ids = tokenizer.encode(&spaces[1..], PLAIN).unwrap();
    assert_eq!(tokenizer.decode(&ids, true).unwrap().len(), spaces.len() - 1);
}

/// What stands around one text and between two, in each form that files have it in.
#[test]
fn pairs_of_texts_are_put_together_as_the_file_says() {
    let tokenizer = |processor: Value| {
        let json = serde_json::json!({
            "model": {"type": "WordLevel", "vocab": {"a": 0, "<s>": 1, "</s>": 2}, "unk_token": "a"},
            "post_processor": processor,
        });
        Tokenizer::from_tokenizer_json(json.to_string().as_bytes()).expect("it is read")
    };
    let ends = |kind: &str| {
        serde_json::json!({"type": kind, "sep": ["</s>", 2], "cls": ["<s>", 1],
            "trim_offsets": true, "add_prefix_space": false})
    };
    let special = |id: &str| serde_json::json!({"SpecialToken": {"id": id, "type_id": 0}});
    let text = |id: &str| serde_json::json!({"Sequence": {"id": id, "type_id": 0}});
    let template = serde_json::json!({"type": "TemplateProcessing",
        "single": [special("<s>"), text("A")],
        "pair": [special("<s>"), text("A"), special("</s>"), special("<s>"), text("B")],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]},
            "</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}}});
    for (processor, before, between, after) in [
        (ends("BertProcessing"), &[1][..], Some(&[2][..]), &[2][..]),
        (ends("RobertaProcessing"), &[1], Some(&[2, 2]), &[2]),
        (template.clone(), &[1], Some(&[2, 1]), &[]),
        (
            serde_json::json!({"type": "Sequence", "processors": [template]}),
            &[1],
            Some(&[2, 1]),
            &[],
        ),
        (
            serde_json::json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true}),
            &[],
            None,
            &[],
        ),
    ] {
        let tokenizer = tokenizer(processor);
        let around = tokenizer.around();
        assert_eq!((around.before, around.between, around.after), (before, between, after));
    }
}
