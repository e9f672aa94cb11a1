//! The client direction against our own server direction, against what providers' references
//! show, and against anything.

use dialect::client::{
    ANTHROPIC, CLIENTS, Client, OLLAMA, OLLAMA_GENERATE, OPENAI_CHAT, OPENAI_COMPLETION,
    OPENAI_RESPONSES, Options, ReadError,
};
use dialect::{CallMeta, ENDPOINTS, Endpoint, Form};
use serde_json::{Value, json};
use serve::{
    Chat, Delta, Effort, Event, Fault, FinishReason, Input, LastN, Message, Part, Reply, Request,
    ResponseFormat, Role, Sealed, Span, Thinking, Timings, Tool, ToolCall, ToolChoice, ToolResult,
    Usage,
};

use crate::events::{delta, end, everything, fold, meta, reasoning, started, streamed, text};
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

fn is_ollama(client: &Client) -> bool {
    is(client, &OLLAMA) || is(client, &OLLAMA_GENERATE)
}

/// Whether it takes OpenAI's parameters and those that open servers add.
fn is_open_ai(client: &Client) -> bool {
    is(client, &OPENAI_CHAT) || is(client, &OPENAI_COMPLETION)
}

/// A turn of the kind, in the one form that comes back from the dialect as it went.
fn turn(draws: &mut Draws, client: &Client, role: Role, number: usize) -> Message {
    let is_ollama = is_ollama(client);
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
    let has_names = is(client, &OPENAI_CHAT) || is(client, &OLLAMA);
    let is_named = has_names && draws.below(4) == 0;
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
    // Generation has one turn.
    let n_turns = if is(client, &OLLAMA_GENERATE) { 0 } else { draws.below(5) };
    for number in 0..n_turns {
        let mut role = *draws.one(roles);
        // Items of the model that follow one another are one turn.
        let follows = messages.last().is_some_and(|last: &Message| last.role == role);
        if is(client, &OPENAI_RESPONSES) && follows && role == Role::Assistant {
            role = Role::User;
        }
        messages.push(turn(draws, client, role, number));
    }
    messages.push(turn(draws, client, Role::User, 5));
    let function = json!({"name": "f", "description": "d", "strict": true,
        "parameters": {"type": "object", "properties": {"z": {}, "a": {}}}});
    let definition = json!({"type": "function", "function": function});
    let tool = Tool { name: "f".into(), definition };
    let n_tools = if is(client, &OLLAMA_GENERATE) { 0 } else { draws.below(3) };
    let tools = (0..n_tools).map(|_| tool.clone()).collect();
    let thinking = match draws.below(4) {
        0 => Thinking::Effort(Effort::Low),
        1 => Thinking::Effort(Effort::High),
        // Chat completions have no word for reasoning of any effort.
        2 if is(client, &ANTHROPIC) || is_ollama(client) => Thinking::On,
        // Anthropic's interface means this where nothing is said.
        _ => Thinking::Off,
    };
    let mut chat = Chat { messages, tools, thinking, ..Chat::default() };
    if !is_ollama(client) {
        chat.single_call = draws.below(2) == 0;
        let named = ToolChoice::Named("f".into());
        let choices = [ToolChoice::Auto, ToolChoice::None, ToolChoice::Required, named];
        chat.tool_choice = draws.one(&choices).clone();
    }
    if is(client, &OPENAI_CHAT) && draws.below(2) == 0 {
        chat.template_kwargs.insert("k".into(), json!(true));
    } else if matches!(client.path, "/v1/messages" | "/api/chat")
        && thinking == Thinking::Off
        && draws.below(2) == 0
    {
        chat.prefill = Some("It".into());
    }
    chat
}

