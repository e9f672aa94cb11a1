//! Computed prefixes on disk: where they lie, for which model, and what is said about it.

use crate::cli::{Sparing, Switch};
use crate::locate::Locator;
use crate::output::{bytes, say};
use anyhow::{Context as _, Result, ensure};
use engine::BlockStore;
use hub::Home;
use model::{LoadOptions, Model};
use serve::{AdapterDigests, PrefixStore, PrefixStoreOptions};
use std::path::Path;
use weights::Checkpoint;

/// Whether and where prefixes outlive the process.
pub(crate) struct PrefixUse {
    home: Home,
    quota: Option<u64>,
}

impl PrefixUse {
    /// As the flags say; nothing is kept without a quota.
    pub(crate) fn new(locator: &Locator, sparing: &Sparing) -> Result<PrefixUse> {
        let quota = sparing.prefix_disk;
        let is_off = sparing.prefix_cache == Switch::Off;
        ensure!(!is_off || quota.is_none(), "--prefix-disk needs --prefix-cache on");
        Ok(PrefixUse { home: locator.hub().home().clone(), quota })
    }

    /// The store for a model, if there is to be one. Where it cannot be had, that is
    /// said, and everything works without.
    pub(crate) fn open(
        &self,
        path: &Path,
        checkpoint: &Checkpoint,
        model: &Model,
        options: &LoadOptions,
        adapters: AdapterDigests,
    ) -> Result<Option<Box<dyn BlockStore>>> {
        let Some(quota_bytes) = self.quota else { return Ok(None) };
        let Some(model) = model::prefix_key(checkpoint, model, options) else {
            say(format_args!("prefixes are not kept: the system does not tell when files changed"));
            return Ok(None);
        };
        let Some(folder) = self.home.take_prefixes(path)? else {
            say(format_args!("prefixes are not kept: another process keeps those of this model"));
            return Ok(None);
        };
        let on_failure = |error: &std::io::Error| {
            say(format_args!("prefixes are kept no longer: cannot write them: {error}"));
        };
        let place = folder.path().to_path_buf();
        let store = PrefixStore::open(PrefixStoreOptions {
            folder: place.clone(),
            lease: Box::new(folder),
            model,
            adapters,
            quota_bytes,
            on_failure: Box::new(on_failure),
        });
        let at = || format!("cannot open the prefixes in {}", place.display());
        let store = store.with_context(at)?;
        say(format_args!(
            "prefixes: {} of at most {} in {}",
            bytes(store.bytes()),
            bytes(quota_bytes),
            place.display()
        ));
        Ok(Some(Box::new(store)))
    }
}
