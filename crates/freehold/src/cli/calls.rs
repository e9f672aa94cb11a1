//! What a server tells of itself, and the flags of `freehold calls`.

use crate::units;
use clap::{Args, ValueEnum};
use tracing::level_filters::LevelFilter;

/// What a server tells of itself; never a prompt or an answer
#[derive(Debug, Clone, Args)]
pub(crate) struct Observing {
    /// Log lines of this level and above to standard error; info has one for each request [default: warn, with --log-format json info]
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub(crate) log: Option<LogLevel>,
    /// The form of the log: lines for people, or one JSON object a line
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// Send a span for each call to this OpenTelemetry collector, such as `http://127.0.0.1:4318`; OTEL_… variables are read too
    #[arg(long, value_name = "URL")]
    pub(crate) otlp_endpoint: Option<String>,
    /// Keep the records of calls so long, such as 30d; off is for ever
    #[arg(long, value_name = "TIME", default_value = "90d", value_parser = units::parse_time)]
    pub(crate) calls_keep: units::Limit,
    /// Keep so many records of calls at most; 0 records none
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub(crate) calls_max: u64,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    pub(crate) fn filter(self) -> LevelFilter {
        match self {
            Self::Off => LevelFilter::OFF,
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// List the calls that servers answered: tokens, times, keys; no prompts, no answers
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  freehold calls                        the latest 50
  freehold calls --since 1h --summary   tokens by model and key
  freehold calls --since off --limit 1000000 --json | jq .completion_tokens

in: tokens of prompts, of which cached ones needed no computing. out: tokens generated.
first ms: from the arrival of a request to its first token. A server may be running meanwhile.")]
pub(crate) struct Calls {
    /// Only those of this last time, such as 1h or 7d; off is all
    #[arg(long, value_name = "TIME", default_value = "off", value_parser = units::parse_time)]
    pub(crate) since: units::Limit,
    /// Most calls, the latest first; above 10000 with --json only
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: u64,
    /// Sums by model and key instead
    #[arg(long)]
    pub(crate) summary: bool,
    /// Print one JSON object per row
    #[arg(long)]
    pub(crate) json: bool,
}
