//! Schemas as they are written: those of the tree all compile and take their answers; of the sets
//! that `cargo xtask test` brings, most do.
//!
//! And random walks through all of them: whatever a sampler can draw from the masks is valid for
//! the reference implementation, the Python package `jsonschema`.

mod support;

use constrain::{Grammar, Matcher, Vocabulary};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use support::{END, schemas};

static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(support::bytes);

/// Share of the sets that must compile.
const ACCEPTED_MIN: f64 = 0.9;
/// Longest random walk in tokens; one that is longer is given up.
const WALK_MAX: usize = 3000;
const WALKS: u64 = 4;

fn folder(variable: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(variable).map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: {variable} names no folder");
    }
    folder
}

#[test]
fn schemas_of_the_tree_take_their_answers() {
    for (name, schema, valid) in schemas::of_tree() {
        let matcher = VOCABULARY.compile(&Grammar::JsonSchema(schema));
        let matcher = matcher.unwrap_or_else(|error| panic!("{name}: {error}"));
        let pretty = serde_json::to_string_pretty(&valid).expect("it is JSON");
        for text in [valid.to_string(), pretty] {
            assert!(support::takes(&matcher, &text), "{name} stops {text}");
        }
    }
}

#[test]
fn most_schemas_of_the_sets_compile() {
    let Some(folder) = folder("FREEHOLD_SCHEMA_SETS") else { return };
    let all = schemas::of_folder(&folder);
    let mut refused: BTreeMap<String, usize> = BTreeMap::new();
    let mut times: Vec<(Duration, String)> = Vec::new();
    let n_schemas = all.len();
    for (name, schema) in all {
        let begun = Instant::now();
        if let Err(error) = VOCABULARY.compile(&Grammar::JsonSchema(schema)) {
            println!("refused: {name}: {error}");
            let reason = error.to_string();
            *refused
                .entry(reason.split(" at ").next().unwrap_or_default().to_owned())
                .or_default() += 1;
        }
        times.push((begun.elapsed(), name));
    }
    times.sort();
    let (median, worst) = (&times[times.len() / 2], &times[times.len() - 1]);
    let n_refused: usize = refused.values().sum();
    println!("{n_schemas} schemas, {n_refused} refused: {refused:#?}");
    println!("compiled in {:?} (median), {:?} at worst ({})", median.0, worst.0, worst.1);
    let accepted = 1.0 - n_refused as f64 / n_schemas as f64;
    assert!(accepted >= ACCEPTED_MIN, "{accepted:.3} of the schemas compile");
}

#[test]
fn what_is_drawn_from_masks_is_valid() {
    let Some(python) = folder("FREEHOLD_JSON_SCHEMA_PYTHON") else { return };
    let mut all: Vec<(String, Value)> =
        schemas::of_tree().into_iter().map(|(name, schema, _)| (name, schema)).collect();
    if let Some(suite) = folder("FREEHOLD_JSON_SCHEMA_SUITE") {
        for draft in ["draft4", "draft7", "draft2020-12"] {
            all.extend(suite_schemas(&suite.join("tests").join(draft)));
        }
    }
    if let Some(sets) = folder("FREEHOLD_SCHEMA_SETS") {
        all.extend(schemas::of_folder(&sets));
    }
    let mut drawn = Vec::new();
    for (name, schema) in all {
        let Ok(matcher) = VOCABULARY.compile(&Grammar::JsonSchema(schema.clone())) else {
            continue;
        };
        let texts: Vec<String> =
            (0..WALKS).filter_map(|seed| walk(matcher.clone(), seed)).collect();
        for text in &texts {
            let parsed: Result<Value, _> = serde_json::from_str(text);
            // JSON sets no bound to numbers, and the reference takes them all.
            let beyond = |error: serde_json::Error| error.to_string().contains("out of range");
            assert!(parsed.map_or_else(beyond, |_| true), "{name}: {text}");
        }
        drawn.push(json!({"name": name, "schema": schema, "texts": texts}));
    }
    let n_texts: usize = drawn.iter().filter_map(|d| d["texts"].as_array()).map(Vec::len).sum();
    println!("{n_texts} answers to {} schemas", drawn.len());
    assert!(n_texts > drawn.len(), "most walks end");
    assert_eq!(invalid(&python, &json!(drawn)), "", "answers that are not valid");
}

/// The schemas of the suite that need no other document, as the reference does not bring those.
fn suite_schemas(folder: &std::path::Path) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(text) = std::fs::read_to_string(entry.path()) else { continue };
        let groups: Vec<Value> = serde_json::from_str(&text).expect("a file of the suite is JSON");
        for group in groups {
            found.push((
                format!("{}: {}", entry.path().display(), group["description"]),
                group["schema"].clone(),
            ));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// Draws tokens from the masks until the end; those that close something half of the time, so
/// that walks end.
fn walk(mut matcher: Matcher, seed: u64) -> Option<String> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut draw = |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % n
    };
    let pieces: Vec<Vec<u8>> = support::pieces();
    let closes = |token: u32| {
        token == END || pieces[token as usize].first().is_some_and(|b| b"\"}]".contains(b))
    };
    let mut mask = vec![0u32; VOCABULARY.mask_words()];
    let mut text = Vec::new();
    for _ in 0..WALK_MAX {
        matcher.mask(&mut mask).ok()?;
        let mut allowed: Vec<u32> = (0..VOCABULARY.n_tokens() as u32)
            .filter(|token| mask[*token as usize / 32] >> (token % 32) & 1 == 1)
            .collect();
        if draw(2) == 0 && allowed.iter().any(|token| closes(*token)) {
            allowed.retain(|token| closes(*token));
        }
        let token = allowed[draw(allowed.len())];
        assert_eq!(matcher.accept(token), Ok(true));
        if token == END {
            return Some(String::from_utf8(text).expect("a text is UTF-8"));
        }
        text.extend_from_slice(&pieces[token as usize]);
    }
    None
}

/// What the reference finds wrong, a line for each answer.
fn invalid(python: &std::path::Path, drawn: &Value) -> String {
    // Decimal, for 8.2 is a multiple of 0.1, which binary fractions cannot tell. The package's
    // own `time` knows no time zones.
    const SCRIPT: &str = "
import json, sys
from decimal import Decimal
from jsonschema import FormatChecker
from jsonschema.exceptions import _WrappedReferencingError
from jsonschema.validators import validator_for, Draft202012Validator
formats = FormatChecker([name for name in FormatChecker.checkers if name != 'time'])
for entry in json.load(sys.stdin, parse_float=Decimal):
    kind = validator_for(entry['schema'], default=Draft202012Validator)
    check = kind(entry['schema'], format_checker=formats)
    for text in entry['texts']:
        try:
            wrong = next(check.iter_errors(json.loads(text, parse_float=Decimal)), None)
        except (_WrappedReferencingError, RecursionError):
            continue
        if wrong is not None:
            print(entry['name'], ascii(text), ascii(wrong.message), wrong.json_path)
";
    let mut child = Command::new("python3")
        .args(["-c", SCRIPT])
        .env("PYTHONPATH", python)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is there");
    let input = drawn.to_string();
    child.stdin.take().expect("it was asked for").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "the reference failed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
