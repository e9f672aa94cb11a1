//! Whether anything that a request may meet changes a bit of its answer, on whole models: a test
//! of the crate `engine` asks, here with more others and on larger models.

use super::{Context, Findings, file_name};
use crate::shell;
use anyhow::{Context as _, Result};
use std::fmt::Write as _;

const TEST: [&str; 8] =
    ["test", "--release", "--quiet", "--package", "engine", "--test", "engine", "equality"];
const OTHERS: usize = 56;

/// What is true of all the models.
const HEAD: &str = "\
Eight requests of different kinds (greedy and drawn, with penalties, with two adapters, one with the log-probabilities of its prompt) \
are compared, each alone with the same among 56 others, half of them behind a common prefix: text and log-probabilities, bit for bit.
The numbers show that what is named did happen.

";

pub(super) fn run(context: &Context) -> Result<Findings> {
    let mut found = Findings { markdown: HEAD.to_owned(), missed: Vec::new() };
    found.markdown.push_str(
        "| file | what is met | prompt tokens from the cache, of these from a store | drafted, accepted | preempted | blocks given up |\n|---|---|---|---|---|---|\n",
    );
    for file in [context.smollm2()?, context.random_qwen3("Q4_K_M")?] {
        let name = file_name(&file);
        if !context.wants(&name) {
            continue;
        }
        let mut test = shell::cargo(&TEST);
        test.args(["--", "--nocapture"]).env("FREEHOLD_EQUALITY_MODEL", &file);
        test.env("FREEHOLD_EQUALITY_OTHERS", OTHERS.to_string());
        let text = shell::output_and_errors(&mut test).with_context(|| name.clone())?;
        let rows: Vec<String> = text.lines().filter_map(|line| row(&name, line)).collect();
        if rows.is_empty() {
            found.missed.push(format!("{name}: nothing was compared"));
        }
        for row in rows {
            let _ = writeln!(found.markdown, "{row}");
        }
    }
    Ok(found)
}

/// A row of the table from a line such as `equality: warm: Stats { admitted: 64, … }`.
fn row(file: &str, line: &str) -> Option<String> {
    let (what, stats) = line.split_once("equality: ")?.1.split_once(": Stats {")?;
    let number = |name: &str| {
        let rest = stats.split_once(&format!(" {name}: "))?.1;
        rest.split(|c: char| !c.is_ascii_digit()).next()
    };
    let (cached, loaded) = (number("cached_tokens")?, number("loaded_tokens")?);
    let (drafted, accepted) = (number("drafted_tokens")?, number("accepted_tokens")?);
    let (preempted, evicted) = (number("preempted")?, number("evicted_blocks")?);
    Some(format!(
        "| {file} | {what} | {cached}, {loaded} | {drafted}, {accepted} | {preempted} | {evicted} |"
    ))
}

#[cfg(test)]
mod tests {
    use super::row;

    #[test]
    fn a_row_is_read_from_what_the_test_prints() {
        let line = "equality: warm: Stats { admitted: 64, preempted: 3, prefill_tokens: 9, decode_tokens: 8, cached_tokens: 7, drafted_tokens: 6, accepted_tokens: 5, evicted_blocks: 4, saved_blocks: 2, loaded_tokens: 1 }";
        assert_eq!(row("f", line).as_deref(), Some("| f | warm | 7, 1 | 6, 5 | 3 | 4 |"));
        assert_eq!(row("f", "test result: ok"), None);
    }
}
