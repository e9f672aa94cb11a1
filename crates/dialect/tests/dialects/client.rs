//! The client direction against our own server direction, against what providers' references
//! show, and against anything.

use dialect::client::{
    ANTHROPIC, CLIENTS, Client, OLLAMA, OLLAMA_GENERATE, OPENAI_CHAT, OPENAI_COMPLETION,
    OPENAI_RESPONSES, Options, ReadError,
};
use dialect::{CallMeta, ENDPOINTS, Endpoint, Form};
use serde_json::{Value, json};
use serve::{
    Chat, Delta, Effort, Event, FinishReason, Input, LastN, Message, Part, Plain, Reply, Request,
    ResponseFormat, Role, Sealed, Span, Thinking, Timings, Tool, ToolCall, ToolChoice, ToolResult,
    Usage,
};

use crate::events::{everything, fold, meta, started, streamed, text};
use crate::fuzz::answer;
use crate::shapes::Draws;

/// Requests drawn for each dialect.
const REQUESTS: usize = 2_000;

pub(crate) fn endpoint(client: &Client) -> &'static Endpoint {
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
        "/v1/completions" if draws.below(3) == 0 => Input::Tokens(vec![1, 0, u32::MAX]),
        "/v1/completions" if draws.below(2) == 0 => {
            Input::Several(vec![Plain::Text("a".into()), Plain::Tokens(vec![7])])
        }
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
}

#[test]
fn reasoning_and_conversations_that_have_no_place_are_told() {
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
    reply.prompts.clear();
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
        // Items have ids of the server that tells them.
        for (_, sealed) in &mut choice.sealed {
            if let Sealed::Encrypted { id, .. } = sealed {
                *id = None;
            }
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

pub(crate) fn there_and_back(client: &Client, events: &[Event]) {
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
