//! The Hugging Face hub: `GET /api/models/OWNER/REPO/revision/main?blobs=true` lists a
//! repository, `GET /OWNER/REPO/resolve/COMMIT/FILE` gives a file.

use serde::Deserialize;

use super::{Listing, join, listed_count, listed_name, listed_size};
use crate::digest::{ContentHash, Sha256Hex, hex_of_len};
use crate::error::HubError;
use crate::names::{check_key, printable};
use crate::select::RemoteFile;

/// Most names that are suggested for a repository that is not there.
const SUGGESTIONS_MAX: usize = 5;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ModelInfo {
    #[serde(default)]
    id: String,
    sha: Option<String>,
    siblings: Vec<Sibling>,
    #[serde(default)]
    card_data: serde_json::Value,
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
    size: Option<u64>,
}

/// The address of a repository's listing.
pub(crate) fn listing_url(endpoint: &str, owner: &str, repo: &str) -> Result<String, HubError> {
    let mut url = join(endpoint, ["api", "models", owner, repo, "revision", "main"])?;
    url.set_query(Some("blobs=true"));
    Ok(url.into())
}

/// The address at which the hub looks for repositories with a similar name.
pub(crate) fn search_url(endpoint: &str, repo: &str) -> Result<String, HubError> {
    let mut url = join(endpoint, ["api", "models"])?;
    url.query_pairs_mut().append_pair("search", repo).append_pair("limit", "5");
    Ok(url.into())
}

/// The repositories that a search found.
pub(crate) fn parse_search(json: &[u8]) -> Vec<String> {
    #[derive(Deserialize)]
    struct Hit {
        id: String,
    }
    let hits: Vec<Hit> = serde_json::from_slice(json).unwrap_or_default();
    let is_repo = |id: &String| {
        id.split_once('/')
            .is_some_and(|(owner, repo)| check_key(owner).and(check_key(repo)).is_ok())
    };
    hits.into_iter().map(|hit| hit.id).filter(is_repo).take(SUGGESTIONS_MAX).collect()
}

/// Reads a repository's listing. Its files are addressed at the commit it tells, so that a
/// push between two files cannot mix versions.
///
/// # Errors
/// What in the listing cannot be believed.
pub(crate) fn parse_listing(
    endpoint: &str,
    owner: &str,
    repo: &str,
    json: &[u8],
) -> Result<Listing, HubError> {
    let place = format!("{endpoint}/{owner}/{repo}");
    let info: ModelInfo = serde_json::from_slice(json)
        .map_err(|e| HubError::Protocol { place: place.clone(), reason: e.to_string() })?;
    listed_count(&place, info.siblings.len())?;
    let commit = info.sha.as_deref().and_then(|sha| hex_of_len(sha, 40));
    let revision = commit.as_deref().unwrap_or("main");
    let mut files = Vec::new();
    for sibling in &info.siblings {
        let Some(path) = listed_name(&place, &sibling.rfilename)? else { continue };
        let lfs = sibling.lfs.as_ref();
        let size = lfs.and_then(|lfs| lfs.size).or(sibling.size);
        let hash = match lfs {
            // For a large file the blob id is that of the pointer, not of the content.
            Some(lfs) => lfs.sha256.as_deref().and_then(Sha256Hex::parse).map(ContentHash::Sha256),
            None => sibling
                .blob_id
                .as_deref()
                .and_then(|id| hex_of_len(id, 40))
                .map(ContentHash::GitSha1),
        };
        let parts = [owner, repo, "resolve", revision].into_iter().chain(path.as_str().split('/'));
        files.push(RemoteFile {
            bytes: listed_size(&path, size)?,
            hash,
            location: join(endpoint, parts)?.into(),
            etag: None,
            path,
        });
    }
    let licence = licence_of(&info);
    // The hub takes any case, but the home shall hold a repository once.
    let asked = format!("{owner}/{repo}");
    let name = Some(&info.id).filter(|id| id.eq_ignore_ascii_case(&asked)).cloned();
    Ok(Listing { name: name.unwrap_or(asked), files, commit, licence })
}

/// The card's `license_name` where its `license` is "other", else `license`, else the tag.
fn licence_of(info: &ModelInfo) -> Option<String> {
    let field = |name: &str| info.card_data.get(name)?.as_str();
    let tagged = || info.tags.iter().find_map(|tag| tag.strip_prefix("license:"));
    let licence = match field("license") {
        Some("other") => field("license_name").or(Some("other")),
        Some(licence) => Some(licence),
        None => tagged(),
    };
    licence.filter(|text| !text.is_empty()).map(printable)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = r#"{
        "id": "a/b", "sha": "0123456789012345678901234567890123456789", "private": false,
        "tags": ["gguf", "license:mit"], "cardData": {"license": "apache-2.0"},
        "siblings": [
            {"rfilename": "config.json", "size": 12, "blobId": "3b18e512dba79e4c8300dd08aeb37f8e728b8dad"},
            {"rfilename": "x y.gguf", "size": 9, "blobId": "1111111111111111111111111111111111111111",
             "lfs": {"sha256": "abababababababababababababababababababababababababababababababab", "size": 9, "pointerSize": 130}}
        ]}"#;

    fn parse(json: &str) -> Result<Listing, HubError> {
        parse_listing("https://hub.example", "a", "b", json.as_bytes())
    }

    #[test]
    fn a_listing_tells_sizes_hashes_and_licence() {
        let listing = parse(LISTING).expect("a listing");
        assert_eq!(listing.licence.as_deref(), Some("apache-2.0"));
        let [config, weights] = listing.files.as_slice() else { panic!("two files") };
        assert!(matches!(config.hash, Some(ContentHash::GitSha1(_))));
        assert!(matches!(weights.hash, Some(ContentHash::Sha256(_))));
        assert_eq!(weights.bytes, Some(9));
        assert_eq!(
            weights.location,
            "https://hub.example/a/b/resolve/0123456789012345678901234567890123456789/x%20y.gguf"
        );
    }

    #[test]
    fn hostile_listings_are_refused() {
        for (from, to) in [
            ("config.json", "../config.json"),
            ("config.json", "/etc/x.json"),
            ("config.json", "a\\\\b.json"),
            ("config.json", "a\\u0000.json"),
            ("\"size\": 12", "\"size\": 99999999999999999"),
            ("\"size\": 12", "\"size\": -1"),
            ("\"siblings\"", "\"other\""),
        ] {
            assert!(parse(&LISTING.replacen(from, to, 1)).is_err(), "{to}");
        }
        let odd = LISTING.replacen("config.json", "../picture.png", 1);
        assert_eq!(parse(&odd).expect("passed over").files.len(), 1);
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
            let _ = parse_listing("https://hub.example", "a", "b", bytes);
            let _ = parse_search(bytes);
        });
        bolero::check!().with_type::<(String, u64, String)>().for_each(|(name, size, hash)| {
            let json = serde_json::json!({"sha": hash, "siblings":
                [{"rfilename": name, "size": size, "lfs": {"sha256": hash, "size": size}}]});
            let Ok(listing) = parse(&json.to_string()) else { return };
            for file in listing.files {
                // Nothing in a name can lead the request to another place.
                assert!(file.location.starts_with("https://hub.example/a/b/resolve/"));
                assert!(!file.location.contains(['?', '#']));
            }
        });
    }

    #[test]
    fn a_search_gives_names_only() {
        let json = br#"[{"id":"a/b","x":1},{"id":"no slash"},{"id":"a/../b"}]"#;
        assert_eq!(parse_search(json), ["a/b"]);
    }
}
