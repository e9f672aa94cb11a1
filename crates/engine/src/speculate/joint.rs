//! Whether a step's sequences are drafted for by a model, and how far: measured costs of both
//! models and the acceptance seen so far to lengths, without a clock and without chance.

use super::controller::{
    CREDIT_MAX, CREDIT_PER_STEP, CREDIT_START, FORGET_DRAFTED, FORGET_IDLE, Rate, StepCosts,
};
use model::BLOCK_TOKENS;

/// The most tokens of prompts that a draft model computes in one step, of all sequences together.
pub const CATCH_UP_TOKENS: usize = 64;
/// A sequence of which the draft model has more to compute is not guessed for.
const READY_MAX: usize = 8;
/// The longest draft of a model, in tokens.
const DEPTH_MAX: usize = 12;
/// What part of the time that prompts took may go into computing them again by the draft model.
const CATCH_UP_SHARE: f64 = 0.125;
/// What is believed before anything was seen: how often a draft's first token is accepted.
const PRIOR_FIRST: f64 = 0.6;
/// The same for each token after an accepted one.
const PRIOR_LATER: f64 = 0.7;
/// How many observations of its own the common experience is worth to a sequence.
const COMMON_WEIGHT: f64 = 8.0;
/// How many observations the prior is worth to the common experience.
const PRIOR_WEIGHT: f64 = 2.0;

/// Seconds of a draft model's steps.
#[derive(Debug, Clone, PartialEq)]
pub struct DraftCosts {
    steps: StepCosts,
    /// Of one block of a prompt.
    block_seconds: f64,
    /// Of the draw of one guess.
    draw_seconds: f64,
}

impl DraftCosts {
    /// From steps of a few tokens, one of [`BLOCK_TOKENS`] tokens without logits, and the draw of
    /// a guess; where noise says that the block takes less than the longest of the others, that
    /// counts.
    #[must_use]
    pub fn new(steps: StepCosts, block_seconds: f64, draw_seconds: f64) -> Self {
        let longest = steps.seconds(steps.n_known());
        // NaN is less than nothing.
        let (block_seconds, draw_seconds) = (block_seconds.max(longest), draw_seconds.max(0.0));
        Self { steps, block_seconds, draw_seconds }
    }

    /// Seconds of one step of `n_tokens`; straight lines where nothing was measured.
    fn seconds(&self, n_tokens: usize) -> f64 {
        let n_known = self.steps.n_known();
        if n_tokens <= n_known {
            return if n_tokens == 0 { 0.0 } else { self.steps.seconds(n_tokens) };
        }
        if n_tokens >= BLOCK_TOKENS {
            return self.block_seconds * n_tokens as f64 / BLOCK_TOKENS as f64;
        }
        let share = (n_tokens - n_known) as f64 / (BLOCK_TOKENS - n_known) as f64;
        let longest = self.steps.seconds(n_known);
        longest + share * (self.block_seconds - longest)
    }
}

/// How often a model's guesses were right.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Acceptance {
    /// Of a draft's first token.
    first: Rate,
    /// Of those after an accepted one.
    later: Rate,
}

impl Acceptance {
    /// Takes what became of a draft of at least one token.
    pub fn observe(&mut self, n_drafted: usize, n_accepted: usize) {
        self.forget(FORGET_DRAFTED);
        self.first.observe(n_accepted.min(1), 1);
        if n_accepted > 0 {
            // The draw behind the whole draft tells nothing.
            self.later.observe(n_accepted - 1, n_accepted.min(n_drafted - 1));
        }
    }

    fn forget(&mut self, factor: f64) {
        self.first.forget(factor);
        self.later.forget(factor);
    }

    /// Chances of a first and of a later token, as `of` takes them from a rate, a prior and its
    /// weight; the prior being the common experience.
    fn chances(&self, common: &Acceptance, of: fn(&Rate, f64, f64) -> f64) -> Chances {
        let first = common.first.mean(PRIOR_FIRST, PRIOR_WEIGHT);
        let later = common.later.mean(PRIOR_LATER, PRIOR_WEIGHT);
        Chances {
            first: of(&self.first, first, COMMON_WEIGHT),
            later: of(&self.later, later, COMMON_WEIGHT),
        }
    }
}

