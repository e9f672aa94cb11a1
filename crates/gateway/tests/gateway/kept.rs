//! Files, batches and responses against clients that are hostile, broken or somebody else.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use gateway::{Config, KeepRules};
use serde_json::{Value, json};
use store::{NewKey, Store};

use crate::http::{Response, raw, request};
use crate::scripted::{Running, config, eventually, start, start_keeping, start_keeping_within};

const BOUNDARY: &str = "xxBOUNDARYxx";

/// A part of a form.
fn part(head: &str, content: &str) -> String {
    format!("--{BOUNDARY}\r\ncontent-disposition: form-data; {head}\r\n\r\n{content}\r\n")
}

fn file(name: &str, content: &str) -> String {
    part(&format!("name=\"file\"; filename=\"{name}\""), content)
}

fn purpose(purpose: &str) -> String {
    part("name=\"purpose\"", purpose)
}

fn form(parts: &[String]) -> String {
    format!("{}--{BOUNDARY}--\r\n", parts.concat())
}

fn upload_with(server: &Running, headers: &str, body: &str) -> Response {
    let head = format!(
        "POST /v1/files HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\
         content-length: {}\r\n\r\n",
        body.len()
    );
    raw(server.address, [head.as_bytes(), body.as_bytes()].concat().as_slice())
}

fn content_type() -> String {
    format!("content-type: multipart/form-data; boundary={BOUNDARY}\r\n")
}

fn upload(server: &Running, parts: &[String]) -> Response {
    upload_with(server, &content_type(), &form(parts))
}

fn ask(server: &Running, key: &str, method: &str, path: &str, body: &Value) -> Response {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let text = String::from_utf8(request(method, path, body.as_bytes())).unwrap();
    let header = format!("host: localhost\r\nx-api-key: {key}\r\n");
    raw(server.address, text.replacen("host: localhost\r\n", &header, 1).as_bytes())
}

fn key(store: &Store, name: &str) -> String {
    store.create_key(NewKey { name: name.into(), ..NewKey::default() }).unwrap().1
}

/// Has the answers to `hold` go on.
fn release(server: &Running) {
    let asked = json!({"model": "own/script", "input": "release", "store": false});
    assert_eq!(ask(server, "", "POST", "/v1/responses", &asked).status, 200);
}

fn contents(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder.join("store/files")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn names_of_files_never_touch_a_path() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let server = start_keeping(config(), &home);
    let names = ["../../../x", "/etc/passwd", "..\\..\\x", "a/b/c", "store.sqlite", "%2e%2e%2fx"];
    for name in names {
        let came = upload(&server, &[file(name, "content"), purpose("user_data")]);
        assert_eq!(came.status, 200, "{name}: {came:?}");
        assert_eq!(came.json()["filename"].as_str(), Some(name));
    }
    let contents = contents(&home);
    assert_eq!(contents.len(), names.len());
    assert!(contents.iter().all(|name| name.starts_with("file-") && name.len() == 37));
    let beside: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(beside.len(), 1, "nothing beside the folder: {beside:?}");
    let tricks = ["..", "%2e%2e", "..%2f..%2fstore.sqlite", "%2fetc%2fpasswd", "file-%00", "."];
    for trick in tricks {
        for path in [format!("/v1/files/{trick}"), format!("/v1/files/{trick}/content")] {
            let got = raw(server.address, &request("GET", &path, b""));
            assert_eq!(got.status, 404, "{path}: {got:?}");
            let got = raw(server.address, &request("DELETE", &path, b""));
            assert!(matches!(got.status, 404 | 405), "{path}: {got:?}");
        }
    }
    assert_eq!(self::contents(&home).len(), names.len());
}

