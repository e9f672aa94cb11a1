//! Where the server is and which of its endpoints is asked.

/// Why a URL is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// It is not of a form that is read here.
    #[error("`{url}` is no URL of a server; expected http://HOST[:PORT][/PATH]")]
    Malformed {
        /// What was given.
        url: String,
    },
    /// A scheme that is not spoken.
    #[error("`{url}`: only http:// is measured; put what ends TLS in front of this command")]
    Scheme {
        /// What was given.
        url: String,
    },
}

/// A server's address and the path before its endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    host: String,
    port: u16,
    base: String,
}

impl Target {
    /// Reads `http://HOST[:PORT][/PATH]`; the path is `/v1` where there is none.
    ///
    /// # Errors
    /// Another form or scheme.
    pub fn parse(url: &str) -> Result<Target, TargetError> {
        let malformed = || TargetError::Malformed { url: url.to_owned() };
        if url.starts_with("https://") {
            return Err(TargetError::Scheme { url: url.to_owned() });
        }
        let rest = url.strip_prefix("http://").ok_or_else(malformed)?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let is_plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
        if !is_plain(rest) || rest.contains(['?', '#', '@']) {
            return Err(malformed());
        }
        let (host, port) = split_port(authority).ok_or_else(malformed)?;
        let base = match path.trim_end_matches('/') {
            "" => "/v1",
            path => path,
        };
        Ok(Target { host: host.to_owned(), port, base: base.to_owned() })
    }

    /// The host, without the brackets of an IPv6 address.
    pub(crate) fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What the `Host` header says.
    pub(crate) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The path of an endpoint.
    pub(crate) fn path(&self, of: &str) -> String {
        format!("{}/{of}", self.base)
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.base)
    }
}

fn split_port(authority: &str) -> Option<(&str, u16)> {
    // Colons within brackets belong to an IPv6 address.
    let after = authority.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match authority[after..].find(':') {
        Some(at) => (&authority[..after + at], authority[after + at + 1..].parse().ok()?),
        None => (authority, 80),
    };
    (!host.is_empty()).then_some((host, port))
}

/// What is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Endpoint {
    /// `chat/completions`.
    #[default]
    Chat,
    /// `completions`.
    Completions,
    /// `embeddings`, which generate nothing and do not stream.
    Embeddings,
}

impl Endpoint {
    /// The name on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Endpoint::Chat => "chat",
            Endpoint::Completions => "completions",
            Endpoint::Embeddings => "embeddings",
        }
    }

    pub(crate) fn path(self) -> &'static str {
        match self {
            Endpoint::Chat => "chat/completions",
            Endpoint::Completions => "completions",
            Endpoint::Embeddings => "embeddings",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        for (url, shown) in [
            ("http://localhost", "http://localhost:80/v1"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/v1"),
            ("http://[::1]:9/api/v3/", "http://[::1]:9/api/v3"),
        ] {
            assert_eq!(Target::parse(url).expect("a URL").to_string(), shown);
        }
        assert_eq!(Target::parse("http://[::1]:9").expect("a URL").host(), "::1");
    }

    #[test]
    fn other_forms_are_refused() {
        for url in ["", "localhost:80", "http://", "http://:80", "http://a:x", "http://a b"] {
            assert!(matches!(Target::parse(url), Err(TargetError::Malformed { .. })), "{url}");
        }
        for url in ["http://user@a", "http://a/?q", "http://a\r\nx: y", "http://a:70000"] {
            assert!(matches!(Target::parse(url), Err(TargetError::Malformed { .. })), "{url}");
        }
        assert!(matches!(Target::parse("https://a"), Err(TargetError::Scheme { .. })));
    }
}
