//! The models of a server as one caller may see and use them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serve::{
    CallRecord, Clock, Error, Events, Generate, Listed, ModelCard, ModelDetails, Request, Status,
    TextModel, Usage, Watch, observed,
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
        if self.caller.grant.as_ref().is_none_or(|grant| grant.key.models.is_empty()) {
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

    fn is_at_hand(&self, model: &str) -> bool {
        self.check(model).is_ok() && self.generate.is_at_hand(model)
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
        match &self.caller.grant {
            Some(grant) => observed(&*self.generate, request, Charge::new(Arc::clone(grant))),
            None => self.generate.submit(request),
        }
    }
}

/// Counts the tokens of one request at its key's expense: those of the prompt when it is begun,
/// the others as they are drawn, so those of an answer that its reader left too.
#[derive(Debug)]
struct Charge {
    grant: Arc<Grant>,
    /// What was charged.
    prompt: AtomicU64,
    completion: AtomicU64,
}

impl Charge {
    fn new(grant: Arc<Grant>) -> Arc<Self> {
        Arc::new(Self { grant, prompt: AtomicU64::new(0), completion: AtomicU64::new(0) })
    }

    /// Charges what is missing to a count so far.
    fn charge_up_to(&self, charged: &AtomicU64, count: usize) {
        let count = count as u64;
        let before = charged.fetch_max(count, Ordering::Relaxed);
        self.charge(count.saturating_sub(before));
    }

    fn charge(&self, tokens: u64) {
        if tokens > 0 {
            self.grant.meter.charge(tokens, self.grant.clock.now());
        }
    }
}

impl Watch for Charge {
    fn began(&self, prompt_tokens: usize, _queued: Duration) {
        self.charge_up_to(&self.prompt, prompt_tokens);
    }

    fn token(&self, _since: Duration, _gap: Option<Duration>) {
        self.completion.fetch_add(1, Ordering::Relaxed);
        self.charge(1);
    }

    fn used(&self, usage: &Usage) {
        self.charge_up_to(&self.prompt, usage.prompt_tokens);
        self.charge_up_to(&self.completion, usage.completion_tokens);
    }

    fn ended(&self, record: CallRecord) {
        self.used(&record.usage);
    }
}
