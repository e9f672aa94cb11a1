//! The client direction against our own server direction, against what providers' references
//! show, and against anything.

use dialect::client::{ANTHROPIC, CLIENTS, Client, OLLAMA, OPENAI_CHAT, Options, ReadError};
use dialect::{CallMeta, ENDPOINTS, Endpoint, Form};
use serde_json::{Value, json};
use serve::{
    Chat, Delta, Effort, Event, FinishReason, Input, LastN, Message, Part, Reply, Request,
    ResponseFormat, Role, Span, Thinking, Timings, Tool, ToolCall, ToolChoice, ToolResult, Usage,
};

use crate::events::{everything, fold, meta, started, streamed, text};
use crate::fuzz::answer;
use crate::shapes::Draws;

/// Requests drawn for each dialect.
const REQUESTS: usize = 2_000;

fn endpoint(client: &Client) -> &'static Endpoint {
    ENDPOINTS.iter().find(|endpoint| endpoint.path == client.path).unwrap()
}

fn is(client: &Client, other: &Client) -> bool {
    client.path == other.path
}

/// A turn of the kind, in the one form that comes back from the dialect as it went.
fn turn(draws: &mut Draws, client: &Client, role: Role, number: usize) -> Message {
    let is_ollama = is(client, &OLLAMA);
    let said = || Part::Text(["hi", "é♥", "{\"a\":1}", "x\ny"][number % 4].to_owned());
    let mut content = Vec::new();
    let result =
        |is_error| ToolResult { call_id: format!("call_{number}"), text: "r".into(), is_error };
    match role {
        Role::Assistant => {
            if draws.below(2) == 0 {
                content.push(Part::Reasoning("hm".into()));
            }
            let n_calls = draws.below(3);
            if n_calls == 0 || draws.below(2) == 0 {
                content.push(said());
            }
            for place in 0..n_calls {
                let id = format!("call_{number}_{place}");
                let arguments = draws.one(&["{}", r#"{"z":[1,{"b":null}],"a":"é"}"#]);
                let call = ToolCall { id, name: "f".into(), arguments: (*arguments).into() };
                content.push(Part::ToolCall(call));
            }
        }
        Role::Tool => content.push(Part::ToolResult(result(false))),
        Role::User if is(client, &ANTHROPIC) && draws.below(2) == 0 => {
            content.push(Part::ToolResult(result(draws.below(2) == 0)));
        }
        _ => content.push(said()),
    }
    let has_images = matches!(role, Role::User) && draws.below(3) == 0;
    if has_images {
        let url = if is_ollama { "data:;base64,QQ==" } else { "data:image/png;base64,QQ==" };
        content.push(Part::Image { url: url.to_owned() });
        if !is_ollama {
            content.push(Part::Image { url: "https://example.org/a.png".into() });
        }
    }
    let is_named = !is(client, &ANTHROPIC) && draws.below(4) == 0;
    Message { role, content, name: is_named.then(|| "n".to_owned()) }
}

fn chat(draws: &mut Draws, client: &Client) -> Chat {
    let mut messages = Vec::new();
    if draws.below(2) == 0 {
        messages.push(Message::text(Role::System, "be brief"));
    }
    let roles: &[Role] = match client.path {
        "/v1/messages" => &[Role::User, Role::Assistant],
        "/api/chat" => &[Role::User, Role::Assistant, Role::Tool, Role::System],
        _ => &[Role::User, Role::Assistant, Role::Tool, Role::System, Role::Developer],
    };
    for number in 0..draws.below(5) {
        let role = *draws.one(roles);
        messages.push(turn(draws, client, role, number));
    }
    messages.push(turn(draws, client, Role::User, 5));
    let function = json!({"name": "f", "description": "d", "strict": true,
        "parameters": {"type": "object", "properties": {"z": {}, "a": {}}}});
    let definition = json!({"type": "function", "function": function});
    let tool = Tool { name: "f".into(), definition };
    let tools = (0..draws.below(3)).map(|_| tool.clone()).collect();
    let thinking = match draws.below(4) {
        0 => Thinking::Effort(Effort::Low),
        1 => Thinking::Effort(Effort::High),
        // Chat completions have no word for reasoning of any effort.
        2 if !is(client, &OPENAI_CHAT) => Thinking::On,
        // Anthropic's interface means this where nothing is said.
        _ => Thinking::Off,
    };
    let mut chat = Chat { messages, tools, thinking, ..Chat::default() };
    if !is(client, &OLLAMA) {
        chat.single_call = draws.below(2) == 0;
        let named = ToolChoice::Named("f".into());
        let choices = [ToolChoice::Auto, ToolChoice::None, ToolChoice::Required, named];
        chat.tool_choice = draws.one(&choices).clone();
    }
    if is(client, &OPENAI_CHAT) && draws.below(2) == 0 {
        chat.template_kwargs.insert("k".into(), json!(true));
    } else if !is(client, &OPENAI_CHAT) && thinking == Thinking::Off && draws.below(2) == 0 {
        chat.prefill = Some("It".into());
    }
    chat
}

fn request(draws: &mut Draws, client: &Client) -> Request {
    let chat = chat(draws, client);
    let has_prefill = chat.prefill.is_some();
    let mut request = Request::new("id", "m", Input::Chat(chat));
    let is_chat = is(client, &OPENAI_CHAT);
    let mut sampling = serve::Sampling::default();
    let mut maybe = |value: f32| (draws.below(2) == 0).then_some(value);
    sampling.temperature = maybe(0.1);
    sampling.top_p = maybe(0.9);
    if !is(client, &ANTHROPIC) {
        sampling.min_p = maybe(0.05);
        sampling.typical_p = maybe(0.7);
        sampling.repetition_penalty = maybe(1.1);
        sampling.presence_penalty = maybe(-0.3);
        sampling.frequency_penalty = maybe(0.2);
        sampling.repeat_last_n = maybe(0.0).map(|_| LastN::All);
        sampling.seed = maybe(0.0).map(|_| u64::MAX - 3);
    }
    if is_chat {
        sampling.xtc_probability = maybe(0.4);
        sampling.dry.multiplier = maybe(0.8);
        sampling.dry.penalty_last_n = maybe(0.0).map(|_| LastN::Tokens(9));
        sampling.dry.sequence_breakers = maybe(0.0).map(|_| vec!["\n".to_owned()]);
        sampling.logit_bias = maybe(0.0).map(|_| (7, -1.5)).into_iter().collect();
        request.stop.tokens = maybe(0.0).map(|_| 9).into_iter().collect();
        request.stop.ignore_eos = maybe(0.0).is_some();
        request.stop.min_tokens = draws.below(3);
        request.choices = 1 + draws.below(3) as u32;
    }
    sampling.top_k = (draws.below(2) == 0).then_some(40);
    request.sampling = sampling;
    request.stop.strings = vec!["a".to_owned(), "b".to_owned()][..draws.below(3)].to_vec();
    let needs_limit = is(client, &ANTHROPIC);
    request.max_tokens = (needs_limit || draws.below(2) == 0).then_some(77);
    let name = if is_chat { "s" } else { "" };
    let schema = json!({"type": "object", "required": ["a"]});
    let schema = ResponseFormat::JsonSchema { name: name.into(), schema, strict: true };
    request.response_format = match draws.below(6) {
        0 if !has_prefill => schema,
        1 if !needs_limit && !has_prefill => ResponseFormat::JsonObject,
        2 if is_chat => ResponseFormat::Regex("a+".into()),
        3 if is_chat => ResponseFormat::OneOf(vec!["a".into(), "b".into()]),
        4 if is_chat => ResponseFormat::Lark("start: \"a\"".into()),
        _ => ResponseFormat::Text,
    };
    request
}

#[test]
fn requests_come_to_our_server_as_they_were() {
    let mut draws = Draws(0x2545_f491_4f6c_dd1d);
    for client in CLIENTS {
        for round in 0..REQUESTS {
            let request = request(&mut draws, client);
            let options = Options { stream: round % 2 == 0, is_open: true };
            let sent = (client.encode)(&request, options).unwrap();
            assert_eq!(sent.ignored, Vec::<String>::new());
            let body = sent.body.to_string();
            let decoded = (endpoint(client).decode)(body.as_bytes(), "id").unwrap();
            assert_eq!(decoded.request, request, "{body}");
            assert_eq!((decoded.stream, decoded.ignored), (options.stream, Vec::new()), "{body}");
        }
    }
}

#[test]
fn what_a_dialect_cannot_say_is_refused_by_name_or_listed() {
    type Change = fn(&mut Request);
    fn chat_of(request: &mut Request) -> &mut Chat {
        match &mut request.input {
            Input::Chat(chat) => chat,
            other => panic!("{other:?}"),
        }
    }
    // The change, and what chat completions, Anthropic's and Ollama's dialect name: OpenAI's own
    // service, not an open server.
    let cases: [(Change, [Option<&str>; 3]); 15] = [
        (|_| {}, [None, None, None]),
        (|r| r.logprobs = Some(1), [Some("logprobs"); 3]),
        (|r| r.echo = true, [Some("echo"); 3]),
        (|r| r.input = Input::Text("x".into()), [Some("prompt"); 3]),
        (|r| r.input = Input::Tokens(vec![1]), [Some("prompt"); 3]),
        (|r| r.sampling.min_p = Some(0.1), [Some("min_p"), Some("min_p"), None]),
        (|r| r.sampling.top_k = Some(5), [Some("top_k"), None, None]),
        (|r| r.sampling.temperature = Some(1.5), [None, Some("temperature"), None]),
        (
            |r| r.sampling.logit_bias = vec![(1, 1.0)],
            [None, Some("logit_bias"), Some("logit_bias")],
        ),
        (|r| r.choices = 2, [None, Some("n"), Some("n")]),
        (|r| r.stop.tokens = vec![1], [Some("stop_token_ids"); 3]),
        (|r| r.response_format = ResponseFormat::Regex("a".into()), [Some("response_format"); 3]),
        (|r| chat_of(r).tool_choice = ToolChoice::Required, [None, None, Some("tool_choice")]),
        (|r| chat_of(r).prefill = Some("x".into()), [Some("prefill"), None, None]),
        (
            |r| chat_of(r).messages.push(Message::text(Role::System, "later")),
            [None, Some("messages"), None],
        ),
    ];
    for (number, (change, expect)) in cases.into_iter().enumerate() {
        for (client, expect) in CLIENTS.iter().zip(expect) {
            let messages = vec![Message::text(Role::User, "hi")];
            let input = Input::Chat(Chat { messages, ..Chat::default() });
            let mut request = Request::new("id", "m", input);
            change(&mut request);
            let refused = match (client.encode)(&request, Options::default()) {
                Ok(_) => None,
                Err(serve::Error::NotSupported { param, .. }) => Some(param),
                Err(other) => panic!("{other:?}"),
            };
            assert_eq!(refused.as_deref(), expect, "case {number} at {}", client.path);
        }
    }
    let content = vec![Part::Reasoning("hm".into()), Part::Text("a".into())];
    let thought = Message { role: Role::Assistant, content, name: None };
    let messages = vec![thought, Message::text(Role::User, "hi")];
    let input = Input::Chat(Chat { messages, ..Chat::default() });
    for (client, expect) in [
        (OPENAI_CHAT, vec!["messages[].reasoning_content"]),
        (ANTHROPIC, vec!["messages[].content[].thinking"]),
        (OLLAMA, vec![]),
    ] {
        let request = Request::new("id", "m", input.clone());
        let sent = (client.encode)(&request, Options::default()).unwrap();
        assert_eq!(sent.ignored, expect);
        assert_eq!(sent.body.to_string().contains("hm"), expect.is_empty());
    }
}

/// What of an answer the dialect carries; `in_order` whether it says in which order parts came.
fn carried(client: &Client, reply: &Reply, in_order: bool) -> Reply {
    let mut reply = reply.clone();
    (reply.seed, reply.timings) = (0, Timings::default());
    reply.prompt.clear();
    if is(client, &OLLAMA) {
        let Usage { prompt_tokens, completion_tokens, .. } = reply.usage;
        reply.usage = Usage { prompt_tokens, completion_tokens, ..Usage::default() };
    }
    for choice in &mut reply.choices {
        choice.tokens.clear();
        choice.scored.clear();
        choice.order.retain(|span| match span {
            Span::Text(range) | Span::Reasoning(range) => !range.is_empty(),
            Span::ToolCall(_) => true,
        });
        if !in_order {
            choice.order.clear();
        }
        let has_calls = !choice.tool_calls.is_empty();
        choice.finish = choice.finish.take().map(|reason| match reason {
            FinishReason::ContextLength if !is(client, &ANTHROPIC) => FinishReason::MaxTokens,
            FinishReason::MaxTokens | FinishReason::ContextLength => reason,
            // Ollama says that the model has stopped, and no more.
            _ if is(client, &OLLAMA) && has_calls => FinishReason::ToolCalls,
            _ if is(client, &OLLAMA) => FinishReason::EndOfTurn,
            FinishReason::StopToken(_) if is(client, &ANTHROPIC) => FinishReason::EndOfTurn,
            other => other,
        });
    }
    reply
}

/// The events that a stream gives in pieces that end at these places.
fn read(client: &Client, stream: &[u8], ends: impl Iterator<Item = usize>) -> Vec<Event> {
    let mut decoder = (client.stream)(1);
    let (mut events, mut at) = (Vec::new(), 0);
    for end in ends.chain([stream.len()]) {
        decoder.push(&stream[at..end], &mut events).unwrap();
        at = end;
    }
    decoder.finish(&mut events).unwrap();
    assert_eq!(decoder.n_unknown(), 0);
    events
}

fn there_and_back(client: &Client, events: &[Event]) {
    let endpoint = endpoint(client);
    let meta = CallMeta { id: format!("{}7", endpoint.id_prefix), ..meta() };
    let form = Form { include_usage: true, ..Form::default() };
    let stream = streamed(&mut *(endpoint.stream.unwrap())(meta.clone(), form.clone()), events);
    let stream = stream.as_bytes();
    let back = read(client, stream, std::iter::empty());
    assert_eq!(back, read(client, stream, 1..stream.len()), "byte by byte");
    let step = 1 + stream.len() / 97;
    for at in (1..stream.len()).step_by(step) {
        assert_eq!(back, read(client, stream, std::iter::once(at)), "cut at {at}");
    }
    let said = fold(events);
    let got = carried(client, &fold(&back), true);
    assert_eq!(got, carried(client, &said, true), "{}", String::from_utf8_lossy(stream));
    let whole = (endpoint.whole)(&meta, &said, &form).to_string();
    let back = fold(&(client.whole)(whole.as_bytes(), 1).unwrap());
    let in_order = is(client, &ANTHROPIC);
    assert_eq!(carried(client, &back, in_order), carried(client, &said, in_order), "{whole}");
}

#[test]
fn answers_come_back_as_they_were_for_every_split() {
    for client in CLIENTS {
        there_and_back(client, &everything());
    }
    bolero::check!().with_type::<(Vec<(u8, String)>, u8)>().for_each(|(parts, reason)| {
        let mut events = answer(parts, *reason);
        // An answer of nothing has no place in a stream of deltas, and its end no other form.
        events.insert(1, text("a"));
        for client in CLIENTS {
            there_and_back(client, &events);
        }
    });
}

#[test]
fn failures_and_breaks_are_told() {
    for client in CLIENTS {
        let endpoint = endpoint(client);
        let encoder = || (endpoint.stream.unwrap())(meta(), Form::default());
        let failed = [started(), text("a"), Event::Failed(serve::Error::Stopping)];
        let stream = streamed(&mut *encoder(), &failed);
        let events = read(client, stream.as_bytes(), std::iter::empty());
        let Some(Event::Failed(error)) = events.last() else { panic!("{events:?}") };
        assert!(error.to_string().contains("shutting down"), "{error}");
        let half = streamed(&mut *encoder(), &failed[..2]);
        let (mut decoder, mut events) = ((client.stream)(1), Vec::new());
        decoder.push(half.as_bytes(), &mut events).unwrap();
        assert_eq!(decoder.finish(&mut events), Err(ReadError::BrokeOff), "{}", client.path);
    }
    let body = br#"{"error":{"message":"no","type":"invalid_request_error","param":"p"}}"#;
    for client in CLIENTS {
        let error = serve::Error::from((client.error)(400, body));
        assert_eq!(error, serve::Error::invalid("p", "no"));
        let error = serve::Error::from((client.error)(502, b"<html>"));
        assert_eq!(error, serve::Error::Generation("<html>".into()));
    }
    let error = (OLLAMA.error)(404, br#"{"error":"model not found"}"#);
    assert_eq!((error.message.as_str(), error.kind), ("model not found", None));
}

/// The texts, calls and reasons of a transcript.
fn told(client: &Client, stream: &str, choices: u32) -> (Reply, usize) {
    let (mut decoder, mut events) = ((client.stream)(choices), Vec::new());
    for byte in stream.as_bytes() {
        decoder.push(&[*byte], &mut events).unwrap();
    }
    decoder.finish(&mut events).unwrap();
    (fold(&events), decoder.n_unknown())
}

#[test]
fn a_transcript_of_chat_completions() {
    let chunk = |value: Value| format!("data: {value}\r\n\r\n");
    let delta = |index: usize, delta: Value| {
        chunk(json!({"id": "c", "object": "chat.completion.chunk", "obfuscation": "x",
            "choices": [{"index": index, "delta": delta, "finish_reason": null}], "usage": null}))
    };
    let piece = |index: usize, call: Value| {
        let mut call = call;
        call["index"] = json!(index);
        delta(0, json!({"tool_calls": [call]}))
    };
    let end = |index: usize, reason: &str| {
        chunk(json!({"choices": [{"index": index, "delta": {}, "finish_reason": reason}]}))
    };
    let usage = json!({"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 2}});
    let stream = [
        ": comment\r\n\r\n".to_owned(),
        delta(0, json!({"role": "assistant", "content": null, "refusal": null})),
        delta(0, json!({"reasoning": "hm"})),
        delta(1, json!({"content": "B"})),
        piece(
            0,
            json!({"id": "call_a", "type": "function", "function": {"name": "f", "arguments": ""}}),
        ),
        piece(0, json!({"function": {"arguments": "{\"a\":"}})),
        piece(0, json!({"function": {"arguments": "1}"}})),
        piece(
            1,
            json!({"id": "call_b", "type": "function", "function": {"name": "g", "arguments": ""}}),
        ),
        end(0, "tool_calls"),
        end(1, "length"),
        chunk(json!({"choices": [], "usage": usage})),
        "data: [DONE]\r\n\r\n".to_owned(),
    ];
    let (reply, n_unknown) = told(&OPENAI_CHAT, &stream.concat(), 2);
    assert_eq!(n_unknown, 0);
    let [first, second] = &reply.choices[..] else { panic!("{reply:?}") };
    assert_eq!((first.reasoning.as_str(), second.text.as_str()), ("hm", "B"));
    let calls: Vec<_> = first
        .tool_calls
        .iter()
        .map(|c| (c.id.as_str(), c.name.as_str(), c.arguments.as_str()))
        .collect();
    assert_eq!(calls, [("call_a", "f", "{\"a\":1}"), ("call_b", "g", "{}")]);
    assert_eq!(first.finish, Some(FinishReason::ToolCalls));
    assert_eq!(second.finish, Some(FinishReason::MaxTokens));
    let expect =
        Usage { prompt_tokens: 9, cached_tokens: 4, completion_tokens: 7, reasoning_tokens: 2 };
    assert_eq!(reply.usage, expect);
}

#[test]
fn a_transcript_of_messages() {
    let frame =
        |value: Value| format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap());
    let block = |index: usize, block: Value| {
        frame(json!({"type": "content_block_start", "index": index, "content_block": block}))
    };
    let delta = |index: usize, delta: Value| {
        frame(json!({"type": "content_block_delta", "index": index, "delta": delta}))
    };
    let stop = |index: usize| frame(json!({"type": "content_block_stop", "index": index}));
    let stream = [
        frame(json!({"type": "message_start", "message": {"id": "msg_1", "type": "message",
            "role": "assistant", "model": "c", "content": [], "stop_reason": null,
            "usage": {"input_tokens": 20, "cache_creation_input_tokens": 3,
                "cache_read_input_tokens": 100, "output_tokens": 1}}})),
        frame(json!({"type": "ping"})),
        block(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
        delta(0, json!({"type": "thinking_delta", "thinking": "hm"})),
        delta(0, json!({"type": "signature_delta", "signature": "EqQB"})),
        stop(0),
        block(1, json!({"type": "text", "text": ""})),
        delta(1, json!({"type": "text_delta", "text": "Let me look."})),
        stop(1),
        block(2, json!({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}})),
        delta(2, json!({"type": "input_json_delta", "partial_json": ""})),
        delta(2, json!({"type": "input_json_delta", "partial_json": "{\"a\": 1}"})),
        stop(2),
        frame(json!({"type": "something_new"})),
        frame(json!({"type": "message_delta", "delta": {"stop_reason": "tool_use",
            "stop_sequence": null}, "usage": {"output_tokens": 15}})),
        frame(json!({"type": "message_stop"})),
    ];
    let (reply, n_unknown) = told(&ANTHROPIC, &stream.concat(), 1);
    assert_eq!(n_unknown, 1, "what is new is counted");
    let choice = &reply.choices[0];
    assert_eq!((choice.reasoning.as_str(), choice.text.as_str()), ("hm", "Let me look."));
    assert_eq!(choice.tool_calls[0].arguments, "{\"a\": 1}");
    assert_eq!(choice.finish, Some(FinishReason::ToolCalls));
    let usage =
        (reply.usage.prompt_tokens, reply.usage.cached_tokens, reply.usage.completion_tokens);
    assert_eq!(usage, (123, 100, 15));
}

#[test]
fn a_transcript_of_ollama() {
    let call = json!({"function": {"name": "f", "arguments": {"a": 1}}});
    let lines = [
        json!({"model": "q", "created_at": "t", "done": false,
            "message": {"role": "assistant", "content": "", "thinking": "hm"}}),
        json!({"model": "q", "done": false,
            "message": {"role": "assistant", "content": "", "tool_calls": [call]}}),
        json!({"model": "q", "done": true, "done_reason": "stop", "prompt_eval_count": 5,
            "eval_count": 6, "message": {"role": "assistant", "content": ""}}),
    ];
    // The last line is not ended.
    let stream = lines.map(|line| line.to_string()).join("\n");
    let (reply, _) = told(&OLLAMA, &stream, 1);
    let choice = &reply.choices[0];
    assert_eq!((choice.reasoning.as_str(), &choice.finish), ("hm", &Some(FinishReason::ToolCalls)));
    let made = ToolCall { id: "call_0".into(), name: "f".into(), arguments: "{\"a\":1}".into() };
    assert_eq!(choice.tool_calls, [made]);
    assert_eq!((reply.usage.prompt_tokens, reply.usage.completion_tokens), (5, 6));
}

#[test]
fn bytes_that_are_no_answer() {
    bolero::check!().with_type::<(Vec<u8>, u8)>().for_each(|(bytes, cut)| {
        for client in CLIENTS {
            let _ = (client.whole)(bytes, 2);
            let _ = (client.error)(500, bytes);
            let (mut decoder, mut events) = ((client.stream)(2), Vec::new());
            let (first, rest) = bytes.split_at(*cut as usize % (bytes.len() + 1));
            let read = decoder.push(first, &mut events).and(decoder.push(rest, &mut events));
            let _ = read.and(decoder.finish(&mut events));
        }
    });
}

#[test]
fn answers_with_something_else_in_a_place() {
    let others = [
        json!(null),
        json!(-1),
        json!(u64::MAX),
        json!("x"),
        json!([]),
        json!({}),
        json!([{"index": 7}]),
        json!([{"index": 0, "function": {"name": "f", "arguments": "{"}}]),
    ];
    bolero::check!().with_type::<(Vec<(u8, u16, u8)>, u8)>().for_each(|(changes, reason)| {
        for client in CLIENTS {
            let endpoint = endpoint(client);
            let mut events = everything();
            if reason % 2 == 0 {
                events.truncate(3 + *reason as usize % 5);
            }
            let stream =
                streamed(&mut *(endpoint.stream.unwrap())(meta(), Form::default()), &events);
            let mut lines: Vec<String> = stream.lines().map(str::to_owned).collect();
            for (line, place, other) in changes.iter().take(4) {
                let line = *line as usize % lines.len();
                let data = lines[line].strip_prefix("data: ").unwrap_or(&lines[line]);
                let Ok(mut value) = serde_json::from_str::<Value>(data) else { continue };
                let mut n_places = 0;
                crate::fuzz::places(&mut value, &mut |_| n_places += 1);
                let (wanted, mut at) = (*place as usize % n_places, 0);
                crate::fuzz::places(&mut value, &mut |value| {
                    if at == wanted {
                        *value = others[*other as usize % others.len()].clone();
                    }
                    at += 1;
                });
                lines[line] = lines[line].replace(data, &value.to_string());
                let _ = (client.whole)(value.to_string().as_bytes(), 1);
            }
            let (mut decoder, mut events) = ((client.stream)(1), Vec::new());
            let read = decoder.push((lines.join("\n") + "\n\n").as_bytes(), &mut events);
            let _ = read.and(decoder.finish(&mut events));
            // Whatever it is, calls begin before their arguments and end once.
            let mut open = None;
            for event in events {
                match event {
                    Event::Delta { delta: Delta::ToolCall { index, .. }, .. } => {
                        assert_eq!(open.replace(index), None);
                    }
                    Event::Delta { delta: Delta::Arguments { index, text }, .. } => {
                        assert!(open == Some(index) && !text.is_empty());
                    }
                    Event::Delta { delta: Delta::ToolCallEnd { index, .. }, .. } => {
                        assert_eq!(open.take(), Some(index));
                    }
                    Event::Finished { .. } | Event::Done { .. } => assert_eq!(open, None),
                    _ => {}
                }
            }
        }
    });
}
