//! The parameters of the OpenAI dialect and what happens to each.

use crate::openai::shapes::{
    CONVERSATION, EFFORT, EXPIRY, FIRST_ITEMS, FORMAT, INPUT, ITEMS, LOGPROBS_COUNT, MESSAGES,
    METADATA, METADATA_OR_NONE, PROMPT, REASONING_CONFIG, RESPONSE_TOOL_CHOICE, RESPONSE_TOOLS,
    SCHEMA_OR_TEXT, STREAM_OPTIONS, STRUCTURED, TEXT_CONFIG, TOOL_CHOICE, TOOLS,
};
use crate::parameters::{Parameter, honoured, joined, refused, without_effect};
use crate::sampling::{BIASES, FACTOR, PENALTY, REPETITION, TEMPERATURE};
use crate::shape::{
    COUNT, COUNT_OR_ALL, INTEGER, OBJECT, POSITIVE, SCHEMA, SHARE, STRINGS, Shape, TOKENS,
};
use Shape::{Bool, Text};

const TOKEN_LISTS: &str = "lists of tokens that may or may not come are not read; `logit_bias` is";
const GBNF: &str = "grammars in GBNF are not read; use `guided_grammar` with a Lark grammar";
const FILTERS: &str = "this way of choosing tokens is not there";
const OLD_TOOLS: &str = "use `tools` and `tool_choice`";

