//! The parameters of the Ollama dialect and what happens to each.

use crate::parameters::{Parameter, honoured, joined, refused, without_effect};

const FILTERS: &str = "this way of choosing tokens is not there";
const PICTURES: &str = "only text can be generated";

/// What both endpoints take.
const SHARED: &[Parameter] = &[
    honoured("model"),
    honoured("stream"),
    honoured("format"),
    honoured("options"),
    honoured("think"),
    honoured("logprobs"),
    honoured("top_logprobs"),
    // The model stays as long as the server runs.
    without_effect("keep_alive"),
    // Nothing is ever truncated or shifted away.
    without_effect("truncate"),
    without_effect("shift"),
    without_effect("_debug_render_only"),
];

const CHAT_ALONE: &[Parameter] = &[honoured("messages"), honoured("tools")];

const GENERATE_ALONE: &[Parameter] = &[
    honoured("prompt"),
    honoured("system"),
    honoured("raw"),
    honoured("images"),
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
    honoured("num_predict"),
    honoured("seed"),
    honoured("stop"),
    honoured("temperature"),
    honoured("top_k"),
    honoured("top_p"),
    honoured("min_p"),
    honoured("typical_p"),
    honoured("repeat_penalty"),
    honoured("repeat_last_n"),
    honoured("presence_penalty"),
    honoured("frequency_penalty"),
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