/// How likely guesses are right.
#[derive(Debug, Clone, Copy)]
struct Chances {
    first: f64,
    later: f64,
}

impl Chances {
    /// Tokens of a draft of `length` that are accepted on average.
    fn gain(self, length: usize) -> f64 {
        let chances = std::iter::successors(Some(self.first), |chance| Some(chance * self.later));
        chances.take(length).sum()
    }
}

/// A sequence that decodes in the step, as the choice sees it.
#[derive(Debug, Clone, Copy)]
pub struct Prospect {
    /// Length of the draft that lookup has for it, 0 for none.
    pub n_lookup: usize,
    /// Tokens of that draft that are accepted on average.
    pub lookup_gain: f64,
    /// Tokens that the draft model has not computed; `None` where it cannot guess.
    pub behind: Option<usize>,
    /// Tokens that may still be generated after the next one.
    pub n_left: usize,
    /// Whether its tokens are the most likely ones; experience with drawn ones is another.
    pub is_greedy: bool,
    /// What became of the model's guesses for it.
    pub acceptance: Acceptance,
}

/// What a sequence gets of the draft model in a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// Tokens to compute of those that it has not seen.
    pub n_compute: usize,
    /// Tokens to guess; where there are some, lookup's draft is dropped.
    pub n_guess: usize,
}

/// What was chosen for a step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Choice {
    /// For each prospect.
    pub shares: Vec<Share>,
    /// What it adds to the step, as a share of the step without it, less what prompts pay.
    extra: f64,
    /// What prompts pay, in seconds.
    paid_by_prompts: f64,
    /// Tokens of the step without it.
    n_without: usize,
}

/// A choice under consideration.
struct Trial {
    shares: Vec<Share>,
    /// Tokens of the main model's step without the model's guesses.
    n_without: usize,
    /// Seconds of the main model's step, and of the draft model's.
    main_seconds: f64,
    draft_seconds: f64,
    /// Tokens for each second, over those with lookup alone.
    speedup: f64,
}

/// Chooses for all sequences of a step together whether a model drafts for them, by the most
/// expected tokens for each second.
///
/// A draft model computes all sequences' guesses of one place together, so that the first of them
/// costs nearly as much as all, and a choice for one alone would be a wrong one. For each depth d,
/// every sequence that is ready gets min(d, what it may) guesses, where more of them are expected
/// to be right than of lookup's draft; the step then takes what the main model's step of all
/// tokens takes, and d steps of the draft model. Where no depth is expected to gain, the shortest
/// is tried that may, by a standard deviation.
///
/// A credit bounds what that can cost, whatever is accepted, as [`super::Controller`]'s does.
/// Computing prompts by the draft model is paid from an eighth of what they took, and beyond that
/// from the credit. So n steps lose at most 2 + n / 100 steps without a draft, and an eighth of
/// the time that prompts took.
#[derive(Debug, Clone, PartialEq)]
pub struct JointController {
    /// Of drawn tokens, and of the most likely ones.
    common: [Acceptance; 2],
    /// What may be lost, in steps.
    credit: f64,
    /// What prompts may still pay, in seconds.
    purse: f64,
}

impl Default for JointController {
    fn default() -> Self {
        Self { common: Default::default(), credit: CREDIT_START, purse: 0.0 }
    }
}

impl JointController {
    /// The main model has computed tokens of prompts.
    pub fn observe_prompts(&mut self, main: &StepCosts, n_tokens: usize) {
        let token_seconds = main.seconds(main.n_known()) / main.n_known() as f64;
        self.purse += CATCH_UP_SHARE * n_tokens as f64 * token_seconds;
    }

