//! `adapter_config.json` of the PEFT library: what is understood, what is harmless, and what is refused.
//!
//! Source: `LoraConfig` and `check_target_module_exists` of PEFT 0.21.

use super::error::shown;
use super::pairs::Scale;
use super::pattern::Pattern;
use super::{AdapterError, RANK_MAX};
use regex::Regex;
use serde_json::{Map, Value};

/// The most patterns of one key: one for each matrix of a large model.
const PATTERNS_MAX: usize = 1 << 14;
/// The most of them that are regular expressions and not plain names, which cost time to compile.
const EXPRESSIONS_MAX: usize = 64;
/// The largest layer index in a configuration.
const LAYER_MAX: u64 = 1 << 16;

/// Keys that say how an adapter was made or stored, not what it computes.
const HARMLESS: &[&str] = &[
    "auto_mapping",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "inference_mode",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
];

/// Keys whose every value but null, false and empty ones is refused, and why.
const REFUSED: &[(&str, &str)] = &[
    ("alora_invocation_tokens", "activated adapters are not implemented"),
    ("arrow_config", "routing between adapters is not implemented"),
    ("fan_in_fan_out", "transposed weights are not implemented"),
    ("kasa_config", "KaSA is not implemented"),
    ("layer_replication", "replicated layers are not implemented"),
    ("lora_bias", "biases of adapters are not implemented"),
    ("megatron_config", "Megatron's parallel layers are not implemented"),
    ("modules_to_save", "whole modules in an adapter are not implemented"),
    ("monteclora_config", "MonteCLoRA is not implemented"),
    ("target_parameters", "adapters of experts in one parameter are not implemented"),
    ("trainable_token_indices", "changed tokens of the embedding are not implemented"),
    ("use_bdlora", "block-diagonal adapters are not implemented"),
    ("use_dora", "DoRA is not implemented"),
    ("use_qalora", "QALoRA is not implemented"),
    ("velora_config", "VeLoRA is not implemented"),
];

/// Values of `init_lora_weights` that leave the base's weights as they are; others train an
/// adapter on top of changed ones.
const INITIALISATIONS: &[&str] = &["gaussian", "eva", "orthogonal"];

/// A checked configuration.
#[derive(Debug)]
pub(super) struct PeftConfig {
    rank: usize,
    alpha: f64,
    rslora: bool,
    rank_pattern: Vec<(Pattern, usize)>,
    alpha_pattern: Vec<(Pattern, f64)>,
    targets: Modules,
    excluded: Modules,
    layers: Option<Vec<u64>>,
    /// Captures the index of a layer; empty where any number counts.
    layers_pattern: Vec<Regex>,
    /// `base_model_name_or_path`
    pub(super) base: Option<String>,
}

/// Which modules a key selects.
#[derive(Debug)]
enum Modules {
    /// Whole names, or what follows a dot in them.
    Names(Vec<String>),
    Expression(Pattern),
    /// `all-linear`: every linear layer but the output matrix.
    AllLinear,
}

impl PeftConfig {
    /// Reads the text of `adapter_config.json`.
    pub(super) fn read(text: &[u8]) -> Result<PeftConfig, AdapterError> {
        let parsed: Value =
            serde_json::from_slice(text).map_err(|e| AdapterError::Json(e.to_string()))?;
        let Value::Object(entries) = parsed else {
            return Err(AdapterError::Json(format!("expected an object, got {}", shown(parsed))));
        };
        let mut keys = Keys(entries);
        keys.only("peft_type", &["LORA"])?;
        keys.only("task_type", &["CAUSAL_LM"])?;
        keys.only("bias", &["none"])?;
        for (key, why) in REFUSED {
            keys.refuse(key, why)?;
        }
        keys.initialisation()?;
        let rank = keys.take("r").ok_or(AdapterError::MissingKey { key: "r".into() })?;
        let alpha = keys.take("lora_alpha");
        let alpha = alpha.ok_or(AdapterError::MissingKey { key: "lora_alpha".into() })?;
        let targets = keys.modules("target_modules")?;
        let config = PeftConfig {
            rank: rank_of("r", &rank)?,
            alpha: alpha_of("lora_alpha", &alpha)?,
            rslora: keys.flag("use_rslora")?,
            rank_pattern: keys.patterns("rank_pattern", rank_of)?,
            alpha_pattern: keys.patterns("alpha_pattern", alpha_of)?,
            targets: targets.ok_or(AdapterError::MissingKey { key: "target_modules".into() })?,
            excluded: keys.modules("exclude_modules")?.unwrap_or(Modules::Names(Vec::new())),
            layers: keys.layers()?,
            layers_pattern: keys.layers_pattern()?,
            base: keys.text("base_model_name_or_path")?,
        };
        keys.finish()?;
        Ok(config)
    }

