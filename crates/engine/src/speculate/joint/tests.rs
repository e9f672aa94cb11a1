//! Simulations: sequences that decode together, whose guesses are right by seeded rules, with the
//! costs of two models.

use super::{
    Acceptance, CATCH_UP_TOKENS, DraftCosts, JointController, Prospect, READY_MAX, Share, StepCosts,
};
use crate::philox::uniform;
use crate::speculate::STEP_TOKENS_MAX;
use model::BLOCK_TOKENS;

/// Costs that rise by `slope` of a single token's for each further one.
fn linear(single: f64, slope: f64) -> StepCosts {
    let measured: Vec<f64> =
        (0..STEP_TOKENS_MAX).map(|t| single * (1.0 + slope * t as f64)).collect();
    StepCosts::new(&measured).unwrap()
}

/// A draft model that takes `ratio` of what the main model takes.
fn drafter(ratio: f64, slope: f64) -> DraftCosts {
    let steps = linear(0.02 * ratio, slope);
    let block_seconds = 0.02 * ratio * (1.0 + slope * BLOCK_TOKENS as f64);
    DraftCosts::new(steps, block_seconds, 0.0)
}

/// A sequence: what is left of it, and what the draft model knows.
struct Sequence {
    n_left: usize,
    behind: usize,
    n_prompt: usize,
    acceptance: Acceptance,
}

struct Run {
    controller: JointController,
    main: StepCosts,
    draft: DraftCosts,
    n_steps: usize,
    n_drafted: usize,
    n_computed: usize,
    /// Seconds taken, and those that the same tokens would have taken without drafts.
    seconds: f64,
    seconds_without: f64,
    /// Seconds of the main model's prompts, by the cost that prompts are paid by.
    prompt_seconds: f64,
}

impl Run {
    fn new(main: StepCosts, draft: DraftCosts) -> Self {
        Self {
            controller: JointController::default(),
            main,
            draft,
            n_steps: 0,
            n_drafted: 0,
            n_computed: 0,
            seconds: 0.0,
            seconds_without: 0.0,
            prompt_seconds: 0.0,
        }
    }

    /// Decodes sequences of `n_tokens` behind prompts of `n_prompt` together; `accepted` says how
    /// many of a draft's tokens are right, by sequence, token and length.
    fn together(
        &mut self,
        count: usize,
        n_prompt: usize,
        n_tokens: usize,
        mut accepted: impl FnMut(usize, usize, usize) -> usize,
    ) {
        let main = self.main.clone();
        self.controller.observe_prompts(&main, n_prompt * count);
        let widest = main.n_known();
        self.prompt_seconds += main.seconds(widest) / widest as f64 * (n_prompt * count) as f64;
        let sequence = || Sequence {
            n_left: n_tokens,
            behind: n_prompt,
            n_prompt,
            acceptance: Acceptance::default(),
        };
        let mut sequences: Vec<Sequence> = (0..count).map(|_| sequence()).collect();
        while sequences.iter().any(|sequence| sequence.n_left > 0) {
            self.step(&mut sequences, n_tokens, &mut accepted);
        }
    }

