//! A request's way through the local implementation, with a model that recites a script.

use std::time::Duration;

use crate::scripted::{CONTEXT, END, Scripted, SlowClock, local, local_guessing, local_with};
use serve::{
    Chat, Delta, Dry, Error, Event, FinishReason, Generate, Input, Message, Part, Plain, Reply,
    Request, Role, Sampling, Span, Timings, Usage,
};

fn ask(prompt: &str) -> Request {
    let input = Input::Text(prompt.to_owned());
    Request { sampling: greedy(), ..Request::new("r1", "script", input) }
}

fn greedy() -> Sampling {
    Sampling { temperature: Some(0.0), ..Default::default() }
}

fn reply(generate: &dyn Generate, request: Request) -> Result<Reply, Error> {
    Reply::fold(generate.submit(request)?)
}

#[test]
fn the_whole_is_the_fold_of_the_stream() {
    let local = local("Paris is the capital of France. ♥ é");
    let events: Vec<Event> = local.submit(ask("Q")).unwrap().collect();
    assert!(matches!(events[0], Event::Started { prompt_tokens: 1, .. }));
    assert!(matches!(events.last(), Some(Event::Done { .. })));
    let whole = Reply::fold(events).unwrap();
    assert_eq!(whole.choices[0].text, "Paris is the capital of France. ♥ é");
    assert_eq!(whole.choices[0].finish, Some(FinishReason::EndOfTurn));
    let n_bytes = whole.choices[0].text.len();
    assert_eq!(whole.usage.completion_tokens, n_bytes + 1, "the end token counts");
    assert_eq!(whole.usage.prompt_tokens, 1);
}

#[test]
fn several_answers_to_one_prompt_come_in_one_stream() {
    let local = local("abc");
    let asked = Request { choices: 3, prompt_logprobs: Some(0), ..ask("Q") };
    let events: Vec<Event> = local.submit(asked).unwrap().collect();
    let starts = events.iter().filter(|event| matches!(event, Event::Started { .. }));
    assert_eq!(starts.count(), 1);
    let prompts = events.iter().filter(|event| matches!(event, Event::Prompt { .. }));
    assert_eq!(prompts.count(), 1);
    let whole = Reply::fold(events).unwrap();
    assert_eq!(whole.choices.len(), 3);
    for choice in &whole.choices {
        assert_eq!((choice.text.as_str(), &choice.finish), ("abc", &Some(FinishReason::EndOfTurn)));
    }
    assert_eq!((whole.usage.prompt_tokens, whole.usage.completion_tokens), (1, 12));
    assert_eq!(whole.timings.decode_tokens, 9);
}

#[test]
fn chats_go_through_the_template_and_users_cannot_write_special_tokens() {
    let local = local("yes");
    let text = format!("hi {END} there");
    let chat =
        Chat { messages: vec![Message::text(Role::User, text.clone())], ..Default::default() };
    let request = Request { sampling: greedy(), ..Request::new("r", "script", Input::Chat(chat)) };
    let whole = reply(&local, request).unwrap();
    assert_eq!(whole.choices[0].text, "yes");
    // "user:", the text byte by byte, END of the turn, "assistant:".
    assert_eq!(whole.usage.prompt_tokens, 5 + text.len() + 1 + 10);
}

#[test]
fn stop_strings_are_held_back_and_cut() {
    let local = local("one two three STOP four");
    let mut request = ask("Q");
    request.stop.strings = vec!["STOP".into(), "never".into()];
    let events: Vec<Event> = local.submit(request).unwrap().collect();
    let mut text = String::new();
    for event in &events {
        if let Event::Delta { delta: Delta::Text { text: more, .. }, .. } = event {
            text.push_str(more);
            assert!(!text.contains('S'), "what may become a stop string left: {text:?}");
        }
    }
    assert_eq!(text, "one two three ");
    let whole = Reply::fold(events).unwrap();
    assert_eq!(whole.choices[0].finish, Some(FinishReason::StopString("STOP".into())));
    // A half match at the end is text after all.
    let mut request = ask("Q");
    request.stop.strings = vec!["fourth".into()];
    let whole = reply(&local, request).unwrap();
    assert_eq!(whole.choices[0].text, "one two three STOP four");
}

