//! The one table of settings: which flags can also be given as an environment variable and
//! as a key of `freehold.toml`. A flag wins over the environment, that over the file.

use anyhow::{Context as _, Result, bail};
use clap::Command;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A flag that has further sources.
struct Setting {
    /// The long flag without `--`, which is also the key in `freehold.toml`.
    key: &'static str,
    /// The environment variable.
    env: &'static str,
    /// The commands that take their default from it; empty means every command with the flag.
    only: &'static [&'static str],
}

const fn everywhere(key: &'static str, env: &'static str) -> Setting {
    Setting { key, env, only: &[] }
}

/// What people run and measure; `trace` keeps its own exact defaults.
const COMPUTING: &[&str] = &["run", "serve", "bench"];

/// Those, and the one that writes files for them.
const PACKING: &[&str] = &["run", "serve", "bench", "pack"];

const SETTINGS: &[Setting] = &[
    everywhere("home", "FREEHOLD_HOME"),
    everywhere("hub", "FREEHOLD_HUB"),
    everywhere("threads", "FREEHOLD_THREADS"),
    Setting { key: "kv", env: "FREEHOLD_KV", only: COMPUTING },
    Setting { key: "activations", env: "FREEHOLD_ACTIVATIONS", only: PACKING },
    Setting { key: "context", env: "FREEHOLD_CONTEXT", only: COMPUTING },
    everywhere("packed", "FREEHOLD_PACKED"),
    everywhere("speculate", "FREEHOLD_SPECULATE"),
    everywhere("draft", "FREEHOLD_DRAFT"),
    everywhere("prefix-cache", "FREEHOLD_PREFIX_CACHE"),
    everywhere("prefix-disk", "FREEHOLD_PREFIX_DISK"),
    everywhere("host", "FREEHOLD_HOST"),
    everywhere("port", "FREEHOLD_PORT"),
    everywhere("tls-cert", "FREEHOLD_TLS_CERT"),
    everywhere("tls-key", "FREEHOLD_TLS_KEY"),
    everywhere("cors-origin", "FREEHOLD_CORS_ORIGIN"),
    everywhere("parallel", "FREEHOLD_PARALLEL"),
    everywhere("queue", "FREEHOLD_QUEUE"),
    everywhere("memory", "FREEHOLD_MEMORY"),
    everywhere("idle-unload", "FREEHOLD_IDLE_UNLOAD"),
    everywhere("log", "FREEHOLD_LOG"),
    everywhere("log-format", "FREEHOLD_LOG_FORMAT"),
    everywhere("otlp-endpoint", "FREEHOLD_OTLP_ENDPOINT"),
    everywhere("calls-keep", "FREEHOLD_CALLS_KEEP"),
    everywhere("calls-max", "FREEHOLD_CALLS_MAX"),
    everywhere("system", "FREEHOLD_SYSTEM"),
    everywhere("temperature", "FREEHOLD_TEMPERATURE"),
    everywhere("top-k", "FREEHOLD_TOP_K"),
    everywhere("top-p", "FREEHOLD_TOP_P"),
    everywhere("min-p", "FREEHOLD_MIN_P"),
    everywhere("typical-p", "FREEHOLD_TYPICAL_P"),
    everywhere("xtc-probability", "FREEHOLD_XTC_PROBABILITY"),
    everywhere("xtc-threshold", "FREEHOLD_XTC_THRESHOLD"),
    everywhere("repetition-penalty", "FREEHOLD_REPETITION_PENALTY"),
    everywhere("presence-penalty", "FREEHOLD_PRESENCE_PENALTY"),
    everywhere("frequency-penalty", "FREEHOLD_FREQUENCY_PENALTY"),
    everywhere("repeat-last-n", "FREEHOLD_REPEAT_LAST_N"),
    everywhere("dry-multiplier", "FREEHOLD_DRY_MULTIPLIER"),
    everywhere("dry-base", "FREEHOLD_DRY_BASE"),
    everywhere("dry-allowed-length", "FREEHOLD_DRY_ALLOWED_LENGTH"),
    everywhere("dry-penalty-last-n", "FREEHOLD_DRY_PENALTY_LAST_N"),
    everywhere("seed", "FREEHOLD_SEED"),
    everywhere("max-tokens", "FREEHOLD_MAX_TOKENS"),
    everywhere("min-tokens", "FREEHOLD_MIN_TOKENS"),
];

