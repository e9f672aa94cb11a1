//! Responses that are kept: what a call goes on from, and what becomes of its answer.
//!
//! An answer is kept when it is complete, before its last event is sent, so who has the end can
//! fetch it. A client that goes away before the end cancels its answer, and nothing is kept of it.
//! An answer in the background goes on without its client; where the process ends before it, the
//! next one says that it failed.
//!
//! What was asked and answered in a conversation is added to it with the answer, in one change, so
//! two answers at once stand one behind the other, in the order in which they ended; neither knew
//! of the other.

use std::collections::HashSet;
use std::future::poll_fn;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use dialect::openai::{
    Before, Pieces, Replay, ResponseBody, ResponseStream, cancelled, count_response, encode_failed,
    encode_in_progress, encode_list, encode_queued, read_retrieval,
};
use dialect::{Answer, ApiError, CallMeta, Decoded, Dialect, Endpoint, Form};
use serde_json::{Value, json};
use serve::{Event, EventSender, Events, Generate, Reply};
use store::{ItemRow, NewItems, NewResponse, Progress, ResponseRow, StoreError};

use crate::body::{Bodies, Held};
use crate::call::streamed;
use crate::kept::content::Content;
use crate::kept::conversations::{refused_items, rows};
use crate::kept::files::{answered, names};
use crate::kept::running::{Listener, Live, Running};
use crate::kept::{Keeper, Kept, conversations, list, now, refused};
use crate::keys::Caller;
use crate::respond;
use crate::routes::Asker;
use crate::stream::EventBody;

/// How often an answer under way is asked whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// Where a call's answer is kept, and whose it is.
#[derive(Clone)]
pub(crate) struct Keeping {
    pub(crate) kept: Kept,
    pub(crate) running: Running,
    pub(crate) bodies: Bodies,
    /// Whose it is. Its place among the requests of its key is held as long as an answer in the
    /// background is worked on.
    pub(crate) caller: Caller,
}

/// A call whose answer is to be kept.
pub(crate) struct Turn {
    keeping: Keeping,
    endpoint: &'static Endpoint,
    before: Option<Before>,
    /// What was given, as it is kept.
    input: Vec<ItemRow>,
    /// Whether the answer can be fetched, and not only found in its conversation.
    is_stored: bool,
    is_background: bool,
}

impl Keeping {
    /// Decodes a body over the conversation that it goes on from; with it what is to be kept,
    /// where something is.
    ///
    /// # Errors
    /// The decoder's, or there is no such conversation.
    pub(crate) fn decode(
        &self,
        endpoint: &'static Endpoint,
        body: &[u8],
        id: &str,
    ) -> Result<(Decoded, Option<Turn>), ApiError> {
        let body = ResponseBody::parse(body)?;
        let (earlier, _held) = match &body.before {
            Some(before) => self.earlier(before).map(|(items, held)| (items, Some(held)))?,
            None => (Vec::new(), None),
        };
        let decoded = body.decode(id, &earlier)?;
        let is_stored = body.store.unwrap_or(true);
        let in_conversation = matches!(body.before, Some(Before::Conversation(_)));
        if !is_stored && !in_conversation {
            return Ok((decoded, None));
        }
        let input = body.input_items(id)?;
        if in_conversation {
            check_new(&earlier, &input)?;
        }
        let mut keeping = self.clone();
        if !body.background {
            // The response holds it, and who has the end of that may ask again at once.
            keeping.caller = keeping.caller.without_place();
        }
        let turn = Turn {
            keeping,
            endpoint,
            before: body.before,
            input: rows(&input),
            is_stored,
            is_background: body.background,
        };
        Ok((decoded, Some(turn)))
    }

    /// Counts the tokens of a prompt, with the conversation that it goes on from.
    ///
    /// # Errors
    /// The decoder's, or there is no such conversation or model.
    pub(crate) fn count(&self, body: &[u8], generate: &dyn Generate) -> Result<Answer, ApiError> {
        let mut all_held = None;
        count_response(body, generate, |before| {
            let (items, held) = self.earlier(before)?;
            all_held = Some(held);
            Ok(items)
        })
    }

