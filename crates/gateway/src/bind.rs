//! Taking the address, with errors that say what to do.

use std::future::Future;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use observe::Telemetry;
use serve::Generate;
use store::{Store, StoreError};

use crate::config::Config;
use crate::connections;
use crate::cors::{OriginError, Origins};
use crate::gate::Gate;
use crate::kept::{Keeper, Kept};
use crate::pull::Pull;
use crate::routes::{self, Parts};
use crate::tls::{Certificates, Tls, TlsError};

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// Something listens there already.
    #[error("{address} is in use by another program; choose another port, or stop that program")]
    AddressInUse {
        /// Where the server was to listen.
        address: SocketAddr,
    },
    /// The system forbids it.
    #[error("no permission to listen on {address}; ports below 1024 usually need it")]
    NotPermitted {
        /// Where the server was to listen.
        address: SocketAddr,
    },
    /// The address does not belong to this machine.
    #[error("{address} is not an address of this machine")]
    NotHere {
        /// Where the server was to listen.
        address: SocketAddr,
    },
    /// Others could reach it and there are no keys.
    #[error(
        "{address} can be reached from other machines, and there are no API keys: anybody could \
         use the server; make one with `freehold keys create NAME`, listen on 127.0.0.1, or allow \
         it explicitly with --allow-open"
    )]
    Open {
        /// Where the server was to listen.
        address: SocketAddr,
    },
    /// The store cannot say whether there are keys.
    #[error("cannot read the keys: {0}")]
    Keys(#[from] StoreError),
    /// The certificate or its key is not usable.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A site that is to be let in is none.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// Anything else.
    #[error("cannot listen on {address}: {source}")]
    Io {
        /// Where the server was to listen.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A server that listens and does not answer yet.
#[derive(Debug)]
pub struct Bound {
    pub(crate) config: Config,
    pub(crate) listener: TcpListener,
    pub(crate) certificates: Option<Arc<Certificates>>,
    origins: Origins,
    store: Option<Arc<Store>>,
    pull: Option<Arc<dyn Pull>>,
    telemetry: Option<Arc<Telemetry>>,
    kept: Option<Kept>,
    address: SocketAddr,
}

/// Takes the address, of a server without a store and so without keys; connections wait until
/// [`Bound::serve`].
///
/// # Errors
/// As [`bind_over`].
pub fn bind(config: Config) -> Result<Bound, GatewayError> {
    take(config, None)
}

/// Takes the address, of a server whose keys are in a store.
///
/// # Errors
/// The address cannot be bound, or reaches beyond this machine without keys or leave; the
/// certificate's files or the origins are not usable.
pub fn bind_over(config: Config, store: Arc<Store>) -> Result<Bound, GatewayError> {
    take(config, Some(store))
}

fn take(config: Config, store: Option<Arc<Store>>) -> Result<Bound, GatewayError> {
    let address = config.address;
    let has_keys = store.as_deref().map_or(Ok(false), Store::has_keys)?;
    if !address.ip().is_loopback() && !config.allow_open && !has_keys {
        return Err(GatewayError::Open { address });
    }
    let origins = Origins::new(&config.cors_origins)?;
    let certificates = config.tls.as_ref().map(Certificates::open).transpose()?.map(Arc::new);
    let failed = |source: std::io::Error| match source.kind() {
        ErrorKind::AddrInUse => GatewayError::AddressInUse { address },
        ErrorKind::PermissionDenied => GatewayError::NotPermitted { address },
        ErrorKind::AddrNotAvailable => GatewayError::NotHere { address },
        _ => GatewayError::Io { address, source },
    };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Bound {
        config,
        listener,
        certificates,
        origins,
        store,
        pull: None,
        telemetry: None,
        kept: None,
        address,
    })
}

impl Bound {
    /// Where it listens, with the port that the system chose.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where clients find it, as `https://127.0.0.1:8080`.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.certificates.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Whether clients need a key.
    ///
    /// # Errors
    /// The store cannot say.
    pub fn needs_keys(&self) -> Result<bool, StoreError> {
        self.store.as_deref().map_or(Ok(false), Store::has_keys)
    }

    /// The same server, which brings models to this machine when clients ask for it.
    #[must_use]
    pub fn with_pull(self, pull: Arc<dyn Pull>) -> Self {
        Self { pull: Some(pull), ..self }
    }

    /// The same server, which tells `telemetry` of what it does. Without it `/metrics` has the
    /// counts, and nothing is logged, kept or exported.
    #[must_use]
    pub fn with_telemetry(self, telemetry: Arc<Telemetry>) -> Self {
        Self { telemetry: Some(telemetry), ..self }
    }

    /// The same server, which keeps files, batches and responses.
    #[must_use]
    pub fn with_kept(self, kept: Kept) -> Self {
        Self { kept: Some(kept), ..self }
    }

    /// Answers until `shutdown` is ready, then lets answers under way end within the drain time.
    ///
    /// # Errors
    /// The listener cannot be used by the runtime, the keys cannot be read, or TLS cannot be set
    /// up.
    pub async fn serve(
        self,
        generate: Arc<dyn Generate>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), GatewayError> {
        let address = self.address;
        let listener = tokio::net::TcpListener::from_std(self.listener)
            .map_err(|source| GatewayError::Io { address, source })?;
        let telemetry = match self.telemetry {
            Some(telemetry) => telemetry,
            None => Telemetry::start(Vec::new(), Vec::new())
                .map(Arc::new)
                .map_err(|source| GatewayError::Io { address, source })?,
        };
        let gate = Gate::new(&self.config, self.store)?;
        let keeper = Keeper::new(self.kept, Arc::new(self.config.clone()));
        let sweep = tokio::spawn(keeper.clone().sweep());
        let parts = Parts {
            gate,
            pull: self.pull,
            origins: self.origins,
            telemetry: Arc::clone(&telemetry),
            keeper,
        };
        let router = routes::router(&self.config, generate, parts);
        let tls = self.certificates.map(Tls::new).transpose()?;
        connections::run(listener, tls, router, &self.config, &telemetry, shutdown).await;
        sweep.abort();
        Ok(())
    }
}
