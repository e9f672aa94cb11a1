//! Finding a model on this machine, without a network.

use std::path::{Path, PathBuf};

use crate::catalogue;
use crate::config::HubKind;
use crate::error::HubError;
use crate::foreign::{huggingface, ollama};
use crate::home::Removed;
use crate::local::{LocalModel, Origin};
use crate::manifest::{IMPORTED, LOCAL, Manifest, ModelKey, URL};
use crate::pull::{Goal, Hub, Place};
use crate::reference::{ModelRef, Pick, RepoRef};
use crate::select::{answers, preferred, select};
use crate::source::direct;
use crate::suggest;

/// Most models of the home that a hint names.
const HINTED_MAX: usize = 8;

impl Hub {
    /// Finds a model on this machine: a path, a model of the home, one in the cache of the
    /// Hugging Face libraries, or one in Ollama's store, in this order.
    ///
    /// # Errors
    /// [`HubError::NotLocal`] says what can be done; [`HubError::NotFound`] for a path that is
    /// not there; [`HubError::Damaged`] if files of the home are gone.
    pub fn resolve(&self, model: &ModelRef) -> Result<LocalModel, HubError> {
        if let ModelRef::Path(path) = model {
            return resolve_path(path);
        }
        if let Some(key) = self.key_in_home(model)?
            && let Some(local) = self.home.open(&key)?
        {
            return Ok(local);
        }
        if let Some(local) = self.in_caches(model) {
            return Ok(local);
        }
        let mut hints = vec![format!("fetch it: freehold pull {model}")];
        hints.extend(self.home_hint());
        if let ModelRef::Name { name, tag } = model
            && catalogue::find(name, tag.as_deref()).is_none()
        {
            let names = suggest::catalogue_names(name, tag.as_deref()).join(", ");
            hints[0] = format!("it is no name of the catalogue, which has {names}");
        }
        Err(HubError::NotLocal { model: model.to_string(), hints })
    }

    /// Removes a model from the home. Files outside it are never touched.
    ///
    /// # Errors
    /// [`HubError::NotLocal`] if it is not in the home; see [`crate::Home::remove`].
    pub fn remove(&self, model: &ModelRef) -> Result<(ModelKey, Removed), HubError> {
        let key = match model {
            ModelRef::Path(_) => None,
            _ => self.key_in_home(model)?,
        };
        match key {
            Some(key) => self.home.remove(&key).map(|removed| (key, removed)),
            None => {
                let mut hints = Vec::new();
                if let Ok(local) = self.resolve(model) {
                    let path = local.path.display();
                    hints.push(format!("it lies at {path}, outside the home, and is not removed"));
                }
                hints.extend(self.home_hint());
                Err(HubError::NotLocal { model: model.to_string(), hints })
            }
        }
    }

    /// What can be done where the network cannot be reached.
    pub(crate) fn offline_hints(&self, model: &ModelRef) -> Vec<String> {
        let mut hints = Vec::new();
        hints.extend(self.home_hint());
        hints.push("give the path of a GGUF file or a Hugging Face folder instead".to_owned());
        hints.push(
            "reach the hub through a mirror: set HF_ENDPOINT, or HTTPS_PROXY for a proxy"
                .to_owned(),
        );
        if !matches!(model, ModelRef::Url(_)) {
            hints.push("try the other hub: --hub modelscope".to_owned());
        }
        if let Some(cache) = &self.config.hf_cache {
            hints.push(format!(
                "copy the model from another machine into {} (HF_HUB_CACHE) or {} (FREEHOLD_HOME)",
                cache.display(),
                self.home.root().display()
            ));
        }
        hints
    }

    fn home_hint(&self) -> Option<String> {
        let inventory = self.home.list().ok()?;
        let mut names: Vec<String> = inventory
            .models
            .iter()
            .map(|manifest| manifest.names.first().cloned().unwrap_or(manifest.key.label()))
            .collect();
        if names.is_empty() {
            return None;
        }
        if names.len() > HINTED_MAX {
            let more = names.len() - HINTED_MAX;
            names.truncate(HINTED_MAX);
            names.push(format!("{more} more (freehold list)"));
        }
        Some(format!("use what is here: {}", names.join(", ")))
    }

    /// The model of the home that a reference means.
    fn key_in_home(&self, model: &ModelRef) -> Result<Option<ModelKey>, HubError> {
        let models = self.home.list()?.models;
        if let ModelRef::Name { name, tag } = model {
            let named = by_name(&models, name, tag.as_deref());
            if named.is_some() {
                return Ok(named);
            }
        }
        // What came from an address is also known by the label that lists show.
        let text = model.to_string();
        let labelled = |manifest: &&Manifest| {
            manifest.key.source == URL && manifest.key.label().eq_ignore_ascii_case(&text)
        };
        if let Some(manifest) = models.iter().find(labelled) {
            return Ok(Some(manifest.key.clone()));
        }
        let Ok(Goal { place, .. }) = self.goal(model) else { return Ok(None) };
        match place {
            Place::Url(url) => {
                let key = direct::key(&url)?;
                Ok(models.into_iter().map(|manifest| manifest.key).find(|k| *k == key))
            }
            Place::Repo { hub, owner, repo, pick } => {
                let hubs = match model {
                    // The person named the hub.
                    ModelRef::Repo(RepoRef { hub: Some(hub), .. }) => vec![*hub],
                    _ => vec![hub, HubKind::HuggingFace, HubKind::ModelScope],
                };
                Ok(hubs.into_iter().find_map(|hub| by_repo(&models, hub, &owner, &repo, &pick)))
            }
        }
    }

