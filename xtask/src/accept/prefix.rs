//! What a long shared prefix costs those who come after the first, one after another and at once.

use super::server::{Job, Numbers, Server};
use super::{Context, Findings, file_name, median};
use anyhow::Result;
use std::fmt::Write as _;

/// Tokens that all begin with, own tokens of each, and requests.
const SHARED: usize = 4_000;
const OWN: usize = 40;
const REQUESTS: usize = 64;
const CONTEXT: usize = 4_608;
/// The first token may take this share of the first request's.
const LATER_MAX: f64 = 0.03;
/// All at once may take this much of what their own work takes one after another.
const AT_ONCE_MAX: f64 = 1.3;

pub(super) fn run(context: &Context) -> Result<Findings> {
    let file = context.smollm2()?;
    let start = |clients: usize| {
        let mut command = context.serve(&file, clients);
        command.args(["--context", &CONTEXT.to_string()]);
        Server::start(command)
    };
    let mut numbers = Numbers::new();
    let shared = numbers.tokens(SHARED);
    let jobs: Vec<Job> = (0..REQUESTS)
        .map(|_| Job { prompt: [shared.clone(), numbers.tokens(OWN)].concat(), answer: 1 })
        .collect();
    let alone = start(1)?.work(1, &jobs)?.first_tokens;
    let (cold, later) = (alone[0], median(&alone[1..]));
    let at_once = start(REQUESTS)?.work(REQUESTS, &jobs)?.wall_seconds;
    let own = cold + (REQUESTS - 1) as f64 * later;
    let (share, ratio) = (later / cold, at_once / own);
    let mut found = Findings::default();
    let _ = writeln!(
        found.markdown,
        "{}, {} threads: {REQUESTS} requests, each the same {SHARED} tokens and {OWN} of its own, one token asked for.\n\
         One after another: {cold:.2} s to the first token of the first, {later:.4} s (median) of the others, {:.1} % of it (the limit is {:.0} %).\n\
         All at once: {at_once:.1} s, {ratio:.2} × the {own:.1} s that their own work takes one after another (the limit is {AT_ONCE_MAX} ×).",
        file_name(&file),
        context.threads,
        share * 100.0,
        LATER_MAX * 100.0
    );
    if share > LATER_MAX {
        found.missed.push(format!("a later first token takes {:.1} % of the first", share * 100.0));
    }
    if ratio > AT_ONCE_MAX {
        found.missed.push(format!("all at once take {ratio:.2} × their own work"));
    }
    Ok(found)
}
