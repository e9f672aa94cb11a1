//! The scripted model of the tests behind the real server, for the suites of clients that know one
//! address and send the names of other models: whatever model is asked for, it answers. Models that
//! are named on the command line are listed too. What it keeps is in a folder that ends with it.
//!
//! Prints the address on a line and ends with its standard input.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../tests/gateway/scripted.rs"]
mod scripted;

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use serve::{Error, Events, Generate, ModelCard, ModelDetails, Request, TextModel};

use scripted::{Scripted, config, start_keeping_by};

const MODEL: &str = "own/script";

/// The scripted model under every name, and the names under which it is listed too.
struct AnyName(Scripted, Vec<String>);

impl Generate for AnyName {
    fn models(&self) -> Vec<ModelCard> {
        let own = self.0.models();
        let named = |id: &String| ModelCard { id: id.clone(), ..own[0].clone() };
        own.iter().cloned().chain(self.1.iter().map(named)).collect()
    }

    fn details(&self, _model: &str) -> Result<ModelDetails, Error> {
        self.0.details(MODEL)
    }

    fn text(&self, _model: &str) -> Result<Arc<dyn TextModel>, Error> {
        self.0.text(MODEL)
    }

    fn submit(&self, request: Request) -> Result<Events, Error> {
        self.0.submit(Request { model: MODEL.to_owned(), ..request })
    }
}

fn main() {
    let patient = Duration::from_secs(30);
    let config = gateway::Config { head_timeout: patient, body_timeout: patient, ..config() };
    let scripted = Scripted::default();
    let counts = (Arc::clone(&scripted.n_running), Arc::clone(&scripted.n_cancelled));
    let model = AnyName(scripted, std::env::args().skip(1).collect());
    let folder = tempfile::tempdir().unwrap();
    let server = start_keeping_by(config, folder.path(), Arc::new(model), counts);
    println!("http://{}", server.address);
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}
