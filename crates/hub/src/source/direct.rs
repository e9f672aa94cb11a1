//! A GGUF file at an address that is no hub's page.

use reqwest::Url;
use reqwest::header::HeaderMap;

use super::{listed_name, listed_size};
use crate::digest::{ContentHash, sha256_text};
use crate::error::HubError;
use crate::manifest::{ModelKey, URL};
use crate::names::check_key;
use crate::select::{RemoteFile, split_names};

/// The addresses of the file and, for a split one, of its other parts, with their names.
///
/// # Errors
/// [`HubError::HostileName`] if the last part of the address is no file name.
pub(crate) fn parts(url: &str) -> Result<Vec<RemoteFile>, HubError> {
    let wrong = |reason: String| HubError::Protocol { place: url.to_owned(), reason };
    let parsed = Url::parse(url).map_err(|e| wrong(e.to_string()))?;
    let last = parsed.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default();
    let name =
        decode(last).ok_or_else(|| wrong("the file name's % codes are no UTF-8".to_owned()))?;
    let names = split_names(&name).unwrap_or_else(|| vec![name]);
    let one = |name: String| {
        let mut location = parsed.clone();
        location
            .path_segments_mut()
            .map_err(|()| wrong("the address cannot have a path".to_owned()))?
            .pop()
            .push(&name);
        let path = listed_name(url, &name)?
            .ok_or_else(|| wrong("the file name is no model's".to_owned()))?;
        Ok(RemoteFile { path, bytes: None, hash: None, location: location.into(), etag: None })
    };
    names.into_iter().map(one).collect()
}

fn decode(text: &str) -> Option<String> {
    crate::reference::percent_decode(text)
}

/// Where a file from this address stands in the home.
///
/// # Errors
/// None that an address which was parsed could cause.
pub(crate) fn key(url: &str) -> Result<ModelKey, HubError> {
    let parsed = Url::parse(url).ok();
    let host = parsed.as_ref().and_then(Url::host_str).unwrap_or_default();
    let last = url.split(['?', '#']).next().unwrap_or(url).rsplit('/').next().unwrap_or_default();
    let stem = last.strip_suffix(".gguf").unwrap_or(last);
    let clean = |text: &str, fallback: &str| {
        let kept: String = text
            .chars()
            .map(
                |c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' },
            )
            .take(64)
            .collect();
        if check_key(&kept).is_ok() { kept } else { fallback.to_owned() }
    };
    // What follows a `?` is often a signature that changes from day to day.
    let hash = &sha256_text(url.split(['?', '#']).next().unwrap_or(url))[..12];
    ModelKey::new(URL, &clean(host, "host"), &format!("{}-{hash}", clean(stem, "file")), "file")
}

/// What a server says about a file before it is fetched. Only a hub's own header is believed
/// to be a hash of the content.
///
/// # Errors
/// [`HubError::Limit`] for a size that no file has.
pub(crate) fn describe(
    file: &mut RemoteFile,
    first: &HeaderMap,
    last: &HeaderMap,
) -> Result<(), HubError> {
    let text = |headers: &HeaderMap, name: &str| {
        headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let number = |headers: &HeaderMap, name: &str| text(headers, name)?.parse::<u64>().ok();
    file.hash = text(first, "x-linked-etag").as_deref().and_then(ContentHash::parse);
    let bytes = number(first, "x-linked-size").or_else(|| number(last, "content-length"));
    file.bytes = listed_size(&file.path, bytes)?;
    let mark = text(last, "etag").or_else(|| text(last, "last-modified"));
    file.etag = mark.filter(|mark| mark.len() <= 256);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gives_a_name_and_a_place() {
        let files = parts("https://h.example/d/x%20y.gguf?sig=1").expect("a file");
        let [file] = files.as_slice() else { panic!("one file") };
        assert_eq!(file.path.as_str(), "x y.gguf");
        assert_eq!(file.location, "https://h.example/d/x%20y.gguf?sig=1");
        let split = parts("http://h.example/m-00002-of-00003.gguf").expect("its parts");
        assert_eq!(split.len(), 3);
        assert_eq!(split[0].location, "http://h.example/m-00001-of-00003.gguf");
        assert!(parts("https://h.example/..%2fx.gguf").is_err());
        let one = key("https://h.example/x.gguf").expect("a key");
        assert_ne!(one, key("https://h.example/y/x.gguf").expect("another key"));
        assert!(one.repo.starts_with("x-"));
    }
}