    /// What comes before; it counts as a body while it is held.
    fn earlier(&self, before: &Before) -> Result<(Vec<Value>, Held), ApiError> {
        match before {
            Before::Response(id) => self.turns_to(id),
            Before::Conversation(id) => {
                let items = self.kept.store.all_items(&self.caller.owner(), id);
                let items = items.map_err(|error| match error {
                    StoreError::Unknown { id } => unknown_conversation(&id),
                    other => refused(other).with_param("conversation"),
                })?;
                let held = self.bodies.hold(items.iter().map(|row| row.item.len()).sum())?;
                Ok((items.iter().map(conversations::item).collect(), held))
            }
        }
    }

    /// The items of the turns to the answer with this id.
    fn turns_to(&self, id: &str) -> Result<(Vec<Value>, Held), ApiError> {
        let about = |error: ApiError| error.with_param("previous_response_id");
        let turns = self.kept.store.conversation(&self.caller.owner(), id);
        let turns = turns.map_err(|error| match error {
            StoreError::Unknown { id } => {
                let message = format!("the previous response `{id}` is not here");
                about(ApiError::new(404, message).with_code("previous_response_not_found"))
            }
            other => about(refused(other)),
        })?;
        let last = turns.last().map_or("", |turn| turn.status.as_str());
        if !matches!(last, "completed" | "incomplete") {
            let message = format!("the previous response `{id}` is {last}, and has no answer");
            let error = ApiError::new(400, message).with_code("previous_response_not_complete");
            return Err(about(error));
        }
        if let Some(conversation) = turns.last().and_then(conversation_of) {
            let message = format!(
                "the previous response `{id}` is one of the conversation `{conversation}`: go on \
                 with that"
            );
            return Err(about(ApiError::new(400, message).with_code("response_in_conversation")));
        }
        let held = self.bodies.hold(n_bytes(&turns))?;
        Ok((turns.iter().flat_map(|turn| items(turn).chain(output(turn))).collect(), held))
    }
}

fn unknown_conversation(id: &str) -> ApiError {
    let message = format!("the conversation `{id}` is not here");
    ApiError::new(404, message).with_code("conversation_not_found").with_param("conversation")
}

/// Whether items can be added to those of a conversation.
fn check_new(earlier: &[Value], input: &[Value]) -> Result<(), ApiError> {
    let taken: HashSet<&str> = earlier.iter().filter_map(|item| item["id"].as_str()).collect();
    let ids = input.iter().filter_map(|item| item["id"].as_str());
    match ids.into_iter().find(|id| taken.contains(id)) {
        Some(id) => Err(refused_items(StoreError::Exists { id: id.to_owned() }, "input")),
        None => Ok(()),
    }
}

fn n_bytes(turns: &[ResponseRow]) -> usize {
    turns.iter().map(|turn| turn.input.len() + turn.body.len()).sum()
}

/// The conversation that a turn was added to: what came before it is there, and not in turns.
fn conversation_of(turn: &ResponseRow) -> Option<String> {
    let body: Value = serde_json::from_str(&turn.body).ok()?;
    body["conversation"]["id"].as_str().map(str::to_owned)
}

/// What was given in a turn.
fn items(turn: &ResponseRow) -> impl Iterator<Item = Value> + use<> {
    let items: Vec<Value> = serde_json::from_str(&turn.input).unwrap_or_default();
    items.into_iter()
}

/// What was answered.
fn output(turn: &ResponseRow) -> impl Iterator<Item = Value> + use<> {
    let body: Value = serde_json::from_str(&turn.body).unwrap_or_default();
    let output = body.get("output").and_then(Value::as_array).cloned();
    output.unwrap_or_default().into_iter()
}

impl Turn {
    /// Follows an answer; the events that are returned are the same, the last of them after the
    /// answer is kept.
    ///
    /// # Errors
    /// What is to be kept is more than the owner's share, or the store cannot be written.
    pub(crate) fn follow(
        self,
        events: Events,
        meta: CallMeta,
        form: Form,
    ) -> Result<Followed, ApiError> {
        let (hearer, followed) = if self.is_background {
            let live = Arc::new(Live::new(meta.clone(), form.clone()));
            let queued = encode_queued(&meta, &form);
            let running = &self.keeping.running;
            // First, so that the row is never one that nobody works on.
            running.add(&live);
            self.add(&meta, Progress::new("queued", queued.to_string())).map_err(|error| {
                running.remove(&meta.id);
                refused(error)
            })?;
            let listener = Listener::new(Arc::clone(&live));
            (Hearer::Whoever(live), Followed::Later { queued, listener })
        } else {
            // What cannot be kept is refused before it is computed.
            self.check_share().map_err(refused)?;
            let (sender, followed) = serve::channel();
            (Hearer::Asker(sender), Followed::Now(followed))
        };
        let follow = Follow { turn: self, meta, form, hearer };
        tokio::runtime::Handle::current().spawn(follow.run(events));
        Ok(followed)
    }

