//! How a token is drawn from a row of logits: the parameters, their ranges and their order.

use crate::request::RequestError;

/// Most entries of [`SamplingParams::logit_bias`] and of [`Dry::breakers`]: a large vocabulary.
pub const TOKEN_LIST_MAX: usize = 1 << 18;

/// An amount added to one token's logit before every draw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogitBias {
    /// Token id.
    pub token: u32,
    /// Added to the logit; large negative values forbid the token.
    pub bias: f32,
}

/// "Don't repeat yourself": lowers the logits of tokens that would go on repeating a stretch.
///
/// Where the last n tokens occurred before, n ≥ `allowed_length`, the logit of the token that
/// followed there is lowered by `multiplier · base^(n − allowed_length)`, for the longest such n.
/// Stretches do not reach over a breaker, and breakers are not lowered.
/// Source: p-e-w, text-generation-webui pull request 5677 (2024); the details as in llama.cpp.
#[derive(Debug, Clone, PartialEq)]
pub struct Dry {
    /// How much is subtracted at `allowed_length`; 0 is off.
    pub multiplier: f32,
    /// How fast it grows with the length, at least 1.
    pub base: f32,
    /// The shortest stretch that is lowered, at least 1.
    pub allowed_length: usize,
    /// How many of the last tokens are searched; `None` is all, 0 is off.
    pub last_n: Option<usize>,
    /// Tokens that no stretch reaches over, in any order.
    pub breakers: Vec<u32>,
}

impl Default for Dry {
    /// Off, with the values that llama.cpp has for the rest.
    fn default() -> Self {
        Self { multiplier: 0.0, base: 1.75, allowed_length: 2, last_n: None, breakers: Vec::new() }
    }
}

impl Dry {
    /// Whether it changes any logit.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.multiplier > 0.0 && self.last_n != Some(0)
    }
}

/// How a token is drawn from a row of logits.
///
/// The order is: mask, penalties, DRY, bias, temperature, top-k, typical, top-p, min-p, XTC,
/// draw. Each filter sees the probabilities that the one before it left.
///
/// Temperature stands before the filters, as in vLLM and Hugging Face transformers, so that
/// `top_p` is a share of the distribution that is drawn from; OpenAI's interface leaves it
/// open, and its clients know `top_p` from those two. llama.cpp filters first and applies the
/// temperature last: there a hot temperature never lets in more tokens. The filters among
/// themselves stand as in llama.cpp.
/// Top-k, top-p and min-p keep the most likely token; typical and XTC may remove it, which is
/// what they are for.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingParams {
    /// 0 takes the most likely token (the lowest id among equals) and ignores the filters.
    pub temperature: f32,
    /// Keep this many tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the fewest tokens with at least this mass whose information is nearest to the
    /// entropy, in `(0, 1]`. Source: Meister et al., "Locally typical sampling" (2022).
    pub typical_p: f32,
    /// Keep the fewest most likely tokens with at least this mass, in `(0, 1]`.
    pub top_p: f32,
    /// Keep tokens at least this likely relative to the most likely one, in `[0, 1]`.
    pub min_p: f32,
    /// Exclude top choices: with this probability, in `[0, 1]`, remove of the tokens at least
    /// `xtc_threshold` likely all but the least likely. Source: p-e-w, text-generation-webui
    /// pull request 6335 (2024).
    pub xtc_probability: f32,
    /// In `(0, 1]`; above 0.5 it changes nothing.
    pub xtc_threshold: f32,
    /// Divides positive and multiplies negative logits of tokens in prompt or answer; 1 is off.
    /// Source: Keskar et al., "CTRL" (2019).
    pub repetition_penalty: f32,
    /// Subtracted from logits of tokens in the answer.
    pub presence_penalty: f32,
    /// Subtracted from logits of tokens in the answer, times their count.
    pub frequency_penalty: f32,
    /// How many of the last tokens the three penalties count; `None` is all, 0 none.
    pub repeat_last_n: Option<usize>,
    /// Against repeated stretches.
    pub dry: Dry,
    /// Added to single tokens' logits.
    pub logit_bias: Vec<LogitBias>,
    /// Key of every draw, together with the choice index and the position.
    pub seed: u64,
}

impl Default for SamplingParams {
    /// Greedy, nothing else applied.
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            typical_p: 1.0,
            top_p: 1.0,
            min_p: 0.0,
            xtc_probability: 0.0,
            xtc_threshold: 0.1,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            repeat_last_n: None,
            dry: Dry::default(),
            logit_bias: Vec::new(),
            seed: 0,
        }
    }
}

impl SamplingParams {
    /// Whether any penalty changes logits, so that tokens must be counted.
    #[must_use]
    pub fn has_penalties(&self) -> bool {
        self.repetition_penalty != 1.0
            || self.presence_penalty != 0.0
            || self.frequency_penalty != 0.0
    }

    /// Checks ranges and token ids.
    ///
    /// # Errors
    /// Names the first parameter that is out of range and the range.
    pub fn validate(&self, vocab_size: usize) -> Result<(), RequestError> {
        let number = |name, got: f32, in_range, expected| {
            let refused = RequestError::OutOfRange { name, got, expected };
            if got.is_finite() && in_range { Ok(()) } else { Err(refused) }
        };
        let share = |name, got| number(name, got, got > 0.0 && got <= 1.0, "a number in (0, 1]");
        let part = |name, got| number(name, got, (0.0..=1.0).contains(&got), "a number in [0, 1]");
        let from_0 = |name, got| number(name, got, got >= 0.0, "a finite number ≥ 0");
        let finite = |name, got| number(name, got, true, "a finite number");
        from_0("temperature", self.temperature)?;
        share("typical_p", self.typical_p)?;
        share("top_p", self.top_p)?;
        part("min_p", self.min_p)?;
        part("xtc_probability", self.xtc_probability)?;
        share("xtc_threshold", self.xtc_threshold)?;
        let factor = self.repetition_penalty;
        // Far beyond any use, and far from where a logit would overflow.
        let in_range = (0.01..=100.0).contains(&factor);
        number("repetition_penalty", factor, in_range, "a number from 0.01 to 100")?;
        finite("presence_penalty", self.presence_penalty)?;
        finite("frequency_penalty", self.frequency_penalty)?;
        from_0("dry_multiplier", self.dry.multiplier)?;
        number("dry_base", self.dry.base, self.dry.base >= 1.0, "a finite number ≥ 1")?;
        let shortest = self.dry.allowed_length;
        number("dry_allowed_length", shortest as f32, shortest > 0, "an integer ≥ 1")?;
        for entry in &self.logit_bias {
            finite("logit_bias", entry.bias)?;
        }
        self.validate_tokens(vocab_size)
    }

    fn validate_tokens(&self, vocab_size: usize) -> Result<(), RequestError> {
        let biased: Vec<u32> = self.logit_bias.iter().map(|entry| entry.token).collect();
        for (name, tokens) in
            [("logit_bias", &biased), ("dry_sequence_breakers", &self.dry.breakers)]
        {
            if tokens.len() > TOKEN_LIST_MAX {
                let (got, limit) = (tokens.len(), TOKEN_LIST_MAX);
                return Err(RequestError::TooMany { name, got, limit });
            }
            if let Some(&token) = tokens.iter().find(|&&token| token as usize >= vocab_size) {
                return Err(RequestError::UnknownToken { name, token, vocab_size });
            }
        }
        Ok(())
    }
}
