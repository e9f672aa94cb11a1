//! The front door: which hub, cache and home, and pulls that block the caller.

use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use crate::cancel::Cancel;
use crate::catalogue;
use crate::config::{HubConfig, HubKind};
use crate::error::HubError;
use crate::foreign::Caches;
use crate::home::Home;
use crate::http::{Auth, Http};
use crate::local::LocalModel;
use crate::progress::{Event, Progress, Reporter};
use crate::reference::{ModelRef, Pick, RefError, RepoRef};
use crate::session::Session;
use crate::source::Endpoint;
use crate::suggest;

/// How often the caller is asked whether to stop.
const POLL: Duration = Duration::from_millis(50);

/// The way from model references to files: hubs, caches and the home.
#[derive(Clone, Debug)]
pub struct Hub {
    pub(crate) config: HubConfig,
    pub(crate) home: Home,
    pub(crate) caches: Caches,
}

/// What is to be fetched.
#[derive(Clone, Debug)]
pub(crate) struct Goal {
    /// What the person wrote.
    pub(crate) model: String,
    pub(crate) place: Place,
    /// The catalogue name, and the licence it tells.
    pub(crate) name: Option<String>,
    pub(crate) licence: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) enum Place {
    Repo { hub: HubKind, owner: String, repo: String, pick: Pick },
    Url(String),
}

impl Hub {
    /// A hub with these settings; nothing is touched yet.
    pub fn new(config: HubConfig) -> Self {
        let home = Home::new(&config.home);
        let caches =
            Caches { huggingface: config.hf_cache.clone(), ollama: config.ollama_models.clone() };
        Self { config, home, caches }
    }

    /// A hub with the settings of the environment.
    ///
    /// # Errors
    /// [`HubError::Setting`] names the variable that cannot be used.
    pub fn from_env() -> Result<Self, HubError> {
        HubConfig::from_env().map(Self::new)
    }

    /// The model home.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The settings.
    pub fn config(&self) -> &HubConfig {
        &self.config
    }

    /// Reads a reference. A path that exists is meant as that, except where it is a folder
    /// without a model that happens to have the name of one in the catalogue.
    ///
    /// # Errors
    /// [`RefError`] says what is wrong with the text.
    pub fn reference(&self, text: &str) -> Result<ModelRef, RefError> {
        let parsed = ModelRef::parse(text);
        let path = Path::new(text.trim());
        let shadows = match &parsed {
            Ok(ModelRef::Name { name, tag }) => {
                catalogue::find(name, tag.as_deref()).is_some()
                    && path.is_dir()
                    && !path.join("config.json").exists()
            }
            _ => text.trim().is_empty(),
        };
        if !shadows && path.exists() { Ok(ModelRef::Path(path.to_path_buf())) } else { parsed }
    }

    /// Brings a model's files into the home, or finds that they are there already.
    ///
    /// Events arrive on the calling thread. Where the hub cannot be reached but the model is
    /// on this machine, that is used, and a note says so.
    ///
    /// # Errors
    /// Every variant of [`HubError`] but [`HubError::NotLocal`].
    pub fn pull(&self, model: &ModelRef, progress: &dyn Progress) -> Result<LocalModel, HubError> {
        if matches!(model, ModelRef::Path(_)) {
            return self.resolve(model);
        }
        let goal = match self.goal(model) {
            Ok(goal) => goal,
            // A name of the home need not be in the catalogue.
            Err(error) => return self.resolve(model).map_err(|_| error),
        };
        let pulled = if self.config.offline {
            let host = self.endpoint(&goal.place).address;
            let reason = "HF_HUB_OFFLINE is set".to_owned();
            Err(HubError::Offline { host, reason, hints: Vec::new() })
        } else {
            self.pull_on_own_thread(goal, progress)
        };
        match pulled {
            Err(HubError::Offline { host, reason, .. }) => match self.resolve(model) {
                Ok(local) => {
                    let note = format!(
                        "{host} could not be reached ({reason}); using what is on this machine: {}",
                        local.label
                    );
                    progress.event(&Event::Note(note));
                    Ok(local)
                }
                Err(_) => {
                    let hints = self.offline_hints(model);
                    Err(HubError::Offline { host, reason, hints })
                }
            },
            other => other,
        }
    }

