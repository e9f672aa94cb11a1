//! Grammars of arguments that are not spelled in JSON, from the tools' schemas.
//!
//! What a schema says and a format cannot be held to is an error that names it, never left out.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::data::Format;
use super::lark::{Lark, literal, without};
use super::scan::MAX_DEPTH;
use super::tools::{Tool, Types, resolve, types_of};
use crate::error::FormatError;

/// Keywords of JSON Schema that say nothing about values.
const ANNOTATIONS: &[&str] = &[
    "title",
    "description",
    "default",
    "examples",
    "example",
    "format",
    "deprecated",
    "readOnly",
    "writeOnly",
    "$comment",
    "$schema",
    "$id",
    "$defs",
    "definitions",
];
/// Keywords of each kind of value.
pub(super) const OBJECT_KEYS: &[&str] = &["properties", "required", "additionalProperties"];
pub(super) const ARRAY_KEYS: &[&str] = &["items", "minItems", "maxItems"];
pub(super) const STRING_KEYS: &[&str] = &["minLength", "maxLength", "pattern"];
pub(super) const NUMBER_KEYS: &[&str] =
    &["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"];
/// Keywords that stand for other schemas or values.
const CHOICE_KEYS: &[&str] = &["$ref", "anyOf", "oneOf", "enum", "const"];

pub(super) const NUMBER: &str = r"/-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+\-]?[0-9]+)?/";
/// What schemas of one grammar have in common.
pub(super) struct Schemas<'a> {
    format: &'a Format,
    pub(super) strict: bool,
    /// Rules of schemas that were referred to, by tool, pointer and dialect.
    pub(super) references: HashMap<(String, String, bool), String>,
    /// The rules for any value.
    pub(super) any: HashMap<bool, String>,
}

/// Where in a schema.
#[derive(Clone)]
pub(super) struct Place<'a> {
    pub(super) tool: &'a Tool,
    pointer: String,
    pub(super) depth: usize,
}

impl<'a> Place<'a> {
    pub(super) fn root(tool: &'a Tool) -> Place<'a> {
        Place { tool, pointer: String::new(), depth: 0 }
    }

    pub(super) fn within(&self, key: &str) -> Place<'a> {
        let key = key.replace('~', "~0").replace('/', "~1");
        let pointer = format!("{}/{key}", self.pointer);
        Place { tool: self.tool, pointer, depth: self.depth + 1 }
    }

    pub(super) fn schema(&self) -> &'a Value {
        self.tool.parameters()
    }
}

/// A member of an object.
pub(super) struct Member<'a> {
    pub(super) key: String,
    pub(super) schema: &'a Value,
    pub(super) required: bool,
}

