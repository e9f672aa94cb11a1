//! Wrong usage and bad input: a message that says what and where, the right exit code, no panic.

use crate::data::{chat_model, failure, freehold, golden, home, output, write};
use std::net::TcpListener;

#[test]
fn wrong_usage_is_exit_code_2_and_suggests() {
    let home = home();
    let message = failure(freehold(home.path()).args(["bench", "m", "--promt", "3"]), 2);
    assert!(message.contains("--prompt"), "{message}");
    let message = failure(freehold(home.path()).arg("srve"), 2);
    assert!(message.contains("serve"), "{message}");
    failure(freehold(home.path()).args(["serve", "m", "--port", "70000"]), 2);
    failure(freehold(home.path()).args(["trace", "m", "--tokens", "1,x"]), 2);
    failure(freehold(home.path()).args(["trace", "m", "--tokens", "1"]), 2);
    failure(&mut freehold(home.path()), 2);
}

#[test]
fn a_missing_model_says_what_to_do() {
    let home = home();
    let message = failure(freehold(home.path()).args(["show", "no/such.gguf"]), 1);
    assert!(message.contains("no/such.gguf"), "{message}");
    let message = failure(freehold(home.path()).args(["show", "smollm2:135m"]), 1);
    assert!(message.contains("freehold pull smollm2:135m"), "{message}");
    let message = failure(freehold(home.path()).args(["pull", "smollm2:135m"]), 1);
    assert!(message.contains("HF_HUB_OFFLINE"), "{message}");
    let message = failure(freehold(home.path()).args(["show", "model+adapter"]), 1);
    assert!(message.contains("adapter"), "{message}");
}

#[test]
fn truncated_files_are_refused_at_every_command() {
    let home = home();
    let whole =
        testkit::golden_models().into_iter().map(|m| m.join("model.gguf")).find(|p| p.is_file());
    let whole =
        std::fs::read(whole.expect("some golden is a GGUF file too")).expect("it is readable");
    let cut = home.path().join("cut.gguf");
    for length in [0, 3, 24, whole.len() / 4, whole.len() - 1] {
        std::fs::write(&cut, &whole[..length]).expect("there is room");
        for args in [vec!["show"], vec!["bench"], vec!["run"], vec!["tokenize"]] {
            let mut command = freehold(home.path());
            command.args(&args).arg(&cut);
            if args[0] != "show" && args[0] != "bench" {
                command.arg("text");
            }
            let message = failure(&mut command, 1);
            assert!(message.contains("cut.gguf"), "{args:?} {length}: {message}");
        }
    }
}

#[test]
fn token_ids_and_positions_outside_the_model_are_refused() {
    let home = home();
    let out = home.path().join("o.safetensors");
    let mut trace = freehold(home.path());
    trace.arg("trace").arg(golden("llama-gqa")).args(["--tokens", "4000000", "--out"]).arg(&out);
    let message = failure(&mut trace, 1);
    assert!(message.contains("4000000"), "{message}");
    assert!(!out.exists(), "nothing is left half written");
    let bench = ["--prompt", "100000000", "--json"];
    let message =
        failure(freehold(home.path()).arg("bench").arg(golden("llama-gqa")).args(bench), 1);
    assert!(message.contains("context"), "{message}");
}

#[test]
fn a_prompt_longer_than_the_context_is_refused() {
    let home = home();
    let model = chat_model(home.path());
    let prompt = "word ".repeat(100);
    let message = failure(
        freehold(home.path()).arg("run").arg(&model).arg(&prompt).args(["--context", "64"]),
        1,
    );
    assert!(message.contains("context length is 64 tokens"), "{message}");
}

#[test]
fn a_port_in_use_is_named() {
    let home = home();
    let model = chat_model(home.path());
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    let message =
        failure(freehold(home.path()).arg("serve").arg(&model).args(["--port", &port]), 1);
    assert!(message.contains("in use") && message.contains(&port), "{message}");
}

#[test]
fn a_home_that_cannot_be_written_is_named() {
    let home = home();
    let file =
        testkit::golden_models().into_iter().map(|m| m.join("model.gguf")).find(|p| p.is_file());
    let blocked = home.path().join("not-a-folder");
    write(&blocked, "");
    let mut pull = freehold(home.path());
    pull.env("FREEHOLD_HOME", blocked.join("home"))
        .arg("pull")
        .arg(file.expect("a GGUF golden"))
        .args(["--name", "a:b"]);
    let message = failure(&mut pull, 1);
    assert!(message.contains("not-a-folder"), "{message}");
}

#[test]
fn a_template_that_fails_or_loops_ends_with_a_message() {
    let home = home();
    let model = chat_model(home.path());
    write(&home.path().join("m.json"), r#"[{"role": "user", "content": "Hi"}]"#);
    for template in [
        "{{ raise_exception('not this') }}",
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% if %}",
    ] {
        write(&model.join("chat_template.jinja"), template);
        let mut render = freehold(home.path());
        let message = failure(render.arg("render").arg(&model).args(["--messages", "m.json"]), 1);
        assert!(message.contains("template"), "{message}");
    }
    write(&home.path().join("m.json"), "{");
    failure(freehold(home.path()).arg("render").arg(&model).args(["--messages", "m.json"]), 1);
}

#[test]
fn the_configuration_file_is_read_and_its_mistakes_named() {
    let home = home();
    write(&home.path().join("freehold.toml"), "threds = 2\n");
    let message = failure(freehold(home.path()).arg("list"), 2);
    assert!(message.contains("freehold.toml") && message.contains("threds"), "{message}");
    write(&home.path().join("freehold.toml"), "threads = 1\n");
    let mut bench = freehold(home.path());
    bench.arg("bench").arg(golden("llama-gqa")).args([
        "--prompt",
        "2",
        "--generate",
        "2",
        "--json",
    ]);
    assert!(output(&mut bench).contains("\"threads\":1"));
    assert!(output(bench.env("FREEHOLD_THREADS", "2")).contains("\"threads\":2"));
}
