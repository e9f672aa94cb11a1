//! The flags of `freehold keys`.

use crate::units;
use clap::{Args, Subcommand};

/// Make, list and revoke the keys that clients of `serve` need
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  freehold keys create laptop                        prints the key, once
  freehold keys create ci --model 'qwen3:*' --requests-per-minute 60 --expires 30d
  freehold keys list
  freehold keys revoke laptop                        within a second, in running servers too

From the moment that a key exists, servers of this data folder refuse requests without one. Clients
send it as `Authorization: Bearer KEY` or `x-api-key: KEY`, which is what they call the API key.
Of a key itself only a SHA-256 digest is kept, so a lost one cannot be shown again.")]
pub(crate) struct Keys {
    #[command(subcommand)]
    pub(crate) what: KeysWhat,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysWhat {
    Create(KeysCreate),
    List(KeysList),
    Revoke(KeysRevoke),
}

/// Make a key and print it; nothing shows it again
#[derive(Debug, Args)]
pub(crate) struct KeysCreate {
    /// What you call it
    pub(crate) name: String,
    /// A model that it may ask, as `serve` lists it; `*` is any text; can be given several times
    /// [default: all]
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Vec<String>,
    /// Most requests in a minute [default: no limit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) requests_per_minute: Option<u32>,
    /// Most tokens in a minute, of prompts and answers [default: no limit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) tokens_per_minute: Option<u32>,
    /// Most requests at once [default: no limit]
    #[arg(long = "parallel", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) at_once: Option<u32>,
    /// How long it is good for, such as 30d or 12h [default: until it is revoked]
    #[arg(long, value_name = "TIME", value_parser = units::parse_lifetime)]
    pub(crate) expires: Option<std::time::Duration>,
    /// Print one JSON object: key, name, prefix
    #[arg(long)]
    pub(crate) json: bool,
}

/// List the keys, without what would let anybody use them
#[derive(Debug, Args)]
pub(crate) struct KeysList {
    /// Print one JSON object per key
    #[arg(long)]
    pub(crate) json: bool,
}

/// Refuse a key from now on
#[derive(Debug, Args)]
pub(crate) struct KeysRevoke {
    /// The key's name, or how it begins
    #[arg(value_name = "NAME|PREFIX")]
    pub(crate) key: String,
    /// Take revoked keys of this name out of the list as well; where no key is left, servers ask
    /// for none
    #[arg(long)]
    pub(crate) forget: bool,
    /// Print one JSON object: name, prefix, revoked and forgotten
    #[arg(long)]
    pub(crate) json: bool,
}
