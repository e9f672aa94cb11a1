//! One module per command, each from its parsed flags to what it prints.

mod bench;
mod calls;
mod keys;
mod list;
mod pack;
mod pull;
mod remove;
mod render;
mod run;
mod serve;
pub(crate) mod show;
mod tokenize;
mod trace;

use crate::cli::{Cli, Command};
use crate::locate::Locator;
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
    let locator = Locator::new(cli.home.as_deref(), cli.hub)?;
    match &cli.command {
        Command::Pull(args) => pull::run(args, &locator),
        Command::List(args) => list::run(args, &locator),
        Command::Rm(args) => remove::run(args, &locator),
        Command::Show(args) => show::run(args, &locator),
        Command::Pack(args) => pack::run(args, &locator),
        Command::Bench(args) => bench::run(args, &locator),
        Command::Trace(args) => trace::run(args, &locator),
        Command::Tokenize(args) => tokenize::run(args, &locator),
        Command::Render(args) => render::run(args, &locator),
        Command::Run(args) => run::run(args, &locator),
        Command::Serve(args) => serve::run(args, &locator),
        Command::Calls(args) => calls::run(args, &locator),
        Command::Keys(args) => keys::run(args, &locator),
    }
}
