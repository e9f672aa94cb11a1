//! Clients that others made, unmodified, against the server.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;

use testkit::packages::{self, FRAMEWORKS, MODULES, SDKS, run};

use crate::scripted::{config, eventually, start, start_keeping, start_keeping_for_any_model};

/// A folder that is kept under the build folder.
pub(crate) fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// A Python that has the vendors' clients.
pub(crate) fn python() -> Option<PathBuf> {
    packages::python(&kept("python-clients"), SDKS)
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gateway").join(name)
}

/// Runs a script of this folder with the server's address and a path behind it.
fn drives(name: &str, path: &str) {
    let Some(python) = python() else { return };
    let server = start(config());
    drive(python, name, &format!("http://{}{path}", server.address));
}

fn drive(python: PathBuf, name: &str, address: &str) {
    run(Command::new(python).arg(script(name)).arg(address));
}

/// Runs a script of this folder with the server's address, in an empty folder that is its home.
fn frameworks(name: &str) {
    let Some(python) = packages::python(&kept("python-frameworks"), FRAMEWORKS) else { return };
    let folder = tempfile::tempdir().unwrap();
    // Some have names of vendors' models in them.
    let server = start_keeping_for_any_model(config(), folder.path());
    let home = kept(&format!("home-of-{name}"));
    std::fs::create_dir_all(&home).unwrap();
    let address = format!("http://{}", server.address);
    let mut command = Command::new(python);
    command.arg(script(name)).arg(&address).current_dir(&home).env("HOME", &home);
    run(command.env("LLM_USER_PATH", &home).env("OLLAMA_HOST", &address));
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
    let address = format!("http://{}/v1", server.address);
    drive(python.clone(), "files_client.py", &address);
    drive(python, "conversations_client.py", &address);
}

#[test]
fn the_anthropic_client_works_unmodified_with_batches() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = start_keeping(config(), folder.path());
    drive(python, "batches_client.py", &format!("http://{}", server.address));
}

#[test]
fn the_anthropic_client_works_unmodified() {
    drives("anthropic_client.py", "");
}

#[test]
fn what_the_clients_do_by_themselves_works() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = start_keeping(config(), folder.path());
    let address = format!("http://{}", server.address);
    let said = run(Command::new(python).arg(script("habits_client.py")).arg(address));
    // Warnings may follow.
    let n_left: usize = said.lines().next().unwrap().parse().expect("it prints a number");
    eventually("every answer that was left is cancelled", || {
        let n_cancelled = server.n_cancelled.load(Ordering::SeqCst);
        n_cancelled == n_left && server.n_running.load(Ordering::SeqCst) == 0
    });
}

#[test]
fn prometheus_reads_the_metrics() {
    drives("metrics_client.py", "");
}

#[test]
fn the_ollama_client_works_unmodified() {
    drives("ollama_client.py", "");
}

#[test]
fn litellm_works_unmodified_by_three_of_its_providers() {
    frameworks("litellm_client.py");
}

#[test]
fn langchain_works_unmodified() {
    frameworks("langchain_client.py");
}

#[test]
fn llm_works_unmodified() {
    frameworks("llm_client.py");
}

#[test]
fn the_clients_for_javascript_work_unmodified() {
    let Some(modules) = packages::node(&kept("node-clients"), MODULES) else { return };
    let server = start(config());
    let mut command = Command::new("node");
    command.arg(script("javascript_clients.cjs")).arg(format!("http://{}", server.address));
    run(command.env("NODE_PATH", modules));
}
