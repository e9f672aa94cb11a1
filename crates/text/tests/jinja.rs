//! What chat templates rely on, one thing at a time, as the reference's Jinja renders it.
//! `data/make_jinja.py` makes the expectations.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use serde_json::{Map, Value};
use text::{ChatTemplate, RenderInput};

/// Cases that render differently, each for a reason that is written down here.
const DIFFERENT: &[&str] = &[
    // Refused by name instead of rendered: no chat template is known to use them.
    "{{ 'a b' | wordcount }}",
    "{{ t | wordwrap(5) }}",
    "{{ 'abcdefghij' | truncate(5) }}",
    "{% set j = joiner(', ') %}{% for x in [1, 2] %}{{ j() }}{{ x }}{% endfor %}",
    // The engine has no such operators: refused.
    "{{ +i }}",
    "{{ \"%s\" % \"x\" }} {{ \"%d-%s\" % (1, 'a') }}",
    // Values of different types have an order in the engine.
    "{{ 'a' < 1 }}",
    // Methods are not values: they can be called, not looked at.
    "{{ s.upper is defined }} {{ people[0].keys is callable }}",
];

#[test]
fn every_construct_renders_as_the_reference_renders_it() {
    let file: Value = serde_json::from_str(include_str!("data/jinja.json")).unwrap();
    let context = file["context"].as_object().unwrap();
    let mut wrong = Vec::new();
    for case in file["cases"].as_array().unwrap() {
        let source = case["template"].as_str().unwrap();
        let input = RenderInput { kwargs: context.clone(), ..RenderInput::default() };
        let found = ChatTemplate::new(source, &Map::new())
            .and_then(|template| template.render(&input))
            .map(|rendered| rendered.text);
        let right = match (&found, case["expected"].as_str()) {
            (Ok(text), Some(expected)) => text == expected,
            (Err(_), None) => true,
            _ => false,
        };
        if right == DIFFERENT.contains(&source) {
            let expected = case["expected"].as_str().or(case["error"].as_str());
            wrong.push(format!("{source:?}\n  expected {expected:?}\n  found    {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}
