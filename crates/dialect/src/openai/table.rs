//! The parameters of the OpenAI dialect and what happens to each.

use crate::parameters::{Parameter, honoured, joined, refused, without_effect};

const TOKEN_LISTS: &str = "lists of tokens that may or may not come are not read; `logit_bias` is";
const GBNF: &str = "grammars in GBNF are not read; use `guided_grammar` with a Lark grammar";
const FILTERS: &str = "this way of choosing tokens is not there";
const OLD_TOOLS: &str = "use `tools` and `tool_choice`";

/// What both endpoints take.
const SHARED: &[Parameter] = &[
    honoured("model"),
    honoured("max_tokens"),
    honoured("temperature"),
    honoured("top_p"),
    honoured("top_k"),
    honoured("min_p"),
    honoured("typical_p"),
    honoured("xtc_probability"),
    honoured("xtc_threshold"),
    honoured("presence_penalty"),
    honoured("frequency_penalty"),
    honoured("repetition_penalty"),
    honoured("repeat_penalty"),
    honoured("repeat_last_n"),
    honoured("dry_multiplier"),
    honoured("dry_base"),
    honoured("dry_allowed_length"),
    honoured("dry_penalty_last_n"),
    honoured("dry_sequence_breakers"),
    honoured("logit_bias"),
    honoured("seed"),
    honoured("stop"),
    honoured("stop_token_ids"),
    honoured("ignore_eos"),
    honoured("min_tokens"),
    honoured("n"),
    honoured("logprobs"),
    honoured("stream"),
    honoured("stream_options"),
    honoured("response_format"),
    without_effect("user"),
    // The order of the filters is fixed.
    without_effect("samplers"),
    honoured("guided_json"),
    honoured("guided_json_object"),
    honoured("guided_regex"),
    honoured("guided_choice"),
    honoured("guided_grammar"),
    honoured("structured_outputs"),
    refused("grammar", &[r#""""#], GBNF),
    honoured("json_schema"),
    refused("top_n_sigma", &["-1", "-1.0", "0", "0.0"], FILTERS),
    refused("mirostat", &["0"], FILTERS),
    refused("dynatemp_range", &["0", "0.0"], FILTERS),
    refused("use_beam_search", &["false"], FILTERS),
    refused("length_penalty", &["1", "1.0"], FILTERS),
    refused("allowed_token_ids", &[], TOKEN_LISTS),
    refused("bad_words", &["[]"], TOKEN_LISTS),
];

const CHAT_ALONE: &[Parameter] = &[
    honoured("messages"),
    honoured("max_completion_tokens"),
    honoured("top_logprobs"),
    honoured("tools"),
    honoured("tool_choice"),
    honoured("chat_template_kwargs"),
    honoured("parallel_tool_calls"),
    without_effect("metadata"),
    without_effect("moderation"),
    without_effect("prompt_cache_key"),
    without_effect("prompt_cache_options"),
    without_effect("prompt_cache_retention"),
    honoured("reasoning_effort"),
    without_effect("safety_identifier"),
    without_effect("service_tier"),
    without_effect("store"),
    without_effect("verbosity"),
    without_effect("prediction"),
    refused("modalities", &[r#"["text"]"#], "only text can be generated"),
    refused("audio", &[], "only text can be generated"),
    refused("web_search_options", &[], "there is no web search"),
    refused("functions", &["[]"], OLD_TOOLS),
    refused("function_call", &[r#""none""#, r#""auto""#], OLD_TOOLS),
];

const COMPLETION_ALONE: &[Parameter] = &[
    honoured("prompt"),
    honoured("echo"),
    refused("best_of", &["1"], "only one answer is generated"),
    refused("suffix", &[r#""""#], "text cannot be filled in before a suffix yet"),
];

/// `POST /v1/chat/completions`.
pub const CHAT_PARAMETERS: &[Parameter] =
    &joined::<{ SHARED.len() + CHAT_ALONE.len() }>(SHARED, CHAT_ALONE);

/// `POST /v1/completions`.
pub const COMPLETION_PARAMETERS: &[Parameter] =
    &joined::<{ SHARED.len() + COMPLETION_ALONE.len() }>(SHARED, COMPLETION_ALONE);

const CONVERSATIONS: &str = "go on from a response by `previous_response_id`";

/// `POST /v1/responses`.
pub const RESPONSES_PARAMETERS: &[Parameter] = &[
    honoured("model"),
    honoured("input"),
    honoured("instructions"),
    honoured("max_output_tokens"),
    honoured("temperature"),
    honoured("top_p"),
    honoured("top_logprobs"),
    honoured("include"),
    honoured("stream"),
    honoured("text"),
    honoured("reasoning"),
    honoured("tools"),
    honoured("tool_choice"),
    honoured("parallel_tool_calls"),
    honoured("metadata"),
    // Nothing is ever truncated: what does not fit is refused.
    without_effect("truncation"),
    without_effect("context_management"),
    without_effect("max_tool_calls"),
    without_effect("moderation"),
    without_effect("prompt_cache_key"),
    without_effect("prompt_cache_options"),
    without_effect("prompt_cache_retention"),
    without_effect("safety_identifier"),
    without_effect("service_tier"),
    without_effect("stream_options"),
    without_effect("user"),
    honoured("store"),
    honoured("previous_response_id"),
    honoured("background"),
    refused("conversation", &[], CONVERSATIONS),
    refused("prompt", &[], "there are no stored prompts"),
];

/// `POST /v1/batches`.
pub const BATCH_PARAMETERS: &[Parameter] = &[
    honoured("input_file_id"),
    honoured("endpoint"),
    honoured("completion_window"),
    honoured("metadata"),
    honoured("output_expires_after"),
];
