//! What JSON values are, described once: the check of a parameter, its schema in the document of
//! the interface, and the values that tests draw all come from one [`Shape`].

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::fields::FieldError;
use crate::parameters::{Parameter, Treatment};

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// Anything.
    Any,
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// An integer from the first to the second, both included.
    Integer(i64, i64),
    /// A number from the first to the second, both included.
    Number(f64, f64),
    /// A string.
    Text,
    /// A string that is JSON in itself.
    JsonText,
    /// One of these strings.
    Word(&'static [&'static str]),
    /// A list.
    List {
        /// What its items are.
        of: &'static Shape,
        /// Fewest items.
        min: usize,
        /// Most items.
        max: usize,
    },
    /// An object with any keys.
    Map(&'static Shape),
    /// An object that maps token ids in decimal to what this says.
    ByToken(&'static Shape),
    /// An object with known fields.
    Record(&'static Record),
    /// An object whose fields are the parameters of a table.
    Table(&'static [Parameter]),
    /// Any of these.
    Either(&'static [Shape]),
}

/// An object with known fields; further ones are read past, and listed where a client sent them.
#[derive(Debug, PartialEq)]
pub struct Record {
    /// Its name among the schemas of the document.
    pub name: &'static str,
    /// Its fields.
    pub fields: &'static [Field],
    /// At least one of these is there, where any are named.
    pub some_of: &'static [&'static str],
    /// Whether further fields are refused.
    pub is_closed: bool,
}

impl Record {
    /// A record that has these fields and may have others.
    #[must_use]
    pub(crate) const fn new(name: &'static str, fields: &'static [Field]) -> Self {
        Self { name, fields, some_of: &[], is_closed: false }
    }
}

/// A field of a record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub shape: Shape,
    /// When it is there.
    pub presence: Presence,
}

/// When a field is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Always, and not `null`.
    Always,
    /// Always; `null` where there is nothing to say.
    Nullable,
    /// Where there is something to say; `null` says nothing too.
    Optional,
}

/// A field that is always there.
pub(crate) const fn always(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, presence: Presence::Always }
}

/// A field that is always there and may be `null`.
pub(crate) const fn nullable(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, presence: Presence::Nullable }
}

/// A field that may be left out.
pub(crate) const fn optional(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, presence: Presence::Optional }
}

/// A count, in fields that may be 0.
pub(crate) const COUNT: Shape = Shape::Integer(0, i64::MAX);
/// A count of at least one.
pub(crate) const POSITIVE: Shape = Shape::Integer(1, i64::MAX);
/// Any integer that 64 bits hold.
pub(crate) const INTEGER: Shape = Shape::Integer(i64::MIN, i64::MAX);
/// A count, or -1 for all.
pub(crate) const COUNT_OR_ALL: Shape = Shape::Integer(-1, i64::MAX);
/// A share of a whole.
pub(crate) const SHARE: Shape = Shape::Number(0.0, 1.0);
/// Any number of strings.
pub(crate) const TEXTS: Shape = list(&Shape::Text);
/// A string or a list of strings.
pub(crate) const STRINGS: Shape = Shape::Either(&[Shape::Text, TEXTS]);
/// Token ids.
pub(crate) const TOKENS: Shape = list(&Shape::Integer(0, u32::MAX as i64));
/// A JSON schema.
pub(crate) const SCHEMA: Shape = Shape::Either(&[OBJECT, Shape::Bool]);
/// Any object.
pub(crate) const OBJECT: Shape = Shape::Map(&Shape::Any);
/// Any number from nothing on.
pub(crate) const AMOUNT: Shape = Shape::Number(0.0, f64::MAX);

/// Any number.
pub(crate) const NUMBER: Shape = Shape::Number(f64::MIN, f64::MAX);

/// A list of any length.
pub(crate) const fn list(of: &'static Shape) -> Shape {
    Shape::List { of, min: 0, max: usize::MAX }
}

/// A list with something in it.
pub(crate) const fn filled(of: &'static Shape) -> Shape {
    Shape::List { of, min: 1, max: usize::MAX }
}

/// Most digits of a token id in a key.
pub(crate) const TOKEN_DIGITS_MAX: usize = 9;

fn is_token_key(key: &str) -> bool {
    (1..=TOKEN_DIGITS_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_digit())
}

