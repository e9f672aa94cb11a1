//! Several models in one server, over HTTP: on demand, within a budget, with adapters.

use crate::adapters::{chat_adapter, with_adapter};
use crate::data::{chat_model, failure, freehold, golden, home, output};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use testkit::http::{self, Response};
use testkit::process::{Server, free_port};

/// What the process keeps of a budget for itself.
const PROCESS_BYTES: u64 = 40 << 20;

fn serve(home: &Path, args: &[&str]) -> Server {
    let port = free_port().expect("a port is free");
    let mut command = freehold(home);
    command.arg("serve").args(args).args(["--port", &port.to_string(), "--context", "64"]);
    command.stderr(Stdio::inherit());
    Server::start(&mut command, &format!("127.0.0.1:{port}"), Duration::from_secs(60))
        .expect("it becomes ready")
}

/// Two copies of the tiny model.
fn two_models(home: &Path) -> [PathBuf; 2] {
    ["one", "two"].map(|name| {
        let made = chat_model(home);
        let path = home.join(name);
        std::fs::rename(made, &path).expect("the folder is ours");
        path
    })
}

fn ask(server: &Server, model: &str) -> Response {
    let body = json!({"model": model, "prompt": "Hi", "temperature": 0, "max_tokens": 4});
    http::post(&server.address, "/v1/completions", &body.to_string()).expect("it answers")
}

fn models(server: &Server) -> Vec<Value> {
    let body = http::get(&server.address, "/v1/models").expect("it answers").body;
    let mut body: Value = serde_json::from_str(&body).expect("it is JSON");
    serde_json::from_value(body["data"].take()).expect("a list")
}

fn states(server: &Server) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    models(server).iter().map(|model| text(&model["id"]) + " " + &text(&model["state"])).collect()
}

#[test]
fn the_first_model_is_there_and_others_come_when_they_are_asked_for() {
    let home = home();
    let [one, two] = two_models(home.path());
    let (one, two) = (one.display().to_string(), two.display().to_string());
    let server = serve(home.path(), &[&one, &two]);
    assert_eq!(states(&server), ["one loaded", "two cold"]);
    let answer = ask(&server, "two");
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(states(&server), ["one loaded", "two loaded"]);
    let text = |response: Response| {
        let body: Value = serde_json::from_str(&response.body).expect("it is JSON");
        body["choices"][0]["text"].clone()
    };
    assert_eq!(text(answer), text(ask(&server, "one")), "they are the same model");
    let unknown = ask(&server, "three");
    assert_eq!(unknown.status, 404);
    assert!(unknown.body.contains("one, two"), "{}", unknown.body);
}

#[test]
fn the_budget_holds_one_of_two_and_they_take_turns() {
    let home = home();
    let [one, two] = two_models(home.path());
    let (one, two) = (one.display().to_string(), two.display().to_string());
    let server = serve(home.path(), &[&one]);
    let plan = models(&server)[0]["memory_bytes"].as_u64().expect("it is loaded");
    drop(server);
    let memory = (PROCESS_BYTES + plan + plan / 2).to_string();
    let server = serve(home.path(), &[&one, &two, "--memory", &memory]);
    for (model, expected) in [
        ("two", ["one cold", "two loaded"]),
        ("one", ["one loaded", "two cold"]),
        ("two", ["one cold", "two loaded"]),
    ] {
        let answer = ask(&server, model);
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(states(&server), expected);
    }
    // Many at once of both: everybody is answered.
    std::thread::scope(|scope| {
        for client in 0..8 {
            let server = &server;
            scope.spawn(move || {
                let answer = ask(server, ["one", "two"][client % 2]);
                assert_eq!(answer.status, 200, "{}", answer.body);
            });
        }
    });
}

#[test]
fn what_never_fits_is_refused_with_the_numbers() {
    let home = home();
    let [one, _] = two_models(home.path());
    let one = one.display().to_string();
    let mut command = freehold(home.path());
    command.args(["serve", &one, "--port", "0", "--memory", "40.01M"]);
    let message = failure(&mut command, 1);
    assert!(message.contains("`one` takes") && message.contains("--memory"), "{message}");
    for (args, word) in [
        (&["--memory", "1K"][..], "the process alone takes"),
        (&["--alias", "x", "--memory", "1G"][..], "--alias names one model"),
    ] {
        let mut command = freehold(home.path());
        command.args(["serve", &one, &one, "--port", "0"]).args(args);
        let out = command.output().expect("the binary starts");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && said.contains(word), "{said}");
    }
    for bad in [["--memory", "many"], ["--memory", "0"], ["--idle-unload", "never"]] {
        let message = failure(freehold(home.path()).args(["serve", &one]).args(bad), 2);
        assert!(message.contains(bad[0]), "{message}");
    }
}

