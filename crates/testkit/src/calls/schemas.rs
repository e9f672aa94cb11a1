//! Tools with schemas of many kinds. Every string and list in them has a bound, so that answers
//! drawn at random come to an end.

use serde_json::{Value, json};

/// Tools that are offered together.
#[derive(Clone, Debug)]
pub struct ToolSet {
    /// What is special about them.
    pub title: &'static str,
    /// The tools as OpenAI's API takes them: a list.
    pub tools: Vec<Value>,
}

impl ToolSet {
    /// The name of a tool by its place.
    pub fn name_of(&self, tool: usize) -> &str {
        self.tools[tool]["function"]["name"].as_str().unwrap_or("")
    }

    /// Whether a call of this name has these arguments, or why not.
    pub(super) fn check(&self, name: &str, arguments: &str) -> Result<(), String> {
        let tool = (0..self.tools.len()).find(|&tool| self.name_of(tool) == name);
        let tool = tool.ok_or_else(|| format!("no tool {name:?}"))?;
        let value: Value = serde_json::from_str(arguments)
            .map_err(|error| format!("{name}: {error} in {arguments:?}"))?;
        let nothing = json!({"type": "object", "maxProperties": 0});
        let schema = self.tools[tool]["function"].get("parameters").unwrap_or(&nothing);
        let validator = jsonschema::validator_for(schema).map_err(|error| error.to_string())?;
        match validator.iter_errors(&value).next() {
            None => Ok(()),
            Some(error) => Err(format!("{name}: {error} in {arguments:?}")),
        }
    }
}

fn tool(name: &str, parameters: Value) -> Value {
    json!({"type": "function", "function": {
        "name": name, "description": "Does what its name says.", "strict": true,
        "parameters": parameters,
    }})
}

/// The sets, which every format can be held to.
pub fn tool_sets() -> Vec<ToolSet> {
    vec![
        ToolSet { title: "enums, bounds and optional fields", tools: plain() },
        ToolSet { title: "no parameters", tools: empty() },
        ToolSet { title: "nested objects and lists", tools: nested() },
        ToolSet { title: "patterns and lengths", tools: patterns() },
        ToolSet { title: "references", tools: references() },
        ToolSet { title: "names and values beyond ASCII", tools: beyond_ascii() },
    ]
}

fn plain() -> Vec<Value> {
    vec![
        tool(
            "get_weather",
            json!({
                "type": "object",
                "properties": {
                    "city": {"enum": ["Paris", "New York", "Oslo"]},
                    "days": {"type": "integer", "minimum": 1, "maximum": 14},
                    "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                    "detailed": {"type": "boolean"},
                },
                "required": ["city", "days"],
                "additionalProperties": false,
            }),
        ),
        tool(
            "set-level.v2",
            json!({
                "type": "object",
                "properties": {
                    "level": {"type": "integer", "minimum": -3, "maximum": 120},
                    "ratio": {"type": "number", "minimum": 0, "maximum": 1},
                    "mode": {"const": "manual"},
                    "note": {"anyOf": [{"type": "string", "maxLength": 12}, {"type": "null"}]},
                },
                "required": ["level"],
                "additionalProperties": false,
            }),
        ),
    ]
}

fn empty() -> Vec<Value> {
    let mut bare = tool("now", json!(null));
    if let Some(function) = bare["function"].as_object_mut() {
        function.remove("parameters");
    }
    vec![
        bare,
        tool("ping", json!({"type": "object", "properties": {}, "additionalProperties": false})),
        tool(
            "maybe",
            json!({
                "type": "object",
                "properties": {"flag": {"type": "boolean"}, "nothing": {"type": "null"}},
                "additionalProperties": false,
            }),
        ),
    ]
}

fn nested() -> Vec<Value> {
    let point = json!({
        "type": "object",
        "properties": {
            "x": {"type": "integer", "minimum": 0, "maximum": 99},
            "y": {"type": "integer", "minimum": 0, "maximum": 99},
            "label": {"type": "string", "maxLength": 8},
        },
        "required": ["x", "y"],
        "additionalProperties": false,
    });
    vec![
        tool(
            "draw",
            json!({
                "type": "object",
                "properties": {
                    "points": {"type": "array", "items": point, "minItems": 1, "maxItems": 3},
                    "style": {
                        "type": "object",
                        "properties": {
                            "colour": {"enum": ["red", "green", "blue"]},
                            "dashes": {
                                "type": "array", "maxItems": 4,
                                "items": {"type": "integer", "minimum": 1, "maximum": 9},
                            },
                        },
                        "required": ["colour"],
                        "additionalProperties": false,
                    },
                },
                "required": ["points", "style"],
                "additionalProperties": false,
            }),
        ),
        tool(
            "table",
            json!({
                "type": "object",
                "properties": {"rows": {
                    "type": "array", "minItems": 1, "maxItems": 3,
                    "items": {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 2},
                }},
                "required": ["rows"],
                "additionalProperties": false,
            }),
        ),
    ]
}

fn patterns() -> Vec<Value> {
    vec![
        tool(
            "find_order",
            json!({
                "type": "object",
                "properties": {
                    "id": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4}$"},
                    "date": {"type": "string", "pattern": "^20[0-9]{2}-(0[1-9]|1[0-2])-[0-3][0-9]$"},
                },
                "required": ["id"],
                "additionalProperties": false,
            }),
        ),
        tool(
            "write_note",
            json!({
                "type": "object",
                "properties": {
                    "title": {"type": "string", "minLength": 1, "maxLength": 12},
                    "body": {"type": "string", "maxLength": 60},
                },
                "required": ["title", "body"],
                "additionalProperties": false,
            }),
        ),
    ]
}

fn references() -> Vec<Value> {
    vec![tool(
        "ship",
        json!({
            "type": "object",
            "properties": {
                "from": {"$ref": "#/$defs/place"},
                "to": {"$ref": "#/$defs/place"},
                "boxes": {"type": "array", "items": {"$ref": "#/$defs/box"}, "minItems": 1, "maxItems": 2},
            },
            "required": ["to", "boxes"],
            "additionalProperties": false,
            "$defs": {
                "place": {
                    "type": "object",
                    "properties": {"code": {"enum": ["AB", "CD", "EF"]}},
                    "required": ["code"],
                    "additionalProperties": false,
                },
                "box": {
                    "type": "object",
                    "properties": {
                        "kilos": {"type": "integer", "minimum": 1, "maximum": 40},
                        "at": {"$ref": "#/$defs/place"},
                    },
                    "required": ["kilos"],
                    "additionalProperties": false,
                },
            },
        }),
    )]
}

fn beyond_ascii() -> Vec<Value> {
    vec![tool(
        "buy",
        json!({
            "type": "object",
            "properties": {
                "größe": {"type": "integer", "minimum": 30, "maximum": 60},
                "名前": {"enum": ["東京", "Zürich", "naïve 😀", "a \"quoted\" one", "it's"]},
                "straße": {"type": "string", "maxLength": 6},
            },
            "required": ["größe", "名前"],
            "additionalProperties": false,
        }),
    )]
}
