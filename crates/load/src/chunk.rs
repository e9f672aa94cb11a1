//! What is read of an answer: whether it has text, how many tokens, whether it ends or fails.

use serde::Deserialize;
use serde_json::Value;

/// A whole answer, or an event of a stream, of any of the endpoints; what is not asked after is
/// skipped.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    pub(crate) usage: Option<Usage>,
    #[serde(default)]
    pub(crate) error: Option<Value>,
    #[serde(default)]
    data: Option<Vec<serde::de::IgnoredAny>>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Option<Said>,
    #[serde(default)]
    message: Option<Said>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    finish_reason: Option<String>,
}

/// Names under which servers send text and reasoning.
#[derive(Debug, Deserialize)]
struct Said {
    #[serde(default)]
    content: Option<Value>,
    // Servers send one of these two, or both with the same text: so no alias, which would take
    // the second for a mistake.
    #[serde(default)]
    reasoning_content: Option<Value>,
    #[serde(default)]
    reasoning: Option<Value>,
    #[serde(default)]
    tool_calls: Option<Vec<serde::de::IgnoredAny>>,
}

/// Tokens as the server counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Usage {
    #[serde(default)]
    pub(crate) prompt_tokens: Option<u64>,
    #[serde(default)]
    pub(crate) completion_tokens: Option<u64>,
}

impl Chunk {
    pub(crate) fn read(json: &[u8]) -> Result<Chunk, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// Whether something was generated in it.
    pub(crate) fn has_output(&self) -> bool {
        self.choices.iter().any(|choice| {
            let said = [&choice.delta, &choice.message];
            choice.text.as_ref().is_some_and(|text| !text.is_empty())
                || said.into_iter().flatten().any(Said::has_output)
        })
    }

    /// Whether an answer is complete in it.
    pub(crate) fn is_finished(&self) -> bool {
        self.choices.iter().any(|choice| choice.finish_reason.is_some())
    }

    /// Whether it is an answer at all.
    pub(crate) fn is_answer(&self) -> bool {
        !self.choices.is_empty() || self.data.as_ref().is_some_and(|data| !data.is_empty())
    }
}

impl Said {
    fn has_output(&self) -> bool {
        let texts = [&self.content, &self.reasoning_content, &self.reasoning];
        let mut texts = texts.into_iter().flatten();
        texts.any(|text| text.as_str().is_some_and(|text| !text.is_empty()))
            || self.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Chunk {
        Chunk::read(json.as_bytes()).expect("it is JSON")
    }

    #[test]
    fn output_is_told_from_what_frames_it() {
        for (json, has_output) in [
            (r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#, false),
            (r#"{"choices":[{"delta":{"content":"a"},"finish_reason":null}]}"#, true),
            (r#"{"choices":[{"delta":{"reasoning_content":"a"}}]}"#, true),
            (r#"{"choices":[{"delta":{"reasoning":"a"}}]}"#, true),
            (r#"{"choices":[{"delta":{"reasoning":"a","reasoning_content":"a"}}]}"#, true),
            (r#"{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}"#, true),
            (r#"{"choices":[{"text":"a"}]}"#, true),
            (r#"{"choices":[{"message":{"content":null}}]}"#, false),
            (r#"{"choices":[],"usage":{"completion_tokens":3}}"#, false),
        ] {
            assert_eq!(read(json).has_output(), has_output, "{json}");
        }
        assert!(read(r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#).is_finished());
        assert!(read(r#"{"data":[{"embedding":[1.0]}]}"#).is_answer());
        assert!(!read(r#"{"object":"error"}"#).is_answer());
    }

    #[test]
    fn no_bytes_make_the_reader_panic() {
        bolero::check!().for_each(|bytes| {
            if let Ok(chunk) = Chunk::read(bytes) {
                let _ = (chunk.has_output(), chunk.is_finished(), chunk.is_answer());
            }
        });
    }
}
