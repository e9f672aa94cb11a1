//! Spans to a collector, by OTLP over HTTP in its JSON form, which every collector takes at the
//! same address as the binary one.
//!
//! <https://opentelemetry.io/docs/specs/otlp/>. A small exporter of our own: the library brings
//! protocol buffers, a second model of spans and a dozen crates for what is one JSON object here.

mod exporter;
mod span;

use std::time::Duration;

pub use exporter::Otlp;

/// Where spans go, and what is said with all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpOptions {
    /// The address of the collector's traces, with `/v1/traces`.
    pub url: String,
    /// Headers of each request to the collector.
    pub headers: Vec<(String, String)>,
    /// `service.name` and whatever else describes this server.
    pub resource: Vec<(String, String)>,
    /// Longest time for one request to the collector.
    pub timeout: Duration,
    /// Longest time that a span is held back for others to go with it.
    pub delay: Duration,
    /// Where this server is asked: `server.address` and `server.port`.
    pub address: Option<(String, u16)>,
}

/// Settings of the exporter that make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OtlpError {
    /// The address of the collector.
    #[error("{url} is no address of a collector: expected http:// or https://")]
    Url {
        /// As given.
        url: String,
    },
    /// A protocol that is not spoken.
    #[error("the OTLP protocol {0} is not supported: expected http/json")]
    Protocol(String),
    /// A list of names and values.
    #[error("{name} is not a list of NAME=VALUE with commas between: {reason}")]
    List {
        /// Which setting.
        name: &'static str,
        /// What is wrong, without a value.
        reason: &'static str,
    },
    /// A header that HTTP does not allow.
    #[error("the header {0} cannot be sent to a collector")]
    Header(String),
    /// A number of milliseconds.
    #[error("{0} is no number of milliseconds")]
    Milliseconds(&'static str),
    /// The system gives no thread, or no connection can be set up.
    #[error("cannot start the exporter of spans: {0}")]
    Start(String),
}

/// Most bytes of an address or a list.
const SETTING_BYTES_MAX: usize = 16 << 10;

impl OtlpOptions {
    /// Options for a collector at `endpoint`, to which the path of traces is added, and whatever
    /// OpenTelemetry's own environment variables say, read by `variable`. `None` where neither
    /// names a collector, or where they turn it off.
    ///
    /// # Errors
    /// A setting that makes no sense or cannot be followed.
    pub fn read(
        endpoint: Option<&str>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, OtlpError> {
        let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let is = |name: &str, value: &str| set(name).is_some_and(|set| set.trim() == value);
        let traces_url = set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        let base = endpoint.map(str::to_owned);
        let from_base = |base: String| format!("{}/v1/traces", base.trim_end_matches('/'));
        let url = match base {
            Some(base) => Some(from_base(base)),
            None if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") => None,
            None => traces_url.or_else(|| set("OTEL_EXPORTER_OTLP_ENDPOINT").map(from_base)),
        };
        let Some(url) = url else { return Ok(None) };
        let is_http = url.starts_with("http://") || url.starts_with("https://");
        if !is_http || url.len() > SETTING_BYTES_MAX {
            return Err(OtlpError::Url { url });
        }
        let either = |traces: &str, all: &str| set(traces).or_else(|| set(all));
        let protocol = either("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL");
        // Who speaks the binary form over HTTP takes the JSON form at the same address.
        if let Some(other) = protocol.filter(|p| p != "http/json" && p != "http/protobuf") {
            return Err(OtlpError::Protocol(other));
        }
        let headers = either("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS");
        let mut resource =
            list("OTEL_RESOURCE_ATTRIBUTES", set("OTEL_RESOURCE_ATTRIBUTES").as_deref())?;
        let has_name = resource.iter().any(|(name, _)| name == "service.name");
        if let Some(name) = set("OTEL_SERVICE_NAME") {
            resource.retain(|(name, _)| name != "service.name");
            resource.push(("service.name".to_owned(), name));
        } else if !has_name {
            resource.push(("service.name".to_owned(), "freehold".to_owned()));
        }
        let timeout = either("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT");
        Ok(Some(Self {
            url,
            headers: list("OTEL_EXPORTER_OTLP_HEADERS", headers.as_deref())?,
            resource,
            timeout: millis("OTEL_EXPORTER_OTLP_TIMEOUT", timeout.as_deref(), 10_000)?,
            delay: millis(
                "OTEL_BSP_SCHEDULE_DELAY",
                set("OTEL_BSP_SCHEDULE_DELAY").as_deref(),
                5_000,
            )?,
            address: None,
        }))
    }
}

fn millis(name: &'static str, text: Option<&str>, default: u32) -> Result<Duration, OtlpError> {
    let number = text.map_or(Ok(default), |text| text.trim().parse());
    let millis = number.map_err(|_| OtlpError::Milliseconds(name))?;
    Ok(Duration::from_millis(u64::from(millis)))
}

/// `name=value,…` with percent-encoded values, as W3C Baggage writes it.
fn list(name: &'static str, text: Option<&str>) -> Result<Vec<(String, String)>, OtlpError> {
    let wrong = |reason| OtlpError::List { name, reason };
    let text = text.unwrap_or_default();
    if text.len() > SETTING_BYTES_MAX {
        return Err(wrong("it is too long"));
    }
    let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').ok_or_else(|| wrong("there is no `=`"))?;
            let value = decoded(value.trim()).ok_or_else(|| wrong("a value is badly encoded"))?;
            Ok((key.trim().to_owned(), value))
        })
        .collect()
}