#[test]
fn forms_that_are_broken_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = start_keeping(config(), folder.path());
    let ok = || [file("a", "content"), purpose("batch")];
    let long = "x".repeat(5000);
    let text = |head: &str| part(head, "x");
    let many: Vec<String> = (0..40).map(|n| text(&format!("name=\"p{n}\""))).collect();
    let lasts = |anchor: &str, seconds: &str| {
        [
            file("a", "x"),
            purpose("batch"),
            part("name=\"expires_after[anchor]\"", anchor),
            part("name=\"expires_after[seconds]\"", seconds),
        ]
    };
    let bad: [(&[String], u16, &str); 12] = [
        (&[], 400, "file is missing"),
        (&[purpose("batch")], 400, "file is missing"),
        (&[file("a", "x")], 400, "purpose is missing"),
        (&[file("a", "x"), purpose("theirs")], 400, "purpose"),
        (&[file("a", "x"), file("b", "y"), purpose("batch")], 400, "twice"),
        (&[file("a", "x"), purpose("batch"), purpose("batch")], 400, "twice"),
        (&[file("a", "x"), purpose(&long)], 400, "4096"),
        (&[file(&long, "x"), purpose("batch")], 400, "1024"),
        (&[file("a", &"x".repeat(3 << 20)), purpose("batch")], 413, "2097152"),
        (&many, 400, "32 parts"),
        (&lasts("now", "3600"), 400, "expires_after"),
        (&lasts("created_at", "1"), 400, "3600"),
    ];
    for (parts, status, said) in bad {
        let refused = upload(&server, parts);
        assert_eq!(refused.status, status, "{refused:?}");
        let message = refused.error()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(said), "{message}");
    }
    for headers in
        ["", "content-type: application/json\r\n", "content-type: multipart/form-data\r\n"]
    {
        assert_eq!(upload_with(&server, headers, &form(&ok())).status, 415, "{headers}");
    }
    let whole = form(&ok());
    for cut in [10, 60, 120, whole.len() - 8] {
        let refused = upload_with(&server, &content_type(), &whole[..cut]);
        assert_eq!(refused.status, 400, "{cut}: {refused:?}");
    }
    // One that stops to come.
    let head = format!(
        "POST /v1/files HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{}\
         content-length: 100000\r\n\r\n{}",
        content_type(),
        file("a", "the beginning")
    );
    assert_eq!(raw(server.address, head.as_bytes()).status, 408);
    eventually("the end of what was begun", || contents(folder.path()).is_empty());
    let extra = upload(&server, &[file("a", ""), purpose("batch"), text("name=\"more\"")]);
    assert_eq!((extra.status, extra.header("x-freehold-ignored")), (200, Some("more")));
    assert_eq!(extra.json()["bytes"], 0);
}

