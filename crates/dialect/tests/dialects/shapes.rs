//! Decoders take what the schemas of their parameters take, and refuse by name what they do not.

use std::collections::BTreeSet;

use dialect::openai::{ITEMS_PARAMETERS, ResponseBody, decode_conversation_items};
use dialect::openapi::shape_schema;
use dialect::{ENDPOINTS, Endpoint, Parameter, Presence, Record, Shape, Treatment};
use serde_json::{Map, Value, json};

use crate::events::with;
use crate::tables::smallest;

/// Values drawn for each parameter of each endpoint.
const DRAWS: usize = 250;

/// Numbers without a pattern to see (G. Marsaglia, "Xorshift RNGs").
pub(crate) struct Draws(pub(crate) u64);

impl Draws {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }

    pub(crate) fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    fn value(&mut self, shape: &Shape) -> Value {
        match shape {
            Shape::Any => self.one(&[json!(true), json!(3), json!("x"), json!({"a": []})]).clone(),
            Shape::Null => Value::Null,
            Shape::Bool => json!(self.below(2) == 0),
            Shape::Integer(min, max) => {
                let near = min.saturating_add(self.below(40) as i64).min(*max);
                json!(self.one(&[*min, *max, near]))
            }
            Shape::Number(min, max) => json!(self.one(&[*min, *max, min / 2.0 + max / 2.0])),
            Shape::Text => json!(self.one(&["", "x", "♥ é", "text", "{\"a\":"])),
            Shape::JsonText => json!(self.one(&["{}", "{\"type\":\"object\"}", "true"])),
            Shape::Word(words) => json!(self.one(words)),
            Shape::List { of, min, max } => {
                let n = (*min + self.below(3)).min(*max);
                (0..n).map(|_| self.value(of)).collect()
            }
            Shape::Map(of) => self.map(of, &["a", "type", "♥"]),
            Shape::ByToken(of) => self.map(of, &["0", "7", "123456789"]),
            Shape::Record(record) => self.record(record),
            Shape::Table(table) => self.table(table),
            Shape::Either(shapes) => {
                let shape = *self.one(shapes);
                self.value(&shape)
            }
        }
    }

    fn map(&mut self, of: &Shape, keys: &[&str]) -> Value {
        let n = self.below(keys.len() + 1);
        let map: Map<String, Value> =
            keys[..n].iter().map(|key| ((*key).to_owned(), self.value(of))).collect();
        Value::Object(map)
    }

    fn record(&mut self, record: &Record) -> Value {
        let mut object = Map::new();
        let needed = (!record.some_of.is_empty()).then(|| *self.one(record.some_of));
        for field in record.fields {
            let is_there = field.presence == Presence::Always || needed == Some(field.name);
            match self.below(4) {
                0 if !is_there => {
                    object.insert(field.name.to_owned(), Value::Null);
                }
                1 if !is_there => {}
                _ => {
                    object.insert(field.name.to_owned(), self.value(&field.shape));
                }
            }
        }
        Value::Object(object)
    }

    fn table(&mut self, table: &[Parameter]) -> Value {
        let mut object = Map::new();
        for row in table.iter().filter(|row| row.treatment == Treatment::Honoured) {
            if self.below(3) == 0 {
                object.insert(row.name.to_owned(), self.value(&row.shape));
            }
        }
        Value::Object(object)
    }

    /// The value with something else in one of its places.
    fn broken(&mut self, value: &mut Value) {
        let mut n_places = 0;
        crate::fuzz::places(value, &mut |_| n_places += 1);
        let wanted = self.below(n_places);
        // Texts that are JSON too: a schema cannot say of a string that it must be.
        let others = [
            json!(null),
            json!(true),
            json!(-1),
            json!(0.5),
            json!(1e300),
            json!("7"),
            json!([]),
            json!([null]),
            json!({}),
            json!({"type": "nothing"}),
        ];
        let other = self.one(&others).clone();
        let mut at = 0;
        crate::fuzz::places(value, &mut |place| {
            if at == wanted {
                *place = other.clone();
            }
            at += 1;
        });
    }
}

/// A body with a parameter, and beside it what it cannot do without.
fn body(endpoint: &Endpoint, name: &str, value: &Value) -> Value {
    let beside = match name {
        "top_logprobs" if endpoint.path != "/v1/responses" => json!({"logprobs": true}),
        // Two names of one thing.
        "texts" if !value.is_null() => json!({"documents": null}),
        _ => json!({}),
    };
    let mut value = value.clone();
    // A conversation that a person ends: what begins an answer has rules of its own.
    let has_turns = name == "messages" || (name, endpoint.path) == ("input", "/v1/responses");
    if let (true, Some(turns)) = (has_turns, value.as_array_mut())
        && !turns.is_empty()
    {
        turns.push(json!({"role": "user", "content": "hi"}));
    }
    with(with(smallest(endpoint.path), &beside), &json!({name: value}))
}