    fn step(
        &mut self,
        sequences: &mut [Sequence],
        n_tokens: usize,
        accepted: &mut impl FnMut(usize, usize, usize) -> usize,
    ) {
        let going: Vec<usize> =
            (0..sequences.len()).filter(|&index| sequences[index].n_left > 0).collect();
        let prospect = |&index: &usize| Prospect {
            n_lookup: 0,
            lookup_gain: 0.0,
            behind: Some(sequences[index].behind),
            n_left: sequences[index].n_left - 1,
            is_greedy: index % 2 == 0,
            acceptance: sequences[index].acceptance,
        };
        let prospects: Vec<Prospect> = going.iter().map(prospect).collect();
        let choice = self.controller.choose(&self.main, &self.draft, &prospects);
        let (mut outcomes, mut n_main, mut n_made) = (Vec::new(), going.len(), going.len());
        for ((&index, prospect), share) in going.iter().zip(&prospects).zip(&choice.shares) {
            let sequence = &mut sequences[index];
            assert!(share.n_compute < sequence.behind || share.n_guess > 0 || share.n_compute == 0);
            assert!(share.n_guess <= prospect.n_left);
            assert!(share.n_guess == 0 || share.n_compute == sequence.behind);
            let n_accepted = match share.n_guess {
                0 => 0,
                n => accepted(index, n_tokens - sequence.n_left, n).min(n),
            };
            if share.n_guess > 0 {
                sequence.acceptance.observe(share.n_guess, n_accepted);
                outcomes.push((index % 2 == 0, share.n_guess, n_accepted));
            }
            sequence.n_left -= 1 + n_accepted;
            // All accepted: the last guess was not computed.
            sequence.behind = sequence.behind - share.n_compute
                + if share.n_guess > 0 { 1 + usize::from(n_accepted == share.n_guess) } else { 1 };
            assert!(sequence.behind <= sequence.n_prompt + n_tokens);
            n_main += share.n_guess;
            n_made += n_accepted;
            self.n_drafted += share.n_guess;
            self.n_computed += share.n_compute;
        }
        let late = |(share, prospect): &(&Share, &Prospect)| {
            share.n_guess == 0 && prospect.behind.is_some()
        };
        let n_late: usize =
            choice.shares.iter().zip(&prospects).filter(late).map(|(s, _)| s.n_compute).sum();
        assert!(n_late <= CATCH_UP_TOKENS, "{n_late} tokens of prompts in one step");
        self.seconds += self.main.seconds(n_main) + self.draft_seconds(&choice.shares);
        let single = self.main.seconds(going.len());
        self.seconds_without += single * n_made as f64 / going.len() as f64;
        self.n_steps += 1;
        self.controller.observe(&choice, &outcomes);
    }

    /// The draft model's steps, one after another.
    fn draft_seconds(&self, shares: &[Share]) -> f64 {
        let first: usize = shares.iter().map(|share| share.n_compute).sum();
        let deepest = shares.iter().map(|share| share.n_guess).max().unwrap_or(0);
        let at = |place| shares.iter().filter(|share| share.n_guess >= place).count();
        let later: f64 = (2..=deepest).map(|place| self.draft.seconds(at(place))).sum();
        let n_guesses: usize = shares.iter().map(|share| share.n_guess).sum();
        self.draft.seconds(first) + later + n_guesses as f64 * self.draft.draw_seconds
    }

    fn speedup(&self) -> f64 {
        self.seconds_without / self.seconds
    }
}

/// Each guess is right with chance `p` after those before it were.
fn with_chance(seed: u64, p: f64) -> impl FnMut(usize, usize, usize) -> usize {
    move |index, token, n_drafted| {
        let at = ((index as u64) << 32) + token as u64;
        (0..n_drafted).take_while(|&i| uniform(seed, i as u32, at) < p).count()
    }
}

/// The speed-up of the best fixed depth for one sequence.
fn best_fixed(main: &StepCosts, draft: &DraftCosts, p: f64) -> f64 {
    let of = |depth: usize| {
        let n_tokens: f64 = (0..=depth).map(|i| p.powi(i as i32)).sum();
        let seconds = main.seconds(1 + depth) + depth as f64 * draft.seconds(1);
        n_tokens * main.seconds(1) / seconds
    };
    (0..STEP_TOKENS_MAX - 3).map(of).fold(0.0, f64::max)
}

#[test]
fn a_good_draft_model_is_used() {
    for (ratio, slope, p) in
        [(0.1, 0.05, 0.8), (0.1, 0.1, 0.7), (0.05, 0.02, 0.9), (0.2, 0.05, 0.9)]
    {
        for seed in 0..5 {
            let (main, draft) = (linear(0.02, slope), drafter(ratio, 0.02));
            let best = best_fixed(&main, &draft, p);
            let mut run = Run::new(main, draft);
            run.together(1, 100, 3000, with_chance(seed, p));
            let speedup = run.speedup();
            assert!(
                speedup > 0.9 * best && best > 1.2,
                "ratio {ratio}, p {p}: {speedup} of {best}"
            );
        }
    }
}