#[test]
fn limits_end_answers() {
    let local = local("abcdef");
    let whole = reply(&local, Request { max_tokens: Some(3), ..ask("Q") }).unwrap();
    assert_eq!(whole.choices[0].text, "abc");
    assert_eq!(whole.choices[0].finish, Some(FinishReason::MaxTokens));
    let mut endless = ask(&"x".repeat(CONTEXT - 2));
    endless.stop.ignore_eos = true;
    let whole = reply(&local, endless).unwrap();
    assert_eq!(whole.choices[0].finish, Some(FinishReason::ContextLength));
}

#[test]
fn no_answer_ends_by_a_token_before_its_least_length() {
    let local = local("ab");
    let mut request = ask("Q");
    request.stop.min_tokens = 6;
    // The script is over: what it says next is the likeliest token but the end.
    let whole = reply(&local, request.clone()).unwrap();
    assert_eq!(whole.choices[0].text, "ab????");
    assert_eq!(whole.choices[0].finish, Some(FinishReason::EndOfTurn));
    request.stop.min_tokens = 2;
    assert_eq!(reply(&local, request.clone()).unwrap().choices[0].text, "ab");
    // Strings end it at any time.
    request.stop = serve::Stop { strings: vec!["b".into()], min_tokens: 6, ..Default::default() };
    assert_eq!(reply(&local, request.clone()).unwrap().choices[0].text, "a");
    let impossible = Request { max_tokens: Some(3), ..request };
    let refused = local.submit(impossible).err().unwrap();
    assert!(matches!(refused, Error::Invalid { param, .. } if param == "min_tokens"));
}

#[test]
fn repeated_stretches_are_lowered_up_to_their_breakers() {
    let local = local("one two, one two, one two");
    let text = |breakers: Option<&[&str]>| {
        let sequence_breakers =
            breakers.map(|list| list.iter().map(|&text| text.to_owned()).collect());
        let dry = Dry { multiplier: Some(50.0), sequence_breakers, ..Default::default() };
        let sampling = Sampling { dry, ..greedy() };
        reply(&local, Request { sampling, ..ask("Q") }).map(|r| r.choices[0].text.clone())
    };
    // By tokens of a byte: "e " came before a "t", and ", " before an "o".
    let unbroken = text(Some(&[])).unwrap();
    assert!(unbroken.starts_with("one two, ") && !unbroken.contains("two, one two"), "{unbroken}");
    let every: Vec<String> = "onetw ,".chars().map(String::from).collect();
    let every: Vec<&str> = every.iter().map(String::as_str).collect();
    assert_eq!(text(Some(&every)).unwrap(), "one two, one two, one two");
    // No token of this script is in the default, so it is as without.
    assert_eq!(text(None).unwrap(), unbroken);
    let refused = |breakers: &[&str]| {
        let error = text(Some(breakers)).err().unwrap();
        assert!(
            matches!(&error, Error::Invalid { param, .. } if param == "dry_sequence_breakers"),
            "{error:?}"
        );
    };
    refused(&["no single token"]);
    refused(&[""]);
    refused(&["x".repeat(41).as_str()]);
    refused(&["e"; 65]);
}

#[test]
fn a_character_cut_by_the_limit_is_shown_as_such() {
    let local = local("a♥");
    let whole = reply(&local, Request { max_tokens: Some(2), ..ask("Q") }).unwrap();
    assert_eq!(whole.choices[0].text, "a\u{FFFD}");
}

#[test]
fn refusals_are_typed_and_come_before_the_stream() {
    let local = local("x");
    let refused = |request: Request| local.submit(request).err().unwrap();
    let unknown = refused(Request::new("r", "gpt", Input::Text("Q".into())));
    assert!(matches!(unknown, Error::UnknownModel { .. }));
    assert_eq!(
        refused(ask(&"x".repeat(CONTEXT + 7))),
        Error::ContextOverflow { prompt_tokens: CONTEXT + 7, context_length: CONTEXT }
    );
    let choices = |choices| Request { choices, ..ask("Q") };
    assert!(matches!(refused(choices(0)), Error::Invalid { .. }));
    assert!(matches!(refused(choices(129)), Error::Invalid { .. }));
    assert!(matches!(refused(ask("")), Error::Invalid { .. }));
    let hot = Sampling { top_p: Some(7.0), ..greedy() };
    let hot = refused(Request { sampling: hot, ..ask("Q") });
    assert!(matches!(hot, Error::Invalid { param, .. } if param == "top_p"));
    let image = Part::Image { url: "data:".into() };
    let messages = vec![Message { role: Role::User, content: vec![image], name: None }];
    let chat = Input::Chat(Chat { messages, ..Default::default() });
    assert!(matches!(refused(Request::new("r", "script", chat)), Error::NotSupported { .. }));
    let tokens = refused(Request::new("r", "script", Input::Tokens(vec![9_999])));
    assert!(matches!(tokens, Error::Invalid { .. }));
}

