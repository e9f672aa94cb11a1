//! The flags of `freehold bench`.

use crate::cli::Compute;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Measure prefill and decode speed, memory and load time
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  freehold bench smollm2:135m
  freehold bench model.gguf --prompt 512 --generate 64 --threads 2 --repeat 3 --json
  freehold bench model.gguf --depth 4096        on a context that is already that long
  freehold bench model.gguf --batch 8           eight sequences decoded together

In turns with another engine, or with another build:
  freehold bench model.gguf --compare \
    'llama-bench -m {model} -p {prompt} -n {generate} -t {threads} -r 1 -o json'
  freehold bench model.gguf --compare 'old/freehold bench {model} --prompt {prompt} \
    --generate {generate} --depth {depth} --batch {batch} --threads {threads} --repeat 1 --json'

Prefill and decode are measured apart; the figures are medians over the repeats.
`prefill multiplies` counts products of weights: every weight that a token goes through, once.
The roofs beside them are what the same threads reach between the repeats: plain loads from
memory, and products of registers with the instructions that the kernels use.
--compare runs a command once in every repeat, without a shell, and reads the speeds that
llama-bench prints as JSON or that `freehold bench --json` prints; of another command it
compares the wall time. {model} {prompt} {generate} {depth} {batch} {threads} are filled in.

Under load, any server that speaks OpenAI's API:
  freehold bench --serve http://127.0.0.1:8080 --rate 4 --duration 60s
  freehold bench --serve http://127.0.0.1:8080 --concurrency 16 --requests 200 --json
  freehold bench --serve http://127.0.0.1:8080 --rate 8 --slo ttft=500ms,itl=50ms

--rate asks at times that --seed fixes beforehand, answered or not, and counts latency from
those times, so that a server that stands still is not excused. --concurrency has so many
clients ask whenever they were answered, and so shows the throughput, not what users feel.
Times to the first token (ttft), between pieces and to the end (e2e) are percentiles over
the requests; goodput is the answers a second that kept --slo. `asked late` is this
program's own delay: where it is not small, the machine is too busy to be believed.")]
pub(crate) struct Bench {
    /// The model; it needs no tokenizer
    #[arg(required_unless_present = "serve", conflicts_with = "serve")]
    pub(crate) model: Option<String>,
    /// Tokens of prefill; of a model that embeds, of each text, at most as many as it takes
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub(crate) prompt: u32,
    /// Tokens of decode
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) generate: u32,
    /// Tokens already in the context
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) depth: u32,
    /// Sequences decoded, or texts embedded, together; the decode speed is their sum
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) batch: u32,
    /// Repeats, after one that warms up
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) repeat: u32,
    /// Run this command in turns with the repeats and print ratios; may be given again
    #[arg(long, value_name = "COMMAND")]
    pub(crate) compare: Vec<String>,
    #[command(flatten)]
    pub(crate) load: BenchLoad,
    #[command(flatten)]
    pub(crate) compute: Compute,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `bench --serve`: a server under load.
#[derive(Debug, Args)]
#[command(next_help_heading = "Under load (with --serve)")]
pub(crate) struct BenchLoad {
    /// Measure the server at this address: http://HOST[:PORT][/PATH], the path is /v1 if left out
    #[arg(long, value_name = "URL", value_parser = load::Target::parse, conflicts_with_all = ["prompt", "depth", "batch", "repeat", "compare"])]
    pub(crate) serve: Option<load::Target>,
    /// The model to ask [default: the first that the server lists]
    #[arg(long = "model", id = "served", value_name = "NAME", requires = "serve")]
    pub(crate) served: Option<String>,
    /// Requests per second, answered or not (open loop)
    #[arg(long, value_name = "R", requires = "serve", value_parser = parse_rate, conflicts_with = "concurrency")]
    pub(crate) rate: Option<f64>,
    /// How requests of --rate are spread
    #[arg(long, value_enum, value_name = "HOW", default_value = "poisson", requires = "rate")]
    pub(crate) arrivals: BenchArrivals,
    /// Clients that ask again when they were answered (closed loop) [default: 1]
    #[arg(long, value_name = "C", requires = "serve", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) concurrency: Option<u32>,
    /// End after so many requests [default: 100 where there is no --duration]
    #[arg(long, value_name = "N", requires = "serve", value_parser = clap::value_parser!(u32).range(1..=10_000_000), conflicts_with = "duration")]
    pub(crate) requests: Option<u32>,
    /// Begin no request after this time, as 30s or 10m
    #[arg(long, value_name = "TIME", requires = "serve", value_parser = crate::units::parse_span)]
    pub(crate) duration: Option<Duration>,
    /// About so many tokens of common words as prompt, others for each request
    #[arg(long, value_name = "P", default_value_t = 128, requires = "serve", value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub(crate) prompt_tokens: u32,
    /// Prompts in turns, one a line: text, JSON string, or object with `prompt`
    #[arg(long, value_name = "FILE", requires = "serve", conflicts_with = "prompt_tokens")]
    pub(crate) prompts: Option<PathBuf>,
    /// What is asked
    #[arg(long, value_enum, value_name = "WHAT", default_value = "chat", requires = "serve")]
    pub(crate) endpoint: BenchEndpoint,
    /// Ask for whole answers; there is then no time to the first token
    #[arg(long, requires = "serve")]
    pub(crate) no_stream: bool,
    /// Have the model not end before --generate tokens; not every server knows it
    #[arg(long, requires = "serve")]
    pub(crate) ignore_eos: bool,
    /// The key to send
    #[arg(long, value_name = "K", env = "FREEHOLD_API_KEY", hide_env_values = true)]
    pub(crate) api_key: Option<String>,
    /// Limits that an answer must keep to be good: ttft=TIME,itl=TIME,e2e=TIME
    #[arg(long, value_name = "LIMITS", requires = "serve", value_parser = parse_slo)]
    pub(crate) slo: Option<load::Slo>,
    /// Longest time of a request
    #[arg(long, value_name = "TIME", default_value = "10m", requires = "serve", value_parser = crate::units::parse_span)]
    pub(crate) timeout: Duration,
    /// Most connections to the server
    #[arg(long, value_name = "N", default_value_t = 512, requires = "serve", value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub(crate) connections: u32,
    /// Requests before the measurement, one after the other
    #[arg(long, value_name = "N", default_value_t = 1, requires = "serve")]
    pub(crate) warmup: u16,
    /// Fixes arrivals and prompts
    #[arg(long, value_name = "N", default_value_t = 0, requires = "serve")]
    pub(crate) seed: u64,
}

/// How requests are spread over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchArrivals {
    /// As users who know nothing of each other
    Poisson,
    /// At equal distances
    Constant,
}

/// What a server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchEndpoint {
    Chat,
    Completions,
    Embeddings,
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (1e-4..=1e5).contains(rate));
    rate.ok_or("expected requests per second, from 0.0001 to 100000".to_owned())
}

fn parse_slo(text: &str) -> Result<load::Slo, String> {
    let mut slo = load::Slo::default();
    for limit in text.split(',') {
        let (name, time) = limit.split_once('=').ok_or("expected NAME=TIME, as ttft=500ms")?;
        let place = match name.trim() {
            "ttft" => &mut slo.first_token,
            "itl" => &mut slo.inter_token,
            "e2e" => &mut slo.end_to_end,
            other => return Err(format!("`{other}` is not ttft, itl or e2e")),
        };
        *place = Some(crate::units::parse_span(time.trim())?);
    }
    Ok(slo)
}
