//! Taking the address, with errors that say what to do.

use std::future::Future;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use serve::Generate;

use crate::config::Config;
use crate::connections;
use crate::kept::{Keeper, Kept};
use crate::pull::Pull;
use crate::routes;

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
        "{address} can be reached from other machines, and the server has no keys: anybody \
         could use it; listen on 127.0.0.1, or allow it explicitly"
    )]
    Open {
        /// Where the server was to listen.
        address: SocketAddr,
    },
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
    pull: Option<Arc<dyn Pull>>,
    kept: Option<Kept>,
    address: SocketAddr,
}

/// Takes the address; connections wait until [`Bound::serve`].
///
/// # Errors
/// The address cannot be bound, or reaches beyond this machine without leave.
pub fn bind(config: Config) -> Result<Bound, GatewayError> {
    let address = config.address;
    if !address.ip().is_loopback() && !config.allow_open {
        return Err(GatewayError::Open { address });
    }
    let failed = |source: std::io::Error| match source.kind() {
        ErrorKind::AddrInUse => GatewayError::AddressInUse { address },
        ErrorKind::PermissionDenied => GatewayError::NotPermitted { address },
        ErrorKind::AddrNotAvailable => GatewayError::NotHere { address },
        _ => GatewayError::Io { address, source },
    };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Bound { config, listener, pull: None, kept: None, address })
}

impl Bound {
    /// Where it listens, with the port that the system chose.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same server, which brings models to this machine when clients ask for it.
    #[must_use]
    pub fn with_pull(self, pull: Arc<dyn Pull>) -> Self {
        Self { pull: Some(pull), ..self }
    }

    /// The same server, which keeps files, batches and responses.
    #[must_use]
    pub fn with_kept(self, kept: Kept) -> Self {
        Self { kept: Some(kept), ..self }
    }

    /// Answers until `shutdown` is ready, then lets answers under way end within the drain time.
    ///
    /// # Errors
    /// The listener cannot be used by the runtime.
    pub async fn serve(
        self,
        generate: Arc<dyn Generate>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), GatewayError> {
        let address = self.address;
        let listener = tokio::net::TcpListener::from_std(self.listener)
            .map_err(|source| GatewayError::Io { address, source })?;
        let keeper = Keeper::new(self.kept, Arc::new(self.config.clone()));
        let sweep = tokio::spawn(keeper.clone().sweep());
        let router = routes::router(&self.config, generate, self.pull, keeper);
        connections::run(listener, router, &self.config, shutdown).await;
        sweep.abort();
        Ok(())
    }
}
