//! How tokens are drawn, as clients ask for it: from their parameters and the model's defaults to
//! the engine's.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use engine::{LogitBias, SamplingParams};

use crate::error::Error;
use crate::text_model::TextModel;

/// Most strings of [`Dry::sequence_breakers`].
const BREAKERS_MAX: usize = 64;
/// Most bytes of one of them.
const BREAKER_BYTES_MAX: usize = 40;
/// What breaks sequences where nobody says so: llama.cpp's choice.
const BREAKERS_DEFAULT: [&str; 4] = ["\n", ":", "\"", "*"];

/// How tokens are drawn; `None` leaves it to the model's own defaults.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sampling {
    /// 0 takes the most likely token.
    pub temperature: Option<f32>,
    /// Keep this many tokens; 0 keeps all.
    pub top_k: Option<usize>,
    /// Keep the fewest tokens with this mass that are nearest to the entropy.
    pub typical_p: Option<f32>,
    /// Keep the fewest tokens with this mass.
    pub top_p: Option<f32>,
    /// Keep tokens at least this likely relative to the best.
    pub min_p: Option<f32>,
    /// With this probability, remove the likely tokens but the least likely of them.
    pub xtc_probability: Option<f32>,
    /// What is likely, for that.
    pub xtc_threshold: Option<f32>,
    /// Divides positive and multiplies negative logits of tokens seen.
    pub repetition_penalty: Option<f32>,
    /// Subtracted once for tokens of the answer.
    pub presence_penalty: Option<f32>,
    /// Subtracted for each occurrence in the answer.
    pub frequency_penalty: Option<f32>,
    /// How many of the last tokens these three count.
    pub repeat_last_n: Option<LastN>,
    /// Against repeated stretches.
    pub dry: Dry,
    /// Added to single tokens' logits.
    pub logit_bias: Vec<(u32, f32)>,
    /// Key of all draws; `None` draws one.
    pub seed: Option<u64>,
}

/// "Don't repeat yourself"; see [`engine::Dry`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Dry {
    /// How much is subtracted at the allowed length; 0 is off.
    pub multiplier: Option<f32>,
    /// How fast that grows.
    pub base: Option<f32>,
    /// The shortest repeated stretch that is lowered.
    pub allowed_length: Option<usize>,
    /// How many of the last tokens are searched.
    pub penalty_last_n: Option<LastN>,
    /// Strings that no stretch reaches over: every token that contains one breaks it.
    pub sequence_breakers: Option<Vec<String>>,
}

/// A number of last tokens, written -1 for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastN {
    /// Prompt and answer.
    All,
    /// This many; 0 is none.
    Tokens(usize),
}

impl LastN {
    fn limit(self) -> Option<usize> {
        match self {
            Self::All => None,
            Self::Tokens(n) => Some(n),
        }
    }
}

impl fmt::Display for LastN {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => write!(f, "-1"),
            Self::Tokens(n) => write!(f, "{n}"),
        }
    }
}

/// Not a number of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a number of tokens, or -1 for all")]
pub struct LastNError;

impl FromStr for LastN {
    type Err = LastNError;

    fn from_str(text: &str) -> Result<Self, LastNError> {
        match text {
            "-1" => Ok(Self::All),
            _ => text.parse().map(Self::Tokens).map_err(|_| LastNError),
        }
    }
}

impl Sampling {
    /// These parameters over the model's over neutral ones, for the engine.
    ///
    /// # Errors
    /// Sequence breakers that no token contains, or too many or too long ones.
    pub(crate) fn over(
        &self,
        model: &Self,
        seed: u64,
        breakers: &Breakers,
    ) -> Result<SamplingParams, Error> {
        let neutral = SamplingParams::default();
        let bias = self.logit_bias.iter().map(|&(token, bias)| LogitBias { token, bias });
        let float = |of: fn(&Self) -> Option<f32>, neutral| {
            of(self).or_else(|| of(model)).unwrap_or(neutral)
        };
        Ok(SamplingParams {
            temperature: float(|s| s.temperature, 1.0),
            top_k: self.top_k.or(model.top_k).unwrap_or(neutral.top_k),
            typical_p: float(|s| s.typical_p, neutral.typical_p),
            top_p: float(|s| s.top_p, neutral.top_p),
            min_p: float(|s| s.min_p, neutral.min_p),
            xtc_probability: float(|s| s.xtc_probability, neutral.xtc_probability),
            xtc_threshold: float(|s| s.xtc_threshold, neutral.xtc_threshold),
            repetition_penalty: float(|s| s.repetition_penalty, neutral.repetition_penalty),
            presence_penalty: float(|s| s.presence_penalty, neutral.presence_penalty),
            frequency_penalty: float(|s| s.frequency_penalty, neutral.frequency_penalty),
            repeat_last_n: self.repeat_last_n.or(model.repeat_last_n).and_then(LastN::limit),
            dry: self.dry.over(&model.dry, breakers)?,
            logit_bias: bias.collect(),
            seed,
        })
    }
}

