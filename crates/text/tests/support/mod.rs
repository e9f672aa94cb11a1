//! Tiny tokenizers of every kind, from either source. `data/make_vocab.py` makes them.

use std::path::PathBuf;

use serde_json::Value;
use text::{GgufVocab, Tokenizer};

/// Every tiny tokenizer: its folder, and the kind and pre-tokenizer that a GGUF file would name.
pub(crate) const TINY: &[(&str, &str, &str)] = &[
    ("gpt-2", "gpt2", "gpt-2"),
    ("llama-bpe", "gpt2", "llama-bpe"),
    ("qwen2", "gpt2", "qwen2"),
    ("deepseek-v3", "gpt2", "deepseek-v3"),
    ("smollm", "gpt2", "smollm"),
    ("sentence-bpe", "llama", "default"),
    ("unigram", "t5", "default"),
    ("word-piece", "bert", "bert"),
];

pub(crate) fn folder(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/data/vocab", name].iter().collect()
}

pub(crate) fn json(name: &str, file: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder(name).join(file)).unwrap()).unwrap()
}

pub(crate) fn from_folder(name: &str) -> Tokenizer {
    Tokenizer::from_hf_folder(&folder(name)).unwrap()
}

/// The same vocabulary as a GGUF file would hold it.
pub(crate) struct TinyGguf {
    pub(crate) tokens: Vec<String>,
    pub(crate) types: Vec<i32>,
    pub(crate) merges: Vec<String>,
    pub(crate) scores: Vec<f32>,
}

impl TinyGguf {
    pub(crate) fn read(name: &str) -> TinyGguf {
        let tokenizer = json(name, "tokenizer.json");
        let mut entries: Vec<(usize, String)> = match &tokenizer["model"]["vocab"] {
            Value::Object(vocab) => {
                vocab.iter().map(|(t, id)| (id.as_u64().unwrap() as usize, t.clone())).collect()
            }
            Value::Array(vocab) => {
                let token = |entry: &Value| entry[0].as_str().unwrap().to_owned();
                vocab.iter().enumerate().map(|(id, entry)| (id, token(entry))).collect()
            }
            _ => unreachable!(),
        };
        let added = tokenizer["added_tokens"].as_array().unwrap();
        let added: Vec<(usize, String, bool)> = added
            .iter()
            .map(|t| {
                let content = t["content"].as_str().unwrap().to_owned();
                (t["id"].as_u64().unwrap() as usize, content, t["special"] == true)
            })
            .collect();
        entries.extend(added.iter().map(|(id, content, _)| (*id, content.clone())));
        entries.sort();
        entries.dedup();
        let word_piece = tokenizer["model"]["type"] == "WordPiece";
        let mut tokens: Vec<String> = entries.into_iter().map(|(_, token)| token).collect();
        let mut types: Vec<i32> = tokens
            .iter()
            .map(|t| if t.starts_with("<0x") && t.len() == 6 { 6 } else { 1 })
            .collect();
        for (id, content, special) in added {
            types[id] = match (special, content.as_str()) {
                (true, "<unk>") => 2,
                (true, _) => 3,
                (false, _) => 4,
            };
        }
        if word_piece {
            for token in &mut tokens {
                *token = match token.strip_prefix("##") {
                    Some(rest) => rest.to_owned(),
                    None if token.starts_with('[') && token.ends_with(']') => token.clone(),
                    None => format!("▁{token}"),
                };
            }
        }
        let merge = |merge: &Value| match merge {
            Value::String(merge) => merge.clone(),
            pair => format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
        };
        let merges = tokenizer["model"]["merges"].as_array();
        let mut scores: Vec<f32> = (json(name, "cases.json")["scores"].as_array().into_iter())
            .flatten()
            .map(|score| score.as_f64().unwrap() as f32)
            .collect();
        if !scores.is_empty() {
            scores.resize(tokens.len(), 0.0);
        }
        TinyGguf {
            types,
            merges: merges.into_iter().flatten().map(merge).collect(),
            scores,
            tokens,
        }
    }

    pub(crate) fn vocab<'a>(&'a self, model: &'a str, pre: &'a str) -> GgufVocab<'a> {
        let mut vocab = GgufVocab::default();
        vocab.model = model;
        vocab.pre = Some(pre);
        vocab.tokens = self.tokens.iter().map(String::as_str).collect();
        vocab.types = self.types.clone();
        vocab.scores = self.scores.clone();
        if model == "gpt2" {
            vocab.merges = self.merges.iter().map(String::as_str).collect();
        }
        let id = |token: &str| self.tokens.iter().position(|t| t == token).map(|id| id as u32);
        vocab.eos = id("</s>").or(id("<|im_end|>"));
        vocab.bos = id("<s>").or(id("<|begin|>"));
        vocab.unk = id("<unk>").or(id("[UNK]"));
        vocab.cls = id("[CLS]");
        vocab.sep = id("[SEP]");
        vocab
    }
}

#[allow(dead_code, reason = "not every test file needs both sources")]
pub(crate) fn from_gguf(name: &str) -> Tokenizer {
    let (_, model, pre) = TINY.iter().find(|(n, ..)| *n == name).unwrap();
    Tokenizer::from_gguf_vocab(&TinyGguf::read(name).vocab(model, pre)).unwrap()
}
