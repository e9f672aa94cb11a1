//! Keys as clients send them.

use axum::http::{HeaderMap, header};

/// Headers that have a key as it is: Anthropic's clients send the first, Azure's the second.
const PLAIN: [&str; 2] = ["x-api-key", "api-key"];

/// The keys of a request, at most one of each kind. Clients of Anthropic's API may send two, one
/// of which is theirs for another server, so any of them may be the right one.
pub(crate) fn presented(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
    let plain = PLAIN.into_iter().filter_map(|name| headers.get(name));
    let plain = plain.map(|value| value.as_bytes().trim_ascii());
    bearer.into_iter().chain(plain).filter(|key| !key.is_empty())
}

/// What follows the scheme, whose case does not matter (RFC 9110, section 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let at = value.iter().position(|byte| *byte == b' ')?;
    let (scheme, rest) = value.split_at(at);
    scheme.eq_ignore_ascii_case(b"bearer").then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    fn keys(pairs: &[(&'static str, &[u8])]) -> Vec<Vec<u8>> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let Ok(value) = HeaderValue::from_bytes(value) else { continue };
            headers.append(HeaderName::from_static(name), value);
        }
        presented(&headers).map(<[u8]>::to_vec).collect()
    }

    #[test]
    fn every_clients_way_is_understood() {
        for (name, value) in [
            ("authorization", "Bearer fh-1"),
            ("authorization", "bearer   fh-1 "),
            ("x-api-key", "fh-1"),
            ("api-key", " fh-1"),
        ] {
            assert_eq!(keys(&[(name, value.as_bytes())]), [b"fh-1"], "{name}: {value}");
        }
        for value in ["Basic fh-1", "fh-1", "Bearer", "Bearer ", "", "Bearerfh-1"] {
            assert_eq!(keys(&[("authorization", value.as_bytes())]), [b""; 0], "{value}");
        }
        assert_eq!(keys(&[("authorization", b"Bearer a"), ("x-api-key", b"b")]), [b"a", b"b"]);
    }

    #[test]
    fn any_bytes_are_at_most_one_key_a_header_and_none_is_longer() {
        bolero::check!().with_type::<(Vec<u8>, Vec<u8>)>().for_each(|(first, second)| {
            let found = keys(&[
                ("authorization", first),
                ("authorization", second),
                ("x-api-key", second),
                ("api-key", first),
            ]);
            assert!(found.len() <= 3);
            let longest = first.len().max(second.len());
            assert!(found.iter().all(|key| !key.is_empty() && key.len() <= longest));
        });
    }
}