#[test]
fn a_dropped_stream_cancels_its_request() {
    let script = Scripted { script: "long".repeat(10), ..Default::default() };
    let gate = script.gate.clone();
    let local = local_with(script, 4);
    gate.close();
    let first = local.submit(ask("Q")).unwrap();
    let second = local.submit(ask("Q")).unwrap();
    drop(first);
    gate.open();
    assert_eq!(Reply::fold(second).unwrap().choices[0].text, "long".repeat(10));
    // Nothing of the first was generated after it was dropped: the model saw few of its tokens.
    let alone = 40 + 2;
    let forwards = gate.forwards();
    assert!(forwards <= alone + 4, "{forwards} forwards");
}

#[test]
fn the_queue_has_a_limit_and_places_are_given_back() {
    let script = Scripted { script: "ab".into(), ..Default::default() };
    let gate = script.gate.clone();
    let local = local_with(script, 2);
    gate.close();
    let mut accepted = Vec::new();
    let refused = loop {
        match local.submit(ask("Q")) {
            Ok(events) => accepted.push(events),
            Err(error) => break error,
        }
        assert!(accepted.len() < 10, "no limit");
    };
    assert!(matches!(refused, Error::QueueFull { limit: 2, .. }), "{refused:?}");
    gate.open();
    for events in accepted {
        assert_eq!(Reply::fold(events).unwrap().choices[0].text, "ab");
    }
    assert_eq!(local.queued(), 0);
    assert_eq!(reply(&local, ask("Q")).unwrap().choices[0].text, "ab");
}

#[test]
fn a_panic_fails_its_request_alone() {
    let script = Scripted { script: "fine".into(), panic_on: Some(b'!'), ..Default::default() };
    let local = local_with(script, 8);
    // In the tokenizer, on the caller's thread.
    assert!(matches!(local.submit(ask("\u{1}")).err(), Some(Error::Internal(_))));
    // In the forward, on the engine's thread.
    assert!(matches!(reply(&local, ask("!")), Err(Error::Generation(_))));
    // The model goes on.
    assert_eq!(reply(&local, ask("Q")).unwrap().choices[0].text, "fine");
}

#[test]
fn a_panic_in_one_detokenizer_leaves_the_others_alone() {
    let local = local("ab\u{2}cd");
    let good = Request { max_tokens: Some(2), ..ask("Q") };
    let bad = local.submit(ask("Q")).unwrap();
    let good = local.submit(good).unwrap();
    assert!(matches!(Reply::fold(bad), Err(Error::Internal(_))));
    assert_eq!(Reply::fold(good).unwrap().choices[0].text, "ab");
}

#[test]
fn logprobs_and_echo_cover_prompt_and_answer() {
    let local = local("aé");
    let mut request = ask("Pq");
    (request.logprobs, request.prompt_logprobs, request.echo) = (Some(2), Some(2), true);
    let whole = reply(&local, request).unwrap();
    assert_eq!(whole.choices[0].text, "Pqaé");
    let prompt: Vec<&[u8]> = whole.prompt_of(0).iter().map(|t| t.bytes.as_slice()).collect();
    assert_eq!(prompt, [b"P", b"q"]);
    let scores: Vec<_> = whole.prompt_of(0).iter().map(|t| t.logprob.is_some()).collect();
    assert_eq!(scores, [false, true]);
    let answer: Vec<u8> = whole.choices[0].tokens.iter().flat_map(|t| t.bytes.clone()).collect();
    assert_eq!(answer, "aé".as_bytes());
    assert!(whole.choices[0].tokens.iter().all(|t| t.top.len() == 2 && t.top[0].token == t.token));
}

