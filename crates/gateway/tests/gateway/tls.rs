//! TLS over real sockets: who is let in, how long a handshake may take, certificates that change.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::http::{read_response, request};
use crate::keys::{drive_clients, keyed};
use crate::scripted::{config, eventually, start};
use gateway::{Config, GatewayError, TlsFiles, bind};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// An authority of its own, and the files of a server that it vouches for.
struct Authority {
    folder: tempfile::TempDir,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(rcgen::DnType::CommonName, "an authority");
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("authority.pem"), certificate.pem()).unwrap();
        let certificate = certificate.der().clone();
        Self { folder, issuer: rcgen::Issuer::new(params, key), certificate }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// Writes a new key and a certificate for it, `padding` bytes longer than need be.
    fn issue(&self, padding: usize) -> TlsFiles {
        let at = |name: &str| self.folder.path().join(name);
        let files = TlsFiles { certificates: at("cert.pem"), key: at("key.pem") };
        let key = rcgen::KeyPair::generate().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let end = "\n".repeat(padding);
        std::fs::write(&files.certificates, certificate.pem() + &end).unwrap();
        std::fs::write(&files.key, key.serialize_pem() + &end).unwrap();
        files
    }

    fn connect(&self, address: std::net::SocketAddr) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        StreamOwned::new(connection, socket)
    }
}

fn with_tls(authority: &Authority) -> Config {
    Config { tls: Some(authority.issue(0)), ..config() }
}

/// The first bytes of an answer on a connection that stays.
fn asks_and_stays(stream: &mut StreamOwned<ClientConnection, TcpStream>) -> Vec<u8> {
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        let mut bytes = [0; 1024];
        let n_read = stream.read(&mut bytes).unwrap();
        assert!(n_read > 0, "the connection ended");
        answer.extend_from_slice(&bytes[..n_read]);
    }
    answer
}

fn presented(stream: &StreamOwned<ClientConnection, TcpStream>) -> Vec<u8> {
    stream.conn.peer_certificates().unwrap()[0].to_vec()
}

#[test]
fn it_speaks_http_over_tls_and_nothing_else() {
    let authority = Authority::new();
    let server = start(with_tls(&authority));
    let mut client = authority.connect(server.address);
    let body = serde_json::json!({"model": "own/script", "prompt": "hi"}).to_string();
    client.write_all(&request("POST", "/v1/completions", body.as_bytes())).unwrap();
    let answer = read_response(&mut client);
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("You said: hi ♥"), "{}", answer.body);
    assert_eq!(client.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    // Plain HTTP, noise, and nothing at all; the time for a handshake is half a second here.
    for bytes in [&request("GET", "/health", b"")[..], &[0xff; 300], b""] {
        let begun = Instant::now();
        let mut plain = TcpStream::connect(server.address).unwrap();
        plain.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        plain.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        drop(plain.read_to_end(&mut answer));
        assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
    assert!(asks_and_stays(&mut authority.connect(server.address)).starts_with(b"HTTP/1.1 200"));
}

#[test]
fn a_renewed_certificate_is_used_and_no_connection_ends() {
    let authority = Authority::new();
    // Connections that rest are closed after this.
    let config = Config { head_timeout: Duration::from_secs(30), ..with_tls(&authority) };
    let server = start(config);
    let mut before = authority.connect(server.address);
    asks_and_stays(&mut before);
    authority.issue(2);
    eventually("the new certificate", || {
        let mut after = authority.connect(server.address);
        asks_and_stays(&mut after);
        presented(&after) != presented(&before)
    });
    asks_and_stays(&mut before);
}

#[test]
fn the_clients_of_three_dialects_speak_tls() {
    let authority = Authority::new();
    let keyed = keyed(with_tls(&authority));
    let url = format!("https://localhost:{}", keyed.server.address.port());
    drive_clients(&keyed, &url, Some(&authority.path()));
}

#[test]
fn files_that_do_not_fit_are_refused_before_anything_listens() {
    let authority = Authority::new();
    let files = authority.issue(0);
    let swapped = TlsFiles { certificates: files.key.clone(), key: files.certificates.clone() };
    let other = Authority::new().issue(0);
    let gone = TlsFiles { key: Path::new("/none/key.pem").into(), ..files.clone() };
    for (files, says) in [
        (swapped, "has no certificate in PEM form: it has PRIVATE KEY"),
        (TlsFiles { key: other.key, ..files }, "cannot read"),
        (gone, "/none/key.pem"),
    ] {
        let refused = bind(Config { tls: Some(files), ..config() }).unwrap_err();
        assert!(matches!(refused, GatewayError::Tls(_)));
        assert!(refused.to_string().contains(says), "{refused}");
    }
}
