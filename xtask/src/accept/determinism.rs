//! Whether a token's logits depend on its company, on whole models: the example `determinism`
//! of the crate `model` asks, and this sums up what it found.

use super::{Context, Findings, file_name};
use crate::shell;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;

const EXAMPLE: [&str; 7] =
    ["run", "--release", "--quiet", "--package", "model", "--example", "determinism"];
const RANDOM_MIXES: [&str; 2] = ["Q4_K_M", "Q8_0"];

/// What is true of all the models.
const HEAD: &str = "\
Logits are compared bit for bit, row by row, with one computation of the same tokens: chunks of 512 on 2 threads, a sequence of a batch alone.
Quantized activations, KV cache in f16; the random models have 28 layers at Qwen3-0.6B's shape.
The digest is of all logits of the long sequence: another machine or instruction set should find the same.

";

pub(super) fn run(context: &Context) -> Result<Findings> {
    let mut found = Findings { markdown: HEAD.to_owned(), missed: Vec::new() };
    let mut files = Vec::new();
    for mix in RANDOM_MIXES.into_iter().filter(|mix| context.wants(mix)) {
        files.push(context.random_qwen3(mix)?);
    }
    if context.wants("smollm2-Q4_1") {
        files.push(context.smollm2()?);
    }
    for file in files {
        let name = file_name(&file);
        let lines = ask(&file).with_context(|| name.clone())?;
        sum_up(&name, &lines, &mut found)?;
    }
    Ok(found)
}

/// The lines that the example prints.
fn ask(file: &Path) -> Result<Vec<Value>> {
    let text = shell::output(shell::cargo(&EXAMPLE).arg("--").arg(file))?;
    let lines = text.lines().map(|line| serde_json::from_str(line).context("no JSON"));
    lines.collect()
}

/// A table for one file, and what it missed.
fn sum_up(name: &str, lines: &[Value], found: &mut Findings) -> Result<()> {
    let (first, checks) = lines.split_first().context("the example printed nothing")?;
    let text = |line: &Value, key: &str| {
        line[key].as_str().map(str::to_owned).with_context(|| format!("no {key} in {line}"))
    };
    let number =
        |line: &Value, key: &str| line[key].as_f64().with_context(|| format!("no {key} in {line}"));
    let mut seconds = number(first, "seconds")?;
    let mut rows = String::new();
    for check in checks {
        let what = text(check, "check")?;
        let (compared, differing) = (number(check, "rows")?, number(check, "differing")?);
        let _ = writeln!(rows, "| {what} | {compared} | {differing} |");
        if differing > 0.0 {
            found.missed.push(format!("{name}: {what}: {differing} of {compared} rows differ"));
        }
        seconds += number(check, "seconds")?;
    }
    let _ = write!(
        found.markdown,
        "{name}, {} kernels, {} tokens with the digest {}, {seconds:.0} s in all:\n\n\
         | what varies | rows | differ |\n|---|---|---|\n{rows}\n",
        text(first, "isa")?,
        number(first, "rows")?,
        text(first, "digest")?
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_that_differ_are_missed() {
        let lines = [
            json!({"isa": "avx2", "digest": "0f", "rows": 4224, "seconds": 30.0}),
            json!({"check": "640 tokens, chunks of 7, threads: 1", "rows": 640, "differing": 0, "seconds": 1.0}),
            json!({"check": "batches", "rows": 99, "differing": 2, "seconds": 2.0}),
        ];
        let mut found = Findings::default();
        sum_up("m.gguf", &lines, &mut found).expect("valid");
        assert_eq!(found.missed, ["m.gguf: batches: 2 of 99 rows differ"]);
        assert!(
            found
                .markdown
                .starts_with("m.gguf, avx2 kernels, 4224 tokens with the digest 0f, 33 s")
        );
        assert!(
            found.markdown.contains(
                "| 640 tokens, chunks of 7, threads: 1 | 640 | 0 |\n| batches | 99 | 2 |\n"
            )
        );
        assert!(sum_up("m.gguf", &[], &mut found).is_err());
    }
}