/// Each answer to a list is the answer to its text alone, with its own prompt before it.
#[test]
fn a_list_of_texts_is_continued_as_each_alone() {
    let script = Scripted { script: String::new(), noise: true, ..Default::default() };
    let local = local_with(script, 64);
    let set = |request: Request, choices: u32| Request {
        choices,
        max_tokens: Some(9),
        logprobs: Some(2),
        prompt_logprobs: Some(2),
        echo: true,
        ..request
    };
    let texts = ["Pq", "é", "Pqr", "a longer text", "Pq"];
    let several = texts.iter().map(|text| match *text {
        "Pqr" => Plain::Tokens(text.bytes().map(u32::from).collect()),
        text => Plain::Text(text.to_owned()),
    });
    let list = Request { input: Input::Several(several.collect()), ..ask("") };
    for choices in [1, 3] {
        let events: Vec<Event> = local.submit(set(list.clone(), choices)).unwrap().collect();
        let starts = events.iter().filter(|event| matches!(event, Event::Started { .. }));
        assert_eq!(starts.count(), 1);
        let whole = Reply::fold(events).unwrap();
        assert_eq!(whole.choices.len(), texts.len() * choices as usize);
        let mut used = (0, 0);
        for (at, text) in texts.iter().enumerate() {
            let alone = reply(&local, set(ask(text), choices)).unwrap();
            let first = at * choices as usize;
            assert_eq!(whole.choices[first..first + choices as usize], alone.choices[..]);
            for nth in 0..choices {
                assert_eq!(whole.prompt_of(first as u32 + nth), alone.prompt_of(nth), "{text}");
            }
            assert!(!alone.prompt_of(0).is_empty() && alone.choices[0].text.starts_with(text));
            used.0 += alone.usage.prompt_tokens;
            used.1 += alone.usage.completion_tokens;
        }
        assert_eq!((whole.usage.prompt_tokens, whole.usage.completion_tokens), used);
    }
}

#[test]
fn the_same_text_twice_in_a_list_is_drawn_twice() {
    let script = Scripted { script: String::new(), noise: true, ..Default::default() };
    let local = local_with(script, 64);
    let sampling = Sampling { temperature: Some(1.0), seed: Some(7), ..Default::default() };
    let input = Input::Several(vec![Plain::Text("Q".into()); 4]);
    let asked = Request { input, sampling, max_tokens: Some(20), ..ask("") };
    let texts = |asked: Request| -> Vec<String> {
        reply(&local, asked).unwrap().choices.into_iter().map(|choice| choice.text).collect()
    };
    let drawn = texts(asked.clone());
    let mut different = drawn.clone();
    different.sort();
    different.dedup();
    assert_eq!((different.len(), texts(asked.clone())), (4, drawn), "a seed repeats the whole");
    let endless = Request { choices: 128, ..asked.clone() };
    let many = Request { input: Input::Several(vec![Plain::Text("Q".into()); 9]), ..endless };
    let wide = Plain::Tokens(vec![65; CONTEXT / 8 + 1]);
    let endless_wide = Request { choices: 128, ..asked.clone() };
    let wide = Request { input: Input::Several(vec![wide; 8]), ..endless_wide };
    for (refused, word) in [
        (many, "1152 answers"),
        (wide, "tokens for 128 answers to each"),
        (Request { input: Input::Several(Vec::new()), ..asked.clone() }, "empty list"),
    ] {
        let error = local.submit(refused).unwrap_err();
        assert!(matches!(&error, Error::Invalid { param, .. } if param == "prompt"), "{error:?}");
        assert!(error.to_string().contains(word), "{error}");
    }
    // One that does not fit fails the list, with its own length.
    let long = Plain::Tokens(vec![65; CONTEXT + 1]);
    let input = Input::Several(vec![Plain::Text("Q".into()), long]);
    let error = local.submit(Request { input, ..asked }).unwrap_err();
    assert!(
        matches!(error, Error::ContextOverflow { prompt_tokens, .. } if prompt_tokens > CONTEXT)
    );
}

#[test]
fn tokens_behind_a_stop_string_are_not_reported() {
    let local = local("ab#cd");
    let mut request = ask("Q");
    request.logprobs = Some(0);
    request.stop.strings = vec!["#c".into()];
    let whole = reply(&local, request).unwrap();
    assert_eq!(whole.choices[0].text, "ab");
    assert_eq!(whole.choices[0].tokens.len(), 2);
}

#[test]
fn the_same_seed_gives_the_same_text_in_company() {
    let script = Scripted { script: String::new(), noise: true, ..Default::default() };
    let local = local_with(script, 64);
    let ask = |seed: u64| {
        let sampling = Sampling { temperature: Some(1.0), seed: Some(seed), ..Default::default() };
        Request {
            sampling,
            max_tokens: Some(20),
            ..Request::new("r", "script", Input::Text("Q".into()))
        }
    };
    let alone = reply(&local, ask(7)).unwrap();
    let streams: Vec<_> = (0..16).map(|i| local.submit(ask(i)).unwrap()).collect();
    let texts: Vec<String> =
        streams.into_iter().map(|s| Reply::fold(s).unwrap().choices[0].text.clone()).collect();
    assert_eq!(texts[7], alone.choices[0].text);
    assert_ne!(texts[7], texts[8]);
    assert_eq!(alone.seed, 7);
}

