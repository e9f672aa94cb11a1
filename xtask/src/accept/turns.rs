//! Runs of several programs in turns, so that a machine's moods hit all alike, and the table of them.

use super::peer::Peer;
use super::{Context, median};
use anyhow::Result;
use std::fmt::Write as _;

/// What one program is asked to do in one turn: a number for each measure. No peer is Freehold.
pub(super) type Turn<'a> = dyn FnMut(Option<&Peer>) -> Result<Vec<f64>> + 'a;

/// The lines of a table: what was run, and all runs of each program.
#[derive(Default)]
pub(super) struct Table {
    rows: String,
    pub(super) missed: Vec<String>,
}

impl Table {
    /// Runs every program `context.rounds` times, each round beginning with another one, and
    /// adds a row for each of `measures`.
    pub(super) fn add(
        &mut self,
        context: &Context,
        file: &str,
        measures: &[&str],
        turn: &mut Turn<'_>,
    ) -> Result<()> {
        let programs = 1 + context.peers.len();
        // By measure, then by program, Freehold first.
        let mut found = vec![vec![Vec::new(); programs]; measures.len()];
        for round in 0..context.rounds {
            for place in 0..programs {
                let program = (round + place) % programs;
                let peer = program.checked_sub(1).map(|peer| &context.peers[peer]);
                let numbers = turn(peer)?;
                let mut line = format!("{file} {}:", peer.map_or("freehold", |peer| &peer.name));
                for ((runs, number), measure) in found.iter_mut().zip(numbers).zip(measures) {
                    runs[program].push(number);
                    let _ = write!(line, " {measure} {number:.1},");
                }
                eprintln!("{} tokens/s", line.trim_end_matches(','));
            }
        }
        for (measure, runs) in measures.iter().zip(&found) {
            self.row(context, file, measure, runs);
        }
        Ok(())
    }

    /// One line: `runs` of each program.
    fn row(&mut self, context: &Context, file: &str, measure: &str, runs: &[Vec<f64>]) {
        let _ = write!(self.rows, "| {file} | {measure} | {} |", spread(&runs[0]));
        for peer in &runs[1..] {
            let ratio = median(&runs[0]) / median(peer);
            let _ = write!(self.rows, " {} | **{ratio:.2}** |", spread(peer));
        }
        self.rows.push('\n');
        let Some(bar) = context.peers.first() else { return };
        let ratio = median(&runs[0]) / median(&runs[1]);
        if ratio < 1.0 {
            self.missed.push(format!("{file}: {measure} is {ratio:.2} × {}", bar.name));
        }
    }

    /// The table after a line that says how it was made.
    pub(super) fn markdown(&self, context: &Context, isa: &str, about: &str) -> String {
        let mut head = "| file | measure | Freehold |".to_owned();
        let mut line = "|---|---|---|".to_owned();
        for peer in &context.peers {
            let _ = write!(head, " {} | ratio |", peer.shown());
            line.push_str("---|---|");
        }
        let alone =
            if context.peers.is_empty() { "No peer was there to compare with.\n" } else { "" };
        format!(
            "Tokens per second: the median of {} runs in turns, and their range; {} threads, {about}.\n\
             Freehold ran its {isa} kernels.\n{alone}\n{head}\n{line}\n{}",
            context.rounds, context.threads, self.rows
        )
    }
}

/// The median and the range.
pub(super) fn spread(values: &[f64]) -> String {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(0.0, f64::max);
    format!("{:.1} ({low:.1} to {high:.1})", median(values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_ratio_of_medians() {
        let folder = tempfile::tempdir().expect("a folder");
        let bench = folder.path().join("llama-bench");
        std::fs::write(&bench, "").expect("writes");
        let mut context = Context::for_tests();
        context.peers.push(Peer::parse(&format!("p={}", bench.display())).expect("a peer"));
        context.rounds = 3;
        let mut ours = [30.0, 20.0, 90.0].into_iter();
        let mut theirs = [10.0, 20.0, 50.0].into_iter();
        let mut table = Table::default();
        let mut turn = |peer: Option<&Peer>| {
            let runs = if peer.is_some() { &mut theirs } else { &mut ours };
            Ok(vec![runs.next().expect("three rounds")])
        };
        table.add(&context, "f", &["decode 64"], &mut turn).expect("runs");
        assert_eq!(
            table.rows,
            "| f | decode 64 | 30.0 (20.0 to 90.0) | 20.0 (10.0 to 50.0) | **1.50** |\n"
        );
        assert!(table.missed.is_empty());
        table.row(&context, "f", "prefill", &[vec![1.0], vec![2.0]]);
        assert_eq!(table.missed, ["f: prefill is 0.50 × p"]);
    }
}
