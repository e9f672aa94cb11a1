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
    let cases = |kind: &str| file[kind].as_array().unwrap();
    for case in cases("cases").iter().chain(cases("changing")) {
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

#[test]
fn a_published_template_that_changes_a_list_renders_as_the_reference_renders_it() {
    let Some(data) = testkit::shared_data() else {
        testkit::skipped("no shared data: a template that changes a list");
        return;
    };
    let file: Value = serde_json::from_str(include_str!("data/jinja.json")).unwrap();
    let source = std::fs::read_to_string(data.join("templates/Kimi-K2-Thinking.jinja")).unwrap();
    let template = ChatTemplate::new(&source, &Map::new()).unwrap();
    for case in file["queue"].as_array().unwrap() {
        let messages = case["messages"].clone();
        let input = RenderInput { messages, add_generation_prompt: true, ..RenderInput::default() };
        let found = template.render(&input).unwrap().text;
        assert_eq!(found, case["expected"].as_str().unwrap());
    }
}
