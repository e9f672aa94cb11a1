//! One HTTP exchange with a hub, and when to repeat it.
//!
//! Redirects are followed here and not by the client library: a hub's first answer carries
//! the file's hash, and a token goes to the host it was given for and to no other.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode, Url};

use crate::config::{HubConfig, RetryPolicy, Secret};
use crate::error::HubError;
use crate::names::printable;
use crate::progress::{Event, Reporter};

/// Most redirects of one request.
const REDIRECTS_MAX: usize = 10;
/// Largest answer that is read as text, in bytes: listings of very large repositories.
const TEXT_BYTES_MAX: usize = 32 << 20;
/// Bytes of an error page that are read for its message.
const REASON_BYTES_MAX: usize = 16 << 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Tries to reach a hub at first; more would only delay the advice. In the middle of a
/// transfer a network that is gone for a while is worth waiting for.
const CONTACT_ATTEMPTS_MAX: u32 = 2;

/// A token and how the hub wants it.
#[derive(Clone, Debug)]
pub(crate) struct Auth {
    /// The hub that may see the token.
    origin: Url,
    token: Secret,
    /// ModelScope's older servers read it from a cookie.
    as_cookie: bool,
}

impl Auth {
    /// A token for `endpoint`. One that would cross a network unencrypted is not used.
    pub(crate) fn new(endpoint: &str, token: Option<&Secret>, as_cookie: bool) -> Option<Self> {
        let origin = Url::parse(endpoint).ok()?;
        let safe = origin.scheme() == "https" || is_loopback(&origin);
        let token = token.filter(|_| safe)?.clone();
        Some(Self { origin, token, as_cookie })
    }

    fn applies_to(&self, url: &Url) -> bool {
        self.origin.scheme() == url.scheme()
            && self.origin.host_str() == url.host_str()
            && self.origin.port_or_known_default() == url.port_or_known_default()
    }

    fn headers(&self) -> Vec<(header::HeaderName, HeaderValue)> {
        let token = self.token.expose();
        let mut texts = vec![(header::AUTHORIZATION, format!("Bearer {token}"))];
        if self.as_cookie {
            texts.push((header::COOKIE, format!("m_session_id={token}")));
        }
        texts
            .into_iter()
            .filter_map(|(name, text)| {
                let mut value = HeaderValue::from_str(&text).ok()?;
                value.set_sensitive(true);
                Some((name, value))
            })
            .collect()
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// What a request is for, so that a refusal can be explained.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) url: &'a str,
    pub(crate) auth: Option<&'a Auth>,
    /// The model, for messages.
    pub(crate) model: &'a str,
    /// The page on which a licence is accepted.
    pub(crate) page: &'a str,
    /// The variable that holds a token for this hub.
    pub(crate) token_variable: &'a str,
    /// First byte wanted, with the version it belongs to where that is known.
    pub(crate) range: Option<(u64, Option<&'a str>)>,
}

/// An answer, with what the hub said before redirecting.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) response: Response,
    /// Headers of the first answer that came from the hub itself.
    pub(crate) first: HeaderMap,
}

/// Why an exchange failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It may pass.
    Transient {
        /// What to report if it does not.
        error: HubError,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
    /// Repeating it changes nothing.
    Final(HubError),
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        Self::Final(error)
    }
}

/// The client of one pull.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    client: reqwest::Client,
    /// For servers on this machine, which no proxy is asked for; made when one is met.
    client_loopback: Arc<OnceLock<reqwest::Client>>,
    idle_timeout: Duration,
    retry: RetryPolicy,
}

impl Http {
    pub(crate) fn new(config: &HubConfig) -> Result<Self, HubError> {
        let client = builder(config.idle_timeout)
            .build()
            .map_err(|e| HubError::Setting { name: "network", reason: chain(&e) })?;
        Ok(Self {
            client,
            client_loopback: Arc::default(),
            idle_timeout: config.idle_timeout,
            retry: config.retry,
        })
    }

