//! Real chat templates: every conversation renders to the byte as the reference renders it.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use serde_json::{Map, Value};
use text::{ChatTemplate, RenderInput, TemplateError};

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn input(case: &Value) -> RenderInput {
    RenderInput {
        messages: case["messages"].clone(),
        tools: Some(case["tools"].clone()).filter(|tools| !tools.is_null()),
        add_generation_prompt: case["add_generation_prompt"].as_bool().unwrap(),
        kwargs: object(&case["kwargs"]),
        // The day is taken from the expected text where there is one to take.
        now: None,
        ..RenderInput::default()
    }
}

#[test]
fn every_case_renders_as_the_reference_renders_it() {
    let Some(data) = testkit::shared_data() else {
        testkit::skipped("no shared data: real chat templates");
        return;
    };
    let mut paths: Vec<_> = std::fs::read_dir(data.join("templates"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    let (mut n_cases, mut wrong) = (0, Vec::new());
    for path in paths {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let source = std::fs::read_to_string(path.with_extension("jinja")).unwrap();
        let file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let template = match ChatTemplate::new(&source, &object(&file["special_tokens"])) {
            Ok(template) => template,
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        let uses_clock = file["uses_clock"] == true;
        for (index, case) in file["cases"].as_array().unwrap().iter().enumerate() {
            n_cases += 1;
            let mut input = input(case);
            if uses_clock {
                input.now = day_of(file["cases"].as_array().unwrap());
            }
            let result = template.render(&input);
            match (result, case.get("expected").and_then(Value::as_str)) {
                (Ok(rendered), Some(expected)) if rendered.text == expected => {}
                (Err(TemplateError::Refused { .. }), None) => {}
                (Ok(rendered), Some(expected)) => {
                    let same = rendered
                        .text
                        .bytes()
                        .zip(expected.bytes())
                        .take_while(|(a, b)| a == b)
                        .count();
                    let around = |text: &str| {
                        let bytes =
                            &text.as_bytes()[same.saturating_sub(60)..(same + 120).min(text.len())];
                        String::from_utf8_lossy(bytes).into_owned()
                    };
                    wrong.push(format!(
                        "{name} case {index}, byte {same}:\n  expected {:?}\n  found    {:?}",
                        around(expected),
                        around(&rendered.text)
                    ));
                }
                (Ok(_), None) => wrong.push(format!("{name} case {index}: not refused")),
                (Err(error), _) => wrong.push(format!("{name} case {index}: {error}")),
            }
        }
    }
    println!("{n_cases} cases");
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}

/// The day on which the reference rendered: the first date in an expected text.
fn day_of(cases: &[Value]) -> Option<text::template::LocalTime> {
    let texts: Vec<&str> = cases.iter().filter_map(|case| case["expected"].as_str()).collect();
    // Days from 2025 on, each in the forms that templates print.
    (20_089..22_000).map(|day| text::template::LocalTime::from_unix(day * 86_400, 0)).find(|time| {
        ["%Y-%m-%d", "%B %d, %Y", "%d %b %Y"].iter().any(|format| {
            let day = time.format(format);
            texts.iter().any(|text| {
                text.contains(&format!("ate: {day}"))
                    || text.contains(&format!("current date is {day}"))
            })
        })
    })
}
