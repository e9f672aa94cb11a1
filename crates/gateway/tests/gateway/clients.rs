//! The `openai` package, unmodified, against the server.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::scripted::{config, start};

/// A virtual environment with the client, made once and kept under the build folder.
fn python() -> Option<PathBuf> {
    let found = Command::new("python3").arg("--version").output();
    if !found.is_ok_and(|output| output.status.success()) {
        testkit::skipped("no python3 for the openai client");
        return None;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("openai-client");
    let python = folder.join("bin/python");
    let has_client = |python: &Path| {
        Command::new(python)
            .args(["-c", "import openai"])
            .output()
            .is_ok_and(|o| o.status.success())
    };
    if !has_client(&python) {
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "openai>=2,<3"]));
    }
    Some(python)
}

fn run(command: &mut Command) {
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
    let Some(python) = python() else { return };
    let server = start(config());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gateway/openai_client.py");
    run(Command::new(python).arg(script).arg(format!("http://{}/v1", server.address)));
}