impl<'a> Schemas<'a> {
    pub(super) fn new(format: &'a Format, strict: bool) -> Schemas<'a> {
        Schemas { format, strict, references: HashMap::new(), any: HashMap::new() }
    }

    pub(super) fn error(&self, place: &Place<'_>, what: impl Into<String>) -> FormatError {
        FormatError::Schema {
            format: self.format.name(),
            tool: place.tool.name().to_owned(),
            pointer: place.pointer.clone(),
            what: what.into(),
        }
    }

    /// The members of an object, and the schema of others where the schema names none.
    pub(super) fn members<'s>(
        &self,
        schema: &'s Map<String, Value>,
        place: &Place<'_>,
    ) -> Result<(Vec<Member<'s>>, Option<&'s Value>), FormatError> {
        let properties = match schema.get("properties") {
            None => None,
            Some(Value::Object(properties)) => Some(properties),
            Some(_) => return Err(self.error(&place.within("properties"), "what is not an object")),
        };
        let mut required: Vec<&str> = Vec::new();
        for key in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            match key.as_str() {
                Some(key) => required.push(key),
                None => return Err(self.error(&place.within("required"), "what is not a text")),
            }
        }
        let mut members: Vec<Member<'s>> = Vec::new();
        for (key, schema) in properties.into_iter().flatten() {
            let required = required.contains(&key.as_str());
            members.push(Member { key: key.clone(), schema, required });
        }
        for key in required {
            if !members.iter().any(|member| member.key == key) {
                members.push(Member {
                    key: key.to_owned(),
                    schema: &Value::Bool(true),
                    required: true,
                });
            }
        }
        let others = match schema.get("additionalProperties") {
            Some(Value::Bool(false)) => None,
            _ if !members.is_empty() => None,
            Some(schema) => Some(schema),
            None => Some(&Value::Bool(true)),
        };
        Ok((members, others))
    }

    /// The object that a schema of arguments is about, through a reference.
    pub(super) fn object<'s>(
        &self,
        schema: &'s Value,
        place: &Place<'s>,
    ) -> Result<&'s Map<String, Value>, FormatError> {
        let mut schema = schema;
        for _ in 0..MAX_DEPTH {
            let Value::Object(keys) = schema else { break };
            let Some(reference) = keys.get("$ref") else {
                self.known(keys, &[OBJECT_KEYS], place)?;
                return Ok(keys);
            };
            self.known(keys, &[&["$ref"]], place)?;
            schema = resolve(reference, place.schema())
                .ok_or_else(|| self.error(&place.within("$ref"), reference.to_string()))?;
        }
        Err(self.error(place, "what is not the schema of an object"))
    }

    /// Refuses keywords that are not among these.
    pub(super) fn known(
        &self,
        keys: &Map<String, Value>,
        known: &[&[&str]],
        place: &Place<'_>,
    ) -> Result<(), FormatError> {
        let all = [OBJECT_KEYS, ARRAY_KEYS, STRING_KEYS, NUMBER_KEYS, CHOICE_KEYS];
        let ours = |key: &str| key == "type" || known.iter().any(|keys| keys.contains(&key));
        // Keywords of other kinds of values say nothing about this one.
        let other = |key: &str| {
            let elsewhere = [OBJECT_KEYS, ARRAY_KEYS, STRING_KEYS, NUMBER_KEYS];
            keys.contains_key("type")
                && elsewhere.iter().any(|keys| keys.contains(&key))
                && !known.is_empty()
        };
        for key in keys.keys() {
            let annotation = ANNOTATIONS.contains(&key.as_str()) || key.starts_with("x-");
            if annotation || ours(key) || other(key) {
                continue;
            }
            let what = match all.iter().any(|keys| keys.contains(&key.as_str())) {
                true => format!("\"{key}\" beside the keywords there"),
                false => format!("\"{key}\""),
            };
            return Err(self.error(&place.within(key), what));
        }
        Ok(())
    }

    /// The schemas of one kind each that a schema chooses between, with references followed.
    pub(super) fn branches<'s>(
        &self,
        schema: &'s Value,
        place: &Place<'s>,
        out: &mut Vec<(Value, Place<'s>)>,
    ) -> Result<(), FormatError> {
        if place.depth > MAX_DEPTH || out.len() > MAX_DEPTH {
            return Err(self.error(place, "so much nesting"));
        }
        let Value::Object(keys) = schema else {
            out.push((schema.clone(), place.clone()));
            return Ok(());
        };
        if let Some(reference) = keys.get("$ref") {
            self.known(keys, &[&["$ref"]], place)?;
            let target = resolve(reference, place.schema())
                .ok_or_else(|| self.error(&place.within("$ref"), reference.to_string()))?;
            return self.branches(target, &place.within("$ref"), out);
        }
        for key in ["anyOf", "oneOf"] {
            let Some(schemas) = keys.get(key).and_then(Value::as_array) else { continue };
            self.known(keys, &[&[key]], place)?;
            // Each schema adds to `out`, so that its limit bounds the work.
            if schemas.is_empty() {
                return Err(self.error(&place.within(key), "a choice of no value"));
            }
            let n = out.len();
            for (i, schema) in schemas.iter().enumerate() {
                self.branches(schema, &place.within(key).within(&i.to_string()), out)?;
            }
            let kinds = |branch: &Value| types_of(branch, place.schema());
            let overlap = out[n..].iter().enumerate().any(|(i, (a, _))| {
                out[n..].iter().skip(i + 1).any(|(b, _)| kinds(a).meets(kinds(b)))
            });
            return match key == "oneOf" && overlap {
                true => Err(self.error(&place.within(key), "\"oneOf\" of values of one kind")),
                false => Ok(()),
            };
        }
        let texts = types_of(schema, place.schema());
        if let (Some(Value::Array(values)), true) =
            (keys.get("enum"), texts.string && !texts.only_strings())
        {
            // Strings are one branch, and each other value is one.
            let (texts, others): (Vec<&Value>, Vec<&Value>) =
                values.iter().partition(|value| value.is_string());
            for listed in std::iter::once(json!({"enum": texts}))
                .chain(others.into_iter().map(|value| json!({"const": value})))
            {
                let mut branch = keys.clone();
                branch.remove("enum");
                branch.extend(listed.as_object().cloned().unwrap_or_default());
                out.push((Value::Object(branch), place.clone()));
            }
            return Ok(());
        }
        if let (Some(Value::Array(names)), false, false) =
            (keys.get("type"), keys.contains_key("enum"), keys.contains_key("const"))
        {
            for name in names {
                let mut branch = keys.clone();
                branch.insert("type".to_owned(), name.clone());
                out.push((Value::Object(branch), place.clone()));
            }
            return Ok(());
        }
        out.push((schema.clone(), place.clone()));
        Ok(())
    }

    /// The values of `enum` or `const`, those of the schema's type.
    pub(super) fn listed(
        &self,
        schema: &Value,
        place: &Place<'_>,
    ) -> Result<Option<Vec<Value>>, FormatError> {
        let Value::Object(keys) = schema else { return Ok(None) };
        let values = match (keys.get("enum").and_then(Value::as_array), keys.get("const")) {
            (Some(values), None) => values.clone(),
            (None, Some(value)) => vec![value.clone()],
            (Some(_), Some(_)) => return Err(self.error(place, "\"enum\" beside \"const\"")),
            (None, None) => return Ok(None),
        };
        self.known(keys, &[&["enum", "const"]], place)?;
        let types = types_of(&json!({"type": keys.get("type")}), &Value::Null);
        let types = if keys.contains_key("type") { types } else { Types::ANY };
        let fits = |value: &Value| types.meets(Types::of_value(value));
        Ok(Some(values.into_iter().filter(fits).collect()))
    }
}