#[test]
fn one_pass_of_the_draft_model_serves_all() {
    // For one of four alone, a pass would cost a third of a step and gain a quarter of its tokens.
    let mut run = Run::new(linear(0.02, 0.02), drafter(0.33, 0.02));
    run.together(4, 50, 2000, with_chance(3, 0.9));
    assert!(run.speedup() > 1.35, "{}", run.speedup());
}

#[test]
fn nothing_is_drafted_where_it_cannot_pay() {
    for (ratio, slope, count) in [(1.0, 0.01, 1), (0.1, 1.0, 1), (0.1, 0.05, STEP_TOKENS_MAX)] {
        let mut run = Run::new(linear(0.02, slope), drafter(ratio, 0.01));
        run.together(count, 200, 500, with_chance(1, 0.99));
        assert_eq!((run.n_drafted, run.n_computed), (0, 0), "ratio {ratio}, slope {slope}");
    }
}

#[test]
fn a_bad_draft_model_costs_two_percent_and_what_prompts_pay() {
    type Rule = fn(usize, usize, usize) -> usize;
    let rules: [(&str, Rule); 5] = [
        ("none", |_, _, _| 0),
        ("one of each", |_, _, n| n.min(1)),
        ("short ones only", |_, _, n| if n <= 1 { n } else { 0 }),
        ("good, then bad", |_, token, n| if token < 200 { n } else { 0 }),
        ("in turns of 50", |_, token, n| if token / 50 % 2 == 0 { n } else { 0 }),
    ];
    for (name, rule) in rules {
        for (ratio, slope) in [(0.05, 0.02), (0.2, 0.05), (0.5, 0.2), (0.9, 0.5)] {
            for (count, n_prompt) in [(1, 60), (4, 60), (1, 4000), (8, 300)] {
                let mut run = Run::new(linear(0.02, slope), drafter(ratio, 0.02));
                run.together(count, n_prompt, 1000, rule);
                let bound = 1.02 * run.seconds_without + run.prompt_seconds / 8.0;
                assert!(run.seconds <= bound, "{name}, ratio {ratio}, {count} of {n_prompt}");
            }
        }
    }
}

#[test]
fn losses_are_bounded_whatever_is_accepted() {
    for case in 0..300u64 {
        let of = |i: u64| uniform(case, 1, i);
        let measured: Vec<f64> =
            (0..STEP_TOKENS_MAX as u64).map(|t| 0.001 + of(t) * 0.01).collect();
        let main = StepCosts::new(&measured).unwrap();
        let fast: Vec<f64> =
            (0..STEP_TOKENS_MAX as u64).map(|t| 0.0002 + of(50 + t) * 0.004).collect();
        let draft = DraftCosts::new(StepCosts::new(&fast).unwrap(), of(99) * 0.02, of(98) * 0.001);
        let mut run = Run::new(main, draft);
        for round in 0..1 + (of(20) * 4.0) as u64 {
            let n_tokens = 50 + (of(21 + round) * 400.0) as usize;
            let n_prompt = 1 + (of(31 + round) * 600.0) as usize;
            let count = 1 + (of(41 + round) * 9.0) as usize;
            run.together(count, n_prompt, n_tokens, |index, token, n_drafted| {
                (uniform(case, index as u32, token as u64) * (n_drafted + 1) as f64) as usize
            });
        }
        // A step without is one of at most all who decode, and of no lookups here.
        let step = run.main.seconds(10);
        let bound = (2.0 + 0.01 * run.n_steps as f64) * step + run.prompt_seconds / 8.0;
        let lost = run.seconds - run.seconds_without;
        assert!(lost <= bound + 1e-9, "case {case}: {lost} of {bound}");
    }
}