    fn client_for(&self, url: &Url) -> &reqwest::Client {
        if !is_loopback(url) {
            return &self.client;
        }
        self.client_loopback.get_or_init(|| {
            let built = builder(self.idle_timeout).no_proxy().build();
            built.unwrap_or_else(|_| self.client.clone())
        })
    }

    /// Tries for a transfer that has begun.
    pub(crate) fn backoff(&self) -> Backoff {
        Backoff { policy: self.retry, offline_attempts_max: self.retry.attempts_max, attempts: 0 }
    }

    fn backoff_of_contact(&self) -> Backoff {
        let offline_attempts_max = self.retry.attempts_max.min(CONTACT_ATTEMPTS_MAX);
        Backoff { offline_attempts_max, ..self.backoff() }
    }

    /// Sends one request and follows redirects; anything but success is a [`Failure`].
    pub(crate) async fn send(
        &self,
        method: Method,
        request: Request<'_>,
    ) -> Result<Reply, Failure> {
        let mut url = Url::parse(request.url).map_err(|e| protocol(request.url, e.to_string()))?;
        let mut first = None;
        for _ in 0..=REDIRECTS_MAX {
            let response = self.send_once(&method, &url, request).await?;
            let status = response.status();
            if !status.is_redirection() || status == StatusCode::NOT_MODIFIED {
                let first = first.unwrap_or_else(|| response.headers().clone());
                if status.is_success() {
                    return Ok(Reply { response, first });
                }
                return Err(refusal(response, &url, request).await);
            }
            let next = redirect_target(&url, response.headers())?;
            // A renamed repository answers with a relative address: that hop says nothing
            // about the file yet.
            if next.origin() != url.origin() || has_hash(response.headers()) {
                first.get_or_insert_with(|| response.headers().clone());
            }
            url = next;
        }
        Err(protocol(request.url, format!("more than {REDIRECTS_MAX} redirects")).into())
    }

    async fn send_once(
        &self,
        method: &Method,
        url: &Url,
        request: Request<'_>,
    ) -> Result<Response, Failure> {
        let mut builder = self.client_for(url).request(method.clone(), url.clone());
        // Compressed bytes would be counted and hashed in place of the file's.
        builder = builder.header(header::ACCEPT_ENCODING, "identity");
        if let Some(auth) = request.auth.filter(|auth| auth.applies_to(url)) {
            for (name, value) in auth.headers() {
                builder = builder.header(name, value);
            }
        }
        if let Some((from, version)) = request.range {
            builder = builder.header(header::RANGE, format!("bytes={from}-"));
            if let Some(version) = version {
                builder = builder.header(header::IF_RANGE, version);
            }
        }
        builder.send().await.map_err(|e| transport_failure(url, &e))
    }

    /// The text of an answer, at most [`TEXT_BYTES_MAX`] bytes; failures that may pass are
    /// repeated.
    pub(crate) async fn text(
        &self,
        request: Request<'_>,
        reporter: &Reporter,
    ) -> Result<Vec<u8>, HubError> {
        let mut backoff = self.backoff_of_contact();
        loop {
            match self.text_once(request).await {
                Ok(bytes) => return Ok(bytes),
                Err(failure) => backoff.wait(failure, request.model, reporter).await?,
            }
        }
    }

    pub(crate) async fn text_once(&self, request: Request<'_>) -> Result<Vec<u8>, Failure> {
        let mut reply = self.send(Method::GET, request).await?;
        let mut bytes = Vec::new();
        loop {
            match reply.response.chunk().await {
                Ok(Some(chunk)) if bytes.len() + chunk.len() <= TEXT_BYTES_MAX => {
                    bytes.extend_from_slice(&chunk);
                }
                Ok(Some(chunk)) => {
                    return Err(Failure::Final(HubError::Limit {
                        what: format!("bytes of {}", shown(reply.response.url())),
                        limit: TEXT_BYTES_MAX as u64,
                        got: (bytes.len() + chunk.len()) as u64,
                    }));
                }
                Ok(None) => return Ok(bytes),
                Err(e) => return Err(transport_failure(reply.response.url(), &e)),
            }
        }
    }

