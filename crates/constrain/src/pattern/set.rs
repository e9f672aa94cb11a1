//! Sets of characters: the classes of ECMA-262 as ranges of code points.

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind};

pub(super) fn one(c: char) -> ClassUnicode {
    range(c, c)
}

pub(super) fn range(first: char, last: char) -> ClassUnicode {
    ClassUnicode::new([ClassUnicodeRange::new(first, last)])
}

fn ranges(all: &[(char, char)]) -> ClassUnicode {
    ClassUnicode::new(all.iter().map(|(first, last)| ClassUnicodeRange::new(*first, *last)))
}

/// `.`: everything but the line terminators (ECMA-262, 12.3).
pub(super) fn dot() -> ClassUnicode {
    negated(ranges(&[('\n', '\n'), ('\r', '\r'), ('\u{2028}', '\u{2029}')]))
}

/// The class of `\d`, `\w`, `\s` and their negations (ECMA-262, 22.2.2.9).
pub(super) fn escape(letter: char) -> Option<ClassUnicode> {
    let class = match letter.to_ascii_lowercase() {
        'd' => ranges(&[('0', '9')]),
        'w' => ranges(&[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')]),
        's' => ranges(&[
            ('\t', '\r'),
            (' ', ' '),
            ('\u{a0}', '\u{a0}'),
            ('\u{1680}', '\u{1680}'),
            ('\u{2000}', '\u{200a}'),
            ('\u{2028}', '\u{2029}'),
            ('\u{202f}', '\u{202f}'),
            ('\u{205f}', '\u{205f}'),
            ('\u{3000}', '\u{3000}'),
            ('\u{feff}', '\u{feff}'),
        ]),
        _ => return None,
    };
    Some(if letter.is_ascii_uppercase() { negated(class) } else { class })
}

/// The class of a Unicode property, from `regex-syntax`'s tables.
pub(super) fn property(name: &str) -> Option<ClassUnicode> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '=');
    if name.is_empty() || !name.chars().all(plain) {
        return None;
    }
    let parsed = regex_syntax::parse(&format!(r"\p{{{name}}}")).ok()?;
    match parsed.into_kind() {
        HirKind::Class(Class::Unicode(class)) => Some(class),
        _ => None,
    }
}

pub(super) fn negated(mut class: ClassUnicode) -> ClassUnicode {
    class.negate();
    class
}
