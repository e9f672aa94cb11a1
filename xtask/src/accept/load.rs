//! A server under a fixed workload: how long it takes as a whole, and how soon answers begin,
//! beside the `llama-server` of the first peer.

use super::server::{Job, NAME, Numbers, PORT, Server};
use super::turns::spread;
use super::{Context, Findings, file_name, median};
use anyhow::Result;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// Clients that ask at the same time, each with the next request when its last is answered, and
/// the requests they ask in all.
const LEVELS: [(usize, usize); 4] = [(1, 12), (4, 24), (16, 48), (64, 96)];
/// Tokens that every second request begins with.
const SHARED: usize = 1_000;
/// Own tokens of a prompt, and tokens of an answer.
const OWN: std::ops::Range<usize> = 20..300;
const ANSWER: std::ops::Range<usize> = 8..96;
/// Tokens of the longest request, rounded up.
const LONGEST: usize = 1_536;
const ROUNDS_MAX: usize = 3;
/// A level of which the runs so far took longer is not measured again.
const ROUND_SECONDS_MAX: f64 = 200.0;

pub(super) fn run(context: &Context) -> Result<Findings> {
    let mut found = Findings::default();
    let _ = writeln!(
        found.markdown,
        "A fixed workload of completions by streaming clients, each asking its next request when the last is answered: \
         prompts of {} to {} own tokens, every second one after the same {SHARED}, answers of {} to {} tokens.\n\
         Wall seconds for all of it, and the 95th percentile of the time to the first token: the median of {} runs in turns, and their range (fewer where they took more than {ROUND_SECONDS_MAX} s together); {} threads.\n",
        OWN.start,
        OWN.end - 1,
        ANSWER.start,
        ANSWER.end - 1,
        rounds(context),
        context.threads
    );
    found.markdown.push_str("| file | clients | measure | Freehold | llama-server | ratio |\n|---|---|---|---|---|---|\n");
    for file in [context.smollm2()?, context.random_qwen3("Q4_K_M")?] {
        if context.wants(&file_name(&file)) {
            for (clients, count) in LEVELS {
                level(context, &file, clients, count, &mut found)?;
            }
        }
    }
    Ok(found)
}

fn rounds(context: &Context) -> usize {
    context.rounds.min(ROUNDS_MAX)
}

/// One row for each measure; the ratio is above 1 where Freehold is faster.
fn level(
    context: &Context,
    file: &Path,
    clients: usize,
    count: usize,
    found: &mut Findings,
) -> Result<()> {
    let jobs = jobs(count);
    let name = file_name(file);
    let peer = context.peers.first().and_then(|peer| peer.tool("llama-server"));
    let (mut walls, mut firsts) = ([vec![], vec![]], [vec![], vec![]]);
    for round in 0..rounds(context) {
        for place in 0..2 {
            let side = (round + place) % 2;
            let server = match (side, &peer) {
                (0, _) => freehold(context, file, clients),
                (_, Some(program)) => llama(program, file, clients, context.threads),
                (_, None) => continue,
            };
            let run = Server::start(server)?.work(clients, &jobs)?;
            let first = percentile(&run.first_tokens, 0.95);
            let who = ["freehold", "llama-server"][side];
            eprintln!(
                "{name}, {clients} clients, {who}: {:.1} s, first token {first:.2} s (p95)",
                run.wall_seconds
            );
            walls[side].push(run.wall_seconds);
            firsts[side].push(first);
        }
        if walls.iter().flatten().sum::<f64>() > ROUND_SECONDS_MAX {
            break;
        }
    }
    for (measure, [own, other], goal) in [
        ("wall, s", &walls, if clients == 1 { 1.6 } else { 2.0 }),
        ("first token p95, s", &firsts, 1.0 / 0.6),
    ] {
        let row = format!("| {name} | {clients} | {measure} | {} |", spread(own));
        if other.is_empty() {
            let _ = writeln!(found.markdown, "{row} – | – |");
            continue;
        }
        let ratio = median(other) / median(own);
        let _ = writeln!(found.markdown, "{row} {} | **{ratio:.2}** |", spread(other));
        if ratio < goal {
            let what =
                format!("{name}, {clients} clients: {measure}: {ratio:.2}, wanted {goal:.2}");
            found.missed.push(what);
        }
    }
    Ok(())
}

fn freehold(context: &Context, file: &Path, clients: usize) -> Command {
    let mut command = context.serve(file, clients);
    command.args(["--context", &LONGEST.to_string()]);
    command
}

/// Its prompt cache is on unless it is turned off.
fn llama(program: &Path, file: &Path, clients: usize, threads: usize) -> Command {
    let mut command = Command::new(program);
    command.arg("-m").arg(file).args(["--port", &PORT.to_string()]);
    command.args([
        "--alias",
        NAME,
        "-np",
        &clients.to_string(),
        "-c",
        &(clients * LONGEST).to_string(),
    ]);
    command.args(["-t", &threads.to_string(), "-tb", &threads.to_string(), "--no-webui"]);
    command
}

/// The same for every run.
fn jobs(count: usize) -> Vec<Job> {
    let mut numbers = Numbers::new();
    let shared = numbers.tokens(SHARED);
    let job = |index: usize| {
        let mut prompt = if index.is_multiple_of(2) { shared.clone() } else { Vec::new() };
        let own = numbers.within(&OWN);
        prompt.extend(numbers.tokens(own));
        Job { prompt, answer: numbers.within(&ANSWER) }
    };
    (0..count).map(job).collect()
}

/// The value that `share` of all do not exceed.
fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workload_is_always_the_same_and_half_of_it_shares() {
        let (one, two) = (jobs(10), jobs(10));
        assert!(one.iter().zip(&two).all(|(a, b)| a.prompt == b.prompt && a.answer == b.answer));
        assert!(one.iter().all(|job| job.prompt.len() + job.answer <= LONGEST));
        let shared = &one[0].prompt[..SHARED];
        assert!(one.iter().step_by(2).all(|job| job.prompt.starts_with(shared)));
        assert!(one[1].prompt.len() < SHARED);
    }

    #[test]
    fn percentiles_are_of_the_values() {
        assert_eq!(percentile(&[3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(percentile(&[3.0, 1.0, 2.0], 0.95), 3.0);
    }
}
