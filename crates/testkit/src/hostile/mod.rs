//! Clients that a server must survive: malformed and oversized requests with the status that each
//! must get ([`cases`]), and many at once that hang up, dawdle or lie ([`storm`]). Loopback only;
//! every loop has a count and every socket a time.

mod cases;
mod process;
mod storm;

pub use cases::{Case, cases, check};
pub use process::Usage;
pub use storm::{Storm, Tally, storm};

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a hostile client waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most bytes that are kept of an answer.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// A connection that gives up in time.
fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Everything until the server closes, as text; what was read before an error counts.
fn read_all(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    // A server that refuses may close before it has read everything, which resets the connection.
    let _ = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The status codes of all answers in a text, interim ones included.
fn statuses(text: &str) -> Vec<u16> {
    let heads = text.split("HTTP/1.1 ").skip(1);
    heads.filter_map(|head| head.get(..3)?.parse().ok()).collect()
}

/// A `POST` of a JSON body, after which the server closes.
fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Sends bytes as far as the server takes them.
fn send(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    stream.write_all(bytes).is_ok()
}
