//! Transcripts of the OpenAI dialect: bodies to requests, events to bodies, stream ≡ whole.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::time::Duration;

use dialect::openai::{
    CHAT_PARAMETERS, COMPLETION_PARAMETERS, ChatStream, CompletionStream, decode_chat,
    decode_completion, encode_chat, encode_completion, encode_error,
};
use dialect::{ApiError, CallMeta, StreamEncoder, Treatment};
use serde_json::{Value, json};
use serve::{
    Alternative, Chat, Delta, Dry, Error, Event, FinishReason, Input, LastN, Message, Part, Plain,
    Reply, ResponseFormat, Role, ScoredToken, Timings, ToolCall, ToolChoice, ToolResult, Usage,
};

fn chat(body: &Value) -> Result<dialect::Decoded, ApiError> {
    decode_chat(body.to_string().as_bytes(), "id")
}

fn completion(body: &Value) -> Result<dialect::Decoded, ApiError> {
    decode_completion(body.to_string().as_bytes(), "id")
}

fn with(extra: &Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    for (name, value) in extra.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    body
}

fn conversation(input: &Input) -> &Chat {
    match input {
        Input::Chat(chat) => chat,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_honoured_parameter_arrives() {
    let decoded = chat(&with(&json!({
        "max_completion_tokens": 9, "temperature": 0.5, "top_p": 0.25, "top_k": 4, "min_p": 0.125,
        "presence_penalty": 1, "frequency_penalty": -1, "repetition_penalty": 1.5,
        "typical_p": 0.75, "xtc_probability": 0.5, "xtc_threshold": 0.25, "repeat_last_n": 64,
        "dry_multiplier": 0.5, "dry_base": 1.5, "dry_allowed_length": 3, "dry_penalty_last_n": -1,
        "dry_sequence_breakers": ["\n", "."], "min_tokens": 2,
        "logit_bias": {"7": -100, "8": 2.5}, "seed": -1, "stop": "END", "stop_token_ids": [5],
        "ignore_eos": true, "n": 1, "logprobs": true, "top_logprobs": 3, "stream": true,
        "stream_options": {"include_usage": true, "include_obfuscation": false},
        "response_format": {"type": "text"}, "chat_template_kwargs": {"enable_thinking": false},
    })))
    .unwrap();
    let request = decoded.request;
    let s = &request.sampling;
    assert_eq!(request.max_tokens, Some(9));
    assert_eq!(
        (s.temperature, s.top_p, s.top_k, s.min_p),
        (Some(0.5), Some(0.25), Some(4), Some(0.125))
    );
    assert_eq!((s.presence_penalty, s.frequency_penalty), (Some(1.0), Some(-1.0)));
    assert_eq!((s.repetition_penalty, s.seed), (Some(1.5), Some(u64::MAX)));
    assert_eq!(
        (s.typical_p, s.xtc_probability, s.xtc_threshold, s.repeat_last_n),
        (Some(0.75), Some(0.5), Some(0.25), Some(LastN::Tokens(64)))
    );
    let dry = Dry {
        multiplier: Some(0.5),
        base: Some(1.5),
        allowed_length: Some(3),
        penalty_last_n: Some(LastN::All),
        sequence_breakers: Some(vec!["\n".into(), ".".into()]),
    };
    assert_eq!((&s.dry, request.stop.min_tokens), (&dry, 2));
    assert_eq!(s.logit_bias, [(7, -100.0), (8, 2.5)]);
    assert_eq!(request.stop.strings, ["END"]);
    assert_eq!((request.stop.tokens.as_slice(), request.stop.ignore_eos), (&[5][..], true));
    assert_eq!(request.logprobs, Some(3));
    assert_eq!(request.response_format, ResponseFormat::Text);
    assert_eq!(conversation(&request.input).template_kwargs["enable_thinking"], false);
    assert!(decoded.stream && decoded.form.include_usage);
    assert_eq!(decoded.ignored, ["stream_options.include_obfuscation"]);
}

#[test]
fn sampling_parameters_out_of_range_are_refused_by_name() {
    let bad = json!({
        "temperature": [-0.1, 2.1, "hot"], "top_k": [-2, 1.5], "top_p": [-0.1, 1.1],
        "min_p": [-1, 2], "typical_p": [-0.1, 1.01], "xtc_probability": [-1, 1.5],
        "xtc_threshold": [-0.5, 1.5], "presence_penalty": [-3, 3], "frequency_penalty": [2.5],
        "repetition_penalty": [0, -1, 1e9], "repeat_penalty": [0], "repeat_last_n": [-2, 0.5],
        "dry_multiplier": [-1, 1e30], "dry_base": [0.5, 1e30], "dry_allowed_length": [0, -1],
        "dry_penalty_last_n": [-2, "all"], "dry_sequence_breakers": [7, [1]], "min_tokens": [-1],
        "stop_token_ids": [[-1], 5], "seed": [1.5],
    });
    for (name, values) in bad.as_object().unwrap() {
        for value in values.as_array().unwrap() {
            let refused = chat(&with(&json!({name: value}))).unwrap_err();
            let param = refused.param.unwrap();
            let within = param.strip_prefix(name.as_str());
            assert!(within.is_some_and(|at| at.is_empty() || at.starts_with('[')), "{param}");
            assert!(refused.message.contains("expected"), "{}", refused.message);
        }
    }
}

#[test]
fn the_repetition_penalty_has_two_names() {
    let number = |body: Value| chat(&with(&body)).map(|d| d.request.sampling.repetition_penalty);
    assert_eq!(number(json!({"repeat_penalty": 1.25})), Ok(Some(1.25)));
    let both = json!({"repeat_penalty": 1.25, "repetition_penalty": 1.25});
    assert_eq!(number(both), Ok(Some(1.25)));
    let differing = number(json!({"repeat_penalty": 1.25, "repetition_penalty": 1.5}));
    assert_eq!(differing.unwrap_err().param.as_deref(), Some("repeat_penalty"));
    let none = chat(&with(&json!({"dry_sequence_breakers": []}))).unwrap();
    assert_eq!(none.request.sampling.dry.sequence_breakers, Some(Vec::new()));
}

#[test]
fn null_asks_for_nothing() {
    let mut body = with(&json!({}));
    for parameter in CHAT_PARAMETERS.iter().filter(|p| !["model", "messages"].contains(&p.name)) {
        body[parameter.name] = Value::Null;
    }
    let decoded = chat(&body).unwrap();
    assert_eq!(decoded, chat(&with(&json!({}))).unwrap());
    assert!(decoded.ignored.is_empty());
}

#[test]
fn the_table_is_kept() {
    let tables = [(CHAT_PARAMETERS, true), (COMPLETION_PARAMETERS, false)];
    for (table, is_chat) in tables {
        for parameter in table {
            let mut body =
                if is_chat { with(&json!({})) } else { json!({"model": "m", "prompt": "x"}) };
            match parameter.treatment {
                Treatment::Honoured => continue,
                Treatment::WithoutEffect => {
                    body[parameter.name] = json!("anything");
                    let decoded = if is_chat { chat(&body) } else { completion(&body) };
                    assert_eq!(decoded.unwrap().ignored, [parameter.name]);
                }
                Treatment::Refused { unless, .. } => {
                    body[parameter.name] = json!({"some": "thing"});
                    let decoded = if is_chat { chat(&body) } else { completion(&body) };
                    let error = decoded.unwrap_err();
                    assert_eq!(error.param.as_deref(), Some(parameter.name));
                    for neutral in unless {
                        body[parameter.name] = serde_json::from_str(neutral).unwrap();
                        let decoded = if is_chat { chat(&body) } else { completion(&body) };
                        assert_eq!(decoded.unwrap().ignored, Vec::<String>::new());
                    }
                }
            }
        }
    }
}

#[test]
fn a_conversation_with_tools_is_read_whole() {
    let weather = json!({"type": "function", "function": {
        "name": "weather", "parameters": {"type": "object", "properties": {"z": {}, "a": {}}},
    }});
    let body = json!({
        "model": "m",
        "tools": [weather],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "a"},
                {"type": "image_url", "image_url": {"url": "data:x"}}], "name": "Ann"},
            {"role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": [
                {"id": "c", "type": "function",
                 "function": {"name": "weather", "arguments": "{\"z\": 1}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "sun"}],
             "cache_control": {}},
        ],
    });
    let decoded = chat(&body).unwrap();
    assert_eq!(decoded.ignored, ["messages[].cache_control"]);
    let got = conversation(&decoded.request.input);
    let call = ToolCall { id: "c".into(), name: "weather".into(), arguments: "{\"z\": 1}".into() };
    let result = ToolResult { call_id: "c".into(), text: "sun".into(), is_error: false };
    let image = Part::Image { url: "data:x".into() };
    let expect = [
        Message::text(Role::System, "s"),
        Message {
            role: Role::User,
            content: vec![Part::Text("a".into()), image],
            name: Some("Ann".into()),
        },
        Message {
            role: Role::Assistant,
            content: vec![Part::Reasoning("hm".into()), Part::ToolCall(call)],
            name: None,
        },
        Message { role: Role::Tool, content: vec![Part::ToolResult(result)], name: None },
    ];
    assert_eq!(got.messages, expect);
    assert_eq!(got.tool_choice, ToolChoice::Named("weather".into()));
    // Key order is the client's.
    assert_eq!(got.tools[0].definition.to_string(), weather.to_string());
}

#[test]
fn wrong_fields_are_named() {
    for (body, param) in [
        (json!({"messages": []}), "messages"),
        (json!({"model": "m"}), "messages"),
        (json!({"messages": [{"role": "user", "content": "x"}]}), "model"),
        (with(&json!({"messages": [{"role": "user"}]})), "messages[0].content"),
        (with(&json!({"messages": ["x"]})), "messages[0]"),
        (with(&json!({"messages": [{"content": "x"}]})), "messages[0].role"),
        (
            with(&json!({"messages": [{"role": "tool", "content": "x"}]})),
            "messages[0].tool_call_id",
        ),
        (
            with(&json!({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]})),
            "messages[0].content[0].type",
        ),
        (with(&json!({"tools": [{"type": "custom"}]})), "tools[0].type"),
        (with(&json!({"tools": [{"type": "function"}]})), "tools[0].function"),
        (with(&json!({"tool_choice": "sometimes"})), "tool_choice"),
        (with(&json!({"logit_bias": {"x": 1}})), "logit_bias.x"),
        (with(&json!({"logit_bias": {"1": 101}})), "logit_bias.1"),
        (with(&json!({"top_logprobs": 2})), "top_logprobs"),
        (with(&json!({"logprobs": true, "top_logprobs": 21})), "top_logprobs"),
        (with(&json!({"max_tokens": 1, "max_completion_tokens": 2})), "max_tokens"),
        (with(&json!({"max_tokens": 1.5})), "max_tokens"),
        (with(&json!({"seed": "x"})), "seed"),
        (with(&json!({"response_format": {"type": "xml"}})), "response_format.type"),
        (with(&json!({"response_format": "json"})), "response_format"),
        (with(&json!({"stream": 1})), "stream"),
        (with(&json!({"n": 0})), "n"),
        (with(&json!({"stream_options": 1})), "stream_options"),
    ] {
        let error = chat(&body).unwrap_err();
        assert_eq!((error.status, error.param.as_deref()), (400, Some(param)), "{body}");
        assert!(error.message.contains(param.split('.').next().unwrap()), "{}", error.message);
    }
}

