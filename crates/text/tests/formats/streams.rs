//! Pieces of a stream do not matter, nothing is lost, and what real models write by mistake.

use serde_json::{Value, json};
use text::format::{
    Answer, Call, Delta, End, Format, MAX_CALL_BYTES, ParseOptions, StreamParser, Tool,
};

use crate::templates;

fn tools() -> Vec<Tool> {
    Tool::list(&templates::tools()).unwrap()
}

fn deltas<'a>(
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

/// What every sequence of pieces must keep to: a call starts, gets arguments and ends or breaks,
/// one after another, and its arguments are an object once it ends.
fn check_order(deltas: &[Delta]) {
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
            (Delta::CallEnd { index }, Some((at, arguments))) if *index == at => {
                let value: Value = serde_json::from_str(&arguments)
                    .unwrap_or_else(|error| panic!("{error}: {arguments:?}"));
                assert!(value.is_object());
            }
            (Delta::CallBroken { index, text }, Some((at, _))) if *index == at => {
                assert!(!text.is_empty());
            }
            (Delta::Reasoning(text) | Delta::Content(text), None) => assert!(!text.is_empty()),
            other => panic!("{other:?}"),
        }
    }
    assert!(open.is_none());
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
            // A stream that ends here is an answer too.
            let cut = deltas(&sample.format, options, [a], End::Cut);
            check_order(&cut);
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

struct Ugly {
    format: &'static str,
    text: &'static str,
    reasoning: &'static str,
    content: &'static str,
    calls: &'static [(&'static str, &'static str)],
}

