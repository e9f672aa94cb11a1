//! Connections to the server, kept for the next request.

use crate::ask::Fault;
use crate::target::Target;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};

pub(crate) type Body = Full<Bytes>;

/// The connections of a run, of which at most so many are open.
pub(crate) struct Connections {
    host: String,
    port: u16,
    idle: Mutex<Vec<SendRequest<Body>>>,
    places: Semaphore,
}

/// A connection that a request has for itself; it is kept when [`Taken::give_back`] says so.
pub(crate) struct Taken<'a> {
    sender: SendRequest<Body>,
    is_fresh: bool,
    connections: &'a Connections,
    _place: SemaphorePermit<'a>,
}

impl Connections {
    pub(crate) fn new(target: &Target, most: usize) -> Connections {
        let places = Semaphore::new(most.min(Semaphore::MAX_PERMITS));
        let (host, port) = (target.host().to_owned(), target.port());
        Connections { host, port, idle: Mutex::default(), places }
    }

    /// One that is idle, else a new one; waits while as many as may be are in use.
    pub(crate) async fn take(&self) -> Result<Taken<'_>, Fault> {
        let connect = |error: String| Fault::Connect(error);
        let place = self.places.acquire().await.map_err(|error| connect(error.to_string()))?;
        while let Some(sender) = self.pop() {
            if !sender.is_closed() && sender.is_ready() {
                return Ok(Taken { sender, is_fresh: false, connections: self, _place: place });
            }
        }
        let sender = self.open().await.map_err(connect)?;
        Ok(Taken { sender, is_fresh: true, connections: self, _place: place })
    }

    async fn open(&self) -> Result<SendRequest<Body>, String> {
        let text = |error: &dyn std::error::Error| error.to_string();
        let stream = TcpStream::connect((self.host.as_str(), self.port));
        let stream = stream.await.map_err(|error| text(&error))?;
        stream.set_nodelay(true).map_err(|error| text(&error))?;
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| text(&error))?;
        // Whoever waits for an answer on it hears of its end.
        tokio::spawn(async { drop(connection.await) });
        Ok(sender)
    }

    fn pop(&self) -> Option<SendRequest<Body>> {
        self.lock().pop()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<SendRequest<Body>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken<'_> {
    /// Sends a request. A server may close a kept connection just when it is used again: then
    /// nothing was sent, and a new one takes its place.
    pub(crate) async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, Fault> {
        let mut failed = match self.sender.try_send_request(request).await {
            Ok(response) => return Ok(response),
            Err(failed) => failed,
        };
        let unsent = failed.take_message().filter(|_| !self.is_fresh);
        let Some(request) = unsent else { return Err(broken(failed.error())) };
        self.sender = self.connections.open().await.map_err(Fault::Connect)?;
        self.sender.send_request(request).await.map_err(|error| broken(&error))
    }

    /// Keeps the connection: its answer was read to the end.
    pub(crate) async fn give_back(mut self) {
        // Bodies end a moment before their connection is ready again.
        if self.sender.ready().await.is_ok() {
            self.connections.lock().push(self.sender);
        }
    }
}

/// What broke, with its cause.
pub(crate) fn broken(error: &hyper::Error) -> Fault {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    Fault::Broken(format!("{error}{}", cause.unwrap_or_default()))
}
