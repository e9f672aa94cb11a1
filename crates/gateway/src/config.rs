//! The server's address and limits.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// The files of a server's certificate, in PEM form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those that lead to its authority, in this order.
    pub certificates: PathBuf,
    /// The private key, not encrypted.
    pub key: PathBuf,
}

/// The address and every limit of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where to listen; port 0 lets the system choose.
    pub address: SocketAddr,
    /// Listen beyond this machine although there are no keys.
    pub allow_open: bool,
    /// Sites whose pages may use the server, as `https://chat.example:8443`.
    pub cors_origins: Vec<String>,
    /// Speak TLS, with these files.
    pub tls: Option<TlsFiles>,
    /// Most requests under way that compute; a further one is refused.
    pub requests_max: usize,
    /// Most bytes of a request body.
    pub body_bytes_max: usize,
    /// Most bytes of all request bodies in memory.
    pub bodies_bytes_max: usize,
    /// Longest time for a handshake, for the head of a request, and between requests of a connection.
    pub head_timeout: Duration,
    /// Longest time for the body of a request.
    pub body_timeout: Duration,
    /// Longest time that a client may leave a response unread.
    pub write_timeout: Duration,
    /// Most connections at once; further ones wait to be accepted.
    pub connections_max: usize,
    /// Time between signs of life in a silent stream.
    pub heartbeat: Duration,
    /// Longest time for answers under way when the server stops.
    pub drain_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
            allow_open: false,
            cors_origins: Vec::new(),
            tls: None,
            requests_max: 512,
            body_bytes_max: 16 << 20,
            bodies_bytes_max: 256 << 20,
            head_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            connections_max: 1024,
            heartbeat: Duration::from_secs(15),
            drain_timeout: Duration::from_secs(30),
        }
    }
}
