//! From what a person writes for MODEL to a path that can be opened.

use anyhow::Result;
use hub::{Hub, HubConfig, HubError, HubKind, LocalModel, Progress};
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// What a person means by MODEL or MODEL+ADAPTER.
#[derive(Debug, Clone)]
pub(crate) struct Found<'a> {
    /// The model as it was typed, without its adapter.
    pub(crate) model: &'a str,
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// The adapter on top of it: a PEFT folder or a GGUF file.
    pub(crate) adapter: Option<PathBuf>,
}

/// Splits MODEL+ADAPTER where what follows a `+` is a path that exists. A `+` may stand in the
/// names of both, so a text that is a path by itself is no pair, and the first split counts.
fn split(text: &str) -> (&str, Option<PathBuf>) {
    if Path::new(text).exists() {
        return (text, None);
    }
    let pluses = text.char_indices().filter(|(at, c)| *c == '+' && *at > 0);
    let pair = |(at, _)| {
        let adapter = Path::new(&text[at + 1..]);
        adapter.exists().then(|| (&text[..at], Some(adapter.to_path_buf())))
    };
    pluses.filter_map(pair).next().unwrap_or((text, None))
}

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

    /// A model that is on this machine, and perhaps an adapter.
    pub(crate) fn find<'a>(&self, text: &'a str) -> Result<Found<'a>> {
        let (model, adapter) = split(text);
        Ok(Found { model, path: self.path(model)?, adapter })
    }

    /// As [`Locator::find`], of a model that is pulled first where it is not on this machine.
    pub(crate) fn find_or_pull<'a>(
        &self,
        text: &'a str,
        progress: &dyn Progress,
    ) -> Result<Found<'a>> {
        let (model, adapter) = split(text);
        Ok(Found { model, path: self.path_or_pull(model, progress)?, adapter })
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

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn a_plus_before_a_path_that_exists_begins_an_adapter() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        for name in ["a+b.gguf", "mine", "c+d"] {
            std::fs::write(path(name), "").expect("written");
        }
        let (whole, mine, plus) = (path("a+b.gguf"), path("mine"), path("c+d"));
        assert_eq!(split(&whole), (whole.as_str(), None));
        for (base, adapter) in [("qwen3:0.6b", &mine), ("owner/repo:Q8_0", &plus), (&whole, &plus)]
        {
            let text = format!("{base}+{adapter}");
            assert_eq!(split(&text), (base, Some(adapter.into())), "{text}");
        }
        for text in ["qwen3:0.6b+nowhere", "+mine", "qwen3+", ""] {
            assert_eq!(split(text), (text, None));
        }
    }
}
