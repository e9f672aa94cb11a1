//! Pieces of a stream do not matter, arguments come while they are written, nothing is lost.

use serde_json::{Value, json};
use text::format::{
    Answer, Call, Delta, End, Format, MAX_CALL_BYTES, ParseOptions, StreamParser, Tool,
};

use crate::templates;

fn tools() -> Vec<Tool> {
    Tool::list(&templates::tools()).unwrap()
}

pub(crate) fn deltas<'a>(
    format: &Format,
    options: ParseOptions,
    pieces: impl IntoIterator<Item = &'a str>,
    end: End,
) -> Vec<Delta> {
    let mut parser = StreamParser::new(format, &tools(), options);
    let mut all = Vec::new();
    for piece in pieces {
        // Each piece gives a list of its own, as a server would ask for it.
        let mut some = Vec::new();
        parser.push(piece, &mut some);
        all.extend(some);
    }
    parser.finish(end, &mut all);
    all
}

fn whole(format: &Format, options: ParseOptions, text: &str, end: End) -> Answer {
    StreamParser::parse(format, &tools(), options, text, end)
}

/// What every sequence of pieces must keep to: a call starts, gets arguments and ends, one after
/// another. Its arguments are an object where it ends whole, and no JSON at all where not.
pub(crate) fn check_order(deltas: &[Delta]) {
    let mut open: Option<(usize, String)> = None;
    let mut n = 0;
    for delta in deltas {
        match (delta, open.take()) {
            (Delta::CallStart { index, id, .. }, None) => {
                assert!(*index == n && !id.is_empty());
                open = Some((*index, String::new()));
                n += 1;
            }
            (Delta::Arguments { index, text }, Some((at, arguments))) if *index == at => {
                assert!(!text.is_empty());
                open = Some((at, arguments + text));
            }
            (Delta::CallEnd { index, is_whole }, Some((at, arguments))) if *index == at => {
                let value: Result<Value, _> = serde_json::from_str(&arguments);
                let is_json = match &value {
                    Ok(value) => value.is_object(),
                    // JSON has numbers that no float can hold.
                    Err(error) => error.to_string().contains("number out of range"),
                };
                assert_eq!((is_json, value.is_ok() && !is_json), (*is_whole, false), "{arguments}");
                assert!(arguments.starts_with('{'));
            }
            (Delta::Reasoning(text) | Delta::Content(text), None) => assert!(!text.is_empty()),
            other => panic!("{other:?}"),
        }
    }
    assert!(open.is_none());
}

/// The first pieces of arguments cannot be taken back: what comes later only adds to them.
fn check_growth(before: &Answer, after: &Answer) {
    for (a, b) in before.calls.iter().zip(&after.calls) {
        assert!(a.id == b.id && a.name == b.name && b.arguments.starts_with(&a.arguments));
        assert!(!a.is_whole || a == b);
    }
    assert!(before.calls.len() <= after.calls.len());
    assert!(after.content.starts_with(&before.content));
    assert!(after.reasoning.starts_with(&before.reasoning));
}

#[test]
fn every_cut_gives_the_same_answer() {
    let mut seen = std::collections::HashSet::new();
    for sample in templates::samples() {
        let options = templates::options_of(&sample);
        let expected = whole(&sample.format, options, &sample.text, End::Turn);
        // One of each form is cut everywhere in two, the others into characters.
        let is_new = seen.insert((sample.format.name(), sample.calls.len(), sample.calls[0].0));
        let chars = sample.text.split_inclusive(|_| true);
        let all = deltas(&sample.format, options, chars, End::Turn);
        check_order(&all);
        assert_eq!(Answer::from_deltas(&all), expected, "{:?}", sample.text);
        for at in (0..=sample.text.len()).filter(|_| is_new) {
            let Some((a, b)) = sample.text.split_at_checked(at) else { continue };
            let all = deltas(&sample.format, options, [a, b], End::Turn);
            check_order(&all);
            assert_eq!(Answer::from_deltas(&all), expected, "{a:?} {b:?}");
            // A stream that ends here is an answer too, the beginning of the whole one unless what
            // might have been a marker was none.
            let cut = deltas(&sample.format, options, [a], End::Cut);
            check_order(&cut);
            let mut parser = StreamParser::new(&sample.format, &tools(), options);
            let mut so_far = Vec::new();
            parser.push(a, &mut so_far);
            check_growth(&Answer::from_deltas(&so_far), &expected);
        }
    }
}

