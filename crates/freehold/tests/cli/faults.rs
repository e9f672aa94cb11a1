//! The world fails: full disks, no permission, ports that are taken. A message that says what
//! and where, exit code 1, nothing half written, no panic.

use crate::data::{chat_model, failure, freehold, home, output, write};
use std::fs::{File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;
use testkit::isolate::{NOBODY, as_nobody, is_root, mounting};

fn tiny_gguf() -> PathBuf {
    let models = testkit::golden_models().into_iter().map(|m| m.join("model.gguf"));
    models.into_iter().find(|p| p.is_file()).expect("some golden is a GGUF file too")
}

/// A place where every write finds the disk full.
fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("Linux has one").into()
}

#[test]
fn an_output_that_cannot_be_written_is_an_error() {
    let home = home();
    let model = chat_model(home.path());
    write(&home.path().join("m.json"), r#"[{"role": "user", "content": "Hi"}]"#);
    let commands: [&[&str]; 11] = [
        &["list", "--catalogue"],
        &["show", "model"],
        &["show", "model", "--json"],
        &["show", "model", "--template"],
        &["tokenize", "model", "text"],
        // What it prints does not end with a line.
        &["render", "model", "--messages", "m.json"],
        &["bench", "model", "--prompt", "2", "--generate", "2", "--repeat", "1"],
        &["trace", "model", "--tokens", "1,2", "--against", "model"],
        &["run", "model", "Hi", "--max-tokens", "2"],
        &["pull", "model"],
        &["pack", "model"],
    ];
    assert!(model.ends_with("model"));
    for args in commands {
        let message = failure(freehold(home.path()).args(args).stdout(full()), 1);
        assert!(message.contains("cannot write to standard output"), "{args:?}: {message}");
        assert!(message.contains("No space left"), "{args:?}: {message}");
    }
    let trace = ["trace", "model", "--tokens", "1,2", "--out", "/dev/full"];
    let message = failure(freehold(home.path()).args(trace), 1);
    assert!(message.contains("cannot write /dev/full: No space left"), "{message}");
}

#[test]
fn messages_that_cannot_be_written_change_nothing_else() {
    let home = home();
    chat_model(home.path());
    let code = |args: &[&str]| {
        let status = freehold(home.path()).args(args).stdout(Stdio::null()).stderr(full()).status();
        status.expect("the binary starts").code()
    };
    assert_eq!(code(&["run", "model", "Hi", "--max-tokens", "2"]), Some(0));
    assert_eq!(code(&["pull", tiny_gguf().to_str().expect("UTF-8"), "--name", "a:b"]), Some(0));
    assert_eq!(code(&["show", "no/such.gguf"]), Some(1));
    assert_eq!(code(&["pull", "a/b"]), Some(1));
    assert_eq!(code(&["srve"]), Some(2));
}

#[test]
fn a_server_whose_log_is_on_a_full_disk_serves() {
    let home = home();
    let model = chat_model(home.path());
    let port = testkit::process::free_port().expect("a port is free");
    let mut command = freehold(home.path());
    command.arg("serve").arg(model).args(["--port", &port.to_string()]).stderr(full());
    let limit = std::time::Duration::from_secs(60);
    testkit::process::Server::start(&mut command, &format!("127.0.0.1:{port}"), limit)
        .expect("it becomes ready");
}

#[test]
fn a_home_that_is_a_file_is_named() {
    let home = home();
    let file = home.path().join("a-file");
    write(&file, "");
    let model = tiny_gguf();
    let model = model.to_str().expect("UTF-8");
    for args in [
        &["list"][..],
        &["show", "a:b"],
        &["rm", "a:b"],
        &["run", "a:b", "Hi"],
        &["pack", "a:b"],
        &["pack", "--prune"],
        &["pull", model, "--name", "a:b"],
    ] {
        let message = failure(freehold(home.path()).env("FREEHOLD_HOME", &file).args(args), 1);
        assert!(message.contains("a-file is a file; set FREEHOLD_HOME"), "{args:?}: {message}");
    }
}

/// The binary as a user whom permissions bind; none, with a visible line, where that user
/// cannot start it.
fn plain_freehold(home: &Path) -> Option<Command> {
    let program = Path::new(env!("CARGO_BIN_EXE_freehold"));
    if !is_root() {
        return Some(freehold(home));
    }
    let mut command = as_nobody(program);
    let probe = as_nobody(program).arg("--version").stdout(Stdio::null()).status();
    if let Err(error) = probe {
        testkit::skipped(&format!(
            "missing permissions ({} as nobody: {error})",
            program.display()
        ));
        return None;
    }
    command.env("FREEHOLD_HOME", home).env("HF_HUB_OFFLINE", "1").env_remove("FREEHOLD_CONFIG");
    command.current_dir(home).stdin(Stdio::null());
    Some(command)
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
}

/// A home of the user that [`plain_freehold`] runs as, with a tiny model in it as `model` and
/// `m.gguf`.
fn plain_home() -> TempDir {
    let home = home();
    chat_model(home.path());
    std::fs::copy(tiny_gguf(), home.path().join("m.gguf")).expect("there is room");
    if is_root() {
        chown(home.path(), Some(NOBODY), Some(NOBODY)).expect("an administrator may");
    }
    home
}

/// What `freehold ARGS` says when it fails as a plain user.
fn refusal(home: &Path, args: &[&str]) -> Option<String> {
    Some(failure(plain_freehold(home)?.args(args), 1))
}

#[test]
fn a_file_without_permission_to_read_is_named() {
    let home = plain_home();
    let at = |name: &str| home.path().join(name);
    write(&at("text"), "words");
    write(&at("m.json"), "[]");
    write(&at("c.toml"), "threads = 1\n");
    let cases: [(&str, &[&[&str]]); 7] = [
        (
            "m.gguf",
            &[
                &["show", "m.gguf"],
                &["bench", "m.gguf"],
                &["run", "m.gguf", "Hi"],
                &["tokenize", "m.gguf", "Hi"],
                &["serve", "m.gguf", "--port", "0"],
                &["trace", "m.gguf", "--tokens", "1", "--out", "o"],
                &["pull", "m.gguf", "--name", "a:b"],
            ],
        ),
        ("model/model.safetensors", &[&["show", "model"], &["run", "model", "Hi"]]),
        ("model/config.json", &[&["show", "model"], &["run", "model", "Hi"]]),
        ("model/tokenizer.json", &[&["tokenize", "model", "Hi"], &["run", "model", "Hi"]]),
        (
            "text",
            &[&["tokenize", "model", "--file", "text"], &["trace", "model", "--text", "text"]],
        ),
        ("m.json", &[&["render", "model", "--messages", "m.json"]]),
        ("model", &[&["show", "model"], &["run", "model", "Hi"]]),
    ];
    for (name, commands) in cases {
        let mode = std::fs::metadata(at(name)).expect("there").permissions().mode();
        // The owner of the files may differ from the user that reads them.
        set_mode(&at(name), 0);
        for args in commands {
            let Some(message) = refusal(home.path(), args) else { return };
            let last = name.rsplit('/').next().unwrap_or(name);
            assert!(message.contains(last), "{args:?}: {message}");
            assert!(message.contains("Permission denied"), "{args:?}: {message}");
            assert!(!message.contains("FREEHOLD_HOME"), "{args:?}: {message}");
        }
        set_mode(&at(name), mode);
    }
    assert!(!at("o").exists());
    set_mode(&at("c.toml"), 0);
    let Some(mut list) = plain_freehold(home.path()) else { return };
    let message = failure(list.arg("list").env("FREEHOLD_CONFIG", "c.toml"), 1);
    assert!(message.contains("c.toml") && message.contains("Permission denied"), "{message}");
}

#[test]
fn a_folder_without_permission_to_write_is_named() {
    let home = plain_home();
    let at = |name: &str| home.path().join(name);
    for folder in ["out", "home"] {
        std::fs::create_dir(at(folder)).expect("ours");
        set_mode(&at(folder), 0o555);
    }
    let Some(message) =
        refusal(home.path(), &["trace", "model", "--tokens", "1", "--out", "out/o"])
    else {
        return;
    };
    assert!(message.contains("cannot write out/o: Permission denied"), "{message}");
    assert_eq!(std::fs::read_dir(at("out")).expect("listed").count(), 0);
    for mode in [0o555, 0o000] {
        set_mode(&at("home"), mode);
        let mut pull = plain_freehold(home.path()).expect("it started before");
        pull.args(["pull", "m.gguf", "--name", "a:b"]).env("FREEHOLD_HOME", at("home"));
        let message = failure(&mut pull, 1);
        assert!(message.contains("home/locks: no permission; set FREEHOLD_HOME"), "{message}");
    }
    let mut list = plain_freehold(home.path()).expect("it started before");
    let message = failure(list.arg("list").env("FREEHOLD_HOME", at("home")), 1);
    assert!(message.contains("home/models: no permission"), "{message}");
    set_mode(&at("home"), 0o755);
}

#[test]
fn a_port_for_administrators_is_refused_by_name() {
    let home = plain_home();
    let free_from = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let free_from: u16 = free_from.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1024);
    if free_from <= 81 {
        return testkit::skipped("privileged ports (this system has none)");
    }
    let Some(message) = refusal(home.path(), &["serve", "model", "--port", "81"]) else { return };
    assert!(message.contains("no permission to listen on 127.0.0.1:81"), "{message}");
}

