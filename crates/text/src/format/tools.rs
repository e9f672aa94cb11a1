//! Tools: names and the schemas of their parameters, as far as formats need to know them.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::error::FormatError;

/// Most tools of one request.
pub const MAX_TOOLS: usize = 1024;
/// Longest name of a tool in bytes.
pub const MAX_TOOL_NAME_BYTES: usize = 128;
/// Most schemas that are looked at for the properties of one tool.
const MAX_PROPERTY_STEPS: usize = 256;
/// Most schemas that are looked at for the kinds of one value.
const MAX_TYPE_STEPS: usize = 256;

/// A tool that a model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    name: String,
    parameters: Value,
}

impl Tool {
    /// A tool and the JSON schema of its arguments, which must be an object's. Without a schema
    /// the tool takes no arguments, as in OpenAI's API.
    ///
    /// # Errors
    /// A name that is empty, longer than [`MAX_TOOL_NAME_BYTES`] or has other characters than
    /// ASCII letters, digits, `_`, `-` and `.`; parameters that are not an object's.
    pub fn new(name: &str, parameters: Option<Value>) -> Result<Tool, FormatError> {
        if name.is_empty() || name.len() > MAX_TOOL_NAME_BYTES || !name.chars().all(is_name_char) {
            return Err(FormatError::ToolName {
                name: name.chars().take(MAX_TOOL_NAME_BYTES).collect(),
                expected: "1 to 128 ASCII letters, digits, '_', '-' or '.'",
            });
        }
        let parameters = match parameters {
            None | Some(Value::Null) => {
                json!({"type": "object", "properties": {}, "additionalProperties": false})
            }
            Some(parameters) => parameters,
        };
        let tool = Tool { name: name.to_owned(), parameters };
        if tool.parameters.is_object() && types_of(&tool.parameters, &tool.parameters).object {
            return Ok(tool);
        }
        Err(FormatError::Malformed {
            place: format!("tool \"{name}\", parameters"),
            expected: "the schema of an object",
            got: tool.parameters.get("type").unwrap_or(&tool.parameters).to_string(),
        })
    }

    /// The tools of a request in OpenAI's form, `[{"type": "function", "function": {…}}, …]`.
    ///
    /// # Errors
    /// Another form, more than [`MAX_TOOLS`], two of one name, and as [`Tool::new`].
    pub fn list(tools: &Value) -> Result<Vec<Tool>, FormatError> {
        let malformed = |place: String, expected, got: &Value| FormatError::Malformed {
            place,
            expected,
            got: got.to_string().chars().take(64).collect(),
        };
        let Some(items) = tools.as_array() else {
            return Err(malformed("tools".to_owned(), "a list", tools));
        };
        let mut list = Vec::new();
        for (i, item) in items.iter().enumerate() {
            if item["type"] != "function" {
                let place = format!("tools[{i}].type");
                return Err(malformed(place, "\"function\"", &item["type"]));
            }
            let function = &item["function"];
            let Some(name) = function["name"].as_str() else {
                let place = format!("tools[{i}].function.name");
                return Err(malformed(place, "a text", &function["name"]));
            };
            list.push(Tool::new(name, function.get("parameters").cloned())?);
        }
        check(&list)?;
        Ok(list)
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The schema of the arguments.
    pub fn parameters(&self) -> &Value {
        &self.parameters
    }
}

/// Refuses too many tools and two of one name.
pub(super) fn check(tools: &[Tool]) -> Result<(), FormatError> {
    if tools.len() > MAX_TOOLS {
        let got = tools.len();
        return Err(FormatError::TooLarge { what: "tools", got, limit: MAX_TOOLS });
    }
    let mut names = std::collections::HashSet::new();
    match tools.iter().find(|tool| !names.insert(tool.name())) {
        None => Ok(()),
        Some(tool) => Err(FormatError::ToolName {
            name: tool.name().to_owned(),
            expected: "a name for each tool",
        }),
    }
}

/// Whether a tool's name may have this character.
pub(super) fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

/// The kinds of values that a schema lets through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Types {
    pub(super) string: bool,
    pub(super) number: bool,
    pub(super) boolean: bool,
    pub(super) null: bool,
    pub(super) array: bool,
    pub(super) object: bool,
}

impl Types {
    pub(super) const ANY: Types =
        Types { string: true, number: true, boolean: true, null: true, array: true, object: true };

    /// Whether strings are all there is.
    pub(super) fn only_strings(self) -> bool {
        self == Types { string: true, ..Types::default() }
    }

    /// Whether a JSON text is of one of these kinds, by its first character.
    pub(super) fn admit(self, json: &str) -> bool {
        match json.as_bytes().first() {
            Some(b'"') => self.string,
            Some(b't' | b'f') => self.boolean,
            Some(b'n') => self.null,
            Some(b'[') => self.array,
            Some(b'{') => self.object,
            Some(_) => self.number,
            None => false,
        }
    }

