//! Computed prefixes on disk: where they lie, for which model, and what is said about it.

use crate::cli::{Sparing, Switch};
use crate::compute::Loaded;
use crate::locate::{Found, Locator};
use crate::output::{bytes, say};
use anyhow::{Context as _, Result, ensure};
use engine::BlockStore;
use hub::Home;
use model::LoadOptions;
use serve::{PrefixStore, PrefixStoreOptions};
use std::collections::HashMap;
use std::str::FromStr;
use weights::Adapter;

/// A number of bytes as people write it: `4G`, `500M`, `1073741824`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let lower = text.trim().to_ascii_lowercase();
        let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let shift = match lower[digits.len()..].trim_end_matches('b').trim_end_matches('i') {
            "" => 0,
            "k" => 10,
            "m" => 20,
            "g" => 30,
            "t" => 40,
            _ => return Err(format!("`{text}` has an unknown unit, expected K, M, G or T")),
        };
        let number: u64 = digits
            .trim_end()
            .parse()
            .map_err(|_| format!("`{text}` is no size, expected a number such as 4G"))?;
        let bytes = number.checked_mul(1 << shift).ok_or(format!("`{text}` is too large"))?;
        Ok(Size(bytes))
    }
}

/// Whether and where prefixes outlive the process.
#[derive(Clone, Copy)]
pub(crate) struct PrefixUse<'a> {
    home: &'a Home,
    quota: Option<Size>,
}

impl<'a> PrefixUse<'a> {
    /// As the flags say; nothing is kept without a quota.
    pub(crate) fn new(locator: &'a Locator, sparing: &Sparing) -> Result<PrefixUse<'a>> {
        let quota = sparing.prefix_disk;
        let is_off = sparing.prefix_cache == Switch::Off;
        ensure!(!is_off || quota.is_none(), "--prefix-disk needs --prefix-cache on");
        Ok(PrefixUse { home: locator.hub().home(), quota })
    }

    /// The store for a model, if there is to be one. Where it cannot be had, that is
    /// said, and everything works without.
    pub(crate) fn open(
        &self,
        found: &Found<'_>,
        loaded: &Loaded,
        options: &LoadOptions,
    ) -> Result<Option<Box<dyn BlockStore>>> {
        let Some(Size(quota_bytes)) = self.quota else { return Ok(None) };
        let Some(model) = model::prefix_key(&loaded.checkpoint, &loaded.model, options) else {
            say(format_args!("prefixes are not kept: the system does not tell when files changed"));
            return Ok(None);
        };
        let Some(folder) = self.home.take_prefixes(&found.path)? else {
            say(format_args!("prefixes are not kept: another process keeps those of this model"));
            return Ok(None);
        };
        let mut adapters = HashMap::new();
        if let (Some(adapter), Some(path)) = (&loaded.adapter, &found.adapter) {
            adapters.insert(adapter.id(), Adapter::open(path)?.digest());
        }
        let on_failure = |error: &std::io::Error| {
            say(format_args!("prefixes are kept no longer: cannot write them: {error}"));
        };
        let place = folder.path().to_path_buf();
        let store = PrefixStore::open(PrefixStoreOptions {
            folder: place.clone(),
            lease: Box::new(folder),
            model,
            adapters,
            quota_bytes,
            on_failure: Box::new(on_failure),
        });
        let at = || format!("cannot open the prefixes in {}", place.display());
        let store = store.with_context(at)?;
        say(format_args!(
            "prefixes: {} of at most {} in {}",
            bytes(store.bytes()),
            bytes(quota_bytes),
            place.display()
        ));
        Ok(Some(Box::new(store)))
    }
}

#[cfg(test)]
mod tests {
    use super::Size;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("7", 7),
            ("4G", 4 << 30),
            ("500m", 500 << 20),
            ("2 KiB", 2048),
            ("1TB", 1 << 40),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "G", "-1", "1.5G", "4X", "99999999999T", "1KK"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
