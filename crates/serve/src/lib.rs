//! One request from messages to events: template, tokenize, admit, generate, detokenize.
//!
//! [`Request`] and [`Event`] are the one form that every dialect decodes to and encodes from.
//! [`Generate`] turns the first into a stream of the second; [`Local`] does it with an engine on
//! a thread of its own, [`Fleet`] with several such models within a budget of memory. A whole answer is the fold of its events ([`Reply`]), so streaming and
//! not streaming cannot differ. Threads and channels of the standard library only; no HTTP.

mod answer;
mod calls;
mod channel;
mod chat;
mod choice;
mod clock;
mod details;
mod embedder;
mod error;
mod event;
mod fleet;
mod generate;
mod local;
mod message;
mod prefix_store;
mod prompt;
mod reader;
mod reply;
mod request;
mod rules;
mod sampling;
mod status;
mod text_model;
mod thinking;
mod watch;
mod worker;

pub use calls::{CallFolder, FoldedCall};
pub use channel::{EVENTS_MAX, EventSender, Events, channel};
pub use clock::{Clock, SystemClock};
pub use details::{Description, ModelDetails, Task, TextDetails, WeightDetails};
pub use embedder::{EmbedLimits, EmbedModel, EmbedSequence, Embedder, EmbedderOptions};
pub use engine::{Priority, Tenant};
pub use error::{Error, Fault};
pub use event::{Alternative, Delta, Event, FinishReason, ScoredToken, Timings, Usage};
pub use fleet::{Discover, Entry, Fleet, Loader, Name, NameTaken, Reservation, Rules};
pub use generate::{Admit, Admitted, Generate, Listed, ModelCard, Residence};
pub use local::{ANSWERS_MAX, AdaptedModel, LazyAdapter, Local, LocalOptions};
pub use message::{Message, Part, Role, Sealed, Tool, ToolCall, ToolChoice, ToolResult};
pub use prefix_store::{AdapterDigests, PrefixStore, PrefixStoreOptions};
pub use prompt::prompt_tokens;
pub use reply::{Choice, Reply, Span};
pub use request::{Chat, Embed, Input, Overlong, Plain, Request, Rerank, ResponseFormat, Stop};
pub use sampling::{Dry, LastN, LastNError, Sampling};
pub use status::{EngineGauges, EngineStatus, MemoryStatus, ModelStatus, Status};
pub use text_model::{Around, ChatPrompt, ChatTokens, Detokenize, TextFault, TextModel};
pub use thinking::{Effort, Thinking, has_thinking_switch};
pub use watch::{CallRecord, Outcome, Watch, Watched, observed};
