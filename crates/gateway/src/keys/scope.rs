//! Which models a key may ask.

/// Whether a name is one of the patterns, in which `*` is any text; no patterns are all names.
pub(crate) fn is_within(patterns: &[String], name: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern, name))
}

/// The parts between stars in order: the first begins the name, the last ends it, and those
/// between are found as early as they are, which leaves the most for what follows.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(first) else { return false };
    let (between, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in between.split('*') {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition: a star is nothing, or one character and a star.
    fn by_definition(pattern: &[char], name: &[char]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            (['*', rest @ ..], _) => {
                by_definition(rest, name)
                    || matches!(name, [_, left @ ..] if by_definition(pattern, left))
            }
            ([p, rest @ ..], [n, left @ ..]) => p == n && by_definition(rest, left),
            _ => false,
        }
    }

    #[test]
    fn stars_are_any_text() {
        let letters = |bytes: &[u8]| -> String {
            bytes.iter().take(9).map(|byte| ['*', 'a', 'b', 'ü'][usize::from(byte % 4)]).collect()
        };
        bolero::check!().with_type::<(Vec<u8>, Vec<u8>)>().for_each(|(pattern, name)| {
            let (pattern, name) = (letters(pattern), letters(name).replace('*', "c"));
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            let expected = by_definition(&chars(&pattern), &chars(&name));
            assert_eq!(matches(&pattern, &name), expected, "{pattern} {name}");
        });
    }

    #[test]
    fn names_are_names() {
        let patterns = ["qwen3:*".to_owned(), "smollm2:135m".to_owned()];
        for (name, is) in [
            ("qwen3:0.6b", true),
            ("qwen3:0.6b+mine", true),
            ("smollm2:135m", true),
            ("smollm2:135m+mine", false),
            ("qwen2:0.5b", false),
        ] {
            assert_eq!(is_within(&patterns, name), is, "{name}");
        }
        assert!(is_within(&[], "anything"));
    }
}
