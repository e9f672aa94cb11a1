//! Size limits with a ratchet: what was too long when the limit came may stay, may shrink,
//! and may never grow. The list is `xtask/ratchet.txt`.

use super::{SourceFile, source};
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::fs;

/// The longest function, in lines from `fn` to its closing brace.
const FUNCTION_LINES: usize = 70;
/// The longest file, in lines.
const FILE_LINES: usize = 800;
const LIST: &str = "xtask/ratchet.txt";
const HEADER: &str = "# What is longer than the limits allow, with its length. Entries may only shrink or go:\n\
    # `cargo xtask tidy --shrink` lowers them. A new entry is written by hand and argued for.\n";

/// Compares the sizes in `files` with the list; with `shrink` the list is lowered first.
pub(super) fn check(files: &[SourceFile], shrink: bool) -> Result<Vec<String>> {
    let path = testkit::repository_root().join(LIST);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {LIST}"))?;
    let mut list = parse(&text)?;
    let sizes = oversized(files);
    if shrink {
        lower(&mut list, &sizes);
        let rows: String = list.iter().map(|(name, lines)| format!("{lines} {name}\n")).collect();
        fs::write(&path, format!("{HEADER}{rows}"))
            .with_context(|| format!("cannot write {LIST}"))?;
    }
    Ok(compare(&list, &sizes))
}

fn parse(text: &str) -> Result<BTreeMap<String, usize>> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (lines, name) =
                line.split_once(' ').with_context(|| format!("{LIST}: `{line}`"))?;
            let lines = lines.parse().with_context(|| format!("{LIST}: `{lines}` is no number"))?;
            Ok((name.to_owned(), lines))
        })
        .collect()
}

/// Everything above the limits, by `path` for a file and `path::function` for a function.
fn oversized(files: &[SourceFile]) -> BTreeMap<String, usize> {
    let mut sizes = BTreeMap::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        let lines = file.text.lines().count();
        if lines > FILE_LINES {
            sizes.insert(file.path.clone(), lines);
        }
        for function in source::functions(&source::code_only(&file.text)) {
            if function.lines > FUNCTION_LINES {
                let size = sizes.entry(format!("{}::{}", file.path, function.name)).or_insert(0);
                *size = function.lines.max(*size);
            }
        }
    }
    sizes
}

fn lower(list: &mut BTreeMap<String, usize>, sizes: &BTreeMap<String, usize>) {
    list.retain(|name, lines| {
        let now = sizes.get(name).copied().unwrap_or(0);
        *lines = now.min(*lines);
        now > 0
    });
}

fn compare(list: &BTreeMap<String, usize>, sizes: &BTreeMap<String, usize>) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, &lines) in sizes {
        let limit = if name.contains("::") { FUNCTION_LINES } else { FILE_LINES };
        match list.get(name) {
            Some(&recorded) if lines <= recorded => {}
            Some(recorded) => {
                problems
                    .push(format!("{name} grew from {recorded} to {lines} lines (limit {limit})"));
            }
            None => problems.push(format!("{name} has {lines} lines, the limit is {limit}")),
        }
    }
    for (name, &recorded) in list {
        let now = sizes.get(name).copied().unwrap_or(0);
        if now < recorded {
            problems.push(format!("{name} shrank: lower {LIST} with `cargo xtask tidy --shrink`"));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(lines: usize) -> SourceFile {
        let text = format!("fn long() {{\n{}}}\n", "\n".repeat(lines - 2));
        SourceFile { path: "a.rs".into(), text }
    }

    #[test]
    fn sizes_may_only_shrink() {
        let list = parse("# why\n90 a.rs::long\n").expect("the list is well formed");
        assert!(compare(&list, &oversized(&[file(90)])).is_empty());
        assert!(compare(&list, &oversized(&[file(91)]))[0].contains("grew from 90 to 91"));
        assert!(compare(&list, &oversized(&[file(80)]))[0].contains("shrank"));
        assert!(compare(&BTreeMap::new(), &oversized(&[file(71)]))[0].contains("limit is 70"));
        assert!(compare(&BTreeMap::new(), &oversized(&[file(70)])).is_empty());
    }

    #[test]
    fn lowering_never_raises() {
        let mut list = parse("90 a.rs::long\n75 gone.rs::f\n").expect("the list is well formed");
        lower(&mut list, &oversized(&[file(95)]));
        assert_eq!(list.into_iter().collect::<Vec<_>>(), [("a.rs::long".to_owned(), 90)]);
    }
}
