//! lm-evaluation-harness, unmodified, on a server and on the same file in transformers: two small
//! tasks of our own, `testdata/lm-eval`, one scored by log-likelihoods and one generated.
//!
//! The harness takes its tokens from the server too. In f32 a log-likelihood may differ from
//! transformers' by rounding alone: both sum the same products in another order. A logit of at
//! most 32 has an f32 spacing of 2⁻¹⁹; thirty layers of some dozen roundings each, and an option
//! of up to four tokens, stay below 2⁻¹⁹ · 360 · 4 ≈ 3e-3 if all errors pointed one way, and far
//! below as they do not: 1e-3 is the limit.

use super::server::{self, Server};
use super::{Context, Findings, file_name};
use crate::shell;
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::packages;

const PACKAGES: [&str; 6] =
    ["lm-eval==0.4.13", "torch>=2.8", "transformers>=5,<6", "accelerate", "gguf>=0.17", "tenacity"];
/// Scored by log-likelihoods.
const FACTS: &str = "freehold_facts";
/// Generated.
const ECHO: &str = "freehold_echo";
/// Prompts as the model's template writes them.
const CHAT: &str = "--apply_chat_template";
/// Nats that a log-likelihood in f32 may be off.
const DIFFERENCE_MAX: f64 = 1e-3;
/// What the server computes with: exact, and as it does by default.
const EXACT: &[&str] = &["--activations", "f32", "--kv", "f32"];
const DEFAULT: &[&str] = &[];

pub(super) fn run(context: &Context) -> Result<Findings> {
    let python = match &context.python {
        Some(python) => python.clone(),
        None => packages::python(&context.models.join("lm-eval/python"), &PACKAGES)
            .context("needs Python 3")?,
    };
    let file = context.smollm2()?;
    let harness = Harness { python, folder: context.models.join("lm-eval") };
    let reference = harness.reference(&file)?;
    let chat_reference = harness.chat_reference(&file)?;
    let mut found = Findings::default();
    let _ = writeln!(
        found.markdown,
        "{}, {} items of four options and {} items generated greedily; the reference is the harness's \
         own `hf` model on the same file in transformers, f32.\n\
         Difference: of an option's log-likelihood, in nats; best: items with the same likeliest option; \
         greedy: options about which both say alike whether greedy decoding gives them.\n\n\
         | model of the harness | accuracy | largest difference | median | best | greedy | texts | exact match |\n\
         |---|---|---|---|---|---|---|---|\n\
         | hf (reference) | {:.3} | | | | | | {:.3} |",
        file_name(&file),
        reference.facts.len(),
        reference.echo.len(),
        mean(&reference.facts, "acc"),
        mean(&reference.echo, "exact_match"),
    );
    for (name, flags, batch) in [
        ("activations and KV cache in f32", EXACT, "1"),
        ("activations and KV cache in f32, 8 prompts a request", EXACT, "8"),
        ("as by default", DEFAULT, "1"),
    ] {
        let server = serve(context, &file, flags)?;
        let ours = harness.completions(server.address(), batch)?;
        let chat = harness.chat(server.address())?;
        drop(server);
        let compared = Compared::of(&ours, &reference)?;
        let talk = Compared::of(&chat, &chat_reference)?;
        for row in [
            compared.row(&format!("local-completions, {name}"), &ours),
            talk.chat_row(&format!("local-chat-completions, {name}"), &chat),
        ] {
            eprintln!("{row}");
            let _ = writeln!(found.markdown, "{row}");
        }
        if flags == EXACT {
            found.missed.extend(compared.missed());
            found.missed.extend(talk.missed());
        }
    }
    Ok(found)
}

fn serve(context: &Context, file: &Path, flags: &[&str]) -> Result<Server> {
    let mut command = context.serve(file, 4);
    command.args(flags).args(["--context", "2048"]);
    Server::start(command)
}

/// The samples of both tasks, in the order of their items.
struct Samples {
    facts: Vec<Value>,
    echo: Vec<Value>,
}

/// The program and the folder of its results.
struct Harness {
    python: PathBuf,
    folder: PathBuf,
}

