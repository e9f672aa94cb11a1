//! The command line: every command, its flags and its examples. What a flag means is said
//! here once; where its default may come from is the table in `settings`.

#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "these comments are the help text, where brackets mean that a part is optional"
)]

mod bench;
mod calls;
mod keys;

pub(crate) use bench::{Bench, BenchArrivals, BenchEndpoint};
pub(crate) use calls::{Calls, LogFormat, Observing};
pub(crate) use keys::{Keys, KeysCreate, KeysList, KeysRevoke, KeysWhat};

use crate::units;
use clap::{Args, Parser, Subcommand, ValueEnum};
use serve::LastN;
use std::path::PathBuf;

const LOOP: &str = "\
Begin with:
  freehold pull smollm2:135m              fetch a small open model
  freehold run smollm2:135m               talk to it
  freehold serve smollm2:135m             the APIs on http://127.0.0.1:8080

MODEL is a path (a GGUF file or a Hugging Face folder), owner/repo[:QUANT], or a name from the
catalogue such as smollm2:135m. run, serve, bench and trace take MODEL+ADAPTER, where ADAPTER is
the path of a LoRA adapter: a PEFT folder or a GGUF file. Models live in the data folder ($FREEHOLD_HOME).
Every flag that shows [env: …] can also be set there or as a key in freehold.toml.
Exit codes: 0 done, 1 failed, 2 wrong usage.";

/// Own your AI: pull open models, examine them, run them, serve them.
#[derive(Debug, Parser)]
#[command(name = "freehold", version, after_help = LOOP, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// The data folder: models, history, configuration
    #[arg(long, global = true, value_name = "FOLDER", hide_env_values = true)]
    pub(crate) home: Option<PathBuf>,
    /// The hub that owner/repo is looked up on: huggingface or modelscope
    #[arg(long, global = true, value_name = "HUB")]
    pub(crate) hub: Option<hub::HubKind>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Pull(Pull),
    List(List),
    Rm(Remove),
    Show(Show),
    Run(Run),
    Serve(Serve),
    Calls(Calls),
    Keys(Keys),
    Pack(Pack),
    Bench(Bench),
    Trace(Trace),
    Tokenize(Tokenize),
    Render(Render),
    Embed(Embed),
}

/// Fetch a model: resumable, verified, with progress
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  freehold pull smollm2:135m
  freehold pull Qwen/Qwen3-0.6B-GGUF:Q8_0
  freehold pull Qwen/Qwen3-0.6B
  freehold pull https://example.org/model.gguf
  freehold pull ./model.gguf --name mine:latest
  HF_ENDPOINT=https://mirror.example.org freehold pull smollm2:135m

HF_TOKEN unlocks gated repositories. An interrupted pull goes on where it stopped.")]
pub(crate) struct Pull {
    /// owner/repo[:QUANT], a catalogue name, a URL or a path
    pub(crate) model: String,
    /// Copy the GGUF file at a path into the data folder under this name
    #[arg(long, value_name = "NAME:TAG")]
    pub(crate) name: Option<String>,
    /// Print one JSON object: model, path, files and bytes
    #[arg(long)]
    pub(crate) json: bool,
}

/// List the models on this machine
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  freehold list
  freehold list --catalogue        what short names there are
  freehold list --json | jq .bytes")]
pub(crate) struct List {
    /// List the short names of the catalogue instead
    #[arg(long)]
    pub(crate) catalogue: bool,
    /// Print one JSON object per row
    #[arg(long)]
    pub(crate) json: bool,
}

/// Remove a model from this machine
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// The model, as `freehold list` names it
    #[arg(required_unless_present = "prefixes")]
    pub(crate) model: Option<String>,
    /// Remove the computed prefixes that `--prefix-disk` kept, of MODEL or of all models, and
    /// no model
    #[arg(long)]
    pub(crate) prefixes: bool,
    /// Print one JSON object: model and bytes freed
    #[arg(long)]
    pub(crate) json: bool,
}

/// Examine a model without loading it: architecture, tensors, template, licence, memory
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  freehold show smollm2:135m
  freehold show model.gguf --tensors
  freehold show ./Qwen3-0.6B --json | jq .memory
  freehold show model.gguf --template > chat_template.jinja")]
pub(crate) struct Show {
    /// The model
    pub(crate) model: String,
    /// List every tensor with its type and shape
    #[arg(long)]
    pub(crate) tensors: bool,
    /// Print the chat template alone
    #[arg(long, conflicts_with_all = ["tensors", "json"])]
    pub(crate) template: bool,
    /// Print one JSON object (with --tensors it has a list of them)
    #[arg(long)]
    pub(crate) json: bool,
}

