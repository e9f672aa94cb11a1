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
        // A path may have spaces: the shortest beginning that is a file is the program.
        let ends = line.match_indices(' ').map(|(at, _)| at).chain([line.len()]);
        let end = ends.into_iter().find(|&end| Path::new(&line[..end]).is_file());
        let Some(end) = end else { bail!("--peer {name}: no file {line}") };
        let flags = line[end..].split_whitespace().map(str::to_owned).collect();
        Ok(Peer { name: name.to_owned(), bench: PathBuf::from(&line[..end]), flags })
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
    fn a_path_with_spaces_and_flags_are_told_apart() {
        let folder = tempfile::tempdir().expect("a folder");
        let bench = folder.path().join("my bench");
        std::fs::write(&bench, "").expect("writes");
        for (flags, count) in [("", 0), (" -rtr 1", 2)] {
            let peer = Peer::parse(&format!("ik={}{flags}", bench.display())).expect("a peer");
            assert_eq!((peer.bench.as_path(), peer.flags.len()), (bench.as_path(), count));
        }
        assert!(Peer::parse(&format!("ik={}/none -rtr 1", folder.path().display())).is_err());
    }

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