/// What both endpoints take.
const SHARED: &[Parameter] = &[
    honoured("model").takes(Text, "Which model answers.").needed(),
    honoured("temperature").takes(TEMPERATURE, "How much the probabilities are evened out before a token is drawn; 0 takes the most likely."),
    honoured("top_p").takes(SHARE, "Tokens are drawn from the most likely ones that have this share together."),
    honoured("top_k").takes(COUNT_OR_ALL, "Tokens are drawn from this many of the most likely; 0 and -1 mean all."),
    honoured("min_p").takes(SHARE, "Tokens are drawn from those at least this share as likely as the most likely."),
    honoured("typical_p").takes(SHARE, "Tokens are drawn from the most typical ones that have this share together."),
    honoured("xtc_probability").takes(SHARE, "How often the most likely of several likely tokens are left out."),
    honoured("xtc_threshold").takes(SHARE, "From which probability on a token counts as likely to XTC."),
    honoured("presence_penalty").takes(PENALTY, "Lowers tokens that came before."),
    honoured("frequency_penalty").takes(PENALTY, "Lowers tokens by how often they came before."),
    honoured("repetition_penalty").takes(REPETITION, "Divides or multiplies the logits of tokens that came before."),
    honoured("repeat_penalty").takes(REPETITION, "Another name of `repetition_penalty`."),
    honoured("repeat_last_n").takes(COUNT_OR_ALL, "How many of the last tokens count as before; -1 means all."),
    honoured("dry_multiplier").takes(FACTOR, "How strong DRY lowers what would go on with a repetition."),
    honoured("dry_base").takes(Shape::Number(1.0, 100.0), "How fast the penalty of DRY grows with the repetition."),
    honoured("dry_allowed_length").takes(POSITIVE, "Longest repetition that DRY lets be."),
    honoured("dry_penalty_last_n").takes(COUNT_OR_ALL, "How many of the last tokens DRY looks at; -1 means all."),
    honoured("dry_sequence_breakers").takes(STRINGS, "Texts that end what DRY takes for a repetition."),
    honoured("logit_bias").takes(BIASES, "What is added to the logits of these tokens."),
    honoured("seed").takes(INTEGER, "Makes the draws repeatable."),
    honoured("stop").takes(STRINGS, "Texts that end the answer and are not part of it."),
    honoured("stop_token_ids").takes(TOKENS, "Tokens that end the answer."),
    honoured("ignore_eos").takes(Bool, "Whether the answer goes on past the model's own end."),
    honoured("min_tokens").takes(COUNT, "Tokens before which no token ends the answer."),
    honoured("n").takes(Shape::Integer(1, 128), "Number of answers."),
    honoured("stream").takes(Bool, "Whether the answer comes piece by piece."),
    honoured("stream_options").takes(STREAM_OPTIONS, "What a stream says beside the answer."),
    honoured("response_format").takes(FORMAT, "The form that the answer must have."),
    without_effect("user"),
    // The order of the filters is fixed.
    without_effect("samplers"),
    honoured("guided_json").takes(SCHEMA_OR_TEXT, "A schema that the answer must be valid against."),
    honoured("guided_json_object").takes(Bool, "Whether the answer must be a JSON object."),
    honoured("guided_regex").takes(Text, "A regular expression that the answer must match."),
    honoured("guided_choice").takes(STRINGS, "Texts of which the answer must be one."),
    honoured("guided_grammar").takes(Text, "A grammar in Lark that the answer must follow."),
    honoured("structured_outputs").takes(STRUCTURED, "The form that the answer must have; one field at most."),
    refused("grammar", &[r#""""#], GBNF),
    honoured("json_schema").takes(SCHEMA, "A schema that the answer must be valid against."),
    refused("top_n_sigma", &["-1", "-1.0", "0", "0.0"], FILTERS),
    refused("mirostat", &["0"], FILTERS),
    refused("dynatemp_range", &["0", "0.0"], FILTERS),
    refused("use_beam_search", &["false"], FILTERS),
    refused("length_penalty", &["1", "1.0"], FILTERS),
    refused("allowed_token_ids", &[], TOKEN_LISTS),
    refused("bad_words", &["[]"], TOKEN_LISTS),
];

const CHAT_ALONE: &[Parameter] = &[
    honoured("max_tokens").takes(POSITIVE, "Most tokens of the answer."),
    honoured("logprobs").takes(Bool, "Whether log-probabilities are reported."),
    honoured("messages").takes(MESSAGES, "The conversation.").needed(),
    honoured("max_completion_tokens").takes(POSITIVE, "Most tokens of the answer."),
    honoured("top_logprobs")
        .takes(LOGPROBS_COUNT, "How many alternatives are reported for each token."),
    honoured("tools").takes(TOOLS, "Tools that the model may call."),
    honoured("tool_choice").takes(TOOL_CHOICE, "Whether and which tool must be called."),
    honoured("chat_template_kwargs").takes(OBJECT, "Further variables for the model's template."),
    honoured("parallel_tool_calls").takes(Bool, "Whether an answer may call several tools."),
    without_effect("metadata"),
    without_effect("moderation"),
    without_effect("prompt_cache_key"),
    without_effect("prompt_cache_options"),
    without_effect("prompt_cache_retention"),
    honoured("reasoning_effort")
        .takes(EFFORT, "How much the model reasons, where its template has a switch."),
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
    honoured("max_tokens").takes(COUNT, "Most tokens of the answer; 16 where nothing is said."),
    honoured("logprobs")
        .takes(LOGPROBS_COUNT, "How many alternatives are reported for each token."),
    honoured("prompt")
        .takes(
            PROMPT,
            "The text to go on from, its tokens, or a list of such, each with answers of its own.",
        )
        .needed(),
    honoured("echo").takes(Bool, "Whether the prompt stands before the answer."),
    refused("best_of", &["1"], "only one answer is generated"),
    refused("suffix", &[r#""""#], "text cannot be filled in before a suffix yet"),
];

/// `POST /v1/chat/completions`.
pub const CHAT_PARAMETERS: &[Parameter] =
    &joined::<{ SHARED.len() + CHAT_ALONE.len() }>(SHARED, CHAT_ALONE);

/// `POST /v1/completions`.
pub const COMPLETION_PARAMETERS: &[Parameter] =
    &joined::<{ SHARED.len() + COMPLETION_ALONE.len() }>(SHARED, COMPLETION_ALONE);

/// `POST /v1/responses`.
pub const RESPONSES_PARAMETERS: &[Parameter] = &[
    honoured("model").takes(Text, "Which model answers.").needed(),
    honoured("input").takes(INPUT, "The conversation.").needed(),
    honoured("instructions").takes(Text, "Instructions before the conversation."),
    honoured("max_output_tokens").takes(POSITIVE, "Most tokens of the answer."),
    honoured("temperature").takes(TEMPERATURE, "How much the probabilities are evened out before a token is drawn; 0 takes the most likely."),
    honoured("top_p").takes(SHARE, "Tokens are drawn from the most likely ones that have this share together."),
    honoured("top_logprobs").takes(LOGPROBS_COUNT, "How many alternatives are reported for each token."),
    honoured("include").takes(STRINGS, "Parts of the answer that are left out otherwise."),
    honoured("stream").takes(Bool, "Whether the answer comes piece by piece."),
    honoured("text").takes(TEXT_CONFIG, "The form that the answer must have."),
    honoured("reasoning").takes(REASONING_CONFIG, "How much the model reasons."),
    honoured("tools").takes(RESPONSE_TOOLS, "Tools that the model may call."),
    honoured("tool_choice").takes(RESPONSE_TOOL_CHOICE, "Whether and which tool must be called."),
    honoured("parallel_tool_calls").takes(Bool, "Whether an answer may call several tools."),
    honoured("metadata").takes(METADATA, "Pairs that the answer repeats."),
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
    honoured("store").takes(Bool, "Whether the answer is kept, as it is where nothing is said."),
    honoured("previous_response_id").takes(Text, "The response that this one goes on from."),
    honoured("background").takes(Bool, "Whether the answer is made while nobody waits for it."),
    honoured("conversation")
        .takes(CONVERSATION, "What this goes on with; question and answer are added to it."),
    refused("prompt", &[], "there are no stored prompts"),
];

/// `POST /v1/batches`.
pub const BATCH_PARAMETERS: &[Parameter] = &[
    honoured("input_file_id").takes(Text, "The file of the requests, one a line.").needed(),
    honoured("endpoint").takes(Text, "The path that they are requests to.").needed(),
    honoured("completion_window")
        .takes(Text, "The time for all of them: minutes, hours or days, as `24h`.")
        .needed(),
    honoured("metadata").takes(METADATA, "Pairs that the answer repeats."),
    honoured("output_expires_after").takes(EXPIRY, "When the files of answers are deleted."),
];

/// `POST /v1/conversations`.
pub const CONVERSATION_PARAMETERS: &[Parameter] = &[
    honoured("items").takes(FIRST_ITEMS, "What the conversation begins with."),
    honoured("metadata").takes(METADATA, "Pairs that the answer repeats."),
];

/// `POST /v1/conversations/{id}`.
pub const CONVERSATION_UPDATE_PARAMETERS: &[Parameter] = &[honoured("metadata")
    .takes(METADATA_OR_NONE, "Pairs in place of those that it has.")
    .needed()];

/// `POST /v1/conversations/{id}/items`.
pub const ITEMS_PARAMETERS: &[Parameter] =
    &[honoured("items").takes(ITEMS, "What comes at its end.").needed()];
