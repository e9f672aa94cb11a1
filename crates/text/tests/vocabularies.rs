//! Real vocabularies: every text has exactly the reference's ids, and comes back from them.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use text::{EncodeOptions, Tokenizer};
use weights::Gguf;

fn vocabularies() -> Vec<PathBuf> {
    let Some(data) = testkit::shared_data() else {
        testkit::skipped("no shared data: real vocabularies");
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = std::fs::read_dir(data.join("vocab"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "gguf"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "the folder of vocabularies is empty");
    paths
}

/// The texts of a `.inp` file with the ids of its `.out` file.
fn cases(vocab: &Path) -> Vec<(String, Vec<u32>)> {
    let beside = |suffix: &str| {
        let mut name = vocab.as_os_str().to_owned();
        name.push(suffix);
        std::fs::read_to_string(name).unwrap()
    };
    let (texts, ids) = (beside(".inp"), beside(".out"));
    // The separator also follows the last text.
    let texts = texts.strip_suffix("\n__ggml_vocab_test__\n").unwrap();
    let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
    let ids: Vec<&str> = ids.lines().collect();
    assert_eq!(texts.len(), ids.len(), "{}", vocab.display());
    let parse = |line: &str| line.split_whitespace().map(|id| id.parse().unwrap()).collect();
    texts.iter().zip(ids).map(|(text, ids)| ((*text).to_owned(), parse(ids))).collect()
}

#[test]
fn every_text_has_the_reference_ids() {
    for path in vocabularies() {
        let gguf = Gguf::open(&path).unwrap();
        let start = Instant::now();
        let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
        let built = start.elapsed();
        let cases = cases(&path);
        let start = Instant::now();
        let mut wrong = 0;
        for (text, ids) in &cases {
            let found = tokenizer.encode(text, EncodeOptions::default()).unwrap();
            if found != *ids {
                wrong += 1;
                println!("{text:?}\n  expected {ids:?}\n  found    {found:?}");
            }
        }
        println!(
            "{}: {} tokens, built in {:.1} ms, {} texts in {:.1} ms",
            path.file_name().unwrap().to_string_lossy(),
            tokenizer.vocab_size(),
            built.as_secs_f64() * 1e3,
            cases.len(),
            start.elapsed().as_secs_f64() * 1e3,
        );
        assert_eq!(wrong, 0, "{}", path.display());
    }
}

#[test]
fn decoding_gives_the_text_back() {
    for path in vocabularies() {
        // WordPiece keeps neither case nor white space.
        if path.to_string_lossy().contains("bert") {
            continue;
        }
        let tokenizer = Tokenizer::from_gguf(&Gguf::open(&path).unwrap()).unwrap();
        for (text, ids) in cases(&path) {
            assert_eq!(tokenizer.decode(&ids, true).unwrap(), text, "{}", path.display());
        }
    }
}
