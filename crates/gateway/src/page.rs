//! The chat page: files of the binary, open to everybody who reaches the server, that may load
//! nothing from anywhere else.
//!
//! What a model says is shown by building elements, never by parsing HTML; the headers here hold
//! browsers to that: scripts and styles come from this server alone, and with trusted types no
//! text can become markup.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;

/// A file of the page.
struct Asset {
    name: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! assets {
    ($($name:literal: $content_type:ident),* $(,)?) => {
        &[$(Asset {
            name: $name,
            content_type: $content_type,
            bytes: include_bytes!(concat!("../page/", $name)),
        }),*]
    };
}

/// The page itself is first.
const ASSETS: &[Asset] = assets![
    "index.html": HTML,
    "style.css": CSS,
    "icon.svg": SVG,
    "theme.js": SCRIPT,
    "answer.js": SCRIPT,
    "api.js": SCRIPT,
    "app.js": SCRIPT,
    "dialogs.js": SCRIPT,
    "dom.js": SCRIPT,
    "exchange.js": SCRIPT,
    "highlight.js": SCRIPT,
    "inline.js": SCRIPT,
    "markdown.js": SCRIPT,
    "render.js": SCRIPT,
    "settings.js": SCRIPT,
    "sidebar.js": SCRIPT,
    "sse.js": SCRIPT,
    "store.js": SCRIPT,
    "turns.js": SCRIPT,
];

/// What every file of the page is sent with.
static HEADERS: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    // Files of two versions must never meet, so a browser asks each time, and is told quickly
    // that nothing has changed.
    (header::CACHE_CONTROL, "no-cache"),
];

/// The page, for a browser.
pub(crate) fn index(request: &HeaderMap) -> Response {
    respond(&ASSETS[0], request)
}

/// One of the page's files, or none.
pub(crate) fn asset(name: &str, request: &HeaderMap) -> Option<Response> {
    let asset = ASSETS.iter().skip(1).find(|asset| asset.name == name)?;
    Some(respond(asset, request))
}

fn respond(asset: &Asset, request: &HeaderMap) -> Response {
    let tag = format!("\"{:016x}\"", hash(asset.bytes));
    let known = request.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let is_known = known.is_some_and(|tags| tags.split(',').any(|known| is_tag(known, &tag)));
    let mut response = Response::new(if is_known { Body::empty() } else { asset.bytes.into() });
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    for (name, value) in &HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

/// Whether a tag of `If-None-Match` is this one; a proxy may have made it weak.
fn is_tag(known: &str, tag: &str) -> bool {
    let known = known.trim();
    known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag
}

/// FNV-1a with 64 bits: tells versions of a file apart, and is no secret.
fn hash(bytes: &[u8]) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold)
}