    /// Runs the pull on a thread with a runtime of its own, so that the caller may itself be
    /// inside one, and hands its events on.
    fn pull_on_own_thread(
        &self,
        goal: Goal,
        progress: &dyn Progress,
    ) -> Result<LocalModel, HubError> {
        let (sender, receiver) = mpsc::channel();
        let cancel = Cancel::default();
        let session = Session {
            http: Http::new(&self.config)?,
            hub: self.clone(),
            reporter: Reporter::new(sender),
            cancel: cancel.clone(),
        };
        let failed = |reason: String| HubError::Setting { name: "network", reason };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| failed(e.to_string()))?;
        let worker = std::thread::Builder::new()
            .name("pull".to_owned())
            .spawn(move || runtime.block_on(session.run_until_cancelled(goal)))
            .map_err(|e| failed(e.to_string()))?;
        loop {
            match receiver.recv_timeout(POLL) {
                Ok(event) => progress.event(&event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if progress.cancelled() {
                cancel.set();
            }
        }
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// What a reference means on the network.
    pub(crate) fn goal(&self, model: &ModelRef) -> Result<Goal, HubError> {
        let text = model.to_string();
        let plain = |place| Goal { model: text.clone(), place, name: None, licence: None };
        match model {
            ModelRef::Repo(RepoRef { hub, owner, repo, pick }) => Ok(plain(Place::Repo {
                hub: hub.unwrap_or(self.config.hub),
                owner: owner.clone(),
                repo: repo.clone(),
                pick: pick.clone(),
            })),
            ModelRef::Url(url) => Ok(plain(Place::Url(url.clone()))),
            ModelRef::Name { name, tag } => {
                let found = catalogue::find(name, tag.as_deref());
                let found = found.ok_or_else(|| HubError::NotFound {
                    what: text.clone(),
                    place: "the catalogue".to_owned(),
                    suggestions: suggest::catalogue_names(name, tag.as_deref()),
                })?;
                Ok(Goal {
                    model: text,
                    name: Some(found.label),
                    licence: Some(found.licence),
                    place: Place::Repo {
                        hub: self.config.hub,
                        owner: found.owner,
                        repo: found.repo,
                        pick: Pick::Quant(found.quant),
                    },
                })
            }
            ModelRef::Path(path) => Err(HubError::NotFound {
                what: path.display().to_string(),
                place: "this machine".to_owned(),
                suggestions: Vec::new(),
            }),
        }
    }

    pub(crate) fn endpoint(&self, place: &Place) -> Endpoint {
        let config = &self.config;
        match place {
            Place::Repo { hub: HubKind::ModelScope, .. } => Endpoint {
                auth: Auth::new(
                    &config.modelscope_endpoint,
                    config.modelscope_token.as_ref(),
                    true,
                ),
                address: config.modelscope_endpoint.clone(),
                token_variable: "MODELSCOPE_API_TOKEN",
            },
            Place::Repo { hub: HubKind::HuggingFace, .. } => self.hf_endpoint(),
            // An address on a mirror may need its token; no other host is ever shown it.
            Place::Url(url) => Endpoint {
                address: url.split(['?', '#']).next().unwrap_or(url).to_owned(),
                ..self.hf_endpoint()
            },
        }
    }

    fn hf_endpoint(&self) -> Endpoint {
        Endpoint {
            auth: Auth::new(&self.config.hf_endpoint, self.config.hf_token.as_ref(), false),
            address: self.config.hf_endpoint.clone(),
            token_variable: "HF_TOKEN",
        }
    }
}
