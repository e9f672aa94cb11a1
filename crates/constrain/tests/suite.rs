//! The official JSON Schema test suite: no invalid instance gets past a mask, and what is
//! refused or stopped beyond that is in a table.
//!
//! `cargo xtask test` brings the suite; alone, `FREEHOLD_JSON_SCHEMA_SUITE` names its folder, the
//! one that has `tests/`.

mod support;

use constrain::{Grammar, GrammarError, Vocabulary};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const DRAFTS: &[&str] = &["draft4", "draft6", "draft7", "draft2019-09", "draft2020-12"];
const TABLE: &str = "tests/data/suite.txt";

#[derive(Default)]
struct Counts {
    schemas: usize,
    refused: usize,
    valid: usize,
    stopped: usize,
    invalid: usize,
}

#[derive(Default)]
struct Report {
    counts: BTreeMap<String, Counts>,
    /// Reasons of refusals with their number.
    reasons: BTreeMap<String, usize>,
    passed_invalid: Vec<String>,
    stopped: Vec<String>,
}

#[test]
fn no_invalid_instance_passes() {
    let Some(suite) = std::env::var_os("FREEHOLD_JSON_SCHEMA_SUITE") else {
        println!("skipped: FREEHOLD_JSON_SCHEMA_SUITE names no folder");
        return;
    };
    let vocabulary = support::bytes();
    let mut report = Report::default();
    for draft in DRAFTS {
        let folder = Path::new(&suite).join("tests").join(draft);
        let optional = folder.join("optional");
        let mut files = json_files(&folder);
        files.extend(json_files(&optional.join("format")));
        files.push(optional.join("ecmascript-regex.json"));
        files.push(optional.join("non-bmp-regex.json"));
        for file in files.iter().filter(|file| file.exists()) {
            let name = file.strip_prefix(Path::new(&suite).join("tests")).expect("it is inside");
            check_file(&vocabulary, file, &name.with_extension("").to_string_lossy(), &mut report);
        }
    }
    let table = table(&report);
    println!("{table}");
    for line in &report.stopped {
        println!("stopped: {line}");
    }
    assert_eq!(report.passed_invalid, Vec::<String>::new(), "invalid instances got past the mask");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(TABLE);
    if std::env::var_os("FREEHOLD_BLESS").is_some() {
        std::fs::write(&path, &table).expect("the table can be written");
    }
    let expected = std::fs::read_to_string(&path).expect("the table is there");
    assert!(table == expected, "{TABLE} is outdated; FREEHOLD_BLESS=1 writes it anew:\n{table}");
}

fn json_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    files
}

fn check_file(vocabulary: &Vocabulary, file: &Path, name: &str, report: &mut Report) {
    let text = std::fs::read_to_string(file).expect("a file of the suite can be read");
    let groups: Vec<Value> = serde_json::from_str(&text).expect("a file of the suite is JSON");
    let counts = report.counts.entry(name.to_owned()).or_default();
    for group in &groups {
        counts.schemas += 1;
        let matcher = match vocabulary.compile(&Grammar::JsonSchema(group["schema"].clone())) {
            Ok(matcher) => matcher,
            // A schema that allows nothing is refused as such, which stops all its instances.
            Err(GrammarError::Unsatisfiable { .. }) => {
                let valid = |test: &&Value| test["valid"] == true;
                let wrong = group["tests"].as_array().into_iter().flatten().filter(valid);
                report.stopped.extend(wrong.map(|test| format!("{name}: {test} (unsatisfiable)")));
                continue;
            }
            Err(error) => {
                counts.refused += 1;
                *report.reasons.entry(reason(&error)).or_default() += 1;
                continue;
            }
        };
        for test in group["tests"].as_array().expect("a group has tests") {
            let taken = [(",", ":"), (", ", ": "), (",\n  ", ":\n")]
                .map(|(comma, colon)| support::takes_value(&matcher, &test["data"], comma, colon));
            let line = || format!("{name}: {}: {}", group["description"], test);
            if test["valid"] == true {
                counts.valid += 1;
                if taken != [true; 3] {
                    counts.stopped += 1;
                    report.stopped.push(line());
                }
            } else {
                counts.invalid += 1;
                if taken != [false; 3] {
                    report.passed_invalid.push(line());
                }
            }
        }
    }
}

/// A refusal without its place.
fn reason(error: &GrammarError) -> String {
    match error {
        GrammarError::Unsupported { keyword, reason, .. } => format!("{keyword}: {reason}"),
        GrammarError::UnknownReference { .. } => "$ref: to another document".to_owned(),
        GrammarError::Pattern { reason, .. } => format!("pattern: {reason}"),
        GrammarError::Malformed { expected, .. } => format!("malformed: expected {expected}"),
        GrammarError::TooLarge { .. } => "too large".to_owned(),
        other => other.to_string(),
    }
}

fn table(report: &Report) -> String {
    let mut table = String::from(
        "The JSON Schema test suite of jsonschema 4.26.0: schemas, of these refused; valid \
         instances, of these stopped; invalid instances, all stopped.\n\n",
    );
    for draft in DRAFTS {
        let own = report.counts.iter().filter(|(name, _)| name.starts_with(draft));
        let mut sum = Counts::default();
        for (_, counts) in own {
            sum.schemas += counts.schemas;
            sum.refused += counts.refused;
            sum.valid += counts.valid;
            sum.stopped += counts.stopped;
            sum.invalid += counts.invalid;
        }
        line(&mut table, draft, &sum);
    }
    table.push('\n');
    for (name, counts) in &report.counts {
        line(&mut table, name, counts);
    }
    table.push('\n');
    for (reason, number) in &report.reasons {
        writeln!(table, "{number:4} {reason}").expect("a string takes all text");
    }
    table
}

fn line(table: &mut String, name: &str, c: &Counts) {
    let columns =
        format!("{:4} {:4}  {:4} {:4}  {:4}", c.schemas, c.refused, c.valid, c.stopped, c.invalid);
    writeln!(table, "{columns}  {name}").expect("a string takes all text");
}
