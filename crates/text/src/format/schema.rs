//! Grammars of arguments that are not spelled in JSON, from the tools' schemas.
//!
//! What a schema says and a format cannot be held to is an error that names it, never left out.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::data::{Dialect, Format, KeyClose, Tagged};
use super::lark::{ANY, Lark, literal};
use super::scan::{GEMMA_QUOTE, MAX_DEPTH};
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
const OBJECT_KEYS: &[&str] = &["properties", "required", "additionalProperties"];
const ARRAY_KEYS: &[&str] = &["items", "minItems", "maxItems"];
const STRING_KEYS: &[&str] = &["minLength", "maxLength", "pattern"];
const NUMBER_KEYS: &[&str] =
    &["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"];
/// Keywords that stand for other schemas or values.
const CHOICE_KEYS: &[&str] = &["$ref", "anyOf", "oneOf", "enum", "const"];

const NUMBER: &str = r"/-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+\-]?[0-9]+)?/";
/// Between the parts of a list or an object outside of JSON.
const COMMA: &str = "/, ?/";
const COLON: &str = "/: ?/";

/// What schemas of one grammar have in common.
pub(super) struct Schemas<'a> {
    format: &'a Format,
    strict: bool,
    /// Rules of schemas that were referred to, by tool, pointer and dialect.
    references: HashMap<(String, String, bool), String>,
    /// The rules for any value.
    any: HashMap<bool, String>,
}

/// Where in a schema.
#[derive(Clone)]
struct Place<'a> {
    tool: &'a Tool,
    pointer: String,
    depth: usize,
}

impl<'a> Place<'a> {
    fn root(tool: &'a Tool) -> Place<'a> {
        Place { tool, pointer: String::new(), depth: 0 }
    }

    fn within(&self, key: &str) -> Place<'a> {
        let key = key.replace('~', "~0").replace('/', "~1");
        let pointer = format!("{}/{key}", self.pointer);
        Place { tool: self.tool, pointer, depth: self.depth + 1 }
    }

    fn schema(&self) -> &'a Value {
        self.tool.parameters()
    }
}

/// A member of an object.
struct Member<'a> {
    key: String,
    schema: &'a Value,
    required: bool,
}