/// `freehold` in a shell of its own mount namespace, after `script`, which finds the home in
/// `$FREEHOLD_HOME` and begins the binary as `"$@"`.
fn scripted(home: &Path, script: &str, args: &[&str]) -> Option<Command> {
    let mut command = mounting()?;
    command.args(["sh", "-ec", script, "sh", env!("CARGO_BIN_EXE_freehold")]).args(args);
    command.env("FREEHOLD_HOME", home.join("home")).env("HF_HUB_OFFLINE", "1");
    command.env_remove("FREEHOLD_CONFIG").current_dir(home).stdin(Stdio::null());
    Some(command)
}

#[test]
fn a_trace_that_finds_the_disk_full_leaves_nothing() {
    let home = home();
    chat_model(home.path());
    std::fs::create_dir(home.path().join("small")).expect("ours");
    let script = r#"mount -t tmpfs -o size=4k tmpfs small; code=0; "$@" || code=$?
        test -z "$(ls -A small)" || exit 9; exit $code"#;
    let tokens = "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16";
    let args = ["trace", "model", "--tokens", tokens, "--out", "small/o.safetensors"];
    let Some(mut command) = scripted(home.path(), script, &args) else { return };
    let message = failure(&mut command, 1);
    assert!(message.contains("cannot write small/o.safetensors: No space left"), "{message}");
}