#[test]
fn what_one_key_keeps_is_not_there_for_another() {
    let folder = tempfile::tempdir().unwrap();
    let server = start_keeping(config(), folder.path());
    let store = Arc::new(Store::open(&folder.path().join("store.sqlite")).unwrap());
    let (mine, other) = (key(&store, "mine"), key(&store, "other"));
    let headers = format!("{}x-api-key: {mine}\r\n", content_type());
    let line = json!({"custom_id": "a", "method": "POST", "url": "/v1/completions",
        "body": {"model": "own/script", "prompt": "hi"}});
    let body = form(&[file("in", &line.to_string()), purpose("batch")]);
    let kept = upload_with(&server, &headers, &body).json()["id"].as_str().unwrap().to_owned();
    let asked = json!({"input_file_id": kept, "endpoint": "/v1/completions",
        "completion_window": "24h"});
    let batch = ask(&server, &mine, "POST", "/v1/batches", &asked).json();
    let batch = batch["id"].as_str().unwrap().to_owned();
    let response = json!({"model": "own/script", "input": "hi"});
    let response = ask(&server, &mine, "POST", "/v1/responses", &response).json();
    let response = response["id"].as_str().unwrap().to_owned();
    let paths = [
        ("GET", format!("/v1/files/{kept}")),
        ("GET", format!("/v1/files/{kept}/content")),
        ("GET", format!("/v1/batches/{batch}")),
        ("GET", format!("/v1/responses/{response}")),
        ("GET", format!("/v1/responses/{response}?stream=true")),
        ("GET", format!("/v1/responses/{response}/input_items")),
        ("POST", format!("/v1/batches/{batch}/cancel")),
        ("POST", format!("/v1/responses/{response}/cancel")),
        ("DELETE", format!("/v1/files/{kept}")),
        ("DELETE", format!("/v1/responses/{response}")),
    ];
    for (method, path) in &paths {
        let refused = ask(&server, &other, method, path, &Value::Null);
        assert_eq!(refused.status, 404, "{method} {path}: {refused:?}");
    }
    let refused = ask(&server, &other, "POST", "/v1/batches", &asked);
    assert_eq!((refused.status, &refused.error()["param"]), (404, &json!("input_file_id")));
    let next = json!({"model": "own/script", "input": "hi", "previous_response_id": response});
    assert_eq!(ask(&server, &other, "POST", "/v1/responses", &next).status, 404);
    for path in ["/v1/files", "/v1/batches"] {
        let listed = ask(&server, &other, "GET", path, &Value::Null).json();
        assert_eq!(listed["data"], json!([]), "{path}");
        let listed = ask(&server, &mine, "GET", path, &Value::Null).json();
        assert!(!listed["data"].as_array().unwrap().is_empty(), "{path}");
    }
    assert_eq!(ask(&server, &mine, "POST", "/v1/responses", &next).status, 200);
    eventually("the end of the batch", || {
        let path = format!("/v1/batches/{batch}");
        ask(&server, &mine, "GET", &path, &Value::Null).json()["status"] == "completed"
    });
    // A line is counted as other calls are: two responses and this one.
    let counted = "vllm:request_success_total{model_name=\"own/script\",engine=\"0\",\
                   finished_reason=\"stop\"} 3";
    eventually("the count of the line", || {
        ask(&server, &mine, "GET", "/metrics", &Value::Null).body.contains(counted)
    });
    // The lines of a batch are answered by what its key may ask now.
    let again = ask(&server, &mine, "POST", "/v1/batches", &asked).json()["id"].clone();
    let again = again.as_str().unwrap();
    drop(store.revoke_key("mine", 1));
    eventually("the end of the batch", || {
        let row = store.batch(&owner_of(&store), again);
        row.is_ok_and(|row| row.status.has_ended() && row.completed + row.failed == 1)
    });
}

#[test]
fn a_batch_of_messages_of_one_key_is_not_there_for_another() {
    let folder = tempfile::tempdir().unwrap();
    let server = start_keeping(config(), folder.path());
    let store = Store::open(&folder.path().join("store.sqlite")).unwrap();
    let (mine, other) = (key(&store, "mine"), key(&store, "other"));
    let params = json!({"model": "own/script", "max_tokens": 9,
        "messages": [{"role": "user", "content": "tenant"}]});
    let asked = json!({"requests": [{"custom_id": "a", "params": params}]});
    let made = ask(&server, &mine, "POST", "/v1/messages/batches", &asked).json();
    let path = format!("/v1/messages/batches/{}", made["id"].as_str().unwrap());
    eventually("the end of the batch", || {
        let now = ask(&server, &mine, "GET", &path, &Value::Null).json();
        now["processing_status"] == "ended"
    });
    let paths = [
        ("GET", path.clone()),
        ("GET", format!("{path}/results")),
        ("POST", format!("{path}/cancel")),
        ("DELETE", path.clone()),
        ("GET", format!("/v1/messages/batches?after_id={}", made["id"].as_str().unwrap())),
    ];
    for (method, path) in &paths {
        let refused = ask(&server, &other, method, path, &Value::Null);
        assert_eq!(refused.status, 404, "{method} {path}: {refused:?}");
    }
    let listed = ask(&server, &other, "GET", "/v1/messages/batches", &Value::Null).json();
    assert_eq!((&listed["data"], &listed["last_id"]), (&json!([]), &Value::Null));
    // It is answered as what its key asks alone.
    let results = ask(&server, &mine, "GET", &format!("{path}/results"), &Value::Null);
    assert_eq!(results.header("content-type"), Some("application/x-jsonl"));
    let body = json!({"model": "own/script", "max_tokens": 9,
        "messages": [{"role": "user", "content": "tenant"}]});
    let alone = ask(&server, &mine, "POST", "/v1/messages", &body).json();
    let result = results.json();
    assert_eq!(result["result"]["message"]["content"], alone["content"]);
    // What a server stores at all, and how much, is the same for both interfaces.
    let files = ask(&server, &mine, "GET", "/v1/files?purpose=message_batch", &Value::Null).json();
    assert_eq!(files["data"].as_array().unwrap().len(), 1);
    assert_eq!(ask(&server, &mine, "DELETE", &path, &Value::Null).status, 200);
    let files = ask(&server, &mine, "GET", "/v1/files", &Value::Null).json();
    assert_eq!(files["data"], json!([]));
}