    fn check_share(&self) -> Result<(), StoreError> {
        let Keeping { kept: Kept { store, rules, .. }, caller, .. } = &self.keeping;
        let n_bytes = self.input.iter().map(|row| row.item.len() as u64).sum();
        store.check_response(&caller.owner(), n_bytes, rules.responses_bytes_max)
    }

    /// What an answer adds to its conversation.
    fn said(&self, body: &Value) -> Option<NewItems> {
        let Some(Before::Conversation(conversation)) = &self.before else { return None };
        let mut items = self.input.clone();
        items.extend(rows(body["output"].as_array().map_or(&[], Vec::as_slice)));
        Some(NewItems { conversation: conversation.clone(), items })
    }

    fn add(&self, meta: &CallMeta, progress: Progress) -> Result<(), StoreError> {
        let Progress { status, body, pieces, said } = progress;
        let Keeping { kept, running, caller, .. } = &self.keeping;
        let quota = kept.rules.responses_bytes_max;
        if !self.is_stored {
            let add = |said| kept.store.add_items(&caller.owner(), said, quota);
            return said.map_or(Ok(()), add);
        }
        let previous = match &self.before {
            Some(Before::Response(id)) => Some(id.clone()),
            _ => None,
        };
        let input: Vec<&str> = self.input.iter().map(|row| row.item.as_str()).collect();
        let new = NewResponse {
            id: meta.id.clone(),
            owner: caller.owner(),
            previous,
            status: status.to_owned(),
            runner: running.id().to_owned(),
            created_at: now(),
            input: format!("[{}]", input.join(",")),
            body,
            pieces,
            said,
        };
        kept.store.add_response(new, quota)
    }
}

/// How a client hears of an answer that is followed.
pub(crate) enum Followed {
    /// It waits.
    Now(Events),
    /// It comes back, with the body that it is given at once; or it listens.
    Later { queued: Value, listener: Listener },
}

/// An answer under way that is to be kept.
struct Follow {
    turn: Turn,
    meta: CallMeta,
    form: Form,
    hearer: Hearer,
}

/// Who hears of an answer.
enum Hearer {
    /// Who asked for it, and cancels it by going away.
    Asker(EventSender),
    /// Whoever asks for its stream while it is made.
    Whoever(Arc<Live>),
}

impl Hearer {
    fn say(&self, event: Event) {
        match self {
            Self::Asker(sender) => sender.send(event),
            Self::Whoever(live) => live.say(event),
        }
    }

    fn is_there(&self) -> bool {
        match self {
            Self::Asker(sender) => !sender.is_closed(),
            Self::Whoever(live) => !live.is_cancelled(),
        }
    }
}

impl Follow {
    async fn run(self, mut events: Events) {
        let this = Arc::new(self);
        let (mut reply, mut pieces) = (Reply::default(), Pieces::default());
        let mut is_told = false;
        let mut look = tokio::time::interval(LOOK);
        while this.hearer.is_there() {
            let event = tokio::select! {
                event = poll_fn(|context| events.poll_recv(context)) => event,
                _ = look.tick() => continue,
            };
            let broken = || Event::Failed(serve::Error::Internal("the answer broke off".into()));
            let event = event.unwrap_or_else(broken);
            let is_last = matches!(event, Event::Done { .. } | Event::Failed(_));
            // A failure is kept below.
            drop(reply.push(event.clone()));
            if this.turn.is_background {
                pieces.push(&event, &reply);
            }
            match this.keep(&event, &reply, &pieces).await {
                // Cancelled or deleted meanwhile, also where it has come to its end.
                Ok(false) => break,
                Ok(true) => {
                    this.hearer.say(event);
                    is_told = is_last;
                }
                // Nobody could ever fetch it, so nothing more is computed.
                Err(error) => {
                    let error = unkept(error);
                    this.note_failure(&error).await;
                    this.hearer.say(Event::Failed(error));
                    is_told = true;
                    break;
                }
            }
            if is_last {
                break;
            }
        }
        // Dropping the events cancels the request, where it has not ended.
        if let Hearer::Whoever(live) = &this.hearer {
            if !is_told {
                live.say(Event::Failed(serve::Error::Cancelled));
            }
            this.turn.keeping.running.remove(&this.meta.id);
            live.close();
        }
    }