    /// The rank of a module's pair.
    pub(super) fn rank(&self, module: &str) -> usize {
        first(&self.rank_pattern, module).unwrap_or(self.rank)
    }

    /// The scale of a module's pair of this rank.
    pub(super) fn scale(&self, module: &str, rank: usize) -> Scale {
        let alpha = first(&self.alpha_pattern, module).unwrap_or(self.alpha);
        let rank = rank as f64;
        Scale { alpha, factor: alpha / if self.rslora { rank.sqrt() } else { rank } }
    }

    /// Whether a module of this name is changed.
    pub(super) fn is_target(&self, module: &str) -> bool {
        if self.excluded.select(module) || !self.targets.select(module) {
            return false;
        }
        let (Some(layers), Modules::Names(names)) = (&self.layers, &self.targets) else {
            return true;
        };
        // A full name is selected whatever its layer.
        names.iter().any(|name| name == module)
            || self.layer(module).is_some_and(|layer| layers.contains(&layer))
    }

    /// The index of the layer that a module lies in.
    fn layer(&self, module: &str) -> Option<u64> {
        if self.layers_pattern.is_empty() {
            // PEFT's `.*?\.[^.]*\.(\d+)\.`: two parts before it, the module's own name after it.
            let (inner, _) = module.rsplit_once('.')?;
            let is_index =
                |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            return inner.split('.').skip(2).find(is_index)?.parse().ok();
        }
        let found = self.layers_pattern.iter().find_map(|pattern| pattern.captures(module))?;
        found.get(1)?.as_str().parse().ok()
    }
}

impl Modules {
    fn select(&self, module: &str) -> bool {
        match self {
            Modules::AllLinear => module != "lm_head",
            Modules::Expression(pattern) => pattern.matches(module),
            Modules::Names(names) => names.iter().any(|name| {
                let rest = module.strip_suffix(name.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }),
        }
    }
}

/// The value of the first pattern that matches, as PEFT looks for it.
fn first<T: Copy>(patterns: &[(Pattern, T)], module: &str) -> Option<T> {
    patterns.iter().find(|(pattern, _)| pattern.matches(module)).map(|(_, value)| *value)
}

fn rank_of(key: &str, value: &Value) -> Result<usize, AdapterError> {
    let rank = value.as_u64().and_then(|rank| usize::try_from(rank).ok());
    let within = rank.filter(|rank| (1..=RANK_MAX).contains(rank));
    within.ok_or_else(|| wrong(key, &format!("a rank of 1 to {RANK_MAX}"), value))
}

fn alpha_of(key: &str, value: &Value) -> Result<f64, AdapterError> {
    let alpha = value.as_f64().filter(|alpha| alpha.is_finite());
    alpha.ok_or_else(|| wrong(key, "a finite number", value))
}

fn wrong(key: &str, expected: &str, got: &Value) -> AdapterError {
    AdapterError::Value { key: shown(key), expected: expected.to_owned(), got: shown(got) }
}

/// Whether a value switches off what its key stands for.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(entries) => entries.is_empty(),
    }
}

/// What nobody has asked for yet.
struct Keys(Map<String, Value>);

impl Keys {
    /// Takes a key out; null counts as absent.
    fn take(&mut self, key: &str) -> Option<Value> {
        self.0.remove(key).filter(|value| !value.is_null())
    }

    fn flag(&mut self, key: &str) -> Result<bool, AdapterError> {
        match self.take(key) {
            None => Ok(false),
            Some(value) => value.as_bool().ok_or_else(|| wrong(key, "true or false", &value)),
        }
    }

