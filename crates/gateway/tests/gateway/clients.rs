//! Clients that others made, unmodified, against the server.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::scripted::{config, start, start_keeping};

/// What pip installs: the clients that people use, at versions that keep their interface.
const CLIENTS: [&str; 3] = ["openai>=2,<4", "anthropic>=0.75,<3", "ollama>=0.6,<1"];

/// A virtual environment with the clients, made once and kept under the build folder.
pub(crate) fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    PYTHON.get_or_init(install).as_deref()
}

fn install() -> Option<PathBuf> {
    let found = Command::new("python3").arg("--version").output();
    if !found.is_ok_and(|output| output.status.success()) {
        testkit::skipped("no python3 for the clients");
        return None;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-clients");
    let python = folder.join("bin/python");
    let has_clients = |python: &Path| {
        Command::new(python)
            .args(["-c", "import openai, anthropic, ollama"])
            .output()
            .is_ok_and(|o| o.status.success())
    };
    if !has_clients(&python) {
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(CLIENTS));
    }
    Some(python)
}

/// Runs a script of this folder with the server's address and a path behind it.
fn drives(script: &str, path: &str) {
    let Some(python) = python() else { return };
    let server = start(config());
    drive(python, script, &format!("http://{}{path}", server.address));
}

fn drive(python: &Path, script: &str, address: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gateway").join(script);
    run(Command::new(python).arg(script).arg(address));
}

pub(crate) fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_openai_client_works_unmodified() {
    drives("openai_client.py", "/v1");
}

#[test]
fn the_openai_client_works_unmodified_with_responses() {
    drives("responses_client.py", "/v1");
}

#[test]
fn the_openai_client_works_unmodified_with_files_and_batches_and_kept_responses() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = start_keeping(config(), folder.path());
    drive(python, "files_client.py", &format!("http://{}/v1", server.address));
}

#[test]
fn the_anthropic_client_works_unmodified() {
    drives("anthropic_client.py", "");
}

#[test]
fn the_ollama_client_works_unmodified() {
    drives("ollama_client.py", "");
}

/// An agent that others made, where its program is on this machine: it is large.
#[test]
fn an_agent_that_speaks_anthropics_interface_works_unmodified() {
    let Some(agent) = std::env::var_os("FREEHOLD_CLAUDE_CODE") else {
        testkit::skipped("FREEHOLD_CLAUDE_CODE does not say where the agent's program is");
        return;
    };
    let server = start(config());
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("agent-home");
    std::fs::create_dir_all(&home).unwrap();
    let mut command = Command::new(agent);
    command
        .args(["-p", "hi", "--model", "own/script", "--output-format", "json"])
        .current_dir(&home)
        .env("HOME", &home)
        .env("ANTHROPIC_BASE_URL", format!("http://{}", server.address))
        .env("ANTHROPIC_API_KEY", "none")
        .env("ANTHROPIC_DEFAULT_HAIKU_MODEL", "own/script")
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("You said: ") && said.contains('♥'), "{said}");
}
