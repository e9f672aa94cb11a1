//! Pages of other sites that are let in by name (the CORS protocol of the Fetch standard).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

/// Most bytes of the list of headers that a page says it will send.
const ASKED_BYTES_MAX: usize = 4096;
/// What pages may do.
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE");
/// Seconds for which a browser need not ask again.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");
/// What pages may read beside the body.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "x-request-id, request-id, x-freehold-ignored, x-freehold-cut, retry-after, \
     x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, \
     x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens",
);
/// A page of a public site asks for a server in a private network (Private Network Access).
const ASKS_PRIVATE: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOWS_PRIVATE: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// What was given is not the origin of a site.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is no origin of pages: {why}; expected one such as https://chat.example:8443")]
pub struct OriginError {
    /// What was given.
    pub given: String,
    /// What is wrong.
    pub why: &'static str,
}

/// The sites whose pages may use the server.
#[derive(Debug, Clone)]
pub(crate) struct Origins(Arc<[String]>);

impl Origins {
    /// Takes origins as browsers write them.
    ///
    /// # Errors
    /// One is something else, such as `*` or a page's address.
    pub(crate) fn new(given: &[String]) -> Result<Self, OriginError> {
        given.iter().map(|origin| normal(origin)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a page of this origin is let in.
    pub(crate) fn allow(&self, origin: &str) -> bool {
        self.0.iter().any(|allowed| allowed == origin)
    }

    /// Answers a browser that asks whether a page may, and tells it of other answers that the page
    /// may read them. Others hear nothing of it.
    pub(crate) async fn pass(self, request: Request, next: Next) -> Response {
        if self.0.is_empty() {
            return next.run(request).await;
        }
        let origin = request.headers().get(header::ORIGIN).cloned();
        let allowed = origin.filter(|origin| origin.to_str().is_ok_and(|text| self.allow(text)));
        let asks = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        let is_preflight = asks && request.method() == Method::OPTIONS;
        let mut response = if allowed.is_some() && is_preflight {
            preflight(request.headers())
        } else {
            next.run(request).await
        };
        let headers = response.headers_mut();
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = allowed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
        response
    }
}

/// The answer to a browser that asks for a page that is let in. Keys come in headers that the page
/// sets, so all that it names are taken; cookies are not used, so none are asked for.
fn preflight(asked: &HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    let names = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
    if let Some(names) = names.filter(|names| names.len() <= ASKED_BYTES_MAX) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    if asked.contains_key(ASKS_PRIVATE) {
        headers.insert(ALLOWS_PRIVATE, HeaderValue::from_static("true"));
    }
    response
}

/// An origin as browsers write it: scheme, host and a port that is not the scheme's own, in lower
/// case.
fn normal(given: &str) -> Result<String, OriginError> {
    let wrong = |why| Err(OriginError { given: given.to_owned(), why });
    let origin = given.trim().to_ascii_lowercase();
    if origin == "*" {
        return wrong("it would let every page in");
    }
    if origin == "null" {
        return wrong("any page can have it");
    }
    let Some((scheme, host)) = origin.split_once("://") else {
        return wrong("it has no scheme");
    };
    let is_scheme =
        scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    if scheme.is_empty() || !is_scheme {
        return wrong("its scheme is none");
    }
    if host.contains(['/', '?', '#', '@']) {
        return wrong("it has more than a scheme, a host and a port");
    }
    if host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_graphic()) || host.contains('*') {
        return wrong("its host is none");
    }
    let own_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => "",
    };
    let host = host.strip_suffix(own_port).unwrap_or(host);
    Ok(format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_as_browsers_write_them() {
        for (given, origin) in [
            ("https://chat.example", "https://chat.example"),
            ("HTTPS://Chat.Example:443", "https://chat.example"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("app://obsidian.md", "app://obsidian.md"),
        ] {
            assert_eq!(normal(given).as_deref(), Ok(origin));
        }
        for given in [
            "*",
            "null",
            "",
            "chat.example",
            "https://",
            "https://a/",
            "https://a/b",
            "https://*.a",
            "://a",
            "https://u@a",
            "https://a b",
            "ht_tp://a",
        ] {
            assert!(normal(given).is_err(), "{given}");
        }
    }

    #[test]
    fn any_text_is_an_origin_or_an_error() {
        bolero::check!().with_type::<String>().for_each(|text| {
            if let Ok(origin) = normal(text) {
                assert_eq!(normal(&origin).as_ref(), Ok(&origin));
                assert!(HeaderValue::from_str(&origin).is_ok());
            }
        });
    }
}
