//! The one binary: commands, configuration and wiring. What is worth a unit test of its own
//! lives in the crates below.

// The macros panic where a stream cannot be written: see `output`.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod cli;
mod commands;
mod compute;
mod drafting;
mod fleet;
mod home;
mod locate;
mod machine;
mod output;
mod packed;
mod plan;
mod prefixes;
mod progress;
mod remote_pull;
mod settings;
mod store;
mod telemetry;
mod texts;
mod units;
mod wiring;

use clap::{CommandFactory as _, FromArgMatches as _};
use std::io::{self, Write as _};
use std::process::ExitCode;

/// Exit code for a command line that makes no sense.
const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    let command = match settings::apply(cli::Cli::command()) {
        Ok(command) => command,
        // A file that cannot be read is the world's failure, not a wrong command line.
        Err(error) if is_io(&error) => return report(&error, 1),
        Err(error) => return report(&error, WRONG_USAGE),
    };
    let parsed = command.try_get_matches().and_then(|matches| cli::Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            // Help that cannot be printed has nobody to tell.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(WRONG_USAGE));
        }
    };
    // What is still in the buffer must not be lost in silence.
    let done = commands::run(&cli).and_then(|()| Ok(output::stdout().flush()?));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of a pipe may leave when it has seen enough: `freehold show m | head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) if error.is::<commands::WrongUsage>() => report(&error, WRONG_USAGE),
        Err(error) => report(&error, 1),
    }
}

/// One message: what failed, then line by line the reasons below it.
fn report(error: &anyhow::Error, code: u8) -> ExitCode {
    let mut said = error.to_string();
    output::say(format_args!("error: {said}"));
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // Some errors tell their cause in their own line.
        if !said.ends_with(&cause) {
            output::say(format_args!("  because: {cause}"));
        }
        said = cause;
    }
    ExitCode::from(code)
}

fn is_io(error: &anyhow::Error) -> bool {
    error.chain().any(<dyn std::error::Error>::is::<io::Error>)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    })
}
