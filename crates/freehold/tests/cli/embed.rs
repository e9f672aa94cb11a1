//! Embeddings and rerank: every endpoint over tiny encoders, and the vectors of a real one.

use crate::data::{chat_model, failure, freehold, home, json_output, output, write};
use crate::server::serve;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use testkit::http;
use testkit::process::Server;
use weights::Checkpoint;

/// Words of the tiny tokenizer, behind its special tokens; two in a row begin alike.
const WORDS: [&str; 12] =
    ["a", "cat", "##s", "dog", "house", "is", "mine", "own", "##ed", "the", "your", "!"];

/// A tiny encoder of the repository in `folder`, with a WordPiece tokenizer.
fn encoder(folder: &Path, name: &str) -> PathBuf {
    let golden = testkit::repository_root().join("testdata/encoders").join(name);
    let model = folder.join(name);
    copy(&golden, &model);
    let specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"];
    let vocabulary: serde_json::Map<String, Value> = specials
        .iter()
        .chain(&WORDS)
        .enumerate()
        .map(|(id, token)| ((*token).to_owned(), json!(id)))
        .collect();
    let added: Vec<Value> = specials
        .iter()
        .enumerate()
        .map(|(id, token)| json!({"id": id, "content": token, "special": true}))
        .collect();
    let part = |id: &str| json!({"SpecialToken": {"id": id, "type_id": 0}});
    let text = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
    let tokenizer = json!({
        "added_tokens": added,
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing",
            "single": [part("[CLS]"), text("A"), part("[SEP]")],
            "pair": [part("[CLS]"), text("A"), part("[SEP]"), text("B"), part("[SEP]")],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary},
    });
    write(&model.join("tokenizer.json"), &tokenizer.to_string());
    model
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the folder is ours");
    for entry in std::fs::read_dir(from).expect("it is a folder").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else if entry.file_name() != "expected.safetensors" && entry.file_name() != "model.gguf" {
            std::fs::copy(entry.path(), target).expect("there is room");
        }
    }
}

fn post(server: &Server, path: &str, body: &Value) -> (u16, Value) {
    let response = http::post(&server.address, path, &body.to_string()).expect("it answers");
    let body = serde_json::from_str(&response.body).unwrap_or(Value::String(response.body));
    (response.status, body)
}

fn ok(server: &Server, path: &str, body: &Value) -> Value {
    let (status, body) = post(server, path, body);
    assert_eq!(status, 200, "{path}: {body}");
    body
}

fn refused(server: &Server, path: &str, body: &Value) -> String {
    let (status, body) = post(server, path, body);
    assert_eq!(status, 400, "{path}: {body}");
    body.to_string()
}

fn floats(vector: &Value) -> Vec<f32> {
    let values = vector.as_array().expect("a vector is a list").iter();
    values.map(|value| value.as_f64().expect("of numbers") as f32).collect()
}

/// The vectors of an answer of `/v1/embeddings`.
fn vectors(answer: &Value) -> Vec<Vec<f32>> {
    let data = answer["data"].as_array().expect("a list").iter();
    data.map(|one| floats(&one["embedding"])).collect()
}

