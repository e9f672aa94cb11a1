//! `oneOf`: shows that no two of its schemas hold for one value, so that any of them may.
//!
//! Two schemas exclude each other by their types, by their constants, or by a key that both
//! require with constants that differ. Where only the requirement is missing, it is added: the
//! tag of a union is what every reader of it looks at, and the value stays valid.

use serde_json::{Map, Value, json};

/// Whether the schemas exclude each other; a tag that shows it becomes required.
/// `definitions` is what references in them point at.
pub(super) fn separate(schemas: &mut [Value], definitions: &[Value]) -> bool {
    let excluded = |a: &Value, b: &Value| types_differ(a, b) || constants_differ(a, b, definitions);
    if pairs(schemas).all(|(a, b)| excluded(a, b)) {
        return true;
    }
    let tags: Vec<String> =
        schemas.iter().filter_map(properties).flat_map(Map::keys).cloned().collect();
    let shows = |tag: &String| {
        pairs(schemas).all(|(a, b)| {
            let both = property(a, tag).zip(property(b, tag));
            excluded(a, b) || both.is_some_and(|(a, b)| constants_differ(a, b, definitions))
        })
    };
    let Some(tag) = tags.into_iter().find(shows) else { return false };
    for schema in schemas.iter_mut().filter(|schema| property(schema, &tag).is_some()) {
        let required = &mut schema["required"];
        match required {
            Value::Array(names) if names.contains(&json!(tag)) => {}
            Value::Array(names) => names.push(json!(tag)),
            other => *other = json!([tag]),
        }
        // Without a type, another kind of value would have no tag and exclude nothing.
        if schema.get("type").is_none() {
            schema["type"] = json!("object");
        }
    }
    true
}

fn pairs(schemas: &[Value]) -> impl Iterator<Item = (&Value, &Value)> {
    schemas.iter().enumerate().flat_map(|(idx, a)| schemas[..idx].iter().map(move |b| (a, b)))
}

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties")?.as_object()
}

fn property<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    let types = types(schema);
    let is_object = types.as_ref().is_none_or(|types| types == &["object"]);
    properties(schema)?.get(name).filter(|_| is_object)
}

/// The types that a schema allows, where it says so, a constant's included.
fn types(schema: &Value) -> Option<Vec<&str>> {
    match schema.get("type") {
        Some(Value::String(name)) => Some(vec![name]),
        Some(Value::Array(names)) => Some(names.iter().filter_map(Value::as_str).collect()),
        _ => {
            let constants = constants(schema, &[])?;
            Some(constants.into_iter().map(type_of).collect())
        }
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn types_differ(a: &Value, b: &Value) -> bool {
    if *a == json!(false) || *b == json!(false) {
        return true;
    }
    let family = |name: &str| if name == "integer" { "number".to_owned() } else { name.to_owned() };
    match (types(a), types(b)) {
        (Some(a), Some(b)) => !a.iter().any(|a| b.iter().any(|b| family(a) == family(b))),
        _ => false,
    }
}

/// The only values that a schema allows, where it lists them.
fn constants<'a>(schema: &'a Value, definitions: &'a [Value]) -> Option<Vec<&'a Value>> {
    if let Some(value) = schema.get("const") {
        return Some(vec![value]);
    }
    if let Some(values) = schema.get("enum") {
        return Some(values.as_array()?.iter().collect());
    }
    let name = schema.get("$ref")?.as_str()?;
    let target = definitions.get(name.rsplit('/').next()?.parse::<usize>().ok()?)?;
    // One step is what generators of schemas make; a longer way may go in a circle.
    if target.get("$ref").is_some() { None } else { constants(target, &[]) }
}

/// Texts and booleans are compared; numbers have several forms, and are not.
fn constants_differ(a: &Value, b: &Value, definitions: &[Value]) -> bool {
    let plain = |value: &&Value| value.is_string() || value.is_boolean();
    match (constants(a, definitions), constants(b, definitions)) {
        (Some(a), Some(b)) => {
            a.iter().chain(&b).all(plain) && !a.iter().any(|value| b.contains(value))
        }
        _ => false,
    }
}