#[test]
fn what_was_bad_is_tried_again() {
    let mut run = Run::new(linear(0.02, 0.05), drafter(0.1, 0.02));
    run.together(1, 50, 2000, |_, _, _| 0);
    let n_bad = run.n_drafted;
    let mut later = Run { seconds: 0.0, seconds_without: 0.0, n_drafted: 0, ..run };
    later.together(1, 50, 3000, with_chance(4, 0.9));
    assert!(n_bad < 200 && later.speedup() > 1.3, "{n_bad}, {}", later.speedup());
}

#[test]
fn lookup_goes_first_where_it_is_better() {
    let controller = JointController::default();
    let (main, draft) = (linear(0.02, 0.02), drafter(0.1, 0.02));
    let prospect = |n_lookup, lookup_gain| Prospect {
        n_lookup,
        lookup_gain,
        behind: Some(1),
        n_left: 100,
        is_greedy: true,
        acceptance: Acceptance::default(),
    };
    let choice = controller.choose(&main, &draft, &[prospect(2, 1.95), prospect(0, 0.0)]);
    assert_eq!(choice.shares[0], Share::default());
    assert!(choice.shares[1].n_guess > 0 && choice.shares[1].n_compute == 1);
    let poor = controller.choose(&main, &draft, &[prospect(2, 0.2)]);
    assert!(poor.shares[0].n_guess > 0);
}

#[test]
fn prompts_are_computed_where_enough_is_left() {
    let (main, draft) = (linear(0.02, 0.05), drafter(0.1, 0.02));
    let mut controller = JointController::default();
    let prospect = |behind, n_left| Prospect {
        n_lookup: 0,
        lookup_gain: 0.0,
        behind,
        n_left,
        is_greedy: false,
        acceptance: Acceptance::default(),
    };
    let long = [prospect(Some(1000), 500)];
    let begun = controller.choose(&main, &draft, &long).shares[0];
    assert_eq!(begun, Share::default(), "the credit does not pay to the end");
    controller.observe_prompts(&main, 1000);
    let shares = |prospects: &[Prospect]| controller.choose(&main, &draft, prospects).shares;
    let computed = |prospects: &[Prospect]| -> Vec<usize> {
        shares(prospects).iter().map(|share| share.n_compute).collect()
    };
    assert_eq!(computed(&[prospect(Some(40), 200)]), [39]);
    assert_eq!(computed(&long), [CATCH_UP_TOKENS]);
    assert_eq!(computed(&[prospect(Some(1000), 3)]), [0], "three tokens pay for no prompt");
    assert_eq!(computed(&[prospect(None, 500)]), [0]);
    assert_eq!(computed(&[prospect(Some(30), 500), prospect(Some(90), 500)]), [29, 35]);
    // Who is ready is guessed for meanwhile.
    let both = shares(&[prospect(Some(READY_MAX), 500), prospect(Some(90), 500)]);
    assert!(both[0].n_guess > 0 && both[1].n_guess == 0 && both[1].n_compute > 0);
    // Nothing is chosen for nobody, and for more than costs are known for.
    assert!(shares(&[]).is_empty());
    assert_eq!(computed(&[prospect(Some(1), 500); 40]), [0; 40]);
}

#[test]
fn costs_between_and_beyond_are_on_lines() {
    let costs = DraftCosts::new(linear(1.0, 0.0), 3.0, 0.0);
    assert_eq!([0, 1, 16, 24, 32, 64].map(|n| costs.seconds(n)), [0.0, 1.0, 1.0, 2.0, 3.0, 6.0]);
    // What noise says of a block is never less than what a part of it takes.
    for noise in [0.5, f64::NAN] {
        assert_eq!(DraftCosts::new(linear(1.0, 0.0), noise, noise).seconds(BLOCK_TOKENS), 1.0);
    }
}
