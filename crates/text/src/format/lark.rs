//! Writes rules in llguidance's dialect of Lark.

use crate::error::FormatError;

/// Most rules of one grammar.
const MAX_RULES: usize = 20_000;
/// Whitespace where a template has line ends: any or none, and never without end.
const GAP: &str = "[ \\n]{0,4}";

/// A grammar while it is written.
#[derive(Debug)]
pub(super) struct Lark<'a> {
    /// The texts and ids of special tokens, the longest first.
    specials: Vec<(&'a str, u32)>,
    rules: Vec<String>,
}

/// A part of a marker.
enum Piece<'a> {
    Text(&'a str),
    Special(u32),
}

impl<'a> Lark<'a> {
    pub(super) fn new(specials: &'a [(String, u32)]) -> Lark<'a> {
        let mut specials: Vec<(&str, u32)> =
            specials.iter().map(|(text, id)| (text.as_str(), *id)).collect();
        specials.retain(|(text, _)| !text.is_empty());
        specials.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        Lark { specials, rules: Vec::new() }
    }

    /// The grammar with this rule as its start.
    pub(super) fn finish(self, start: &str) -> String {
        let mut grammar = format!("start: {start}\n");
        for rule in self.rules {
            grammar.push_str(&rule);
            grammar.push('\n');
        }
        grammar
    }

    /// Adds a rule and returns its name.
    pub(super) fn rule(&mut self, kind: &str, body: &str) -> Result<String, FormatError> {
        self.add(format!("{kind}_{}", self.rules.len()), "", body)
    }

    /// Adds a terminal and returns its name.
    pub(super) fn terminal(&mut self, body: &str) -> Result<String, FormatError> {
        self.add(format!("T_{}", self.rules.len()), "", body)
    }

    /// Keeps a place for a rule, which may then refer to itself.
    pub(super) fn reserve(&mut self, kind: &str) -> Result<(String, usize), FormatError> {
        let name = self.rule(kind, "")?;
        Ok((name, self.rules.len() - 1))
    }

    /// Fills a place that was kept.
    pub(super) fn fill(&mut self, (name, place): (String, usize), body: &str) -> String {
        self.rules[place] = format!("{name}: {body}");
        name
    }

    fn add(&mut self, name: String, options: &str, body: &str) -> Result<String, FormatError> {
        if self.rules.len() == MAX_RULES {
            return Err(FormatError::TooLarge {
                what: "grammar of the tools, rules",
                got: MAX_RULES + 1,
                limit: MAX_RULES,
            });
        }
        self.rules.push(format!("{name}{options}: {body}"));
        Ok(name)
    }

    fn pieces<'t>(&self, text: &'t str) -> Vec<Piece<'t>> {
        let mut pieces = Vec::new();
        let (mut start, mut at) = (0, 0);
        while at < text.len() {
            let rest = &text[at..];
            let special = self.specials.iter().find(|(special, _)| rest.starts_with(special));
            let Some((special, id)) = special else {
                at += rest.chars().next().map_or(1, char::len_utf8);
                continue;
            };
            if start < at {
                pieces.push(Piece::Text(&text[start..at]));
            }
            pieces.push(Piece::Special(*id));
            at += special.len();
            start = at;
        }
        if start < at {
            pieces.push(Piece::Text(&text[start..at]));
        }
        pieces
    }

    /// Whether a text has a special token in it.
    pub(super) fn has_special(&self, text: &str) -> bool {
        self.pieces(text).iter().any(|piece| matches!(piece, Piece::Special(_)))
    }

    /// A text in rules, with line ends as in [`GAP`].
    pub(super) fn layout(&self, text: &str) -> String {
        let pieces = self.pieces(text).into_iter().map(|piece| match piece {
            Piece::Text(text) if text.trim_ascii().is_empty() => "/[ \\n]{1,4}/?".to_owned(),
            Piece::Text(text) => format!("/{}/", spaced(text)),
            Piece::Special(id) => format!("<[{id}]>"),
        });
        pieces.collect::<Vec<_>>().join(" ")
    }

    /// A text in rules, exactly.
    pub(super) fn exact(&self, text: &str) -> String {
        let pieces = self.pieces(text).into_iter().map(|piece| match piece {
            Piece::Text(text) => literal(text),
            Piece::Special(id) => format!("<[{id}]>"),
        });
        pieces.collect::<Vec<_>>().join(" ")
    }

    /// Text up to and with the first `marker`. `body` is an expression of terminals for the
    /// text; where it is more than any text, it leaves the marker out. A marker that is a special
    /// token is not spelled out in the text either: who reads it could not tell the two apart.
    pub(super) fn until(&mut self, body: &str, marker: &str) -> Result<String, FormatError> {
        let pieces = self.pieces(marker);
        let mut head = match self.has_special(marker) {
            true => format!("(({body}) & {})", without(marker)),
            false => body.to_owned(),
        };
        let mut rest = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) if rest.is_empty() => {
                    head = format!("{head} {}", literal(text));
                }
                Piece::Text(text) => rest.push(literal(text)),
                Piece::Special(id) => rest.push(format!("<[{id}]>")),
            }
        }
        let terminal = self.terminal(&head)?;
        if rest.is_empty() {
            let name = format!("until_{}", self.rules.len());
            return self.add(name, "[lazy]", &terminal);
        }
        self.rule("until", &format!("{terminal} {}", rest.join(" ")))
    }
}

/// An expression of terminals for text without this marker, whatever tokens it is of.
pub(super) fn without(marker: &str) -> String {
    format!("({ANY} & ~({ANY} {} {ANY}))", literal(marker))
}

/// Any text, as an expression of terminals.
pub(super) const ANY: &str = "/(?s:.*)/";

/// A string of Lark.
pub(super) fn literal(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A regular expression for a text, with line ends as in [`GAP`].
pub(super) fn spaced(text: &str) -> String {
    let mut pattern = String::new();
    let mut in_gap = false;
    for c in text.chars() {
        if c != '\n' {
            push_regex(c, &mut pattern);
        } else if !in_gap {
            pattern.push_str(GAP);
        }
        in_gap = c == '\n';
    }
    pattern
}

fn push_regex(c: char, pattern: &mut String) {
    if "\\.+*?()|[]{}^$#&-~/".contains(c) {
        pattern.push('\\');
    }
    pattern.push(c);
}