impl Harness {
    /// Runs tasks and returns the folder of their samples.
    fn evaluate(&self, name: &str, model: &[&str], tasks: &str) -> Result<PathBuf> {
        let out = self.folder.join(name);
        if out.exists() {
            std::fs::remove_dir_all(&out)?;
        }
        let mut command = Command::new(&self.python);
        command.args(["-m", "lm_eval", "--model"]).args(model).args(["--tasks", tasks]);
        command.args(["--include_path", ".", "--log_samples", "--output_path"]).arg(&out);
        // Data and models are files of this machine.
        command.env("HF_HUB_OFFLINE", "1").env("HF_DATASETS_OFFLINE", "1");
        command.env("HF_HOME", self.folder.join("cache"));
        command.current_dir(testkit::repository_root().join("testdata/lm-eval"));
        shell::output_and_errors(&mut command)?;
        Ok(out)
    }

    fn reference(&self, file: &Path) -> Result<Samples> {
        let arguments = transformers(file)?;
        let model = ["hf", "--model_args", &arguments, "--device", "cpu", "--batch_size", "1"];
        Samples::read(&self.evaluate("reference", &model, &both())?)
    }

    fn chat_reference(&self, file: &Path) -> Result<Samples> {
        let arguments = transformers(file)?;
        let model = ["hf", "--model_args", &arguments, "--device", "cpu", CHAT];
        Samples::of_chat(&self.evaluate("chat-reference", &model, ECHO)?)
    }

    fn completions(&self, address: &str, batch: &str) -> Result<Samples> {
        let model = format!("base_url=http://{address}/v1/completions,model={}", server::NAME);
        let model = ["local-completions", "--model_args", &model, "--batch_size", batch];
        Samples::read(&self.evaluate("completions", &model, &both())?)
    }

    fn chat(&self, address: &str) -> Result<Samples> {
        let url = format!("http://{address}/v1/chat/completions");
        let model = format!("base_url={url},model={},num_concurrent=4", server::NAME);
        let model = ["local-chat-completions", "--model_args", &model, CHAT];
        Samples::of_chat(&self.evaluate("chat", &model, ECHO)?)
    }
}

/// The file as the harness's model for transformers takes it.
fn transformers(file: &Path) -> Result<String> {
    let folder = file.parent().context("a file has a folder")?.display();
    Ok(format!("pretrained={folder},gguf_file={},dtype=float32", file_name(file)))
}

fn both() -> String {
    format!("{FACTS},{ECHO}")
}

impl Samples {
    fn read(folder: &Path) -> Result<Samples> {
        Ok(Samples { facts: samples(folder, FACTS)?, echo: samples(folder, ECHO)? })
    }

    /// Chat has no log-likelihoods of a prompt.
    fn of_chat(folder: &Path) -> Result<Samples> {
        Ok(Samples { facts: Vec::new(), echo: samples(folder, ECHO)? })
    }
}

/// The one file of a task's samples, somewhere in a folder.
fn samples(folder: &Path, task: &str) -> Result<Vec<Value>> {
    for entry in std::fs::read_dir(folder)?.flatten() {
        for file in std::fs::read_dir(entry.path())?.flatten() {
            if !file.file_name().to_string_lossy().starts_with(&format!("samples_{task}_")) {
                continue;
            }
            let text = std::fs::read_to_string(file.path())?;
            let samples: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
            let mut samples = samples?;
            samples.sort_by_key(|sample| sample["doc_id"].as_u64());
            return Ok(samples);
        }
    }
    bail!("{} holds no samples of {task}", folder.display())
}

fn mean(samples: &[Value], metric: &str) -> f64 {
    let sum: f64 = samples.iter().filter_map(|sample| sample[metric].as_f64()).sum();
    sum / samples.len() as f64
}

/// What was generated for an item.
fn text(sample: &Value) -> &str {
    sample["resps"][0][0].as_str().unwrap_or_default()
}

/// Log-likelihoods of an item's options, and what is said of greedy decoding.
fn options(sample: &Value) -> Result<Vec<(f64, bool)>> {
    let options = sample["resps"].as_array().context("a sample without answers")?;
    let option = |option: &Value| {
        let score = option[0][0].as_str().and_then(|text| text.parse().ok());
        Ok((score.context("an option without a score")?, option[0][1] == "True"))
    };
    options.iter().map(option).collect()
}

fn best(options: &[(f64, bool)]) -> Option<usize> {
    (0..options.len()).max_by(|&a, &b| options[a].0.total_cmp(&options[b].0))
}