    /// What the draft model does in a step in which these sequences decode.
    #[must_use]
    pub fn choose(&self, main: &StepCosts, draft: &DraftCosts, prospects: &[Prospect]) -> Choice {
        if prospects.is_empty() || prospects.len() >= main.n_known() {
            return Choice { shares: vec![Share::default(); prospects.len()], ..Choice::default() };
        }
        let best = self.best(main, draft, prospects);
        let affordable = |trial: &Trial| {
            let without = main.seconds(trial.n_without);
            trial.main_seconds + trial.draft_seconds <= without * (1.0 + self.credit)
        };
        let trial = best.and_then(|(depth, chances)| {
            let shorter = (1..=depth).rev();
            shorter
                .filter_map(|depth| trial(main, draft, prospects, &chances, depth))
                .find(affordable)
        });
        let n_lookup: usize = prospects.iter().map(|prospect| prospect.n_lookup).sum();
        let mut choice = match trial {
            Some(trial) => Choice {
                extra: (trial.main_seconds + trial.draft_seconds) / main.seconds(trial.n_without)
                    - 1.0,
                shares: trial.shares,
                paid_by_prompts: 0.0,
                n_without: trial.n_without,
            },
            None => Choice {
                shares: vec![Share::default(); prospects.len()],
                n_without: prospects.len() + n_lookup,
                ..Choice::default()
            },
        };
        self.catch_up(main, draft, prospects, &mut choice);
        choice
    }

    /// The depth to draft to, and the chances that say so.
    fn best(
        &self,
        main: &StepCosts,
        draft: &DraftCosts,
        prospects: &[Prospect],
    ) -> Option<(usize, Vec<Chances>)> {
        let chances = |of: fn(&Rate, f64, f64) -> f64| -> Vec<Chances> {
            let of_one = |prospect: &Prospect| {
                let common = &self.common[usize::from(prospect.is_greedy)];
                prospect.acceptance.chances(common, of)
            };
            prospects.iter().map(of_one).collect()
        };
        let expected = chances(Rate::mean);
        let gaining = |chances: &[Chances]| -> Vec<(usize, f64)> {
            let trials = (1..=DEPTH_MAX).filter_map(|depth| {
                Some((depth, trial(main, draft, prospects, chances, depth)?.speedup))
            });
            trials.filter(|&(_, speedup)| speedup > 1.0).collect()
        };
        // The shortest of equals.
        let best = gaining(&expected)
            .into_iter()
            .reduce(|best, next| if next.1 > best.1 { next } else { best });
        if let Some((depth, _)) = best {
            return Some((depth, expected));
        }
        let hoped = chances(Rate::hope);
        let first = gaining(&hoped).first().copied();
        first.map(|(depth, _)| (depth, hoped))
    }

    /// Lets the draft model compute of those sequences that it is far behind of, where guesses
    /// would gain more than that costs.
    fn catch_up(
        &self,
        main: &StepCosts,
        draft: &DraftCosts,
        prospects: &[Prospect],
        choice: &mut Choice,
    ) {
        let is_late = |prospect: &Prospect| prospect.behind.is_some_and(|n| n > READY_MAX);
        if !prospects.iter().any(is_late) {
            return;
        }
        let ready = |prospect: &Prospect| Prospect {
            behind: prospect.behind.map(|n| n.min(1)),
            ..*prospect
        };
        let ready: Vec<Prospect> = prospects.iter().map(ready).collect();
        let Some((depth, chances)) = self.best(main, draft, &ready) else { return };
        let Some(Trial { speedup, shares, .. }) = trial(main, draft, &ready, &chances, depth)
        else {
            return;
        };
        let without = main.seconds(choice.n_without);
        let mut n_computed: usize = choice.shares.iter().map(|share| share.n_compute).sum();
        let mut n_left = CATCH_UP_TOKENS;
        for (index, prospect) in prospects.iter().enumerate() {
            let behind = prospect.behind.unwrap_or(0);
            if !is_late(prospect) || shares[index].n_guess == 0 {
                continue;
            }
            // All but the last, behind which it would have to guess at once.
            let n_compute = (behind - 1).min(n_left);
            let spared = prospect.n_left as f64 * (1.0 - 1.0 / speedup) * without;
            // What is begun is to be paid to its end, or it was for nothing.
            let all = draft.seconds(behind);
            let affordable = self.purse - choice.paid_by_prompts
                + (self.credit - choice.extra).max(0.0) * without;
            if n_compute == 0 || all > spared || all > affordable {
                continue;
            }
            let more = draft.seconds(n_computed + n_compute) - draft.seconds(n_computed);
            let by_prompts = more.min(self.purse - choice.paid_by_prompts).max(0.0);
            let extra = choice.extra + (more - by_prompts) / without;
            if extra > self.credit {
                break;
            }
            (choice.extra, n_computed) = (extra, n_computed + n_compute);
            choice.paid_by_prompts += by_prompts;
            choice.shares[index].n_compute = n_compute;
            n_left -= n_compute;
        }
    }