    /// What the server says about a file without sending it.
    pub(crate) async fn head(
        &self,
        request: Request<'_>,
        reporter: &Reporter,
    ) -> Result<Reply, HubError> {
        let mut backoff = self.backoff_of_contact();
        loop {
            match self.send(Method::HEAD, request).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => backoff.wait(failure, request.model, reporter).await?,
            }
        }
    }
}

fn builder(idle_timeout: Duration) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("freehold/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(idle_timeout)
}

/// Counts tries and waits between them.
#[derive(Debug)]
pub(crate) struct Backoff {
    policy: RetryPolicy,
    offline_attempts_max: u32,
    attempts: u32,
}

impl Backoff {
    /// Progress was made: the count begins anew.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }

    /// Waits if the failure may pass and tries are left.
    ///
    /// # Errors
    /// The failure, with the number of tries, if not.
    pub(crate) async fn wait(
        &mut self,
        failure: Failure,
        what: &str,
        reporter: &Reporter,
    ) -> Result<(), HubError> {
        let (error, retry_after) = match failure {
            Failure::Final(error) => return Err(error),
            Failure::Transient { error, retry_after } => (error, retry_after),
        };
        self.attempts += 1;
        let attempts_max = match error {
            HubError::Offline { .. } => self.offline_attempts_max,
            _ => self.policy.attempts_max,
        };
        if self.attempts >= attempts_max {
            return Err(with_attempts(error, self.attempts));
        }
        let doubled = self.policy.wait_first.saturating_mul(1 << (self.attempts - 1).min(16));
        let wait = retry_after.unwrap_or(doubled).min(self.policy.wait_max);
        let reason = error.to_string().lines().next().unwrap_or_default().to_owned();
        reporter.send(Event::Retrying { what: what.to_owned(), reason, wait });
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

fn with_attempts(error: HubError, n: u32) -> HubError {
    match error {
        HubError::Http { url, status, reason, .. } => {
            HubError::Http { url, status, reason, attempts: n }
        }
        HubError::Interrupted { url, reason, .. } => {
            HubError::Interrupted { url, reason, attempts: n }
        }
        other => other,
    }
}

fn protocol(place: &str, reason: String) -> HubError {
    HubError::Protocol { place: printable(place), reason }
}

/// An address for messages: what follows `?` may be a signature.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    printable(url.as_str())
}

fn has_hash(headers: &HeaderMap) -> bool {
    headers.contains_key("x-linked-etag") || headers.contains_key("x-linked-size")
}

fn redirect_target(from: &Url, headers: &HeaderMap) -> Result<Url, HubError> {
    let place = shown(from);
    let location = headers
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| protocol(&place, "a redirect without a target".to_owned()))?;
    let next = from
        .join(location)
        .map_err(|e| protocol(&place, format!("a redirect to no address: {e}")))?;
    let downgrade = from.scheme() == "https" && next.scheme() != "https";
    if downgrade || !matches!(next.scheme(), "http" | "https") {
        return Err(protocol(
            &place,
            format!("a redirect from {} to {}", from.scheme(), next.scheme()),
        ));
    }
    Ok(next)
}

/// The whole chain of an error's causes, without addresses that could hold a signature.
fn chain(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&error.to_string());
        cause = error.source();
    }
    if text.is_empty() { "the connection failed".to_owned() } else { printable(&text) }
}

pub(crate) fn transport_failure(url: &Url, error: &reqwest::Error) -> Failure {
    let reason = if error.is_timeout() { "no answer in time".to_owned() } else { chain(error) };
    let error = if error.is_connect() {
        let host = url.host_str().unwrap_or_default().to_owned();
        HubError::Offline { host, reason, hints: Vec::new() }
    } else {
        HubError::Interrupted { url: shown(url), reason, attempts: 1 }
    };
    Failure::Transient { error, retry_after: None }
}

