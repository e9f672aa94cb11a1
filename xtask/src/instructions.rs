//! `cargo xtask instructions`: the instructions that kernels execute, counted by valgrind and
//! compared with the table of the repository, or written into it.

use crate::{packages, shell};
use anyhow::{Result, bail};
use std::process::Command;

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
    packages::ensure("valgrind", "valgrind")
}
