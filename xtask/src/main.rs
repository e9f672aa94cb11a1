//! The repository's own commands, run as `cargo xtask NAME`: tests, tidiness, the demo.

mod accept;
mod bench;
mod demo;
mod instructions;
mod minilm;
mod mix;
mod packages;
mod padded;
mod random_model;
mod schemas;
mod shell;
mod smollm2;
mod test;
mod tidy;

use anyhow::Result;
use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask COMMAND

  test              everything a change must pass: tidy, tests, documentation
  tidy [--shrink]   formatting, clippy, dependency direction, size limits, text rules
                    (--shrink lowers the recorded sizes of functions that got smaller)
  demo [--once]     get a small model, serve it, ask it a question
                    (--once stops the server after the answer; --port N, default 8080)
  accept [speed] [quality] [start] [calls] … [--peer NAME=PATH …]
                    measurements beside peers, recorded under bench/record/
                    (`accept --help` lists the options)
  bench [--check]   a short look at this machine's speed, recorded under bench/record/
                    (--check compares with the last record; `bench --help` lists the options)
  instructions [--bless]
                    the instructions that kernels execute, beside the recorded table
                    (--bless writes the table anew)
  random-model OUT.gguf [--type Q4_K_M] [--layers 28]
                    random weights at Qwen3-0.6B's shape, for measuring speed
  padded-model IN.gguf OUT.gguf [--type Q4_K_M]
                    SmolLM2 widened to 768 channels, so that it takes every type
";

/// A command: its arguments in, an error for a message and exit code 1.
type Action = fn(&[String]) -> Result<()>;

const COMMANDS: &[(&str, Action)] = &[
    ("test", test::run),
    ("tidy", tidy::run),
    ("demo", demo::run),
    ("accept", accept::run),
    ("bench", bench::run),
    ("instructions", instructions::run),
    ("random-model", random_model::run),
    ("padded-model", padded::run),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = args.split_first() else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let Some((_, action)) = COMMANDS.iter().find(|(known, _)| known == name) else {
        eprint!("error: no command `{name}`\n\n{USAGE}");
        return ExitCode::from(2);
    };
    match action(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
