//! What the scripted model says to the tests of the chat page: prompts that begin with `page: `.

use std::time::Duration;

use serve::{Delta, Event, EventSender, FinishReason, Input, Part, Request, Role, Timings, Usage};

/// Text that tries everything that a page could do wrong with it.
const HOSTILE: &str = include_str!("hostile.txt");
const LONG: &str = include_str!("long.txt");

/// Bytes of the longest answers.
const MEBIBYTE: usize = 1 << 20;

/// Says what belongs to the prompt; false where it is not one of these.
pub(crate) fn speak(sender: &EventSender, prompt: &str, request: &Request) -> bool {
    let Some(wanted) = prompt.strip_prefix("page: ") else { return false };
    let say = |text: &str| send(sender, Delta::Text { text: text.into(), tokens: Vec::new() });
    let pieces = |text: &str, chars: usize, pause: Duration| {
        let letters: Vec<char> = text.chars().collect();
        for piece in letters.chunks(chars).take_while(|_| !sender.is_closed()) {
            say(&piece.iter().collect::<String>());
            std::thread::sleep(pause);
        }
    };
    match wanted {
        "long" => pieces(LONG, 7, Duration::ZERO),
        "hostile" => pieces(HOSTILE, 5, Duration::ZERO),
        "slowly" => pieces(&"A line of the answer.\n\n".repeat(400), 22, Duration::from_millis(5)),
        "paragraphs" => pieces(&filled(LONG), 2048, Duration::ZERO),
        "fence" => pieces(
            &filled("let x = 1; // <b>\n").replacen("let", "```rust\nlet", 1),
            512,
            Duration::ZERO,
        ),
        "line" => pieces(&filled("**word** `code` [a](b "), 2048, Duration::ZERO),
        "rows" => pieces(
            &format!("| a | b |\n|---|---|\n{}", "| **1** | 2 |\n".repeat(20_000)),
            2048,
            Duration::ZERO,
        ),
        "call" => return call(sender, request),
        other => say(&format!("no script for {other}")),
    }
    finish(sender, FinishReason::EndOfTurn);
    true
}

fn filled(text: &str) -> String {
    text.repeat(MEBIBYTE / text.len() + 1)
}

fn send(sender: &EventSender, delta: Delta) {
    sender.send(Event::Delta { choice: 0, delta });
}

/// Reasons and calls a tool with arguments in pieces, or tells of the tool's answer.
fn call(sender: &EventSender, request: &Request) -> bool {
    let Input::Chat(chat) = &request.input else { return false };
    let last = chat.messages.last().filter(|message| message.role == Role::Tool);
    let result =
        last.into_iter().flat_map(|message| &message.content).find_map(|part| match part {
            Part::ToolResult(result) => Some(result.text.as_str()),
            _ => None,
        });
    if let Some(result) = result {
        let text = format!("The tool said: **{result}**");
        send(sender, Delta::Text { text, tokens: Vec::new() });
        finish(sender, FinishReason::EndOfTurn);
        return true;
    }
    send(sender, Delta::Reasoning { text: "I need *the weather*.".into() });
    let name = chat.tools.first().map(|tool| tool.name.clone()).unwrap_or_default();
    send(sender, Delta::ToolCall { index: 0, id: "call_0".into(), name });
    for text in ["{\"place\":", "\"Par", "is\"}"] {
        send(sender, Delta::Arguments { index: 0, text: text.into() });
    }
    finish(sender, FinishReason::ToolCalls);
    true
}

fn finish(sender: &EventSender, reason: FinishReason) {
    sender.send(Event::Finished { choice: 0, reason });
    let usage =
        Usage { prompt_tokens: 3, cached_tokens: 1, completion_tokens: 4, reasoning_tokens: 0 };
    sender.send(Event::Done { usage, timings: Timings::default() });
}