#[test]
fn a_packed_file_without_room_is_refused_with_its_size_and_leaves_nothing() {
    let home = home();
    let model = chat_model(home.path());
    std::fs::create_dir(home.path().join("home")).expect("ours");
    let script = r#"mount -t tmpfs -o size=1m tmpfs home; code=0; "$@" || code=$?
        test -z "$(find home -path '*packed/*')" || exit 9; exit $code"#;
    let model = model.to_str().expect("UTF-8");
    let Some(mut command) = scripted(home.path(), script, &["pack", model]) else { return };
    let message = failure(&mut command, 1);
    assert!(message.contains("the disk is too full"), "{message}");
    assert!(message.contains("bytes needed and 68 MB to spare"), "{message}");
}

#[test]
fn a_read_only_home_can_be_used_and_not_changed() {
    let home = home();
    let data = home.path().join("home");
    std::fs::create_dir(&data).expect("ours");
    let model = tiny_gguf();
    let model = model.to_str().expect("UTF-8");
    output(freehold(&data).args(["pull", model, "--name", "a:b"]));
    output(freehold(&data).args(["pack", "a:b"]));
    let script = r#"mount --bind home home; mount -o remount,bind,ro home; "$@""#;
    let run = |args: &[&str]| scripted(home.path(), script, args);
    let use_it = || {
        for args in [&["list"][..], &["show", "a:b"], &["bench", "a:b", "--prompt", "2"]] {
            let Some(mut command) = run(args) else { return false };
            let text = output(&mut command);
            assert!(args != ["list"] || text.contains("a:b"), "{text}");
            assert!(args[0] != "bench" || text.contains("over the packed file"), "{text}");
        }
        true
    };
    if !use_it() {
        return;
    }
    for args in [
        &["rm", "a:b"][..],
        &["pull", model, "--name", "c:d"],
        &["pack", model],
        &["pack", "a:b", "--remove"],
    ] {
        let message = failure(&mut run(args).expect("it started before"), 1);
        assert!(message.contains("the disk is read-only"), "{args:?}: {message}");
        assert!(message.contains("home/locks"), "{args:?}: {message}");
    }
    // A home that was copied here may have no locks.
    for lock in std::fs::read_dir(data.join("locks")).expect("listed").flatten() {
        std::fs::remove_file(lock.path()).expect("ours");
    }
    use_it();
}

