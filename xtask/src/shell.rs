//! Running other programs: one line on the screen for each, an error when one fails.

use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// `cargo`, the same one that started this program, in the repository's root.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(args).current_dir(testkit::repository_root());
    command
}

/// The command as a person would type it, without the path of the program.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut line =
        program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}

/// Runs a command that shows its own output.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = shown(command);
    eprintln!("$ {line}");
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// Runs a command quietly and returns what it printed on both streams, errors last.
pub(crate) fn output_and_errors(command: &mut Command) -> Result<String> {
    let line = shown(command);
    let out = command.output().with_context(|| format!("cannot start `{line}`"))?;
    let text = [out.stdout, out.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if !out.status.success() {
        bail!("`{line}` failed ({}):\n{}", out.status, text[1]);
    }
    Ok(text.concat())
}

/// Runs a command quietly and returns its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = shown(command);
    let out = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{line}`"))?;
    if !out.status.success() {
        bail!("`{line}` failed ({})", out.status);
    }
    String::from_utf8(out.stdout)
        .with_context(|| format!("`{line}` printed bytes that are not UTF-8"))
}

/// The workspace as cargo sees it, without external packages.
pub(crate) fn metadata() -> Result<serde_json::Value> {
    let text = output(&mut cargo(&["metadata", "--no-deps", "--format-version", "1"]))?;
    serde_json::from_str(&text).context("`cargo metadata` printed no JSON")
}

/// Builds the `freehold` binary in a profile (`dev` or `release`) and returns its path.
pub(crate) fn build_freehold(profile: &str) -> Result<PathBuf> {
    run(&mut cargo(&["build", "--package", "freehold", "--profile", profile]))?;
    let metadata = metadata()?;
    let target = metadata["target_directory"].as_str().context("cargo names no target folder")?;
    let folder = if profile == "dev" { "debug" } else { profile };
    let name = format!("freehold{}", std::env::consts::EXE_SUFFIX);
    Ok(Path::new(target).join(folder).join(name))
}