#[test]
fn adapters_share_one_copy_of_the_weights() {
    let home = home();
    let model = chat_model(home.path());
    let adapter = chat_adapter(home.path());
    let other = home.path().join("lora-2");
    copy(&adapter, &other);
    let base = model.display().to_string();
    let [first, second] = [&adapter, &other].map(|adapter| with_adapter(&model, adapter));
    let server = serve(home.path(), &[&base, &first, &second]);
    let listed = models(&server);
    let ids: Vec<&str> = listed.iter().filter_map(|model| model["id"].as_str()).collect();
    assert_eq!(ids, ["model", "model+lora+1", "model+lora-2"]);
    assert_eq!((&listed[0]["parent"], &listed[2]["parent"]), (&Value::Null, &json!("model")));
    let text = |model: &str| {
        let answer = ask(&server, model);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let body: Value = serde_json::from_str(&answer.body).expect("it is JSON");
        body["choices"][0]["text"].clone()
    };
    let alone = [text("model"), text("model+lora+1"), text("model+lora-2")];
    assert_eq!(alone[1], alone[2], "they are the same adapter");
    // All three together, as they are alone.
    std::thread::scope(|scope| {
        for (at, id) in ids.iter().enumerate() {
            let (text, alone) = (&text, &alone);
            scope.spawn(move || assert_eq!(text(id), alone[at]));
        }
    });
    // Adapters are loaded when they are asked for: one that is gone by then is told.
    let server = serve(home.path(), &[&base, &second]);
    std::fs::remove_dir_all(&other).expect("the folder is ours");
    assert_eq!(ask(&server, "model").status, 200);
    let failed = ask(&server, "model+lora-2");
    assert_eq!(failed.status, 500);
    assert!(failed.body.contains("lora-2") && failed.body.contains("model_load_failed"));
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the folder is ours");
    for file in std::fs::read_dir(from).expect("it is a folder").flatten() {
        std::fs::copy(file.path(), to.join(file.file_name())).expect("there is room");
    }
}

#[test]
fn idle_models_are_unloaded_and_come_back() {
    let home = home();
    let model = chat_model(home.path()).display().to_string();
    let server = serve(home.path(), &[&model, "--idle-unload", "0.2s"]);
    let begun = Instant::now();
    while states(&server) != ["model cold"] {
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", states(&server));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(ask(&server, "model").status, 200);
}

#[test]
fn without_a_model_all_of_the_data_folder_are_served() {
    let home = home();
    let mut golden = testkit::golden_models().into_iter().map(|model| model.join("model.gguf"));
    let golden = golden.find(|path| path.is_file()).expect("a golden is a GGUF file");
    let golden = golden.display().to_string();
    for name in ["first:a", "second:b"] {
        output(freehold(home.path()).args(["pull", &golden, "--name", name]));
    }
    let server = serve(home.path(), &[]);
    assert_eq!(states(&server), ["first:a cold", "second:b cold"]);
    assert!(models(&server)[1]["memory_bytes"].as_u64() > Some(0));
    let ask = |model: &str| {
        let body = json!({"model": model, "prompt": [1, 2], "max_tokens": 2}).to_string();
        http::post(&server.address, "/v1/completions", &body).expect("it answers")
    };
    assert_eq!(ask("first:a").status, 200);
    assert_eq!(states(&server), ["first:a loaded", "second:b cold"]);
    let message = failure(freehold(home.path()).args(["rm", "first:a"]), 1);
    assert!(message.contains("in use"), "{message}");
    // A model that is not loaded may be removed.
    output(freehold(home.path()).args(["rm", "second:b"]));
    let gone = ask("second:b");
    assert!(gone.status == 404 && gone.body.contains("second:b"), "{}", gone.body);
}

#[test]
fn a_client_of_ollama_that_loads_a_model_finds_it_loaded() {
    let home = home();
    let [one, two] = two_models(home.path());
    let (one, two) = (one.display().to_string(), two.display().to_string());
    let server = serve(home.path(), &[&one, &two]);
    let body = json!({"model": "two"}).to_string();
    let answer = http::post(&server.address, "/api/generate", &body).expect("it answers");
    assert!(answer.status == 200 && answer.body.contains(r#""load""#), "{}", answer.body);
    assert_eq!(states(&server), ["one loaded", "two loaded"]);
}

#[test]
fn models_come_to_a_running_server_and_leave_it() {
    let home = home();
    let server = serve(home.path(), &[]);
    assert_eq!(states(&server), [] as [&str; 0]);
    assert_eq!(ask(&server, "tiny:one").status, 404);
    let gguf = golden("qwen3-tied").join("model.gguf").display().to_string();
    output(freehold(home.path()).args(["pull", &gguf, "--name", "tiny:one"]));
    // Somebody asked a moment ago; the folder is looked at once a second.
    let begun = Instant::now();
    while states(&server).is_empty() && begun.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(states(&server), ["tiny:one cold"]);
    output(freehold(home.path()).args(["rm", "tiny:one"]));
    assert_eq!(states(&server), [] as [&str; 0]);
    assert_eq!(ask(&server, "tiny:one").status, 404);
}
