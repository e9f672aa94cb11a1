//! A pattern's tree as an expression for the whole text, in the library's syntax.

use super::Refusal;
use super::parse::Node;
use regex_syntax::hir::ClassUnicode;
use std::fmt::Write as _;

/// Any text.
pub(super) const ANYTHING: &str = r"[\x{0}-\x{10FFFF}]*";

/// The expression whose whole matches are the texts in which the pattern matches, with `around`
/// where it is not anchored.
pub(super) fn expression(alternatives: &[Vec<Node>], around: &str) -> Result<String, Refusal> {
    let mut out = String::new();
    Emitter { around, out: &mut out }.group(alternatives, true, true)?;
    Ok(out)
}

/// A text and no other.
pub(crate) fn literal(text: &str) -> String {
    let mut out = String::from("(?:");
    text.chars().for_each(|c| character(c, &mut out));
    out.push(')');
    out
}

/// Letters and digits stand for themselves, all else by its code point: no dialect has a
/// meaning for either.
fn character(c: char, out: &mut String) {
    if c.is_ascii_alphanumeric() {
        out.push(c);
    } else {
        write!(out, "\\x{{{:X}}}", u32::from(c)).expect("a string takes all text");
    }
}

fn set(class: &ClassUnicode, out: &mut String) {
    if let [only] = class.ranges()
        && only.start() == only.end()
    {
        return character(only.start(), out);
    }
    out.push('[');
    // The empty set is what the set of everything leaves.
    out.push_str(if class.ranges().is_empty() { r"^\x{0}-\x{10FFFF}" } else { "" });
    for range in class.ranges() {
        character(range.start(), out);
        out.push('-');
        character(range.end(), out);
    }
    out.push(']');
}

struct Emitter<'a> {
    around: &'a str,
    out: &'a mut String,
}

impl Emitter<'_> {
    /// Alternatives that stand at the start and at the end of the text, or not.
    fn group(
        &mut self,
        alternatives: &[Vec<Node>],
        at_start: bool,
        at_end: bool,
    ) -> Result<(), Refusal> {
        self.out.push_str("(?:");
        for (idx, nodes) in alternatives.iter().enumerate() {
            if idx > 0 {
                self.out.push('|');
            }
            self.sequence(nodes, at_start, at_end)?;
        }
        self.out.push(')');
        Ok(())
    }

    fn sequence(
        &mut self,
        mut nodes: &[Node],
        at_start: bool,
        at_end: bool,
    ) -> Result<(), Refusal> {
        let (mut anchored_start, mut anchored_end) = (!at_start, !at_end);
        while at_start && let [Node::Start(_), rest @ ..] = nodes {
            (nodes, anchored_start) = (rest, true);
        }
        while at_end && let [rest @ .., Node::End(_)] = nodes {
            (nodes, anchored_end) = (rest, true);
        }
        // A group at an edge that has anchors of its own resolves them for each alternative.
        let last = nodes.len().wrapping_sub(1);
        let opens = |idx: usize, node: &Node| idx == 0 && !anchored_start && has_anchor(node);
        let closes = |idx: usize, node: &Node| idx == last && !anchored_end && has_anchor(node);
        if !anchored_start && !nodes.first().is_some_and(|node| opens(0, node)) {
            self.out.push_str(self.around);
        }
        for (idx, node) in nodes.iter().enumerate() {
            match node {
                Node::Group(inner) => self.group(inner, opens(idx, node), closes(idx, node))?,
                node => self.node(node)?,
            }
        }
        if !anchored_end && !nodes.last().is_some_and(|node| closes(last, node)) {
            self.out.push_str(self.around);
        }
        Ok(())
    }

    fn node(&mut self, node: &Node) -> Result<(), Refusal> {
        match node {
            Node::Start(at) | Node::End(at) => {
                Err(Refusal { at: *at, reason: "an anchor is supported at the edge only" })
            }
            Node::Set(class) => {
                set(class, self.out);
                Ok(())
            }
            Node::Group(alternatives) => self.group(alternatives, false, false),
            Node::Repeat(inner, min, max) => {
                self.out.push_str("(?:");
                self.node(inner)?;
                self.out.push(')');
                match max {
                    None if *min == 0 => self.out.push('*'),
                    None if *min == 1 => self.out.push('+'),
                    None => write!(self.out, "{{{min},}}").expect("a string takes all text"),
                    Some(max) => {
                        write!(self.out, "{{{min},{max}}}").expect("a string takes all text");
                    }
                }
                Ok(())
            }
        }
    }
}

/// Whether a group has an anchor anywhere outside repetitions.
fn has_anchor(node: &Node) -> bool {
    match node {
        Node::Start(_) | Node::End(_) => true,
        Node::Group(alternatives) => alternatives.iter().flatten().any(has_anchor),
        Node::Set(_) | Node::Repeat(..) => false,
    }
}