#[test]
fn completions_have_their_own_defaults() {
    let decoded = completion(&json!({"model": "m", "prompt": "x"})).unwrap();
    assert_eq!(decoded.request.max_tokens, Some(16));
    let scored = json!({"model": "m", "prompt": [[1, 2]], "echo": true, "logprobs": 1,
        "max_tokens": 1, "temperature": 0});
    let scored = completion(&scored).unwrap().request;
    assert_eq!(scored.input, Input::Tokens(vec![1, 2]));
    assert_eq!((scored.logprobs, scored.prompt_logprobs, scored.echo), (Some(1), Some(1), true));
    let listed = completion(&json!({"model": "m", "prompt": ["a", [1, 2], "b"]})).unwrap();
    let texts = [Plain::Text("a".into()), Plain::Tokens(vec![1, 2]), Plain::Text("b".into())];
    assert_eq!(listed.request.input, Input::Several(texts.into()));
    let too_many = vec!["a"; 1025];
    let refused = completion(&json!({"model": "m", "prompt": too_many})).unwrap_err();
    assert!(refused.message.contains("a list of 1 to 1024, each a string"), "{}", refused.message);
    for prompt in [
        json!(null),
        json!(1),
        json!([]),
        json!([[]]),
        json!([-1]),
        json!({"a": 1}),
        json!(["a", 1]),
        json!([["a"], "b"]),
        json!([[1], null]),
        json!(too_many),
    ] {
        let decoded = completion(&json!({"model": "m", "prompt": prompt}));
        let is_empty = decoded.as_ref().is_ok_and(|d| d.request.input == Input::Tokens(Vec::new()));
        assert!(
            is_empty || decoded.is_err_and(|e| e.param.as_deref() == Some("prompt")),
            "{prompt}"
        );
    }
}