/// Chat in the terminal
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  freehold run smollm2:135m
  freehold run smollm2:135m \"Write a haiku about owning things\"
  git diff | freehold run qwen3:0.6b \"Explain this change:\"
  freehold run model.gguf --system \"Answer in French\" --temperature 0.2
  freehold run qwen3:8b --draft qwen3:0.6b      the same answers, faster

In the chat: /help lists the commands, Ctrl-C stops an answer, Ctrl-D ends the chat,
a line that ends in \\ goes on, and \"\"\" begins and ends a text of several lines.

A draft model pays where it is five times as small as MODEL or more, and guesses most tokens as
MODEL would: of one family, and better at low temperature. What it costs is measured at the
start, and where it would not pay it is not used.")]
pub(crate) struct Run {
    /// The model
    pub(crate) model: String,
    /// Answer this and end; with input from a pipe, the input follows the prompt
    pub(crate) prompt: Option<String>,
    /// The system message
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    #[command(flatten)]
    pub(crate) sampling: Sampling,
    #[command(flatten)]
    pub(crate) compute: Compute,
    #[command(flatten)]
    pub(crate) sparing: Sparing,
    /// Do not print tokens and speed after an answer
    #[arg(long)]
    pub(crate) quiet: bool,
}

/// How the next token is chosen; what is not given comes from the model's own defaults
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct Sampling {
    /// 0 takes the likeliest token, higher is livelier
    #[arg(long, value_name = "T")]
    pub(crate) temperature: Option<f32>,
    /// Choose among the K likeliest tokens only (0: all)
    #[arg(long, value_name = "K")]
    pub(crate) top_k: Option<u32>,
    /// Choose among the likeliest tokens that together have this probability
    #[arg(long, value_name = "P")]
    pub(crate) top_p: Option<f32>,
    /// Choose among tokens at least this probable, relative to the likeliest
    #[arg(long, value_name = "P")]
    pub(crate) min_p: Option<f32>,
    /// Choose among the tokens nearest to the expected surprise that together have this probability
    #[arg(long, value_name = "P")]
    pub(crate) typical_p: Option<f32>,
    /// With this probability, leave out the likeliest tokens but the last of them
    #[arg(long, value_name = "P")]
    pub(crate) xtc_probability: Option<f32>,
    /// How probable those are at least
    #[arg(long, value_name = "P")]
    pub(crate) xtc_threshold: Option<f32>,
    /// Divide the logits of tokens that already occurred (1: off)
    #[arg(long, value_name = "R")]
    pub(crate) repetition_penalty: Option<f32>,
    /// Lower the logits of tokens that already occurred
    #[arg(long, value_name = "A", allow_negative_numbers = true)]
    pub(crate) presence_penalty: Option<f32>,
    /// Lower the logits of tokens by how often they occurred
    #[arg(long, value_name = "A", allow_negative_numbers = true)]
    pub(crate) frequency_penalty: Option<f32>,
    /// How many of the last tokens these three look at (-1: all)
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) repeat_last_n: Option<LastN>,
    /// Lower the logits of tokens that would go on repeating a stretch (0: off)
    #[arg(long, value_name = "A")]
    pub(crate) dry_multiplier: Option<f32>,
    /// How fast that grows with the stretch's length
    #[arg(long, value_name = "B")]
    pub(crate) dry_base: Option<f32>,
    /// The shortest stretch that counts as repeated
    #[arg(long, value_name = "N")]
    pub(crate) dry_allowed_length: Option<u32>,
    /// How many of the last tokens are searched for it (-1: all)
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) dry_penalty_last_n: Option<LastN>,
    /// Text that no stretch reaches over; can be given several times
    #[arg(long, value_name = "TEXT")]
    pub(crate) dry_sequence_breaker: Option<Vec<String>>,
    /// The same seed gives the same text
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// The longest answer in tokens
    #[arg(long, value_name = "N")]
    pub(crate) max_tokens: Option<u32>,
    /// The shortest answer in tokens
    #[arg(long, value_name = "N")]
    pub(crate) min_tokens: Option<u32>,
}

/// How the model computes
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Computing")]
pub(crate) struct Compute {
    /// Threads [default: one for each physical core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Number type of the KV cache
    #[arg(long, value_enum, value_name = "TYPE", default_value = "f16")]
    pub(crate) kv: Kv,
    /// Inputs of products: rounded to 8 or 16 bits as the weights ask, or exact
    #[arg(long, value_enum, value_name = "TYPE", default_value = "quantized")]
    pub(crate) activations: Activations,
    /// The longest context in tokens [default: the model's, within the memory for the KV cache]
    #[arg(long, value_name = "N")]
    pub(crate) context: Option<u32>,
    /// Use the packed weights that `freehold pack` wrote, or pack in memory
    #[arg(long, value_enum, value_name = "WHETHER", default_value = "on")]
    pub(crate) packed: Packed,
}

