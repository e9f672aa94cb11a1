//! What a hub says a repository holds: one shape for every hub.

pub(crate) mod direct;
pub(crate) mod huggingface;
pub(crate) mod modelscope;

use reqwest::Url;

use crate::error::HubError;
use crate::http::{Auth, Request};
use crate::names::{RepoPath, printable};
use crate::select::RemoteFile;

/// Most files of one repository that are listed.
pub(crate) const LISTED_MAX: usize = 50_000;
/// Largest file that is believed, in bytes: 16 TiB.
pub(crate) const FILE_BYTES_MAX: u64 = 16 << 40;

/// A repository as its hub lists it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing {
    /// `owner/repo` as the hub writes it.
    pub(crate) name: String,
    pub(crate) files: Vec<RemoteFile>,
    pub(crate) commit: Option<String>,
    pub(crate) licence: Option<String>,
}

/// A hub and how to speak to it.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: String,
    pub(crate) auth: Option<Auth>,
    pub(crate) token_variable: &'static str,
}

impl Endpoint {
    /// A request to this hub, or to a place that it redirects to.
    pub(crate) fn request<'a>(
        &'a self,
        url: &'a str,
        model: &'a str,
        page: &'a str,
    ) -> Request<'a> {
        Request {
            url,
            auth: self.auth.as_ref(),
            model,
            page,
            token_variable: self.token_variable,
            range: None,
        }
    }
}

/// Joins parts onto an address, each percent-encoded.
///
/// # Errors
/// [`HubError::Protocol`] if the address cannot have a path.
pub(crate) fn join<'a>(
    address: &str,
    parts: impl IntoIterator<Item = &'a str>,
) -> Result<Url, HubError> {
    let wrong =
        |reason: &str| HubError::Protocol { place: address.to_owned(), reason: reason.to_owned() };
    let mut url = Url::parse(address).map_err(|e| wrong(&e.to_string()))?;
    url.path_segments_mut()
        .map_err(|()| wrong("the address cannot have a path"))?
        .pop_if_empty()
        .extend(parts);
    Ok(url)
}

/// Checks a listed name. Files that no model is made of are passed over, whatever they are
/// called.
///
/// # Errors
/// [`HubError::HostileName`] for a file that could have been chosen.
pub(crate) fn listed_name(place: &str, name: &str) -> Result<Option<RepoPath>, HubError> {
    match RepoPath::new(name) {
        Ok(path) => Ok(Some(path)),
        Err(reason) => {
            let lower = name.to_ascii_lowercase();
            let wanted = [".gguf", ".safetensors", ".json", ".jinja", ".txt", ".model"];
            if !wanted.iter().any(|extension| lower.ends_with(extension)) {
                return Ok(None);
            }
            Err(HubError::HostileName { place: place.to_owned(), name: printable(name), reason })
        }
    }
}

/// Checks a listed size.
///
/// # Errors
/// [`HubError::Limit`] for a size that no file has.
pub(crate) fn listed_size(name: &RepoPath, bytes: Option<u64>) -> Result<Option<u64>, HubError> {
    match bytes {
        Some(got) if got > FILE_BYTES_MAX => {
            Err(HubError::Limit { what: format!("bytes of {name}"), limit: FILE_BYTES_MAX, got })
        }
        other => Ok(other),
    }
}

/// Checks how many files are listed.
///
/// # Errors
/// [`HubError::Limit`].
pub(crate) fn listed_count(place: &str, n_files: usize) -> Result<(), HubError> {
    if n_files > LISTED_MAX {
        return Err(HubError::Limit {
            what: format!("files listed by {place}"),
            limit: LISTED_MAX as u64,
            got: n_files as u64,
        });
    }
    Ok(())
}
