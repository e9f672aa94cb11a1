//! The generator against a server that does what a script says, over real sockets.

use load::{Arrivals, Endpoint, Extent, Job, Pace, Prompts, Slo, Target, run};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const WHOLE: &str = r#"{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":2,"completion_tokens":1}}"#;

/// Writes an answer to the request of this number; false ends the connection.
type Script = dyn Fn(usize, &mut TcpStream) -> bool + Send + Sync;

/// A server of one path that lives as long as the process.
fn server(script: impl Fn(usize, &mut TcpStream) -> bool + Send + Sync + 'static) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    let (script, count): (Arc<Script>, _) = (Arc::new(script), Arc::new(AtomicUsize::new(0)));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (script, count) = (Arc::clone(&script), Arc::clone(&count));
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
                let mut stream = stream;
                while next_request(&mut reader) {
                    if !script(count.fetch_add(1, Ordering::SeqCst), &mut stream) {
                        return;
                    }
                }
            });
        }
    });
    Target::parse(&format!("http://127.0.0.1:{port}")).expect("a URL")
}

/// Reads one request to its end.
fn next_request(reader: &mut BufReader<TcpStream>) -> bool {
    let (mut line, mut length) = (String::new(), 0);
    loop {
        line.clear();
        if !reader.read_line(&mut line).is_ok_and(|n| n > 0) {
            return false;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a number");
        }
        if line == "\r\n" {
            return reader.read_exact(&mut vec![0; length]).is_ok();
        }
    }
}

fn say(stream: &mut TcpStream, status: &str, body: &str) -> bool {
    let length = body.len();
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}").is_ok()
}

fn job(target: Target, pace: Pace, extent: Extent) -> Job {
    Job {
        target,
        endpoint: Endpoint::Chat,
        model: Some("m".to_owned()),
        api_key: None,
        stream: false,
        prompts: Prompts::Words(2),
        generate: 1,
        ignore_eos: false,
        pace,
        extent,
        warmup: 0,
        connections: 64,
        timeout: Duration::from_secs(20),
        slo: Slo::default(),
        seed: 1,
    }
}

#[test]
fn a_server_that_stands_still_is_charged_for_all_that_was_planned_meanwhile() {
    let stalls = || {
        let begun = Instant::now();
        server(move |_, stream| {
            let stall = Duration::from_millis(200)..Duration::from_millis(700);
            if stall.contains(&begun.elapsed()) {
                std::thread::sleep(stall.end.saturating_sub(begun.elapsed()));
            }
            say(stream, "200 OK", WHOLE)
        })
    };
    let extent = Extent::Time(Duration::from_secs(1));
    let open = Pace::Open { per_second: 100.0, arrivals: Arrivals::Constant };
    let open = run(&job(stalls(), open, extent), &mut |_| {}).expect("it runs");
    let closed = run(&job(stalls(), Pace::Closed { clients: 1 }, extent), &mut |_| {});
    let closed = closed.expect("it runs");
    assert_eq!((open.completed, open.requests, open.failed()), (100, 100, 0));
    // Half of the requests were planned within the stall, and wait for what is left of it.
    assert!(open.end_to_end.seconds_at(0.7) >= Some(0.15), "{:?}", open.end_to_end.seconds_at(0.7));
    // A client that waits asks once within it.
    assert!(closed.end_to_end.seconds_max() >= Some(0.4));
    assert!(closed.end_to_end.seconds_at(0.7) < open.end_to_end.seconds_at(0.7));
}

/// A plan that no machine keeps up with: what is not sent is counted, and nothing is kept of it.
#[test]
fn what_cannot_be_sent_in_time_is_counted() {
    let target = server(|_, stream| say(stream, "200 OK", WHOLE));
    let extent = Extent::Requests(400_000);
    let pace = Pace::Open { per_second: 1e9, arrivals: Arrivals::Constant };
    let job = Job { timeout: Duration::from_secs(2), connections: 1, ..job(target, pace, extent) };
    let report = run(&job, &mut |_| {}).expect("it runs");
    let not_sent = report.errors.get("not_sent").map_or(0, |(count, _)| *count);
    assert_eq!((report.requests, report.completed + report.failed()), (400_000, 400_000));
    assert!(not_sent > 100_000 && report.completed > 0, "{not_sent} {}", report.completed);
}

#[test]
fn failures_are_told_apart() {
    let target = server(|index, stream| match index % 5 {
        0 => say(stream, "200 OK", WHOLE),
        1 => say(stream, "429 Too Many Requests", "later"),
        2 => false,
        3 => say(stream, "200 OK", "{\"choices\": ["),
        _ => say(stream, "200 OK", r#"{"error": {"message": "no"}}"#),
    });
    let (pace, extent) = (Pace::Closed { clients: 1 }, Extent::Requests(50));
    let report = run(&job(target, pace, extent), &mut |_| {}).expect("it runs");
    assert_eq!((report.requests, report.completed, report.prompt_tokens), (50, 10, 20));
    for kind in ["status_429", "broken", "malformed", "error_event"] {
        assert_eq!(
            report.errors.get(kind).map(|(count, _)| *count),
            Some(10),
            "{kind}: {report:?}"
        );
    }
    assert_eq!(report.errors["status_429"].1, "later");
}

#[test]
fn a_stream_that_ends_early_is_no_answer() {
    let piece = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    let target = server(move |index, stream| {
        let end = if index.is_multiple_of(2) { "data: [DONE]\n\n" } else { "" };
        say(stream, "200 OK", &format!("{piece}{piece}{end}"))
    });
    let mut job = job(target, Pace::Closed { clients: 2 }, Extent::Requests(20));
    job.stream = true;
    let report = run(&job, &mut |_| {}).expect("it runs");
    assert_eq!((report.completed, report.output_tokens), (10, 20));
    assert_eq!(report.errors["incomplete"].0, 10);
    assert_eq!((report.first_token.count(), report.inter_token.count()), (10, 10));
}

#[test]
fn a_server_that_is_not_there_is_an_error_before_the_measurement() {
    let gone = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = gone.local_addr().expect("it is bound").port();
    drop(gone);
    let target = Target::parse(&format!("http://127.0.0.1:{port}")).expect("a URL");
    let mut job = job(target, Pace::Closed { clients: 1 }, Extent::Requests(1));
    job.warmup = 1;
    let error = run(&job, &mut |_| {}).expect_err("nobody listens");
    assert!(error.to_string().contains("connect"), "{error}");
}
