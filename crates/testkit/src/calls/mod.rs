//! Tool calls over HTTP, sampled at random under the constraint: asked for streamed and whole,
//! parsed, validated against the tools' schemas, and counted.

mod formats;
mod model;
mod schemas;

use crate::http;
use serde_json::{Map, Value, json};
use std::fmt;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use formats::{CALL_FORMATS, CallFormat};
pub use model::{CallModel, Words, byte_letters};
pub use schemas::{ToolSet, tool_sets};

/// How much likelier a special token is than other tokens of its logit, so that text and
/// reasoning, in which any token may come, end after some dozens of tokens.
const SPECIAL_CHANCE: f64 = 1.0 / 32.0;
/// Answers may have so many tokens.
const TOKENS_MAX: usize = 1200;

/// What a question asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One call of any tool.
    Required,
    /// A call of this tool, by its place in the set.
    Named(usize),
    /// One call or more.
    Parallel,
    /// Text, or text and calls.
    Auto,
}

/// One question: tools, what to do with them, words and a seed.
#[derive(Clone, Debug)]
pub struct Question {
    /// Which of the sets.
    pub set: usize,
    /// What is asked for.
    pub kind: Kind,
    /// The seed, which the words depend on too.
    pub seed: u64,
}

/// So many questions over all sets and kinds, those that share a grammar one after another.
pub fn questions(sets: &[ToolSet], count: usize) -> Vec<Question> {
    let mut all: Vec<Question> = (0..count)
        .map(|at| {
            let set = at % sets.len();
            let kind = match (at / sets.len()) % 4 {
                0 => Kind::Required,
                1 => Kind::Named(at / (4 * sets.len()) % sets[set].tools.len()),
                2 => Kind::Parallel,
                _ => Kind::Auto,
            };
            Question { set, kind, seed: at as u64 }
        })
        .collect();
    let place = |kind: Kind| match kind {
        Kind::Required => 0,
        Kind::Parallel => 1,
        Kind::Auto => 2,
        Kind::Named(tool) => 3 + tool,
    };
    all.sort_by_key(|question| (question.set, place(question.kind)));
    all
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answers asked for, each streamed and whole.
    pub answers: usize,
    /// Answers that the limit of tokens cut, which say nothing about calls.
    pub cut: usize,
    /// Answers that have what was asked for: calls and no text, or for [`Kind::Auto`] no text
    /// that is markup.
    pub parsed: usize,
    /// Calls in them.
    pub calls: usize,
    /// Calls whose arguments are valid against their tool's schema.
    pub valid: usize,
    /// Answers whose stream says what the whole one says, to the byte.
    pub agree: usize,
    /// Tokens of all answers, each counted once.
    pub tokens: usize,
    /// Most pieces that the arguments of one call came in.
    pub pieces_max: usize,
    /// What went wrong, at most a few of each.
    pub problems: Vec<String>,
}

impl Tally {
    /// Whether all is as it should be.
    pub fn is_right(&self) -> bool {
        self.problems.is_empty()
            && self.parsed + self.cut == self.answers
            && self.agree == self.answers
            && self.valid == self.calls
    }

