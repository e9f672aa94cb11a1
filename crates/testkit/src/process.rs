//! A `freehold serve` that a test or the demo started, stopped when it goes out of scope.

use crate::http;
use std::io;
use std::net::TcpListener;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// A running server and the address it answers on.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// `host:port`.
    pub address: String,
}

impl Server {
    /// Starts `command` and waits until `GET /health` answers 200 on `address`.
    ///
    /// Fails when the process ends first (its own message went where `command` sends it) or
    /// when it is not ready within `limit`.
    pub fn start(command: &mut Command, address: &str, limit: Duration) -> io::Result<Server> {
        let mut server = Server { child: command.spawn()?, address: address.to_owned() };
        let begun = Instant::now();
        loop {
            if let Some(status) = server.child.try_wait()? {
                return Err(io::Error::other(format!("the server ended at once: {status}")));
            }
            if http::get(address, "/health").is_ok_and(|answer| answer.status == 200) {
                return Ok(server);
            }
            if begun.elapsed() > limit {
                return Err(io::Error::other(format!("not ready on {address} after {limit:?}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks the server to stop, as `kill` and service managers do (SIGTERM).
    pub fn terminate(&self) -> io::Result<()> {
        let status = Command::new("kill").arg(self.child.id().to_string()).status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("kill: {status}"))) }
    }

    /// Waits until the server ends by itself.
    pub fn wait(mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port of the loopback interface that is free at this moment.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
