//! TLS: the certificate's files, read again when they change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::TlsFiles;

/// Most bytes of a file of certificates or a key.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Time between looks at the files.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Why a server cannot speak TLS with the files that it was given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is longer than such files are.
    #[error("{path} has {got} bytes, expected certificates or a key of at most {FILE_BYTES_MAX}")]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length.
        got: u64,
    },
    /// A file is not what it is given as.
    #[error("{path} has no {expected} in PEM form: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        expected: &'static str,
        /// What is there, or what is wrong with it.
        reason: String,
    },
    /// The certificate is for another key.
    #[error(
        "the key {key} is not that of the certificate {certificates}; the certificate of the \
         server comes first in its file"
    )]
    Mismatch {
        /// The certificates' file.
        certificates: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The provider of algorithms and the protocol versions do not fit.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// The certificate that new connections get.
#[derive(Debug)]
pub(crate) struct Certificates {
    files: TlsFiles,
    provider: Arc<CryptoProvider>,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    certified: Arc<CertifiedKey>,
    /// Of the files when they were read last, with success or not.
    stamp: Stamp,
}

/// What changes when a file is written or replaced.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn open(files: &TlsFiles) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        // Before the files are read, so that a later change is seen.
        let stamp = stamp(files);
        let certified = Arc::new(read(files, &provider)?);
        let current = Mutex::new(Current { certified, stamp });
        Ok(Self { files: files.clone(), provider, current })
    }

    /// What a connection begins with.
    ///
    /// # Errors
    /// The provider has no algorithms for the protocol.
    fn server_config(self: &Arc<Self>) -> Result<ServerConfig, TlsError> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider));
        let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
        let mut config =
            builder.with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    /// Reads the files again where they have changed. Those that do not fit, as while they are
    /// being replaced one after the other, change nothing.
    fn refresh(&self) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = stamp(&self.files);
        if stamp == current.stamp {
            return;
        }
        current.stamp = stamp;
        match read(&self.files, &self.provider) {
            Ok(certified) => {
                current.certified = Arc::new(certified);
                tracing::info!(path = %self.files.certificates.display(), "a new certificate is in use");
            }
            Err(error) => tracing::warn!(%error, "the certificate is kept as it was"),
        }
    }
}

/// What a listener needs to speak TLS.
#[derive(Clone)]
pub(crate) struct Tls {
    certificates: Arc<Certificates>,
    acceptor: TlsAcceptor,
}

impl Tls {
    pub(crate) fn new(certificates: Arc<Certificates>) -> Result<Self, TlsError> {
        let acceptor = TlsAcceptor::from(Arc::new(certificates.server_config()?));
        Ok(Self { certificates, acceptor })
    }

    /// Looks at the files from time to time, for ever.
    pub(crate) async fn keep_fresh(&self) {
        loop {
            sleep(LOOK_INTERVAL).await;
            let certificates = Arc::clone(&self.certificates);
            // A defect there must not end the server.
            drop(spawn_blocking(move || certificates.refresh()).await);
        }
    }

    /// A client's handshake, within a time.
    ///
    /// # Errors
    /// It speaks something else or takes too long.
    pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        limit: Duration,
    ) -> std::io::Result<TlsStream<S>> {
        let shaken = timeout(limit, self.acceptor.accept(stream)).await;
        shaken.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current.certified))
    }
}

fn stamp(files: &TlsFiles) -> Stamp {
    [&files.certificates, &files.key].map(|path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}

fn read(files: &TlsFiles, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let TlsFiles { certificates, key } = files;
    let chain = read_certificates(certificates)?;
    let expected = "private key";
    let private = provider.key_provider.load_private_key(read_key(key)?);
    let private = private.map_err(|error| content(key, expected, error.to_string()))?;
    let certified = CertifiedKey::new(chain, private);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(TlsError::Mismatch { certificates: certificates.clone(), key: key.clone() })
        }
        Err(error) => Err(content(certificates, "certificate", error.to_string())),
    }
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let expected = "certificate";
    let bytes = read_file(path)?;
    let chain = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| content(path, expected, error.to_string()))?;
    if chain.is_empty() {
        return Err(content(path, expected, found(&bytes)));
    }
    Ok(chain)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = read_file(path)?;
    let is_encrypted = labels(&bytes).any(|label| label == "ENCRYPTED PRIVATE KEY")
        || bytes.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED);
    if is_encrypted {
        let reason = "the key is encrypted; `openssl pkey -in KEY -out PLAIN` takes that away";
        return Err(content(path, "private key", reason.to_owned()));
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| content(path, "private key", found(&bytes)))
}

