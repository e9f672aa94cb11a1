//! From what a person writes for MODEL to a path that can be opened.

use anyhow::Result;
use hub::{Hub, HubConfig, HubError, HubKind, LocalModel, Progress};
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// Finds models, and keeps what it found from being removed while this process runs.
pub(crate) struct Locator {
    hub: Hub,
    leases: RefCell<Vec<LocalModel>>,
}

impl Locator {
    /// Over the data folder `home` and the hub `hub`, or the default ones.
    pub(crate) fn new(home: Option<&Path>, hub: Option<HubKind>) -> Result<Locator> {
        let mut config = HubConfig::from_env()?;
        if let Some(home) = home {
            config.home = home.to_path_buf();
        }
        if let Some(hub) = hub {
            config.hub = hub;
        }
        Ok(Locator { hub: Hub::new(config), leases: RefCell::default() })
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.hub
    }

    /// The path of a model that is on this machine.
    pub(crate) fn path(&self, model: &str) -> Result<PathBuf> {
        let reference = self.hub.reference(model)?;
        let local = self.hub.resolve(&reference)?;
        Ok(self.keep(local))
    }

    /// The licence that the hub or the catalogue tells, for a model of the data folder.
    pub(crate) fn licence(&self, model: &str) -> Option<String> {
        let local = self.hub.resolve(&self.hub.reference(model).ok()?).ok()?;
        local.manifest?.licence
    }

    /// The path of a model, which is pulled first where it is not on this machine.
    pub(crate) fn path_or_pull(&self, model: &str, progress: &dyn Progress) -> Result<PathBuf> {
        let reference = self.hub.reference(model)?;
        match self.hub.resolve(&reference) {
            Ok(local) => Ok(self.keep(local)),
            Err(HubError::NotLocal { .. }) => Ok(self.keep(self.hub.pull(&reference, progress)?)),
            Err(error) => Err(error.into()),
        }
    }

    /// Brings a model to this machine.
    pub(crate) fn pull(&self, model: &str, progress: &dyn Progress) -> Result<LocalModel> {
        let reference = self.hub.reference(model)?;
        Ok(self.hub.pull(&reference, progress)?)
    }

    fn keep(&self, local: LocalModel) -> PathBuf {
        let path = local.path.clone();
        self.leases.borrow_mut().push(local);
        path
    }
}