/// Parts of answers, put together at random.
const PARTS: &[&str] = &[
    "<think>",
    "</think>",
    "[THINK]",
    "[/THINK]",
    "<tool_call>",
    "</tool_call>",
    "<tool_calls>",
    "</tool_calls>",
    "{\"name\": \"ping\", \"arguments\": {}}",
    "{\"name\": \"get_weather\", ",
    "\"arguments\": ",
    "\"parameters\": ",
    "{\"city\": \"x\"}",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "'",
    "\\",
    "\\u",
    "d83d",
    "\n",
    " ",
    "```json",
    "```",
    "<function=ping>",
    "<function=get_weather>",
    "<parameter=city>",
    "</parameter>",
    "</function>",
    "<invoke name=\"ping\">",
    "</invoke>",
    "<parameter name=\"city\">",
    "<minimax:tool_call>",
    "</minimax:tool_call>",
    "<arg_key>city</arg_key>",
    "<arg_value>",
    "</arg_value>",
    "get_weather",
    "everything",
    "ping",
    "ping()",
    "(",
    ")",
    "city=",
    "flag",
    "=",
    "True",
    "None",
    "null",
    "-1.5e3",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁sep｜>",
    "function",
    "<｜DSML｜function_calls>",
    "<｜DSML｜invoke name=\"ping\">",
    "<｜DSML｜parameter name=\"city\" string=\"true\">",
    "</｜DSML｜parameter>",
    "</｜DSML｜invoke>",
    "</｜DSML｜function_calls>",
    "<|tool_calls_section_begin|>",
    "<|tool_calls_section_end|>",
    "<|tool_call_begin|>",
    "functions.ping:0",
    "<|tool_call_argument_begin|>",
    "<|tool_call_end|>",
    "<|channel|>",
    "analysis",
    "final",
    "commentary",
    " to=functions.ping",
    "<|constrain|>json",
    "<|message|>",
    "<|end|>",
    "<|start|>assistant",
    "<|call|>",
    "<|python_tag|>",
    ";",
    "<|tool_call_start|>",
    "<|tool_call_end|>",
    "[TOOL_CALLS]",
    "[ARGS]",
    "[CALL_ID]",
    "abcdefghi",
    "<|tool_call>call:ping",
    "<tool_call|>",
    "<|\"|>",
    "<|channel>thought\n",
    "<channel|>",
    "<seed:tool_call>",
    "é",
    "日本",
    "<",
    "text",
    "\u{0}",
    "\t",
];

#[test]
fn random_answers_lose_nothing() {
    let formats: Vec<Format> = Format::names().map(|name| Format::named(name).unwrap()).collect();
    bolero::check!().with_type::<(u8, bool, bool, Vec<(u8, bool)>)>().for_each(
        |(which, reasoning_open, cut, picks)| {
            let format = &formats[*which as usize % formats.len()];
            let options = ParseOptions { reasoning_open: *reasoning_open, id_seed: 1 };
            let end = if *cut { End::Cut } else { End::Turn };
            let part = |pick: u8| PARTS[pick as usize % PARTS.len()];
            let mut pieces = vec![String::new()];
            for (pick, cut) in picks.iter().take(60) {
                pieces.last_mut().unwrap().push_str(part(*pick));
                if *cut {
                    pieces.push(String::new());
                }
            }
            let text = pieces.concat();
            let all = deltas(format, options, pieces.iter().map(String::as_str), end);
            check_order(&all);
            let expected = whole(format, options, &text, end);
            assert_eq!(Answer::from_deltas(&all), expected);
            let chars = deltas(format, options, text.split_inclusive(|_| true), end);
            assert_eq!(Answer::from_deltas(&chars), expected);
            // Without calls, all letters of the text are in the answer, in order.
            if expected.calls.is_empty() && format.name() != "harmony" {
                let kept = format!("{}{}", expected.reasoning, expected.content);
                let mut left = text.chars();
                let lost = kept.chars().find(|c| !left.any(|other| other == *c));
                assert_eq!(lost, None, "{text:?} {expected:?}");
                let n = |text: &str| text.chars().filter(|c| !c.is_ascii_whitespace()).count();
                let marks = [
                    "<think>",
                    "</think>",
                    "[THINK]",
                    "[/THINK]",
                    "<|channel>thought",
                    "<channel|>",
                ];
                assert!(
                    n(&kept) + 2 * marks.iter().map(|m| n(m)).max().unwrap() >= n(&text),
                    "{text:?} {expected:?}"
                );
            }
        },
    );
}