/// A header of encrypted keys in the older form (RFC 1421).
const ENCRYPTED: &[u8] = b"Proc-Type: 4,ENCRYPTED";

fn read_file(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Read { path: path.to_owned(), source };
    let got = std::fs::metadata(path).map_err(failed)?.len();
    if got > FILE_BYTES_MAX {
        return Err(TlsError::TooLong { path: path.to_owned(), got });
    }
    std::fs::read(path).map_err(failed)
}

fn content(path: &Path, expected: &'static str, reason: String) -> TlsError {
    TlsError::Content { path: path.to_owned(), expected, reason }
}

/// What a file has that does not have what it should.
fn found(bytes: &[u8]) -> String {
    let labels: Vec<&str> = labels(bytes).take(4).collect();
    match labels.as_slice() {
        [] => "it has no section that begins with -----BEGIN".to_owned(),
        labels => format!("it has {}", labels.join(", ")),
    }
}

/// The labels of a file's sections.
fn labels(bytes: &[u8]) -> impl Iterator<Item = &str> {
    let lines =
        bytes.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    lines.filter_map(|line| line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> (String, String) {
        let made =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn files(folder: &Path, certificates: &[u8], key: &[u8]) -> TlsFiles {
        let files = TlsFiles { certificates: folder.join("cert.pem"), key: folder.join("key.pem") };
        std::fs::write(&files.certificates, certificates).expect("ours");
        std::fs::write(&files.key, key).expect("ours");
        files
    }

    #[test]
    fn what_is_wrong_with_the_files_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let (certificate, key) = made();
        let (_, other) = made();
        let refusal = |certificate: &str, key: &str| {
            let files = files(folder.path(), certificate.as_bytes(), key.as_bytes());
            Certificates::open(&files).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(refusal(&certificate, &key), Ok(()));
        assert_eq!(refusal(&format!("{certificate}{key}"), &format!("{certificate}{key}")), Ok(()));
        for (certificate, key, says) in [
            (
                key.as_str(),
                key.as_str(),
                "cert.pem has no certificate in PEM form: it has PRIVATE KEY",
            ),
            (
                &certificate,
                &certificate,
                "key.pem has no private key in PEM form: it has CERTIFICATE",
            ),
            (&certificate, &other, "is not that of the certificate"),
            ("", &key, "it has no section"),
            (&certificate, "\u{0}\u{ff}", "it has no section"),
            (&certificate[..200], &key, "no certificate in PEM form"),
            (&certificate.replace('A', "B"), &key, "no certificate in PEM form"),
            (&certificate, &key.replace("PRIVATE", "ENCRYPTED PRIVATE"), "is encrypted"),
        ] {
            let refused = refusal(certificate, key).expect_err(says);
            assert!(refused.contains(says), "{refused}");
        }
        let missing =
            TlsFiles { certificates: "/none/cert.pem".into(), key: "/none/key.pem".into() };
        assert!(matches!(Certificates::open(&missing), Err(TlsError::Read { .. })));
    }

    #[test]
    fn any_files_are_read_or_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let (certificate, key) = made();
        bolero::check!().with_type::<(Vec<u8>, Vec<u8>, u16)>().for_each(|(first, second, at)| {
            let mix = |whole: &str, noise: &[u8]| {
                let at = usize::from(*at) % whole.len();
                [&whole.as_bytes()[..at], noise, &whole.as_bytes()[at..]].concat()
            };
            for (a, b) in
                [(first.clone(), second.clone()), (mix(&certificate, first), mix(&key, second))]
            {
                drop(Certificates::open(&files(folder.path(), &a, &b)));
            }
        });
    }

    #[test]
    fn changed_files_are_read_and_broken_ones_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let (certificate, key) = made();
        let opened =
            Certificates::open(&files(folder.path(), certificate.as_bytes(), key.as_bytes()));
        let opened = opened.expect("good files");
        let current = || opened.current.lock().expect("not poisoned").certified.cert[0].to_vec();
        let first = current();
        let (certificate, key) = made();
        // Longer than before, because times may be as coarse as a second.
        let longer = |text: &str| format!("{text}\n\n").into_bytes();
        std::fs::write(folder.path().join("cert.pem"), longer(&certificate)).expect("ours");
        opened.refresh();
        assert_eq!(current(), first, "the key is still the old one");
        std::fs::write(folder.path().join("key.pem"), longer(&key)).expect("ours");
        opened.refresh();
        assert_ne!(current(), first);
    }
}