    fn text(&mut self, key: &str) -> Result<Option<String>, AdapterError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(value) => Err(wrong(key, "a string", &value)),
        }
    }

    /// Refuses every value of a text but those.
    fn only(&mut self, key: &str, allowed: &[&str]) -> Result<(), AdapterError> {
        let Some(value) = self.take(key) else { return Ok(()) };
        if value.as_str().is_some_and(|text| allowed.contains(&text)) {
            return Ok(());
        }
        Err(wrong(key, &format!("{:?}", allowed.join(" or ")), &value))
    }

    /// Refuses every value that is not off.
    fn refuse(&mut self, key: &str, why: &'static str) -> Result<(), AdapterError> {
        match self.0.remove(key) {
            Some(value) if !is_off(&value) => {
                Err(AdapterError::Unsupported { key: key.to_owned(), value: shown(value), why })
            }
            _ => Ok(()),
        }
    }

    fn initialisation(&mut self) -> Result<(), AdapterError> {
        let key = "init_lora_weights";
        match self.take(key) {
            None | Some(Value::Bool(_)) => Ok(()),
            Some(Value::String(text)) if INITIALISATIONS.contains(&text.as_str()) => Ok(()),
            Some(value) => Err(AdapterError::Unsupported {
                key: key.to_owned(),
                value: shown(value),
                why: "it changes the base's own weights too; PEFT can convert such an adapter to a plain one when it saves it",
            }),
        }
    }

    /// Names, or one expression; none where the key is absent.
    fn modules(&mut self, key: &str) -> Result<Option<Modules>, AdapterError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) if text == "all-linear" => Ok(Some(Modules::AllLinear)),
            Some(Value::String(text)) => {
                Pattern::whole(key, &text).map(Modules::Expression).map(Some)
            }
            Some(Value::Array(values)) => {
                within("module names in one key", values.len(), PATTERNS_MAX)?;
                let name = |value: Value| match value {
                    Value::String(name) if !name.is_empty() => Ok(name),
                    other => Err(wrong(key, "names of modules", &other)),
                };
                values.into_iter().map(name).collect::<Result<_, _>>().map(Modules::Names).map(Some)
            }
            Some(value) => Err(wrong(key, "a list of names or an expression", &value)),
        }
    }

    /// An object from patterns to values, in its order.
    fn patterns<T>(
        &mut self,
        key: &str,
        read: fn(&str, &Value) -> Result<T, AdapterError>,
    ) -> Result<Vec<(Pattern, T)>, AdapterError> {
        let entries = match self.take(key) {
            None => return Ok(Vec::new()),
            Some(Value::Object(entries)) => entries,
            Some(value) => return Err(wrong(key, "an object", &value)),
        };
        within("patterns in one key", entries.len(), PATTERNS_MAX)?;
        let (mut patterns, mut expressions) = (Vec::with_capacity(entries.len()), 0);
        for (pattern, value) in &entries {
            let value = read(&format!("{key}.{pattern}"), value)?;
            let pattern = Pattern::end(key, pattern)?;
            expressions += usize::from(matches!(pattern, Pattern::Expression(_)));
            within("regular expressions in one key", expressions, EXPRESSIONS_MAX)?;
            patterns.push((pattern, value));
        }
        Ok(patterns)
    }

    fn layers(&mut self) -> Result<Option<Vec<u64>>, AdapterError> {
        let key = "layers_to_transform";
        let index = |value: &Value| {
            let index = value.as_u64().filter(|&index| index <= LAYER_MAX);
            index.ok_or_else(|| wrong(key, &format!("layer indices up to {LAYER_MAX}"), value))
        };
        match self.take(key) {
            None => Ok(None),
            Some(Value::Array(values)) if values.is_empty() => Ok(None),
            Some(Value::Array(values)) => {
                within("layers in layers_to_transform", values.len(), PATTERNS_MAX)?;
                values.iter().map(index).collect::<Result<_, _>>().map(Some)
            }
            Some(value) => Ok(Some(vec![index(&value)?])),
        }
    }

    fn layers_pattern(&mut self) -> Result<Vec<Regex>, AdapterError> {
        let key = "layers_pattern";
        let texts = match self.take(key) {
            None => return Ok(Vec::new()),
            Some(Value::String(text)) if text.is_empty() => return Ok(Vec::new()),
            Some(Value::String(text)) => vec![Value::String(text)],
            Some(Value::Array(values)) => values,
            Some(value) => return Err(wrong(key, "a pattern or a list of them", &value)),
        };
        within("patterns in layers_pattern", texts.len(), EXPRESSIONS_MAX)?;
        let pattern = |value: &Value| match value.as_str() {
            Some(text) => Pattern::layers(key, text),
            None => Err(wrong(key, "a pattern or a list of them", value)),
        };
        texts.iter().map(pattern).collect()
    }

    /// Refuses the first key that is left with a value that says something.
    fn finish(mut self) -> Result<(), AdapterError> {
        for key in HARMLESS {
            self.0.remove(*key);
        }
        match self.0.into_iter().find(|(_, value)| !is_off(value)) {
            None => Ok(()),
            Some((key, value)) => Err(AdapterError::Unsupported {
                key: shown(key),
                value: shown(value),
                why: "the key is not known, and may change what the adapter computes",
            }),
        }
    }
}

fn within(what: &'static str, found: usize, limit: usize) -> Result<(), AdapterError> {
    if found > limit { Err(AdapterError::TooMany { what, found, limit }) } else { Ok(()) }
}