#[test]
fn timings_come_from_the_clock_that_was_passed_in() {
    let local = crate::scripted::local_clocked("abc", SlowClock::default());
    let whole = reply(&local, ask("Q")).unwrap();
    // The clock moves a second with every look: at arrival, and around each of four steps.
    let timings = whole.timings;
    assert_eq!(timings.queued, Duration::from_secs(1));
    assert_eq!(timings.first_token, Some(Duration::from_secs(2)));
    assert_eq!(timings.total, Duration::from_secs(8));
    assert_eq!(timings.prefill_tokens_per_second(), Some(1.0));
    assert_eq!(timings.decode_tokens, 3);
    assert_eq!(timings.decode_tokens_per_second(), Some(0.5));
}

#[test]
fn guesses_are_counted_and_change_no_text() {
    let script = "again and again and again and again and again and again";
    let costs = engine::speculate::StepCosts::new(&[1.0; 8]).unwrap();
    let guessed = reply(&local_guessing(script, costs), ask("Q")).unwrap();
    assert_eq!(guessed.choices[0].text, script);
    let timings = guessed.timings;
    assert!(timings.accepted_tokens > 10, "{timings:?}");
    assert!(timings.accepted_tokens <= timings.drafted_tokens, "{timings:?}");
    assert_eq!(reply(&local(script), ask("Q")).unwrap().timings.drafted_tokens, 0);
}

#[test]
fn stopping_fails_what_is_under_way() {
    let script = Scripted { script: "long".repeat(20), ..Default::default() };
    let gate = script.gate.clone();
    let local = std::sync::Arc::new(local_with(script, 4));
    gate.close();
    let events = local.submit(ask("Q")).unwrap();
    let stopper = {
        let local = std::sync::Arc::clone(&local);
        std::thread::spawn(move || local.stop())
    };
    // The stop is told while the engine is still in a step.
    std::thread::sleep(Duration::from_millis(20));
    gate.open();
    stopper.join().unwrap();
    assert_eq!(Reply::fold(events), Err(Error::Stopping));
    assert_eq!(local.submit(ask("Q")).err(), Some(Error::Stopping));
}

#[test]
fn prompts_are_counted_as_they_are_given() {
    let local = local("yes");
    let chat = Chat { messages: vec![Message::text(Role::User, "hi")], ..Default::default() };
    let text = local.text("script").unwrap();
    for input in [Input::Chat(chat), Input::Text("hi".into()), Input::Tokens(vec![1, 2, 3])] {
        let counted = serve::prompt_tokens(text.as_ref(), &input).unwrap().tokens.len();
        let asked = Request { sampling: greedy(), ..Request::new("r", "script", input) };
        let said = reply(&local, asked).unwrap().usage.prompt_tokens;
        assert_eq!(counted, said);
    }
}

#[test]
fn models_are_described_by_their_names() {
    let local = local("yes");
    let details = local.details("script").unwrap();
    assert_eq!((details.id.as_str(), details.context_length), ("script", CONTEXT));
    assert!(matches!(local.details("other"), Err(Error::UnknownModel { .. })));
    assert!(matches!(local.text("other"), Err(Error::UnknownModel { .. })));
}

#[test]
fn a_reply_keeps_the_order_of_its_parts() {
    let delta = |delta| Event::Delta { choice: 0, delta };
    let text = |text: &str| delta(Delta::Text { text: text.into(), tokens: Vec::new() });
    let thought = |text: &str| delta(Delta::Reasoning { text: text.into() });
    let call = Delta::ToolCall { index: 0, id: "c".into(), name: "f".into() };
    let pieces = Delta::Arguments { index: 0, text: "{}".into() };
    let events = vec![
        thought("a"),
        thought("b"),
        text(""),
        text("c"),
        delta(call),
        delta(pieces),
        text("d"),
        text("e"),
        thought("f"),
        Event::Done { usage: Usage::default(), timings: Timings::default() },
    ];
    let whole = Reply::fold(events).unwrap();
    let choice = &whole.choices[0];
    let expect = [
        Span::Reasoning(0..2),
        Span::Text(0..1),
        Span::ToolCall(0),
        Span::Text(1..3),
        Span::Reasoning(2..3),
    ];
    assert_eq!(choice.order, expect);
    assert_eq!((choice.text.as_str(), choice.reasoning.as_str()), ("cde", "abf"));
}