fn request(draws: &mut Draws, client: &Client) -> Request {
    let chat = chat(draws, client);
    let has_prefill = chat.prefill.is_some();
    let input = match client.path {
        "/v1/completions" if draws.below(2) == 0 => Input::Tokens(vec![1, 0, u32::MAX]),
        "/v1/completions" => Input::Text("Once\n".into()),
        "/api/generate" if draws.below(2) == 0 => Input::Text("[INST] é".into()),
        _ => Input::Chat(chat),
    };
    let mut request = Request::new("id", "m", input);
    let is_chat = is_open_ai(client);
    let is_responses = is(client, &OPENAI_RESPONSES);
    let mut sampling = serve::Sampling::default();
    let mut maybe = |value: f32| (draws.below(2) == 0).then_some(value);
    sampling.temperature = maybe(0.1);
    sampling.top_p = maybe(0.9);
    if !is(client, &ANTHROPIC) && !is_responses {
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
    sampling.top_k = (!is_responses && draws.below(2) == 0).then_some(40);
    request.sampling = sampling;
    if !is_responses {
        request.stop.strings = vec!["a".to_owned(), "b".to_owned()][..draws.below(3)].to_vec();
    }
    let needs_limit = is(client, &ANTHROPIC) || is(client, &OPENAI_COMPLETION);
    request.max_tokens = (needs_limit || draws.below(2) == 0).then_some(77);
    let name = if is_chat || is_responses { "s" } else { "" };
    let schema = json!({"type": "object", "required": ["a"]});
    let schema = ResponseFormat::JsonSchema { name: name.into(), schema, strict: true };
    request.response_format = match draws.below(6) {
        0 if !has_prefill => schema,
        1 if !is(client, &ANTHROPIC) && !has_prefill => ResponseFormat::JsonObject,
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
    // The change, what it makes them name, and in which dialects they do, in the order of
    // CLIENTS: OpenAI's own service, not an open server.
    let cases: [(Change, &str, [u8; 6]); 17] = [
        (|_| {}, "", [0; 6]),
        (|r| r.logprobs = Some(1), "logprobs", [1; 6]),
        (|r| r.echo = true, "echo", [1; 6]),
        (|r| r.input = Input::Text("x".into()), "prompt", [1, 1, 1, 1, 0, 0]),
        (|r| r.input = Input::Tokens(vec![1]), "prompt", [1, 1, 1, 1, 0, 1]),
        (|r| r.input = Input::Embed(serve::Embed::default()), "input", [1; 6]),
        (|r| r.sampling.min_p = Some(0.1), "min_p", [1, 1, 0, 1, 1, 0]),
        (|r| r.sampling.top_k = Some(5), "top_k", [1, 0, 0, 1, 1, 0]),
        (|r| r.sampling.temperature = Some(1.5), "temperature", [0, 1, 0, 0, 0, 0]),
        (|r| r.sampling.logit_bias = vec![(1, 1.0)], "logit_bias", [0, 1, 1, 1, 0, 1]),
        (|r| r.choices = 2, "n", [0, 1, 1, 1, 0, 1]),
        (|r| r.stop.strings = vec!["a".into()], "stop", [0, 0, 0, 1, 0, 0]),
        (|r| r.stop.tokens = vec![1], "stop_token_ids", [1; 6]),
        (|r| r.response_format = ResponseFormat::Regex("a".into()), "response_format", [1; 6]),
        (|r| chat_of(r).tool_choice = ToolChoice::Required, "tool_choice", [0, 0, 1, 0, 9, 1]),
        (|r| chat_of(r).prefill = Some("x".into()), "prefill", [1, 0, 0, 1, 9, 1]),
        (
            |r| chat_of(r).messages.push(Message::text(Role::System, "later")),
            "messages",
            [0, 1, 0, 0, 9, 1],
        ),
    ];
    for (number, (change, name, refuse)) in cases.into_iter().enumerate() {
        for (client, refuses) in CLIENTS.iter().zip(refuse) {
            // It takes no conversation, so what is said about one has no case.
            if refuses == 9 {
                continue;
            }
            let expect = (refuses == 1).then_some(name);
            let messages = vec![Message::text(Role::User, "hi")];
            let input = match is(client, &OPENAI_COMPLETION) {
                true => Input::Text("hi".into()),
                false => Input::Chat(Chat { messages, ..Chat::default() }),
            };
            let mut request = Request::new("id", "m", input);
            request.max_tokens = Some(5);
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
        (OPENAI_RESPONSES, vec!["messages[].reasoning"]),
    ] {
        let request = Request::new("id", "m", input.clone());
        let sent = (client.encode)(&request, Options::default()).unwrap();
        assert_eq!(sent.ignored, expect);
        assert_eq!(sent.body.to_string().contains("hm"), expect.is_empty());
    }
    // What generates one turn, or goes on from a text.
    let chat = Request::new("id", "m", input.clone());
    let refused =
        |client: Client, request: &Request| match (client.encode)(request, Options::default()) {
            Err(serve::Error::NotSupported { param, .. } | serve::Error::Invalid { param, .. }) => {
                param
            }
            other => panic!("{other:?}"),
        };
    assert_eq!(refused(OPENAI_COMPLETION, &chat), "messages");
    assert_eq!(refused(OLLAMA_GENERATE, &chat), "messages");
    // Sixteen tokens are not what was asked for.
    let endless = Request::new("id", "m", Input::Text("x".into()));
    assert_eq!(refused(OPENAI_COMPLETION, &endless), "max_tokens");
    // An empty prompt asks for the model alone to be loaded.
    let nothing = Request::new("id", "m", Input::Text(String::new()));
    assert_eq!(refused(OLLAMA_GENERATE, &nothing), "prompt");
}

/// What of an answer the dialect carries; `in_order` whether it says in which order parts came.
fn carried(client: &Client, reply: &Reply, in_order: bool) -> Reply {
    let mut reply = reply.clone();
    (reply.seed, reply.timings) = (0, Timings::default());
    reply.prompt.clear();
    if is_ollama(client) {
        let Usage { prompt_tokens, completion_tokens, .. } = reply.usage;
        reply.usage = Usage { prompt_tokens, completion_tokens, ..Usage::default() };
    }
    for choice in &mut reply.choices {
        if is(client, &OPENAI_COMPLETION) {
            // Text alone.
            choice.order.retain(|span| matches!(span, Span::Text(_)));
            let text = Span::Text(0..choice.text.len());
            choice.order.truncate(usize::from(!choice.text.is_empty()));
            choice.order.iter_mut().for_each(|span| *span = text.clone());
            choice.reasoning.clear();
            choice.tool_calls.clear();
            choice.incomplete_calls.clear();
        }
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
        let says_why = !is_ollama(client) && !is(client, &OPENAI_RESPONSES);
        choice.finish = choice.finish.take().map(|reason| match reason {
            FinishReason::ContextLength if !is(client, &ANTHROPIC) => FinishReason::MaxTokens,
            FinishReason::MaxTokens | FinishReason::ContextLength => reason,
            // They say that the model has stopped, and no more.
            _ if !says_why && has_calls => FinishReason::ToolCalls,
            _ if !says_why => FinishReason::EndOfTurn,
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
    let in_order = is(client, &ANTHROPIC) || is(client, &OPENAI_RESPONSES);
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
    let error = (OLLAMA.error)(404, None, br#"{"error":"model not found"}"#);
    assert_eq!((error.message.as_str(), error.kind), ("model not found", None));
}

/// What a router is told of a provider's error.
fn fault(error: serve::Error) -> (Fault, Option<u32>) {
    match error {
        serve::Error::Provider { fault, retry_after, .. } => (fault, retry_after),
        other => panic!("{other:?}"),
    }
}

#[test]
fn providers_errors_are_told_apart() {
    let body = br#"{"error":{"message":"no","type":"invalid_request_error","param":"p"}}"#;
    let coded = |code: &str| {
        let error = json!({"message": "no", "type": "invalid_request_error", "code": code});
        json!({"error": error}).to_string().into_bytes()
    };
    for client in CLIENTS {
        for status in [400, 413, 422] {
            let error = serve::Error::from((client.error)(status, None, body));
            assert_eq!(error, serve::Error::invalid("p", "no"));
        }
        for (status, retry, body, expect) in [
            (401, None, body.to_vec(), (Fault::Unauthorized, None)),
            (402, None, body.to_vec(), (Fault::Unpaid, None)),
            (403, None, body.to_vec(), (Fault::Forbidden, None)),
            (404, None, coded("model_not_found"), (Fault::NotFound, None)),
            (408, None, body.to_vec(), (Fault::Timeout, None)),
            (429, Some("7"), body.to_vec(), (Fault::RateLimited, Some(7))),
            (429, Some(" 0.2 "), coded("rate_limit_exceeded"), (Fault::RateLimited, Some(1))),
            // It does not pass by itself, whatever the status says.
            (429, Some("1"), coded("insufficient_quota"), (Fault::Unpaid, Some(1))),
            (500, None, b"".to_vec(), (Fault::Failed, None)),
            (502, Some("soon"), b"<html>".to_vec(), (Fault::Failed, None)),
            (503, Some("1e99"), b"{}".to_vec(), (Fault::Overloaded, Some(86_400))),
            (504, Some("-1"), b"{}".to_vec(), (Fault::Timeout, None)),
            (529, Some("NaN"), b"{}".to_vec(), (Fault::Overloaded, None)),
            (400, None, coded("content_policy_violation"), (Fault::Filtered, None)),
        ] {
            let error = (client.error)(status, retry, &body);
            assert_eq!(fault(error.into()), expect, "{status} {retry:?}");
        }
    }
    let passing = [Fault::RateLimited, Fault::Overloaded, Fault::Timeout, Fault::Failed];
    assert!(passing.into_iter().all(Fault::is_passing));
    let lasting = [Fault::Unauthorized, Fault::Unpaid, Fault::Forbidden, Fault::NotFound];
    assert!(!lasting.into_iter().chain([Fault::Filtered]).any(Fault::is_passing));
    // Within a stream there is no status, and their names say it.
    let kinds = [
        ("overloaded_error", Fault::Overloaded),
        ("rate_limit_error", Fault::RateLimited),
        ("authentication_error", Fault::Unauthorized),
        ("api_error", Fault::Failed),
    ];
    for (kind, expect) in kinds {
        let error = json!({"type": "error", "error": {"type": kind, "message": "no"}});
        let stream = format!("event: error\ndata: {error}\n\n");
        for client in [ANTHROPIC, OPENAI_RESPONSES, OPENAI_CHAT] {
            let (mut decoder, mut events) = ((client.stream)(1), Vec::new());
            decoder.push(stream.as_bytes(), &mut events).unwrap();
            let Some(Event::Failed(error)) = events.pop() else { panic!("{events:?}") };
            assert_eq!(fault(error).0, expect);
        }
    }
}

#[test]
fn what_providers_sealed_comes_back_to_them_unchanged() {
    // Anthropic's dialect: shown and signed, signed alone, and not shown at all.
    let theirs = [
        reasoning("hm"),
        delta(Delta::Sealed(Sealed::Signature("EqQB+/=".into()))),
        delta(Delta::Sealed(Sealed::Redacted("EmwK".into()))),
        delta(Delta::Sealed(Sealed::Signature("alone".into()))),
        text("a"),
    ];
    let mut events = vec![started()];
    events.extend(theirs);
    events.extend(end(FinishReason::EndOfTurn));
    there_and_back(&ANTHROPIC, &events);
    let reply = fold(&events);
    let body = (endpoint(&ANTHROPIC).whole)(&meta(), &reply, &Form::default());
    let blocks = json!([
        {"type": "thinking", "thinking": "hm", "signature": "EqQB+/="},
        {"type": "redacted_thinking", "data": "EmwK"},
        {"type": "thinking", "thinking": "", "signature": "alone"},
        {"type": "text", "text": "a"},
    ]);
    assert_eq!(body["content"], blocks);
    // A client sends it back to us, and we to the provider.
    let asked = json!({"model": "m", "max_tokens": 9, "messages": [
        {"role": "user", "content": "x"}, {"role": "assistant", "content": blocks},
        {"role": "user", "content": "y"}]});
    let decoded = (endpoint(&ANTHROPIC).decode)(asked.to_string().as_bytes(), "id").unwrap();
    assert_eq!(decoded.ignored, ["thinking.signature", "redacted_thinking"], "no model reads it");
    for is_open in [true, false] {
        let options = Options { is_open, stream: false };
        let sent = (ANTHROPIC.encode)(&decoded.request, options).unwrap();
        assert_eq!((&sent.body["messages"][1]["content"], sent.ignored), (&blocks, Vec::new()));
    }
    // Dialects without a place for it say so.
    for client in [OPENAI_CHAT, OLLAMA, OPENAI_RESPONSES] {
        let sent = (client.encode)(&decoded.request, Options::default()).unwrap();
        let name = "messages[].content[].signature".to_owned();
        assert!(sent.ignored.contains(&name), "{:?}", sent.ignored);
        assert!(!sent.body.to_string().contains("EqQB"), "{}", sent.body);
    }

    // OpenAI's: with a summary, and without.
    let encrypted = |id: &str, content: &str| {
        delta(Delta::Sealed(Sealed::Encrypted { id: Some(id.into()), content: content.into() }))
    };
    let item = |id: &str, summary: Value, content: &str| json!({"type": "reasoning", "id": id, "summary": summary, "encrypted_content": content});
    let summary = json!([{"type": "summary_text", "text": "hm"}]);
    let output = json!([item("rs_1", summary, "gAAA=="), item("rs_2", json!([]), "gAAB"),
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}]);
    let body = json!({"status": "completed", "output": output});
    let events = (OPENAI_RESPONSES.whole)(body.to_string().as_bytes(), 1).unwrap();
    let mut expect = vec![reasoning("hm"), encrypted("rs_1", "gAAA=="), encrypted("rs_2", "gAAB")];
    assert_eq!(events[1..4], expect);
    expect.insert(0, started());
    expect.extend(end(FinishReason::EndOfTurn));
    let body = (endpoint(&OPENAI_RESPONSES).whole)(&meta(), &fold(&expect), &Form::default());
    let sealed: Vec<&Value> =
        body["output"].as_array().unwrap().iter().map(|item| &item["encrypted_content"]).collect();
    assert_eq!(sealed, ["gAAA==", "gAAB"]);
    assert_eq!(body["output"][1]["content"], json!([]));
    let asked = json!({"model": "m", "input": output});
    let decoded = (endpoint(&OPENAI_RESPONSES).decode)(asked.to_string().as_bytes(), "id").unwrap();
    let sent = (OPENAI_RESPONSES.encode)(&decoded.request, Options::default()).unwrap();
    assert_eq!((&sent.body["input"], sent.ignored), (&output, Vec::new()));
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
fn a_transcript_of_responses() {
    let frame =
        |value: Value| format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap());
    let about = |kind: &str, place: usize, rest: Value| {
        let mut value = json!({"type": format!("response.{kind}"), "output_index": place,
            "sequence_number": 0, "item_id": format!("i_{place}")});
        for (name, more) in rest.as_object().unwrap() {
            value[name] = more.clone();
        }
        frame(value)
    };
    let state = |kind: &str, status: &str, rest: Value| {
        let mut response = json!({"id": "resp_1", "object": "response", "status": status,
            "error": null, "incomplete_details": null, "output": [], "usage": null});
        for (name, more) in rest.as_object().unwrap() {
            response[name] = more.clone();
        }
        frame(json!({"type": format!("response.{kind}"), "response": response}))
    };
    let item = |kind: &str| json!({"item": {"type": kind, "id": "i"}});
    let call = |arguments: &str| {
        json!({"item": {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f",
            "arguments": arguments, "status": "completed"}})
    };
    let usage = json!({"input_tokens": 36, "input_tokens_details": {"cached_tokens": 30},
        "output_tokens": 87, "output_tokens_details": {"reasoning_tokens": 64},
        "total_tokens": 123});
    let begun = || {
        vec![
            state("created", "in_progress", json!({})),
            state("in_progress", "in_progress", json!({})),
        ]
    };
    let mut stream = begun();
    stream.extend([
        about("output_item.added", 0, item("reasoning")),
        about("reasoning_summary_part.added", 0, json!({"summary_index": 0, "part": {}})),
        about("reasoning_summary_text.delta", 0, json!({"summary_index": 0, "delta": "One"})),
        about("reasoning_summary_text.done", 0, json!({"summary_index": 0, "text": "One"})),
        about("reasoning_summary_part.done", 0, json!({"summary_index": 0, "part": {}})),
        about("reasoning_summary_part.added", 0, json!({"summary_index": 1, "part": {}})),
        about("reasoning_summary_text.delta", 0, json!({"summary_index": 1, "delta": "Two"})),
        about(
            "output_item.done",
            0,
            json!({"item": {"type": "reasoning", "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "One"},
                {"type": "summary_text", "text": "Two"}], "encrypted_content": "gAAA"}}),
        ),
        about("output_item.added", 1, item("message")),
        about("content_part.added", 1, json!({"part": {"type": "output_text", "text": ""}})),
        about("output_text.delta", 1, json!({"delta": "Hel", "logprobs": []})),
        about("output_text.delta", 1, json!({"delta": "lo"})),
        about("output_text.annotation.added", 1, json!({"annotation": {}})),
        about("output_text.done", 1, json!({"text": "Hello"})),
        about("refusal.delta", 1, json!({"delta": ", no."})),
        about("refusal.done", 1, json!({"refusal": ", no."})),
        about(
            "output_item.done",
            1,
            json!({"item": {"type": "message", "content": [
            {"type": "output_text", "text": "Hello"}, {"type": "refusal", "refusal": ", no."}]}}),
        ),
        about("output_item.added", 2, call("")),
        about("function_call_arguments.delta", 2, json!({"delta": "{\"a\":"})),
        about("function_call_arguments.delta", 2, json!({"delta": "1}"})),
        about("function_call_arguments.done", 2, json!({"arguments": "{\"a\":1}"})),
        about("output_item.done", 2, call("{\"a\":1}")),
        // A call that comes at its end alone.
        about(
            "output_item.done",
            3,
            json!({"item": {"type": "function_call",
            "call_id": "call_2", "name": "g", "arguments": "{\"b\":2}"}}),
        ),
        about("output_item.done", 4, item("web_search_call")),
        state("completed", "completed", json!({"usage": usage, "output": [item("message")]})),
    ]);
    let (reply, n_unknown) = told(&OPENAI_RESPONSES, &stream.concat(), 1);
    assert_eq!(n_unknown, 2, "an annotation and a search are counted");
    let choice = &reply.choices[0];
    assert_eq!((choice.reasoning.as_str(), choice.text.as_str()), ("One\nTwo", "Hello, no."));
    let sealed = Sealed::Encrypted { id: Some("rs_1".into()), content: "gAAA".into() };
    assert_eq!(choice.sealed, [(0, sealed)]);
    let calls: Vec<_> = choice
        .tool_calls
        .iter()
        .map(|c| (c.id.as_str(), c.name.as_str(), c.arguments.as_str()))
        .collect();
    assert_eq!(calls, [("call_1", "f", "{\"a\":1}"), ("call_2", "g", "{\"b\":2}")]);
    assert_eq!(choice.finish, Some(FinishReason::ToolCalls));
    let expect =
        Usage { prompt_tokens: 36, cached_tokens: 30, completion_tokens: 87, reasoning_tokens: 64 };
    assert_eq!(reply.usage, expect);

    // What cuts or ends an answer otherwise.
    let cut = |status: &str, rest: Value| {
        let mut stream = begun();
        stream.push(about("output_text.delta", 0, json!({"delta": "a"})));
        stream.push(state(status, status, rest));
        let (mut decoder, mut events) = ((OPENAI_RESPONSES.stream)(1), Vec::new());
        decoder.push(stream.concat().as_bytes(), &mut events).unwrap();
        decoder.finish(&mut events).unwrap();
        events.pop().unwrap()
    };
    let why = |reason: &str| json!({"incomplete_details": {"reason": reason}});
    assert!(matches!(cut("incomplete", why("max_output_tokens")), Event::Done { .. }));
    let failed = |event| match event {
        Event::Failed(error) => fault(error).0,
        other => panic!("{other:?}"),
    };
    assert_eq!(failed(cut("incomplete", why("content_filter"))), Fault::Filtered);
    let error = json!({"error": {"code": "rate_limit_exceeded", "message": "slow down"}});
    assert_eq!(failed(cut("failed", error)), Fault::RateLimited);
    assert_eq!(failed(cut("cancelled", json!({}))), Fault::Failed);
    let error = frame(json!({"type": "error", "code": "server_error", "message": "m"}));
    let (mut decoder, mut events) = ((OPENAI_RESPONSES.stream)(1), Vec::new());
    decoder.push(error.as_bytes(), &mut events).unwrap();
    assert_eq!(failed(events.pop().unwrap()), Fault::Failed);
    for status in ["queued", "in_progress"] {
        let body = json!({"status": status, "output": []}).to_string();
        assert_eq!((OPENAI_RESPONSES.whole)(body.as_bytes(), 1), Err(ReadError::BrokeOff));
    }
}

#[test]
fn transcripts_of_completions_and_of_generation() {
    let chunk = |value: Value| format!("data: {value}\n\n");
    let piece = |index: usize, text: &str, reason: Value| {
        chunk(json!({"id": "cmpl-1", "object": "text_completion", "choices": [
            {"text": text, "index": index, "logprobs": null, "finish_reason": reason}]}))
    };
    let usage = json!({"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12});
    let stream = [
        piece(0, "This", Value::Null),
        piece(1, "is", Value::Null),
        piece(0, "!", json!("length")),
        piece(1, "", json!("stop")),
        chunk(json!({"choices": [], "usage": usage})),
        "data: [DONE]\n\n".to_owned(),
    ];
    let (reply, n_unknown) = told(&OPENAI_COMPLETION, &stream.concat(), 2);
    let said: Vec<_> = reply.choices.iter().map(|c| (c.text.as_str(), c.finish.clone())).collect();
    let expect = [("This!", Some(FinishReason::MaxTokens)), ("is", Some(FinishReason::EndOfTurn))];
    assert_eq!((said.as_slice(), n_unknown), (&expect[..], 0));
    assert_eq!((reply.usage.prompt_tokens, reply.usage.completion_tokens), (5, 7));

    let lines = [
        json!({"model": "q", "created_at": "t", "response": "", "thinking": "hm", "done": false}),
        json!({"model": "q", "created_at": "t", "response": "The", "done": false}),
        json!({"model": "q", "created_at": "t", "response": "", "done": true,
            "done_reason": "length", "context": [1, 2, 3], "total_duration": 5,
            "prompt_eval_count": 26, "eval_count": 290}),
    ];
    let stream = lines.map(|line| line.to_string()).join("\n");
    let (reply, n_unknown) = told(&OLLAMA_GENERATE, &stream, 1);
    let choice = &reply.choices[0];
    assert_eq!((choice.reasoning.as_str(), choice.text.as_str(), n_unknown), ("hm", "The", 0));
    assert_eq!(choice.finish, Some(FinishReason::MaxTokens));
    assert_eq!((reply.usage.prompt_tokens, reply.usage.completion_tokens), (26, 290));
}

#[test]
fn bytes_that_are_no_answer() {
    bolero::check!().with_type::<(Vec<u8>, u8)>().for_each(|(bytes, cut)| {
        for client in CLIENTS {
            let _ = (client.whole)(bytes, 2);
            let _ = (client.error)(500, None, bytes);
            let header = String::from_utf8_lossy(bytes);
            let _ = serve::Error::from((client.error)(429, Some(&header), bytes));
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
                // A completion says nothing of what is no text.
                if lines.is_empty() {
                    continue;
                }
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