impl Shape {
    /// Whether a value is of this shape. Records are looked at as objects alone: what reads their
    /// fields checks them, and names the one that is wrong.
    pub(crate) fn holds(&self, value: &Value) -> bool {
        match self {
            Self::Any => true,
            Self::Null => value.is_null(),
            Self::Bool => value.is_boolean(),
            Self::Integer(min, max) => value.as_i64().is_some_and(|n| (*min..=*max).contains(&n)),
            Self::Number(min, max) => value.as_f64().is_some_and(|n| (*min..=*max).contains(&n)),
            Self::Text => value.is_string(),
            Self::JsonText => {
                value.as_str().is_some_and(|text| serde_json::from_str::<Value>(text).is_ok())
            }
            Self::Word(words) => value.as_str().is_some_and(|word| words.contains(&word)),
            Self::List { of, min, max } => value.as_array().is_some_and(|items| {
                (*min..=*max).contains(&items.len()) && items.iter().all(|item| of.holds(item))
            }),
            Self::Map(of) => value.as_object().is_some_and(|map| map.values().all(|v| of.holds(v))),
            Self::ByToken(of) => value
                .as_object()
                .is_some_and(|map| map.iter().all(|(key, v)| is_token_key(key) && of.holds(v))),
            Self::Record(_) | Self::Table(_) => value.is_object(),
            Self::Either(shapes) => shapes.iter().any(|shape| shape.holds(value)),
        }
    }

    /// What of a value is not of this shape, by the deepest name that is certain.
    pub(crate) fn fault(&self, value: &Value, path: String) -> Option<FieldError> {
        if self.holds(value) {
            return None;
        }
        match (self, value) {
            (Self::List { of, min, max }, Value::Array(items))
                if (*min..=*max).contains(&items.len()) =>
            {
                let fault = |(at, item)| of.fault(item, format!("{path}[{at}]"));
                items.iter().enumerate().find_map(fault)
            }
            (Self::Map(of), Value::Object(map)) => {
                map.iter().find_map(|(key, value)| of.fault(value, format!("{path}.{key}")))
            }
            (Self::ByToken(of), Value::Object(map)) => map.iter().find_map(|(key, value)| {
                let path = format!("{path}.{key}");
                if is_token_key(key) {
                    return of.fault(value, path);
                }
                let message = format!("{path}: expected a token id as key");
                Some(FieldError::new(path, message))
            }),
            _ => Some(FieldError::expected(path, &self.described(), value)),
        }
    }

    /// What it is, in words for an error.
    pub(crate) fn described(&self) -> String {
        match self {
            Self::Any => "any value".to_owned(),
            Self::Null => "null".to_owned(),
            Self::Bool => "true or false".to_owned(),
            Self::Integer(i64::MIN, i64::MAX) => "an integer".to_owned(),
            Self::Integer(min, i64::MAX) => format!("an integer of at least {min}"),
            Self::Integer(min, max) => format!("an integer from {min} to {max}"),
            Self::Number(min, max) => format!("a number from {min} to {max}"),
            Self::Text => "a string".to_owned(),
            Self::JsonText => "a string that is JSON".to_owned(),
            Self::Word(words) => words_in_words(words),
            Self::List { of: Self::Integer(0, max), .. } if *max == i64::from(u32::MAX) => {
                "a list of token ids".to_owned()
            }
            Self::List { of: Self::Text, .. } => "a list of strings".to_owned(),
            Self::List { min: 0, max: usize::MAX, .. } => "a list".to_owned(),
            Self::List { min, max: usize::MAX, .. } => format!("a list of at least {min}"),
            Self::List { of, min, max } => {
                format!("a list of {min} to {max}, each {}", of.described())
            }
            Self::ByToken(of) => format!("token ids with {} each", of.described()),
            Self::Map(Self::Text) => "an object with strings".to_owned(),
            Self::Map(_) | Self::Record(_) | Self::Table(_) => "an object".to_owned(),
            Self::Either(shapes) => {
                let mut words: Vec<String> = Vec::new();
                for shape in *shapes {
                    let word = shape.described();
                    if !words.contains(&word) {
                        words.push(word);
                    }
                }
                words.join(" or ")
            }
        }
    }

    /// Its JSON schema; records are referred to by name.
    #[must_use]
    pub fn schema(&self) -> Value {
        match self {
            Self::Any => json!({}),
            Self::Null => json!({"type": "null"}),
            Self::Bool => json!({"type": "boolean"}),
            Self::Integer(min, max) => json!({"type": "integer", "minimum": min, "maximum": max}),
            Self::Number(min, max) => number_schema(*min, *max),
            Self::Text => json!({"type": "string"}),
            Self::JsonText => json!({"type": "string", "contentMediaType": "application/json"}),
            Self::Word(words) => json!({"type": "string", "enum": words}),
            Self::List { of, min, max } => {
                let mut schema = json!({"type": "array", "items": of.schema()});
                if *min > 0 {
                    schema["minItems"] = json!(min);
                }
                if *max < usize::MAX {
                    schema["maxItems"] = json!(max);
                }
                schema
            }
            Self::Map(Self::Any) => json!({"type": "object"}),
            Self::Map(of) => json!({"type": "object", "additionalProperties": of.schema()}),
            Self::ByToken(of) => json!({
                "type": "object",
                "propertyNames": {"pattern": format!("^[0-9]{{1,{TOKEN_DIGITS_MAX}}}$")},
                "additionalProperties": of.schema(),
            }),
            Self::Record(record) => reference(record.name),
            Self::Table(table) => table_schema(table, &[]),
            Self::Either(shapes) => {
                json!({"anyOf": shapes.iter().map(Self::schema).collect::<Vec<_>>()})
            }
        }
    }

