//! What a model is given, as tokens.

use crate::chat::template_input;
use crate::error::Error;
use crate::request::{Input, Plain};
use crate::text_model::{ChatPrompt, ChatTokens, TextFault, TextModel};

/// The tokens of a request's input, exactly those that the model would be given.
///
/// # Errors
/// There is no template, or it or the tokenizer refuses.
pub fn prompt_tokens(text: &dyn TextModel, input: &Input) -> Result<ChatTokens, Error> {
    let prompt = match input {
        Input::Tokens(tokens) => Ok(plain(tokens.clone())),
        Input::Text(words) => text.encode(words).map(plain),
        Input::Several(_) => return Err(Error::not_supported("prompt", "several texts at once")),
        Input::Embed(_) | Input::Rerank(_) => return Err(generates_only()),
        Input::Chat(chat) => {
            let input = template_input(chat)?;
            let kwargs = chat.thinking.over(&chat.template_kwargs);
            let tools = input.tools.as_ref();
            let prompt = ChatPrompt { messages: &input.messages, tools, kwargs: &kwargs };
            let rendered = text.chat(&prompt);
            match &chat.prefill {
                None => rendered,
                Some(begun) => {
                    return rendered.map_err(refusal).and_then(|r| go_on(text, r, begun));
                }
            }
        }
    };
    prompt.map_err(refusal)
}

/// The tokens of each text that is to be continued.
///
/// # Errors
/// As [`prompt_tokens`], or there is no text.
pub(crate) fn prompts(text: &dyn TextModel, input: &Input) -> Result<Vec<ChatTokens>, Error> {
    let Input::Several(several) = input else { return Ok(vec![prompt_tokens(text, input)?]) };
    if several.is_empty() {
        return Err(Error::invalid("prompt", "prompt: an empty list, expected a text"));
    }
    let tokens = |one: &Plain| match one {
        Plain::Text(words) => text.encode(words).map(plain).map_err(refusal),
        Plain::Tokens(tokens) => Ok(plain(tokens.clone())),
    };
    several.iter().map(tokens).collect()
}

/// Tokens that no template has made.
fn plain(tokens: Vec<u32>) -> ChatTokens {
    ChatTokens { tokens, opens_reasoning: false }
}

/// What generates does not embed.
pub(crate) fn generates_only() -> Error {
    let what = "it generates text, and its files declare no pooling that makes vectors of it; \
                serve a model for embeddings, or this one with `freehold serve --pooling`";
    Error::not_supported("model", what)
}

/// A rendered conversation with the beginning of the answer behind it.
fn go_on(text: &dyn TextModel, mut rendered: ChatTokens, begun: &str) -> Result<ChatTokens, Error> {
    if rendered.opens_reasoning {
        let what = "this model reasons before it answers, so an answer cannot be begun for it";
        return Err(Error::not_supported("messages", what));
    }
    rendered.tokens.extend(text.encode_plain(begun).map_err(refusal)?);
    Ok(rendered)
}

fn refusal(fault: TextFault) -> Error {
    match fault {
        TextFault::NoTemplate | TextFault::Template(_) => {
            Error::invalid("messages", fault.to_string())
        }
        TextFault::Tokenizer(_) | TextFault::Vocabulary(_) => {
            Error::invalid("prompt", fault.to_string())
        }
    }
}
