//! Simulations: sequences whose drafts are accepted by seeded rules, with the costs of a machine.

use super::{Controller, CostError, STEP_TOKENS_MAX, StepCosts};
use crate::philox::uniform;

/// The longest draft that is asked for.
const DRAFT_MAX: usize = 12;

/// Costs that rise by `slope` of a single token's for each further one.
fn linear(slope: f64) -> StepCosts {
    let measured: Vec<f64> =
        (0..STEP_TOKENS_MAX).map(|t| 0.02 * (1.0 + slope * t as f64)).collect();
    StepCosts::new(&measured).unwrap()
}

struct Outcome {
    /// Tokens for each second, over those without drafts.
    speedup: f64,
    n_steps: usize,
    n_drafted: usize,
    /// Time beyond that without drafts, in steps; negative where it was faster.
    lost_steps: f64,
}

/// Runs one sequence of `n_tokens`. `matches` gives the match length at a token, `accepted` how
/// many of a draft's tokens are accepted there.
fn simulate(
    controller: &mut Controller,
    costs: &StepCosts,
    n_tokens: usize,
    matches: impl Fn(usize) -> usize,
    mut accepted: impl FnMut(usize, usize) -> usize,
) -> Outcome {
    let (mut token, mut steps, mut n_steps, mut n_drafted) = (0, 0.0, 0, 0);
    while token < n_tokens {
        let match_len = matches(token);
        let drafted = controller.choose(costs, 0, match_len, DRAFT_MAX);
        assert!(drafted <= DRAFT_MAX && (match_len > 0 || drafted == 0));
        let n_accepted = if drafted > 0 { accepted(token, drafted) } else { 0 };
        assert!(n_accepted <= drafted);
        controller.observe(costs, 0, match_len, drafted, n_accepted);
        steps += 1.0 + costs.extra(0, drafted);
        token += 1 + n_accepted;
        n_steps += 1;
        n_drafted += drafted;
    }
    let lost_steps = steps - token as f64;
    Outcome { speedup: token as f64 / steps, n_steps, n_drafted, lost_steps }
}

/// Each draft token is accepted with chance `p` after those before it were.
fn with_chance(seed: u64, p: f64) -> impl FnMut(usize, usize) -> usize {
    move |token, n_drafted| {
        let is_accepted = |i: usize| uniform(seed, i as u32, token as u64) < p;
        (0..n_drafted).take_while(|&i| is_accepted(i)).count()
    }
}

/// The speed-up of the best fixed length.
fn best_fixed(costs: &StepCosts, p: f64) -> f64 {
    let of = |length: usize| {
        let n_tokens: f64 = (0..=length).map(|i| p.powi(i as i32)).sum();
        n_tokens / (1.0 + costs.extra(0, length))
    };
    (0..=DRAFT_MAX).map(of).fold(0.0, f64::max)
}

#[test]
fn high_acceptance_is_used() {
    for (slope, p) in [(0.02, 0.9), (0.05, 0.9), (0.1, 0.8), (0.2, 0.8), (0.05, 0.6), (0.4, 0.95)] {
        for seed in 0..5 {
            let mut controller = Controller::default();
            let costs = linear(slope);
            let outcome = simulate(&mut controller, &costs, 3000, |_| 5, with_chance(seed, p));
            let best = best_fixed(&costs, p);
            // 3,000 tokens: some for learning, and the spread of what is accepted.
            assert!(
                outcome.speedup > 0.9 * best,
                "slope {slope}, p {p}: {} of {best}",
                outcome.speedup
            );
        }
    }
}

#[test]
fn nothing_is_drafted_where_it_cannot_pay() {
    // A second token costs as much as the first.
    let mut controller = Controller::default();
    let outcome = simulate(&mut controller, &linear(1.0), 2000, |_| 40, with_chance(1, 0.99));
    assert_eq!(outcome.n_drafted, 0);
}