#[test]
fn a_conversation_of_one_key_is_not_there_for_another() {
    let folder = tempfile::tempdir().unwrap();
    let server = start_keeping(config(), folder.path());
    let store = Store::open(&folder.path().join("store.sqlite")).unwrap();
    let (mine, other) = (key(&store, "mine"), key(&store, "other"));
    let item = |id: &str| json!({"id": id, "role": "user", "content": "hi"});
    let talk = ask(&server, &mine, "POST", "/v1/conversations", &json!({"items": [item("m1")]}));
    let talk = talk.json()["id"].as_str().unwrap().to_owned();
    let paths = [
        ("GET", format!("/v1/conversations/{talk}")),
        ("POST", format!("/v1/conversations/{talk}")),
        ("GET", format!("/v1/conversations/{talk}/items")),
        ("POST", format!("/v1/conversations/{talk}/items")),
        ("GET", format!("/v1/conversations/{talk}/items/m1")),
        ("DELETE", format!("/v1/conversations/{talk}/items/m1")),
        ("DELETE", format!("/v1/conversations/{talk}")),
    ];
    let more = json!({"items": [item("m2")], "metadata": {"k": "v"}});
    let ask_at = |key: &str, (method, path): &(&str, String)| {
        let body = if *method == "POST" { &more } else { &Value::Null };
        ask(&server, key, method, path, body)
    };
    for asked in &paths {
        let refused = ask_at(&other, asked);
        assert_eq!(refused.status, 404, "{asked:?}: {refused:?}");
    }
    let within = json!({"model": "own/script", "input": "hi", "conversation": talk});
    assert_eq!(ask(&server, &other, "POST", "/v1/responses", &within).status, 404);
    let count = ask(&server, &other, "POST", "/v1/responses/input_tokens", &within);
    assert_eq!((count.status, &count.error()["param"]), (404, &json!("conversation")));
    let listed = |key: &str| {
        let listed = ask(&server, key, "GET", "/v1/conversations", &Value::Null).json();
        listed["data"].as_array().unwrap().len()
    };
    assert_eq!((listed(&other), listed(&mine)), (0, 1));
    assert_eq!(ask(&server, &mine, "POST", "/v1/responses", &within).status, 200);
    for asked in &paths {
        assert_eq!(ask_at(&mine, asked).status, 200, "{asked:?}");
    }
}