    /// Keeps what an event changes; false where the response was cancelled or deleted meanwhile,
    /// which stands.
    async fn keep(
        self: &Arc<Self>,
        event: &Event,
        reply: &Reply,
        pieces: &Pieces,
    ) -> Result<bool, StoreError> {
        let is_background = self.turn.is_background;
        let (meta, form) = (&self.meta, &self.form);
        let progress = match event {
            Event::Done { .. } => {
                let body = (self.turn.endpoint.whole)(meta, reply, form);
                let is_cut = body["status"] == "incomplete";
                Progress {
                    status: if is_cut { "incomplete" } else { "completed" },
                    said: self.turn.said(&body),
                    body: body.to_string(),
                    pieces: serde_json::to_string(pieces).unwrap_or_default(),
                }
            }
            Event::Started { .. } if is_background => {
                Progress::new("in_progress", encode_in_progress(meta, form).to_string())
            }
            Event::Failed(error) if is_background => self.failure(error),
            _ => return Ok(true),
        };
        if is_background {
            return self.note(progress).await;
        }
        let this = Arc::clone(self);
        let kept = tokio::task::spawn_blocking(move || this.turn.add(&this.meta, progress));
        kept.await.unwrap_or(Err(StoreError::Closed)).map(|()| true)
    }

    fn failure(&self, error: &serve::Error) -> Progress {
        let body = encode_failed(&self.meta, &self.form, &error.to_string());
        Progress::new("failed", body.to_string())
    }

    /// Says how far an answer in the background is.
    async fn note(self: &Arc<Self>, progress: Progress) -> Result<bool, StoreError> {
        let this = Arc::clone(self);
        let noted = tokio::task::spawn_blocking(move || {
            let Kept { store, rules, .. } = &this.turn.keeping.kept;
            store.move_response(&this.meta.id, progress, rules.responses_bytes_max)
        });
        noted.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Says of an answer in the background why it has none. Where that fails too, the next sweep
    /// finds a response that nobody works on.
    async fn note_failure(self: &Arc<Self>, error: &serve::Error) {
        if self.turn.is_background
            && let Err(error) = self.note(self.failure(error)).await
        {
            tracing::error!(%error, "the end of a response could not be kept");
        }
    }
}

/// Why an answer ends that cannot be kept.
fn unkept(error: StoreError) -> serve::Error {
    let param = match error {
        StoreError::Quota { .. } => Some("store"),
        // Deleted, or added to by somebody who chose the same id, while it was computed.
        StoreError::Unknown { .. } | StoreError::Exists { .. } => Some("conversation"),
        _ => None,
    };
    let message = format!("the answer was not kept: {}", refused(error).message);
    match param {
        Some(param) => serve::Error::invalid(param, message),
        None => serve::Error::Internal(message),
    }
}

/// `GET /v1/responses/{id}`.
pub(crate) async fn read(
    State(keeper): State<Keeper>,
    Asker { caller, id }: Asker,
    Path(response): Path<String>,
    uri: Uri,
) -> Response {
    let owner = caller.owner();
    let found = async {
        let asked = read_retrieval(list::pairs(&uri)?)?;
        let store = keeper.kept()?.store.clone();
        let find = move || store.response(&owner, &response).map_err(refused);
        let row = respond::computed(find.clone()).await?;
        let mut answer = if !asked.stream {
            respond::json_text(StatusCode::OK, row.body)
        } else if let Some(live) = keeper.running.get(&row.id) {
            let encoder = ResponseStream::new(live.meta.clone(), live.form.clone());
            let encoder = Box::new(encoder.after(asked.after));
            let heartbeat = keeper.config.heartbeat;
            let body = EventBody::new(None, Listener::new(live), encoder, heartbeat);
            streamed(Dialect::OpenAi, Body::new(body))
        } else {
            let bodies = keeper.bodies.clone();
            let again = respond::computed(move || {
                // Its end may have come since.
                let row = find()?;
                let held = bodies.hold(row.body.len())?;
                Ok(ToldAgain { replay: told_again(&row, asked.after)?, _held: held })
            });
            streamed(Dialect::OpenAi, Body::new(Content::unmeasured(again.await?)))
        };
        respond::list_ignored(&mut answer, &asked.ignored);
        Ok(answer)
    };
    answered(found.await, &id)
}

/// The stream of an answer that has its end, which counts as a body.
struct ToldAgain {
    replay: Replay,
    _held: Held,
}

impl Read for ToldAgain {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.replay.read(into)
    }
}

