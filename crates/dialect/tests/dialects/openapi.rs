//! The document covers every route, and answers are what it says.

use std::collections::BTreeSet;

use dialect::openapi::{Content, ROUTES, Route, document, shape_schema};
use dialect::{ApiError, CallMeta, Dialect, ENDPOINTS, Form, QUERIES, Shape};
use serde_json::{Value, json};
use serve::{Event, FinishReason, ModelCard, Reply, Residence};

use crate::events::{call, end, everything, fold, meta, started, text};
use crate::tables::smallest;

fn route(method: &str, path: &str) -> &'static Route {
    ROUTES.iter().find(|route| (route.method, route.path) == (method, path)).unwrap()
}

/// The schema with every object closed, so that what it does not name is found.
fn closed(shape: Shape) -> jsonschema::Validator {
    fn close(value: &mut Value) {
        match value {
            Value::Object(object) => {
                object.values_mut().for_each(close);
                if object.contains_key("properties") {
                    object.insert("additionalProperties".into(), json!(false));
                }
            }
            Value::Array(items) => items.iter_mut().for_each(close),
            _ => {}
        }
    }
    let mut schema = shape_schema(shape);
    close(&mut schema);
    jsonschema::validator_for(&schema).unwrap()
}

fn assert_is(validator: &jsonschema::Validator, value: &Value) {
    let problems: Vec<String> =
        validator.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path)).collect();
    assert!(problems.is_empty(), "{problems:#?}\n{value:#}");
}

#[test]
fn every_endpoint_is_a_row_and_every_reference_leads_somewhere() {
    let rows: BTreeSet<_> = ROUTES.iter().map(|route| (route.method, route.path)).collect();
    assert_eq!(rows.len(), ROUTES.len(), "no row twice");
    let generating = ENDPOINTS.iter().map(|endpoint| ("POST", endpoint.path));
    let asking = QUERIES.iter().copied().flatten().map(|query| (query.method, query.path));
    for endpoint in generating.chain(asking) {
        assert!(rows.contains(&endpoint), "{endpoint:?} has no row in ROUTES");
    }
    let document = document("1.2.3");
    assert_eq!(
        (&document["openapi"], &document["info"]["version"]),
        (&json!("3.1.0"), &json!("1.2.3"))
    );
    let text = document.to_string();
    let names = text
        .match_indices("#/components/schemas/")
        .map(|(at, before)| text[at + before.len()..].split('"').next().unwrap());
    let names: BTreeSet<&str> = names.collect();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let known: BTreeSet<&str> = schemas.keys().map(String::as_str).collect();
    assert_eq!(names, known);
}

#[test]
fn who_needs_what_is_told() {
    let document = document("1");
    let schemes = document["components"]["securitySchemes"].as_object().unwrap();
    for required in document["security"].as_array().unwrap() {
        assert!(required.as_object().unwrap().keys().all(|name| schemes.contains_key(name)));
    }
    for route in ROUTES {
        let operation = &document["paths"][route.path][route.method.to_ascii_lowercase()];
        let has = |status: &str| operation["responses"].get(status).is_some();
        let is_open = operation["security"] == json!([]);
        assert_eq!((has("401"), is_open), (!route.is_open, route.is_open), "{}", route.path);
        assert!(has("403") && has("503"), "{}", route.path);
        assert_eq!(has("429"), route.method == "POST", "{}", route.path);
        assert!(has("501") || !route.needs_store, "{}", route.path);
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let n_in = |place: &str| parameters.clone().filter(|one| one["in"] == place).count();
        assert_eq!(n_in("path"), route.path.matches('{').count(), "{}", route.path);
        assert_eq!(n_in("query"), route.query.len(), "{}", route.path);
    }
}

#[test]
fn one_name_is_one_schema() {
    // Two records of one name would hide one another in the document.
    for route in ROUTES {
        if let Content::Json(shape) | Content::Streamed(shape) = route.answer {
            let alone = shape_schema(shape);
            let whole = document("1");
            for (name, schema) in alone["components"]["schemas"].as_object().unwrap() {
                assert_eq!(schema, &whole["components"]["schemas"][name], "{name}");
            }
        }
    }
}