const UGLY: Ugly = Ugly { format: "hermes", text: "", reasoning: "", content: "", calls: &[] };
const PARIS: (&str, &str) = ("get_weather", r#"{"city":"Paris"}"#);
const PING: (&str, &str) = ("ping", "{}");

/// Outputs as models write them without a grammar.
const UGLIES: &[Ugly] = &[
    // Text before, between and after calls.
    Ugly {
        text: "Sure!\n\n<tool_call>\n{\"name\": \"ping\", \"arguments\": {}}\n</tool_call>\nDone.",
        content: "Sure!Done.",
        calls: &[PING],
        ..UGLY
    },
    // No closing marker at the end, or at all.
    Ugly {
        text: "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\"}}",
        calls: &[PARIS],
        ..UGLY
    },
    Ugly {
        text: "<tool_call>{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\"}",
        calls: &[PARIS],
        ..UGLY
    },
    Ugly {
        text: "<tool_call>{\"name\": \"ping\", \"arguments\": {}}<tool_call>{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\"}}</tool_call>",
        calls: &[PING, PARIS],
        ..UGLY
    },
    // Two calls without separator.
    Ugly {
        text: "<tool_call>{\"name\": \"ping\", \"arguments\": {}}</tool_call><tool_call>{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\"}}</tool_call>",
        calls: &[PING, PARIS],
        ..UGLY
    },
    // A fence around and within.
    Ugly {
        text: "```xml\n<tool_call>{\"name\": \"ping\", \"arguments\": {}}</tool_call>\n```",
        content: "```xml```",
        calls: &[PING],
        ..UGLY
    },
    Ugly {
        text: "<tool_call>\n```json\n{\"name\": \"ping\", \"arguments\": {}}\n```\n</tool_call>",
        calls: &[PING],
        ..UGLY
    },
    // Arguments as a string, once more encoded, as null, before the name.
    Ugly {
        text: r#"<tool_call>{"name": "get_weather", "arguments": "{\"city\": \"Paris\"}"}</tool_call>"#,
        calls: &[PARIS],
        ..UGLY
    },
    Ugly {
        text: r#"<tool_call>{"name": "ping", "arguments": ""}</tool_call>"#,
        calls: &[PING],
        ..UGLY
    },
    Ugly {
        text: r#"<tool_call>{"name": "ping", "arguments": null}</tool_call>"#,
        calls: &[PING],
        ..UGLY
    },
    Ugly { text: r#"<tool_call>{"name": "ping"}</tool_call>"#, calls: &[PING], ..UGLY },
    Ugly {
        text: r#"<tool_call>{"arguments": {"city": "Paris"}, "name": "get_weather"}</tool_call>"#,
        calls: &[PARIS],
        ..UGLY
    },
    Ugly {
        text: r#"<tool_call>{"type": "function", "name": "get_weather", "parameters": {"city": "Paris"}}</tool_call>"#,
        calls: &[PARIS],
        ..UGLY
    },
    // Commas, quotes, words and line ends that are not JSON's.
    Ugly {
        text: "<tool_call>{\"name\": \"everything\", \"arguments\": {\"list\": [1, 2,], \"flag\": True,},}</tool_call>",
        calls: &[("everything", r#"{"list":[1,2],"flag":true}"#)],
        ..UGLY
    },
    Ugly {
        text: "<tool_call>{'name': 'get_weather', 'arguments': {'city': 'L\\'Aquila \"x\"'}}</tool_call>",
        calls: &[("get_weather", r#"{"city":"L'Aquila \"x\""}"#)],
        ..UGLY
    },
    Ugly {
        text: "<tool_call>{\"name\": \"get_weather\", \"arguments\": {\"city\": \"a\nb\\q\"}}</tool_call>",
        calls: &[("get_weather", r#"{"city":"a\nb\\q"}"#)],
        ..UGLY
    },
    Ugly {
        text: r#"<tool_call>{"name": "get_weather", "arguments": {"city": "\ud83d\ude00 \ud83d x \u00e"}}</tool_call>"#,
        calls: &[("get_weather", "{\"city\":\"😀 \u{fffd} x \\\\u00e\"}")],
        ..UGLY
    },
    // A marker inside of a string.
    Ugly {
        text: r#"<tool_call>{"name": "get_weather", "arguments": {"city": "</tool_call><tool_call>"}}</tool_call>"#,
        calls: &[("get_weather", r#"{"city":"</tool_call><tool_call>"}"#)],
        ..UGLY
    },
    // No call: an unknown tool, prose about the marker, a cut.
    Ugly {
        text: "<tool_call>{\"name\": \"nope\", \"arguments\": {}}</tool_call>",
        content: "<tool_call>{\"name\": \"nope\", \"arguments\": {}}</tool_call>",
        ..UGLY
    },
    Ugly {
        text: "Use the <tool_call> tag. <tool_call>{\"name\": \"ping\", \"arguments\": {}}</tool_call>",
        content: "Use the <tool_call> tag.",
        calls: &[PING],
        ..UGLY
    },
    Ugly {
        text: "a <tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Par",
        content: "a <tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Par",
        ..UGLY
    },
    Ugly {
        text: "<tool_call>{\"name\": \"get_weather\", \"arguments\": {\"city\" \"Paris\"}}</tool_call> ok",
        content: "<tool_call>{\"name\": \"get_weather\", \"arguments\": {\"city\" \"Paris\"}}</tool_call> ok",
        ..UGLY
    },
    // One brace too many.
    Ugly {
        text: "<tool_call>{\"name\": \"ping\", \"arguments\": {}}}</tool_call>",
        content: "}</tool_call>",
        calls: &[PING],
        ..UGLY
    },
    // Reasoning that is not closed, and one that is.
    Ugly {
        text: "<think>\nHm, <tool_call>{\"name\": \"ping\", \"arguments\": {}}",
        reasoning: "Hm, <tool_call>{\"name\": \"ping\", \"arguments\": {}}",
        ..UGLY
    },
    Ugly { text: "<think>\n\n</think>\n\nYes.", content: "Yes.", ..UGLY },
    Ugly { text: "No <think> here", content: "No <think> here", ..UGLY },
    Ugly {
        format: "kimi-k2",
        text: "<think>A call.<|tool_calls_section_begin|><|tool_call_begin|>functions.ping:4<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>",
        reasoning: "A call.",
        calls: &[PING],
        ..UGLY
    },
    // One of several calls is malformed.
    Ugly {
        format: "kimi-k2",
        text: "<|tool_calls_section_begin|><|tool_call_begin|>functions.nope:0<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_call_begin|>functions.ping:1<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>",
        content: "<|tool_calls_section_begin|><|tool_call_begin|>functions.nope:0<|tool_call_argument_begin|>{}<|tool_call_end|>",
        calls: &[PING],
        ..UGLY
    },
    // Tags on one line, an unknown parameter, values of other kinds than the schema's.
    Ugly {
        format: "qwen3-coder",
        text: "<tool_call><function=everything><parameter=number>5</parameter><parameter=flag>True</parameter><parameter=more>[1]</parameter><parameter=text>5</parameter><parameter=list>none</parameter></function></tool_call>",
        calls: &[("everything", r#"{"number":5,"flag":true,"more":[1],"text":"5","list":"none"}"#)],
        ..UGLY
    },
    Ugly {
        format: "qwen3-coder",
        text: "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>",
        calls: &[PARIS],
        ..UGLY
    },
    Ugly {
        format: "glm",
        text: "<tool_call>get_weather<arg_key>city</arg_key><arg_value>Paris</arg_value></tool_call><tool_call>ping</tool_call>",
        calls: &[PARIS, PING],
        ..UGLY
    },
    Ugly {
        format: "minimax-m2",
        text: "<minimax:tool_call><invoke name=\"ping\"></invoke>\nbye",
        content: "bye",
        calls: &[PING],
        ..UGLY
    },
    Ugly {
        format: "deepseek-v3",
        text: "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{\n  \"city\": \"Paris\"\n}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>ping\n```json\n{}",
        calls: &[PARIS, PING],
        ..UGLY
    },
    Ugly {
        format: "llama3",
        text: "<|python_tag|>{\"name\": \"ping\", \"parameters\": {}}; {\"name\": \"get_weather\", \"parameters\": {\"city\": \"Paris\"}}",
        calls: &[PING, PARIS],
        ..UGLY
    },
    Ugly {
        format: "llama3",
        text: "{\"name\": \"Ada\", \"parameters\": 3}",
        content: "{\"name\": \"Ada\", \"parameters\": 3}",
        ..UGLY
    },
    Ugly {
        format: "llama3",
        text: "As JSON: {\"name\": \"ping\", \"parameters\": {}}",
        content: "As JSON: {\"name\": \"ping\", \"parameters\": {}}",
        ..UGLY
    },
    Ugly {
        format: "pythonic",
        text: "[get_weather(city='Paris'), ping()]",
        calls: &[PARIS, PING],
        ..UGLY
    },
    Ugly { format: "pythonic", text: "[a link](http://x)", content: "[a link](http://x)", ..UGLY },
    Ugly {
        format: "pythonic",
        text: "[everything(flag=True, list=[1, 2], nested={'a': {\"b\": [\"x\"]}, 'c': None}, number=-1)]",
        calls: &[(
            "everything",
            r#"{"flag":true,"list":[1,2],"nested":{"a":{"b":["x"]},"c":null},"number":-1}"#,
        )],
        ..UGLY
    },
    Ugly {
        format: "mistral",
        text: "[TOOL_CALLS] [{\"name\": \"ping\", \"arguments\": {}}, {\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\"}}]",
        calls: &[PING, PARIS],
        ..UGLY
    },
    Ugly {
        format: "mistral-v13",
        text: "Ok.[TOOL_CALLS]ping[ARGS]{}[TOOL_CALLS]get_weather[ARGS]{\"city\": \"Paris\"}",
        content: "Ok.",
        calls: &[PING, PARIS],
        ..UGLY
    },
    Ugly {
        format: "mistral-v13",
        text: "[THINK]Well.[/THINK]Yes.",
        reasoning: "Well.",
        content: "Yes.",
        ..UGLY
    },
    Ugly {
        format: "gemma4",
        text: "<|channel>thought\nHm.\n<channel|><|tool_call>call:everything{flag:true,maybe:None,nested:{a:{b:[<|\"|>x \"<y><|\"|>]}}}<tool_call|>",
        reasoning: "Hm.",
        calls: &[("everything", r#"{"flag":true,"maybe":null,"nested":{"a":{"b":["x \"<y>"]}}}"#)],
        ..UGLY
    },
    Ugly {
        format: "harmony",
        text: "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary<|message|>A moment.<|end|><|start|>assistant<|channel|>commentary to=functions.ping <|constrain|>json<|message|>{}",
        reasoning: "Hm.",
        content: "A moment.",
        calls: &[PING],
    },
    Ugly { format: "harmony", text: "<|channel|>final<|message|>Yes.", content: "Yes.", ..UGLY },
    Ugly { format: "harmony", text: "Just text", content: "Just text", ..UGLY },
];

#[test]
fn what_models_write_by_mistake() {
    let mut wrong = Vec::new();
    for ugly in UGLIES {
        let format = Format::named(ugly.format).unwrap();
        let all = deltas(&format, ParseOptions::default(), [ugly.text], End::Turn);
        check_order(&all);
        let answer = Answer::from_deltas(&all);
        let calls: Vec<(&str, &str)> =
            answer.calls.iter().map(|call| (call.name.as_str(), call.arguments.as_str())).collect();
        if (answer.reasoning.as_str(), answer.content.as_str(), calls.as_slice())
            != (ugly.reasoning, ugly.content, ugly.calls)
        {
            wrong.push(format!("{}: {:?}\n  {answer:?}", ugly.format, ugly.text));
        }
        let chars = deltas(
            &format,
            ParseOptions::default(),
            ugly.text.split_inclusive(|_| true),
            End::Turn,
        );
        assert_eq!(Answer::from_deltas(&chars), answer);
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
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

#[test]
fn arguments_come_as_they_are_certain() {
    let format = Format::named("qwen3-coder").unwrap();
    let mut parser = StreamParser::new(&format, &tools(), ParseOptions::default());
    let mut out = Vec::new();
    parser
        .push("<tool_call>\n<function=get_weather>\n<parameter=city>\nA long text, and", &mut out);
    let arguments = &Answer::from_deltas(&out).calls[0].arguments;
    assert_eq!(arguments, "{\"city\":\"A long text, and");
}

#[test]
fn an_answer_that_is_cut_has_no_half_call() {
    let format = Format::named("qwen3-coder").unwrap();
    let text = "<tool_call>\n<function=everything>\n<parameter=text>\nx\n</parameter>\n";
    assert_eq!(whole(&format, ParseOptions::default(), text, End::Turn).calls.len(), 1);
    let answer = whole(&format, ParseOptions::default(), text, End::Cut);
    assert_eq!(answer, Answer { content: text.to_owned(), ..Answer::default() });
}

#[test]
fn hostile_answers_are_bounded() {
    let hermes = Format::named("hermes").unwrap();
    let deep =
        format!("<tool_call>{{\"name\": \"ping\", \"arguments\": {{\"a\": {}", "[".repeat(100_000));
    let answer = whole(&hermes, ParseOptions::default(), &deep, End::Turn);
    assert_eq!((answer.content.len(), answer.calls.len()), (deep.len(), 0));
    let long = format!(
        "<tool_call>{{\"name\": \"ping\", \"arguments\": {{\"a\": \"{}\"}}}}</tool_call>",
        "x".repeat(MAX_CALL_BYTES)
    );
    let answer = whole(&hermes, ParseOptions::default(), &long, End::Turn);
    assert_eq!((answer.content.len(), answer.calls.len()), (long.len(), 0));
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