fn told_again(row: &ResponseRow, after: Option<u64>) -> Result<Replay, ApiError> {
    let body = body_of(row)?;
    if matches!(row.status.as_str(), "queued" | "in_progress") {
        let why = "the answer is not made here and has no end yet; ask again later";
        return Err(ApiError::not_supported("stream", why));
    }
    if after.is_some() && body["background"] != true {
        let why = "only the events of a response in the background keep their numbers";
        return Err(ApiError::not_supported("starting_after", why));
    }
    let pieces = serde_json::from_str(&row.pieces).unwrap_or_default();
    Ok(Replay::new(body, pieces, after))
}

fn body_of(row: &ResponseRow) -> Result<Value, ApiError> {
    serde_json::from_str(&row.body).map_err(|error| ApiError::new(500, error.to_string()))
}

/// `DELETE /v1/responses/{id}`.
pub(crate) async fn delete(
    State(keeper): State<Keeper>,
    Asker { caller, id }: Asker,
    Path(response): Path<String>,
) -> Response {
    let owner = caller.owner();
    let deleted = async {
        let store = keeper.kept()?.store.clone();
        let body = json!({"id": response, "object": "response", "deleted": true});
        let name = response.clone();
        respond::computed(move || store.delete_response(&owner, &response).map_err(refused))
            .await?;
        keeper.running.cancel(&name);
        Ok(respond::json(StatusCode::OK, &body))
    };
    answered(deleted.await, &id)
}

/// `GET /v1/responses/{id}/input_items`: all that the answer was given, the turns before it too; of
/// one in a conversation what was given beyond that.
pub(crate) async fn input_items(
    State(keeper): State<Keeper>,
    Asker { caller, id }: Asker,
    Path(response): Path<String>,
    uri: Uri,
) -> Response {
    let owner = caller.owner();
    let listed = async {
        let asked = list::asked(&uri, list::DEFAULT, list::MAX)?;
        let store = keeper.kept()?.store.clone();
        let turns =
            respond::computed(move || store.conversation(&owner, &response).map_err(refused));
        let turns = turns.await?;
        let _held = keeper.bodies.hold(n_bytes(&turns))?;
        let n_before = turns.len().saturating_sub(1);
        let mut all: Vec<Value> = Vec::new();
        for (place, turn) in turns.iter().enumerate() {
            all.extend(items(turn));
            all.extend(output(turn).filter(|_| place < n_before));
        }
        if asked.newest_first {
            all.reverse();
        }
        let from = match &asked.after {
            None => 0,
            Some(after) => {
                let at = all.iter().position(|item| item["id"] == after.as_str());
                at.ok_or_else(|| refused(StoreError::Unknown { id: after.clone() }))? + 1
            }
        };
        let has_more = all.len() - from > asked.limit;
        let part = all.into_iter().skip(from).take(asked.limit).collect();
        let mut response = respond::json(StatusCode::OK, &encode_list(part, has_more));
        respond::list_ignored(&mut response, &names(asked.others));
        Ok(response)
    };
    answered(listed.await, &id)
}

/// `POST /v1/responses/{id}/cancel`.
pub(crate) async fn cancel(
    State(keeper): State<Keeper>,
    Asker { caller, id }: Asker,
    Path(response): Path<String>,
) -> Response {
    let owner = caller.owner();
    let done = async {
        let kept = keeper.kept()?.clone();
        let name = response.clone();
        let body = respond::computed(move || {
            let body = body_of(&kept.store.response(&owner, &response).map_err(refused)?)?;
            if body["background"] != true {
                let message = "only a response in the background can be cancelled";
                return Err(ApiError::new(400, message).with_code("response_not_cancellable"));
            }
            let quota = kept.rules.responses_bytes_max;
            let end = Progress::new("cancelled", cancelled(body).to_string());
            kept.store.move_response(&response, end, quota).map_err(refused)?;
            // What stands now: where it had ended before, that.
            body_of(&kept.store.response(&owner, &response).map_err(refused)?)
        });
        let body = body.await?;
        keeper.running.cancel(&name);
        Ok(respond::json(StatusCode::OK, &body))
    };
    answered(done.await, &id)
}