/// What a status that is no success means.
async fn refusal(mut response: Response, url: &Url, request: Request<'_>) -> Failure {
    let status = response.status();
    let header_text =
        |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let (code, message) = (header_text("x-error-code"), header_text("x-error-message"));
    let retry_after = header_text("retry-after")
        .and_then(|text| text.trim().parse::<u64>().ok())
        .map(Duration::from_secs);
    let reason = match message {
        Some(message) => printable(&message),
        None => reason_of(&mut response).await,
    };
    let code = code.unwrap_or_default();
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if code != "RepoNotFound" => {
            Failure::Final(access_error(status, &code, &reason, request))
        }
        StatusCode::NOT_FOUND
        | StatusCode::GONE
        | StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN => Failure::Final(HubError::NotFound {
            what: request.model.to_owned(),
            place: shown(url),
            suggestions: Vec::new(),
        }),
        _ => {
            let error =
                HubError::Http { url: shown(url), status: status.as_u16(), reason, attempts: 1 };
            let passing = status.is_server_error()
                || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
            if passing { Failure::Transient { error, retry_after } } else { Failure::Final(error) }
        }
    }
}

/// The first line of an error page, or the `error` of a JSON one.
async fn reason_of(response: &mut Response) -> String {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() >= REASON_BYTES_MAX {
            break;
        }
    }
    let json = serde_json::from_slice::<serde_json::Value>(&bytes).ok();
    let field = |name: &str| json.as_ref()?.get(name)?.as_str().map(str::to_owned);
    let text = field("error").or_else(|| field("Message")).unwrap_or_else(|| {
        String::from_utf8_lossy(&bytes).lines().next().unwrap_or_default().to_owned()
    });
    if text.trim().is_empty() || text.trim_start().starts_with('<') {
        return "no reason given".to_owned();
    }
    printable(text.trim())
}

fn access_error(status: StatusCode, code: &str, reason: &str, request: Request<'_>) -> HubError {
    let Request { page, token_variable, .. } = request;
    let advice = match (code == "GatedRepo", request.auth.is_some()) {
        (true, true) => format!(
            "its licence has not been accepted for this token; accept it at {page}, then pull again"
        ),
        (true, false) => format!(
            "its licence must be accepted first: sign in and accept it at {page}, make a token, and set {token_variable} to it"
        ),
        (false, true) => {
            format!("the token in use gives no access to {page}; check {token_variable}")
        }
        (false, false) => format!(
            "it is private or needs an account; set {token_variable} to a token that may read {page}"
        ),
    };
    HubError::Access {
        model: request.model.to_owned(),
        status: status.as_u16(),
        reason: format!("{reason}; {advice}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_to_its_host_only_and_never_in_the_clear() {
        let token = Secret::new("t").expect("a token");
        let auth = Auth::new("https://hub.example", Some(&token), false).expect("encrypted");
        let applies = |url: &str| auth.applies_to(&Url::parse(url).expect("an address"));
        assert!(applies("https://hub.example/x"));
        assert!(applies("https://hub.example:443/x"));
        for other in [
            "http://hub.example/x",
            "https://cdn.hub.example/x",
            "https://hub.example:8443/",
            "https://x/hub.example",
        ] {
            assert!(!applies(other), "{other}");
        }
        assert!(Auth::new("http://hub.example", Some(&token), false).is_none());
        for local in ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"] {
            assert!(Auth::new(local, Some(&token), false).is_some(), "{local}");
        }
    }

    #[test]
    fn redirects_stay_on_the_network_and_encrypted() {
        let from = Url::parse("https://hub.example/a/b").expect("an address");
        let target = |location: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::LOCATION, HeaderValue::from_str(location).expect("a value"));
            redirect_target(&from, &headers).map(String::from)
        };
        assert_eq!(target("/c?x=1").expect("relative"), "https://hub.example/c?x=1");
        assert!(target("https://cdn.example/f").is_ok());
        for bad in ["http://hub.example/f", "file:///etc/passwd", "https://"] {
            assert!(target(bad).is_err(), "{bad}");
        }
        assert!(redirect_target(&from, &HeaderMap::new()).is_err());
    }
}
