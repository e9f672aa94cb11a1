//! The models of `freehold serve`: from what was typed, or from the data folder, to entries of a
//! fleet, each with a loader of its own.

use crate::commands::show::weight_details;
use crate::compute;
use crate::locate::{Found, Locator};
use crate::output::say;
use crate::packed::PackedUse;
use crate::plan::{Budget, Fixed, Plan, kv_share};
use crate::pooled;
use crate::texts::Texts;
use crate::wiring::{self, How, Names, Served};
use anyhow::{Context as _, Result, ensure};
use hub::{Home, LocalModel, Manifest, ModelKey};
use serve::{
    Admit, Admitted, Description, Discover, EngineGauges, Entry, Loader, Name, Request, Reservation,
};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use weights::Checkpoint;

/// Where a model's files are.
enum Place {
    /// Files that stay where they are while the process runs.
    Path(PathBuf),
    /// A model of the data folder, which may be removed while it is not loaded.
    Home(ModelKey),
}

/// Loads one model, with its adapters.
struct ModelLoader {
    /// As a person writes it.
    model: String,
    place: Place,
    names: Names,
    adapted: Vec<(Names, PathBuf)>,
    /// What the hub told of a model that was named.
    licence: Option<String>,
    home: Home,
    how: Arc<How>,
    budget: Budget,
    /// What the models that were named take, each without a KV cache.
    together: Arc<[Fixed]>,
    fixed: OnceLock<Fixed>,
    plan: OnceLock<Plan>,
    /// Opened for planning and kept for the load, which follows at once.
    opened: Mutex<Option<Checkpoint>>,
}

/// A model in memory, whose files stay while it is there.
struct Resident {
    model: Option<Box<dyn Admit>>,
    id: String,
    how: Arc<How>,
    _files: Option<LocalModel>,
}

impl Admit for Resident {
    fn admit(&self, request: Request, arrived: Duration) -> Result<Admitted, serve::Error> {
        let model = self.model.as_ref().ok_or(serve::Error::Stopping)?;
        model.admit(request, arrived)
    }

    fn describe(&self) -> Description {
        let Some(model) = &self.model else { unreachable!("taken when it is dropped") };
        model.describe()
    }

    fn gauges(&self) -> Option<Arc<EngineGauges>> {
        self.model.as_ref().and_then(|model| model.gauges())
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        drop(self.model.take());
        if self.how.is_serving.load(Ordering::Relaxed) {
            say(format_args!("{} is unloaded", self.id));
        }
    }
}

impl ModelLoader {
    /// The path, and what keeps the files there.
    fn files(&self) -> Result<(PathBuf, Option<LocalModel>)> {
        match &self.place {
            Place::Path(path) => Ok((path.clone(), None)),
            Place::Home(key) => {
                let local = self.home.open(key)?;
                let local = local.with_context(|| format!("{key} is no longer on this machine"))?;
                Ok((local.path.clone(), Some(local)))
            }
        }
    }

    /// As the hub told it when the model was pulled.
    fn licence(&self, files: Option<&LocalModel>) -> Option<String> {
        let pulled = files.and_then(|files| files.manifest.as_ref());
        pulled.map_or_else(|| self.licence.clone(), |manifest| manifest.licence.clone())
    }

    fn fixed_of(&self, checkpoint: &Checkpoint) -> Result<Fixed> {
        let adapters: Vec<&Path> = self.adapted.iter().map(|(_, path)| path.as_path()).collect();
        self.how.fixed(checkpoint, &adapters)
    }

    fn planned(&self) -> Result<Plan> {
        if let Some(plan) = self.plan.get() {
            return Ok(*plan);
        }
        let fixed = match self.fixed.get() {
            Some(fixed) => *fixed,
            None => {
                let (path, _files) = self.files()?;
                let fixed = self.fixed_of(&compute::open(&path)?)?;
                *self.fixed.get_or_init(|| fixed)
            }
        };
        let plan = fixed.with_kv(kv_share(self.budget, &self.together, &fixed))?;
        Ok(*self.plan.get_or_init(|| plan))
    }

    fn load_planned(&self) -> Result<Resident> {
        let plan = self.planned()?;
        let (path, files) = self.files()?;
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner).take();
        let checkpoint = match opened {
            Some(checkpoint) => checkpoint,
            None => {
                let checkpoint = compute::open(&path)?;
                let is_covered = plan.covers(&self.fixed_of(&checkpoint)?);
                ensure!(is_covered, "its files have changed and take more memory; start again");
                checkpoint
            }
        };
        let id = &self.names.id;
        say(format_args!("{id} takes {plan}"));
        let packed = PackedUse::at(&self.home, &self.model, self.how.compute.packed);
        let weights = weight_details(&checkpoint, self.licence(files.as_ref()));
        let served = Served { path: &path, names: &self.names, adapted: &self.adapted, weights };
        let how = Arc::clone(&self.how);
        let model: Box<dyn Admit> = match plan.pooled() {
            Some(_) => Box::new(pooled::load(&served, &checkpoint, &plan, packed, &how)?),
            None => Box::new(wiring::load(&served, &checkpoint, &plan, packed, &how)?),
        };
        Ok(Resident { model: Some(model), id: id.clone(), how, _files: files })
    }
}

impl Loader for ModelLoader {
    fn is_here(&self) -> bool {
        match &self.place {
            Place::Path(path) => path.exists(),
            Place::Home(key) => self.home.contains(key),
        }
    }