impl Dry {
    fn over(&self, model: &Self, breakers: &Breakers) -> Result<engine::Dry, Error> {
        let neutral = engine::Dry::default();
        let mut dry = engine::Dry {
            multiplier: self.multiplier.or(model.multiplier).unwrap_or(neutral.multiplier),
            base: self.base.or(model.base).unwrap_or(neutral.base),
            allowed_length: self
                .allowed_length
                .or(model.allowed_length)
                .unwrap_or(neutral.allowed_length),
            last_n: self.penalty_last_n.or(model.penalty_last_n).and_then(LastN::limit),
            breakers: Vec::new(),
        };
        let strings = self.sequence_breakers.as_ref().or(model.sequence_breakers.as_ref());
        strings.map_or(Ok(()), |strings| check_breakers(strings))?;
        if dry.is_on() {
            dry.breakers = breakers.tokens(strings.map(Vec::as_slice))?.to_vec();
        }
        Ok(dry)
    }
}

fn check_breakers(strings: &[String]) -> Result<(), Error> {
    let refused = |message| Err(Error::invalid("dry_sequence_breakers", message));
    if strings.len() > BREAKERS_MAX {
        let got = strings.len();
        return refused(format!("dry_sequence_breakers has {got}, the limit is {BREAKERS_MAX}"));
    }
    let is_bad = |string: &&String| string.is_empty() || string.len() > BREAKER_BYTES_MAX;
    match strings.iter().find(is_bad) {
        None => Ok(()),
        Some(string) => {
            let got = string.len();
            refused(format!(
                "dry_sequence_breakers has a string of {got} bytes, \
                 expected 1 to {BREAKER_BYTES_MAX}"
            ))
        }
    }
}

/// The tokens of sequence breakers; those that were asked for last are kept, as finding them
/// reads the whole vocabulary.
pub(crate) struct Breakers {
    text: Arc<dyn TextModel>,
    vocab_size: usize,
    latest: Mutex<Latest>,
}

#[derive(Debug, Clone, Default)]
struct Latest {
    strings: Vec<String>,
    tokens: Arc<[u32]>,
}

impl Breakers {
    pub(crate) fn new(text: Arc<dyn TextModel>, vocab_size: usize) -> Self {
        Self { text, vocab_size, latest: Mutex::default() }
    }

    /// The tokens that contain one of `strings`; those of the default for `None`.
    ///
    /// # Errors
    /// One of them is in no token, so that it could not break anything.
    fn tokens(&self, strings: Option<&[String]>) -> Result<Arc<[u32]>, Error> {
        let defaults = || BREAKERS_DEFAULT.map(str::to_owned).to_vec();
        let wanted = strings.map_or_else(defaults, <[String]>::to_vec);
        // The value is whole between any two statements, so a poisoned lock is still good.
        let lock = || self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = lock().clone();
        if latest.strings == wanted {
            return Ok(latest.tokens);
        }
        let mut is_found = vec![false; wanted.len()];
        let mut tokens = Vec::new();
        for token in 0..u32::try_from(self.vocab_size).unwrap_or(u32::MAX) {
            let bytes = self.text.token_bytes(token);
            let mut breaks = false;
            for (string, is_found) in wanted.iter().zip(&mut is_found) {
                if bytes.windows(string.len()).any(|window| window == string.as_bytes()) {
                    (breaks, *is_found) = (true, true);
                }
            }
            if breaks {
                tokens.push(token);
            }
        }
        let missing = wanted.iter().zip(&is_found).find(|&(_, &is_found)| !is_found);
        if let Some((string, _)) = missing.filter(|_| strings.is_some()) {
            let message = format!("dry_sequence_breakers: no token of this model has {string:?}");
            return Err(Error::invalid("dry_sequence_breakers", message));
        }
        let tokens: Arc<[u32]> = tokens.into();
        *lock() = Latest { strings: wanted, tokens: Arc::clone(&tokens) };
        Ok(tokens)
    }
}
