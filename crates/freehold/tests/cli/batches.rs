//! Batches of a real server on a tiny model, whose process is killed while they run.

use crate::data::{chat_model, freehold, home};
use crate::server::serve;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use testkit::http;
use testkit::process::Server;

const N_LINES: usize = 200;
/// What a batch of this size may take on a machine that others use.
const LIMIT: Duration = Duration::from_secs(120);

/// Requests of several lengths, drawn at a temperature without a seed; every tenth is refused.
fn lines() -> String {
    let line = |n: usize| {
        let temperature = if n % 10 == 9 { 99 } else { 1 };
        let messages = json!([{"role": "user", "content": format!("Say {n}")}]);
        let body = json!({"model": "tiny", "messages": messages, "max_tokens": 40 + n % 60,
            "temperature": temperature});
        let line = json!({"custom_id": format!("line-{n}"), "method": "POST",
            "url": "/v1/chat/completions", "body": body});
        format!("{line}\n")
    };
    (0..N_LINES).map(line).collect()
}

fn parsed(response: &http::Response) -> Value {
    assert_eq!(response.status, 200, "{}", response.body);
    serde_json::from_str(&response.body).expect("it is JSON")
}

fn submit(server: &Server) -> String {
    let uploaded = http::upload(&server.address, "in.jsonl", "batch", lines().as_bytes());
    let file = parsed(&uploaded.expect("it answers"));
    let body = json!({"input_file_id": file["id"], "endpoint": "/v1/chat/completions",
        "completion_window": "24h"});
    let batch = http::post(&server.address, "/v1/batches", &body.to_string());
    parsed(&batch.expect("it answers"))["id"].as_str().expect("it has an id").to_owned()
}

/// Asks until the batch is so far.
fn until(server: &Server, id: &str, is_so_far: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let batch = http::get(&server.address, &format!("/v1/batches/{id}")).expect("it answers");
        let batch = parsed(&batch);
        if is_so_far(&batch) {
            return batch;
        }
        assert!(begun.elapsed() < LIMIT, "{batch}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn n_done(batch: &Value) -> u64 {
    let count = |name| batch["request_counts"][name].as_u64().expect("a number");
    count("completed") + count("failed")
}

/// What each line came to, by its name; none may come twice. Ids and times differ between
/// batches, so they are left out.
fn results(server: &Server, batch: &Value) -> BTreeMap<String, Value> {
    let mut results = BTreeMap::new();
    for name in ["output_file_id", "error_file_id"] {
        let id = batch[name].as_str().expect("there is such a file");
        let content = http::get(&server.address, &format!("/v1/files/{id}/content"));
        for line in content.expect("it answers").body.lines() {
            let record: Value = serde_json::from_str(line).expect("it is JSON");
            let (body, status) = (&record["response"]["body"], &record["response"]["status_code"]);
            let said = json!([status, body["choices"], body["usage"], body["error"]]);
            let custom_id = record["custom_id"].as_str().expect("a name").to_owned();
            let before = results.insert(custom_id, said);
            assert_eq!(before, None, "a line comes twice: {record}");
        }
    }
    results
}

fn restarted(home: &TempDir, model: &Path) -> Server {
    serve(home, model)
}

#[test]
fn a_batch_that_is_killed_goes_on_without_losing_or_repeating_a_line() {
    let home = home();
    let model = chat_model(home.path());
    let server = serve(&home, &model);
    let id = submit(&server);
    until(&server, &id, |batch| n_done(batch) >= 20);
    // Killed with signal 9, between any two instructions.
    drop(server);
    let server = restarted(&home, &model);
    let batch = until(&server, &id, |batch| n_done(batch) >= 70);
    assert_eq!(batch["status"], "in_progress", "it was over before it could be killed: {batch}");
    // And told to end, with lines under way.
    let told = Command::new("kill").arg(server.id().to_string()).status();
    assert!(told.expect("there is `kill`").success());
    assert!(server.wait().expect("it ends").success());
    let server = restarted(&home, &model);
    let batch = until(&server, &id, |batch| batch["status"] == "completed");
    let counts = json!({"total": N_LINES, "completed": 180, "failed": 20});
    assert_eq!(batch["request_counts"], counts);
    let results_of_killed = results(&server, &batch);
    assert_eq!(results_of_killed.len(), N_LINES);
    let lengths: Vec<_> =
        results_of_killed.values().map(|said| &said[2]["completion_tokens"]).collect();
    assert!(lengths.iter().any(|length| **length != *lengths[0]), "{lengths:?}");
    // The same file in one go.
    let again = submit(&server);
    let batch = until(&server, &again, |batch| batch["status"] == "completed");
    assert_eq!(results(&server, &batch), results_of_killed);
}

#[test]
fn responses_in_the_background_that_are_killed_fail_and_kept_ones_stay() {
    let home = home();
    let model = chat_model(home.path());
    let server = serve(&home, &model);
    let ask = |server: &Server, more: Value| {
        let mut body = json!({"model": "tiny", "input": "Hi", "temperature": 0});
        body.as_object_mut().expect("an object").extend(more.as_object().cloned().expect("one"));
        parsed(
            &http::post(&server.address, "/v1/responses", &body.to_string()).expect("it answers"),
        )
    };
    let read = |server: &Server, id: &Value| {
        let path = format!("/v1/responses/{}", id.as_str().expect("an id"));
        parsed(&http::get(&server.address, &path).expect("it answers"))
    };
    let kept = ask(&server, json!({"max_output_tokens": 4}));
    // So many and so long that some are under way whenever the process is killed.
    let schema = json!({"type": "string", "minLength": 500});
    let long = json!({"background": true,
        "text": {"format": {"type": "json_schema", "name": "long", "schema": schema}}});
    let queued: Vec<Value> = (0..40).map(|_| ask(&server, long.clone())["id"].clone()).collect();
    drop(server);
    let server = restarted(&home, &model);
    assert_eq!(read(&server, &kept["id"]), kept);
    let begun = Instant::now();
    let statuses = || queued.iter().map(|id| read(&server, id)["status"].clone());
    while statuses().any(|status| status == "queued" || status == "in_progress") {
        assert!(begun.elapsed() < LIMIT);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(statuses().any(|status| status == "failed"), "all were complete before the kill");
    let more = json!({"previous_response_id": kept["id"], "max_output_tokens": 4});
    assert_eq!(ask(&server, more)["previous_response_id"], kept["id"]);
    let out = freehold(home.path()).args(["list", "--json"]).output().expect("it runs");
    assert!(out.status.success(), "the store is no model");
}