/// One model beside the reference.
#[derive(Debug, Default, PartialEq)]
struct Compared {
    items: usize,
    options: usize,
    differences: Vec<f64>,
    same_best: usize,
    same_greedy: usize,
    generated: usize,
    same_text: usize,
}

impl Compared {
    fn of(ours: &Samples, theirs: &Samples) -> Result<Compared> {
        let mut compared = Compared::default();
        if ours.facts.len() != theirs.facts.len() || ours.echo.len() != theirs.echo.len() {
            bail!("the runs have other numbers of items");
        }
        for (ours, theirs) in ours.facts.iter().zip(&theirs.facts) {
            if ours["arguments"] != theirs["arguments"] {
                bail!("item {} is not the same in both runs", ours["doc_id"]);
            }
            let (ours, theirs) = (options(ours)?, options(theirs)?);
            compared.items += 1;
            compared.options += ours.len();
            compared.same_best += usize::from(best(&ours) == best(&theirs));
            for (a, b) in ours.iter().zip(&theirs) {
                compared.differences.push((a.0 - b.0).abs());
                compared.same_greedy += usize::from(a.1 == b.1);
            }
        }
        for (ours, theirs) in ours.echo.iter().zip(&theirs.echo) {
            compared.generated += 1;
            compared.same_text += usize::from(text(ours) == text(theirs));
        }
        Ok(compared)
    }

    fn largest(&self) -> f64 {
        self.differences.iter().copied().fold(0.0, f64::max)
    }

    fn row(&self, name: &str, ours: &Samples) -> String {
        let Compared { items, options, same_best, same_greedy, generated, same_text, .. } = self;
        let (largest, median) = (self.largest(), super::median(&self.differences));
        let (acc, exact) = (mean(&ours.facts, "acc"), mean(&ours.echo, "exact_match"));
        format!(
            "| {name} | {acc:.3} | {largest:.1e} | {median:.1e} | {same_best} of {items} | \
             {same_greedy} of {options} | {same_text} of {generated} | {exact:.3} |"
        )
    }

    /// The same where there are no options.
    fn chat_row(&self, name: &str, ours: &Samples) -> String {
        let Compared { generated, same_text, .. } = self;
        let exact = mean(&ours.echo, "exact_match");
        format!("| {name} | | | | | | {same_text} of {generated} | {exact:.3} |")
    }

    /// What the exact form may not miss.
    fn missed(&self) -> Vec<String> {
        let mut missed = Vec::new();
        let largest = self.largest();
        if self.generated == 0 {
            missed.push("nothing was generated".to_owned());
        }
        if largest > DIFFERENCE_MAX {
            let n = self.options;
            missed.push(format!(
                "of {n} log-likelihoods one is {largest:.1e} off, limit {DIFFERENCE_MAX:.0e}"
            ));
        }
        for (what, same, all) in [
            ("likeliest options", self.same_best, self.items),
            ("greedy flags", self.same_greedy, self.options),
            ("texts", self.same_text, self.generated),
        ] {
            if same < all {
                missed.push(format!("{same} of {all} {what} are the reference's"));
            }
        }
        missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn facts(scores: [(&str, &str); 2]) -> Value {
        let resps: Vec<Value> = scores.iter().map(|(score, is)| json!([[score, is]])).collect();
        json!({"doc_id": 0, "arguments": {}, "resps": resps, "acc": 1.0})
    }

    fn samples(facts: Value, text: &str) -> Samples {
        Samples { facts: vec![facts], echo: vec![json!({"resps": [[text]], "exact_match": 1.0})] }
    }

    #[test]
    fn runs_are_compared_by_options_and_texts() {
        let reference = samples(facts([("-1.0", "True"), ("-2.0", "False")]), "a");
        let same = Compared::of(&reference, &reference).expect("alike");
        assert_eq!((same.options, same.missed().len()), (2, 0));
        let other = samples(facts([("-2.5", "False"), ("-2.0", "False")]), "b");
        let other = Compared::of(&other, &reference).expect("of one task");
        assert_eq!((other.largest(), other.same_best, other.same_greedy), (1.5, 0, 1));
        assert_eq!(other.missed().len(), 4);
        let none = Samples { facts: Vec::new(), echo: Vec::new() };
        assert!(Compared::of(&none, &reference).is_err());
    }
}