    fn describe(&self) -> Result<Description, String> {
        let described = || {
            let (path, files) = self.files()?;
            let checkpoint = compute::open(&path)?;
            let weights = weight_details(&checkpoint, self.licence(files.as_ref()));
            let task = pooled::task(&model::inspect(&checkpoint)?, self.how.pooling)?;
            anyhow::Ok(Description { weights, text: Arc::new(Texts::open(&path)?), task })
        };
        described().map_err(|error| format!("{error:#}"))
    }

    fn plan(&self) -> Result<Reservation, String> {
        let plan = self.planned().map_err(|error| format!("{error:#}"))?;
        Ok(Reservation { bytes: plan.bytes(), context_length: plan.context() })
    }

    fn load(&self) -> Result<Arc<dyn Admit>, String> {
        match self.load_planned() {
            Ok(resident) => Ok(Arc::new(resident)),
            Err(error) => {
                let reason = format!("{error:#}");
                // At the start it is the end, and told as such.
                if self.how.is_serving.load(Ordering::Relaxed) {
                    say(format_args!("{} cannot be loaded: {reason}", self.names.id));
                }
                Err(reason)
            }
        }
    }
}

/// The entries of models that were named, the adapters of each beside it. The first is loaded
/// soon, so what was opened of it is kept.
pub(crate) fn named(
    found: &[Found<'_>],
    alias: Option<&str>,
    locator: &Locator,
    how: &Arc<How>,
    budget: Budget,
) -> Result<Vec<Entry>> {
    let mut loaders: Vec<ModelLoader> = Vec::new();
    for one in found {
        let at = loaders.iter().position(|l| matches!(&l.place, Place::Path(p) if *p == one.path));
        let at = at.unwrap_or_else(|| {
            let place = Place::Path(one.path.clone());
            let base = alias.filter(|_| one.adapter.is_none());
            let names = Names::of(one.model, &one.path, base);
            let home = locator.hub().home();
            let licence = locator.licence(one.model);
            let loader = loader(one.model, place, names, home, how, budget);
            loaders.push(ModelLoader { licence, ..loader });
            loaders.len() - 1
        });
        if let Some(adapter) = &one.adapter {
            loaders[at].adapted.push((Names::of_found(one, alias), adapter.clone()));
        }
    }
    let mut together = Vec::new();
    for (at, loader) in loaders.iter_mut().enumerate() {
        let (path, _) = loader.files()?;
        let checkpoint = compute::open(&path)?;
        let fixed = loader.fixed_of(&checkpoint).with_context(|| loader.names.id.clone())?;
        together.push(fixed);
        loader.fixed = OnceLock::from(fixed);
        loader.opened = Mutex::new((at == 0).then_some(checkpoint));
    }
    let together: Arc<[Fixed]> = together.into();
    let with_all = |loader| ModelLoader { together: Arc::clone(&together), ..loader };
    Ok(loaders.into_iter().map(with_all).map(|loader| entry(loader, now())).collect())
}

/// The models of the data folder, those that come while the server runs too.
pub(crate) struct OfHome {
    home: Home,
    how: Arc<How>,
    budget: Budget,
    /// Damaged manifests that people have been told of.
    told: Mutex<HashSet<PathBuf>>,
}

impl OfHome {
    pub(crate) fn new(locator: &Locator, how: &Arc<How>, budget: Budget) -> OfHome {
        let (home, how) = (locator.hub().home().clone(), Arc::clone(how));
        OfHome { home, how, budget, told: Mutex::default() }
    }

    /// The entries of those that are wanted by their names; nothing is read of them yet.
    pub(crate) fn entries(&self, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<Entry>> {
        let inventory = self.home.list()?;
        for (path, reason) in &inventory.damaged {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.insert(path.clone()) {
                say(format_args!("damaged, and not served: {}: {reason}", path.display()));
            }
        }
        let one = |manifest: &Manifest| {
            let id = manifest.key.label();
            let names = Names { id: id.clone(), aliases: manifest.names.clone() };
            let place = Place::Home(manifest.key.clone());
            let loader = loader(&id, place, names, &self.home, &self.how, self.budget);
            entry(loader, manifest.pulled_at_unix_s)
        };
        let wanted = inventory.models.iter().filter(|manifest| is_wanted(&manifest.key.label()));
        Ok(wanted.map(one).collect())
    }
}

impl Discover for OfHome {
    fn new_entries(&self, is_known: &dyn Fn(&str) -> bool) -> Vec<Entry> {
        self.entries(|name| !is_known(name)).unwrap_or_else(|error| {
            say(format_args!("the data folder cannot be read: {error:#}"));
            Vec::new()
        })
    }
}

fn loader(
    model: &str,
    place: Place,
    names: Names,
    home: &Home,
    how: &Arc<How>,
    budget: Budget,
) -> ModelLoader {
    ModelLoader {
        model: model.to_owned(),
        place,
        names,
        adapted: Vec::new(),
        licence: None,
        home: home.clone(),
        how: Arc::clone(how),
        budget,
        together: Arc::new([]),
        fixed: OnceLock::new(),
        plan: OnceLock::new(),
        opened: Mutex::default(),
    }
}

fn entry(loader: ModelLoader, created: u64) -> Entry {
    let name = |names: &Names| Name { id: names.id.clone(), aliases: names.aliases.clone() };
    let adapted = loader.adapted.iter().map(|(names, _)| name(names));
    let names = std::iter::once(name(&loader.names)).chain(adapted).collect();
    Entry { names, created, loader: Box::new(loader) }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