#[test]
fn random_characters_are_text() {
    let formats: Vec<Format> = Format::names().map(|name| Format::named(name).unwrap()).collect();
    bolero::check!().with_type::<(u8, String, u8)>().for_each(|(which, text, at)| {
        let format = &formats[*which as usize % formats.len()];
        let at = (*at as usize).min(text.len());
        let (a, b) = text.split_at_checked(at).unwrap_or((text, ""));
        let all = deltas(format, ParseOptions::default(), [a, b], End::Turn);
        assert_eq!(
            Answer::from_deltas(&all),
            whole(format, ParseOptions::default(), text, End::Turn)
        );
    });
}

#[test]
fn reasoning_that_the_template_opened() {
    let format = Format::named("hermes").unwrap();
    assert!(format.opens_reasoning("<|im_start|>assistant\n<think>\n"));
    assert!(!format.opens_reasoning("<|im_start|>assistant\n<think>\n\n</think>\n\n"));
    let options = ParseOptions { reasoning_open: true, id_seed: 0 };
    let answer = whole(&format, options, "Well.\n</think>\n\nYes.", End::Turn);
    assert_eq!((answer.reasoning.as_str(), answer.content.as_str()), ("Well.", "Yes."));
    let answer = whole(&format, options, "Well", End::Cut);
    assert_eq!(answer.reasoning, "Well");
}