fn meta() -> CallMeta {
    CallMeta { id: "c1".into(), created: 5, model: "m".into() }
}

fn scored(text: &str, logprob: Option<f32>) -> ScoredToken {
    let top = logprob.map(|logprob| Alternative { token: 9, bytes: b"x".to_vec(), logprob });
    ScoredToken {
        token: 1,
        bytes: text.as_bytes().to_vec(),
        logprob,
        top: top.into_iter().collect(),
    }
}

fn events() -> Vec<Event> {
    let delta = |delta: Delta| Event::Delta { choice: 0, delta };
    let text = |text: &str| {
        delta(Delta::Text { text: text.into(), tokens: vec![scored(text, Some(-0.25))] })
    };
    vec![
        Event::Started { prompt_tokens: 2, seed: 3 },
        Event::Prompt {
            choice: 0,
            tokens: vec![scored("P", None), scored("q", Some(f32::NEG_INFINITY))],
        },
        delta(Delta::Reasoning { text: "hm".into() }),
        delta(Delta::Reasoning { text: "!".into() }),
        text("Hé"),
        text("llo"),
        delta(Delta::ToolCall { index: 0, id: "c".into(), name: "weather".into() }),
        delta(Delta::Arguments { index: 0, text: "{\"a\":".into() }),
        delta(Delta::Arguments { index: 0, text: "1}".into() }),
        delta(Delta::ToolCallEnd { index: 0, is_whole: true }),
        Event::Finished { choice: 0, reason: FinishReason::ToolCalls },
        Event::Done {
            usage: Usage {
                prompt_tokens: 2,
                cached_tokens: 1,
                completion_tokens: 8,
                reasoning_tokens: 2,
            },
            timings: Timings {
                queued: Duration::from_millis(10),
                first_token: Some(Duration::from_millis(30)),
                total: Duration::from_millis(1030),
                prefill_tokens: 2,
                decode_tokens: 7,
                masks: Duration::ZERO,
                drafted_tokens: 5,
                accepted_tokens: 3,
            },
        },
    ]
}

