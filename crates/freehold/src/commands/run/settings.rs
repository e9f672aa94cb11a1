//! What `/set` changes in a chat: the sampling parameters, by name.

use crate::cli;
use serve::{Dry, Sampling};

/// A parameter's name, what it shows and how it is changed.
struct Parameter {
    name: &'static str,
    show: fn(&Settings) -> Option<String>,
    set: fn(&mut Settings, &str) -> Result<(), String>,
}

/// What holds for the answers of a chat.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    pub(super) sampling: Sampling,
    pub(super) max_tokens: Option<usize>,
    pub(super) min_tokens: Option<usize>,
}

macro_rules! parameter {
    ($name:literal, $($field:ident).+) => {
        Parameter {
            name: $name,
            show: |settings| settings.$($field).+.map(|value| value.to_string()),
            set: |settings, text| {
                settings.$($field).+ = Some(text.parse().map_err(|e| format!("{e}"))?);
                Ok(())
            },
        }
    };
}

const PARAMETERS: &[Parameter] = &[
    parameter!("temperature", sampling.temperature),
    parameter!("top_k", sampling.top_k),
    parameter!("top_p", sampling.top_p),
    parameter!("min_p", sampling.min_p),
    parameter!("typical_p", sampling.typical_p),
    parameter!("xtc_probability", sampling.xtc_probability),
    parameter!("xtc_threshold", sampling.xtc_threshold),
    parameter!("repetition_penalty", sampling.repetition_penalty),
    parameter!("presence_penalty", sampling.presence_penalty),
    parameter!("frequency_penalty", sampling.frequency_penalty),
    parameter!("repeat_last_n", sampling.repeat_last_n),
    parameter!("dry_multiplier", sampling.dry.multiplier),
    parameter!("dry_base", sampling.dry.base),
    parameter!("dry_allowed_length", sampling.dry.allowed_length),
    parameter!("dry_penalty_last_n", sampling.dry.penalty_last_n),
    parameter!("seed", sampling.seed),
    parameter!("max_tokens", max_tokens),
    parameter!("min_tokens", min_tokens),
];

impl Settings {
    /// What the command line says; the model's own defaults fill the rest.
    pub(super) fn from_flags(flags: &cli::Sampling) -> Settings {
        Settings {
            sampling: Sampling {
                temperature: flags.temperature,
                top_k: flags.top_k.map(|k| k as usize),
                top_p: flags.top_p,
                typical_p: flags.typical_p,
                min_p: flags.min_p,
                xtc_probability: flags.xtc_probability,
                xtc_threshold: flags.xtc_threshold,
                repetition_penalty: flags.repetition_penalty,
                presence_penalty: flags.presence_penalty,
                frequency_penalty: flags.frequency_penalty,
                repeat_last_n: flags.repeat_last_n,
                dry: Dry {
                    multiplier: flags.dry_multiplier,
                    base: flags.dry_base,
                    allowed_length: flags.dry_allowed_length.map(|n| n as usize),
                    penalty_last_n: flags.dry_penalty_last_n,
                    sequence_breakers: flags.dry_sequence_breaker.clone(),
                },
                logit_bias: Vec::new(),
                seed: flags.seed,
            },
            max_tokens: flags.max_tokens.map(|n| n as usize),
            min_tokens: flags.min_tokens.map(|n| n as usize),
        }
    }

    /// `name value` as typed after `/set`.
    pub(super) fn set(&mut self, text: &str) -> Result<(), String> {
        let (name, value) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let name = name.replace('-', "_");
        let parameter = PARAMETERS.iter().find(|p| p.name == name).ok_or_else(|| {
            let names: Vec<&str> = PARAMETERS.iter().map(|p| p.name).collect();
            format!("no parameter `{name}`; there are {}", names.join(", "))
        })?;
        (parameter.set)(self, value.trim()).map_err(|e| format!("{name} {value}: {e}"))
    }

    /// A line for each parameter.
    pub(super) fn show(&self) -> String {
        let line = |p: &Parameter| {
            let value = (p.show)(self).unwrap_or_else(|| "the model's default".to_owned());
            format!("  {:<20} {value}\n", p.name)
        };
        PARAMETERS.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_set_by_name() {
        let mut settings = Settings::default();
        settings.set("temperature 0.5").expect("a parameter");
        settings.set("top-k 40").expect("a dash is as good as an underscore");
        assert_eq!(settings.sampling.temperature, Some(0.5));
        assert_eq!(settings.sampling.top_k, Some(40));
        settings.set("repeat_last_n -1").expect("all");
        assert_eq!(settings.sampling.repeat_last_n, Some(serve::LastN::All));
        assert!(settings.show().contains("temperature          0.5"));
        assert!(settings.show().contains("repeat_last_n        -1"));
        assert!(settings.set("repeat_last_n -2").expect_err("no number").contains("-1 for all"));
        assert!(settings.set("heat 1").expect_err("unknown").contains("there are temperature"));
        assert!(settings.set("seed abc").expect_err("no number").starts_with("seed abc"));
    }
}
