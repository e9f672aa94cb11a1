//! Embedding through HTTP beside the same model in transformers on torch, in turns: texts in a
//! second, and how far the vectors are from each other.
//!
//! Both compute in f32 and sum the same products in another order. A component of a vector of
//! length 1 has an f32 spacing of at most 2⁻²⁴; six layers of some dozen roundings each stay far
//! below 1e-5, which is the limit.

use super::server::{self, Server};
use super::turns::spread;
use super::{Context, Findings, median};
use crate::minilm;
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;
use testkit::packages;

const PACKAGES: [&str; 2] = ["torch>=2.8", "transformers>=5,<6"];
/// Words of each text, and how many texts there are.
const SHAPES: [(usize, usize); 4] = [(12, 1), (12, 256), (48, 128), (150, 64)];
/// Texts in a request, and in a forward of torch: the default of sentence-transformers.
const TOGETHER: usize = 32;
/// What a component of a vector may differ by.
const DIFFERENCE_MAX: f64 = 1e-5;
const WORDS: [&str; 24] = [
    "river", "the", "a", "stone", "over", "garden", "slowly", "and", "window", "under", "light",
    "of", "winter", "seven", "letters", "was", "returned", "to", "quiet", "harbour", "before",
    "engine", "paper", "through",
];

pub(super) fn run(context: &Context) -> Result<Findings> {
    let python = match &context.python {
        Some(python) => python.clone(),
        None => packages::python(&context.models.join("embed/python"), &PACKAGES)
            .context("needs Python 3")?,
    };
    let model = minilm::get()?;
    let server = Server::start(context.serve(&model, 1))?;
    let mut torch = Torch::start(&python, &model, context.threads)?;
    let mut found = Findings::default();
    let _ = writeln!(
        found.markdown,
        "all-MiniLM-L6-v2 in f32, {} threads each: `/v1/embeddings` with {TOGETHER} texts in a request, one after the other, HTTP and JSON included, beside transformers on torch with {TOGETHER} texts in a forward, texts of alike length together, tokenizing included.\n\
         Texts a second: medians of {} runs in turns, and their range; difference: the largest of a component; cosine: the lowest of a text's two vectors.\n\n\
         | words a text | texts | freehold | torch | freehold / torch | difference | cosine |\n\
         |---|---|---|---|---|---|---|",
        context.threads, context.rounds
    );
    for (words, count) in SHAPES {
        row(context, &server, &mut torch, (words, count), &mut found)?;
    }
    Ok(found)
}

fn row(
    context: &Context,
    server: &Server,
    torch: &mut Torch,
    (words, count): (usize, usize),
    found: &mut Findings,
) -> Result<()> {
    let texts = texts(words, count);
    // The first run of each pays for what it touches first.
    let (_, ours) = embed(server, &texts)?;
    let (_, theirs) = torch.embed(&texts)?;
    let apart = Apart::of(&ours, &theirs)?;
    let mut speeds = [vec![], vec![]];
    for round in 0..context.rounds {
        for place in 0..2 {
            let side = (round + place) % 2;
            let (seconds, vectors) = match side {
                0 => embed(server, &texts)?,
                _ => torch.embed(&texts)?,
            };
            // What is fast and other than before would be no figure.
            if side == 0 && vectors != ours {
                bail!("{count} texts of {words} words have other vectors than before");
            }
            speeds[side].push(count as f64 / seconds);
        }
    }
    let ratio = median(&speeds[0]) / median(&speeds[1]);
    let (ours, theirs) = (spread(&speeds[0]), spread(&speeds[1]));
    let Apart { difference, cosine } = apart;
    let row = format!(
        "| {words} | {count} | {ours} | {theirs} | {ratio:.2} | {difference:.1e} | {cosine:.7} |"
    );
    eprintln!("{row}");
    let _ = writeln!(found.markdown, "{row}");
    if difference > DIFFERENCE_MAX {
        found.missed.push(format!(
            "{count} texts of {words} words: a component is {difference:.1e} off, limit {DIFFERENCE_MAX:.0e}"
        ));
    }
    if ratio < 1.0 {
        found.missed.push(format!("{count} texts of {words} words: {ratio:.2} of torch's speed"));
    }
    Ok(())
}

/// So many different texts, their words from a fixed list and a number that no other has; every
/// fourth is half as long.
fn texts(words: usize, count: usize) -> Vec<String> {
    let mut numbers = server::Numbers::new();
    let mut text = |number: usize| {
        let n_words = if number % 4 == 3 { words / 2 } else { words };
        let picked = (1..n_words).map(|_| WORDS[numbers.within(&(0..WORDS.len()))]);
        let mut text = number.to_string();
        for word in picked {
            text.push(' ');
            text.push_str(word);
        }
        text
    };
    (0..count).map(&mut text).collect()
}