/// What `run` and `serve` spare computing, without a change to any answer.
#[derive(Debug, Clone, Args)]
pub(crate) struct Sparing {
    /// Guess tokens from the text so far where that pays; the answers are the same
    #[arg(long, value_enum, value_name = "WHETHER", default_value = "on")]
    pub(crate) speculate: Switch,
    /// A small model of the same vocabulary that guesses too, where that pays; see the end of
    /// this help
    #[arg(long, value_name = "MODEL")]
    pub(crate) draft: Option<String>,
    /// Keep what was computed for later prompts that begin alike; the answers are the same
    #[arg(long, value_enum, value_name = "WHETHER", default_value = "on")]
    pub(crate) prefix_cache: Switch,
    /// Keep it on disk too, across restarts, in at most SIZE (such as 4G) for each model; it tells
    /// what prompts said, so only you may read it, and `freehold rm --prefixes` removes it
    #[arg(long, value_name = "SIZE", value_parser = units::parse_bytes)]
    pub(crate) prefix_disk: Option<u64>,
}

/// Whether something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// It is
    On,
    /// It is not
    Off,
}

/// Whether packed files are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Packed {
    /// Where there is one
    On,
    /// Never
    Off,
}

/// Number type of the KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kv {
    /// Half precision
    F16,
    /// Exact
    F32,
    /// 8-bit integers with scales: half the memory of f16, and lossy
    Q8,
}

/// How hidden states become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PoolingForm {
    /// The mean over all tokens
    Mean,
    /// The first token's
    Cls,
    /// The last token's
    Last,
    /// The largest value of each dimension
    Max,
}

impl PoolingForm {
    /// The model's own word for it.
    pub(crate) fn pooling(self) -> model::Pooling {
        match self {
            PoolingForm::Mean => model::Pooling::Mean,
            PoolingForm::Cls => model::Pooling::Cls,
            PoolingForm::Last => model::Pooling::Last,
            PoolingForm::Max => model::Pooling::Max,
        }
    }
}

/// What a product with quantized weights does to its other factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Activations {
    /// Rounded to int8 in blocks of 32
    Quantized,
    /// Kept in f32
    F32,
}

/// Serve the APIs over HTTP
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  freehold serve smollm2:135m
  freehold serve model.gguf --port 9000
  freehold serve qwen3:0.6b smollm2:135m --memory 2G        the second when it is asked for
  freehold serve                                            every model of this machine, on demand
  freehold serve qwen3:0.6b+./lora-a qwen3:0.6b+./lora-b    adapters over one copy of the weights
  freehold serve model.gguf --host 0.0.0.0                  for others, who need a key: freehold keys
  freehold serve model.gguf --host 0.0.0.0 --allow-open     for everybody in the network
  freehold serve model.gguf --tls-cert cert.pem --tls-key key.pem
  freehold serve qwen3:8b --draft qwen3:0.6b                the same answers, faster

Then, from any client of OpenAI with base URL http://127.0.0.1:8080/v1, of Anthropic or Ollama with
http://127.0.0.1:8080, or:
  curl http://127.0.0.1:8080/v1/chat/completions -H 'content-type: application/json' \\
    -d '{\"model\": \"smollm2:135m\", \"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}'

GET /health answers 200 when the server is ready, GET /v1/capabilities what it takes, GET /metrics
what it does, for Prometheus. What was asked and what it took, without prompts and answers, is in
`freehold calls`.

The first model is loaded at the start, others when a request asks for them. What a model takes is
known before: weights, KV cache, buffers. Models that answer nobody are unloaded when others need
their memory, the least recently used first. A request waits for that up to two minutes, and is
then refused with status 503; a model that can never fit is refused at once with status 400.

