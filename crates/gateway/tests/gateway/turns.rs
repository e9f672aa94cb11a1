//! A model whose answers are written down beforehand, one for each turn of a conversation: what an
//! agent does is then known.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use gateway::bind;
use serde_json::Value;
use serve::{
    Delta, Error, Event, EventSender, Events, FinishReason, Generate, Input, ModelCard,
    ModelDetails, Part, Request, TextModel, Timings, Usage, channel,
};

use crate::scripted::{Running, Scripted, config, start_over};

/// One answer.
#[derive(Debug, Clone)]
pub(crate) enum Turn {
    /// Calls a tool: its name and what it is called with.
    Call(&'static str, Value),
    /// Says something and is done.
    Say(&'static str),
}

/// What a conversation brought back to the model.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// What the tools returned, in order.
    pub(crate) results: Vec<String>,
    /// What the model thought and which tools it called, in order.
    pub(crate) own: Vec<Own>,
}

/// A part of a turn of the model's own that came back to it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Own {
    Thought(String),
    Called(String),
}

impl Heard {
    fn of(request: &Request) -> Heard {
        let mut heard = Heard::default();
        let Input::Chat(chat) = &request.input else { return heard };
        for part in chat.messages.iter().flat_map(|message| &message.content) {
            match part {
                Part::ToolResult(result) => heard.results.push(result.text.clone()),
                Part::Reasoning(text) => heard.own.push(Own::Thought(text.clone())),
                Part::Sealed(other) => panic!("nothing was sealed here: {other:?}"),
                Part::ToolCall(call) => heard.own.push(Own::Called(call.name.clone())),
                Part::Text(_) | Part::Image { .. } => {}
            }
        }
        heard
    }
}

/// Which answer comes is decided by how many results of tools the conversation has. Requests
/// without the tools of the script are asides (agents ask for titles, or whether a command is
/// safe), and are answered in a word. Before each answer the model thinks aloud.
#[derive(Debug)]
pub(crate) struct Turns {
    base: Scripted,
    turns: Vec<Turn>,
    /// What the longest conversation so far has brought.
    heard: Arc<Mutex<Heard>>,
}

/// A server over a script, and what it hears.
pub(crate) fn start_turns(turns: Vec<Turn>) -> (Running, Arc<Mutex<Heard>>) {
    let heard = Arc::<Mutex<Heard>>::default();
    let counts = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let base = Scripted {
        n_running: Arc::clone(&counts.0),
        n_cancelled: Arc::clone(&counts.1),
        ..Scripted::default()
    };
    let turns = Turns { base, turns, heard: Arc::clone(&heard) };
    let config = gateway::Config { body_bytes_max: 1 << 24, ..config() };
    (start_over(bind(config).unwrap(), Arc::new(turns), counts), heard)
}

impl Turns {
    /// Whether a request is of the session, with all the tools of the script.
    fn is_session(&self, request: &Request) -> bool {
        let Input::Chat(chat) = &request.input else { return false };
        let has_tool = |turn: &Turn| match turn {
            Turn::Call(name, _) => chat.tools.iter().any(|tool| tool.name == *name),
            Turn::Say(_) => true,
        };
        !chat.tools.is_empty() && self.turns.iter().all(has_tool)
    }

    /// What is thought and what is answered.
    fn turn(&self, request: &Request) -> (String, Turn) {
        if !self.is_session(request) {
            return ("An aside.".to_owned(), Turn::Say("Aside"));
        }
        let now = Heard::of(request);
        let place = now.results.len();
        let turn = self.turns.get(place).cloned().unwrap_or(Turn::Say("The script is over."));
        let mut heard = self.heard.lock().unwrap();
        if place >= heard.results.len() {
            *heard = now;
        }
        (thought(place), turn)
    }
}

/// What the model thinks before its answer after so many results, in more than one line.
pub(crate) fn thought(place: usize) -> String {
    format!("Step {place}:\n\"go on\" ♥")
}

impl Generate for Turns {
    fn models(&self) -> Vec<ModelCard> {
        let room = |card| ModelCard { context_length: 200_000, ..card };
        self.base.models().into_iter().map(room).collect()
    }

    fn details(&self, model: &str) -> Result<ModelDetails, Error> {
        Ok(ModelDetails { context_length: 200_000, ..self.base.details(model)? })
    }

    fn text(&self, model: &str) -> Result<Arc<dyn TextModel>, Error> {
        self.base.text(model)
    }

    fn submit(&self, request: Request) -> Result<Events, Error> {
        self.base.details(&request.model)?;
        let (thought, turn) = self.turn(&request);
        let (sender, events) = channel();
        let running = Arc::clone(&self.base.n_running);
        running.fetch_add(1, Ordering::SeqCst);
        std::thread::spawn(move || {
            speak(&sender, thought, turn);
            running.fetch_sub(1, Ordering::SeqCst);
        });
        Ok(events)
    }
}

fn speak(sender: &EventSender, thought: String, turn: Turn) {
    let prompt_tokens = 30;
    sender.send(Event::Started { prompt_tokens, seed: 1 });
    let delta = |delta| sender.send(Event::Delta { choice: 0, delta });
    delta(Delta::Reasoning { text: thought });
    let reason = match turn {
        Turn::Say(text) => {
            delta(Delta::Text { text: text.to_owned(), tokens: Vec::new() });
            FinishReason::EndOfTurn
        }
        Turn::Call(name, arguments) => {
            let (index, text) = (0, arguments.to_string());
            // Ids are not to be alike in two turns.
            let id = format!("call_{name}_{}", text.len());
            delta(Delta::ToolCall { index, id, name: name.to_owned() });
            let half = (0..=text.len() / 2).rev().find(|&at| text.is_char_boundary(at));
            let (first, second) = text.split_at(half.unwrap_or(0));
            for piece in [first, second] {
                delta(Delta::Arguments { index, text: piece.to_owned() });
            }
            delta(Delta::ToolCallEnd { index, is_whole: true });
            FinishReason::ToolCalls
        }
    };
    sender.send(Event::Finished { choice: 0, reason });
    let usage =
        Usage { prompt_tokens, cached_tokens: 0, completion_tokens: 9, reasoning_tokens: 0 };
    sender.send(Event::Done { usage, timings: Timings::default() });
}