/// Seconds, and a vector for each text.
type Embedded = (f64, Vec<Vec<f64>>);

fn embed(server: &Server, texts: &[String]) -> Result<Embedded> {
    let mut vectors = Vec::with_capacity(texts.len());
    let begun = Instant::now();
    for part in texts.chunks(TOGETHER) {
        let body = json!({"model": server::NAME, "input": part, "encoding_format": "float"});
        let answer = server.post("/v1/embeddings", &body)?;
        if answer.status != 200 {
            bail!("status {}: {}", answer.status, answer.body);
        }
        let answer: Value = serde_json::from_str(&answer.body)?;
        let data = answer["data"].as_array().context("no data")?;
        for (index, one) in data.iter().enumerate() {
            if one["index"] != index {
                bail!("the vector {index} says it is {}", one["index"]);
            }
            vectors.push(vector(&one["embedding"])?);
        }
    }
    Ok((begun.elapsed().as_secs_f64(), vectors))
}

fn vector(value: &Value) -> Result<Vec<f64>> {
    let values = value.as_array().context("a vector is no list")?;
    values.iter().map(|value| value.as_f64().context("a component is no number")).collect()
}

/// The other program; it ends with this value.
struct Torch {
    child: Child,
    texts: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Torch {
    fn start(python: &Path, model: &Path, threads: usize) -> Result<Torch> {
        let script = testkit::repository_root().join("xtask/src/accept/embed_torch.py");
        let mut command = Command::new(python);
        command.arg(script).arg(model).args([threads.to_string(), TOGETHER.to_string()]);
        // The model is files of this machine.
        command.env("HF_HUB_OFFLINE", "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child =
            command.spawn().with_context(|| format!("cannot start {}", python.display()))?;
        let texts = child.stdin.take().context("standard input was asked for")?;
        let answers = child.stdout.take().context("standard output was asked for")?;
        Ok(Torch { child, texts, answers: BufReader::new(answers) })
    }

    fn embed(&mut self, texts: &[String]) -> Result<Embedded> {
        writeln!(self.texts, "{}", json!(texts)).context("transformers ended")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let answer: Value = serde_json::from_str(&line).context("transformers gave no answer")?;
        let vectors = answer["vectors"].as_array().context("no vectors")?;
        let vectors: Result<_> = vectors.iter().map(vector).collect();
        Ok((answer["seconds"].as_f64().context("no seconds")?, vectors?))
    }
}

impl Drop for Torch {
    fn drop(&mut self) {
        // Already ended is as good as killed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// How far vectors are from each other.
#[derive(Debug, PartialEq)]
struct Apart {
    /// The largest of a component.
    difference: f64,
    /// The lowest of two vectors of a text.
    cosine: f64,
}

impl Apart {
    fn of(ours: &[Vec<f64>], theirs: &[Vec<f64>]) -> Result<Apart> {
        if ours.len() != theirs.len() || ours.is_empty() {
            bail!("{} vectors beside {}", ours.len(), theirs.len());
        }
        let mut apart = Apart { difference: 0.0, cosine: 1.0 };
        for (place, (a, b)) in ours.iter().zip(theirs).enumerate() {
            if a.len() != b.len() || a.is_empty() {
                bail!("vectors of text {place} have {} and {} components", a.len(), b.len());
            }
            let pairs = || a.iter().zip(b);
            let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let cosine = product(a, b) / (product(a, a) * product(b, b)).sqrt();
            if !cosine.is_finite() {
                bail!("a vector of text {place} is zero or not finite");
            }
            apart.difference = pairs().map(|(a, b)| (a - b).abs()).fold(apart.difference, f64::max);
            apart.cosine = apart.cosine.min(cosine);
        }
        Ok(apart)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_compared_by_component_and_direction() {
        let one = vec![vec![1.0, 0.0], vec![0.6, 0.8]];
        assert_eq!(Apart::of(&one, &one).expect("alike").difference, 0.0);
        let other = vec![vec![0.0, 1.0], vec![0.6, 0.8]];
        let apart = Apart::of(&one, &other).expect("of one shape");
        assert_eq!(apart, Apart { difference: 1.0, cosine: 0.0 });
        assert!(Apart::of(&one, &other[..1]).is_err());
        assert!(Apart::of(&one, &[vec![1.0], vec![1.0]]).is_err());
        assert!(Apart::of(&[vec![0.0]], &[vec![1.0]]).is_err());
    }

    #[test]
    fn texts_are_different_and_of_their_length() {
        let texts = texts(12, 64);
        let different: std::collections::BTreeSet<_> = texts.iter().collect();
        assert_eq!(different.len(), 64);
        assert_eq!(texts[0].split(' ').count(), 12);
        assert_eq!(texts[3].split(' ').count(), 6);
    }
}
