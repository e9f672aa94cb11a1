//! The record of a machine's day: `bench/record/MACHINE/DATE.md`, a section for each part.

use super::machine::Machine;
use anyhow::{Context as _, Result};
use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

const SECTION: &str = "\n## ";

/// Writes the section `title`, in place of the one that the same day may have already.
pub(crate) fn write(machine: &Machine, title: &str, markdown: &str) -> Result<PathBuf> {
    let folder = folder(machine);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let date = date(since.as_secs() / 86_400);
    let path = folder.join(format!("{date}.md"));
    let before = fs::read_to_string(&path).unwrap_or_default();
    let head = format!("# {date}\n\n{}", machine.markdown());
    fs::write(&path, merge(&head, &before, title, markdown))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// The newest section `title` of a machine with its date, if there is one.
pub(crate) fn last(machine: &Machine, title: &str) -> Result<Option<(String, String)>> {
    let folder = folder(machine);
    let Ok(entries) = fs::read_dir(&folder) else { return Ok(None) };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    // Files are named after their days, so the last in order is the newest.
    paths.sort();
    for path in paths.iter().rev().filter(|path| path.extension().is_some_and(|e| e == "md")) {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        if let Some((_, body)) = sections(&text).into_iter().find(|(known, _)| known == title) {
            let date = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            return Ok(Some((date, body)));
        }
    }
    Ok(None)
}

fn folder(machine: &Machine) -> PathBuf {
    testkit::repository_root().join("bench/record").join(machine.slug())
}

/// Titles and bodies of a record.
fn sections(text: &str) -> Vec<(String, String)> {
    let sections = text.split(SECTION).skip(1).filter_map(|text| text.split_once('\n'));
    sections.map(|(title, body)| (title.to_owned(), body.trim().to_owned())).collect()
}

/// `before` with a new head and with the section `title` replaced, or added at the end.
fn merge(head: &str, before: &str, title: &str, markdown: &str) -> String {
    let mut sections = sections(before);
    let body = markdown.trim().to_owned();
    match sections.iter_mut().find(|(known, _)| known == title) {
        Some(section) => section.1 = body,
        None => sections.push((title.to_owned(), body)),
    }
    let texts = sections.iter().map(|(title, body)| format!("{SECTION}{title}\n\n{body}\n"));
    format!("{}\n{}", head.trim(), texts.collect::<String>())
}

/// The civil date (UTC) of a day counted from 1970-01-01, as `2026-05-04`.
fn date(day: u64) -> String {
    let (mut year, mut left) = (1970, day);
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if left < days {
            break;
        }
        left -= days;
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02}", left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_civil() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(11_016), "2000-02-29");
        assert_eq!(date(20_088), "2024-12-31");
        assert_eq!(date(20_089), "2025-01-01");
    }

    #[test]
    fn a_section_is_replaced_and_the_others_stay() {
        let one = merge("# day\n", "", "Speed", "| a |\n");
        assert_eq!(one, "# day\n\n## Speed\n\n| a |\n");
        let two = merge("# day\n", &one, "Start", "| s |");
        let three = merge("# day, later\n", &two, "Speed", "| b |");
        assert_eq!(three, "# day, later\n\n## Speed\n\n| b |\n\n## Start\n\n| s |\n");
    }
}