/// Percent-decoded; `None` where that does not give text.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        let byte = match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                rest = after;
                let digit = |c: u8| char::from(c).to_digit(16);
                u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?
            }
            (b'%', _) => return None,
            _ => *first,
        };
        bytes.push(byte);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        endpoint: Option<&str>,
        variables: &[(&str, &str)],
    ) -> Result<Option<OtlpOptions>, OtlpError> {
        let variable = |name: &str| {
            variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned())
        };
        OtlpOptions::read(endpoint, variable)
    }

    #[test]
    fn the_environment_is_read_as_opentelemetry_says() {
        let read = read(
            None,
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/"),
                ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b,x=y"),
                ("OTEL_SERVICE_NAME", "mine"),
                ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,deployment=test"),
                ("OTEL_EXPORTER_OTLP_TIMEOUT", "250"),
            ],
        );
        let options = read.expect("it makes sense").expect("there is a collector");
        assert_eq!(options.url, "http://collector:4318/v1/traces");
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(options.headers, [pair("api-key", "a b"), pair("x", "y")]);
        assert_eq!(options.resource, [pair("deployment", "test"), pair("service.name", "mine")]);
        assert_eq!(options.timeout, Duration::from_millis(250));
    }

    #[test]
    fn a_flag_wins_and_nothing_is_asked_of_nobody() {
        let given = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://other/x");
        let url = |read: Result<Option<OtlpOptions>, OtlpError>| {
            read.expect("it makes sense").map(|options| options.url)
        };
        assert_eq!(
            url(read(Some("http://mine"), &[given])).as_deref(),
            Some("http://mine/v1/traces")
        );
        assert_eq!(url(read(None, &[given])).as_deref(), Some("https://other/x"));
        assert_eq!(url(read(None, &[])), None);
        assert_eq!(url(read(None, &[given, ("OTEL_SDK_DISABLED", "true")])), None);
    }

    #[test]
    fn what_cannot_be_followed_is_named() {
        let endpoint = Some("http://c");
        let refused = |variables: &[(&str, &str)]| {
            read(endpoint, variables).expect_err("it is refused").to_string()
        };
        assert!(refused(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).contains("grpc"));
        let secret = refused(&[("OTEL_EXPORTER_OTLP_HEADERS", "secret%zz")]);
        assert!(secret.contains("HEADERS") && !secret.contains("secret"), "{secret}");
        assert!(refused(&[("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")]).contains("TIMEOUT"));
        assert!(read(Some("collector:4317"), &[]).is_err());
    }

    #[test]
    fn lists_are_read_or_refused_without_a_panic() {
        bolero::check!().with_type::<String>().for_each(|text| drop(list("LIST", Some(text))));
    }
}