    /// Adds the schemas of the records that it is made of, by name.
    pub(crate) fn collect(&self, schemas: &mut BTreeMap<&'static str, Value>) {
        match self {
            Self::List { of, .. } | Self::Map(of) | Self::ByToken(of) => of.collect(schemas),
            Self::Either(shapes) => shapes.iter().for_each(|shape| shape.collect(schemas)),
            Self::Table(table) => table.iter().for_each(|row| row.shape.collect(schemas)),
            Self::Record(record) if !schemas.contains_key(record.name) => {
                schemas.insert(record.name, record.schema());
                record.fields.iter().for_each(|field| field.shape.collect(schemas));
            }
            _ => {}
        }
    }
}

/// What makes a schema take `null` too, which asks for nothing.
fn or_null(schema: Value) -> Value {
    let is_anything = schema.as_object().is_some_and(Map::is_empty);
    if is_anything { schema } else { json!({"anyOf": [schema, {"type": "null"}]}) }
}

fn number_schema(min: f64, max: f64) -> Value {
    let mut schema = json!({"type": "number"});
    if min > f64::MIN {
        schema["minimum"] = json!(min);
    }
    if max < f64::MAX {
        schema["maximum"] = json!(max);
    }
    schema
}

pub(crate) fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn words_in_words(words: &[&str]) -> String {
    match words {
        [one] => one.to_string(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
        [] => "nothing".to_owned(),
    }
}

impl Record {
    /// Its JSON schema.
    #[must_use]
    pub fn schema(&self) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in self.fields {
            let schema = field.shape.schema();
            let schema = match (field.presence, field.shape) {
                (Presence::Always, Shape::Any) => json!({"not": {"type": "null"}}),
                (Presence::Always, _) => schema,
                (Presence::Nullable | Presence::Optional, _) => or_null(schema),
            };
            properties.insert(field.name.to_owned(), schema);
            if field.presence != Presence::Optional {
                required.push(field.name);
            }
        }
        let mut schema = json!({"type": "object", "properties": properties, "required": required});
        if !self.some_of.is_empty() {
            let is_there = |name: &&str| {
                let not_null =
                    Map::from_iter([((*name).to_owned(), json!({"not": {"type": "null"}}))]);
                json!({"required": [name], "properties": not_null})
            };
            schema["anyOf"] = self.some_of.iter().map(is_there).collect();
        }
        if self.is_closed {
            schema["additionalProperties"] = json!(false);
        }
        schema
    }
}

/// The schema of an object with the parameters of a table; `unneeded` are not asked for although
/// their rows say so.
pub(crate) fn table_schema(table: &[Parameter], unneeded: &[&str]) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for row in table {
        let is_needed = row.is_needed && !unneeded.contains(&row.name);
        if is_needed {
            required.push(row.name);
        }
        properties.insert(row.name.to_owned(), parameter_schema(row, is_needed));
    }
    json!({"type": "object", "properties": properties, "required": required})
}

/// A parameter's schema: of one that is refused, the values that ask for nothing.
fn parameter_schema(row: &Parameter, is_needed: bool) -> Value {
    let (mut schema, about) = match row.treatment {
        Treatment::Honoured if is_needed => (row.shape.schema(), row.about.to_owned()),
        Treatment::Honoured => (or_null(row.shape.schema()), row.about.to_owned()),
        Treatment::WithoutEffect => (json!({}), "Accepted without effect.".to_owned()),
        Treatment::Refused { unless, why } => {
            let mut values = vec![Value::Null];
            for value in unless.iter().filter_map(|text| serde_json::from_str::<Value>(text).ok()) {
                // To a schema, 0 and 0.0 are the same.
                let is_same = |known: &Value| {
                    known == &value || known.as_f64().is_some_and(|n| value.as_f64() == Some(n))
                };
                if !values.iter().any(is_same) {
                    values.push(value);
                }
            }
            (json!({"enum": values}), format!("Refused: {why}."))
        }
    };
    if !about.is_empty() {
        schema["description"] = json!(about);
    }
    schema["x-freehold-treatment"] = json!(row.treatment.word());
    schema
}
