//! The models of a server as one caller may see and use them.

use std::sync::Arc;

use serve::{
    Clock, Delta, Error, Event, Events, Generate, Listed, ModelCard, ModelDetails, Request, Status,
    Tap, TextModel,
};

use crate::keys::{Caller, Grant};

/// The models that a caller may ask: others do not exist for it. What it asks is its tenant's, and
/// its tokens are counted.
pub(crate) struct View {
    generate: Arc<dyn Generate>,
    caller: Caller,
}

impl View {
    pub(crate) fn new(generate: Arc<dyn Generate>, caller: Caller) -> Self {
        Self { generate, caller }
    }

    /// Checks that the model is one of the caller's, by its listed name.
    fn check(&self, model: &str) -> Result<(), Error> {
        if self.caller.grant.as_ref().is_none_or(|grant| grant.models.is_empty()) {
            return Ok(());
        }
        match self.generate.resolve(model).filter(|listed| self.caller.may_ask(&listed.id)) {
            Some(_) => Ok(()),
            None => {
                let available = self.names().join(", ");
                Err(Error::UnknownModel { model: model.to_owned(), available })
            }
        }
    }
}

impl Generate for View {
    fn models(&self) -> Vec<ModelCard> {
        let mut models = self.generate.models();
        models.retain(|card| self.caller.may_ask(&card.id));
        models
    }

    fn names(&self) -> Vec<String> {
        let mut names = self.generate.names();
        names.retain(|name| self.caller.may_ask(name));
        names
    }

    fn resolve(&self, name: &str) -> Option<Listed> {
        self.generate.resolve(name).filter(|listed| self.caller.may_ask(&listed.id))
    }

    fn status(&self) -> Status {
        let mut status = self.generate.status();
        status.models.retain(|model| self.caller.may_ask(&model.model));
        status
    }

    fn details(&self, model: &str) -> Result<ModelDetails, Error> {
        self.check(model)?;
        self.generate.details(model)
    }

    fn text(&self, model: &str) -> Result<Arc<dyn TextModel>, Error> {
        self.check(model)?;
        self.generate.text(model)
    }

    fn submit(&self, mut request: Request) -> Result<Events, Error> {
        self.check(&request.model)?;
        request.tenant = self.caller.tenant;
        let events = self.generate.submit(request)?;
        Ok(match &self.caller.grant {
            Some(grant) => events.tapped(Charge { grant: Arc::clone(grant), n_pieces: 0 }),
            None => events,
        })
    }
}

/// Counts the tokens of one request: those of the prompt when it is begun, those of the answer at
/// its end. Of an answer that its reader left, each piece that was read counts as one.
#[derive(Debug)]
struct Charge {
    grant: Arc<Grant>,
    n_pieces: u64,
}

impl Charge {
    fn charge(&self, tokens: u64) {
        self.grant.meter.charge(tokens, self.grant.clock.now());
    }
}

impl Tap for Charge {
    fn see(&mut self, event: &Event) {
        match event {
            Event::Started { prompt_tokens, .. } => self.charge(*prompt_tokens as u64),
            Event::Done { usage, .. } => {
                self.n_pieces = 0;
                self.charge(usage.completion_tokens as u64);
            }
            Event::Delta { delta, .. } => self.n_pieces += n_tokens(delta),
            Event::Prompt { .. }
            | Event::Embedding { .. }
            | Event::Score { .. }
            | Event::Finished { .. }
            | Event::Failed(_) => {}
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.charge(self.n_pieces);
    }
}

/// Tokens of a piece, as far as it tells.
fn n_tokens(delta: &Delta) -> u64 {
    match delta {
        Delta::Text { tokens, .. } => tokens.len().max(1) as u64,
        _ => 1,
    }
}