/// Of a list of prompts, each answer comes with the tokens of its own.
#[test]
fn the_answers_to_a_list_have_their_prompts_before_them() {
    let delta = |choice, text: &str| {
        let tokens = vec![scored(text, Some(-0.25))];
        Event::Delta { choice, delta: Delta::Text { text: text.into(), tokens } }
    };
    let prompt = |choice, text| Event::Prompt { choice, tokens: vec![scored(text, None)] };
    let end = |choice| Event::Finished { choice, reason: FinishReason::MaxTokens };
    let mut events = vec![Event::Started { prompt_tokens: 2, seed: 3 }];
    // Two answers to each of two prompts, of which the second is read first.
    events.extend([prompt(2, "Q"), delta(2, "c"), prompt(0, "P"), delta(0, "a"), delta(3, "d")]);
    events.extend([delta(1, "b"), end(0), end(1), end(2), end(3)]);
    events.push(Event::Done { usage: Usage::default(), timings: Timings::default() });
    let whole = encode_completion(&meta(), &Reply::fold(events.clone()).unwrap(), true);
    let tokens = |choice: &Value| choice["logprobs"]["tokens"].clone();
    let all: Vec<Value> = whole["choices"].as_array().unwrap().iter().map(tokens).collect();
    assert_eq!(json!(all), json!([["P", "a"], ["P", "b"], ["Q", "c"], ["Q", "d"]]));
    let told = frames(CompletionStream::new(meta(), false, true), &events);
    let of_third = told.iter().filter(|frame| frame["choices"][0]["index"] == 2);
    let of_third: Vec<Value> = of_third.map(|frame| tokens(&frame["choices"][0])).collect();
    assert_eq!(json!(of_third), json!([["Q"], ["c"], null]));
}