fn check(endpoint: &Endpoint, row: &Parameter, is_valid: bool, value: &Value) {
    let (path, name) = (endpoint.path, row.name);
    let body = body(endpoint, name, value).to_string();
    // As a server that keeps answers takes them.
    let decoded = match path {
        "/v1/responses" => ResponseBody::parse(body.as_bytes()).and_then(|b| b.decode("id", &[])),
        _ => (endpoint.decode)(body.as_bytes(), "id"),
    };
    match decoded {
        Ok(_) => assert!(is_valid, "{path} {name} takes what its schema does not: {value}"),
        Err(error) => {
            assert!(!is_valid, "{path} {name} refuses {value}: {}", error.message);
            assert_eq!(error.status, 400);
            let param = error.param.unwrap_or_default();
            assert!(param.starts_with(name), "{path} {name}: {param} for {value}");
        }
    }
}

#[test]
fn decoders_and_schemas_agree() {
    let mut draws = Draws(0x9e37_79b9_7f4a_7c15);
    for endpoint in ENDPOINTS {
        let honoured = |row: &&Parameter| row.treatment == Treatment::Honoured;
        for row in endpoint.parameters.iter().filter(honoured) {
            let validator = jsonschema::validator_for(&shape_schema(row.shape)).unwrap();
            let mut seen = BTreeSet::new();
            for round in 0..DRAWS {
                let mut value = draws.value(&row.shape);
                assert!(validator.is_valid(&value), "{} {value}", row.name);
                for _ in 0..round % 3 {
                    draws.broken(&mut value);
                }
                // `null` asks for nothing, where nothing must be asked for.
                let is_valid = validator.is_valid(&value) || value.is_null() && !row.is_needed;
                check(endpoint, row, is_valid, &value);
                seen.insert(is_valid);
            }
            let takes_all = row.shape == Shape::Any;
            assert!(takes_all || seen.len() == 2, "{}: both kinds are drawn", row.name);
        }
    }
}

/// Whatever items are drawn, whole or with something else in a place: those that their schema
/// allows are kept, under ids of their own, and can be gone on with; the others are refused.
#[test]
fn what_a_conversation_keeps_can_be_gone_on_with() {
    let mut draws = Draws(0x2545_f491_4f6c_dd1d);
    let shape = ITEMS_PARAMETERS[0].shape;
    let validator = jsonschema::validator_for(&shape_schema(shape)).unwrap();
    let asked = json!({"model": "m", "conversation": "conv_1"}).to_string();
    let asked = ResponseBody::parse(asked.as_bytes()).unwrap();
    let mut seen = BTreeSet::new();
    for round in 0..10 * DRAWS {
        let mut items = draws.value(&shape);
        for _ in 0..round % 3 {
            draws.broken(&mut items);
        }
        let is_valid = validator.is_valid(&items);
        seen.insert(is_valid);
        let decode = |items: &Value| {
            decode_conversation_items(json!({"items": items}).to_string().as_bytes(), "stem")
        };
        let kept = match decode(&items) {
            Ok(kept) => kept.items,
            Err(error) => {
                // Which of them are together is no schema's to say.
                let is_double = error.message.contains("another item has the id");
                let has_image = error.message.contains("images are not supported");
                assert!(!is_valid || is_double || has_image, "{items}: {}", error.message);
                assert!(error.param.unwrap().starts_with("items"), "{items}");
                continue;
            }
        };
        assert!(is_valid, "takes what its schema does not: {items}");
        let ids: BTreeSet<_> = kept.iter().map(|item| item["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), items.as_array().unwrap().len());
        asked.decode("resp_1", &kept).unwrap_or_else(|error| panic!("{items}: {}", error.message));
        assert_eq!(decode(&json!(kept)).unwrap().items, kept, "what is kept is as it is listed");
    }
    assert_eq!(seen.len(), 2, "both kinds are drawn");
}

#[test]
fn every_row_says_what_it_does() {
    for endpoint in ENDPOINTS {
        for row in endpoint.parameters {
            let is_told = !row.about.is_empty();
            assert_eq!(is_told, row.treatment == Treatment::Honoured, "{}", row.name);
            assert_ne!((row.shape, is_told), (Shape::Any, true), "{}", row.name);
            let without = with(smallest(endpoint.path), &json!({row.name: null}));
            let refused = (endpoint.decode)(without.to_string().as_bytes(), "id").is_err();
            assert_eq!(refused, row.is_needed, "{} {}", endpoint.path, row.name);
        }
    }
}
