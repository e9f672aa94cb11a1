//! Prefixes on disk as users meet them: they outlive a process, change no answer, tell nobody
//! else what was asked, and go when they are asked to go.

use crate::data::{chat_model, freehold, home, json_output, output, write};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use testkit::http;
use testkit::process::{Server, free_port};

fn serve(home: &Path, model: &Path) -> (Server, String) {
    let port = free_port().expect("a port is free");
    let address = format!("127.0.0.1:{port}");
    let mut command = freehold(home);
    command.arg("serve").arg(model).args(["--alias", "tiny", "--port", &port.to_string()]);
    command.args(["--prefix-disk", "64M", "--parallel", "2"]);
    let server = Server::start(&mut command, &address, Duration::from_secs(60)).expect("ready");
    (server, address)
}

/// An answer's text, and how many tokens of its prompt were there.
fn ask(address: &str, last: u32) -> (Value, u64) {
    let mut prompt: Vec<u32> = (0..100).map(|i| 3 + i % 40).collect();
    prompt.push(last);
    let body = json!({"model": "tiny", "prompt": prompt, "max_tokens": 6, "temperature": 0,
        "logprobs": 2, "ignore_eos": true});
    let answer = http::post(address, "/v1/completions", &body.to_string()).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer: Value = serde_json::from_str(&answer.body).expect("JSON");
    let cached = &answer["usage"]["prompt_tokens_details"]["cached_tokens"];
    (answer["choices"][0].clone(), cached.as_u64().unwrap_or(0))
}

fn files(home: &Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(home.join("prefixes")).into_iter().flatten();
    let in_folder = |folder: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_dir(folder.expect("listed").path()).expect("readable")
    };
    folders.flat_map(in_folder).map(|file| file.expect("listed").path()).collect()
}

/// Waits until a server that has nothing to do has written so many files.
fn wait_for_files(home: &Path, count: usize) {
    let begun = Instant::now();
    while files(home).iter().filter(|path| path.extension().is_some_and(|e| e == "block")).count()
        < count
    {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", files(home));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_prefix_outlives_a_killed_server_and_a_damaged_one_is_computed_again() {
    let home = home();
    let model = chat_model(home.path());
    let (server, address) = serve(home.path(), &model);
    let (expected, cached) = ask(&address, 9);
    assert_eq!(cached, 0);
    wait_for_files(home.path(), 3);
    drop(server);
    let (server, address) = serve(home.path(), &model);
    assert_eq!(ask(&address, 9), (expected.clone(), 96));
    // Another server of the same model says that it goes without, and works.
    let (other, other_address) = serve(home.path(), &model);
    assert_eq!(ask(&other_address, 9), (expected.clone(), 0));
    drop((server, other));
    for path in files(home.path()) {
        let mut bytes = std::fs::read(&path).expect("readable");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        std::fs::write(path, bytes).expect("writable");
    }
    let (server, address) = serve(home.path(), &model);
    assert_eq!(ask(&address, 9), (expected.clone(), 0));
    wait_for_files(home.path(), 3);
    drop(server);
    // The same weights, understood otherwise.
    let config = model.join("config.json");
    let text = std::fs::read_to_string(&config).expect("readable");
    let mut changed: Value = serde_json::from_str(&text).expect("JSON");
    changed["rms_norm_eps"] = json!(1e-3);
    write(&config, &changed.to_string());
    let (server, address) = serve(home.path(), &model);
    assert_eq!(ask(&address, 9).1, 0);
    drop(server);
    write(&config, &text);
    let (_server, address) = serve(home.path(), &model);
    // The first block is whole again; that the second is not shows when its turn comes.
    assert_eq!(ask(&address, 9), (expected, 32));
}

#[test]
fn prefixes_are_removed_when_they_are_asked_to_go() {
    let home = home();
    let model = chat_model(home.path());
    let (server, address) = serve(home.path(), &model);
    ask(&address, 9);
    wait_for_files(home.path(), 3);
    let refused = freehold(home.path()).args(["rm", "--prefixes"]).output().expect("it starts");
    assert!(!refused.status.success(), "a server uses them");
    drop(server);
    let report = json_output(freehold(home.path()).args(["rm", "--prefixes", "--json"]));
    assert!(report["bytes_freed"].as_u64().expect("a number") > 0, "{report}");
    assert_eq!(files(home.path()), Vec::<PathBuf>::new());
    let text = output(freehold(home.path()).args(["rm", "--prefixes"]));
    assert!(text.contains("all models"), "{text}");
}
