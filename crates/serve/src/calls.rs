//! Tool calls put together from the deltas that they come in.

use crate::event::Delta;
use crate::message::ToolCall;

/// A call at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoldedCall {
    /// Its place among the answer's calls.
    pub index: usize,
    /// The call.
    pub call: ToolCall,
    /// Whether its arguments are a JSON object; else they are the beginning of one.
    pub is_whole: bool,
}

/// Puts the calls of one answer together, for dialects that send them whole. Calls come one after
/// another, so that one is kept at a time.
#[derive(Debug, Clone, Default)]
pub struct CallFolder {
    open: Option<FoldedCall>,
}

impl CallFolder {
    /// Takes the next delta of the answer, and gives the call that it ends.
    pub fn push(&mut self, delta: &Delta) -> Option<FoldedCall> {
        match delta {
            Delta::Text { .. } | Delta::Reasoning { .. } | Delta::Sealed(_) => None,
            Delta::ToolCall { index, id, name } => {
                let (id, name, arguments) = (id.clone(), name.clone(), String::new());
                let call = ToolCall { id, name, arguments };
                self.open = Some(FoldedCall { index: *index, call, is_whole: false });
                None
            }
            Delta::Arguments { text, .. } => {
                if let Some(open) = &mut self.open {
                    open.call.arguments.push_str(text);
                }
                None
            }
            Delta::ToolCallEnd { is_whole, .. } => {
                let ended = self.open.take()?;
                Some(FoldedCall { is_whole: *is_whole, ..ended })
            }
        }
    }
}
