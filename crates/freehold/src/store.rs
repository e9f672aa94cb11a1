//! The store of the data folder.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use store::Store;

use crate::locate::Locator;

/// Its file in the data folder.
const FILE: &str = "store.sqlite";

/// Where it lies.
pub(crate) fn path(locator: &Locator) -> PathBuf {
    locator.hub().home().root().join(FILE)
}

/// Opens the store, which is made where there is none.
pub(crate) fn open(locator: &Locator) -> Result<Arc<Store>> {
    Ok(Arc::new(Store::open(&path(locator))?))
}