/// The largest `freehold.toml` that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Keys of the configuration file with their values as a flag would be given them.
type Values = BTreeMap<String, String>;

/// The command line with the table and the configuration file as further sources of values.
pub(crate) fn apply(command: Command) -> Result<Command> {
    let values = match file() {
        Some(path) => read(&path)?,
        None => Values::new(),
    };
    let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    let mut command = with_sources(command, &values);
    for name in names {
        command = command.mut_subcommand(name, |sub| with_sources(sub, &values));
    }
    Ok(command)
}

fn with_sources(mut command: Command, values: &Values) -> Command {
    for setting in SETTINGS {
        let name = command.get_name();
        let applies = setting.only.is_empty() || setting.only.contains(&name);
        let id = setting.key.replace('-', "_");
        if !applies || !command.get_arguments().any(|arg| arg.get_id() == id.as_str()) {
            continue;
        }
        command = command.mut_arg(id, |arg| {
            let arg = arg.env(setting.env);
            match values.get(setting.key) {
                Some(value) => arg.default_value(value.clone()),
                None => arg,
            }
        });
    }
    command
}

/// `$FREEHOLD_CONFIG`, else `freehold.toml` here, else the one in the data folder.
fn file() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("FREEHOLD_CONFIG") {
        return Some(PathBuf::from(path));
    }
    let here = PathBuf::from("freehold.toml");
    if here.is_file() {
        return Some(here);
    }
    let home = crate::home::default_folder()?.join("freehold.toml");
    home.is_file().then_some(home)
}

fn read(path: &Path) -> Result<Values> {
    let at = || format!("cannot read the configuration {}", path.display());
    let bytes = std::fs::metadata(path).with_context(at)?.len();
    if bytes > FILE_BYTES_MAX {
        bail!("{} has {bytes} bytes, the limit is {FILE_BYTES_MAX}", path.display());
    }
    let text = std::fs::read_to_string(path).with_context(at)?;
    parse(&text).with_context(at)
}

fn parse(text: &str) -> Result<Values> {
    let table: toml::Table = text.parse()?;
    let mut values = Values::new();
    for (key, value) in table {
        if !SETTINGS.iter().any(|setting| setting.key == key) {
            let known: Vec<&str> = SETTINGS.iter().map(|setting| setting.key).collect();
            bail!("`{key}` is no key; the keys are {}", known.join(", "));
        }
        let value = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Float(number) => number.to_string(),
            other => bail!("`{key}` is a {}, expected a string or a number", other.type_str()),
        };
        values.insert(key, value);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory as _;

    #[test]
    fn every_setting_is_a_flag_and_is_named_after_it() {
        let command = Cli::command();
        for setting in SETTINGS {
            let id = setting.key.replace('-', "_");
            let known = std::iter::once(&command)
                .chain(command.get_subcommands())
                .any(|c| c.get_arguments().any(|arg| arg.get_id() == id.as_str()));
            assert!(known, "no command has --{}", setting.key);
            assert_eq!(setting.env, format!("FREEHOLD_{}", id.to_uppercase()));
        }
    }

    #[test]
    fn the_file_gives_defaults_and_flags_win() {
        let values = parse("port = 9000\ntemperature = 0.5\n").expect("the file is well formed");
        let serve = Cli::command().mut_subcommand("serve", |sub| with_sources(sub, &values));
        let port = |args: &[&str]| {
            let matches =
                serve.clone().try_get_matches_from(args).expect("the arguments are right");
            *matches.subcommand().expect("serve").1.get_one::<u16>("port").expect("a default")
        };
        assert_eq!(port(&["freehold", "serve", "m"]), 9000);
        assert_eq!(port(&["freehold", "serve", "m", "--port", "1"]), 1);
    }

    #[test]
    fn unknown_keys_and_types_are_refused_by_name() {
        let message = |text| format!("{:#}", parse(text).expect_err("it is wrong"));
        assert!(message("prot = 1").contains("`prot` is no key"));
        assert!(message("port = [1]").contains("`port` is a array"));
        assert!(message("port = ").contains("line 1"));
    }
}
