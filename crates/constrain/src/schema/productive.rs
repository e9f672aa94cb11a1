//! Whether a schema has a value that ends: one that requires itself inside itself has none.

use serde_json::Value;

/// False only if every value of `root` would have to be endless. Overestimates where keywords
/// meet that stand in different schemas.
pub(super) fn is_productive(root: &Value, definitions: &[Value]) -> bool {
    let mut known = vec![false; definitions.len()];
    // Each round shows at least one more definition to end, or is the last.
    loop {
        let shown: Vec<bool> = definitions.iter().map(|schema| ends(schema, &known)).collect();
        if shown == known {
            return ends(root, &known);
        }
        known = shown;
    }
}

/// Whether a schema has a value that ends, given the definitions that are known to.
fn ends(schema: &Value, known: &[bool]) -> bool {
    let list = |keyword| schema.get(keyword).and_then(Value::as_array).map(Vec::as_slice);
    let all = list("allOf").is_none_or(|parts| parts.iter().all(|part| ends(part, known)));
    let mut choices = ["anyOf", "oneOf"].into_iter().filter_map(list);
    let any = choices.all(|parts| parts.iter().any(|part| ends(part, known)));
    let target = schema.get("$ref").and_then(Value::as_str).and_then(|name| {
        let idx: usize = name.rsplit('/').next()?.parse().ok()?;
        known.get(idx)
    });
    all && any
        && target != Some(&false)
        && own_types(schema).any(|name| type_ends(name, schema, known))
}

fn own_types(schema: &Value) -> impl Iterator<Item = &str> {
    let names = match schema.get("type") {
        Some(Value::String(name)) => vec![name.as_str()],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => vec!["null"],
    };
    names.into_iter()
}

fn type_ends(name: &str, schema: &Value, known: &[bool]) -> bool {
    match name {
        "object" => {
            let required = schema.get("required").and_then(Value::as_array);
            required.into_iter().flatten().filter_map(Value::as_str).all(|key| {
                let property = schema.get("properties").and_then(|fields| fields.get(key));
                property.is_none_or(|property| ends(property, known))
            })
        }
        "array" => {
            let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
            let first = schema.get("prefixItems").and_then(|items| items.get(0));
            let first = first.or_else(|| schema.get("items"));
            least == 0 || first.is_none_or(|item| ends(item, known))
        }
        _ => true,
    }
}
