//! `cargo xtask test`: the one command that a change must pass.

use crate::{instructions, minilm, packages, schemas, shell, smollm2, tidy};
use anyhow::{Context as _, Result, bail};
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

pub(crate) fn run(args: &[String]) -> Result<()> {
    if let Some(arg) = args.first() {
        bail!("`test` takes no arguments, not `{arg}`");
    }
    let begun = Instant::now();
    tidy::run(&[])?;
    documentation()?;
    let freehold = shell::build_freehold("dev")?;
    let model = smollm2::get(&freehold)?;
    instructions::valgrind();
    packages::browser();
    let mut counts = Counts { all_ran: true, ..Counts::default() };
    let mut everything = shell::cargo(&["test", "--workspace", "--no-fail-fast"]);
    everything.env("FREEHOLD_SMOLLM2", model).env("FREEHOLD_MINILM", minilm::get()?);
    counts.add(everything.envs(schemas::get()?))?;
    counts.add(&mut instructions::command())?;
    println!("{} ignored; {:.0} s in all", counts.ignored, begun.elapsed().as_secs_f64());
    println!("{} passed, {} failed", counts.passed, counts.failed);
    if counts.failed > 0 || !counts.all_ran {
        bail!("the tests failed");
    }
    Ok(())
}

fn documentation() -> Result<()> {
    let mut command = shell::cargo(&["doc", "--workspace", "--no-deps", "--quiet"]);
    shell::run(command.env("RUSTDOCFLAGS", "-D warnings"))
}

#[derive(Default)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// cargo itself ended well: everything compiled and ran.
    all_ran: bool,
}

impl Counts {
    /// Runs a `cargo test`, shows its lines and adds its result lines.
    fn add(&mut self, command: &mut Command) -> Result<()> {
        command.stdout(Stdio::piped());
        eprintln!("$ {}", shell::shown(command));
        let mut child = command.spawn().context("cannot start `cargo test`")?;
        let stdout = child.stdout.take().context("standard output was asked for")?;
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            println!("{line}");
            if let Some(result) = line.strip_prefix("test result: ") {
                self.passed += count(result, "passed");
                self.failed += count(result, "failed");
                self.ignored += count(result, "ignored");
            }
        }
        self.all_ran &= child.wait()?.success();
        Ok(())
    }
}

/// The number before `word` in a line such as `ok. 3 passed; 0 failed; 1 ignored; …`.
fn count(line: &str, word: &str) -> u64 {
    let words: Vec<&str> = line.split([' ', ';', '.']).filter(|part| !part.is_empty()).collect();
    words.windows(2).find(|pair| pair[1] == word).and_then(|pair| pair[0].parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn counts_are_read_from_the_result_line() {
        let line = "FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out";
        assert_eq!(count(line, "passed"), 12);
        assert_eq!(count(line, "failed"), 3);
        assert_eq!(count(line, "ignored"), 1);
        assert_eq!(count(line, "skipped"), 0);
    }
}
