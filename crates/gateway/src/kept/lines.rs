//! The models as lines of batches ask them: by what the owner's key may do now, and counted and
//! recorded as calls that come by HTTP are.

use std::sync::Arc;

use ::observe::{Origin, Telemetry};
use batch::Models;
use serve::{Error, Events, Generate, Listed, ModelCard, ModelDetails, Request, Status, TextModel};
use store::Store;

use crate::keys::owner_may;
use crate::observe;

/// What lines are in logs and records, where calls by HTTP have a path.
const ROUTE: &str = "batch";

/// The models for lines of batches: the key of a line's owner must still be good, and for the
/// model. Limits of keys are for those who wait for answers, so lines do not count there.
#[must_use]
pub fn models_of_lines(
    store: Arc<Store>,
    generate: Arc<dyn Generate>,
    telemetry: Arc<Telemetry>,
) -> Box<Models> {
    Box::new(move |task| {
        let listed = generate.resolve(task.model());
        let model = listed.as_ref().map_or(task.model(), |listed| &listed.id);
        let key = owner_may(&store, &task.owner, model)?;
        let origin = Origin {
            request_id: task.request_id(),
            route: ROUTE.to_owned(),
            method: None,
            traceparent: None,
        };
        let (generate, telemetry) = (Arc::clone(&generate), Arc::clone(&telemetry));
        Ok(Arc::new(Recorded { generate, telemetry, origin, key }))
    })
}

/// Models whose calls are told of.
struct Recorded {
    generate: Arc<dyn Generate>,
    telemetry: Arc<Telemetry>,
    origin: Origin,
    /// The name of the key that asks.
    key: Option<String>,
}

impl Generate for Recorded {
    fn models(&self) -> Vec<ModelCard> {
        self.generate.models()
    }

    fn names(&self) -> Vec<String> {
        self.generate.names()
    }

    fn resolve(&self, name: &str) -> Option<Listed> {
        self.generate.resolve(name)
    }

    fn status(&self) -> Status {
        self.generate.status()
    }

    fn details(&self, model: &str) -> Result<ModelDetails, Error> {
        self.generate.details(model)
    }

    fn text(&self, model: &str) -> Result<Arc<dyn TextModel>, Error> {
        self.generate.text(model)
    }

    fn submit(&self, request: Request) -> Result<Events, Error> {
        let exchange = self.telemetry.begin(self.origin.clone());
        if let Some(key) = &self.key {
            exchange.set_key(key);
        }
        observe::submit(&*self.generate, request, Some(&exchange))
    }
}
