//! The parameters of the Ollama dialect and what happens to each.

use crate::ollama::shapes::{FORMAT, MESSAGES, THINK, TOOLS};
use crate::parameters::{Parameter, honoured, joined, refused, without_effect};
use crate::sampling::{PENALTY, REPETITION, TEMPERATURE};
use crate::shape::{COUNT_OR_ALL, INTEGER, SHARE, STRINGS, Shape};
use Shape::{Bool, Text};

const FILTERS: &str = "this way of choosing tokens is not there";
const PICTURES: &str = "only text can be generated";

/// What both endpoints take.
const SHARED: &[Parameter] = &[
    honoured("model").takes(Text, "Which model answers.").needed(),
    honoured("stream")
        .takes(Bool, "Whether the answer comes piece by piece, as it does where nothing is said."),
    honoured("format").takes(FORMAT, "`json`, or a schema that the answer must be valid against."),
    honoured("options")
        .takes(Shape::Table(OPTIONS), "How tokens are drawn and where the answer ends."),
    honoured("think").takes(THINK, "Whether and how much the model reasons."),
    honoured("logprobs").takes(Bool, "Whether log-probabilities are reported."),
    honoured("top_logprobs")
        .takes(Shape::Integer(0, 20), "How many alternatives are reported for each token."),
    // The model stays as long as the server runs.
    without_effect("keep_alive"),
    // Nothing is ever truncated or shifted away.
    without_effect("truncate"),
    without_effect("shift"),
    without_effect("_debug_render_only"),
];

const CHAT_ALONE: &[Parameter] = &[
    honoured("messages").takes(MESSAGES, "The conversation; without one the model is loaded."),
    honoured("tools").takes(TOOLS, "Tools that the model may call."),
];

const GENERATE_ALONE: &[Parameter] = &[
    honoured("prompt").takes(Text, "What the model is asked; without it the model is loaded."),
    honoured("system").takes(Text, "Instructions before the prompt."),
    honoured("raw").takes(Bool, "Whether the prompt goes without the template."),
    honoured("images").takes(STRINGS, "Images in base64."),
    refused("suffix", &[r#""""#], "text cannot be filled in before a suffix yet"),
    refused("template", &[r#""""#], "the model's own template is used; `raw` goes without one"),
    refused("context", &["[]"], "tokens of earlier answers are not taken; use /api/chat"),
    refused("width", &["0"], PICTURES),
    refused("height", &["0"], PICTURES),
    refused("steps", &["0"], PICTURES),
];

/// `POST /api/chat`.
pub const CHAT_PARAMETERS: &[Parameter] =
    &joined::<{ SHARED.len() + CHAT_ALONE.len() }>(SHARED, CHAT_ALONE);

/// `POST /api/generate`.
pub const GENERATE_PARAMETERS: &[Parameter] =
    &joined::<{ SHARED.len() + GENERATE_ALONE.len() }>(SHARED, GENERATE_ALONE);

/// The `options` of both.
pub const OPTIONS: &[Parameter] = &[
    honoured("num_predict").takes(INTEGER, "Most tokens of the answer; 0 and less mean no limit."),
    honoured("seed").takes(INTEGER, "Makes the draws repeatable."),
    honoured("stop").takes(STRINGS, "Texts that end the answer and are not part of it."),
    honoured("temperature").takes(TEMPERATURE, "How much the probabilities are evened out before a token is drawn; 0 takes the most likely."),
    honoured("top_k").takes(COUNT_OR_ALL, "Tokens are drawn from this many of the most likely; 0 and -1 mean all."),
    honoured("top_p").takes(SHARE, "Tokens are drawn from the most likely ones that have this share together."),
    honoured("min_p").takes(SHARE, "Tokens are drawn from those at least this share as likely as the most likely."),
    honoured("typical_p").takes(SHARE, "Tokens are drawn from the most typical ones that have this share together."),
    honoured("repeat_penalty").takes(REPETITION, "Divides or multiplies the logits of tokens that came before."),
    honoured("repeat_last_n").takes(COUNT_OR_ALL, "How many of the last tokens count as before; -1 means all."),
    honoured("presence_penalty").takes(PENALTY, "Lowers tokens that came before."),
    honoured("frequency_penalty").takes(PENALTY, "Lowers tokens by how often they came before."),
    // The context is as long as the server was started with, and a prompt that does not fit is
    // refused, never cut.
    without_effect("num_ctx"),
    without_effect("num_keep"),
    without_effect("num_batch"),
    without_effect("num_gpu"),
    without_effect("main_gpu"),
    without_effect("num_thread"),
    without_effect("numa"),
    without_effect("low_vram"),
    without_effect("f16_kv"),
    without_effect("use_mmap"),
    without_effect("use_mlock"),
    without_effect("vocab_only"),
    without_effect("logits_all"),
    without_effect("embedding_only"),
    without_effect("penalize_newline"),
    without_effect("mirostat_tau"),
    without_effect("mirostat_eta"),
    refused("mirostat", &["0"], FILTERS),
    refused("tfs_z", &["1", "1.0"], FILTERS),
];