#[test]
fn keys_do_not_take_each_others_room() {
    let folder = tempfile::tempdir().unwrap();
    let rules =
        KeepRules { responses_bytes_max: 16 << 10, files_bytes_max: 1000, ..KeepRules::default() };
    let server = start_keeping_within(config(), folder.path(), rules);
    let store = Store::open(&folder.path().join("store.sqlite")).unwrap();
    let (greedy, modest) = (key(&store, "greedy"), key(&store, "modest"));
    let answer = |key: &str, input: &str| {
        ask(&server, key, "POST", "/v1/responses", &json!({"model": "own/script", "input": input}))
    };
    let id = |answer: &Response| answer.json()["id"].as_str().unwrap().to_owned();
    let is_there = |key: &str, id: &str| {
        ask(&server, key, "GET", &format!("/v1/responses/{id}"), &Value::Null).status == 200
    };
    let first = id(&answer(&modest, "hi"));
    let greedy_ids: Vec<String> = (0..40).map(|_| id(&answer(&greedy, "hi"))).collect();
    assert!(is_there(&modest, &first), "another's answers push out none");
    assert!(!is_there(&greedy, &greedy_ids[0]) && is_there(&greedy, &greedy_ids[39]));
    // What can never be kept is refused before it is computed, and so that one knows why.
    let long = answer(&greedy, &"x".repeat(9 << 10));
    assert_eq!((long.status, &long.error()["code"]), (413, &json!("storage_quota_exceeded")));
    // An answer that has become too long is told too.
    let echoed = answer(&greedy, &"x".repeat(6 << 10));
    assert_eq!((echoed.status, &echoed.error()["param"]), (400, &json!("store")), "{echoed:?}");
    assert!(echoed.body.contains("not kept") && is_there(&greedy, &greedy_ids[39]));
    let unkept = json!({"model": "own/script", "input": "x".repeat(9 << 10), "store": false});
    assert_eq!(ask(&server, &greedy, "POST", "/v1/responses", &unkept).status, 200);
    // In the background it fails, and says so to who comes for it.
    let background =
        json!({"model": "own/script", "input": "x".repeat(6 << 10), "background": true});
    let queued = id(&ask(&server, &greedy, "POST", "/v1/responses", &background));
    let path = format!("/v1/responses/{queued}");
    eventually("the end of the answer", || {
        let now = ask(&server, &greedy, "GET", &path, &Value::Null).json();
        now["status"] == "failed" && now["error"].to_string().contains("not kept")
    });
    // Conversations are never pushed out, and so take room that answers do not get back.
    let talk = |content: &str| {
        let items = json!({"items": [{"role": "user", "content": content}]});
        ask(&server, &greedy, "POST", "/v1/conversations", &items)
    };
    let (kept, refused) = (talk(&"x".repeat(4 << 10)), talk(&"x".repeat(4 << 10)));
    assert_eq!((kept.status, refused.status), (200, 413), "{refused:?}");
    assert_eq!(answer(&greedy, &"x".repeat(4 << 10)).status, 413);
    let path = format!("/v1/conversations/{}", id(&kept));
    assert_eq!(ask(&server, &greedy, "DELETE", &path, &Value::Null).status, 200);
    assert_eq!(talk(&"x".repeat(4 << 10)).status, 200);
    let send = |key: &str, n_bytes: usize| {
        let headers = format!("{}x-api-key: {key}\r\n", content_type());
        let parts = [file("in", &"x".repeat(n_bytes)), purpose("user_data")];
        upload_with(&server, &headers, &form(&parts))
    };
    assert_eq!((send(&greedy, 501).status, send(&greedy, 500).status), (413, 200));
    let refused = send(&greedy, 1);
    assert_eq!((refused.status, &refused.error()["code"]), (413, &json!("storage_quota_exceeded")));
    assert_eq!(send(&modest, 250).status, 200);
}

