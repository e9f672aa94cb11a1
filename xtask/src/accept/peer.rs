//! Another engine to measure against: its `llama-bench` and the tools beside it.

use crate::shell;
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names the `llama-bench` of llama.cpp.
const VARIABLE: &str = "LLAMA_BENCH";

/// Tokens that each of several sequences begins with.
const TOGETHER_PROMPT: usize = 16;

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
        self.run(file, threads, prompt, generate, &[])
    }

    fn run(
        &self,
        file: &Path,
        threads: usize,
        prompt: usize,
        generate: usize,
        more: &[&str],
    ) -> Result<Speeds> {
        let numbers = [threads, prompt, generate].map(|n| n.to_string());
        let mut command = Command::new(&self.bench);
        command.arg("-m").arg(file).args(["-t", &numbers[0], "-p", &numbers[1], "-n", &numbers[2]]);
        command.args(&self.flags).args(more);
        let text = shell::output(command.args(["-r", "1", "-o", "json"]))?;
        parse_speeds(&text).with_context(|| format!("{}'s llama-bench", self.name))
    }

    /// Decode speeds of `batches` sequences each, by `llama-batched-bench`.
    pub(super) fn together(
        &self,
        file: &Path,
        threads: usize,
        generate: usize,
        batches: &[usize],
    ) -> Result<Vec<f64>> {
        let list: Vec<String> = batches.iter().map(usize::to_string).collect();
        let most = batches.iter().max().copied().unwrap_or(1);
        let cells = most * (generate + TOGETHER_PROMPT);
        let mut command = self.other_tool("llama-batched-bench", file, threads)?;
        command.args(["-c", &cells.next_multiple_of(256).to_string()]);
        command.args(["-npp", &TOGETHER_PROMPT.to_string(), "-ntg", &generate.to_string()]);
        command.args(["-npl", &list.join(",")]);
        let text = shell::output_and_errors(&mut command)?;
        let find = |batch: &String| {
            cell(&text, "B", batch, "S_TG t/s")
                .with_context(|| format!("{}'s llama-batched-bench, {batch} sequences", self.name))
        };
        list.iter().map(find).collect()
    }

    /// Prefill and decode speeds after `depth` tokens: by `llama-bench` where it can, else by
    /// `llama-sweep-bench`.
    pub(super) fn deep(
        &self,
        file: &Path,
        threads: usize,
        depth: usize,
        prompt: usize,
        generate: usize,
    ) -> Result<Vec<f64>> {
        if !self.sweeps() {
            let depth = depth.to_string();
            let speeds = self.run(file, threads, prompt, generate, &["-d", &depth])?;
            return Ok(vec![speeds.prefill, speeds.decode]);
        }
        let mut command = self.other_tool("llama-sweep-bench", file, threads)?;
        // It goes on in steps of `prompt` until the context is full.
        command.args(["-c", &(depth + 2 * prompt).to_string(), "-ub", &prompt.to_string()]);
        let text = shell::output_and_errors(&mut command)?;
        let find = |column: &str| {
            cell(&text, "N_KV", &depth.to_string(), column)
                .with_context(|| format!("{}'s llama-sweep-bench", self.name))
        };
        Ok(vec![find("S_PP t/s")?, find("S_TG t/s")?])
    }

    /// Whether its `llama-bench` does not know depths.
    pub(super) fn sweeps(&self) -> bool {
        let help = Command::new(&self.bench).arg("--help").output();
        !help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("--n-depth"))
    }

    fn other_tool(&self, name: &str, file: &Path, threads: usize) -> Result<Command> {
        let tool = self.tool(name).with_context(|| format!("{} has no {name}", self.name))?;
        let mut command = Command::new(tool);
        command.arg("-m").arg(file).args(["-t", &threads.to_string()]);
        command.args(flags_of_other_tools(&self.flags));
        Ok(command)
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

/// The flags of `llama-bench` as its sister programs have them: repacking takes no value there.
fn flags_of_other_tools(flags: &[String]) -> Vec<String> {
    let repacks = |flag: &String| flag == "-rtr" || flag == "--run-time-repack";
    let mut out = Vec::new();
    let mut flags = flags.iter();
    while let Some(flag) = flags.next() {
        match flag {
            flag if repacks(flag) && flags.next().is_some_and(|value| value == "0") => {}
            flag => out.push(flag.clone()),
        }
    }
    out
}

/// The number in `column` of the row that has `value` in `key`, of a table drawn with bars.
fn cell(text: &str, key: &str, value: &str, column: &str) -> Result<f64> {
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches([' ', '|']).split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let mut lines = text.lines().filter(|line| line.starts_with('|')).map(cells);
    let head = lines.find(|head| head.iter().any(|name| name == column));
    let head = head.with_context(|| format!("no table with `{column}`"))?;
    let place = |name: &str| head.iter().position(|cell| cell == name);
    let (key_at, at) = place(key).zip(place(column)).with_context(|| format!("no `{key}`"))?;
    let row = lines.find(|row| row.get(key_at).is_some_and(|cell| cell == value));
    let row = row.with_context(|| format!("no row with {key} = {value}"))?;
    let cell = row.get(at).with_context(|| format!("a short row for {key} = {value}"))?;
    cell.parse().with_context(|| format!("expected a number, found `{cell}`"))
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
    fn cells_are_found_by_row_and_column() {
        let text = "main: | x |\n\n|    PP |    B | S_TG t/s |\n|-------|------|----------|\n\
                    |    16 |    1 |    68.26 |\n|    16 |    2 |    79.48 |\n";
        assert_eq!(cell(text, "B", "2", "S_TG t/s").expect("there"), 79.48);
        for (key, value, column) in [("B", "4", "S_TG t/s"), ("N", "2", "PP"), ("B", "2", "X")] {
            assert!(cell(text, key, value, column).is_err());
        }
    }

    #[test]
    fn other_tools_take_repacking_without_a_value() {
        let flags = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(flags_of_other_tools(&flags("-rtr 1 -fa 0")), flags("-rtr -fa 0"));
        assert_eq!(flags_of_other_tools(&flags("-fa 0 -rtr 0")), flags("-fa 0"));
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
