//! Another engine's command in turns with our own repeats: its words, and the speeds that are
//! read from what it prints.

use super::command::Commands;
use crate::cli::Bench;
use crate::commands::WrongUsage;
use crate::output::say;
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::path::Path;

/// What a placeholder may be, in the order of the help.
const PLACEHOLDERS: [&str; 6] = ["model", "prompt", "generate", "depth", "batch", "threads"];

/// A command that is measured beside Freehold.
pub(super) struct Rival {
    words: Vec<String>,
    runs: Vec<Speeds>,
}

/// What one run of a command gave.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Speeds {
    /// Tokens per second.
    pub(super) prefill: Option<f64>,
    /// Tokens per second of all sequences together.
    pub(super) decode: Option<f64>,
    /// From its start to its end, loading included.
    pub(super) wall_seconds: f64,
}

impl Speeds {
    fn are_known(&self) -> bool {
        self.prefill.is_some() || self.decode.is_some()
    }
}

impl Rival {
    /// Splits a command line as a shell does, without asking one.
    pub(super) fn parse(line: &str) -> Result<Rival> {
        let wrong = |why: String| WrongUsage(format!("--compare `{line}`: {why}"));
        let words = shlex::split(line).ok_or_else(|| wrong("a quote is not closed".to_owned()))?;
        if words.is_empty() {
            return Err(wrong("it names no program".to_owned()).into());
        }
        for name in words.iter().flat_map(|word| placeholders(word)) {
            if !PLACEHOLDERS.contains(&name) {
                let known = PLACEHOLDERS.map(|name| format!("{{{name}}}")).join(", ");
                return Err(wrong(format!("{{{name}}} is none of {known}")).into());
            }
        }
        Ok(Rival { words, runs: Vec::new() })
    }

    /// Puts values in the place of `{model}` and so on; a path with spaces stays one word.
    pub(super) fn fill_in(&mut self, args: &Bench, model: &Path, threads: usize) -> Result<()> {
        let model = model.to_str().context("the path of the model is not UTF-8")?.to_owned();
        let values = [
            model,
            args.prompt.to_string(),
            args.generate.to_string(),
            args.depth.to_string(),
            args.batch.to_string(),
            threads.to_string(),
        ];
        for word in &mut self.words {
            *word = filled(word, &values);
        }
        Ok(())
    }

    /// The command as it is run.
    pub(super) fn line(&self) -> String {
        self.words.join(" ")
    }

    /// The program without its folder.
    pub(super) fn name(&self) -> String {
        let path = Path::new(&self.words[0]);
        path.file_name().map_or_else(|| self.words[0].clone(), |n| n.to_string_lossy().into_owned())
    }

    /// Runs the command once and notes its speeds.
    pub(super) fn run(&mut self, args: &Bench, commands: &Commands, turn: u32) -> Result<()> {
        let outcome = commands.run(&self.words).context("while running --compare")?;
        let speeds = read(&outcome.output, args)
            .with_context(|| format!("while reading what `{}` printed", self.name()))?;
        let speeds = Speeds { wall_seconds: outcome.wall_seconds, ..speeds };
        if turn == 0 && !speeds.are_known() {
            say(format_args!(
                "note: `{}` printed no speeds that are understood; its wall time is compared",
                self.name()
            ));
        }
        if let Some(first) = self.runs.first()
            && first.are_known() != speeds.are_known()
        {
            bail!("`{}` printed speeds in one run and none in another", self.name());
        }
        self.runs.push(speeds);
        Ok(())
    }

    /// Every value of one kind that the runs gave.
    pub(super) fn all(&self, of: fn(&Speeds) -> Option<f64>) -> Vec<f64> {
        self.runs.iter().filter_map(of).collect()
    }

    /// Its wall times, where nothing better is known.
    pub(super) fn wall_seconds(&self) -> Vec<f64> {
        self.runs.iter().filter(|run| !run.are_known()).map(|run| run.wall_seconds).collect()
    }
}

/// The lowercase names between braces; other braces, as in JSON, are left alone.
fn placeholders(word: &str) -> Vec<&str> {
    let open = word.split('{').skip(1);
    let names = open.filter_map(|rest| rest.split_once('}').map(|(name, _)| name));
    names.filter(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_lowercase())).collect()
}

/// A word with its placeholders filled in, in one pass: a value may have braces of its own.
fn filled(word: &str, values: &[String; PLACEHOLDERS.len()]) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let found = PLACEHOLDERS.iter().zip(values).find_map(|(name, value)| {
            let after = from[1..].strip_prefix(name)?.strip_prefix('}')?;
            Some((value.as_str(), after))
        });
        let (piece, after) = found.unwrap_or(("{", &from[1..]));
        out.push_str(piece);
        rest = after;
    }
    out + rest
}

/// Speeds from the JSON of `llama-bench -o json` or `-o jsonl`, or of `freehold bench --json`;
/// none where there is neither.
///
/// # Errors
/// The command measured something else than this run does.
fn read(output: &str, args: &Bench) -> Result<Speeds> {
    let mut speeds = Speeds::default();
    for value in values(output) {
        match &value {
            Value::Array(tests) => {
                tests.iter().try_for_each(|test| read_object(test, args, &mut speeds))?;
            }
            object => read_object(object, args, &mut speeds)?,
        }
    }
    Ok(speeds)
}