/// Strings that stand as they are, and values in JSON.
impl Schemas<'_> {
    /// Terminals for a string that stands as it is, up to a marker.
    pub(super) fn raw_text(
        &self,
        schema: &Value,
        place: &Place<'_>,
        marker: &str,
    ) -> Result<String, FormatError> {
        if let Some(values) = self.listed(schema, place)? {
            let texts: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
            if let Some(text) = texts.iter().find(|text| text.contains(marker)) {
                return Err(self.error(place, format!("the value {text:?}")));
            }
            let texts: Vec<String> = texts.iter().map(|text| literal(text)).collect();
            return match texts.is_empty() {
                true => Err(self.error(place, "a choice of no value")),
                false => Ok(format!("({})", texts.join(" | "))),
            };
        }
        let mut parts = vec![without(marker)];
        if let Value::Object(keys) = schema {
            self.known(keys, &[STRING_KEYS], place)?;
            parts.extend(self.length(keys, "/(?s:.)/", place)?);
            if let Some(pattern) = keys.get("pattern") {
                parts.push(self.pattern(pattern, &place.within("pattern"))?);
            }
        }
        Ok(format!("({})", parts.join(" & ")))
    }

    /// A terminal for the limits of a string's length, in characters.
    pub(super) fn length(
        &self,
        keys: &Map<String, Value>,
        unit: &str,
        place: &Place<'_>,
    ) -> Result<Option<String>, FormatError> {
        let limit = |key: &str| match keys.get(key) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(n) if n <= 1 << 20 => Ok(Some(n)),
                _ => Err(self.error(&place.within(key), format!("{value}"))),
            },
        };
        let (least, most) = (limit("minLength")?, limit("maxLength")?);
        if least.is_none() && most.is_none() {
            return Ok(None);
        }
        let most = most.map_or(String::new(), |n| n.to_string());
        Ok(Some(format!("{unit}{{{},{most}}}", least.unwrap_or(0))))
    }

    /// A terminal for texts in which a pattern is found. Anchors count at the ends alone.
    pub(super) fn pattern(
        &self,
        pattern: &Value,
        place: &Place<'_>,
    ) -> Result<String, FormatError> {
        let Some(pattern) = pattern.as_str() else {
            return Err(self.error(place, "a pattern that is no text"));
        };
        let (start, rest) = match pattern.strip_prefix('^') {
            Some(rest) => ("", rest),
            None => ("(?s:.*)", pattern),
        };
        let (end, rest) = match rest.strip_suffix('$') {
            Some(rest) if !rest.ends_with('\\') => ("", rest),
            _ => ("(?s:.*)", rest),
        };
        let anchored = start.is_empty() || end.is_empty();
        let refused = || self.error(place, format!("the pattern {pattern:?}"));
        let rest = terminal_of(rest, anchored).ok_or_else(refused)?;
        Ok(format!("/{start}({rest}){end}/"))
    }

    /// A value in JSON, with the definitions that it refers to.
    pub(super) fn json(
        &self,
        schema: &Value,
        place: &Place<'_>,
        lark: &mut Lark<'_>,
    ) -> Result<String, FormatError> {
        let mut schema = match schema {
            Value::Object(_) => schema.clone(),
            Value::Bool(true) => json!({}),
            _ => return Err(self.error(place, "a schema that lets nothing through")),
        };
        let refers = schema.to_string().contains("\"$ref\"");
        if let Value::Object(keys) = &mut schema {
            for key in ["$defs", "definitions"].iter().copied().filter(|_| refers) {
                if let Some(definitions) = place.schema().get(key) {
                    keys.entry(key).or_insert_with(|| definitions.clone());
                }
            }
            // Without other whitespace, so that a value ends where its closing tag begins.
            let space = json!({
                "whitespace_flexible": false, "item_separator": ", ?", "key_separator": ": ?",
            });
            keys.insert("x-guidance".to_owned(), space);
        }
        self.check_references(&schema, place)?;
        lark.rule("json", &format!("%json {schema}"))
    }

    /// References that point into what is not taken along.
    fn check_references(&self, schema: &Value, place: &Place<'_>) -> Result<(), FormatError> {
        let mut left = vec![schema];
        while let Some(schema) = left.pop() {
            match schema {
                Value::Object(keys) => {
                    if let Some(Value::String(reference)) = keys.get("$ref") {
                        let known = ["#/$defs/", "#/definitions/"];
                        if !known.iter().any(|start| reference.starts_with(start)) {
                            let what = format!("the reference {reference:?}");
                            return Err(self.error(&place.within("$ref"), what));
                        }
                    }
                    left.extend(keys.values());
                }
                Value::Array(items) => left.extend(items),
                _ => {}
            }
        }
        Ok(())
    }
}