    fn add(&mut self, other: Tally) {
        self.answers += other.answers;
        self.cut += other.cut;
        self.parsed += other.parsed;
        self.calls += other.calls;
        self.valid += other.valid;
        self.agree += other.agree;
        self.tokens += other.tokens;
        self.pieces_max = self.pieces_max.max(other.pieces_max);
        self.problems.extend(other.problems);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { answers, cut, parsed, calls, valid, agree, .. } = self;
        write!(
            f,
            "{answers} answers, {cut} cut, {parsed} parsed, {valid} of {calls} calls valid, \
             {agree} streams agree"
        )?;
        self.problems.iter().take(5).try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

/// A server that answers over one of the models of this module.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// `host:port`.
    pub address: &'a str,
    /// What the server calls the model.
    pub name: &'a str,
    /// The model.
    pub model: &'a CallModel,
    /// The tools that questions speak of.
    pub sets: &'a [ToolSet],
}

/// An answer, however it came.
#[derive(Debug, Default, PartialEq)]
struct Answer {
    content: String,
    reasoning: String,
    /// Id, name and arguments.
    calls: Vec<(String, String, String)>,
    finish: String,
    tokens: u64,
}

impl Asked<'_> {
    /// Asks all questions, from so many clients.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn ask_all(&self, questions: &[Question], clients: usize) -> io::Result<Tally> {
        let (next, total) = (AtomicUsize::new(0), Mutex::new(Tally::default()));
        let client = || -> io::Result<()> {
            while let Some(question) = questions.get(next.fetch_add(1, Ordering::Relaxed)) {
                let tally = self.ask(question)?;
                total.lock().map_err(|_| io::Error::other("a client panicked"))?.add(tally);
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
            clients.into_iter().try_for_each(|client| {
                client.join().unwrap_or_else(|_| Err(io::Error::other("a client panicked")))
            })
        })?;
        total.into_inner().map_err(|_| io::Error::other("a client panicked"))
    }

    fn ask(&self, question: &Question) -> io::Result<Tally> {
        let body = self.body(question);
        let whole = self.whole(&body)?;
        let (streamed, pieces_max) = self.streamed(body)?;
        let mut tally = Tally { answers: 1, pieces_max, ..Tally::default() };
        tally.tokens = whole.tokens as usize;
        let mut wrong = |what: String| tally.problems.push(format!("{question:?}: {what}"));
        if streamed == whole {
            tally.agree = 1;
        } else {
            wrong(format!("streamed {streamed:?}\n    whole {whole:?}"));
        }
        if whole.finish == "length" {
            tally.cut = 1;
            return Ok(tally);
        }
        match self.problem(question, &whole) {
            None => tally.parsed = 1,
            Some(problem) => wrong(format!("{problem} in {whole:?}")),
        }
        for (_, name, arguments) in &whole.calls {
            tally.calls += 1;
            match self.sets[question.set].check(name, arguments) {
                Ok(()) => tally.valid += 1,
                Err(problem) => tally.problems.push(format!("{question:?}: {problem}")),
            }
        }
        Ok(tally)
    }

    fn body(&self, question: &Question) -> Map<String, Value> {
        let set = &self.sets[question.set];
        let choice = match question.kind {
            Kind::Required | Kind::Parallel => json!("required"),
            Kind::Named(tool) => {
                json!({"type": "function", "function": {"name": set.name_of(tool)}})
            }
            Kind::Auto => json!("auto"),
        };
        let bias = (self.model.n_words() as f64 * SPECIAL_CHANCE).ln();
        let biases = self.model.special_ids().map(|id| (id.to_string(), json!(bias)));
        let words = format!("Question {}: what is to be done?", question.seed);
        let body = json!({
            "model": self.name,
            "messages": [{"role": "user", "content": words}],
            "tools": set.tools,
            "tool_choice": choice,
            "parallel_tool_calls": question.kind != Kind::Required,
            "temperature": 1,
            "top_p": 1,
            "seed": question.seed,
            "max_tokens": TOKENS_MAX,
            "logit_bias": biases.collect::<Map<String, Value>>(),
        });
        body.as_object().cloned().unwrap_or_default()
    }

    fn whole(&self, body: &Map<String, Value>) -> io::Result<Answer> {
        let body = Value::Object(body.clone()).to_string();
        let found = http::post(self.address, "/v1/chat/completions", &body)?;
        let refused = || io::Error::other(format!("status {}: {}", found.status, found.body));
        if found.status != 200 {
            return Err(refused());
        }
        let found: Value = serde_json::from_str(&found.body).map_err(|_| refused())?;
        let choice = &found["choices"][0];
        let mut answer = Answer::default();
        answer.add(&choice["message"]);
        answer.finish = text(&choice["finish_reason"]);
        answer.tokens = found["usage"]["completion_tokens"].as_u64().unwrap_or(0);
        Ok(answer)
    }

    /// The answer and the most pieces that the arguments of one call came in.
    fn streamed(&self, mut body: Map<String, Value>) -> io::Result<(Answer, usize)> {
        body.insert("stream".into(), json!(true));
        body.insert("stream_options".into(), json!({"include_usage": true}));
        let body = Value::Object(body).to_string();
        let (mut answer, mut pieces) = (Answer::default(), vec![0]);
        let found = http::post_events(self.address, "/v1/chat/completions", &body, |data| {
            let Ok(event) = serde_json::from_str::<Value>(data) else { return true };
            let choice = &event["choices"][0];
            answer.add(&choice["delta"]);
            for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
                if call["id"].is_string() {
                    pieces.push(0);
                }
                *pieces.last_mut().expect("there is one from the start") += 1;
            }
            answer.finish += choice["finish_reason"].as_str().unwrap_or("");
            answer.tokens += event["usage"]["completion_tokens"].as_u64().unwrap_or(0);
            true
        })?;
        if found.status != 200 {
            return Err(io::Error::other(format!("status {}: {}", found.status, found.body)));
        }
        Ok((answer, pieces.into_iter().max().unwrap_or(0)))
    }

    /// What an answer lacks of what was asked for.
    fn problem(&self, question: &Question, answer: &Answer) -> Option<String> {
        let set = &self.sets[question.set];
        let n = answer.calls.len();
        let finish = if n > 0 { "tool_calls" } else { "stop" };
        if answer.finish != finish {
            return Some(format!("finish reason {:?} after {n} calls", answer.finish));
        }
        let is_markup = |mark: &&&str| answer.content.contains(**mark);
        if let Some(mark) = self.model.format().markers.iter().find(is_markup) {
            return Some(format!("the marker {mark:?} is left in the text"));
        }
        let has_text = !answer.content.is_empty();
        match question.kind {
            Kind::Auto => None,
            _ if has_text => Some("text beside the calls that were asked for".to_owned()),
            Kind::Required | Kind::Named(_) if n != 1 => Some(format!("{n} calls")),
            Kind::Parallel if n == 0 => Some("no call".to_owned()),
            Kind::Named(tool) if answer.calls[0].1 != set.name_of(tool) => {
                Some(format!("a call of {}", answer.calls[0].1))
            }
            _ => None,
        }
    }
}

impl Answer {
    /// Adds a message, or a part of one.
    fn add(&mut self, message: &Value) {
        self.content += message["content"].as_str().unwrap_or("");
        self.reasoning += message["reasoning_content"].as_str().unwrap_or("");
        for (at, call) in message["tool_calls"].as_array().into_iter().flatten().enumerate() {
            let index = call["index"].as_u64().map_or(at, |index| index as usize);
            while self.calls.len() <= index {
                self.calls.push(Default::default());
            }
            let (id, name, arguments) = &mut self.calls[index];
            *id += call["id"].as_str().unwrap_or("");
            *name += call["function"]["name"].as_str().unwrap_or("");
            *arguments += call["function"]["arguments"].as_str().unwrap_or("");
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("").to_owned()
}