impl<'a> Schemas<'a> {
    pub(super) fn new(format: &'a Format, strict: bool) -> Schemas<'a> {
        Schemas { format, strict, references: HashMap::new(), any: HashMap::new() }
    }

    fn error(&self, place: &Place<'_>, what: impl Into<String>) -> FormatError {
        FormatError::Schema {
            format: self.format.name(),
            tool: place.tool.name().to_owned(),
            pointer: place.pointer.clone(),
            what: what.into(),
        }
    }

    /// The members of an object, and the schema of others where the schema names none.
    fn members<'s>(
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
    fn object<'s>(
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
    fn known(
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
    fn branches<'s>(
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
    fn listed(&self, schema: &Value, place: &Place<'_>) -> Result<Option<Vec<Value>>, FormatError> {
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

/// Parameters in tags.
impl Schemas<'_> {
    /// The parameters of a call.
    pub(super) fn parameters(
        &mut self,
        tool: &Tool,
        tags: &Tagged,
        lark: &mut Lark<'_>,
    ) -> Result<String, FormatError> {
        let place = Place::root(tool);
        let free = json!({"type": "object"});
        let schema = if self.strict { tool.parameters() } else { &free };
        let keys = self.object(schema, &place)?;
        let (members, others) = self.members(keys, &place)?;
        let mut all = Vec::new();
        for member in members {
            let place = place.within("properties").within(&member.key);
            if member.key.contains(['<', '>', '"', '\n']) || member.key.trim() != member.key {
                return Err(self.error(&place, "this key"));
            }
            let key = literal(&member.key);
            let one = self.parameter(&key, member.schema, &place, tags, lark)?;
            let one = lark.rule("parameter", &one)?;
            all.push(if member.required { one } else { format!("{one}?") });
        }
        if let Some(schema) = others {
            let place = place.within("additionalProperties");
            let one = self.parameter("/[a-zA-Z0-9_\\-]{1,64}/", schema, &place, tags, lark)?;
            let one = lark.rule("parameter", &one)?;
            all.push(format!("{one}*"));
        }
        Ok(all.join(" "))
    }

    /// A parameter with its tags.
    fn parameter(
        &mut self,
        key: &str,
        schema: &Value,
        place: &Place<'_>,
        tags: &Tagged,
        lark: &mut Lark<'_>,
    ) -> Result<String, FormatError> {
        let open = lark.exact(tags.key_open);
        let pad = if tags.padded { "\n" } else { "" };
        let close = format!("{pad}{}", tags.value_close);
        let end = "/[ \\n]{1,4}/?";
        let marker = match tags.key_close {
            KeyClose::Plain(marker) => marker,
            KeyClose::StringAttribute => {
                let (text, other) = self.apart(schema, place, tags, &close, lark)?;
                let mut values = Vec::new();
                for (value, marker) in
                    [(text, "\" string=\"true\">"), (other, "\" string=\"false\">")]
                {
                    if let Some(value) = value {
                        values.push(format!("{} {value}", lark.exact(marker)));
                    }
                }
                let values = lark.rule("value", &values.join(" | "))?;
                return Ok(format!("{open} {key} {values} {end}"));
            }
        };
        let marker = match pad {
            "" => lark.layout(marker),
            pad => lark.exact(&format!("{marker}{pad}")),
        };
        let value = self.tag_value(schema, place, tags, &close, lark)?;
        Ok(format!("{open} {key} {marker} {value} {end}"))
    }

    /// The rules for strings and for other values where a tag says which of the two it has.
    fn apart(
        &mut self,
        schema: &Value,
        place: &Place<'_>,
        tags: &Tagged,
        close: &str,
        lark: &mut Lark<'_>,
    ) -> Result<(Option<String>, Option<String>), FormatError> {
        let types = types_of(schema, place.schema());
        if !types.string {
            return Ok((None, Some(self.tag_json(schema, place, close, lark)?)));
        }
        if types.only_strings() {
            return Ok((Some(self.tag_value(schema, place, tags, close, lark)?), None));
        }
        let mut branches = Vec::new();
        self.branches(schema, place, &mut branches)?;
        let (mut texts, mut others) = (Vec::new(), Vec::new());
        for (branch, place) in branches {
            let types = types_of(&branch, place.schema());
            if types == Types::ANY {
                texts.push(self.tag_text(&json!({}), &place, "", tags, close, lark)?);
                let other = json!({"type": ["number", "boolean", "null", "array", "object"]});
                others.push(self.tag_json(&other, &place, close, lark)?);
            } else if types.only_strings() {
                texts.push(self.tag_text(&branch, &place, "", tags, close, lark)?);
            } else if types.string {
                return Err(self.error(&place, "strings and other values in one schema"));
            } else {
                others.push(self.tag_json(&branch, &place, close, lark)?);
            }
        }
        let mut rule = |rules: Vec<String>| match rules.is_empty() {
            true => Ok(None),
            false => lark.rule("value", &rules.join(" | ")).map(Some),
        };
        Ok((rule(texts)?, rule(others)?))
    }

    /// A value and its closing tag.
    fn tag_value(
        &mut self,
        schema: &Value,
        place: &Place<'_>,
        tags: &Tagged,
        close: &str,
        lark: &mut Lark<'_>,
    ) -> Result<String, FormatError> {
        let types = types_of(schema, place.schema());
        let mut branches = Vec::new();
        if types.string {
            self.branches(schema, place, &mut branches)?;
        }
        // Anything goes, and any text is something.
        let free = branches.iter().any(|(branch, _)| is_free(branch));
        if free {
            return self.tag_text(&json!({}), place, "", tags, close, lark);
        }
        if !types.string {
            return self.tag_others(schema, types, place, tags, close, lark);
        }
        let mut values = Vec::new();
        let other = lookalikes(types, tags);
        let all = types;
        for (branch, place) in branches {
            let types = types_of(&branch, place.schema());
            values.push(if types.only_strings() {
                self.tag_text(&branch, &place, &other, tags, close, lark)?
            } else if types.string {
                return Err(self.error(&place, "strings and other values in one schema"));
            } else if all == Types::ANY && (types.array || types.object) {
                return Err(self.error(&place, "one of every kind of value"));
            } else if types.array || types.object {
                self.tag_json(&branch, &place, close, lark)?
            } else {
                self.tag_scalar(&branch, types, &place, tags, close, lark)?
            });
        }
        lark.rule("value", &values.join(" | "))
    }

    /// A value that is no string.
    fn tag_others(
        &mut self,
        schema: &Value,
        types: Types,
        place: &Place<'_>,
        tags: &Tagged,
        close: &str,
        lark: &mut Lark<'_>,
    ) -> Result<String, FormatError> {
        let json = self.tag_json(schema, place, close, lark)?;
        let listed = self.listed(schema, place)?;
        let may = |value: Value| listed.as_ref().is_none_or(|values| values.contains(&value));
        let mut words = Vec::new();
        if tags.python_scalars && !types.array && !types.object {
            let known = [
                (types.boolean && may(json!(true)), "True"),
                (types.boolean && may(json!(false)), "False"),
                (types.null && may(Value::Null), "None"),
            ];
            words.extend(known.iter().filter(|(known, _)| *known).map(|(_, word)| literal(word)));
        }
        if words.is_empty() {
            return Ok(json);
        }
        let words = format!("({}) {}", words.join(" | "), lark.exact(close));
        lark.rule("value", &format!("{json} | {words}"))
    }

    /// A number, boolean or null beside which there may be text: one terminal with its closing
    /// tag, as what comes before the tag does not tell.
    fn tag_scalar(
        &mut self,
        schema: &Value,
        types: Types,
        place: &Place<'_>,
        tags: &Tagged,
        close: &str,
        lark: &mut Lark<'_>,
    ) -> Result<String, FormatError> {
        let words = match self.listed(schema, place)? {
            Some(values) => values.iter().map(|value| literal(&value.to_string())).collect(),
            None => {
                if let Value::Object(keys) = schema {
                    let number = keys.keys().find(|key| NUMBER_KEYS.contains(&key.as_str()));
                    if let (Some(key), true) = (number, types.number) {
                        let what = format!("\"{key}\" of a parameter that may be a string");
                        return Err(self.error(&place.within(key), what));
                    }
                    self.known(keys, &[&[]], place)?;
                }
                scalars(types, schema["type"] == "integer", tags)
            }
        };
        lark.until(&format!("({})", words.join(" | ")), close)
    }

    /// A value in JSON and its closing tag.
    fn tag_json(
        &self,
        schema: &Value,
        place: &Place<'_>,
        close: &str,
        lark: &mut Lark<'_>,
    ) -> Result<String, FormatError> {
        let json = self.json(schema, place, lark)?;
        Ok(format!("{json} {}", lark.exact(close)))
    }

    /// A string as it is, without what would be read as something else, and its closing tag.
    fn tag_text(
        &self,
        schema: &Value,
        place: &Place<'_>,
        lookalikes: &str,
        tags: &Tagged,
        close: &str,
        lark: &mut Lark<'_>,
    ) -> Result<String, FormatError> {
        let body = self.raw_text(schema, place, tags.value_close, lark)?;
        let body = match lookalikes {
            "" => body,
            other => format!("({body} & ~({other}))"),
        };
        lark.until(&body, close)
    }

    /// Terminals for a string that stands as it is, up to a marker.
    fn raw_text(
        &self,
        schema: &Value,
        place: &Place<'_>,
        marker: &str,
        lark: &Lark<'_>,
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
        let mut parts = vec![lark.without(marker)];
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
    fn length(
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
    fn pattern(&self, pattern: &Value, place: &Place<'_>) -> Result<String, FormatError> {
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
        let mut escaped = false;
        let mut inside = false;
        for c in rest.chars() {
            let bad = match c {
                _ if escaped => matches!(c, 'b' | 'B' | '1'..='9' | 'k'),
                '[' => {
                    inside = true;
                    false
                }
                ']' => {
                    inside = false;
                    false
                }
                '^' | '$' => !inside,
                '|' => anchored && !inside && !rest.contains('('),
                _ => false,
            };
            if bad {
                return Err(self.error(place, format!("the pattern {pattern:?}")));
            }
            escaped = c == '\\' && !escaped;
        }
        // A bar outside of groups would take the anchors apart.
        let rest = rest.replace('\n', "\\n").replace('/', "\\/").replace("\\\\/", "\\/");
        Ok(format!("/{start}({rest}){end}/"))
    }

    /// A value in JSON, with the definitions that it refers to.
    fn json(
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

/// Whether a schema lets everything through.
fn is_free(schema: &Value) -> bool {
    match schema {
        Value::Bool(free) => *free,
        Value::Object(keys) => {
            keys.keys().all(|key| ANNOTATIONS.contains(&key.as_str()) || key.starts_with("x-"))
        }
        _ => false,
    }
}

/// Terminals for numbers, booleans and null.
fn scalars(types: Types, integer: bool, tags: &Tagged) -> Vec<String> {
    let mut words = Vec::new();
    if types.number {
        words.push(if integer { "/-?(0|[1-9][0-9]*)/".to_owned() } else { NUMBER.to_owned() });
    }
    let python = |word: &str| tags.python_scalars.then(|| literal(word));
    if types.boolean {
        words.extend([literal("true"), literal("false")]);
        words.extend(python("True").into_iter().chain(python("False")));
    }
    if types.null {
        words.push(literal("null"));
        words.extend(python("None"));
    }
    words
}

/// Terminals for texts that are read as something other than a string.
fn lookalikes(types: Types, tags: &Tagged) -> String {
    let space = "/[ \\t\\r\\n\\f]*/";
    let scalars = scalars(types, false, tags);
    let mut all = Vec::new();
    if !scalars.is_empty() {
        all.push(format!("{space} ({}) {space}", scalars.join(" | ")));
    }
    for (known, open) in [(types.array, "["), (types.object, "{")] {
        if known {
            all.push(format!("{space} {} {ANY}", literal(open)));
        }
    }
    all.join(" | ")
}

/// Values in Python's and Gemma's spelling.
impl Schemas<'_> {
    /// Arguments as an object of this dialect.
    pub(super) fn arguments(
        &mut self,
        tool: &Tool,
        dialect: Dialect,
        lark: &mut Lark<'_>,
    ) -> Result<String, FormatError> {
        let free = json!({"type": "object"});
        let place = Place::root(tool);
        let schema = if self.strict { tool.parameters() } else { &free };
        let keys = self.object(schema, &place)?;
        self.object_value(keys, &place, dialect, lark)
    }

    /// Arguments as keywords.
    pub(super) fn keywords(
        &mut self,
        tool: &Tool,
        lark: &mut Lark<'_>,
    ) -> Result<String, FormatError> {
        let free = json!({"type": "object"});
        let place = Place::root(tool);
        let schema = if self.strict { tool.parameters() } else { &free };
        let keys = self.object(schema, &place)?;
        let (members, others) = self.members(keys, &place)?;
        let mut all = Vec::new();
        for member in &members {
            let place = place.within("properties").within(&member.key);
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if member.key.is_empty() || !member.key.chars().all(is_word) {
                return Err(self.error(&place, "this key"));
            }
            let value = self.value(member.schema, &place, Dialect::Python, lark)?;
            all.push((
                format!("{} {value}", literal(&format!("{}=", member.key))),
                member.required,
            ));
        }
        let other = match others {
            None => None,
            Some(schema) => {
                let place = place.within("additionalProperties");
                let value = self.value(schema, &place, Dialect::Python, lark)?;
                Some(format!("/[a-zA-Z_][a-zA-Z0-9_]{{0,63}}=/ {value}"))
            }
        };
        self.sequence(&all, other, lark)
    }

    /// Members in order, those that are not required or not, with commas between.
    fn sequence(
        &self,
        members: &[(String, bool)],
        other: Option<String>,
        lark: &mut Lark<'_>,
    ) -> Result<String, FormatError> {
        let mut first = match &other {
            Some(other) => format!("({other} ({COMMA} {other})*)?"),
            None => String::new(),
        };
        let mut later = String::new();
        // From the last member to the first: what may follow as the first, and after another.
        for (member, required) in members.iter().rev() {
            let optional = |rest: &str, rule: String| match required {
                true => rule,
                false if rest.is_empty() => format!("({rule})?"),
                false => format!("{rule} | {rest}"),
            };
            let first_rule = optional(&first, format!("{member} {later}"));
            let later_rule = optional(&later, format!("{COMMA} {member} {later}"));
            first = lark.rule("members", &first_rule)?;
            later = lark.rule("members", &later_rule)?;
        }
        Ok(first)
    }

    fn value(
        &mut self,
        schema: &Value,
        place: &Place<'_>,
        dialect: Dialect,
        lark: &mut Lark<'_>,
    ) -> Result<String, FormatError> {
        if place.depth > 2 * MAX_DEPTH {
            return Err(self.error(place, "so much nesting"));
        }
        if is_free(schema) {
            return self.any_value(dialect, lark);
        }
        if let Some(reference) = schema.get("$ref") {
            return self.reference(schema, reference, place, dialect, lark);
        }
        let mut branches = Vec::new();
        self.branches(schema, place, &mut branches)?;
        let mut rules = Vec::new();
        for (branch, at) in &branches {
            let nested = branches.len() > 1 || branch != schema;
            rules.push(match branch.get("$ref") {
                Some(_) => self.value(branch, at, dialect, lark)?,
                None if is_free(branch) && nested => self.any_value(dialect, lark)?,
                None => self.branch_value(branch, at, dialect, lark)?,
            });
        }
        match rules.is_empty() {
            true => Err(self.error(place, "a choice of no value")),
            false => lark.rule("value", &rules.join(" | ")),
        }
    }

    fn reference(
        &mut self,
        schema: &Value,
        reference: &Value,
        place: &Place<'_>,
        dialect: Dialect,
        lark: &mut Lark<'_>,
    ) -> Result<String, FormatError> {
        if let Value::Object(keys) = schema {
            self.known(keys, &[&["$ref"]], place)?;
        }
        let at = place.within("$ref");
        let target = resolve(reference, place.schema())
            .ok_or_else(|| self.error(&at, reference.to_string()))?;
        let key = (place.tool.name().to_owned(), reference.to_string(), dialect == Dialect::Python);
        if let Some(rule) = self.references.get(&key) {
            return Ok(rule.clone());
        }
        let slot = lark.reserve("reference")?;
        self.references.insert(key, slot.0.clone());
        let value = self.value(target, &at, dialect, lark)?;
        if value == slot.0 {
            return Err(self.error(&at, "a reference to itself"));
        }
        Ok(lark.fill(slot, &value))
    }

    /// A value of one kind.
    fn branch_value(
        &mut self,
        schema: &Value,
        place: &Place<'_>,
        dialect: Dialect,
        lark: &mut Lark<'_>,
    ) -> Result<String, FormatError> {
        if let Some(values) = self.listed(schema, place)? {
            let rules: Vec<String> =
                values.iter().map(|value| constant(value, dialect, lark)).collect();
            return match rules.is_empty() {
                true => Err(self.error(place, "a choice of no value")),
                false => lark.rule("value", &rules.join(" | ")),
            };
        }
        let Value::Object(keys) = schema else {
            return Err(self.error(place, "a schema that lets nothing through"));
        };
        let implied = [("properties", "object"), ("items", "array")];
        let implied =
            implied.iter().find(|(key, _)| keys.contains_key(*key)).map(|(_, kind)| *kind);
        match keys.get("type").and_then(Value::as_str).or(implied) {
            Some("string") => self.text_value(keys, schema, place, dialect, lark),
            Some("number" | "integer") => {
                self.known(keys, &[NUMBER_KEYS], place)?;
                self.json(schema, place, lark)
            }
            Some("boolean") => {
                self.known(keys, &[&[]], place)?;
                Ok(any_of(&["true", "false", "True", "False"]))
            }
            Some("null") => {
                self.known(keys, &[&[]], place)?;
                Ok(any_of(&["null", "None"]))
            }
            Some("array") => self.array_value(keys, place, dialect, lark),
            Some("object") => {
                self.known(keys, &[OBJECT_KEYS], place)?;
                self.object_value(keys, place, dialect, lark)
            }
            _ => Err(self.error(place, "a schema without \"type\"")),
        }
    }

    fn text_value(
        &self,
        keys: &Map<String, Value>,
        schema: &Value,
        place: &Place<'_>,
        dialect: Dialect,
        lark: &mut Lark<'_>,
    ) -> Result<String, FormatError> {
        if dialect == Dialect::Gemma {
            let body = self.raw_text(schema, place, GEMMA_QUOTE, lark)?;
            let text = lark.until(&body, GEMMA_QUOTE)?;
            return Ok(format!("{} {text}", lark.exact(GEMMA_QUOTE)));
        }
        self.known(keys, &[STRING_KEYS], place)?;
        if keys.contains_key("pattern") {
            return Err(self.error(&place.within("pattern"), "\"pattern\""));
        }
        let mut texts = Vec::new();
        for quote in ["'", "\\x22"] {
            let unit =
                format!("/([^{quote}\\\\]|\\\\['\\x22\\\\nrtbf\\/]|\\\\u00[0-9a-fA-F]{{2}})/");
            let body = self.length(keys, &unit, place)?.unwrap_or_else(|| format!("{unit}*"));
            let quote = if quote == "'" { "\"'\"" } else { "\"\\\"\"" };
            texts.push(lark.terminal(&format!("{quote} {body} {quote}"))?);
        }
        lark.rule("text", &texts.join(" | "))
    }

    fn array_value(
        &mut self,
        keys: &Map<String, Value>,
        place: &Place<'_>,
        dialect: Dialect,
        lark: &mut Lark<'_>,
    ) -> Result<String, FormatError> {
        self.known(keys, &[ARRAY_KEYS], place)?;
        let item = match keys.get("items") {
            None => self.any_value(dialect, lark)?,
            Some(schema) => self.value(schema, &place.within("items"), dialect, lark)?,
        };
        let limit = |key: &str| match keys.get(key) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(n) if n <= 1 << 16 => Ok(Some(n)),
                _ => Err(self.error(&place.within(key), format!("{value}"))),
            },
        };
        let (least, most) = (limit("minItems")?.unwrap_or(0), limit("maxItems")?);
        if most.is_some_and(|most| most < least) {
            return Err(self.error(place, "\"maxItems\" below \"minItems\""));
        }
        if most == Some(0) {
            return Ok(literal("[]"));
        }
        let more = most.map_or(String::new(), |most| (most - 1).to_string());
        let items = match most {
            Some(1) => item,
            _ => format!("{item} ({COMMA} {item}){{{},{more}}}", least.saturating_sub(1)),
        };
        let items = if least == 0 { format!("({items})?") } else { items };
        lark.rule("array", &format!("\"[\" {items} \"]\""))
    }

    fn object_value(
        &mut self,
        keys: &Map<String, Value>,
        place: &Place<'_>,
        dialect: Dialect,
        lark: &mut Lark<'_>,
    ) -> Result<String, FormatError> {
        let (mut members, others) = self.members(keys, place)?;
        if dialect == Dialect::Gemma {
            members.sort_by_key(|member| member.key.to_lowercase());
        }
        let mut all = Vec::new();
        for member in &members {
            let place = place.within("properties").within(&member.key);
            let bare = |key: &str| !key.is_empty() && key.chars().all(is_key_char);
            if !bare(&member.key) && dialect == Dialect::Gemma {
                return Err(self.error(&place, "this key"));
            }
            let value = self.value(member.schema, &place, dialect, lark)?;
            let key = match dialect {
                Dialect::Gemma => literal(&format!("{}:", member.key)),
                Dialect::Python | Dialect::Json => {
                    format!("{} {COLON}", constant(&json!(member.key), dialect, lark))
                }
            };
            all.push((format!("{key} {value}"), member.required));
        }
        let other = match others {
            None => None,
            Some(schema) => {
                let place = place.within("additionalProperties");
                let value = self.value(schema, &place, dialect, lark)?;
                Some(format!("{} {value}", any_key(dialect)))
            }
        };
        let members = self.sequence(&all, other, lark)?;
        lark.rule("object", &format!("\"{{\" {members} \"}}\""))
    }

    /// Any value at all.
    fn any_value(&mut self, dialect: Dialect, lark: &mut Lark<'_>) -> Result<String, FormatError> {
        if let Some(rule) = self.any.get(&(dialect == Dialect::Python)) {
            return Ok(rule.clone());
        }
        let slot = lark.reserve("any")?;
        self.any.insert(dialect == Dialect::Python, slot.0.clone());
        let any = slot.0.clone();
        let tool = Tool::new("any", None)?;
        let text = json!({"type": "string"});
        let keys = Map::new();
        let text = self.text_value(&keys, &text, &Place::root(&tool), dialect, lark)?;
        let words = any_of(&["null", "None", "true", "false", "True", "False"]);
        let member = format!("{} {any}", any_key(dialect));
        let body = format!(
            "{text} | {NUMBER} | {words} | \"[\" ({any} ({COMMA} {any})*)? \"]\" | \"{{\" ({member} ({COMMA} {member})*)? \"}}\""
        );
        Ok(lark.fill(slot, &body))
    }
}

/// Whether Gemma's bare keys may have this character.
fn is_key_char(c: char) -> bool {
    !"{}[],:<".contains(c) && !c.is_whitespace() && !"\"'".contains(c)
}

/// A key that no schema names.
fn any_key(dialect: Dialect) -> String {
    match dialect {
        Dialect::Gemma => "/[a-zA-Z_][a-zA-Z0-9_\\-]{0,63}:/".to_owned(),
        Dialect::Python | Dialect::Json => {
            format!("/\\x22[a-zA-Z0-9_\\- .]{{1,64}}\\x22/ {COLON}")
        }
    }
}

fn any_of(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| literal(word)).collect();
    format!("({})", words.join(" | "))
}

/// One value, in the dialect's spelling.
fn constant(value: &Value, dialect: Dialect, lark: &Lark<'_>) -> String {
    let comma_separated = |items: Vec<String>| items.join(&format!(" {COMMA} "));
    match value {
        Value::Null => any_of(&["null", "None"]),
        Value::Bool(true) => any_of(&["true", "True"]),
        Value::Bool(false) => any_of(&["false", "False"]),
        Value::Number(number) => literal(&number.to_string()),
        Value::String(text) if dialect == Dialect::Gemma => {
            lark.exact(&format!("{GEMMA_QUOTE}{text}{GEMMA_QUOTE}"))
        }
        Value::String(text) => {
            let json = value.to_string();
            let single = json[1..json.len() - 1].replace("\\\"", "\"").replace('\'', "\\'");
            let raw = !text.contains(['\'', '\\']);
            let plain = raw.then(|| literal(&format!("'{text}'")));
            let mut spellings = vec![literal(&json), literal(&format!("'{single}'"))];
            spellings.extend(plain.filter(|plain| !spellings.contains(plain)));
            format!("({})", spellings.join(" | "))
        }
        Value::Array(items) => {
            let items = items.iter().map(|item| constant(item, dialect, lark)).collect();
            format!("\"[\" {} \"]\"", comma_separated(items))
        }
        Value::Object(keys) => {
            let member = |(key, value): (&String, &Value)| match dialect {
                Dialect::Gemma => {
                    format!("{} {}", literal(&format!("{key}:")), constant(value, dialect, lark))
                }
                Dialect::Python | Dialect::Json => format!(
                    "{} {COLON} {}",
                    constant(&json!(key), dialect, lark),
                    constant(value, dialect, lark)
                ),
            };
            format!("\"{{\" {} \"}}\"", comma_separated(keys.iter().map(member).collect()))
        }
    }
}
