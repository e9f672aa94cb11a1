//! What real models write by mistake, and what comes of it.

use serde_json::Value;
use text::format::{Answer, End, Format, ParseOptions};

use crate::streams::{check_order, deltas};

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
        text: "a <tool_call>\n{\"name\": \"get_weather\", \"argum",
        content: "a <tool_call>\n{\"name\": \"get_weather\", \"argum",
        ..UGLY
    },
    // A call that ends within its arguments, and one that is malformed there.
    Ugly {
        text: "a <tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Par",
        content: "a",
        calls: &[("get_weather", "{\"city\":\"Par")],
        ..UGLY
    },
    Ugly {
        text: "<tool_call>{\"name\": \"get_weather\", \"arguments\": {\"city\" \"Paris\"}}</tool_call> ok",
        content: "\"Paris\"}}</tool_call> ok",
        calls: &[("get_weather", "{\"city\"")],
        ..UGLY
    },
    // What is wrong behind the arguments does not matter to them.
    Ugly {
        text: "<tool_call>{\"name\": \"ping\", \"arguments\": {}; </tool_call> ok",
        content: "; </tool_call> ok",
        calls: &[PING],
        ..UGLY
    },
    Ugly {
        text: r#"<tool_call>{"name": "get_weather", "arguments": "{\"city\": \"Paris\"} x"}</tool_call>"#,
        content: "x\"}</tool_call>",
        calls: &[("get_weather", r#"{"city":"Paris""#)],
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
    // A value that is closed twice, and a tag of a value that was never opened,
    // as no-argument calls of GLM have it.
    Ugly {
        format: "qwen3-coder",
        text: "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n</parameter>\n</function>\n</tool_call>",
        calls: &[PARIS],
        ..UGLY
    },
    Ugly { format: "glm", text: "<tool_call>ping</arg_value></tool_call>", calls: &[PING], ..UGLY },
    // A value that is not closed runs on, and the call is not whole.
    Ugly {
        format: "qwen3-coder",
        text: "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</function>\n</tool_call>",
        calls: &[("get_weather", "{\"city\":\"Paris\\n</function>\\n</tool_call>")],
        ..UGLY
    },
    // The marker around a call is missing, and nothing of prose about it is taken for one.
    Ugly {
        format: "qwen3-coder",
        text: "I look.\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n</tool_call>\n<function=ping>\n</function>",
        content: "I look.",
        calls: &[PARIS, PING],
        ..UGLY
    },
    Ugly {
        format: "qwen3-coder",
        text: "Write <function=NAME> and <function=ping to call.",
        content: "Write <function=NAME> and <function=ping to call.",
        ..UGLY
    },
    // Tags that are indented.
    Ugly {
        format: "minimax-m2",
        text: "<minimax:tool_call>\n  <invoke name=\"get_weather\">\n    <parameter name=\"city\">Paris</parameter>\n  </invoke>\n</minimax:tool_call>",
        calls: &[PARIS],
        ..UGLY
    },
    // The opening tag of a value is missing: nothing was given out yet.
    Ugly {
        format: "glm",
        text: "<tool_call>get_weather<arg_key>city</arg_key>Paris</arg_value></tool_call>",
        content: "<tool_call>get_weather<arg_key>city</arg_key>Paris</arg_value></tool_call>",
        ..UGLY
    },
    // A marker within a value, as one who edits a parser writes it.
    Ugly {
        format: "glm",
        text: "<tool_call>get_weather<arg_key>city</arg_key><arg_value>a </tool_call> b</arg_value></tool_call>",
        calls: &[("get_weather", r#"{"city":"a </tool_call> b"}"#)],
        ..UGLY
    },
    // A call begins again, and a section without calls.
    Ugly {
        format: "deepseek-v3.1",
        text: "<｜tool▁calls▁begin｜><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>ping<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        content: "<｜tool▁calls▁begin｜>",
        calls: &[PING],
        ..UGLY
    },
    Ugly {
        format: "kimi-k2",
        text: "<|tool_calls_section_begin|><|tool_calls_section_end|>",
        content: "<|tool_calls_section_begin|><|tool_calls_section_end|>",
        ..UGLY
    },
    // Ids that are no names, and names without index.
    Ugly {
        format: "kimi-k2",
        text: "<|tool_calls_section_begin|><|tool_call_begin|>0 <|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>",
        content: "<|tool_calls_section_begin|><|tool_call_begin|>0 <|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>",
        ..UGLY
    },
    Ugly {
        format: "kimi-k2",
        text: "<|tool_calls_section_begin|><|tool_call_begin|>ping<|tool_call_argument_begin|>{}<|tool_call_end|>",
        calls: &[PING],
        ..UGLY
    },
    // Text after the arguments, and white space before the marker.
    Ugly {
        format: "mistral-v13",
        text: " [TOOL_CALLS]get_weather[ARGS]{\"city\": \"Paris\"}Estimating the weather...",
        content: "Estimating the weather...",
        calls: &[PARIS],
        ..UGLY
    },
    Ugly {
        format: "mistral",
        text: "[TOOL_CALLS][{'name': 'get_weather', 'arguments': {'city': 'Paris'}}]$$ In order to",
        content: "$$ In order to",
        calls: &[PARIS],
        ..UGLY
    },
    // Quotes that are escaped once too often, and a backslash before a letter that needs none.
    Ugly {
        text: r#"<tool_call>{"name": "get_weather", "arguments": {\"city\": \"Paris\"}}</tool_call>"#,
        content: r#"\"city\": \"Paris\"}}</tool_call>"#,
        calls: &[("get_weather", "{")],
        ..UGLY
    },
    Ugly {
        text: r#"<tool_call>{"name": "get_weather", "arguments": {"city": "\로마"}}</tool_call>"#,
        calls: &[("get_weather", r#"{"city":"\\로마"}"#)],
        ..UGLY
    },
    // A string that is not closed before the call is.
    Ugly {
        format: "gemma4",
        text: "<|tool_call>call:get_weather{city:<|\"|>{\"a\": 1}<tool_call|>",
        calls: &[("get_weather", "{\"city\":\"{\\\"a\\\": 1}<tool_call|>")],
        ..UGLY
    },
    // Headers as gpt-oss writes them: the recipient before the channel, a constraint
    // without a space, another format, no format at all; and no header.
    Ugly {
        format: "harmony",
        text: " to=functions.ping<|channel|>commentary<|message|>{}",
        calls: &[PING],
        ..UGLY
    },
    Ugly {
        format: "harmony",
        text: "<|channel|>commentary to=functions.ping<|constrain|>json<|message|>{}<|call|>",
        calls: &[PING],
        ..UGLY
    },
    Ugly {
        format: "harmony",
        text: "<|channel|>analysis to=functions.ping code<|message|>{}<|call|>",
        calls: &[PING],
        ..UGLY
    },
    Ugly {
        format: "harmony",
        text: "<|channel|>commentary?? x<|message|>A.<|end|><|start|>assistant<|channel|>final<|message|>B.",
        content: "<|channel|>commentary?? x<|message|>A.B.",
        ..UGLY
    },
    Ugly {
        format: "harmony",
        text: "<|channel|>commentary to=functions.ping <|constrain|>json<|message|>null <|end|><|start|>assistant<|channel|>final<|message|>B.",
        content: "B.",
        calls: &[PING],
        ..UGLY
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
        let is_whole = |text: &str| serde_json::from_str::<Value>(text).is_ok();
        assert!(answer.calls.iter().all(|call| call.is_whole == is_whole(&call.arguments)));
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
