//! `cargo xtask tidy`: style rules that a machine can check, so that reviews need not.

mod dependencies;
mod ratchet;
mod source;
mod text;

use crate::shell;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file of the repository: its path from the root with `/`, and its text.
pub(crate) struct SourceFile {
    pub(crate) path: String,
    pub(crate) text: String,
}

pub(crate) fn run(args: &[String]) -> Result<()> {
    let shrink = match args {
        [] => false,
        [flag] if flag == "--shrink" => true,
        [other, ..] => bail!("`tidy` knows --shrink, not `{other}`"),
    };
    let files = files()?;
    let mut problems = text::check(&files);
    problems.extend(dependencies::check(&shell::metadata()?)?);
    problems.extend(ratchet::check(&files, shrink)?);
    for problem in &problems {
        eprintln!("tidy: {problem}");
    }
    components()?;
    let format = shell::run(&mut shell::cargo(&["fmt", "--all", "--check"]));
    let clippy = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
    shell::run(&mut shell::cargo(&clippy))?;
    format?;
    if !problems.is_empty() {
        bail!("{} untidy places, listed above", problems.len());
    }
    eprintln!("tidy: {} files are in order", files.len());
    Ok(())
}

/// A minimal toolchain comes without rustfmt and clippy: adds what is missing.
fn components() -> Result<()> {
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        let found = shell::cargo(&[subcommand, "--version"]).output();
        if !found.is_ok_and(|out| out.status.success()) {
            shell::run(Command::new("rustup").args(["component", "add", component]))?;
        }
    }
    Ok(())
}

/// Every text file that belongs to the repository, in path order.
fn files() -> Result<Vec<SourceFile>> {
    let root = testkit::repository_root();
    let mut paths = Vec::new();
    walk(&root, &mut paths)?;
    paths.sort();
    paths.into_iter().map(|path| read(&root, &path)).collect()
}

fn read(root: &Path, path: &Path) -> Result<SourceFile> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let path = path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/");
    Ok(SourceFile { path, text })
}

fn walk(folder: &Path, out: &mut Vec<PathBuf>) -> Result<()> {
    const TEXT: &[&str] = &["rs", "md", "toml", "py", "sh", "txt"];
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("target") || name == "testdata" || name.starts_with("__") {
            continue;
        }
        // Of the hidden folders only these two are the repository's own.
        if name.starts_with('.') && !matches!(&*name, ".ci" | ".cargo") {
            continue;
        }
        if path.is_dir() {
            walk(&path, out)?;
        } else if path.extension().is_some_and(|e| TEXT.iter().any(|known| e == *known))
            || name == "run"
        {
            out.push(path);
        }
    }
    Ok(())
}
