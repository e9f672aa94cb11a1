//! `cargo xtask accept`: what takes too long for every change, measured against peers and written
//! down under `bench/record/`, one file a machine and day.

mod adapters;
mod calls;
mod determinism;
mod drafts;
mod embed;
mod equality;
mod faults;
mod fuzz_http;
mod lm_eval;
mod load;
pub(crate) mod machine;
mod memory;
mod overhead;
mod peer;
mod prefix;
mod quality;
pub(crate) mod record;
mod sdk_suites;
mod server;
mod serving;
mod soak;
mod speed;
mod start;
mod turns;
mod under_load;

use crate::mix::Mix;
use crate::random_model::Shape;
use crate::{padded, random_model, shell, smollm2};
use anyhow::{Context as _, Result, bail};
use peer::Peer;
use std::path::{Path, PathBuf};

const USAGE: &str = "\
Usage: cargo xtask accept [PART …] [OPTIONS]      (default: all parts)

  speed     prefill and decode in turns with each peer's llama-bench
  together  decode of 1, 2, 4 and 8 sequences, in turns with llama-batched-bench
  depth     prefill and decode after 4,096 tokens, in turns with llama-bench -d or, where it
            has none, llama-sweep-bench (a quarter of an hour on 2 cores)
  experts   prefill and decode of a mixture of experts (takes 7 GiB of disk, 14 of memory)
  quality   perplexity and divergence from the same file in f32, beside the first peer's
  load      a fixed workload on a server, 1 to 64 clients, beside the first peer's
            llama-server (half an hour on 2 cores; --only smollm2 for one file)
  prefix    what a shared prefix of 4,000 tokens costs after the first request, and after a
            restart, from disk
  drafts    decode with speculation and without, by lookup and by draft models, texts
            compared (--only lookup, --only model or --only Q4_K for a part)
  equality  whether company, caches, preemption, speculation, chunks or adapters change a bit
  memory    two models under load in less memory than both take: the peak against the limit,
            what is refused, two at once against one after the other
  calls     tool calls in every output format, read and validated, streamed and whole
            (--only glm for one format)
  lm-eval   lm-evaluation-harness on a server, beside the same file in transformers (takes 6 GiB of
            disk for torch unless --python names one)
  embed     all-MiniLM-L6-v2 through HTTP in turns with transformers on torch, and their vectors
            compared (torch as for lm-eval)
  sdk-suites
            the test suites of the packages `openai` and `anthropic` against a scripted model
  adapters  what a LoRA adapter costs in decode
  overhead  what the gateway adds to a request at 1, 100 and 1,000 requests a second, before
            a model that answers at once
  serving   decode through HTTP, 1 and 16 streams, beside `freehold bench --batch`
  faults    10,000 requests of clients that misbehave, malformed ones, SIGTERM and kill -9
            under load (some minutes)
  soak      mixed use for --minutes: whether memory, threads and descriptors stay flat
  fuzz-http requests drawn from the document of the interface, hostile and valid, at a server
            over a real model (a quarter of an hour)
  start     time to the first token and peak memory
  determinism
            whether any bit of the logits depends on batch, chunks, threads or decode
            (a quarter of an hour on 2 cores; --only Q8_0 for one file)

  --peer NAME=PATH   the llama-bench of a peer, and perhaps flags for each of its runs
                     ('NAME=PATH -rtr 1'); may be repeated. The first is the bar.
                     Default: llama.cpp=$LLAMA_BENCH, else no comparison.
                     The other tools that a part needs are taken from the same folder
                     (quality: llama-quantize and llama-perplexity).
  --freehold PATH    a built binary [default: built here, in release]
  --models FOLDER    where test models are made and kept [default: target/accept]
  --mock PATH        a built `mock_serve` of overhead [default: built here, in release]
  --minutes N        how long soak runs [default: 30]
  --requests N       requests of clients that misbehave in faults [default: 10000]
  --rounds N         runs of each program for each file [default: 5]
  --threads N        [default: 2]
  --chunks N         chunks of 512 tokens that quality scores, at most the 298 of the
                     excerpt; the time it takes grows with them [default: 16]
  --text FILE        what quality scores [default: the excerpt in shared data]
  --python PATH      a Python with what lm-eval or embed needs [default: made under --models]
  --only WORD        only files whose names contain WORD
