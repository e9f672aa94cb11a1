//! Grammars of values in Python's and Gemma's spelling.

use serde_json::{Map, Value, json};

use super::data::Dialect;
use super::lark::{Lark, literal};
use super::scan::{GEMMA_QUOTE, MAX_DEPTH};
use super::schema::{
    ARRAY_KEYS, NUMBER, NUMBER_KEYS, OBJECT_KEYS, Place, STRING_KEYS, Schemas, is_free,
};
use super::tools::{Tool, resolve};
use crate::error::FormatError;

/// Between the parts of a list or an object outside of JSON.
const COMMA: &str = "/, ?/";
const COLON: &str = "/: ?/";

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
            // Python's identifiers have letters of all scripts.
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
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
            let body = self.raw_text(schema, place, GEMMA_QUOTE)?;
            let text = lark.until(&body, GEMMA_QUOTE)?;
            return Ok(format!("{} {text}", lark.exact(GEMMA_QUOTE)));
        }
        self.known(keys, &[STRING_KEYS], place)?;
        let pattern = keys.get("pattern");
        let pattern = pattern.map(|pattern| self.pattern(pattern, &place.within("pattern")));
        let pattern = pattern.transpose()?;
        let mut texts = Vec::new();
        for quote in ["'", "\\x22"] {
            let escaped = "\\\\['\\x22\\\\nrtbf\\/]|\\\\u00[0-9a-fA-F]{2}";
            let unit = match pattern {
                // A pattern speaks of characters, so each stands for itself.
                Some(_) => format!("/[^{quote}\\\\]/"),
                None => format!("/([^{quote}\\\\]|{escaped})/"),
            };
            let body = self.length(keys, &unit, place)?.unwrap_or_else(|| format!("{unit}*"));
            let body = match &pattern {
                Some(pattern) => format!("({body} & {pattern})"),
                None => body,
            };
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