    /// Takes what became of a step: of the model's drafts, those of the most likely tokens or
    /// not, how many tokens they had, and how many were accepted.
    pub fn observe(&mut self, choice: &Choice, outcomes: &[(bool, usize, usize)]) {
        let n_accepted: usize = outcomes.iter().map(|outcome| outcome.2).sum();
        let gained = n_accepted as f64 / choice.n_without.max(1) as f64;
        self.credit = (self.credit + CREDIT_PER_STEP + gained - choice.extra).min(CREDIT_MAX);
        self.purse -= choice.paid_by_prompts;
        for &(is_greedy, n_drafted, n_accepted) in outcomes {
            if n_drafted > 0 {
                self.common[usize::from(is_greedy)].observe(n_drafted, n_accepted);
            }
        }
        if outcomes.is_empty() {
            self.common.iter_mut().for_each(|common| common.forget(FORGET_IDLE));
        }
    }
}

/// Drafting to a depth; `None` where nobody would be drafted for, or the step is longer than what
/// costs are known for.
fn trial(
    main: &StepCosts,
    draft: &DraftCosts,
    prospects: &[Prospect],
    chances: &[Chances],
    depth: usize,
) -> Option<Trial> {
    let n = prospects.len();
    let share = |(prospect, chances): (&Prospect, &Chances)| {
        let behind = prospect.behind.filter(|&behind| behind <= READY_MAX);
        let n_guess = if behind.is_some() { depth.min(prospect.n_left) } else { 0 };
        let gain = chances.gain(n_guess);
        if gain > prospect.lookup_gain {
            (Share { n_compute: behind.unwrap_or(0), n_guess }, gain)
        } else {
            (Share::default(), prospect.lookup_gain)
        }
    };
    let (shares, gains): (Vec<Share>, Vec<f64>) = prospects.iter().zip(chances).map(share).unzip();
    let deepest = shares.iter().map(|share| share.n_guess).max().filter(|&n| n > 0)?;
    let each = || prospects.iter().zip(&shares);
    let kept = each().filter(|(_, share)| share.n_guess == 0).map(|(p, _)| p.n_lookup);
    let n_without = n + kept.sum::<usize>();
    let n_guesses: usize = shares.iter().map(|share| share.n_guess).sum();
    let n_tokens = n_without + n_guesses;
    if n_tokens > main.n_known() {
        return None;
    }
    let first: usize = shares.iter().map(|share| share.n_compute).sum();
    let later = (2..=deepest)
        .map(|place| draft.seconds(shares.iter().filter(|share| share.n_guess >= place).count()));
    let draws = draft.draw_seconds * n_guesses as f64;
    let draft_seconds = draft.seconds(first) + later.sum::<f64>() + draws;
    let main_seconds = main.seconds(n_tokens);
    let by_lookup = |of: fn(&Prospect) -> f64| prospects.iter().map(of).sum::<f64>();
    let n_lookup = by_lookup(|prospect| prospect.n_lookup as f64) as usize;
    let before = (n as f64 + by_lookup(|p| p.lookup_gain)) / main.seconds(n + n_lookup);
    let after = (n as f64 + gains.iter().sum::<f64>()) / (main_seconds + draft_seconds);
    let speedup = after / before;
    Some(Trial { shares, n_without, main_seconds, draft_seconds, speedup })
}

#[cfg(test)]
mod tests;
