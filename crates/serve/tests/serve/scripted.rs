//! A model that recites a script byte by byte, its byte tokenizer, a gate and a clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use constrain::{Token, Vocabulary};
use engine::speculate::StepCosts;
use engine::{Batch, Config, Engine, ForwardFault, LogitRows, StepModel, uniform};
use serve::{
    Around, ChatPrompt, ChatTokens, Clock, Detokenize, Local, LocalOptions, Sampling, SystemClock,
    TextFault, TextModel,
};
use text::format::Format;

pub(crate) const CONTEXT: usize = 256;
const VOCAB: usize = 257;
const END_TOKEN: u32 = 256;
/// How the end token is written, which is plain text when a user writes it.
pub(crate) const END: &str = "<end>";

/// Holds the model back and counts its forwards.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate {
    state: Arc<(Mutex<(bool, usize)>, Condvar)>,
}

impl Gate {
    pub(crate) fn close(&self) {
        self.state.0.lock().unwrap().0 = true;
    }

    pub(crate) fn open(&self) {
        self.state.0.lock().unwrap().0 = false;
        self.state.1.notify_all();
    }

    pub(crate) fn forwards(&self) -> usize {
        self.state.0.lock().unwrap().1
    }

    fn pass(&self) {
        let guard = self.state.0.lock().unwrap();
        let mut guard = self.state.1.wait_while(guard, |(is_closed, _)| *is_closed).unwrap();
        guard.1 += 1;
    }
}

/// The answer's bytes follow each other whatever the prompt is; then the end token.
#[derive(Debug, Default)]
pub(crate) struct Scripted {
    pub(crate) script: String,
    pub(crate) gate: Gate,
    /// Pseudo-random logits instead of the script.
    pub(crate) noise: bool,
    /// The forward panics when it is given this byte.
    pub(crate) panic_on: Option<u8>,
    /// Length of each sequence's prompt, by its first block.
    pub(crate) prompts: std::collections::HashMap<u32, usize>,
}

impl Scripted {
    fn row(&self, position: usize, n_prompt: usize, logits: &mut Vec<f32>) {
        let start = logits.len();
        logits.resize(start + VOCAB, 0.0);
        let row = &mut logits[start..];
        if self.noise {
            for (i, logit) in row.iter_mut().enumerate().take(127).skip(32) {
                *logit = uniform(position as u64, 3, i as u64) as f32 * 8.0;
            }
            return;
        }
        let said = (position + 1).saturating_sub(n_prompt);
        let next = self.script.as_bytes().get(said).map_or(END_TOKEN, |&byte| u32::from(byte));
        row[next as usize] = 9.0;
        row[b'?' as usize] += 1.0;
    }
}

impl StepModel for Scripted {
    fn vocab_size(&self) -> usize {
        VOCAB
    }

    fn context_length(&self) -> usize {
        CONTEXT
    }

    fn block_count(&self) -> usize {
        64
    }

    fn forward(
        &mut self,
        batch: &Batch<'_>,
        _states: &[u32],
        logits: &mut Vec<f32>,
    ) -> Result<(), ForwardFault> {
        self.gate.pass();
        logits.clear();
        for chunk in batch.chunks {
            if self.panic_on.is_some_and(|byte| chunk.tokens.contains(&u32::from(byte))) {
                panic!("the model fell over");
            }
            if chunk.position == 0 {
                // Tests keep prompts within a step, so the first chunk is the prompt.
                self.prompts.insert(chunk.blocks[0], chunk.tokens.len());
            }
            let n_prompt = self.prompts[&chunk.blocks[0]];
            let n = chunk.tokens.len();
            let rows = match chunk.logits {
                LogitRows::None => n..n,
                LogitRows::Last => n - 1..n,
                LogitRows::All => 0..n,
            };
            for i in rows {
                self.row(chunk.position + i, n_prompt, logits);
            }
        }
        Ok(())
    }
}

/// One token per byte; `<end>` is a token only where the template writes it.
#[derive(Debug, Default)]
pub(crate) struct ByteText {
    format: Option<Format>,
}

fn bytes(text: &str) -> Vec<u32> {
    text.bytes().map(u32::from).collect()
}

