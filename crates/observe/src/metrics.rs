//! What is counted, and how a scrape reads it.

mod models;
mod process;
mod server;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use serve::Status;

pub(crate) use models::{ModelMetrics, Told};
pub(crate) use process::started;
pub(crate) use server::ServerMetrics;

use crate::exposition::Page;

/// All counts of a server.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// By listed name. Only names of models that are there come in, so clients cannot make series.
    models: RwLock<BTreeMap<String, Arc<ModelMetrics>>>,
    pub(crate) server: ServerMetrics,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self { models: RwLock::default(), server: ServerMetrics::new() }
    }

    /// The counts of a model, by its listed name.
    pub(crate) fn model(&self, listed: &str) -> Arc<ModelMetrics> {
        let known = self.models.read().unwrap_or_else(PoisonError::into_inner).get(listed).cloned();
        known.unwrap_or_else(|| {
            let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(models.entry(listed.to_owned()).or_default())
        })
    }

    /// The page, with what the models tell of themselves.
    pub(crate) fn page(
        &self,
        status: &Status,
        is_shown: &dyn Fn(&str) -> bool,
        gauges: &[(&str, &str, u64)],
    ) -> String {
        let mut page = Page::default();
        let models: Vec<(String, Arc<ModelMetrics>)> = {
            let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
            let shown = models.iter().filter(|(name, _)| is_shown(name));
            shown.map(|(name, model)| (name.clone(), Arc::clone(model))).collect()
        };
        models::write_engines(&mut page, status);
        models::write_requests(&mut page, &models);
        models::write_fleet(&mut page, status);
        self.server.write(&mut page, gauges);
        process::write(&mut page);
        page.finish()
    }
}
