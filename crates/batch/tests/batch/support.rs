//! Stores with batches in them, and what is in their files.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read};

use batch::MessageResults;
use serde_json::{Value, json};
use store::{BatchRow, NewBatch, NewFile, Store};

pub(crate) const ENDPOINT: &str = "/v1/completions";

/// Takes a batch of these lines, which is over at `expires_at`.
pub(crate) fn add(store: &Store, owner: &str, lines: &[String], expires_at: u64) -> String {
    add_counted(store, owner, lines, expires_at, 0)
}

/// The same of a batch whose lines were counted when they came, or 0.
pub(crate) fn add_counted(
    store: &Store,
    owner: &str,
    lines: &[String],
    expires_at: u64,
    n_lines: u64,
) -> String {
    let mut upload = store.upload(1 << 20).unwrap();
    upload.write(lines.join("\n").as_bytes()).unwrap();
    let file = NewFile {
        owner: owner.into(),
        purpose: "batch".into(),
        filename: "in.jsonl".into(),
        created_at: 0,
        expires_at: None,
    };
    let file = store.add_file(upload, file, u64::MAX).unwrap();
    let new = NewBatch {
        owner: owner.into(),
        tenant: u64::MAX,
        endpoint: ENDPOINT.into(),
        input_file_id: file.id,
        completion_window: "24h".into(),
        metadata: "{}".into(),
        output_lasts: Some(100),
        created_at: 0,
        expires_at,
        n_lines,
    };
    store.add_batch(new, u64::MAX).unwrap().id
}

/// A request with this name.
pub(crate) fn line(custom_id: &str, body: &Value) -> String {
    json!({"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": body}).to_string()
}

/// The kinds of results that Anthropic's clients read of a batch, with how many there are of each.
pub(crate) fn results(store: &Store, row: &BatchRow) -> BTreeMap<String, u64> {
    let content = |id: &Option<String>| -> Box<dyn Read> {
        match id {
            Some(id) => {
                Box::new(store.content(&store.file(&row.asked.owner, id).unwrap()).unwrap())
            }
            None => Box::new(std::io::empty()),
        }
    };
    let files = content(&row.output_file_id).chain(content(&row.error_file_id));
    // Pieces that end within lines.
    let lines = BufReader::with_capacity(7, MessageResults::new(BufReader::new(files))).lines();
    let mut kinds = BTreeMap::new();
    for line in lines {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert!(line["custom_id"].is_string(), "{line}");
        *kinds.entry(line["result"]["type"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    kinds
}

/// The records of both files of a batch by their names, each with whether it is an answer; none
/// comes twice.
pub(crate) fn records(store: &Store, row: &BatchRow) -> BTreeMap<String, (bool, Value)> {
    let mut records = BTreeMap::new();
    for (is_ok, id) in [(true, &row.output_file_id), (false, &row.error_file_id)] {
        let Some(id) = id else { continue };
        let file = store.file(&row.asked.owner, id).unwrap();
        assert_eq!(file.expires_at, Some(row.ended_at.unwrap() + 100));
        for text in BufReader::new(store.content(&file).unwrap()).lines() {
            let record: Value = serde_json::from_str(&text.unwrap()).unwrap();
            let custom_id = record["custom_id"].as_str().unwrap().to_owned();
            let before = records.insert(custom_id, (is_ok, record));
            assert!(before.is_none(), "a line comes twice: {before:?}");
        }
    }
    records
}