fn answers() -> Vec<Vec<Event>> {
    let mut cut = vec![started(), text("a"), text("b")];
    cut.extend(call(0, "f", &["{\"a\":"]));
    cut.extend(end(FinishReason::MaxTokens));
    let stopped = |reason| [vec![started(), text("x")], end(reason).to_vec()].concat();
    vec![
        everything(),
        cut,
        stopped(FinishReason::StopString("s".into())),
        stopped(FinishReason::StopToken(3)),
        stopped(FinishReason::ContextLength),
        [vec![started()], end(FinishReason::EndOfTurn).to_vec()].concat(),
    ]
}

/// What endpoints that embed or score are told.
fn vectors() -> Vec<Vec<Event>> {
    let [_, done] = end(FinishReason::EndOfTurn);
    let vector = Event::Embedding { index: 0, values: vec![0.5, -2.0], cut_tokens: 3 };
    let score = |index, score| Event::Score { index, score, cut_tokens: 0 };
    let told = [vec![], vec![vector], vec![score(0, 0.25), score(1, -4.0)]];
    told.into_iter().map(|told| [vec![started()], told, vec![done.clone()]].concat()).collect()
}

#[test]
fn whole_answers_are_what_the_document_says() {
    for endpoint in ENDPOINTS {
        let shape = match (route("POST", endpoint.path).answer, endpoint.stream) {
            (Content::Streamed(shape), Some(_)) | (Content::Json(shape), None) => shape,
            (other, _) => panic!("{}: {other:?}", endpoint.path),
        };
        let validator = closed(shape);
        let meta = CallMeta { id: format!("{}7", endpoint.id_prefix), ..meta() };
        let body = smallest(endpoint.path).to_string();
        let form = (endpoint.decode)(body.as_bytes(), "id").unwrap().form;
        for has_logprobs in [false, true] {
            let form = Form { has_logprobs, ..form.clone() };
            let answers = if endpoint.stream.is_some() { answers() } else { vectors() };
            for events in answers {
                assert_is(&validator, &(endpoint.whole)(&meta, &fold(&events), &form));
            }
            if endpoint.dialect() == Dialect::Ollama {
                assert_is(&validator, &(endpoint.whole)(&meta, &Reply::default(), &form));
            }
        }
        assert!(!validator.is_valid(&json!({"id": 7})), "a schema that refuses something");
    }
}

#[test]
fn models_and_errors_are_what_the_document_says() {
    let card = |residence| ModelCard {
        id: "m".into(),
        context_length: 5,
        residence,
        ..Default::default()
    };
    let cards = [
        card(Residence::Cold),
        card(Residence::Failed("why".into())),
        ModelCard { parent: Some("base".into()), memory_bytes: Some(7), ..card(Residence::Loaded) },
    ];
    let answer = |path: &str| match route("GET", path).answer {
        Content::Json(shape) => closed(shape),
        _ => panic!("{path}"),
    };
    let (models, model) = (answer("/v1/models"), answer("/v1/models/{id}"));
    for cards in [&cards[..], &[]] {
        assert_is(&models, &dialect::openai::encode_models(cards));
        assert_is(&models, &dialect::anthropic::encode_models(cards));
    }
    for card in &cards {
        assert_is(&model, &dialect::openai::encode_model(card));
        assert_is(&model, &dialect::anthropic::encode_model(card));
    }
    for dialect in [Dialect::OpenAi, Dialect::Anthropic, Dialect::Ollama] {
        let validator = closed(dialect.error_shape());
        for error in [
            ApiError::new(404, "no"),
            ApiError::not_supported("p", "why"),
            serve::Error::ContextOverflow { prompt_tokens: 9, context_length: 5 }.into(),
        ] {
            assert_is(&validator, &dialect.error(&error, "id").1);
        }
    }
}