/// Gives a model a head of its own, so that rows of its embedding are read from the file while
/// it runs.
fn untie(model: &Path) {
    let path = model.join("model.safetensors");
    let checkpoint = weights::Checkpoint::open(&path).expect("opens");
    let mut tensors: Vec<_> = checkpoint
        .tensors()
        .map(|tensor| (tensor.name.clone(), tensor.shape.clone(), tensor.to_f32().expect("floats")))
        .collect();
    let embedding = tensors.iter().find(|(name, ..)| name == "model.embed_tokens.weight");
    let (_, shape, values) = embedding.expect("every model has one").clone();
    tensors.push(("lm_head.weight".to_owned(), shape, values));
    drop(checkpoint);
    weights::write_safetensors(&path, tensors).expect("written");
    let config = std::fs::read_to_string(model.join("config.json")).expect("there");
    let mut config: serde_json::Value = serde_json::from_str(&config).expect("it is JSON");
    config["tie_word_embeddings"] = false.into();
    write(&model.join("config.json"), &config.to_string());
}

#[test]
fn a_model_that_is_cut_short_while_it_is_served_ends_with_a_message() {
    let home = home();
    let model = chat_model(home.path());
    untie(&model);
    let port = testkit::process::free_port().expect("a port is free");
    let address = format!("127.0.0.1:{port}");
    let mut command = freehold(home.path());
    command.arg("serve").arg(&model).args(["--port", &port.to_string(), "--alias", "tiny"]);
    let log = home.path().join("log");
    command.stderr(File::create(&log).expect("ours"));
    let limit = std::time::Duration::from_secs(60);
    let server =
        testkit::process::Server::start(&mut command, &address, limit).expect("it becomes ready");
    let file = File::options().write(true).open(model.join("model.safetensors")).expect("ours");
    file.set_len(0).expect("cut");
    let body = r#"{"model": "tiny", "prompt": "Hi", "max_tokens": 4}"#;
    let answered = testkit::http::post(&address, "/v1/completions", body);
    assert!(!answered.is_ok_and(|answer| answer.status == 200));
    let status = server.wait().expect("it ends");
    let said = std::fs::read_to_string(&log).expect("ours");
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("model.safetensors: the file was cut short"), "{said}");
}