fn frames(mut encoder: impl StreamEncoder, events: &[Event]) -> Vec<Value> {
    let mut out = String::new();
    for event in events {
        encoder.push(event, &mut out);
    }
    assert!(out.ends_with("data: [DONE]\n\n"));
    out.split("\n\n")
        .filter_map(|frame| frame.strip_prefix("data: "))
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

/// What a client makes of a chat stream.
fn accumulate(chunks: &[Value]) -> Value {
    let mut message = json!({"role": null, "content": "", "refusal": null});
    let (mut logprobs, mut finish) = (Vec::new(), Value::Null);
    for choice in chunks.iter().filter_map(|chunk| chunk["choices"].get(0)) {
        let delta = &choice["delta"];
        for name in ["role", "content", "reasoning_content"] {
            if let Some(text) = delta[name].as_str() {
                let so_far = message[name].as_str().unwrap_or_default().to_owned();
                message[name] = json!(so_far + text);
            }
        }
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            if call.get("id").is_some() {
                let function = &call["function"];
                message["tool_calls"] =
                    json!([{"id": call["id"], "type": "function", "function": function}]);
            } else {
                let arguments = &mut message["tool_calls"][0]["function"]["arguments"];
                let more = call["function"]["arguments"].as_str().unwrap();
                *arguments = json!(arguments.as_str().unwrap().to_owned() + more);
            }
        }
        logprobs.extend(choice["logprobs"]["content"].as_array().into_iter().flatten().cloned());
        if !choice["finish_reason"].is_null() {
            finish = choice["finish_reason"].clone();
        }
    }
    json!({"message": message, "logprobs": logprobs, "finish": finish})
}

#[test]
fn a_chat_stream_adds_up_to_the_whole() {
    let chunks = frames(ChatStream::new(meta(), true, true), &events());
    let whole = encode_chat(&meta(), &Reply::fold(events()).unwrap(), true);
    let choice = &whole["choices"][0];
    let added = accumulate(&chunks);
    for name in ["role", "content", "reasoning_content", "tool_calls"] {
        assert_eq!(added["message"][name], choice["message"][name], "{name}");
    }
    assert_eq!(added["logprobs"], choice["logprobs"]["content"]);
    assert_eq!(added["finish"], "tool_calls");
    assert_eq!(added["finish"], choice["finish_reason"]);
    let last = chunks.last().unwrap();
    assert_eq!((&last["usage"], &last["timings"]), (&whole["usage"], &whole["timings"]));
    assert_eq!(whole["usage"]["total_tokens"], 10);
    assert_eq!(whole["usage"]["prompt_tokens_details"]["cached_tokens"], 1);
    assert_eq!(whole["timings"]["decode_tokens_per_second"], 7.0);
    assert_eq!(whole["timings"]["drafted_tokens"], 5);
    assert_eq!(whole["timings"]["accepted_tokens"], 3);
    assert!((whole["timings"]["prefill_tokens_per_second"].as_f64().unwrap() - 100.0).abs() < 1e-9);
    for chunk in &chunks {
        assert_eq!(
            (&chunk["id"], &chunk["created"], &chunk["model"]),
            (&json!("c1"), &json!(5), &json!("m"))
        );
        assert_eq!(chunk["object"], "chat.completion.chunk");
    }
}

#[test]
fn a_completion_stream_adds_up_to_the_whole() {
    let chunks = frames(CompletionStream::new(meta(), false, true), &events());
    let whole = encode_completion(&meta(), &Reply::fold(events()).unwrap(), true);
    let choice = &whole["choices"][0];
    let text: String =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect();
    assert_eq!((text.as_str(), choice["text"].as_str()), ("Héllo", Some("Héllo")));
    for name in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        let added: Vec<Value> = chunks
            .iter()
            .filter_map(|chunk| chunk["choices"][0]["logprobs"][name].as_array())
            .flatten()
            .cloned()
            .collect();
        assert_eq!(&Value::Array(added), &choice["logprobs"][name], "{name}");
    }
    let logprobs = &choice["logprobs"];
    assert_eq!(logprobs["text_offset"], json!([0, 1, 2, 4]), "characters, not bytes");
    assert_eq!(logprobs["token_logprobs"], json!([null, -9999.0, -0.25, -0.25]));
    // The token itself is among the best even where they leave it out.
    assert_eq!(logprobs["top_logprobs"][2], json!({"x": -0.25, "Hé": -0.25}));
    assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));
}

