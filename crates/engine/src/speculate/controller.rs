//! How long the next draft should be: measured costs of steps and the acceptance seen so far to a
//! length, without a clock and without chance.

/// The longest step that costs are known for, in tokens.
pub const STEP_TOKENS_MAX: usize = 16;
/// Match lengths from which a class of its own begins.
const CLASS_FROM: [usize; 6] = [1, 3, 4, 6, 12, 32];
/// What a class believes before it saw anything: how often a draft's first token is accepted.
const PRIOR_FIRST: [f64; CLASS_FROM.len()] = [0.3, 0.4, 0.5, 0.6, 0.75, 0.9];
/// The same for each token after an accepted one.
const PRIOR_LATER: f64 = 0.7;
/// How many observations the prior is worth.
const PRIOR_WEIGHT: f64 = 2.0;
/// What is left of an old observation after each new one of its class: the last fifty count.
pub(super) const FORGET_DRAFTED: f64 = 0.98;
/// The same after a match of its class that was not drafted: what was bad once is tried again
/// some hundreds of tokens later.
pub(super) const FORGET_IDLE: f64 = 0.998;
/// What may be lost at first, in steps without a draft.
pub(super) const CREDIT_START: f64 = 2.0;
/// What each step adds to it: a hundredth of the time may go into trying.
pub(super) const CREDIT_PER_STEP: f64 = 0.01;
/// The most that is saved up, so that a long gain does not pay for a long loss.
pub(super) const CREDIT_MAX: f64 = 8.0;

/// Measured costs that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CostError {
    /// Too few or too many of them.
    #[error("there are {got} costs of steps, expected 1 to {STEP_TOKENS_MAX}")]
    Count {
        /// How many there are.
        got: usize,
    },
    /// A time that is none.
    #[error("a step of {tokens} tokens is said to take {seconds} seconds")]
    NotPositive {
        /// Tokens of the step.
        tokens: usize,
        /// As measured.
        seconds: f64,
    },
}

/// Seconds of steps of 1, 2, … tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct StepCosts {
    /// Entry t − 1 for t tokens; never falling.
    seconds: Vec<f64>,
}

impl StepCosts {
    /// Takes measurements of steps of 1, 2, … tokens, at most [`STEP_TOKENS_MAX`].
    ///
    /// More tokens never cost less: where noise says so, the dearer shorter step counts.
    ///
    /// # Errors
    /// Their number, or one that is not a positive number.
    pub fn new(measured: &[f64]) -> Result<Self, CostError> {
        if measured.is_empty() || measured.len() > STEP_TOKENS_MAX {
            return Err(CostError::Count { got: measured.len() });
        }
        let mut seconds = Vec::with_capacity(measured.len());
        let mut highest = 0.0f64;
        for (index, &cost) in measured.iter().enumerate() {
            if !(cost > 0.0 && cost.is_finite()) {
                return Err(CostError::NotPositive { tokens: index + 1, seconds: cost });
            }
            highest = highest.max(cost);
            seconds.push(highest);
        }
        Ok(Self { seconds })
    }

    /// Seconds of a step of so many tokens, at least 1; the longest that is known, of more.
    pub(super) fn seconds(&self, n_tokens: usize) -> f64 {
        self.seconds[n_tokens.clamp(1, self.seconds.len()) - 1]
    }

    /// Tokens of the longest step that costs are known for.
    pub(super) fn n_known(&self) -> usize {
        self.seconds.len()
    }

    /// The longest draft that fits beside `n_others` other tokens of the step.
    fn draft_max(&self, n_others: usize) -> usize {
        self.seconds.len().saturating_sub(n_others.saturating_add(1))
    }

    /// What a draft adds to the step, as a share of the step without it.
    fn extra(&self, n_others: usize, n_drafted: usize) -> f64 {
        let n_tokens = n_others.saturating_add(1);
        self.seconds(n_tokens.saturating_add(n_drafted)) / self.seconds(n_tokens) - 1.0
    }
}

/// Observations of yes and no, the latest weighing most.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rate {
    n_yes: f64,
    n_all: f64,
}

impl Rate {
    pub(super) fn observe(&mut self, n_yes: usize, n_all: usize) {
        self.n_yes += n_yes as f64;
        self.n_all += n_all as f64;
    }

    pub(super) fn forget(&mut self, factor: f64) {
        self.n_yes *= factor;
        self.n_all *= factor;
    }

    /// The mean of the beta distribution that observations and a prior of so many make.
    pub(super) fn mean(&self, prior: f64, weight: f64) -> f64 {
        (prior * weight + self.n_yes) / (weight + self.n_all)
    }

    /// The mean and a standard deviation more.
    pub(super) fn hope(&self, prior: f64, weight: f64) -> f64 {
        let mean = self.mean(prior, weight);
        let variance = mean * (1.0 - mean) / (weight + self.n_all + 1.0);
        (mean + variance.sqrt()).min(1.0)
    }
}

/// What is known of drafts after matches of about one length.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Class {
    /// Of a draft's first token.
    first: Rate,
    /// Of those after an accepted one.
    later: Rate,
}