/// A call of `write` in each format.
const WRITES: [(&str, &str); 21] = [
    ("hermes", r#"<tool_call>{"name": "write", "arguments": {"text": "TEXT"}}</tool_call>"#),
    (
        "qwen3-coder",
        "<tool_call><function=write>\n<parameter=text>\nTEXT\n</parameter>\n</function></tool_call>",
    ),
    (
        "seed-oss",
        "<seed:tool_call><function=write>\n<parameter=text>TEXT</parameter>\n</function></seed:tool_call>",
    ),
    (
        "deepseek-v3",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>write\n```json\n{\"text\": \"TEXT\"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    ),
    (
        "deepseek-v3.1",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>write<｜tool▁sep｜>{\"text\": \"TEXT\"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    ),
    (
        "deepseek-v3.2",
        "<｜DSML｜function_calls><｜DSML｜invoke name=\"write\">\n<｜DSML｜parameter name=\"text\" string=\"true\">TEXT</｜DSML｜parameter></｜DSML｜invoke></｜DSML｜function_calls>",
    ),
    (
        "kimi-k2",
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.write:0<|tool_call_argument_begin|>{\"text\": \"TEXT\"}<|tool_call_end|><|tool_calls_section_end|>",
    ),
    ("glm", "<tool_call>write\n<arg_key>text</arg_key>\n<arg_value>TEXT</arg_value>\n</tool_call>"),
    (
        "minimax-m2",
        "<minimax:tool_call><invoke name=\"write\">\n<parameter name=\"text\">TEXT</parameter></invoke></minimax:tool_call>",
    ),
    ("minimax-m1", r#"<tool_calls>{"name": "write", "arguments": {"text": "TEXT"}}</tool_calls>"#),
    ("apriel", r#"<tool_calls>[{"name": "write", "arguments": {"text": "TEXT"}}]</tool_calls>"#),
    (
        "harmony",
        r#"<|channel|>commentary to=functions.write <|constrain|>json<|message|>{"text": "TEXT"}"#,
    ),
    ("llama3", r#"{"name": "write", "parameters": {"text": "TEXT"}}"#),
    ("pythonic", "[write(text='TEXT')]"),
    ("lfm2", "<|tool_call_start|>[write(text='TEXT')]<|tool_call_end|>"),
    ("mistral", r#"[TOOL_CALLS][{"name": "write", "arguments": {"text": "TEXT"}}]"#),
    ("mistral-v11", r#"[TOOL_CALLS]write[CALL_ID]abcdefghi[ARGS]{"text": "TEXT"}"#),
    ("mistral-v13", r#"[TOOL_CALLS]write[ARGS]{"text": "TEXT"}"#),
    ("gemma4", "<|tool_call>call:write{text:<|\"|>TEXT<|\"|>}<tool_call|>"),
    ("gigachat3", r#"<|function_call|>{"name": "write", "arguments": {"text": "TEXT"}}"#),
    ("granite", r#"<|tool_call|>[{"name": "write", "arguments": {"text": "TEXT"}}]"#),
];
#[test]
fn arguments_come_as_they_are_written_in_every_format() {
    let names: Vec<&str> = WRITES.iter().map(|(name, _)| *name).collect();
    let formats = Format::names().filter(|name| Format::named(name).unwrap().has_calls());
    assert_eq!(names, formats.collect::<Vec<_>>());
    let parameters = json!({"type": "object", "properties": {"text": {"type": "string"}}});
    let tools = [Tool::new("write", Some(parameters)).unwrap()];
    let text = "line < one \u{1f600} [two] é".repeat(20);
    let arguments = json!({"text": text}).to_string();
    for (name, call) in WRITES {
        let format = Format::named(name).unwrap();
        let said = call.replace("TEXT", &text);
        let start = call.find("TEXT").unwrap();
        let mut parser = StreamParser::new(&format, &tools, ParseOptions::default());
        let mut out = Vec::new();
        for (at, c) in said.char_indices() {
            parser.push(c.encode_utf8(&mut [0; 4]), &mut out);
            let written = &said[start.min(at)..at.min(start + text.len())];
            let answer = Answer::from_deltas(&out);
            let seen = answer.calls.first().map_or("", |call| call.arguments.as_str());
            assert!(arguments.starts_with(seen), "{name}: {seen}");
            // What may begin a closing marker is held back, and no more.
            let least = written.chars().count().saturating_sub(2);
            assert!(seen.chars().count() >= least, "{name}: {seen} of {written}");
        }
        parser.finish(End::Turn, &mut out);
        check_order(&out);
        let answer = Answer::from_deltas(&out);
        assert_eq!(answer.calls.len(), 1, "{name}: {answer:?}");
        assert_eq!(
            (answer.calls[0].arguments.as_str(), answer.content.as_str()),
            (&*arguments, "")
        );
    }
}

#[test]
fn a_call_in_which_an_answer_is_cut_is_not_whole() {
    let format = Format::named("qwen3-coder").unwrap();
    let text = "<tool_call>\n<function=everything>\n<parameter=text>\nx\n</parameter>\n";
    let answer = |end| whole(&format, ParseOptions::default(), text, end);
    let call = |answer: Answer| (answer.calls[0].arguments.clone(), answer.calls[0].is_whole);
    assert_eq!(call(answer(End::Turn)), (r#"{"text":"x"}"#.to_owned(), true));
    assert_eq!(call(answer(End::Cut)), (r#"{"text":"x""#.to_owned(), false));
}

#[test]
fn hostile_answers_are_bounded() {
    let hermes = Format::named("hermes").unwrap();
    let deep =
        format!("<tool_call>{{\"name\": \"ping\", \"arguments\": {{\"a\": {}", "[".repeat(100_000));
    let answer = whole(&hermes, ParseOptions::default(), &deep, End::Turn);
    let call = &answer.calls[0];
    assert!(call.arguments.len() < 100 && !call.is_whole && answer.content.len() > 99_000);
    let long = format!(
        "<tool_call>{{\"name\": \"ping\", \"arguments\": {{\"a\": \"{}\"}}}}</tool_call>",
        "x".repeat(MAX_CALL_BYTES)
    );
    let answer = whole(&hermes, ParseOptions::default(), &long, End::Turn);
    let call = &answer.calls[0];
    assert!(call.arguments.len() <= MAX_CALL_BYTES && !call.is_whole && answer.content.len() > 10);
    let spaces = " ".repeat(100_000);
    let mut parser = StreamParser::new(&hermes, &tools(), ParseOptions::default());
    let mut out = Vec::new();
    parser.push(&spaces, &mut out);
    parser.finish(End::Turn, &mut out);
    assert_eq!(Answer::from_deltas(&out).content, spaces);
}

#[test]
fn ids_depend_on_seed_and_place_alone() {
    let format = Format::named("hermes").unwrap();
    let text = "<tool_call>{\"name\": \"ping\"}</tool_call>".repeat(3);
    let ids = |id_seed| -> Vec<String> {
        let options = ParseOptions { reasoning_open: false, id_seed };
        whole(&format, options, &text, End::Turn)
            .calls
            .into_iter()
            .map(|call: Call| call.id)
            .collect()
    };
    assert_eq!(ids(1), ids(1));
    let all: std::collections::HashSet<String> = ids(1).into_iter().chain(ids(2)).collect();
    assert_eq!(all.len(), 6);
}

#[test]
fn tools_are_checked() {
    for (tools, expected) in [
        (json!({}), "tools: expected a list, got {}"),
        (json!([{"type": "x"}]), "tools[0].type: expected \"function\", got \"x\""),
        (
            json!([{"type": "function", "function": {"name": "a b"}}]),
            "tool name \"a b\": expected 1 to 128",
        ),
        (
            json!([{"type": "function", "function": {"name": "a", "parameters": {"type": "string"}}}]),
            "tool \"a\", parameters: expected the schema of an object",
        ),
        (
            json!([{"type": "function", "function": {"name": "a"}}, {"type": "function", "function": {"name": "a"}}]),
            "expected a name for each tool",
        ),
    ] {
        let error = Tool::list(&tools).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