/// Objects and lists that begin at the beginning of a line: some programs print other lines
/// before them.
fn values(output: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < output.len() {
        let rest = &output[at..];
        let mut parsed = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        if rest.starts_with(['[', '{'])
            && let Some(Ok(value)) = parsed.next()
        {
            found.push(value);
            at += parsed.byte_offset();
        }
        at = output[at..].find('\n').map_or(output.len(), |end| at + end + 1);
    }
    found
}

fn read_object(object: &Value, args: &Bench, speeds: &mut Speeds) -> Result<()> {
    let number = |key: &str| object[key].as_u64();
    if object.get("decode_tokens_per_second").is_some() {
        same("prompt_tokens", number("prompt_tokens"), args.prompt)?;
        same("generate_tokens", number("generate_tokens"), args.generate)?;
        same("depth_tokens", number("depth_tokens"), args.depth)?;
        same("batch", number("batch"), args.batch)?;
        speeds.prefill = object["prefill_tokens_per_second"].as_f64();
        speeds.decode = object["decode_tokens_per_second"].as_f64();
        return Ok(());
    }
    let speed = object["avg_ts"].as_f64().filter(|speed| *speed > 0.0);
    let (Some(speed), Some(prompt), Some(generate)) = (speed, number("n_prompt"), number("n_gen"))
    else {
        return Ok(());
    };
    same("n_depth", number("n_depth"), args.depth)?;
    match (prompt, generate) {
        (1.., 0) => {
            same("n_prompt", Some(prompt), args.prompt)?;
            speeds.prefill = Some(speed);
        }
        (0, 1..) => {
            same("n_gen", Some(generate), args.generate)?;
            same("the number of sequences", Some(1), args.batch)?;
            speeds.decode = Some(speed);
        }
        // A prompt and its continuation in one figure is something else.
        _ => {}
    }
    Ok(())
}

/// What the command says that it measured, if it does, is what this run measures.
fn same(what: &str, theirs: Option<u64>, ours: u32) -> Result<()> {
    match theirs {
        Some(theirs) if theirs != u64::from(ours) => bail!(
            "{what} is {theirs} there and {ours} here; \
             {{prompt}}, {{generate}}, {{depth}} and {{batch}} in --compare stand for this run's"
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn bench(line: &str) -> Bench {
        let words = ["freehold", "bench", "m"].into_iter().chain(line.split_whitespace());
        match crate::cli::Cli::parse_from(words).command {
            crate::cli::Command::Bench(bench) => bench,
            _ => unreachable!("it is bench"),
        }
    }

    #[test]
    fn words_are_split_and_filled_in() {
        let mut rival =
            Rival::parse("'my bench' -m {model} -p {prompt} --x '{\"a\": {generate}}' {threads}")
                .expect("it is well formed");
        let args = bench("--prompt 7 --generate 9");
        rival.fill_in(&args, Path::new("a folder/{prompt}.gguf"), 3).expect("UTF-8");
        let words =
            ["my bench", "-m", "a folder/{prompt}.gguf", "-p", "7", "--x", "{\"a\": 9}", "3"];
        assert_eq!(rival.words, words);
        assert_eq!(rival.name(), "my bench");
        for (bad, why) in [("a 'b", "quote"), (" ", "no program"), ("a {modell}", "{modell}")] {
            let error = Rival::parse(bad).err().expect("it is wrong").to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn speeds_are_read_from_every_known_form() {
        let args = bench("--prompt 512 --generate 64");
        let list = "warning: [x]\n[\n {\"n_prompt\": 512, \"n_gen\": 0, \"n_depth\": 0, \"avg_ts\": 85.5},\n \
                    {\"n_prompt\": 0, \"n_gen\": 64, \"avg_ts\": 31.25},\n \
                    {\"n_prompt\": 512, \"n_gen\": 64, \"avg_ts\": 60.0}\n]\n";
        let lines = "{\"n_prompt\": 512, \"n_gen\": 0, \"avg_ts\": 85.5}\n\
                     {\"n_prompt\": 0, \"n_gen\": 64, \"avg_ts\": 31.25}\n";
        let own = "{\"prefill_tokens_per_second\": 85.5, \"decode_tokens_per_second\": 31.25, \
                   \"prompt_tokens\": 512, \"generate_tokens\": 64, \"batch\": 1}";
        for text in [list, lines, own] {
            let found = read(text, &args).expect("the same work");
            assert_eq!((found.prefill, found.decode), (Some(85.5), Some(31.25)), "{text}");
        }
        for text in ["", "85 tokens/s\n", "[1, 2]\n{\"a\": {}}\n[", "{\"avg_ts\": null}"] {
            assert_eq!(read(text, &args).expect("nothing known"), Speeds::default(), "{text}");
        }
    }

    #[test]
    fn other_work_is_refused() {
        let prefill = "[{\"n_prompt\": 512, \"n_gen\": 0, \"n_depth\": 0, \"avg_ts\": 85.5}]";
        let decode = "[{\"n_prompt\": 0, \"n_gen\": 64, \"avg_ts\": 31.25}]";
        for (text, args) in [
            (prefill, "--prompt 128"),
            (prefill, "--depth 64"),
            (decode, "--generate 8"),
            (decode, "--batch 2"),
        ] {
            let error = read(text, &bench(args)).expect_err("other work").to_string();
            assert!(error.contains("there and"), "{error}");
        }
    }
}
