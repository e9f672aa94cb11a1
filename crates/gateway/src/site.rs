//! Pages of other sites: what a browser sends for them is refused.
//!
//! Without CORS headers a page cannot read what the server answers. Two ways are left. A page may
//! send requests that need no leave, and so make a server that is reached from this machine alone
//! load models and compute; the browser then names the page's site in `Origin`. Or its name may
//! be made to mean 127.0.0.1 when the page is loaded already (DNS rebinding), so that the server
//! counts as its own site; `Host` then has that name.

use std::net::IpAddr;

use axum::http::{HeaderMap, Method, header};
use dialect::ApiError;

use crate::cors::Origins;

/// Endings of names that no public name server answers for.
const LOCAL_ENDINGS: [&str; 3] = [".localhost", ".local", ".internal"];

/// Checks a request to a server that listens for this machine alone (`is_loopback`) or for others,
/// and that lets pages of some sites in by name.
///
/// # Errors
/// Another site's page asks.
pub(crate) fn check(
    method: &Method,
    headers: &HeaderMap,
    is_loopback: bool,
    origins: &Origins,
) -> Result<(), ApiError> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST);
    if let Some(host) = host.filter(|host| is_loopback && !is_local(host)) {
        let message = format!(
            "this server is for programs of this machine, and {host:?} is no name of it; use 127.0.0.1 or localhost"
        );
        return Err(ApiError::new(403, message).with_code("foreign_host"));
    }
    let changes_nothing = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    let Some(origin) = text(header::ORIGIN).filter(|_| !changes_nothing) else { return Ok(()) };
    // Programs with windows of their own have origins of other schemes, as app://.
    let site = origin.strip_prefix("https://").or(origin.strip_prefix("http://"));
    let is_own = match site {
        Some(site) => Some(site) == host || is_near(site),
        // A frame that its page has cut off is `null`, and any page can make one.
        None => origin != "null",
    };
    if is_own || origins.allow(origin) {
        return Ok(());
    }
    let message = format!("pages of {origin:?} may not use this server");
    Err(ApiError::new(403, message).with_code("foreign_origin"))
}

/// Whether a host, with a port or without, is an address or a name that only this network knows:
/// nobody can make it mean another machine when the page is loaded already.
fn is_local(host: &str) -> bool {
    let name = name_of(host);
    name.parse::<IpAddr>().is_ok() || is_local_name(&name)
}

/// Whether a page's host is this machine or one of its network. Any site can be reached by its
/// address, so not every address is.
fn is_near(host: &str) -> bool {
    let name = name_of(host);
    name.parse().map_or_else(|_| is_local_name(&name), is_private)
}

fn is_local_name(name: &str) -> bool {
    name == "localhost" || LOCAL_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

fn is_private(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let is_of_network = match address {
        IpAddr::V4(address) => address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => address.is_unique_local() || address.is_unicast_link_local(),
    };
    is_of_network || address.is_loopback() || address.is_unspecified()
}

/// A host without its port and brackets, in lower case.
fn name_of(host: &str) -> String {
    let name = match host.strip_prefix('[') {
        Some(address) => address.split_once(']').map_or(address, |(address, _)| address),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn friends() -> Origins {
        Origins::new(&["https://friend.example".to_owned()]).expect("an origin")
    }

    fn is_allowed(method: Method, host: &str, origin: Option<&'static str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(host).expect("a header"));
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
        }
        check(&method, &headers, true, &friends()).is_ok()
    }

    #[test]
    fn names_of_this_machine_are_known() {
        for host in ["localhost:8080", "127.0.0.1:8080", "[::1]:9", "LOCALHOST", "box.local:1"] {
            assert!(is_allowed(Method::GET, host, None), "{host}");
        }
        for host in ["evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", ""] {
            assert!(!is_allowed(Method::GET, host, None), "{host}");
        }
        let (get, none) = (Method::GET, HeaderMap::new());
        assert!(check(&get, &none, true, &friends()).is_ok(), "an old client without Host");
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("models.example"));
        assert!(
            check(&get, &headers, false, &friends()).is_ok(),
            "who listens for others has names"
        );
    }

    #[test]
    fn pages_of_other_sites_change_nothing() {
        let host = "127.0.0.1:8080";
        for origin in [
            "https://evil.example",
            "http://evil.example:8080",
            "http://203.0.113.7",
            "http://[2001:db8::7]:8080",
            "http://[::ffff:203.0.113.7]",
            "null",
        ] {
            assert!(!is_allowed(Method::POST, host, Some(origin)), "{origin}");
            assert!(!is_allowed(Method::DELETE, host, Some(origin)), "{origin}");
            assert!(is_allowed(Method::GET, host, Some(origin)), "it cannot read the answer");
        }
        for origin in [
            "http://127.0.0.1:8080",
            "http://localhost:3000",
            "http://[::1]:3000",
            "http://192.168.1.7:3000",
            "app://obsidian.md",
            "https://friend.example",
        ] {
            assert!(is_allowed(Method::POST, host, Some(origin)), "{origin}");
        }
    }
}
