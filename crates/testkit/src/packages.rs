//! Packages of others that tests are driven by: installed once by name, from pip into a virtual
//! environment, from npm into a folder.

use crate::skipped;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// The clients that vendors publish for Python, at versions that keep their interface.
pub const SDKS: &[&str] =
    &["openai>=2,<4", "anthropic>=0.75,<3", "ollama>=0.6,<1", "prometheus-client>=0.20,<1"];
/// What people build on: they speak the same interfaces with habits of their own.
pub const FRAMEWORKS: &[&str] =
    &["litellm>=1.80,<2", "langchain-openai>=1,<2", "llm>=0.27,<1", "llm-ollama>=0.15,<1"];
/// The vendors' clients for JavaScript.
pub const MODULES: &[&str] = &["openai@>=6 <8", "@anthropic-ai/sdk@>=0.70 <2", "ollama@>=0.6 <1"];

/// Says in a folder what was installed there, so that another list makes it anew.
const INSTALLED: &str = "installed.txt";

/// One installation at a time: tests that want the same run beside one another.
static INSTALLING: Mutex<()> = Mutex::new(());

/// The Python of a virtual environment `folder` that has these packages of pip's. None, with a
/// visible line, where this machine has no Python.
///
/// # Panics
/// Where pip cannot install them.
pub fn python(folder: &Path, packages: &[&str]) -> Option<PathBuf> {
    if !runs("python3") {
        skipped("no python3 for the packages that tests are driven by");
        return None;
    }
    let python = folder.join("bin/python");
    install(folder, packages, |folder| {
        run(Command::new("python3").args(["-m", "venv"]).arg(folder));
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(packages));
    });
    Some(python)
}

/// The folder of modules in `folder` that has these packages of npm's. None, with a visible line,
/// where this machine has no Node.
///
/// # Panics
/// Where npm cannot install them.
pub fn node(folder: &Path, packages: &[&str]) -> Option<PathBuf> {
    if !runs("node") || !runs("npm") {
        skipped("no Node for the packages that tests are driven by");
        return None;
    }
    install(folder, packages, |folder| {
        std::fs::create_dir_all(folder).expect("the build folder can be written");
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(folder);
        run(npm.args(packages));
    });
    Some(folder.join("node_modules"))
}

/// Runs a command to its end and returns what it said on both streams.
///
/// # Panics
/// Where it cannot be started or fails.
pub fn run(command: &mut Command) -> String {
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => panic!("{command:?} cannot be started: {error}"),
    };
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command:?}\n{said}");
    said
}

fn runs(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|out| out.status.success())
}

fn install(folder: &Path, packages: &[&str], make: impl FnOnce(&Path)) {
    // A failed installation is nobody else's.
    let _one = INSTALLING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (list, installed) = (packages.join("\n"), folder.join(INSTALLED));
    if std::fs::read_to_string(&installed).is_ok_and(|before| before == list) {
        return;
    }
    // What is left of another list, or of an installation that was broken off.
    let _ = std::fs::remove_dir_all(folder);
    make(folder);
    std::fs::write(installed, list).expect("the build folder can be written");
}
