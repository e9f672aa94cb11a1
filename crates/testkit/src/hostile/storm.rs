//! Many clients at once, of which most do not behave.

use super::{connect, post, read_all, send, statuses};
use std::collections::BTreeMap;
use std::io::Read;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Pauses of slow clients, and how many of them a request has at most.
const PAUSE: Duration = Duration::from_millis(5);
const PAUSES_MAX: usize = 40;

/// How many ask how much.
#[derive(Debug, Clone, Copy)]
pub struct Storm {
    /// Clients at once.
    pub clients: usize,
    /// Requests of all of them.
    pub requests: usize,
    /// After this nobody begins another.
    pub limit: Duration,
}

/// What became of the requests.
#[derive(Debug, Default)]
pub struct Tally {
    /// Requests by what their client did.
    pub kinds: BTreeMap<&'static str, usize>,
    /// Answers by status.
    pub statuses: BTreeMap<u16, usize>,
    /// What must not be: no whole answer to a client that waited, or a status of a defect.
    pub problems: Vec<String>,
}

impl Tally {
    /// All requests.
    pub fn requests(&self) -> usize {
        self.kinds.values().sum()
    }
}

/// What a client does with its request, and whether its answer is looked at.
type Manner = (&'static str, fn(&mut TcpStream, &[u8], usize), bool);

const MANNERS: [Manner; 7] = [
    ("waits", waits, true),
    ("writes slowly", writes_slowly, true),
    ("reads slowly", reads_slowly, false),
    ("hangs up at once", hangs_up, false),
    ("hangs up in the body", hangs_up_in_the_body, false),
    ("hangs up in the answer", hangs_up_in_the_answer, false),
    ("says nothing", says_nothing, false),
];

/// Sends the requests, streamed and whole ones in all three dialects, with manners in turns.
pub fn storm(address: SocketAddr, model: &str, storm: Storm) -> Tally {
    let (next, tally) = (AtomicUsize::new(0), Mutex::new(Tally::default()));
    let begun = Instant::now();
    let client = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= storm.requests || begun.elapsed() > storm.limit {
                return;
            }
            one(address, model, index, &tally);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..storm.clients {
            scope.spawn(client);
        }
    });
    tally.into_inner().unwrap_or_default()
}

fn one(address: SocketAddr, model: &str, index: usize, tally: &Mutex<Tally>) {
    let (kind, act, is_read) = MANNERS[index % MANNERS.len()];
    let (bytes, end) = question(model, index);
    let answer = connect(address).map(|mut stream| {
        act(&mut stream, &bytes, index);
        if is_read { read_all(&mut stream) } else { String::new() }
    });
    let Ok(mut tally) = tally.lock() else { return };
    *tally.kinds.entry(kind).or_default() += 1;
    let text = match answer {
        Ok(text) => text,
        Err(error) => return tally.problems.push(format!("request {index}: {error}")),
    };
    if !is_read {
        return;
    }
    let status = statuses(&text).first().copied().unwrap_or(0);
    *tally.statuses.entry(status).or_default() += 1;
    let is_whole = match status {
        200 => text.contains(end),
        // A server may have enough to do, and says when to come again.
        429 | 503 => text.to_ascii_lowercase().contains("retry-after"),
        _ => false,
    };
    if !is_whole {
        let shown: String = text.chars().take(300).collect();
        tally.problems.push(format!("request {index} ({kind}): status {status}: {shown:?}"));
    }
}

/// A request, and what its whole answer contains near its end.
fn question(model: &str, index: usize) -> (Vec<u8>, &'static str) {
    let tokens = 1 + index % 5;
    let chat = format!(
        r#""model": "{model}", "max_tokens": {tokens}, "messages": [{{"role": "user", "content": "Say {index}"}}]"#
    );
    match index / MANNERS.len() % 6 {
        0 => (post("/v1/chat/completions", format!("{{{chat}}}").as_bytes()), "\"usage\""),
        1 => {
            let body = format!(r#"{{{chat}, "stream": true}}"#);
            (post("/v1/chat/completions", body.as_bytes()), "[DONE]")
        }
        2 => {
            let body = format!(
                r#"{{"model": "{model}", "prompt": "Say {index}", "max_tokens": {tokens}}}"#
            );
            (post("/v1/completions", body.as_bytes()), "\"usage\"")
        }
        3 => (post("/v1/messages", format!("{{{chat}}}").as_bytes()), "\"stop_reason\""),
        4 => {
            let body = format!(r#"{{{chat}, "stream": true}}"#);
            (post("/v1/messages", body.as_bytes()), "message_stop")
        }
        _ => {
            let body = format!(
                r#"{{"model": "{model}", "messages": [{{"role": "user", "content": "Say {index}"}}], "options": {{"num_predict": {tokens}}}}}"#
            );
            (post("/api/chat", body.as_bytes()), "\"done\":true")
        }
    }
}

fn waits(stream: &mut TcpStream, bytes: &[u8], _: usize) {
    send(stream, bytes);
}

fn writes_slowly(stream: &mut TcpStream, bytes: &[u8], _: usize) {
    let _ = stream.set_nodelay(true);
    for piece in bytes.chunks(bytes.len().div_ceil(PAUSES_MAX).max(1)) {
        if !send(stream, piece) {
            return;
        }
        std::thread::sleep(PAUSE);
    }
}

fn reads_slowly(stream: &mut TcpStream, bytes: &[u8], _: usize) {
    send(stream, bytes);
    let mut byte = [0];
    for _ in 0..PAUSES_MAX {
        if !matches!(stream.read(&mut byte), Ok(1)) {
            return;
        }
        std::thread::sleep(PAUSE);
    }
}

fn hangs_up(stream: &mut TcpStream, bytes: &[u8], _: usize) {
    send(stream, bytes);
    let _ = stream.shutdown(Shutdown::Both);
}

fn hangs_up_in_the_body(stream: &mut TcpStream, bytes: &[u8], index: usize) {
    send(stream, &bytes[..bytes.len() - 1 - index % 40]);
}

fn hangs_up_in_the_answer(stream: &mut TcpStream, bytes: &[u8], index: usize) {
    send(stream, bytes);
    let mut some = vec![0; 1 + index % 700];
    // However many bytes came, the connection ends here.
    let _ = stream.read(&mut some);
}

fn says_nothing(stream: &mut TcpStream, bytes: &[u8], index: usize) {
    if index.is_multiple_of(2) {
        send(stream, &bytes[..20]);
    }
    std::thread::sleep(PAUSE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_manner_meets_every_dialect() {
        let mut met = std::collections::BTreeSet::new();
        for index in 0..MANNERS.len() * 6 {
            let (bytes, end) = question("m", index);
            let text = String::from_utf8(bytes).expect("it is text");
            let (head, body) = text.split_once("\r\n\r\n").expect("a head");
            serde_json::from_str::<serde_json::Value>(body).expect("it is JSON");
            assert!(head.contains(&format!("content-length: {}", body.len())));
            let path = head.split(' ').nth(1).expect("a path").to_owned();
            met.insert((index % MANNERS.len(), path, end));
        }
        assert_eq!(met.len(), MANNERS.len() * 6);
    }
}
