//! One module per command, each from its parsed flags to what it prints.

use crate::cli::{Cli, Command};
use anyhow::Result;

/// A command line that parses and still asks for something impossible: exit code 2.
#[derive(Debug)]
pub(crate) struct WrongUsage(pub(crate) String);

impl std::fmt::Display for WrongUsage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WrongUsage {}

pub(crate) fn run(cli: &Cli) -> Result<()> {
    match &cli.command {
        other => anyhow::bail!("{other:?}"),
    }
}