A draft model guesses tokens, and MODEL checks several of them in one step: the answers are those
of MODEL, bit for bit. It pays where it is several times as small as MODEL, guesses most tokens
as MODEL would (of one family; better at low temperature), and few requests are answered at once.
Both must fit in memory. What it costs is measured after the first answer, and where it would not
pay it is not used; `timings` in each answer says how many tokens were drafted and how many of
them were accepted.")]
pub(crate) struct Serve {
    /// Models, and adapters over them [default: every model in the data folder]
    #[arg(value_name = "MODEL")]
    pub(crate) models: Vec<String>,
    /// The address to listen on; 0.0.0.0 is every network of this machine
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// The port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8080)]
    pub(crate) port: u16,
    /// Listen beyond this machine although there are no API keys
    #[arg(long)]
    pub(crate) allow_open: bool,
    /// Speak TLS with this certificate and those that lead to its authority (PEM); the files are
    /// read again when they change
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM, not encrypted)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Let pages of this site use the server, such as `https://chat.example`; can be given several
    /// times
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',')]
    pub(crate) cors_origin: Vec<String>,
    /// The name that /v1/models lists, of one model [default: the model as given]
    #[arg(long, value_name = "NAME")]
    pub(crate) alias: Option<String>,
    /// Serve one model for embeddings: how the hidden states of a text become its vector [default: as the model's files say]
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) pooling: Option<PoolingForm>,
    /// Requests computed together
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(crate) parallel: u16,
    /// Requests that may wait; one more is refused with status 429
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) queue: u16,
    /// The memory that the server may take, such as 8G: weights, KV caches and buffers of all loaded models [default: three quarters of what is free]
    #[arg(long, value_name = "SIZE", value_parser = units::parse_bytes)]
    pub(crate) memory: Option<u64>,
    /// Unload a model that nobody asked for so long, such as 10m; off is never [default: 10m, with one model off]
    #[arg(long, value_name = "TIME", value_parser = units::parse_time)]
    pub(crate) idle_unload: Option<units::Limit>,
    /// Keep a response of /v1/responses so long after its last use, such as 7d; off is until there is no room; conversations stay until they are deleted [default: 30 days]
    #[arg(long, value_name = "TIME", value_parser = units::parse_time)]
    pub(crate) keep_responses: Option<units::Limit>,
    /// What uploaded files and those of batches may take on disk together; a key may have half of what others leave [default: 16G]
    #[arg(long, value_name = "SIZE", value_parser = units::parse_bytes)]
    pub(crate) keep_files: Option<u64>,
    #[command(flatten)]
    pub(crate) observing: Observing,
    #[command(flatten)]
    pub(crate) compute: Compute,
    #[command(flatten)]
    pub(crate) sparing: Sparing,
}

/// Make vectors of texts
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  freehold embed ./all-MiniLM-L6-v2 \"a text\" \"another text\"
  freehold embed ./all-MiniLM-L6-v2 --file texts.txt --json > vectors.jsonl
  freehold embed qwen3:0.6b --pooling last \"a text\"")]
pub(crate) struct Embed {
    /// The model
    pub(crate) model: String,
    /// Texts
    pub(crate) texts: Vec<String>,
    /// A file with a text on each line
    #[arg(long, value_name = "FILE", conflicts_with = "texts")]
    pub(crate) file: Option<PathBuf>,
    /// How the hidden states of a text become its vector [default: as the model's files say]
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) pooling: Option<PoolingForm>,
    /// Values of a vector; fewer than the model's are its first ones [default: all]
    #[arg(long, value_name = "N")]
    pub(crate) dimensions: Option<usize>,
    /// Cut texts that are too long, and say so, in place of refusing them
    #[arg(long)]
    pub(crate) truncate: bool,
    /// Print a JSON object for each text: index, embedding and tokens that were cut
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) compute: Compute,
}

/// Write a model's weights once as the processor wants them, so that every start is fast
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  freehold pack qwen3:0.6b             about as large as the model itself; --remove takes it back
  freehold pack ./model.gguf           a model of any place: the packed file lies in the data folder
  freehold pack ./Qwen3-0.6B --activations f32
  freehold pack --remove qwen3:0.6b
  freehold pack --prune                packed files of models that are gone, and parts of files

At every start, weights are rearranged for the processor. A packed file keeps the result: run,
serve, bench and trace find it by themselves, map it, and share its memory between processes.
The answers are the same, bit for bit. When the model's file changes, the packed one is ignored
with a warning, until it is packed again. `freehold rm` removes it with its model.")]
pub(crate) struct Pack {
    /// The model
    #[arg(required_unless_present = "prune")]
    pub(crate) model: Option<String>,
    /// Remove the packed file of the model
    #[arg(long)]
    pub(crate) remove: bool,
    /// Remove the packed files of all models that are no longer where they were, and what killed
    /// processes left
    #[arg(long, conflicts_with_all = ["model", "remove"])]
    pub(crate) prune: bool,
    /// For which products: only models of F16 or BF16 weights are packed otherwise for f32
    #[arg(long, value_enum, value_name = "TYPE", default_value = "quantized")]
    pub(crate) activations: Activations,
    /// Threads [default: one for each physical core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Print one JSON object: model, path and bytes, or bytes freed
    #[arg(long)]
    pub(crate) json: bool,
}