/// An answer in the background whose progress cannot be noted is computed no further, and has an
/// end. What `in_progress` is longer than `queued` is what there is no room for.
#[test]
fn an_answer_that_cannot_be_noted_stops() {
    let asked = json!({"model": "own/script", "input": "slow", "background": true});
    let begin = |server: &Running| ask(server, "", "POST", "/v1/responses", &asked);
    let folder = tempfile::tempdir().unwrap();
    let n_bytes = {
        let server = start_keeping(config(), folder.path());
        let queued = begin(&server);
        let id = queued.json()["id"].as_str().unwrap().to_owned();
        let store = Store::open(&folder.path().join("store.sqlite")).unwrap();
        eventually("the beginning", || store.response("", &id).unwrap().status == "in_progress");
        let row = store.response("", &id).unwrap();
        assert_eq!(row.body.len(), queued.body.len() + 5);
        row.input.len() + queued.body.len()
    };
    let folder = tempfile::tempdir().unwrap();
    let rules = KeepRules { responses_bytes_max: n_bytes as u64, ..KeepRules::default() };
    let server = start_keeping_within(config(), folder.path(), rules);
    let queued = begin(&server);
    assert_eq!((queued.status, &queued.json()["status"]), (200, &json!("queued")));
    eventually("the end", || server.n_cancelled.load(Ordering::SeqCst) == 1);
    let path = format!("/v1/responses/{}", queued.json()["id"].as_str().unwrap());
    eventually("why", || {
        let now = raw(server.address, &request("GET", &path, b"")).json();
        now["status"] == "failed" && now["error"].to_string().contains("not kept")
    });
}

/// Two servers over one store: who does not make an answer can tell its stream when it has its end.
#[test]
fn a_stream_can_be_had_from_another_server_when_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) =
        (start_keeping(config(), folder.path()), start_keeping(config(), folder.path()));
    let asked = json!({"model": "own/script", "input": "hold", "background": true});
    let queued = ask(&first, "", "POST", "/v1/responses", &asked).json();
    let path = format!("/v1/responses/{}?stream=true", queued["id"].as_str().unwrap());
    let stream = |server: &Running| raw(server.address, &request("GET", &path, b""));
    let refused = stream(&second);
    assert_eq!((refused.status, &refused.error()["param"]), (400, &json!("stream")));
    release(&first);
    let own = stream(&first);
    assert_eq!((own.status, own.header("content-type")), (200, Some("text/event-stream")));
    assert!(own.body.contains("event: response.completed"), "{own:?}");
    // Signs of life are no events.
    let frames = |body: &str| body.replace(": waiting\n\n", "");
    assert_eq!(frames(&stream(&second).body), frames(&own.body));
}

/// Whose the only owner's things are.
fn owner_of(store: &Store) -> String {
    let keys = store.keys().unwrap();
    let mine = keys.iter().find(|row| row.name == "mine").unwrap();
    format!("key_{}", mine.id)
}

#[test]
fn lists_say_what_they_were_asked_and_refuse_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let server = start_keeping(config(), folder.path());
    let get = |path: &str| raw(server.address, &request("GET", path, b""));
    for (path, param) in [
        ("/v1/files?limit=0", "limit"),
        ("/v1/files?limit=10001", "limit"),
        ("/v1/files?limit=x", "limit"),
        ("/v1/batches?limit=101", "limit"),
        ("/v1/batches?order=up", "order"),
        ("/v1/conversations?limit=101", "limit"),
    ] {
        let refused = get(path);
        assert_eq!((refused.status, &refused.error()["param"]), (400, &json!(param)), "{path}");
    }
    assert_eq!(get("/v1/files?after=file-0").status, 404);
    let listed = get("/v1/files?more=1&limit=3");
    assert_eq!((listed.status, listed.header("x-freehold-ignored")), (200, Some("more")));
    for (query, param) in [
        ("stream=maybe", "stream"),
        ("stream=true&starting_after=-1", "starting_after"),
        ("starting_after=x", "starting_after"),
        ("starting_after=18446744073709551615", "starting_after"),
    ] {
        let refused = get(&format!("/v1/responses/resp_1?{query}"));
        assert_eq!((refused.status, &refused.error()["param"]), (400, &json!(param)), "{query}");
    }
    let empty = json!({"object": "list", "first_id": null, "last_id": null, "has_more": false,
        "data": []});
    assert_eq!(listed.json(), empty);
}

