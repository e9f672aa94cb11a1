//! `cargo xtask instructions`: the instructions that kernels execute, counted by valgrind and
//! compared with the table of the repository, or written into it.

use crate::shell;
use anyhow::{Result, bail};
use std::path::Path;
use std::process::{Command, Stdio};

const USAGE: &str = "\
Usage: cargo xtask instructions [--bless]

  Counts the instructions that kernels execute and compares them with
  crates/kernels/tests/instructions.txt; --bless writes the table anew, for a change that is
  meant or for another compiler.
";

pub(crate) fn run(args: &[String]) -> Result<()> {
    let bless = match args {
        [] => false,
        [flag] if flag == "--bless" => true,
        [flag] if matches!(flag.as_str(), "--help" | "-h") => {
            print!("{USAGE}");
            return Ok(());
        }
        [other, ..] => bail!("`instructions` knows --bless, not `{other}`\n\n{USAGE}"),
    };
    let has_valgrind = valgrind();
    if bless && !has_valgrind {
        bail!("needs valgrind, which could not be installed");
    }
    let mut command = command();
    if bless {
        command.env("FREEHOLD_BLESS", "1");
    }
    shell::run(&mut command)
}

/// The test that counts, in the profile that is counted.
pub(crate) fn command() -> Command {
    let test = ["test", "--release", "--package", "kernels", "--test", "instructions"];
    shell::cargo(&test)
}

/// Whether valgrind is there; where packages can be installed without asking anybody, it is
/// then. Without it the test says that it is skipped.
pub(crate) fn valgrind() -> bool {
    let quietly = |command: &mut Command| {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let found = || quietly(Command::new("valgrind").arg("--version"));
    if found() {
        return true;
    }
    let is_root = shell::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if is_root && Path::new("/usr/bin/apt-get").exists() {
        eprintln!("$ apt-get install --yes valgrind");
        let install = || {
            let arguments = ["install", "--yes", "--no-install-recommends", "valgrind"];
            let mut apt = Command::new("apt-get");
            quietly(apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
        };
        // A fresh system has no lists of packages yet.
        let _ = install() || (quietly(Command::new("apt-get").arg("update")) && install());
    }
    found()
}
