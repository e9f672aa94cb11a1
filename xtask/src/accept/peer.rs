//! Another engine to measure against: its `llama-bench` and the tools beside it.

use crate::shell;
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names the `llama-bench` of llama.cpp.
const VARIABLE: &str = "LLAMA_BENCH";

pub(super) struct Peer {
    pub(super) name: String,
    bench: PathBuf,
    /// Flags that make it fastest, for each of its runs.
    flags: Vec<String>,
}

/// Tokens per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Speeds {
    pub(super) prefill: f64,
    pub(super) decode: f64,
}

impl Peer {
    /// From `NAME=PATH`, or `NAME=PATH FLAGS…`.
    pub(super) fn parse(text: &str) -> Result<Peer> {
        let (name, line) = text
            .split_once('=')
            .with_context(|| format!("--peer: expected NAME=PATH, found `{text}`"))?;
        let mut words = line.split_whitespace();
        let path = words.next().unwrap_or_default();
        let bench = PathBuf::from(path);
        if !bench.is_file() {
            bail!("--peer {name}: no file {path}");
        }
        let flags = words.map(str::to_owned).collect();
        Ok(Peer { name: name.to_owned(), bench, flags })
    }

    pub(super) fn from_environment() -> Result<Option<Peer>> {
        let path = std::env::var(VARIABLE).ok().filter(|path| !path.is_empty());
        let Some(path) = path else {
            eprintln!(
                "skipped: comparison with llama.cpp ({VARIABLE} does not name its llama-bench)"
            );
            return Ok(None);
        };
        Peer::parse(&format!("llama.cpp={path}")).map(Some)
    }

    /// One run of `llama-bench`: a prefill and a decode, each after a warm-up of its own.
    pub(super) fn speeds(
        &self,
        file: &Path,
        threads: usize,
        prompt: usize,
        generate: usize,
    ) -> Result<Speeds> {
        let numbers = [threads, prompt, generate].map(|n| n.to_string());
        let mut command = Command::new(&self.bench);
        command.arg("-m").arg(file).args(["-t", &numbers[0], "-p", &numbers[1], "-n", &numbers[2]]);
        command.args(&self.flags);
        let text = shell::output(command.args(["-r", "1", "-o", "json"]))?;
        parse_speeds(&text).with_context(|| format!("{}'s llama-bench", self.name))
    }

    /// Name and flags, for the record.
    pub(super) fn shown(&self) -> String {
        [std::slice::from_ref(&self.name), &self.flags].concat().join(" ")
    }

    /// A tool from the folder that `llama-bench` is in, if it is there.
    pub(super) fn tool(&self, name: &str) -> Option<PathBuf> {
        let path = self.bench.with_file_name(format!("{name}{}", std::env::consts::EXE_SUFFIX));
        path.is_file().then_some(path)
    }
}

/// `llama-bench -o json` prints a list: one entry for the prefill, one for the decode.
fn parse_speeds(text: &str) -> Result<Speeds> {
    // Some builds print lines before the JSON.
    let begin = text.find('[').context("expected a JSON list, found none")?;
    let runs: Vec<Value> = serde_json::from_str(&text[begin..]).context("expected a JSON list")?;
    let speed = |tokens: &str, other: &str| {
        let run = runs.iter().find(|run| run[tokens] != 0 && run[other] == 0);
        run.and_then(|run| run["avg_ts"].as_f64())
            .with_context(|| format!("no run with {tokens} alone"))
    };
    Ok(Speeds { prefill: speed("n_prompt", "n_gen")?, decode: speed("n_gen", "n_prompt")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_read_from_the_list() {
        let text = r#"a line before
            [{"n_prompt": 512, "n_gen": 0, "avg_ts": 85.5}, {"n_prompt": 0, "n_gen": 64, "avg_ts": 31.25}]"#;
        assert_eq!(parse_speeds(text).expect("valid"), Speeds { prefill: 85.5, decode: 31.25 });
        let error = parse_speeds("[]").expect_err("no runs");
        assert!(error.to_string().contains("n_prompt"));
        assert!(parse_speeds("no model").is_err());
    }
}
