//! How a request ended, in the words that logs, records and spans share.

use serve::{FinishReason, Outcome};

/// Why a call's first answer was complete; `None` where it was not.
pub(crate) fn finish_reason(outcome: &Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Finished(reasons) => reasons.first().map(reason),
        Outcome::Failed(_) | Outcome::Refused(_) | Outcome::Cancelled => None,
    }
}

/// A reason without what the request had in it.
pub(crate) fn reason(reason: &FinishReason) -> &'static str {
    match reason {
        FinishReason::EndOfTurn => "end_of_turn",
        FinishReason::StopString(_) => "stop_string",
        FinishReason::StopToken(_) => "stop_token",
        FinishReason::MaxTokens => "max_tokens",
        FinishReason::ContextLength => "context_length",
        FinishReason::ToolCalls => "tool_calls",
    }
}

/// The same in the words that OpenAI's interface made common.
pub(crate) fn common_reason(reason: &FinishReason) -> &'static str {
    match reason {
        FinishReason::EndOfTurn | FinishReason::StopString(_) | FinishReason::StopToken(_) => {
            "stop"
        }
        FinishReason::MaxTokens | FinishReason::ContextLength => "length",
        FinishReason::ToolCalls => "tool_calls",
    }
}

/// What went wrong, as a code: messages may quote the request.
pub(crate) fn error(outcome: &Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Failed(error) | Outcome::Refused(error) => Some(error.code()),
        Outcome::Cancelled => Some("cancelled"),
        Outcome::Finished(_) => None,
    }
}
