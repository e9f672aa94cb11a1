//! Log-probabilities in the two forms that OpenAI's interfaces have.

use serde_json::{Map, Value, json};
use serve::ScoredToken;

/// OpenAI's stand-in for a probability of zero, which JSON has no number for.
const LOGPROB_MIN: f32 = -9999.0;

fn number(logprob: f32) -> Value {
    json!(f64::from(logprob.max(LOGPROB_MIN)))
}

/// A token's text, or its bytes in writing where they are not text by themselves.
fn token_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => {
            let mut text = String::from("bytes:");
            for byte in bytes {
                text.push_str(&format!("\\x{byte:02x}"));
            }
            text
        }
    }
}

/// `logprobs` of a chat choice.
pub(crate) fn chat_logprobs(tokens: &[ScoredToken]) -> Value {
    json!({"content": chat_scores(tokens), "refusal": null})
}

/// Tokens with their log-probabilities, one object each.
pub(crate) fn chat_scores(tokens: &[ScoredToken]) -> Value {
    let entry = |bytes: &[u8], logprob: f32| json!({"token": String::from_utf8_lossy(bytes), "logprob": number(logprob), "bytes": bytes});
    let content: Vec<Value> = tokens
        .iter()
        .map(|token| {
            let mut object = entry(&token.bytes, token.logprob.unwrap_or(0.0));
            let top: Vec<Value> = token.top.iter().map(|t| entry(&t.bytes, t.logprob)).collect();
            object["top_logprobs"] = Value::Array(top);
            object
        })
        .collect();
    Value::Array(content)
}

/// `logprobs` of a completion choice; `offset` is the character offset of the first token in the
/// choice's text and moves past the last.
pub(crate) fn completion_logprobs(tokens: &[ScoredToken], offset: &mut usize) -> Value {
    let mut texts = Vec::with_capacity(tokens.len());
    let mut logprobs = Vec::with_capacity(tokens.len());
    let mut tops = Vec::with_capacity(tokens.len());
    let mut offsets = Vec::with_capacity(tokens.len());
    for token in tokens {
        let text = token_text(&token.bytes);
        offsets.push(*offset);
        // Characters begin at bytes that are not continuations.
        *offset += token.bytes.iter().filter(|&&byte| byte & 0xC0 != 0x80).count();
        match token.logprob {
            None => {
                logprobs.push(Value::Null);
                tops.push(Value::Null);
            }
            Some(logprob) => {
                let mut top = Map::new();
                // Best first, so the first of tokens that read alike stands.
                for alternative in &token.top {
                    let name = token_text(&alternative.bytes);
                    top.entry(name).or_insert_with(|| number(alternative.logprob));
                }
                top.entry(text.clone()).or_insert_with(|| number(logprob));
                logprobs.push(number(logprob));
                tops.push(Value::Object(top));
            }
        }
        texts.push(text);
    }
    json!({
        "tokens": texts,
        "token_logprobs": logprobs,
        "top_logprobs": tops,
        "text_offset": offsets,
    })
}
