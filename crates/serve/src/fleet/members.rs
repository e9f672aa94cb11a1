//! The models of a fleet by number and by name; more may come while it runs, none ever goes.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use super::residency::MemberId;
use super::{Entry, Name, NameTaken, Reservation};
use crate::details::{Task, TextDetails, WeightDetails};

/// A model and what became known of it.
pub(super) struct Member {
    pub(super) entry: Entry,
    pub(super) plan: OnceLock<Reservation>,
    /// What it is, once somebody asked.
    pub(super) about: OnceLock<(WeightDetails, TextDetails, Task)>,
}

impl Member {
    /// The name of the model without an adapter.
    pub(super) fn name(&self) -> String {
        self.entry.names.first().map_or_else(String::new, |name| name.id.clone())
    }

    /// The listed name, of the model or of one with an adapter, that `name` means.
    pub(super) fn listed(&self, name: &str) -> Option<&Name> {
        let is = |listed: &&Name| listed.id == name || listed.aliases.iter().any(|a| a == name);
        self.entry.names.iter().find(is)
    }
}

#[derive(Default)]
pub(super) struct Members(RwLock<Inner>);

#[derive(Default)]
struct Inner {
    list: Vec<Arc<Member>>,
    by_name: HashMap<String, Known>,
}

/// What a text means.
#[derive(Clone, Copy)]
struct Known {
    id: MemberId,
    /// A name is one model's alone; an alias gives way to it.
    is_name: bool,
}

impl Members {
    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        // Nothing in here panics half-way.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, id: MemberId) -> Arc<Member> {
        Arc::clone(&self.read().list[id])
    }

    pub(super) fn all(&self) -> Vec<Arc<Member>> {
        self.read().list.clone()
    }

    pub(super) fn find(&self, name: &str) -> Option<MemberId> {
        self.read().by_name.get(name).map(|known| known.id)
    }

    /// Whether a model has this name; an alias is none.
    pub(super) fn has(&self, name: &str) -> bool {
        self.read().by_name.get(name).is_some_and(|known| known.is_name)
    }

    /// Adds models whose names are free. Their number must be known to all that counts members
    /// before this is called.
    ///
    /// # Errors
    /// A name is taken, by an earlier model or another of these. An alias that is a name or an
    /// alias already is left out.
    pub(super) fn add(&self, entries: Vec<Entry>) -> Result<(), NameTaken> {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let first = inner.list.len();
        let names: Vec<(MemberId, Name)> = entries
            .iter()
            .enumerate()
            .flat_map(|(at, entry)| entry.names.iter().map(move |n| (first + at, n.clone())))
            .collect();
        let mut by_name = inner.by_name.clone();
        for (id, name) in &names {
            let before = by_name.insert(name.id.clone(), Known { id: *id, is_name: true });
            if before.is_some_and(|before| before.is_name) {
                return Err(NameTaken(name.id.clone()));
            }
        }
        for (id, name) in names {
            for alias in name.aliases {
                by_name.entry(alias).or_insert(Known { id, is_name: false });
            }
        }
        let member = |entry| Member { entry, plan: OnceLock::new(), about: OnceLock::new() };
        inner.list.extend(entries.into_iter().map(member).map(Arc::new));
        inner.by_name = by_name;
        Ok(())
    }
}
