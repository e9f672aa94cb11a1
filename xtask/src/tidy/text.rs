//! Rules about the text of files: module headers, leftover notes, machine paths, where
//! unsafe code may stand, one sentence per line in Markdown.

use super::{SourceFile, source};

/// Words that mark unfinished work; written in halves so that this file passes.
const LEFTOVERS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
/// Path prefixes that exist on one machine only.
const MACHINE_PATHS: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
/// The only places where unsafe code may stand.
const UNSAFE_PLACES: &[&str] =
    &["crates/kernels/", "crates/weights/src/map.rs", "crates/weights/src/map/"];
/// How many lines above an `unsafe` its safety comment may begin.
const SAFETY_DISTANCE: usize = 12;

/// One line for each broken rule.
pub(super) fn check(files: &[SourceFile]) -> Vec<String> {
    let mut problems = Vec::new();
    for file in files {
        check_words(file, &mut problems);
        if file.path.ends_with(".rs") {
            check_header(file, &mut problems);
            check_unsafe(file, &mut problems);
        }
        if file.path.ends_with(".md") {
            check_sentences(file, &mut problems);
        }
    }
    problems
}

fn check_header(file: &SourceFile, problems: &mut Vec<String>) {
    if !file.text.starts_with("//! ") {
        problems.push(format!("{}:1: a module begins with `//!` and says what it is", file.path));
    }
}

fn check_words(file: &SourceFile, problems: &mut Vec<String>) {
    for (number, line) in file.text.lines().enumerate() {
        let at = format!("{}:{}", file.path, number + 1);
        for word in LEFTOVERS.iter().filter(|word| has_word(line, word)) {
            problems.push(format!(
                "{at}: `{word}`: finish it, or say in the README that it is missing"
            ));
        }
        for path in MACHINE_PATHS.iter().filter(|path| line.contains(**path)) {
            problems.push(format!("{at}: `{path}…` exists on one machine only"));
        }
    }
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !joins(before) && !joins(after)
    })
}

fn check_unsafe(file: &SourceFile, problems: &mut Vec<String>) {
    let code = source::code_only(&file.text);
    let lines: Vec<&str> = file.text.lines().collect();
    for (number, line) in code.lines().enumerate() {
        if !has_word(line, "unsafe") {
            continue;
        }
        let at = format!("{}:{}", file.path, number + 1);
        if !UNSAFE_PLACES.iter().any(|place| file.path.starts_with(place)) {
            problems.push(format!("{at}: unsafe code belongs in {}", UNSAFE_PLACES.join(" or ")));
            continue;
        }
        // What a function asks of its callers stands at its trait or type, and the compiler's own
        // lints want it there; here it is about the places that promise.
        if line.contains("unsafe fn") || line.contains("unsafe extern") {
            continue;
        }
        let above = &lines[number.saturating_sub(SAFETY_DISTANCE)..=number];
        if !above.iter().any(|line| line.contains("SAFETY:")) {
            problems.push(format!("{at}: no `// SAFETY:` says why this is sound"));
        }
    }
}

/// Markdown prose has one sentence per line, so that a change shows as the sentence changed.
fn check_sentences(file: &SourceFile, problems: &mut Vec<String>) {
    let mut fenced = false;
    for (number, line) in file.text.lines().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        let prose = line.trim_start_matches([' ', '-', '>', '#']);
        if fenced || prose.starts_with('|') || line.starts_with("    ") {
            continue;
        }
        if ends_inside(prose) {
            problems.push(format!("{}:{}: one sentence per line", file.path, number + 1));
        }
    }
}

/// A full stop after a word, a space and a capital letter: a second sentence.
fn ends_inside(line: &str) -> bool {
    let chars: Vec<char> = line.chars().collect();
    chars.windows(4).any(|w| {
        (w[0].is_lowercase() || matches!(w[0], ')' | '`' | '"' | '*'))
            && matches!(w[1], '.' | '!' | '?')
            && w[2] == ' '
            && w[3].is_uppercase()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(path: &str, text: &str) -> Vec<String> {
        check(&[SourceFile { path: path.into(), text: text.into() }])
    }

    #[test]
    fn rust_files_have_a_header_and_no_leftovers() {
        assert!(problems("a.rs", "//! A thing.\nfn a() {}\n").is_empty());
        assert!(problems("a.rs", "fn a() {}\n")[0].contains("a.rs:1"));
        let note = format!("//! A thing.\n// {}: later\n", LEFTOVERS[0]);
        assert!(problems("a.rs", &note)[0].starts_with("a.rs:2"));
        let path = format!("//! A thing.\nconst A: &str = \"{}x\";\n", MACHINE_PATHS[0]);
        assert!(problems("a.rs", &path)[0].contains("one machine"));
    }

    #[test]
    fn unsafe_code_has_its_places_and_its_reasons() {
        let text = "//! A thing.\nfn a() { unsafe { b() } }\n";
        assert!(problems("crates/model/src/a.rs", text)[0].contains("belongs in"));
        assert!(problems("crates/kernels/src/a.rs", text)[0].contains("SAFETY"));
        let reasoned = "//! A thing.\n// SAFETY: b has no conditions.\nfn a() { unsafe { b() } }\n";
        assert!(problems("crates/kernels/src/a.rs", reasoned).is_empty());
        assert!(problems("crates/model/src/a.rs", "//! A thing that is not unsafe.\n").is_empty());
    }

    #[test]
    fn markdown_has_one_sentence_per_line() {
        assert!(
            problems("a.md", "One sentence.\nAnother, e.g. this.\n| A row. Two |\n").is_empty()
        );
        assert!(problems("a.md", "One sentence. Another.\n")[0].starts_with("a.md:1"));
        assert!(problems("a.md", "```\nCode. Here\n```\n").is_empty());
    }
}