/// Dump hidden states and logits; compare models or precisions
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  freehold trace model.gguf --tokens 1,2,3 --out logits.safetensors
  freehold trace ./checkpoint --tokens 1,2,3 --layers --out all.safetensors
  freehold trace model-q4.gguf --tokens 1,2,3 --against model-f16.gguf
  freehold trace model-q4.gguf --text book.txt --chunks 16
  freehold trace model-q4.gguf --text book.txt --against model-f16.gguf

--out writes `logits` (tokens, vocabulary) and with --layers `hidden.0` (the embeddings) to
`hidden.N` (the last layer, before the final norm), all f32.
--against compares the same states and logits of two models, layer by layer.
With --tokens, F16 and BF16 weights stay exact; --text measures them as they are served.
--text measures perplexity, and the divergence of the next-token distributions from a
reference: the model of --against, else the same file with f32 activations and KV cache.
The text is cut into chunks of --context tokens; the second half of each is scored.")]
#[command(group = clap::ArgGroup::new("input").required(true).args(["tokens", "text"]))]
pub(crate) struct Trace {
    /// The model; with --tokens it needs no tokenizer
    pub(crate) model: String,
    /// Token ids, separated by commas
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    pub(crate) tokens: Vec<u32>,
    /// A text to measure perplexity and divergence on
    #[arg(long, value_name = "FILE", conflicts_with_all = ["out", "layers"])]
    pub(crate) text: Option<PathBuf>,
    /// The safetensors file to write
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Also write the hidden states of every layer
    #[arg(long, requires = "out")]
    pub(crate) layers: bool,
    /// The model to compare with
    #[arg(long, value_name = "MODEL")]
    pub(crate) against: Option<String>,
    /// Tokens per chunk of --text
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) context: u32,
    /// Measure this many chunks of --text only
    #[arg(long, value_name = "N", requires = "text")]
    pub(crate) chunks: Option<u32>,
    /// Threads [default: one for each physical core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Number type of the KV cache
    #[arg(long, value_enum, value_name = "TYPE", default_value = "f32")]
    pub(crate) kv: Kv,
    /// Inputs of products: rounded to 8 or 16 bits as the weights ask, or exact
    #[arg(long, value_enum, value_name = "TYPE", default_value = "quantized")]
    pub(crate) activations: Activations,
    /// Use the packed weights that `freehold pack` wrote, or pack in memory
    #[arg(long, value_enum, value_name = "WHETHER", default_value = "on")]
    pub(crate) packed: Packed,
    /// Print JSON: one object, with --against and --tokens one per layer
    #[arg(long)]
    pub(crate) json: bool,
}

/// Print the exact token ids of a text
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  freehold tokenize smollm2:135m \"Hello, world\"
  freehold tokenize model.gguf --file prompt.txt --json
  cat prompt.txt | freehold tokenize model.gguf

Needs no weights: a vocabulary-only GGUF or a folder with a tokenizer is enough.")]
pub(crate) struct Tokenize {
    /// The model
    pub(crate) model: String,
    /// The text; standard input where neither this nor --file is given
    #[arg(conflicts_with = "file")]
    pub(crate) text: Option<String>,
    /// Read the text from a file
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Add no begin or end token
    #[arg(long)]
    pub(crate) no_special: bool,
    /// Find special tokens such as <|im_start|> in the text
    #[arg(long)]
    pub(crate) parse_special: bool,
    /// Print {"tokens":[…]}
    #[arg(long)]
    pub(crate) json: bool,
}

/// Print the exact prompt that a model's chat template makes
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  freehold render smollm2:135m --messages messages.json
  freehold render model.gguf --messages messages.json --tools tools.json
  freehold render model.gguf --messages messages.json --template-kwargs '{\"enable_thinking\": false}'

messages.json is a list: [{\"role\": \"user\", \"content\": \"Hello\"}]. Needs no weights.")]
pub(crate) struct Render {
    /// The model
    pub(crate) model: String,
    /// A JSON file with a list of messages
    #[arg(long, value_name = "FILE")]
    pub(crate) messages: PathBuf,
    /// A JSON file with a list of tools
    #[arg(long, value_name = "FILE")]
    pub(crate) tools: Option<PathBuf>,
    /// Do not open the assistant's turn at the end
    #[arg(long)]
    pub(crate) no_generation_prompt: bool,
    /// Further template variables as a JSON object
    #[arg(long, value_name = "JSON")]
    pub(crate) template_kwargs: Option<String>,
}