impl TextModel for ByteText {
    fn chat(&self, prompt: &ChatPrompt<'_>) -> Result<ChatTokens, TextFault> {
        let mut tokens = Vec::new();
        for message in prompt.messages.as_array().into_iter().flatten() {
            tokens.extend(bytes(message["role"].as_str().unwrap_or_default()));
            tokens.push(u32::from(b':'));
            tokens.extend(bytes(message["content"].as_str().unwrap_or_default()));
            tokens.push(END_TOKEN);
        }
        tokens.extend(bytes("assistant:"));
        Ok(ChatTokens { tokens, opens_reasoning: false })
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, TextFault> {
        assert!(!text.contains('\u{1}'), "the tokenizer fell over");
        Ok(bytes(text))
    }

    fn encode_plain(&self, text: &str) -> Result<Vec<u32>, TextFault> {
        self.encode(text)
    }

    fn around(&self) -> Around {
        let end = vec![END_TOKEN];
        Around { before: end.clone(), between: Some(end.clone()), after: end }
    }

    fn format(&self) -> Option<&Format> {
        self.format.as_ref()
    }

    /// Every byte is a token, and END ends a text.
    fn vocabulary(&self) -> Result<Arc<Vocabulary>, TextFault> {
        let all: Vec<u8> = (0..=255).collect();
        let mut tokens: Vec<Token<'_>> = all.chunks(1).map(Token::Bytes).collect();
        tokens.push(Token::Special(END));
        let made = Vocabulary::new(tokens, &[END_TOKEN], None);
        made.map(Arc::new).map_err(|error| TextFault::Vocabulary(error.to_string()))
    }

    fn detokenizer(&self, _shows_special: bool) -> Box<dyn Detokenize> {
        Box::new(ByteDetokenizer { partial: Vec::new() })
    }

    fn decode(&self, tokens: &[u32]) -> Result<String, TextFault> {
        let bytes: Vec<u8> = tokens.iter().filter_map(|&t| u8::try_from(t).ok()).collect();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn token_bytes(&self, token: u32) -> Vec<u8> {
        u8::try_from(token).map_or_else(|_| END.as_bytes().to_vec(), |byte| vec![byte])
    }

    fn end_tokens(&self) -> &[u32] {
        &[END_TOKEN]
    }
}

struct ByteDetokenizer {
    partial: Vec<u8>,
}

impl Detokenize for ByteDetokenizer {
    fn push(&mut self, token: u32, text: &mut String) -> Result<(), TextFault> {
        assert_ne!(token, 2, "the detokenizer fell over");
        self.partial.extend(u8::try_from(token));
        if let Ok(whole) = std::str::from_utf8(&self.partial) {
            text.push_str(whole);
            self.partial.clear();
        }
        Ok(())
    }

    fn finish(&mut self, text: &mut String) {
        if !self.partial.is_empty() {
            text.push('\u{FFFD}');
        }
    }
}

/// Moves a second with every look.
#[derive(Debug, Default)]
pub(crate) struct SlowClock {
    looks: AtomicU64,
}

impl Clock for SlowClock {
    fn now(&self) -> Duration {
        Duration::from_secs(self.looks.fetch_add(1, Ordering::Relaxed))
    }
}

fn start(model: Scripted, clock: Arc<dyn Clock>, queue_max: usize) -> Local {
    start_with(model, ByteText::default(), clock, queue_max)
}

/// A model that writes tool calls and reasoning in a format.
pub(crate) fn local_in(format: &str, model: Scripted) -> Local {
    let text = ByteText { format: Some(Format::named(format).unwrap()) };
    start_with(model, text, Arc::new(SystemClock::default()), 16)
}

fn start_with(model: Scripted, text: ByteText, clock: Arc<dyn Clock>, queue_max: usize) -> Local {
    start_guessing(model, text, clock, queue_max, None)
}

/// A model for which tokens are guessed by what steps are said to cost.
pub(crate) fn local_guessing(script: &str, costs: StepCosts) -> Local {
    let model = Scripted { script: script.to_owned(), ..Default::default() };
    let clock = Arc::new(SystemClock::default());
    start_guessing(model, ByteText::default(), clock, 16, Some(costs))
}

fn start_guessing(
    model: Scripted,
    text: ByteText,
    clock: Arc<dyn Clock>,
    queue_max: usize,
    costs: Option<StepCosts>,
) -> Local {
    // The model knows a prompt by its first block.
    let config = Config {
        running_max: 16,
        waiting_max: queue_max,
        keep_prefixes: false,
        costs,
        ..Config::default()
    };
    let engine = Engine::new(model, config).unwrap();
    let options = LocalOptions {
        warn: |text| panic!("{text}"),
        id: "script".into(),
        adapters: Vec::new(),
        aliases: Vec::new(),
        created: 1,
        weights: Default::default(),
        queue_max,
        speculates: false,
        sampling: Sampling::default(),
    };
    Local::start(engine, Arc::new(text), clock, options).unwrap()
}

pub(crate) fn local_with(model: Scripted, queue_max: usize) -> Local {
    start(model, Arc::new(SystemClock::default()), queue_max)
}

pub(crate) fn local(script: &str) -> Local {
    local_with(Scripted { script: script.to_owned(), ..Default::default() }, 16)
}

pub(crate) fn local_clocked(script: &str, clock: SlowClock) -> Local {
    let model = Scripted { script: script.to_owned(), ..Default::default() };
    start(model, Arc::new(clock), 16)
}
