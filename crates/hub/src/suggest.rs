//! Names that come close to one that was not found.

use crate::catalogue::catalogue;

/// Most names that are suggested.
const SUGGESTIONS_MAX: usize = 5;
/// Most single-character changes between a name and its suggestion.
const DISTANCE_MAX: usize = 3;

/// The names nearest to `text`, nearest first.
pub(crate) fn nearest<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let text: String = text.to_lowercase().chars().take(100).collect();
    let mut near: Vec<(usize, String)> = names
        .into_iter()
        .filter_map(|name| {
            let lower = name.to_lowercase();
            let distance =
                if lower.contains(&text) && text.len() >= 3 { 0 } else { distance(&text, &lower) };
            (distance <= DISTANCE_MAX.min(text.len() / 2)).then(|| (distance, name.to_owned()))
        })
        .collect();
    near.sort();
    near.dedup();
    near.into_iter().map(|(_, name)| name).take(SUGGESTIONS_MAX).collect()
}

/// Catalogue names for one that is not there: its tags, if the name itself is known.
pub(crate) fn catalogue_names(name: &str, tag: Option<&str>) -> Vec<String> {
    if let Some(model) = catalogue().iter().find(|model| model.name == name) {
        let labels: Vec<String> = model.tags.keys().map(|tag| format!("{name}:{tag}")).collect();
        let wanted = format!("{name}:{}", tag.unwrap_or_default());
        let near = nearest(&wanted, labels.iter().map(String::as_str));
        return if near.is_empty() { labels } else { near };
    }
    let near = nearest(name, catalogue().iter().map(|model| model.name.as_str()));
    if near.is_empty() {
        return catalogue().iter().map(|model| model.name.clone()).collect();
    }
    near
}

/// How many characters have to be inserted, removed or replaced.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(200).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(nearest("qwen33", ["qwen3", "llama3"]), ["qwen3"]);
        assert!(nearest("zzzz", ["qwen3", "llama3"]).is_empty());
        assert_eq!(catalogue_names("smolm2", None), ["smollm2"]);
        assert!(catalogue_names("smollm2", Some("135")).contains(&"smollm2:135m".to_owned()));
    }
}