#[test]
fn no_acceptance_and_no_hostility_costs_two_percent() {
    type Rule = fn(usize, usize) -> usize;
    let rules: [(&str, Rule); 6] = [
        ("none", |_, _| 0),
        ("short ones only", |_, n_drafted| if n_drafted <= 1 { n_drafted } else { 0 }),
        ("good, then bad", |token, n_drafted| if token < 200 { n_drafted } else { 0 }),
        ("in turns of 50", |token, n_drafted| if token / 50 % 2 == 0 { n_drafted } else { 0 }),
        ("in turns of 7", |token, n_drafted| if token / 7 % 2 == 0 { n_drafted } else { 0 }),
        ("one of each", |_, n_drafted| n_drafted.min(1)),
    ];
    for slope in [0.01, 0.05, 0.1, 0.3, 0.7, 1.0] {
        for (name, rule) in rules {
            for match_len in [2, 5, 64] {
                for n_tokens in [250, 1000, 4000] {
                    let mut controller = Controller::default();
                    let costs = linear(slope);
                    let outcome = simulate(&mut controller, &costs, n_tokens, |_| match_len, rule);
                    let speedup = outcome.speedup;
                    assert!(speedup >= 0.98, "{name}, slope {slope}: {speedup}");
                }
            }
        }
    }
}

#[test]
fn losses_are_bounded_whatever_is_accepted() {
    for case in 0..400u64 {
        let of = |i: u64| uniform(case, 1, i);
        let measured: Vec<f64> =
            (0..STEP_TOKENS_MAX as u64).map(|t| 0.001 + of(t) * 0.01).collect();
        let costs = StepCosts::new(&measured).unwrap();
        let mut controller = Controller::default();
        let n_tokens = 50 + (of(20) * 900.0) as usize;
        let matches = |token: usize| (uniform(case, 2, token as u64) * 40.0) as usize;
        let outcome = simulate(&mut controller, &costs, n_tokens, matches, |token, n_drafted| {
            (uniform(case, 3, token as u64) * (n_drafted + 1) as f64) as usize
        });
        let bound = 2.0 + 0.01 * outcome.n_steps as f64;
        // Sums of some hundred shares, each rounded to 1e-16.
        assert!(outcome.lost_steps <= bound + 1e-9, "case {case}: {}", outcome.lost_steps);
    }
}

#[test]
fn what_was_bad_is_tried_again() {
    let costs = linear(0.05);
    let mut controller = Controller::default();
    let bad = simulate(&mut controller, &costs, 2000, |_| 5, |_, _| 0);
    assert!(bad.speedup > 0.98);
    let good = simulate(&mut controller, &costs, 3000, |_| 5, with_chance(4, 0.9));
    assert!(good.speedup > 0.6 * best_fixed(&costs, 0.9), "{}", good.speedup);
}

#[test]
fn match_lengths_are_learned_apart() {
    // Short matches are worth nothing, long ones everything.
    let costs = linear(0.1);
    let mut controller = Controller::default();
    let matches = |token: usize| [2, 20][token % 2];
    let outcome = simulate(&mut controller, &costs, 2000, matches, |token, n_drafted| {
        n_drafted * (token % 2)
    });
    assert!(outcome.speedup > 1.5, "{}", outcome.speedup);
    assert_eq!(controller.choose(&costs, 0, 2, DRAFT_MAX), 0);
    assert!(controller.choose(&costs, 0, 20, DRAFT_MAX) >= 8);
}

#[test]
fn drafts_fit_beside_the_others() {
    let controller = Controller::default();
    let costs = linear(0.0);
    assert_eq!(controller.choose(&costs, 0, 64, 100), STEP_TOKENS_MAX - 1);
    assert_eq!(controller.choose(&costs, 10, 64, 100), 5);
    assert_eq!(controller.choose(&costs, 15, 64, 100), 0);
    assert_eq!(controller.choose(&costs, usize::MAX, 64, 100), 0);
    assert_eq!(controller.choose(&costs, 0, 64, 0), 0);
    let mut controller = controller;
    // Beyond the table nothing is drafted, and being told so is no harm.
    controller.observe(&costs, 100, 2, 0, 0);
    assert_eq!(controller.choose(&costs, 0, 64, 3), 3);
}

#[test]
fn costs_that_are_none_are_refused() {
    assert_eq!(StepCosts::new(&[]), Err(CostError::Count { got: 0 }));
    assert_eq!(StepCosts::new(&[1.0; 17]), Err(CostError::Count { got: 17 }));
    for bad in [0.0, -1.0, f64::INFINITY] {
        let refused = StepCosts::new(&[1.0, bad]);
        assert_eq!(refused, Err(CostError::NotPositive { tokens: 2, seconds: bad }));
    }
    assert!(StepCosts::new(&[f64::NAN]).is_err());
    // A dearer shorter step counts.
    assert_eq!(StepCosts::new(&[2.0, 1.0, 3.0]), StepCosts::new(&[2.0, 2.0, 3.0]));
}
