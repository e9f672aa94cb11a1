//! Bringing a model's files into the home.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::cancel::Cancel;
use crate::catalogue;
use crate::config::{HubConfig, HubKind};
use crate::digest::{ContentHash, git_sha1_file, sha256_file};
use crate::disk;
use crate::download::{Desk, fetch, partial_path};
use crate::error::HubError;
use crate::foreign::Caches;
use crate::home::{Commit, Home};
use crate::http::{Auth, Http};
use crate::local::LocalModel;
use crate::lock::{FileLock, Mode};
use crate::manifest::{FILES_MAX, FileRecord, Format, Manifest, ModelKey};
use crate::place;
use crate::progress::{Event, Progress, Reporter};
use crate::reference::{ModelRef, Pick, RefError, RepoRef};
use crate::select::{RemoteFile, Selection, select};
use crate::source::{Endpoint, Listing, direct, huggingface, modelscope};
use crate::suggest;

/// How often the caller is asked whether to stop.
const POLL: Duration = Duration::from_millis(50);
/// How often files that vanish under a pull are gathered again.
const GATHERINGS_MAX: u32 = 3;

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

    /// Reads a reference; a path that exists is always meant as that.
    ///
    /// # Errors
    /// [`RefError`] says what is wrong with the text.
    pub fn reference(&self, text: &str) -> Result<ModelRef, RefError> {
        let path = std::path::Path::new(text.trim());
        if !text.trim().is_empty() && path.exists() {
            return Ok(ModelRef::Path(path.to_path_buf()));
        }
        ModelRef::parse(text)
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

    fn endpoint(&self, place: &Place) -> Endpoint {
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

/// One pull.
struct Session {
    http: Http,
    hub: Hub,
    reporter: Reporter,
    cancel: Cancel,
}

/// Where a file of the plan will come from.
enum Supply {
    /// It is a file of the home already.
    Home(FileRecord),
    /// It is in another program's cache, if its content is what its name promises.
    Cache { path: std::path::PathBuf, from: &'static str },
    /// It has to be fetched.
    Network,
}

impl Session {
    async fn run_until_cancelled(self, goal: Goal) -> Result<LocalModel, HubError> {
        let cancel = self.cancel.clone();
        tokio::select! {
            // Checked first, so that a stop that was asked for early is seen.
            biased;
            () = cancel.wait() => Err(HubError::Cancelled),
            result = self.run(goal) => result,
        }
    }

    async fn run(&self, goal: Goal) -> Result<LocalModel, HubError> {
        let endpoint = self.hub.endpoint(&goal.place);
        let listed = self.list(&goal, &endpoint).await?;
        let Listed { selection, key, listing, page } = listed;
        let home = &self.hub.home;
        let locks = home.locks();
        let stem = key.stem();
        let waiting = || self.reporter.send(Event::Waiting { model: key.label() });
        let _pulling = FileLock::take(&locks.pulling(), Mode::Shared, &self.cancel, waiting)?;
        let _pull = FileLock::take(&locks.pull(&stem), Mode::Exclusive, &self.cancel, waiting)?;
        let desk = Arc::new(Desk {
            http: self.http.clone(),
            home: home.clone(),
            endpoint: endpoint.clone(),
            model: goal.model.clone(),
            page,
            folder: home.partial_folder(&key),
            reporter: self.reporter.clone(),
            cancel: self.cancel.clone(),
        });
        for _ in 0..GATHERINGS_MAX {
            let files = self.gather(&desk, &goal, &key, &selection).await?;
            let manifest = self.manifest(&goal, &key, &selection, &listing, &endpoint, files);
            match home.commit(&manifest, &self.cancel)? {
                Commit::Done => {
                    disk::remove_folder(&desk.folder)?;
                    if let Some(local) = home.open(&key)? {
                        return Ok(local);
                    }
                }
                Commit::Missing => {}
            }
        }
        let reason = "its files are removed as fast as they are brought".to_owned();
        Err(HubError::Damaged { path: home.root().to_path_buf(), reason })
    }

    fn manifest(
        &self,
        goal: &Goal,
        key: &ModelKey,
        selection: &Selection,
        listing: &Listing,
        endpoint: &Endpoint,
        files: Vec<FileRecord>,
    ) -> Manifest {
        let mut manifest =
            Manifest::new(key.clone(), selection.format, selection.entry.clone(), files);
        // A damaged manifest is replaced.
        let old = self.hub.home.get(key).unwrap_or(None);
        manifest.names = old.map(|old| old.names).unwrap_or_default();
        manifest.names.extend(goal.name.clone());
        manifest.names.sort();
        manifest.names.dedup();
        manifest.licence = listing.licence.clone().or_else(|| goal.licence.clone());
        manifest.origin = Some(endpoint.address.clone());
        manifest.commit = listing.commit.clone();
        manifest
    }

    /// Brings every file of the selection into the home.
    async fn gather(
        &self,
        desk: &Arc<Desk>,
        goal: &Goal,
        key: &ModelKey,
        selection: &Selection,
    ) -> Result<Vec<FileRecord>, HubError> {
        let supplies = self.supplies(goal, key, selection);
        self.report_plan(desk, selection, &supplies);
        let mut records: Vec<Option<FileRecord>> = vec![None; selection.files.len()];
        let mut to_fetch = Vec::new();
        for (file_idx, (file, supply)) in selection.files.iter().zip(supplies).enumerate() {
            records[file_idx] = match supply {
                Supply::Home(record) => {
                    let from = "the model home".to_owned();
                    self.reporter.send(Event::Reused { file_idx, from });
                    Some(record)
                }
                Supply::Cache { path, from } => self.adopt(file_idx, file, &path, from)?,
                Supply::Network => None,
            };
            if records[file_idx].is_none() {
                to_fetch.push((file_idx, file.clone()));
            }
        }
        self.check_room(desk, &to_fetch)?;
        self.fetch_all(desk, to_fetch, &mut records).await?;
        Ok(records.into_iter().flatten().collect())
    }

    fn supplies(&self, goal: &Goal, key: &ModelKey, selection: &Selection) -> Vec<Supply> {
        let old = self.hub.home.get(key).unwrap_or(None);
        let repo = match &goal.place {
            Place::Repo { hub: HubKind::HuggingFace, owner, repo, .. } => {
                Some((owner.as_str(), repo.as_str()))
            }
            _ => None,
        };
        selection.files.iter().map(|file| self.supply(file, old.as_ref(), repo)).collect()
    }

    fn supply(
        &self,
        file: &RemoteFile,
        old: Option<&Manifest>,
        repo: Option<(&str, &str)>,
    ) -> Supply {
        let home = &self.hub.home;
        if let (Some(ContentHash::Sha256(sha256)), Some(bytes)) = (&file.hash, file.bytes)
            && home.has_blob(sha256, Some(bytes))
        {
            return Supply::Home(FileRecord {
                path: file.path.clone(),
                bytes,
                sha256: sha256.clone(),
                foreign: None,
                remote_mark: None,
            });
        }
        let mark = match &file.hash {
            Some(hash) => Some(hash.hex()),
            None => file.etag.as_deref(),
        };
        let same = |record: &&FileRecord| {
            record.path == file.path
                && file.bytes.is_none_or(|bytes| bytes == record.bytes)
                && mark.is_some()
                && (record.remote_mark.as_deref() == mark || Some(record.sha256.as_str()) == mark)
                && home.holds(record)
        };
        if let Some(record) = old.and_then(|old| old.files.iter().find(same)) {
            return Supply::Home(record.clone());
        }
        let cached =
            file.hash.as_ref().and_then(|hash| self.hub.caches.find(repo, hash, file.bytes));
        match cached {
            Some((path, from)) => Supply::Cache { path, from },
            None => Supply::Network,
        }
    }

    fn report_plan(&self, desk: &Desk, selection: &Selection, supplies: &[Supply]) {
        let sum = |bytes: &mut dyn Iterator<Item = u64>| bytes.fold(0_u64, u64::saturating_add);
        let bytes_total = sum(&mut selection.files.iter().filter_map(|file| file.bytes));
        let missing = selection.files.iter().zip(supplies);
        let bytes_to_fetch = sum(&mut missing
            .filter(|(_, supply)| matches!(supply, Supply::Network))
            .map(|(file, _)| bytes_left(desk, file)));
        let files = selection.files.iter().map(|f| (f.path.to_string(), f.bytes)).collect();
        self.reporter.send(Event::Planned { files, bytes_total, bytes_to_fetch });
    }

    /// Checks a file of another program's cache and links it among the blobs. `None` if its
    /// content is not what its name promises.
    fn adopt(
        &self,
        file_idx: usize,
        file: &RemoteFile,
        path: &std::path::Path,
        from: &'static str,
    ) -> Result<Option<FileRecord>, HubError> {
        self.reporter.send(Event::Verifying { file_idx });
        let checked = sha256_file(path, &self.cancel).and_then(|(sha256, bytes)| {
            let same = match &file.hash {
                Some(ContentHash::Sha256(expected)) => *expected == sha256,
                Some(ContentHash::GitSha1(expected)) => {
                    git_sha1_file(path, &self.cancel)? == *expected
                }
                None => false,
            };
            Ok((sha256, bytes, same))
        });
        let (sha256, bytes, same) = match checked {
            Ok(checked) => checked,
            Err(HubError::Cancelled) => return Err(HubError::Cancelled),
            Err(error) => {
                let note = format!("{from} has {} but it cannot be read: {error}", file.path);
                self.reporter.send(Event::Note(note));
                return Ok(None);
            }
        };
        if !same {
            let note = format!("{from} has a damaged {}; fetching it", file.path);
            self.reporter.send(Event::Note(note));
            return Ok(None);
        }
        let foreign = place::adopt(path, &self.hub.home.blob_path(&sha256))?;
        let remote_mark = match &file.hash {
            Some(ContentHash::GitSha1(hex)) => Some(hex.clone()),
            _ => None,
        };
        self.reporter.send(Event::Reused { file_idx, from: from.to_owned() });
        Ok(Some(FileRecord { path: file.path.clone(), bytes, sha256, foreign, remote_mark }))
    }

    fn check_room(&self, desk: &Desk, to_fetch: &[(usize, RemoteFile)]) -> Result<(), HubError> {
        if to_fetch.is_empty() {
            return Ok(());
        }
        disk::make_folder(&desk.folder)?;
        let bytes_needed = to_fetch
            .iter()
            .fold(0_u64, |sum, (_, file)| sum.saturating_add(bytes_left(desk, file)));
        disk::check_room(&desk.folder, bytes_needed)
    }

    /// Fetches files, a few at a time. The first failure stops the others; what has arrived
    /// is kept.
    async fn fetch_all(
        &self,
        desk: &Arc<Desk>,
        to_fetch: Vec<(usize, RemoteFile)>,
        records: &mut [Option<FileRecord>],
    ) -> Result<(), HubError> {
        let mut queue = to_fetch.into_iter();
        let mut running = JoinSet::new();
        loop {
            while running.len() < self.hub.config.parallel.max(1) {
                let Some((file_idx, file)) = queue.next() else { break };
                let desk = Arc::clone(desk);
                running.spawn(async move { (file_idx, fetch(desk, file_idx, file).await) });
            }
            match running.join_next().await {
                None => return Ok(()),
                Some(Ok((file_idx, record))) => records[file_idx] = Some(record?),
                Some(Err(error)) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => return Err(HubError::Cancelled),
                },
            }
        }
    }
}

/// Bytes of a file that an earlier try has not left.
fn bytes_left(desk: &Desk, file: &RemoteFile) -> u64 {
    let kept = std::fs::metadata(partial_path(&desk.folder, file)).map_or(0, |m| m.len());
    file.bytes.unwrap_or(0).saturating_sub(kept)
}

/// What a hub offers for a goal.
struct Listed {
    selection: Selection,
    key: ModelKey,
    listing: Listing,
    page: String,
}

impl Session {
    async fn list(&self, goal: &Goal, endpoint: &Endpoint) -> Result<Listed, HubError> {
        self.reporter
            .send(Event::Listing { model: goal.model.clone(), endpoint: endpoint.address.clone() });
        let listed = match &goal.place {
            Place::Url(url) => self.list_url(goal, endpoint, url).await?,
            Place::Repo { hub, owner, repo, pick } => {
                let page = match hub {
                    HubKind::HuggingFace => format!("{}/{owner}/{repo}", endpoint.address),
                    HubKind::ModelScope => format!("{}/models/{owner}/{repo}", endpoint.address),
                };
                let listing = match hub {
                    HubKind::HuggingFace => {
                        self.list_hf(goal, endpoint, owner, repo, &page).await?
                    }
                    HubKind::ModelScope => self.list_ms(goal, endpoint, owner, repo, &page).await?,
                };
                let selection = select(&listing.name, &listing.files, pick)?;
                let (owner, repo) =
                    listing.name.split_once('/').unwrap_or((owner.as_str(), repo.as_str()));
                let key = ModelKey::new(hub.name(), owner, repo, &selection.reference)?;
                Listed { selection, key, listing, page }
            }
        };
        let n_files = listed.selection.files.len();
        if n_files > FILES_MAX {
            return Err(HubError::Limit {
                what: format!("files of {}", goal.model),
                limit: FILES_MAX as u64,
                got: n_files as u64,
            });
        }
        Ok(listed)
    }

    async fn list_hf(
        &self,
        goal: &Goal,
        endpoint: &Endpoint,
        owner: &str,
        repo: &str,
        page: &str,
    ) -> Result<Listing, HubError> {
        let url = huggingface::listing_url(&endpoint.address, owner, repo)?;
        let request = endpoint.request(&url, &goal.model, page);
        let json = match self.http.text(request, &self.reporter).await {
            Err(HubError::NotFound { what, place, mut suggestions }) => {
                // One try: this is help, not the task.
                let url = huggingface::search_url(&endpoint.address, repo)?;
                let request = endpoint.request(&url, &goal.model, page);
                if let Ok(json) = self.http.text_once(request).await {
                    suggestions = huggingface::parse_search(&json);
                }
                return Err(HubError::NotFound { what, place, suggestions });
            }
            other => other?,
        };
        huggingface::parse_listing(&endpoint.address, owner, repo, &json)
    }

    async fn list_ms(
        &self,
        goal: &Goal,
        endpoint: &Endpoint,
        owner: &str,
        repo: &str,
        page: &str,
    ) -> Result<Listing, HubError> {
        let url = modelscope::listing_url(&endpoint.address, owner, repo)?;
        let json =
            self.http.text(endpoint.request(&url, &goal.model, page), &self.reporter).await?;
        let mut listing = modelscope::parse_listing(&endpoint.address, owner, repo, &json)?;
        // The licence is worth one request, but not a failure.
        let url = modelscope::info_url(&endpoint.address, owner, repo)?;
        if let Ok(json) = self.http.text_once(endpoint.request(&url, &goal.model, page)).await {
            listing.licence = modelscope::parse_licence(&json);
        }
        Ok(listing)
    }

    async fn list_url(
        &self,
        goal: &Goal,
        endpoint: &Endpoint,
        url: &str,
    ) -> Result<Listed, HubError> {
        let mut files = direct::parts(url)?;
        for file in &mut files {
            let location = file.location.clone();
            let request = endpoint.request(&location, &goal.model, &endpoint.address);
            match self.http.head(request, &self.reporter).await {
                Ok(reply) => {
                    direct::describe(file, &reply.first, reply.response.headers())?;
                }
                // A signed address often allows GET alone; fetching will tell.
                Err(HubError::Access { .. } | HubError::Http { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let selection = Selection {
            format: Format::Gguf,
            reference: String::new(),
            entry: files.first().map(|file| file.path.clone()),
            files,
        };
        let listing = Listing::default();
        let page = endpoint.address.clone();
        Ok(Listed { selection, key: direct::key(url)?, listing, page })
    }
}