/// White space in ECMA-262, section 12.2 and 12.3, as members of a set.
const ECMA_SPACE: &str =
    r"\t\n\x0b\x0c\r \xa0\u{1680}\u{2000}-\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}\u{feff}";

/// A pattern of a schema, without its anchors, as terminals understand it; none where they
/// cannot. Schemas' patterns are ECMA-262's, which knows the sets of ASCII where terminals know
/// Unicode's.
fn terminal_of(pattern: &str, anchored: bool) -> Option<String> {
    let mut out = String::new();
    let (mut inside, mut depth) = (false, 0usize);
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push_str(&escape_of(chars.next()?, inside)?),
            '[' if inside => out.push_str("\\["),
            '[' | ']' => {
                inside = c == '[';
                out.push(c);
            }
            '^' | '$' if !inside => return None,
            // It would take the anchors apart.
            '|' if !inside && anchored && depth == 0 => return None,
            '(' | ')' if !inside => {
                depth = if c == '(' { depth + 1 } else { depth.checked_sub(1)? };
                out.push(c);
            }
            '.' if !inside => out.push_str(r"[^\n\r\u{2028}\u{2029}]"),
            '&' | '~' if inside => out.extend(['\\', c]),
            '/' => out.push_str("\\/"),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    (!inside).then_some(out)
}

/// What follows a backslash, within a set or outside.
fn escape_of(c: char, inside: bool) -> Option<String> {
    let members = match c.to_ascii_lowercase() {
        'd' => "0-9",
        'w' => "a-zA-Z0-9_",
        's' => ECMA_SPACE,
        _ if matches!(c, 'b' | 'B' | '1'..='9' | 'k' | 'c') => return None,
        _ => return Some(format!("\\{c}")),
    };
    match (inside, c.is_ascii_uppercase()) {
        (true, true) => None,
        (true, false) => Some(members.to_owned()),
        (false, is_other) => Some(format!("[{}{members}]", if is_other { "^" } else { "" })),
    }
}

/// Whether a schema lets everything through.
pub(super) fn is_free(schema: &Value) -> bool {
    match schema {
        Value::Bool(free) => *free,
        Value::Object(keys) => {
            keys.keys().all(|key| ANNOTATIONS.contains(&key.as_str()) || key.starts_with("x-"))
        }
        _ => false,
    }
}