/// Chooses the lengths of one sequence's drafts, or of many sequences' that are alike.
///
/// It takes the length with the most expected tokens for each second: a step of `n_others` other
/// tokens and a draft of d gives `n_others + 1 + Σᵢ p·qⁱ` tokens, i < d, with p the chance of the
/// first draft token and q of each further one, by the length of the match. Where none is
/// expected to gain, it tries the shortest draft that may, by a standard deviation.
///
/// A credit bounds what that can cost, whatever is accepted: a draft that would overdraw it if
/// nothing were accepted is not made. So n steps lose at most 2 + n / 100 steps without a draft.
#[derive(Debug, Clone, PartialEq)]
pub struct Controller {
    classes: [Class; CLASS_FROM.len()],
    /// What may be lost, in steps without a draft.
    credit: f64,
}

impl Default for Controller {
    fn default() -> Self {
        Self { classes: Default::default(), credit: CREDIT_START }
    }
}

impl Controller {
    /// The length of the draft to make after a match of `match_len` tokens, at most `max`; 0 is
    /// none, as it is where nothing matched. The step has `n_others` tokens beside this sequence's.
    #[must_use]
    pub fn choose(
        &self,
        costs: &StepCosts,
        n_others: usize,
        match_len: usize,
        max: usize,
    ) -> usize {
        let max = if match_len == 0 { 0 } else { max.min(costs.draft_max(n_others)) };
        let (p, q) = self.chances(match_len, Rate::mean);
        let best = speedups(costs, n_others, max, p, q)
            .enumerate()
            .filter(|&(_, speedup)| speedup > 1.0)
            // The shortest of equals.
            .reduce(|best, next| if next.1 > best.1 { next } else { best });
        let length = best.map(|(idx, _)| idx).or_else(|| {
            let (p, q) = self.chances(match_len, Rate::hope);
            speedups(costs, n_others, max, p, q).position(|speedup| speedup > 1.0)
        });
        let affordable = |&length: &usize| costs.extra(n_others, length) <= self.credit;
        (1..=length.map_or(0, |idx| idx + 1)).rev().find(affordable).unwrap_or(0)
    }

    /// How many tokens of a draft of `n_drafted` are accepted on average.
    #[must_use]
    pub fn gain(&self, match_len: usize, n_drafted: usize) -> f64 {
        let (p, q) = self.chances(match_len, Rate::mean);
        std::iter::successors(Some(p), |chance| Some(chance * q)).take(n_drafted).sum()
    }

    /// Chances of a draft's first token and of each later one.
    fn chances(&self, match_len: usize, of: fn(&Rate, f64, f64) -> f64) -> (f64, f64) {
        let idx = class_idx(match_len);
        let Class { first, later } = &self.classes[idx];
        let later = of(later, PRIOR_LATER, PRIOR_WEIGHT);
        (of(first, PRIOR_FIRST[idx], PRIOR_WEIGHT), later)
    }

    /// Takes what became of a step: of a draft of `n_drafted` tokens, 0 for none, `n_accepted`
    /// were accepted. The other values are those that the length was chosen by.
    pub fn observe(
        &mut self,
        costs: &StepCosts,
        n_others: usize,
        match_len: usize,
        n_drafted: usize,
        n_accepted: usize,
    ) {
        let n_accepted = n_accepted.min(n_drafted);
        let gained = n_accepted as f64 / (n_others as f64 + 1.0);
        let lost = costs.extra(n_others, n_drafted);
        self.credit = (self.credit + CREDIT_PER_STEP + gained - lost).min(CREDIT_MAX);
        if match_len == 0 {
            // No match was seen, so nothing was learned of any class.
            return;
        }
        let Class { first, later } = &mut self.classes[class_idx(match_len)];
        let factor = if n_drafted > 0 { FORGET_DRAFTED } else { FORGET_IDLE };
        first.forget(factor);
        later.forget(factor);
        if n_drafted > 0 {
            first.observe(n_accepted.min(1), 1);
        }
        if n_accepted > 0 {
            // The draws behind accepted tokens; the one behind the whole draft tells nothing.
            later.observe(n_accepted - 1, n_accepted.min(n_drafted - 1));
        }
    }
}

/// How many times as fast as without a draft a step with a draft of 1, 2, … `max` tokens is, whose
/// first token is accepted with chance `p` and each further one with chance `q`.
fn speedups(
    costs: &StepCosts,
    n_others: usize,
    max: usize,
    p: f64,
    q: f64,
) -> impl Iterator<Item = f64> + '_ {
    let n_without = n_others as f64 + 1.0;
    let (mut n_expected, mut chance) = (n_without, p);
    (1..=max).map(move |length| {
        n_expected += chance;
        chance *= q;
        n_expected / n_without / (1.0 + costs.extra(n_others, length))
    })
}

fn class_idx(match_len: usize) -> usize {
    CLASS_FROM.iter().rposition(|&from| match_len >= from).unwrap_or(0)
}

#[cfg(test)]
mod tests;