    fn of_name(name: &str) -> Types {
        let none = Types::default();
        match name {
            "string" => Types { string: true, ..none },
            "number" | "integer" => Types { number: true, ..none },
            "boolean" => Types { boolean: true, ..none },
            "null" => Types { null: true, ..none },
            "array" => Types { array: true, ..none },
            "object" => Types { object: true, ..none },
            _ => none,
        }
    }

    pub(super) fn of_value(value: &Value) -> Types {
        Types::of_name(match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        })
    }

    fn zip(self, other: Types, both: impl Fn(bool, bool) -> bool) -> Types {
        Types {
            string: both(self.string, other.string),
            number: both(self.number, other.number),
            boolean: both(self.boolean, other.boolean),
            null: both(self.null, other.null),
            array: both(self.array, other.array),
            object: both(self.object, other.object),
        }
    }

    fn union(all: impl Iterator<Item = Types>) -> Types {
        all.fold(Types::default(), Types::or)
    }

    fn or(self, other: Types) -> Types {
        self.zip(other, |a, b| a || b)
    }

    /// Whether a value can be of both.
    pub(super) fn meets(self, other: Types) -> bool {
        self.and(other) != Types::default()
    }

    fn and(self, other: Types) -> Types {
        self.zip(other, |a, b| a && b)
    }
}

/// The kinds of values that a schema, somewhere in `root`, lets through; more where it is not
/// understood.
pub(super) fn types_of(schema: &Value, root: &Value) -> Types {
    types_within(schema, root, &mut { MAX_TYPE_STEPS })
}

fn types_within(schema: &Value, root: &Value, left: &mut usize) -> Types {
    let Value::Object(keys) = schema else {
        return if schema == &Value::Bool(false) { Types::default() } else { Types::ANY };
    };
    if *left == 0 {
        return Types::ANY;
    }
    *left -= 1;
    let mut each = |schemas: &Value| -> Vec<Types> {
        let schemas = schemas.as_array().map_or(&[][..], Vec::as_slice);
        schemas.iter().map(|schema| types_within(schema, root, left)).collect()
    };
    let mut types = Types::ANY;
    for key in ["anyOf", "oneOf"] {
        if let Some(schemas) = keys.get(key) {
            types = types.and(Types::union(each(schemas).into_iter()));
        }
    }
    if let Some(schemas) = keys.get("allOf") {
        types = each(schemas).into_iter().fold(types, Types::and);
    }
    if let Some(target) = keys.get("$ref").and_then(|r| resolve(r, root)) {
        types = types.and(types_within(target, root, left));
    }
    match keys.get("type") {
        Some(Value::String(name)) => types = types.and(Types::of_name(name)),
        Some(Value::Array(names)) => {
            let names = names.iter().filter_map(Value::as_str);
            types = types.and(Types::union(names.map(Types::of_name)));
        }
        _ => {}
    }
    if let Some(Value::Array(values)) = keys.get("enum") {
        types = types.and(Types::union(values.iter().map(Types::of_value)));
    }
    if let Some(value) = keys.get("const") {
        types = types.and(Types::of_value(value));
    }
    types
}

/// What a reference within one schema, `#/…`, points to.
pub(super) fn resolve<'a>(reference: &Value, root: &'a Value) -> Option<&'a Value> {
    let pointer = reference.as_str()?.strip_prefix('#')?;
    root.pointer(&pointer.replace("%25", "%"))
}

/// The properties that a schema names, through references and `allOf`.
pub(super) fn properties<'a>(schema: &'a Value, root: &'a Value) -> Vec<&'a Map<String, Value>> {
    let mut found = Vec::new();
    let mut left = vec![schema];
    for _ in 0..MAX_PROPERTY_STEPS {
        let Some(schema) = left.pop() else { break };
        found.extend(schema.get("properties").and_then(Value::as_object));
        left.extend(schema.get("$ref").and_then(|r| resolve(r, root)));
        for key in ["allOf", "anyOf", "oneOf"] {
            left.extend(schema.get(key).and_then(Value::as_array).into_iter().flatten());
        }
    }
    found
}

/// The tools as a parser looks them up.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    tools: HashMap<String, HashMap<String, Types>>,
}

impl Index {
    pub(super) fn new(tools: &[Tool]) -> Index {
        let keys = |tool: &Tool| {
            let root = tool.parameters();
            let mut keys: HashMap<String, Types> = HashMap::new();
            for (key, schema) in properties(root, root).into_iter().flatten() {
                let known = keys.entry(key.clone()).or_default();
                *known = known.or(types_of(schema, root));
            }
            keys
        };
        Index { tools: tools.iter().map(|tool| (tool.name.clone(), keys(tool))).collect() }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.tools.contains_key(name)
    }

    /// The kinds of values of a parameter, any where the schema says nothing.
    pub(super) fn types(&self, name: &str, key: &str) -> Types {
        let types = self.tools.get(name).and_then(|keys| keys.get(key));
        types.copied().unwrap_or(Types::ANY)
    }
}