#[test]
fn a_server_without_a_store_says_so() {
    let server = start(config());
    let paths = [
        "/v1/files",
        "/v1/batches",
        "/v1/responses/resp_1",
        "/v1/files/f/content",
        "/v1/conversations/conv_1",
    ];
    for path in ["/v1/messages/batches", "/v1/messages/batches/msgbatch_1/results"] {
        let refused = raw(server.address, &request("GET", path, b""));
        assert_eq!((refused.status, &refused.json()["type"]), (501, &json!("error")));
    }
    for path in paths {
        let refused = raw(server.address, &request("GET", path, b""));
        assert_eq!((refused.status, &refused.error()["code"]), (501, &json!("not_supported")));
    }
    let refused = upload(&server, &[file("a", "x"), purpose("batch")]);
    assert_eq!(refused.status, 501, "{refused:?}");
    let within = json!({"model": "own/script", "input": "hi", "conversation": "conv_1"});
    let refused = ask(&server, "", "POST", "/v1/responses", &within);
    assert_eq!((refused.status, &refused.error()["param"]), (400, &json!("conversation")));
}

/// What a small request has read takes as much memory as a large one, and counts as that.
#[test]
fn what_is_read_for_a_request_counts_as_its_body() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { bodies_bytes_max: 80_000, ..config() };
    let server = start_keeping(config, folder.path());
    let talk = ask(&server, "", "POST", "/v1/conversations", &json!({})).json();
    let talk = talk["id"].as_str().unwrap();
    let add = || {
        let item = json!({"role": "user", "content": "x".repeat(45_000)});
        let path = format!("/v1/conversations/{talk}/items");
        ask(&server, "", "POST", &path, &json!({"items": [item]})).status
    };
    let go_on = || {
        let asked = json!({"model": "own/script", "input": "hi", "conversation": talk});
        let count = ask(&server, "", "POST", "/v1/responses/input_tokens", &asked);
        (ask(&server, "", "POST", "/v1/responses", &asked).status, count.status)
    };
    assert_eq!((add(), go_on(), add()), (200, (200, 200), 200));
    // As often as one likes: what was held is given back.
    assert_eq!((go_on(), go_on()), ((503, 503), (503, 503)));
}

/// A conversation that goes while an answer to it is computed: who waits is told, and nothing is
/// left of either.
#[test]
fn an_answer_outlives_no_conversation() {
    let folder = tempfile::tempdir().unwrap();
    let server = start_keeping(config(), folder.path());
    let talk = ask(&server, "", "POST", "/v1/conversations", &json!({}));
    let talk = talk.json()["id"].as_str().unwrap().to_owned();
    let within = |more: Value| {
        let mut body = json!({"model": "own/script", "input": "hold", "conversation": talk});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ask(&server, "", "POST", "/v1/responses", &body)
    };
    let queued = within(json!({"background": true})).json()["id"].as_str().unwrap().to_owned();
    let whole = std::thread::scope(|scope| {
        let whole = scope.spawn(|| within(json!({})));
        eventually("two answers", || server.n_running.load(Ordering::SeqCst) == 2);
        let path = format!("/v1/conversations/{talk}");
        assert_eq!(ask(&server, "", "DELETE", &path, &Value::Null).status, 200);
        release(&server);
        whole.join().unwrap()
    });
    assert_eq!((whole.status, &whole.error()["param"]), (400, &json!("conversation")));
    assert!(whole.body.contains("not kept") && whole.body.contains(&talk), "{whole:?}");
    eventually("the end of the answer", || {
        let path = format!("/v1/responses/{queued}");
        let now = ask(&server, "", "GET", &path, &Value::Null).json();
        now["status"] == "failed" && now["error"].to_string().contains("not kept")
    });
    let store = Store::open(&folder.path().join("store.sqlite")).unwrap();
    assert!(store.all_items("", &talk).is_err());
}
