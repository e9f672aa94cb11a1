//! The store of the data folder.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use store::Store;

use crate::locate::Locator;
use crate::output::say;

/// Where it lies.
pub(crate) fn path(locator: &Locator) -> PathBuf {
    locator.hub().home().root().join("store.sqlite")
}

/// Opens the store, which is made where there is none.
pub(crate) fn open(locator: &Locator) -> Result<Arc<Store>> {
    Ok(Arc::new(Store::open(&path(locator))?))
}

/// The same for a server, which answers without a store too, where there never was one: the disk
/// may be full or read-only. One that is there and cannot be read may have keys, so it must be.
pub(crate) fn open_if_possible(locator: &Locator) -> Result<Option<Arc<Store>>> {
    match open(locator) {
        Ok(store) => Ok(Some(store)),
        Err(error) if path(locator).exists() => Err(error),
        Err(error) => {
            say(format_args!("warning: {error}; files, batches, responses and calls are not kept"));
            Ok(None)
        }
    }
}