    /// What other programs have pulled under this reference.
    fn in_caches(&self, model: &ModelRef) -> Option<LocalModel> {
        let goal = self.goal(model).ok();
        let repo = goal.and_then(|goal| match goal.place {
            Place::Repo { owner, repo, pick, .. } => Some(RepoRef { hub: None, owner, repo, pick }),
            Place::Url(_) => None,
        });
        let on_hf =
            !matches!(model, ModelRef::Repo(RepoRef { hub: Some(HubKind::ModelScope), .. }));
        if let (true, Some(repo), Some(cache)) = (on_hf, &repo, &self.config.hf_cache)
            && let Some(local) = in_hf_cache(cache, repo)
        {
            return Some(local);
        }
        let store = self.config.ollama_models.as_deref()?;
        let found = match (model, &repo) {
            (ModelRef::Name { name, tag }, _) => ollama::by_name(store, name, tag.as_deref()),
            (_, Some(repo)) if on_hf => ollama::by_repo(store, repo),
            _ => None,
        }?;
        Some(LocalModel::outside(&found.path, Origin::Ollama, found.label))
    }
}

fn in_hf_cache(cache: &Path, repo: &RepoRef) -> Option<LocalModel> {
    let snapshot = huggingface::snapshot(cache, &repo.owner, &repo.repo)?;
    let label = format!("{}/{}", repo.owner, repo.repo);
    let selection = select(&label, &snapshot.files, &repo.pick).ok()?;
    let path =
        selection.entry.as_ref().map_or(snapshot.folder.clone(), |e| e.under(&snapshot.folder));
    Some(LocalModel::outside(&path, Origin::HuggingFaceCache, repo.to_string()))
}

/// An imported model, or one that was pulled under this name.
fn by_name(models: &[Manifest], name: &str, tag: Option<&str>) -> Option<ModelKey> {
    let imported = |manifest: &&Manifest| {
        manifest.key.source == LOCAL && manifest.key.owner == IMPORTED && manifest.key.repo == name
    };
    let found = catalogue::find(name, tag);
    let full = match (tag, &found) {
        (Some(tag), _) => format!("{name}:{tag}"),
        (None, Some(found)) => found.label.clone(),
        (None, None) => format!("{name}:latest"),
    };
    let tag = full.rsplit(':').next().unwrap_or_default();
    let with_tag = models.iter().filter(imported).find(|manifest| manifest.key.reference == tag);
    let pulled = || models.iter().find(|manifest| manifest.names.contains(&full));
    with_tag.or_else(pulled).map(|manifest| manifest.key.clone())
}

fn by_repo(
    models: &[Manifest],
    hub: HubKind,
    owner: &str,
    repo: &str,
    pick: &Pick,
) -> Option<ModelKey> {
    let same: Vec<&Manifest> = models
        .iter()
        .filter(|manifest| {
            let key = &manifest.key;
            key.source == hub.name()
                && key.owner.eq_ignore_ascii_case(owner)
                && key.repo.eq_ignore_ascii_case(repo)
        })
        .collect();
    let references = same.iter().map(|manifest| manifest.key.reference.as_str());
    let reference = match pick {
        Pick::Auto => preferred(references)?.to_owned(),
        Pick::Quant(quant) => references
            .filter(|reference| answers(reference, quant))
            .min_by_key(|reference| *reference != quant)?
            .to_owned(),
        Pick::File(path) => {
            let has = |manifest: &&&Manifest| manifest.files.iter().any(|f| f.path == *path);
            same.iter().find(has)?.key.reference.clone()
        }
    };
    same.into_iter().find(|manifest| manifest.key.reference == reference).map(|m| m.key.clone())
}

fn resolve_path(path: &Path) -> Result<LocalModel, HubError> {
    let expanded: PathBuf = match (path.strip_prefix("~"), std::env::home_dir()) {
        (Ok(rest), Some(folder)) => folder.join(rest),
        _ => path.to_path_buf(),
    };
    let label = expanded.display().to_string();
    match std::fs::metadata(&expanded) {
        Ok(_) => Ok(LocalModel::outside(&expanded, Origin::Path, label)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(HubError::NotFound {
            what: label,
            place: "this machine".to_owned(),
            suggestions: siblings(&expanded),
        }),
        Err(e) => Err(crate::error::io_error("open", &expanded, e)),
    }
}

/// Names beside a path that is not there.
fn siblings(path: &Path) -> Vec<String> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(wanted) = path.file_name().and_then(|name| name.to_str()) else { return Vec::new() };
    let Ok(listing) = std::fs::read_dir(folder) else { return Vec::new() };
    let names: Vec<String> =
        listing.take(1000).filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    let near = suggest::nearest(wanted, names.iter().map(String::as_str));
    near.into_iter().map(|name| folder.join(name).display().to_string()).collect()
}
