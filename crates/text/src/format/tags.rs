//! Grammars of parameters in tags.

use serde_json::{Value, json};

use super::data::{KeyClose, Tagged};
use super::lark::{ANY, Lark, literal};
use super::schema::{NUMBER, NUMBER_KEYS, Place, Schemas, is_free};
use super::tools::{Tool, Types, types_of};
use crate::error::FormatError;

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
        let body = self.raw_text(schema, place, tags.value_close)?;
        let body = match lookalikes {
            "" => body,
            other => format!("({body} & ~({other}))"),
        };
        lark.until(&body, close)
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