";

/// What every part works with.
struct Context {
    freehold: PathBuf,
    mock: Option<PathBuf>,
    minutes: usize,
    requests: usize,
    peers: Vec<Peer>,
    models: PathBuf,
    rounds: usize,
    threads: usize,
    chunks: usize,
    text: Option<PathBuf>,
    python: Option<PathBuf>,
    only: Option<String>,
}

/// What a part found: Markdown for the record, and the criteria that were missed.
#[derive(Default)]
struct Findings {
    markdown: String,
    missed: Vec<String>,
}

/// A part of the acceptance: its name, its title in the record, the measurement.
type Part = (&'static str, &'static str, fn(&Context) -> Result<Findings>);

const PARTS: [Part; 22] = [
    ("speed", "Speed", speed::run),
    ("together", "Several sequences together", speed::together),
    ("depth", "After a long context", speed::depth),
    ("experts", "A mixture of experts", speed::experts),
    ("quality", "Quality of quantized weights", quality::run),
    ("load", "A server under load", load::run),
    ("prefix", "Shared prefixes", prefix::run),
    ("drafts", "Speculation", drafts::run),
    ("equality", "Equality", equality::run),
    ("memory", "Several models in a budget of memory", memory::run),
    ("calls", "Tool calls", calls::run),
    ("lm-eval", "lm-evaluation-harness", lm_eval::run),
    ("embed", "Embedding", embed::run),
    ("sdk-suites", "Test suites of clients", sdk_suites::run),
    ("adapters", "Adapters", adapters::run),
    ("overhead", "What the gateway adds", overhead::run),
    ("serving", "Decode through HTTP", serving::run),
    ("faults", "Faults", faults::run),
    ("soak", "Soak", soak::run),
    ("fuzz-http", "Requests drawn from the document", fuzz_http::run),
    ("start", "Start and memory", start::run),
    ("determinism", "Determinism", determinism::run),
];

pub(crate) fn run(args: &[String]) -> Result<()> {
    if args.iter().any(|arg| matches!(arg.as_str(), "--help" | "-h")) {
        print!("{USAGE}");
        return Ok(());
    }
    let (context, parts) = parse(args)?;
    std::fs::create_dir_all(&context.models)
        .with_context(|| format!("cannot make {}", context.models.display()))?;
    let machine = machine::Machine::read();
    let mut missed = Vec::new();
    for (_, title, part) in parts {
        eprintln!("{title}");
        let found = part(&context).with_context(|| format!("while measuring: {title}"))?;
        println!("\n## {title}\n\n{}", found.markdown);
        let path = record::write(&machine, title, &found.markdown)?;
        eprintln!("recorded in {}", path.display());
        missed.extend(found.missed);
    }
    if !missed.is_empty() {
        bail!("{} criteria are missed:\n  {}", missed.len(), missed.join("\n  "));
    }
    Ok(())
}

fn parse(args: &[String]) -> Result<(Context, Vec<Part>)> {
    let (mut freehold, mut peers, mut parts) = (None, Vec::new(), Vec::new());
    let mut models = testkit::repository_root().join("target/accept");
    let (mut rounds, mut threads, mut chunks) = (5, 2, 16);
    let (mut text, mut python, mut only, mut mock) = (None, None, None, None);
    let (mut minutes, mut requests) = (30, 10_000);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if let Some(part) = PARTS.into_iter().find(|(name, ..)| name == arg) {
            parts.push(part);
            continue;
        }
        let mut value = || args.next().with_context(|| format!("{arg} needs a value\n\n{USAGE}"));
        match arg.as_str() {
            "--peer" => peers.push(Peer::parse(value()?)?),
            "--freehold" => freehold = Some(PathBuf::from(value()?)),
            "--mock" => mock = Some(PathBuf::from(value()?)),
            "--minutes" => minutes = number(arg, value()?)?,
            "--requests" => requests = number(arg, value()?)?,
            "--models" => models = PathBuf::from(value()?),
            "--rounds" => rounds = number(arg, value()?)?,
            "--threads" => threads = number(arg, value()?)?,
            "--chunks" => chunks = number(arg, value()?)?,
            "--text" => text = Some(PathBuf::from(value()?)),
            "--python" => python = Some(PathBuf::from(value()?)),
            "--only" => only = Some(value()?.clone()),
            _ => bail!("unexpected `{arg}`\n\n{USAGE}"),
        }
    }
    if peers.is_empty() {
        peers.extend(Peer::from_environment()?);
    }
    if parts.is_empty() {
        parts = PARTS.to_vec();
    }
    let freehold = match freehold {
        Some(path) => path,
        None => shell::build_freehold("release")?,
    };
    let context = Context {
        freehold,
        mock,
        minutes,
        requests,
        peers,
        models,
        rounds,
        threads,
        chunks,
        text,
        python,
        only,
    };
    Ok((context, parts))
}