#[test]
fn errors_have_one_status_each() {
    let of = |error: Error| {
        let error = ApiError::from(error);
        let kind = encode_error(&error)["error"]["type"].as_str().map(str::to_owned);
        (error.status, kind, error.code, error.retry_after.is_some())
    };
    let named = |name: &str| Some(name.to_owned());
    let invalid = named("invalid_request_error");
    assert_eq!(
        of(Error::UnknownModel { model: "x".into(), available: "y".into() }),
        (404, invalid.clone(), Some("model_not_found"), false)
    );
    assert_eq!(of(Error::invalid("p", "m")), (400, invalid.clone(), None, false));
    assert_eq!(
        of(Error::not_supported("p", "w")),
        (400, invalid.clone(), Some("unsupported_parameter"), false)
    );
    assert_eq!(
        of(Error::ContextOverflow { prompt_tokens: 5, context_length: 4 }),
        (400, invalid.clone(), Some("context_length_exceeded"), false)
    );
    assert_eq!(
        of(Error::QueueFull { waiting: 1, limit: 1 }),
        (429, named("rate_limit_error"), Some("queue_full"), true)
    );
    assert_eq!(of(Error::Stopping), (503, named("server_error"), Some("shutting_down"), true));
    assert_eq!(of(Error::Generation("x".into())), (500, named("server_error"), None, false));
    let body = encode_error(&Error::invalid("p", "m").into());
    assert_eq!(
        body,
        json!({"error": {"message": "m", "type": invalid, "param": "p", "code": null}})
    );
}

/// No body makes the decoder panic: cuts and single-byte changes of a rich one.
#[test]
fn mangled_bodies_are_refused_quietly() {
    let body = with(&json!({"tools": [{"type": "function", "function": {"name": "f"}}],
        "stop": ["a"], "logit_bias": {"1": 1}, "response_format": {"type": "text"}}))
    .to_string();
    for end in 0..body.len() {
        drop(decode_chat(&body.as_bytes()[..end], "id"));
    }
    for at in 0..body.len() {
        for byte in [0, b'"', b'{', b']', b'9', b'-', 0xFF] {
            let mut bytes = body.clone().into_bytes();
            bytes[at] = byte;
            drop(decode_chat(&bytes, "id"));
            drop(decode_completion(&bytes, "id"));
        }
    }
}

#[test]
fn the_form_of_an_answer_is_said_once_and_in_known_words() {
    let decode = |extra: Value| {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "Q"}]});
        for (name, value) in extra.as_object().unwrap() {
            body[name] = value.clone();
        }
        decode_chat(body.to_string().as_bytes(), "r")
    };
    let format = |extra: Value| decode(extra).unwrap().request.response_format;
    assert_eq!(
        format(json!({"structured_outputs": {"choice": ["a", "b"]}})),
        serve::ResponseFormat::OneOf(vec!["a".into(), "b".into()])
    );
    assert_eq!(format(json!({"guided_regex": "a+"})), serve::ResponseFormat::Regex("a+".into()));
    let by_text = format(json!({"guided_json": "{\"type\": \"object\"}"}));
    assert!(
        matches!(by_text, serve::ResponseFormat::JsonSchema { schema, .. } if schema == json!({"type": "object"}))
    );
    for (bad, named) in [
        (json!({"structured_outputs": {"structural_tag": "x"}}), "structural_tag"),
        (json!({"guided_regex": "a", "guided_choice": ["b"]}), "guided_choice"),
        (json!({"guided_json": "{"}), "guided_json"),
        (json!({"grammar": "root ::= \"a\""}), "grammar"),
    ] {
        let error = decode(bad).err().unwrap();
        let body = encode_error(&error).to_string();
        assert!(body.contains(named), "{body}");
    }
}
