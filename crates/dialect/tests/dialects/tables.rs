//! Each table of parameters is kept to: listed, refused, or neutral where it says so.

use dialect::{ENDPOINTS, Treatment};
use serde_json::{Value, json};

use crate::events::with;

pub(crate) fn smallest(path: &str) -> Value {
    let messages = json!([{"role": "user", "content": "hi"}]);
    match path {
        "/v1/completions" | "/api/generate" => json!({"model": "m", "prompt": "x"}),
        "/v1/responses" | "/v1/embeddings" | "/api/embed" => json!({"model": "m", "input": "x"}),
        "/api/embeddings" => json!({"model": "m", "prompt": "x"}),
        path if path.ends_with("/rerank") => {
            json!({"model": "m", "query": "x", "documents": ["y"]})
        }
        "/v1/messages" => json!({"model": "m", "messages": messages, "max_tokens": 9}),
        _ => json!({"model": "m", "messages": messages}),
    }
}

#[test]
fn every_table_is_kept_to() {
    for endpoint in ENDPOINTS {
        let decode = |extra: &Value| {
            let body = with(smallest(endpoint.path), extra).to_string();
            (endpoint.decode)(body.as_bytes(), "id")
        };
        let base = decode(&json!({})).unwrap();
        let none = base.ignored.clone();
        for parameter in endpoint.parameters {
            let name = parameter.name;
            // `null` asks for nothing, unless the parameter must be there.
            let null = decode(&json!({name: null}));
            let is_needed = null.as_ref().is_err_and(|error| error.message.contains("missing"));
            assert!(is_needed || null.is_ok_and(|decoded| decoded.ignored == none), "{name}");
            match parameter.treatment {
                Treatment::Honoured => {
                    // It is refused by name, or something comes of it.
                    match decode(&json!({name: {"odd": [1]}})) {
                        Ok(decoded) => assert_ne!(decoded, base, "{} {name}", endpoint.path),
                        Err(error) => {
                            let named = error.param.is_some_and(|param| param.starts_with(name));
                            assert!(named, "{} {name}", endpoint.path);
                        }
                    }
                }
                Treatment::WithoutEffect => {
                    let decoded = decode(&json!({name: {"odd": [1]}})).unwrap();
                    assert!(decoded.ignored.iter().any(|known| known == name), "{name}");
                }
                Treatment::Refused { unless, .. } => {
                    let error = decode(&json!({name: {"odd": [1]}})).unwrap_err();
                    assert_eq!(error.param.as_deref(), Some(name));
                    for neutral in unless {
                        let value: Value = serde_json::from_str(neutral).unwrap();
                        assert_eq!(decode(&json!({name: value})).unwrap().ignored, none);
                    }
                }
            }
        }
        let decoded = decode(&json!({"nobody_knows": 1})).unwrap();
        assert_eq!(decoded.ignored.last().map(String::as_str), Some("nobody_knows"));
    }
}