fn number(flag: &str, text: &str) -> Result<usize> {
    let found = text.parse().ok().filter(|&n| n > 0);
    found.with_context(|| format!("{flag}: expected a number above 0, found `{text}`"))
}

impl Context {
    /// Whether a file is asked for.
    fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|word| name.contains(word.as_str()))
    }

    /// A server over a file for so many clients, on the port that [`server::Server`] asks.
    fn serve(&self, file: &Path, clients: usize) -> std::process::Command {
        let mut command = std::process::Command::new(&self.freehold);
        command.arg("serve").arg(file).args(["--port", &server::PORT.to_string()]);
        let clients = clients.to_string();
        command.args(["--alias", server::NAME, "--parallel", &clients, "--queue", "128"]);
        command.args(["--threads", &self.threads.to_string()]);
        command
    }

    /// SmolLM2-135M-Instruct as published in Q4_1.
    fn smollm2(&self) -> Result<PathBuf> {
        smollm2::get(&self.freehold)
    }

    /// Random weights at Qwen3-0.6B's shape.
    fn random_qwen3(&self, mix: &str) -> Result<PathBuf> {
        random_model::kept(&self.models, &Shape::QWEN3_0_6B, &Mix::from_name(mix)?)
    }

    /// Random weights of the first layers of Qwen3-30B-A3B's shape.
    fn random_experts(&self, mix: &str, layers: usize) -> Result<PathBuf> {
        let shape = Shape::QWEN3_30B_A3B.with_layers(layers)?;
        random_model::kept(&self.models, &shape, &Mix::from_name(mix)?)
    }

    /// SmolLM2 widened to 768 channels.
    fn padded_smollm2(&self, mix: &str) -> Result<PathBuf> {
        let mix = Mix::from_name(mix)?;
        let input = self.smollm2()?;
        self.made(&format!("smollm2-135m-768-{}.gguf", mix.name), |path| {
            padded::write_padded(&input, path, &mix)
        })
    }

    fn made(&self, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let path = self.models.join(name);
        if !path.exists() {
            eprintln!("making {}", path.display());
            make(&path)?;
        }
        Ok(path)
    }
}

/// The name of a file without its folder.
fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The middle of the values, or the mean of the middle two; NaN of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    if n == 0 { f64::NAN } else { (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0 }
}

#[cfg(test)]
impl Context {
    /// Nothing to run and nowhere to write.
    fn for_tests() -> Context {
        Context {
            freehold: PathBuf::new(),
            mock: None,
            minutes: 1,
            requests: 1,
            peers: Vec::new(),
            models: PathBuf::new(),
            rounds: 1,
            threads: 1,
            chunks: 1,
            text: None,
            python: None,
            only: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[5.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[5.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn arguments_are_checked() {
        let parsed = |line: &str| {
            let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
            parse(&args)
        };
        let (context, parts) = parsed("start --freehold f --rounds 7 --only Q8").expect("valid");
        assert_eq!((context.rounds, parts.len(), parts[0].0), (7, 1, "start"));
        assert!(context.wants("a-Q8_0.gguf") && !context.wants("a-Q4_0.gguf"));
        for bad in ["--freehold f --rounds 0", "--freehold f --rounds", "--freehold f --fast"] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
        assert!(parsed("--freehold f --peer llama.cpp").is_err());
    }
}
