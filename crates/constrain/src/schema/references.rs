//! Where a `$ref` points: a JSON pointer into the same document (RFC 6901), an anchor, or an
//! `$id` as it is written there.

use super::SCHEMA_DEPTH_MAX;
use serde_json::Value;
use std::collections::HashMap;

/// The places in a document that have names of their own.
pub(super) struct References<'a> {
    root: &'a Value,
    /// Anchors and whole `$id`s, as written in a reference, to JSON pointers; `None` where a
    /// name was given twice.
    names: HashMap<String, Option<String>>,
}

/// A place in the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    pub(super) pointer: String,
    pub(super) schema: &'a Value,
    /// References there are relative to another `$id` than the root's.
    pub(super) embedded: bool,
    /// A schema on the way there has an `$id` of its own, so that a relative reference does not
    /// mean this place.
    pub(super) crosses: bool,
}

impl<'a> References<'a> {
    pub(super) fn new(root: &'a Value) -> References<'a> {
        let mut references = References { root, names: HashMap::new() };
        references.collect(root, &mut String::new(), 0);
        references
    }

    /// Values of `enum` and the like are searched as well: a name that is found there and
    /// elsewhere is given twice, and so refused where it is used.
    fn collect(&mut self, value: &Value, pointer: &mut String, depth: usize) {
        if depth > SCHEMA_DEPTH_MAX {
            return;
        }
        let length = pointer.len();
        match value {
            Value::Object(fields) => {
                for (key, prefix) in [("$anchor", "#"), ("$id", ""), ("id", "")] {
                    if let Some(Value::String(name)) = fields.get(key) {
                        let name = format!("{prefix}{}", name.trim_end_matches('#'));
                        let twice = self.names.insert(name.clone(), Some(pointer.clone()));
                        if twice.is_some() {
                            self.names.insert(name, None);
                        }
                    }
                }
                for (key, inner) in fields {
                    pointer.push('/');
                    pointer.push_str(&escaped(key));
                    self.collect(inner, pointer, depth + 1);
                    pointer.truncate(length);
                }
            }
            Value::Array(items) => {
                for (idx, inner) in items.iter().enumerate() {
                    pointer.push('/');
                    pointer.push_str(&idx.to_string());
                    self.collect(inner, pointer, depth + 1);
                    pointer.truncate(length);
                }
            }
            _ => {}
        }
    }

    /// What `reference` points at, seen from a schema that is not embedded.
    pub(super) fn find(&self, reference: &str) -> Option<Target<'a>> {
        if let Some(pointer) = reference.strip_prefix('#')
            && (pointer.is_empty() || pointer.starts_with('/'))
        {
            return self.at(&percent_decoded(pointer)?);
        }
        if let Some(named) = self.names.get(reference.trim_end_matches('#')) {
            let target = self.at(named.as_ref()?)?;
            // An anchor belongs to the nearest `$id`, its own schema's included.
            let crosses = target.crosses || reference.starts_with('#') && target.embedded;
            return Some(Target { crosses, ..target });
        }
        // A pointer into the document by its own name.
        let (base, pointer) = reference.split_once('#')?;
        let own = self.names.get(base)?.as_ref()?;
        if own.is_empty() { self.find(&format!("#{pointer}")) } else { None }
    }

    fn at(&self, pointer: &str) -> Option<Target<'a>> {
        let mut schema = self.root;
        let (mut embedded, mut crosses) = (false, false);
        for part in pointer.split('/').skip(1) {
            let part = part.replace("~1", "/").replace("~0", "~");
            schema = match schema {
                Value::Object(fields) => fields.get(&part)?,
                Value::Array(items) => items.get(part.parse::<usize>().ok()?)?,
                _ => return None,
            };
            crosses = embedded;
            embedded |= has_base(schema);
        }
        Some(Target { pointer: pointer.to_owned(), schema, embedded, crosses })
    }
}

/// Whether a schema that is not the root has an `$id` that its references are relative to.
pub(super) fn has_base(schema: &Value) -> bool {
    let is_base = |key| {
        let id = schema.get(key).and_then(Value::as_str);
        id.is_some_and(|id| !id.starts_with('#'))
    };
    is_base("$id") || is_base("id")
}

/// A key as a part of a JSON pointer.
pub(super) fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).ok()
}