fn of_base64(text: &str) -> Vec<f32> {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.trim_end_matches('=').chars();
    let mut bits = 0u32;
    let mut bytes = Vec::new();
    for (i, digit) in digits.enumerate() {
        bits = bits << 6 | DIGITS.find(digit).expect("a digit") as u32;
        if i % 4 > 0 {
            bytes.push((bits >> (6 - 2 * (i % 4))) as u8);
        }
    }
    let words = bytes.chunks_exact(4);
    words.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

fn length(vector: &[f32]) -> f64 {
    vector.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt()
}

#[test]
fn one_text_has_one_vector_on_every_path() {
    let home = home();
    let server = serve(&home, &encoder(home.path(), "bert-mean"));
    let texts = ["The cats!", "a dog is mine", "house"];
    let together = ok(&server, "/v1/embeddings", &json!({"model": "tiny", "input": texts}));
    let all = vectors(&together);
    assert!(all.iter().all(|vector| vector.len() == 24 && (length(vector) - 1.0).abs() < 1e-6));
    assert!(all[0] != all[1] && all[1] != all[2]);
    // [CLS] the cat ##s ! [SEP], [CLS] a dog is mine [SEP], [CLS] house [SEP]
    assert_eq!(together["usage"], json!({"prompt_tokens": 15, "total_tokens": 15}));
    let tokens = json!([[2, 13, 5, 6, 15, 3], [2, 4, 7, 9, 10, 3], [2, 8, 3]]);
    let by_tokens = ok(&server, "/v1/embeddings", &json!({"model": "tiny", "input": tokens}));
    assert_eq!(vectors(&by_tokens), all);
    let told = [
        "vllm:num_requests_running{model_name=\"tiny\",engine=\"0\"} 0",
        "vllm:num_requests_waiting{model_name=\"tiny\",engine=\"0\"} 0",
        "vllm:prompt_tokens_total{model_name=\"tiny\",engine=\"0\"} 30",
        "freehold_prefill_tokens_total{model_name=\"tiny\",engine=\"0\"} 30",
    ];
    let begun = Instant::now();
    loop {
        let page = http::get(&server.address, "/metrics").expect("it answers").body;
        let missing = told.iter().find(|line| !page.contains(**line));
        let Some(missing) = missing else { break };
        assert!(begun.elapsed() < Duration::from_secs(5), "{missing}");
    }
    for (text, vector) in texts.iter().zip(&all) {
        let ask = json!({"model": "tiny", "input": text});
        assert_eq!(&vectors(&ok(&server, "/v1/embeddings", &ask))[0], vector, "alone");
        let base64 = json!({"model": "tiny", "input": text, "encoding_format": "base64"});
        let base64 = ok(&server, "/v1/embeddings", &base64);
        let base64 = base64["data"][0]["embedding"].as_str().expect("base64 is text");
        assert_eq!(&of_base64(base64), vector);
        let ollama = ok(&server, "/api/embed", &ask);
        assert_eq!(&floats(&ollama["embeddings"][0]), vector);
        let older = json!({"model": "tiny", "prompt": text});
        assert_eq!(&floats(&ok(&server, "/api/embeddings", &older)["embedding"]), vector);
        let mut command = freehold(home.path());
        command.arg("embed").arg(home.path().join("bert-mean")).args([text, "--json"]);
        assert_eq!(&floats(&json_output(&mut command)["embedding"]), vector);
    }
    let short = json!({"model": "tiny", "input": texts[0], "dimensions": 8});
    let short = vectors(&ok(&server, "/v1/embeddings", &short)).remove(0);
    let factor = length(&all[0][..8]);
    assert_eq!(short.len(), 8);
    assert!(
        short
            .iter()
            .zip(&all[0])
            .all(|(a, b)| (f64::from(*b) / factor - f64::from(*a)).abs() < 1e-6)
    );
    let raw = json!({"model": "tiny", "input": texts[0], "normalize": false});
    let raw = vectors(&ok(&server, "/v1/embeddings", &raw)).remove(0);
    assert!((length(&raw) - 1.0).abs() > 1e-3, "the model's own length");
}

#[test]
fn what_is_too_long_or_makes_no_sense_is_refused() {
    let home = home();
    let server = serve(&home, &encoder(home.path(), "bert-mean"));
    let long = "cat ".repeat(80);
    let ask = |extra: Value| {
        let mut body = json!({"model": "tiny", "input": ["a", long]});
        body.as_object_mut().expect("an object").extend(extra.as_object().expect("too").clone());
        body
    };
    let said = refused(&server, "/v1/embeddings", &ask(json!({})));
    assert!(said.contains("82") && said.contains("60"), "both numbers: {said}");
    let body = ask(json!({"truncate_prompt_tokens": -1})).to_string();
    let cut = http::post(&server.address, "/v1/embeddings", &body).expect("it answers");
    assert_eq!(cut.header("x-freehold-cut"), Some("1:22"), "{}", cut.body);
    let cut: Value = serde_json::from_str(&cut.body).expect("it is JSON");
    assert_eq!(cut["usage"]["prompt_tokens"], 63);
    // Ollama cuts unless it is told not to.
    let ollama = ok(&server, "/api/embed", &ask(json!({})));
    assert_eq!(floats(&ollama["embeddings"][1]), vectors(&cut)[1]);
    assert!(refused(&server, "/api/embed", &ask(json!({"truncate": false}))).contains("82"));
    let said = refused(&server, "/v1/embeddings", &ask(json!({"dimensions": 25})));
    assert!(said.contains("25") && said.contains("24"), "{said}");
    for input in [json!([]), json!(""), json!([[]]), json!([[60]]), json!({}), json!([1, "a"])] {
        let answer = post(&server, "/v1/embeddings", &json!({"model": "tiny", "input": input}));
        // Nothing but what stands around a text is a text too.
        assert_eq!(answer.0, if input == "" { 200 } else { 400 }, "{input}: {}", answer.1);
    }
    assert!(refused(&server, "/v1/embeddings", &ask(json!({"stream": true}))).contains("stream"));
    let chat = json!({"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]});
    let said = refused(&server, "/v1/chat/completions", &chat);
    assert!(said.contains("/v1/embeddings"), "{said}");
    let rank = json!({"model": "tiny", "query": "a", "documents": ["b"]});
    assert!(refused(&server, "/v1/rerank", &rank).contains("vectors"));
    let shown = ok(&server, "/api/show", &json!({"model": "tiny"}));
    assert_eq!(shown["capabilities"], json!(["embedding"]));
    assert_eq!(shown["model_info"]["bert.embedding_length"], 24);
    let told = http::get(&server.address, "/v1/capabilities").expect("it answers");
    let told: Value = serde_json::from_str(&told.body).expect("it is JSON");
    assert_eq!(told["models"][0]["output"], json!(["embedding"]));
}

#[test]
fn documents_are_ranked_as_the_model_scores_them() {
    let home = home();
    let server = serve(&home, &encoder(home.path(), "bert-scores"));
    let documents = json!(["a dog is mine", {"text": "the cats!"}, "house"]);
    let ask = json!({"model": "tiny", "query": "cats", "documents": documents, "raw_scores": true});
    let raw = ok(&server, "/v1/rerank", &ask);
    let results = raw["results"].as_array().expect("a list");
    let scores: Vec<f64> =
        results.iter().filter_map(|one| one["relevance_score"].as_f64()).collect();
    assert!(scores.len() == 3 && scores.is_sorted_by(|a, b| a > b), "{raw}");
    let ask = json!({"model": "tiny", "query": "cats", "documents": documents, "top_n": 2,
        "return_documents": true});
    for path in ["/rerank", "/v1/rerank", "/v2/rerank"] {
        let ranked = ok(&server, path, &ask);
        let ranked = ranked["results"].as_array().expect("a list");
        assert_eq!(ranked.len(), 2);
        for (one, (of_raw, score)) in ranked.iter().zip(results.iter().zip(&scores)) {
            assert_eq!(one["index"], of_raw["index"]);
            let text = &documents[one["index"].as_u64().expect("a number") as usize];
            assert_eq!(&one["document"]["text"], text.get("text").unwrap_or(text));
            let expected = 1.0 / (1.0 + (-score).exp());
            let got = one["relevance_score"].as_f64().expect("a number");
            assert!((got - expected).abs() < 1e-6, "{got} for {expected}");
        }
    }
    // A document alone has the score that it has among others.
    let first = results[0]["index"].as_u64().expect("a number") as usize;
    let alone = json!({"model": "tiny", "query": "cats", "documents": [documents[first]],
        "raw_scores": true});
    let alone = ok(&server, "/rerank", &alone);
    assert_eq!(alone["results"][0]["relevance_score"], results[0]["relevance_score"]);
    let long = json!({"model": "tiny", "query": "a", "documents": ["cat ".repeat(80)]});
    assert!(refused(&server, "/rerank", &long).contains("84"));
    let said = refused(&server, "/v1/embeddings", &json!({"model": "tiny", "input": "a"}));
    assert!(said.contains("/v1/rerank"), "{said}");
}

#[test]
fn a_model_that_declares_no_pooling_embeds_only_when_it_is_told_how() {
    let home = home();
    let model = chat_model(home.path());
    let server = serve(&home, &model);
    let said = refused(&server, "/v1/embeddings", &json!({"model": "tiny", "input": "a"}));
    assert!(said.contains("--pooling"), "{said}");
    drop(server);
    let mut command = freehold(home.path());
    let said = failure(command.arg("embed").arg(&model).arg("a"), 1);
    assert!(said.contains("--pooling"), "{said}");
    let embed = |pooling: &str, texts: &[&str]| {
        let mut command = freehold(home.path());
        command.arg("embed").arg(&model).args(["--pooling", pooling, "--json"]).args(texts);
        let lines = output(&mut command);
        let lines = lines.lines().map(|line| serde_json::from_str(line).expect("a JSON line"));
        lines.map(|line: Value| floats(&line["embedding"])).collect::<Vec<_>>()
    };
    let both = embed("last", &["Hi there", "Ho"]);
    assert_eq!(embed("last", &["Ho"])[0], both[1]);
    assert_ne!(embed("mean", &["Ho"])[0], both[1]);
    // An encoder without a declaration is no better.
    let encoder = encoder(home.path(), "bert-mean");
    std::fs::remove_file(encoder.join("modules.json")).expect("it is there");
    let mut command = freehold(home.path());
    let said = failure(command.arg("serve").arg(&encoder).args(["--port", "0"]), 1);
    assert!(said.contains("pooling"), "{said}");
    let mut command = freehold(home.path());
    let said = failure(command.arg("run").arg(&encoder).arg("Hi"), 1);
    assert!(said.contains("freehold embed"), "{said}");
}

/// What transformers computes in f32 with another order of sums: twice the largest difference
/// that was measured, 1.8e-7.
const TOLERANCE: f32 = 4e-7;

#[test]
fn the_real_encoder_gives_its_known_vectors() {
    let Some(model) = testkit::minilm() else {
        let why =
            "all-MiniLM-L6-v2 is not here: `cargo xtask test` fetches it, or set FREEHOLD_MINILM";
        return testkit::skipped(why);
    };
    let golden = testkit::repository_root().join("testdata/minilm.safetensors");
    let bytes = std::fs::read(&golden).expect("the repository carries it");
    let header = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + header]).expect("it is JSON");
    let texts = header["__metadata__"]["texts"].as_str().expect("the generator wrote it");
    let texts: Vec<String> = serde_json::from_str(texts).expect("it is a list");
    let golden = Checkpoint::open(&golden).expect("it opens");
    let expected = golden.tensor("vectors").expect("it is there").to_f32().expect("it decodes");
    let home = home();
    let server = serve(&home, &model);
    let all = ok(&server, "/v1/embeddings", &json!({"model": "tiny", "input": texts}));
    let all = vectors(&all);
    let mut worst = 0f32;
    for (i, (vector, expected)) in all.iter().zip(expected.chunks_exact(384)).enumerate() {
        let error = vector.iter().zip(expected).fold(0f32, |max, (a, b)| max.max((a - b).abs()));
        worst = worst.max(error);
        let cosine: f64 =
            vector.iter().zip(expected).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        assert!(cosine > 1.0 - 1e-6, "text {i}: cosine {cosine}");
        let alone = json!({"model": "tiny", "input": texts[i]});
        assert_eq!(&vectors(&ok(&server, "/v1/embeddings", &alone))[0], vector, "text {i} alone");
    }
    assert!(worst < TOLERANCE, "largest difference {worst}");
    testkit::note(&format!("all-MiniLM-L6-v2: largest difference {worst:.1e}"));
}
