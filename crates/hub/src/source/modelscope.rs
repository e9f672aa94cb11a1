//! ModelScope: `GET /api/v1/models/OWNER/REPO/repo/files?Revision=master&Recursive=true` lists
//! a repository, `GET /models/OWNER/REPO/resolve/master/FILE` gives a file, and
//! `GET /api/v1/models/OWNER/REPO` tells its licence.

use serde::Deserialize;

use super::{Listing, join, listed_count, listed_name, listed_size};
use crate::digest::{ContentHash, Sha256Hex};
use crate::error::HubError;
use crate::names::printable;
use crate::select::RemoteFile;

const REVISION: &str = "master";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer<T> {
    code: i64,
    data: Option<T>,
    #[serde(default)]
    message: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Files {
    files: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    path: String,
    #[serde(rename = "Type")]
    kind: Option<String>,
    size: Option<u64>,
    sha256: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    license: Option<String>,
}

/// The address of a repository's listing.
pub(crate) fn listing_url(endpoint: &str, owner: &str, repo: &str) -> Result<String, HubError> {
    let mut url = join(endpoint, ["api", "v1", "models", owner, repo, "repo", "files"])?;
    url.query_pairs_mut().append_pair("Revision", REVISION).append_pair("Recursive", "true");
    Ok(url.into())
}

/// The address of what is said about a repository.
pub(crate) fn info_url(endpoint: &str, owner: &str, repo: &str) -> Result<String, HubError> {
    join(endpoint, ["api", "v1", "models", owner, repo]).map(String::from)
}

/// The licence, from what is said about a repository.
pub(crate) fn parse_licence(json: &[u8]) -> Option<String> {
    let answer: Answer<Info> = serde_json::from_slice(json).ok()?;
    let licence = answer.data?.license?;
    let licence = licence.trim();
    (!licence.is_empty()).then(|| printable(&licence.to_ascii_lowercase()))
}

/// Reads a repository's listing.
///
/// # Errors
/// What in the listing cannot be believed.
pub(crate) fn parse_listing(
    endpoint: &str,
    owner: &str,
    repo: &str,
    json: &[u8],
) -> Result<Listing, HubError> {
    let place = format!("{endpoint}/models/{owner}/{repo}");
    let wrong = |reason: String| HubError::Protocol { place: place.clone(), reason };
    let answer: Answer<Files> = serde_json::from_slice(json).map_err(|e| wrong(e.to_string()))?;
    if answer.code != 200 {
        let message = answer.message.as_deref().unwrap_or("no reason given");
        return Err(wrong(format!("code {}: {}", answer.code, printable(message))));
    }
    let entries = answer.data.and_then(|data| data.files).unwrap_or_default();
    listed_count(&place, entries.len())?;
    let mut files = Vec::new();
    for entry in entries {
        if entry.kind.as_deref().is_some_and(|kind| kind != "blob") {
            continue;
        }
        let Some(path) = listed_name(&place, &entry.path)? else { continue };
        let parts = ["models", owner, repo, "resolve", REVISION]
            .into_iter()
            .chain(path.as_str().split('/'));
        files.push(RemoteFile {
            bytes: listed_size(&path, entry.size)?,
            hash: entry.sha256.as_deref().and_then(Sha256Hex::parse).map(ContentHash::Sha256),
            location: join(endpoint, parts)?.into(),
            etag: None,
            path,
        });
    }
    Ok(Listing { name: format!("{owner}/{repo}"), files, commit: None, licence: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Listing, HubError> {
        parse_listing("https://hub.example", "a", "b", json.as_bytes())
    }

    #[test]
    fn a_listing_tells_sizes_and_hashes() {
        let json = r#"{"Code":200,"Success":true,"Message":"success","RequestId":"r","Data":{"Files":[
            {"Name":"Q4","Path":"Q4","Type":"tree","Size":0,"Sha256":"","IsLFS":false},
            {"Name":"m.gguf","Path":"Q4/m.gguf","Type":"blob","Size":7,"IsLFS":true,
             "Sha256":"ABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABAB"}]}}"#;
        let listing = parse(json).expect("a listing");
        let [file] = listing.files.as_slice() else { panic!("one file") };
        assert_eq!(file.bytes, Some(7));
        assert!(matches!(file.hash, Some(ContentHash::Sha256(_))));
        assert_eq!(file.location, "https://hub.example/models/a/b/resolve/master/Q4/m.gguf");
    }

    #[test]
    fn failures_inside_a_success_are_seen() {
        let error = parse(r#"{"Code":10010205001,"Message":"model not exist","Data":null}"#);
        assert!(error.expect_err("a failure").to_string().contains("model not exist"));
        assert!(
            parse(r#"{"Code":200,"Data":{"Files":[{"Path":"../m.gguf","Type":"blob"}]}}"#).is_err()
        );
        assert_eq!(
            parse_licence(br#"{"Code":200,"Data":{"License":"Apache License 2.0"}}"#).as_deref(),
            Some("apache license 2.0")
        );
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
            let _ = parse_listing("https://hub.example", "a", "b", bytes);
            let _ = parse_licence(bytes);
        });
        bolero::check!().with_type::<(String, u64, String)>().for_each(|(path, size, sha256)| {
            let json = serde_json::json!({"Code": 200, "Data": {"Files":
                [{"Path": path, "Type": "blob", "Size": size, "Sha256": sha256}]}});
            let _ = parse(&json.to_string());
        });
    }
}
