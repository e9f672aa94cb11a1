//! One pull from the listing to the lease: what is here already is used, what is missing is
//! fetched, and the manifest is written when all of it is there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::cancel::Cancel;
use crate::config::HubKind;
use crate::digest::{ContentHash, git_sha1_file, sha256_file};
use crate::disk;
use crate::download::{Desk, fetch, partial_path};
use crate::error::HubError;
use crate::home::Commit;
use crate::http::Http;
use crate::listing::Listed;
use crate::local::LocalModel;
use crate::lock::{FileLock, Mode};
use crate::manifest::{FileRecord, Manifest, ModelKey};
use crate::place;
use crate::progress::{Event, Reporter};
use crate::pull::{Goal, Hub, Place};
use crate::select::{RemoteFile, Selection};
use crate::source::{Endpoint, Listing};

/// How often files that vanish under a pull are gathered again.
const GATHERINGS_MAX: u32 = 3;

/// One pull.
pub(crate) struct Session {
    pub(crate) http: Http,
    pub(crate) hub: Hub,
    pub(crate) reporter: Reporter,
    pub(crate) cancel: Cancel,
}

/// Where a file of the plan will come from.
enum Supply {
    /// It is a file of the home already.
    Home(FileRecord),
    /// It is in another program's cache, if its content is what its name promises.
    Cache { path: PathBuf, from: &'static str },
    /// It has to be fetched.
    Network,
}

impl Session {
    /// Runs the pull until it is done or the caller asks to stop.
    pub(crate) async fn run_until_cancelled(self, goal: Goal) -> Result<LocalModel, HubError> {
        let cancel = self.cancel.clone();
        let result = tokio::select! {
            // Checked first, so that a stop that was asked for early is seen.
            biased;
            () = cancel.wait() => Err(HubError::Cancelled),
            result = self.run(goal) => result,
        };
        // After a failure of one file, the hashing of others would be waited for.
        cancel.set();
        result
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
        path: &Path,
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
