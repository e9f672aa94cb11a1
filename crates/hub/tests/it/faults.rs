//! What goes wrong on the way, and what a person is told.

use std::time::{Duration, Instant};

use hub::HubError;

use crate::server::{Answer, Request, Server};
use crate::world::{COMMIT, FakeHub, Hook, Recorder, World, hf_listing, large, noise, small};

fn pass() -> Hook {
    Box::new(|_, answer| answer)
}

/// Changes the first `n` answers of the host that serves large files.
fn first(n: usize, change: impl Fn(&Request, Answer) -> Answer + Send + 'static) -> Hook {
    let mut count = 0;
    Box::new(move |request, answer| {
        count += 1;
        if count <= n { change(request, answer) } else { answer }
    })
}

fn weights(bytes: &[u8], on_cdn: Hook) -> FakeHub {
    FakeHub::with_hooks(vec![large("m-Q8_0.gguf", bytes)], pass(), on_cdn)
}

#[test]
fn a_cut_connection_is_resumed_where_it_broke() {
    let bytes = noise(400_000, 1);
    let cut = |_: &Request, mut answer: Answer| {
        answer.cut_after = Some(150_000);
        answer
    };
    let hub = weights(&bytes, first(2, cut));
    let world = World::new(&hub.server.address);
    let recorder = Recorder::default();
    let local = world.pull_with("a/b", &recorder).expect("pulled");
    assert_eq!(std::fs::read(local.path).expect("read"), bytes);
    assert_eq!(recorder.retries(), 2);
    let ranges: Vec<_> = hub.cdn.requests().iter().map(Request::range_from).collect();
    assert_eq!(ranges[0], None);
    assert!(ranges[1..].iter().all(|from| from.is_some_and(|from| from > 0)), "{ranges:?}");
}

#[test]
fn a_stopped_pull_is_resumed_by_the_next() {
    let bytes = noise(2_000_000, 1);
    let slow = |_: &Request, mut answer: Answer| {
        answer.slow = Some(Duration::from_millis(1));
        answer
    };
    let hub = weights(&bytes, first(1, slow));
    let world = World::new(&hub.server.address);
    let stop = Recorder { stop_after_bytes: Some(600_000), ..Recorder::default() };
    let begun = Instant::now();
    let error = world.pull_with("a/b", &stop).expect_err("stopped");
    assert!(matches!(error, HubError::Cancelled), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    world.assert_nothing_whole();
    let local = world.pull("a/b").expect("pulled");
    assert_eq!(std::fs::read(local.path).expect("read"), bytes);
    let from = hub.cdn.requests().last().and_then(Request::range_from);
    assert!(from.is_some_and(|from| from >= 500_000), "{from:?}");
}

#[test]
fn kept_bytes_of_another_version_are_not_continued() {
    let hub = weights(
        &noise(400_000, 1),
        first(usize::MAX, |_, mut answer| {
            answer.cut_after = Some(50_000);
            answer
        }),
    );
    let world = World::new(&hub.server.address);
    let error = world.pull("a/b").expect_err("always cut");
    assert!(matches!(error, HubError::Interrupted { attempts: 4, .. }), "{error:?}");
    world.assert_nothing_whole();
    // The hub has another version by now, of the same size.
    let other = noise(400_000, 2);
    let hub = weights(&other, pass());
    let mut world = world;
    world.config.hf_endpoint = hub.server.address.clone();
    let local = world.pull("a/b").expect("pulled");
    assert_eq!(std::fs::read(local.path).expect("read"), other);
    assert_eq!(hub.cdn.requests()[0].range_from(), None);
}

#[test]
fn damaged_kept_bytes_are_fetched_anew() {
    let bytes = noise(400_000, 1);
    let cut = |_: &Request, mut answer: Answer| {
        answer.cut_after = Some(50_000);
        answer
    };
    let hub = weights(&bytes, first(4, cut));
    let world = World::new(&hub.server.address);
    let mut n_pulls = 0;
    while world.pull("a/b").is_err() {
        n_pulls += 1;
        assert!(n_pulls < 4);
        let partial = &world.files_in("partial")[0];
        let mut kept = std::fs::read(partial).expect("kept");
        kept[0] ^= 1;
        std::fs::write(partial, kept).expect("damaged");
    }
    assert!(n_pulls >= 1);
    let local = world.resolve("a/b").expect("pulled");
    assert_eq!(std::fs::read(local.path).expect("read"), bytes);
}

#[test]
fn a_wrong_hash_is_refused() {
    for (name, wrong) in [("m-Q8_0.gguf", true), ("config.json", false)] {
        let files = vec![
            small("config.json", "{\"a\":1}"),
            large(if wrong { name } else { "model.safetensors" }, noise(5_000, 1)),
        ];
        let flip = move |request: &Request, mut answer: Answer| {
            let whole = answer.status == 200 && !request.target.contains("/api/");
            if whole && let Some(last) = answer.body.last_mut() {
                *last ^= 1;
            }
            answer
        };
        let (on_hub, on_cdn): (Hook, Hook) =
            if wrong { (pass(), Box::new(flip)) } else { (Box::new(flip), pass()) };
        let hub = FakeHub::with_hooks(files, on_hub, on_cdn);
        let world = World::new(&hub.server.address);
        let error = world.pull("a/b").expect_err("not what was promised");
        assert!(matches!(&error, HubError::Hash { file, .. } if file == name), "{error}");
        assert_eq!(world.files_in("models"), Vec::<std::path::PathBuf>::new());
        assert!(world.resolve("a/b").is_err());
    }
}

#[test]
fn a_wrong_size_is_refused_before_and_while_bytes_arrive() {
    let longer = |_: &Request, mut answer: Answer| {
        answer.body.extend_from_slice(b"more");
        answer
    };
    let hub = weights(&noise(5_000, 1), first(usize::MAX, longer));
    let world = World::new(&hub.server.address);
    let error = world.pull("a/b").expect_err("too long");
    assert!(matches!(error, HubError::Size { expected: 5_000, got: 5_004, .. }), "{error}");
    world.assert_nothing_whole();

    let chunked = |_: &Request, mut answer: Answer| {
        let mut body = format!("{:x}\r\n", answer.body.len() + 4).into_bytes();
        body.append(&mut answer.body);
        body.extend_from_slice(b"more\r\n0\r\n\r\n");
        answer.headers.push(("Transfer-Encoding".into(), "chunked".into()));
        // A length beside chunks is what a proxy would refuse; none is told here.
        answer.headers.push(("content-length-is-not-told".into(), String::new()));
        answer.body = body;
        answer
    };
    let hub = weights(&noise(5_000, 1), first(usize::MAX, chunked));
    let world = World::new(&hub.server.address);
    assert!(world.pull("a/b").is_err());
    world.assert_nothing_whole();
}

#[test]
fn another_version_on_the_server_is_found_before_its_bytes() {
    let on_hub: Hook = Box::new(|request, answer| {
        if !request.target.contains("/resolve/") {
            return answer;
        }
        let mut answer = answer;
        for (name, value) in &mut answer.headers {
            if name == "X-Linked-Etag" {
                *value = format!("\"{}\"", "cd".repeat(32));
            }
        }
        answer
    });
    let hub = FakeHub::with_hooks(vec![large("m-Q8_0.gguf", noise(5_000, 1))], on_hub, pass());
    let world = World::new(&hub.server.address);
    let error = world.pull("a/b").expect_err("changed");
    assert!(matches!(error, HubError::Hash { .. }), "{error}");
    world.assert_nothing_whole();
}

#[test]
fn a_changed_entity_tag_restarts_a_file_without_a_hash() {
    let (old, new) = (noise(100_000, 1), noise(120_000, 2));
    let (first_bytes, second_bytes) = (old, new.clone());
    let gets = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::start(move |request| {
        if request.method == "HEAD" {
            // No size is told, so that the two versions differ by their tag alone.
            return Answer::new(405, "");
        }
        if gets.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 {
            let mut answer = Answer::new(200, first_bytes.clone()).with("ETag", "\"v1\"");
            answer.cut_after = Some(60_000);
            return answer;
        }
        // If-Range names the old version: the whole new one is sent.
        let fits = request.header("if-range").is_none_or(|tag| tag == "\"v2\"");
        let answer = if fits {
            Answer::ranged(request, &second_bytes)
        } else {
            Answer::new(200, second_bytes.clone())
        };
        answer.with("ETag", "\"v2\"")
    });
    let world = World::new("http://127.0.0.1:1");
    let local = world.pull(&format!("{}/m.gguf", server.address)).expect("pulled");
    assert_eq!(std::fs::read(local.path).expect("read"), new);
    let conditional = server.requests().iter().any(|r| r.header("if-range") == Some("\"v1\""));
    assert!(conditional, "the kept bytes' version was named");
}

/// Pulls `a/b` from a hub that gives this answer to everything.
fn refused(answer: Answer) -> (HubError, Recorder, World, Server) {
    let server = Server::start(move |_| answer.clone());
    let world = World::new(&server.address);
    let recorder = Recorder::default();
    let error = world.pull_with("a/b", &recorder).expect_err("refused");
    world.assert_nothing_whole();
    (error, recorder, world, server)
}

#[test]
fn gated_and_private_repositories_say_what_to_do() {
    let (error, recorder, ..) = refused(Answer::new(403, "").with("X-Error-Code", "GatedRepo"));
    let text = error.to_string();
    assert!(matches!(error, HubError::Access { status: 403, .. }));
    assert!(text.contains("licence") && text.contains("/a/b"), "{text}");
    assert_eq!(recorder.retries(), 0);
    let (error, ..) = refused(Answer::new(401, r#"{"error":"Invalid credentials"}"#));
    let text = error.to_string();
    assert!(text.contains("Invalid credentials") && text.contains("HF_TOKEN"), "{text}");
    assert!(!text.contains(crate::world::TOKEN));
}

#[test]
fn a_missing_repository_brings_suggestions() {
    let server = Server::start(|request| {
        if request.target.starts_with("/api/models?search=b") {
            return Answer::new(200, r#"[{"id":"a/b2"},{"id":"../x"}]"#);
        }
        Answer::new(401, "").with("X-Error-Code", "RepoNotFound")
    });
    let world = World::new(&server.address);
    let text = world.pull("a/b").expect_err("not there").to_string();
    assert!(text.ends_with("did you mean a/b2?"), "{text}");
    let text = world.pull("smolm2:135m").expect_err("no such name").to_string();
    assert!(text.contains("did you mean smollm2"), "{text}");
}

#[test]
fn passing_failures_are_repeated_and_lasting_ones_reported() {
    for (status, retry_after) in [(429, "0"), (503, ""), (500, "")] {
        let mut count = 0;
        let on_hub: Hook = Box::new(move |_, answer| {
            count += 1;
            if count <= 2 {
                Answer::new(status, "busy").with("Retry-After", retry_after)
            } else {
                answer
            }
        });
        let hub = FakeHub::with_hooks(vec![large("m-Q8_0.gguf", noise(50, 1))], on_hub, pass());
        let world = World::new(&hub.server.address);
        let recorder = Recorder::default();
        world.pull_with("a/b", &recorder).expect("in the end");
        assert_eq!(recorder.retries(), 2, "{status}");
    }
    let (error, recorder, ..) = refused(Answer::new(500, "broken"));
    assert!(matches!(error, HubError::Http { status: 500, attempts: 4, .. }), "{error:?}");
    assert_eq!(recorder.retries(), 3);
    let (error, recorder, ..) = refused(Answer::new(418, "teapot"));
    assert!(matches!(error, HubError::Http { status: 418, attempts: 1, .. }), "{error:?}");
    assert_eq!(recorder.retries(), 0);
}

#[test]
fn hostile_names_and_listings_are_refused() {
    for name in
        ["../../evil.json", "/etc/evil.json", "a\\..\\evil.json", "evil\u{1b}.json", "C:evil.json"]
    {
        let files =
            vec![small(name, "x"), small("config.json", "{}"), large("model.safetensors", "x")];
        let (error, ..) = refused(Answer::new(200, hf_listing("a/b", &files)));
        assert!(matches!(error, HubError::HostileName { .. }), "{name:?}: {error}");
    }
    for body in ["", "null", "[]", "{\"siblings\":3}", "<html>"] {
        let (error, ..) = refused(Answer::new(200, body));
        assert!(matches!(error, HubError::Protocol { .. }), "{body:?}: {error}");
    }
    let deep = "[".repeat(200_000);
    let (error, ..) = refused(Answer::new(200, format!("{{\"cardData\":{deep}")));
    assert!(matches!(error, HubError::Protocol { .. }), "{error}");
}

#[test]
fn a_redirect_in_circles_ends() {
    let (error, ..) = refused(Answer::new(302, "").with("Location", "/again"));
    assert!(error.to_string().contains("redirects"), "{error}");
    let (error, ..) = refused(Answer::new(302, "").with("Location", "file:///etc/passwd"));
    assert!(matches!(error, HubError::Protocol { .. }), "{error}");
}

#[test]
fn offline_says_what_can_be_done_and_uses_what_is_here() {
    let hub = FakeHub::new(vec![large("m-Q8_0.gguf", noise(50, 1))]);
    let mut world = World::new(&hub.server.address);
    world.pull("a/b").expect("pulled while it could be reached");
    // A port that nothing listens on.
    world.config.hf_endpoint = "http://127.0.0.1:1".to_owned();
    let recorder = Recorder::default();
    world.pull_with("a/b", &recorder).expect("what is here");
    assert!(recorder.notes()[0].contains("could not be reached"), "{:?}", recorder.notes());
    let error = world.pull("c/d").expect_err("neither here nor there");
    let text = error.to_string();
    assert!(matches!(error, HubError::Offline { .. }), "{text}");
    for word in ["use what is here: a/b:Q8_0", "HF_ENDPOINT", "path"] {
        assert!(text.contains(word), "{text}");
    }
    world.config.offline = true;
    world.config.hf_endpoint = hub.server.address.clone();
    let asked = hub.server.requests().len();
    world.pull("a/b").expect("what is here");
    assert_eq!(hub.server.requests().len(), asked, "offline means no request");
}

#[test]
fn a_disk_without_room_is_found_before_the_first_byte() {
    let server = Server::start(|request| {
        if request.target.contains("/api/") {
            // 15 TiB, which no test machine has free.
            let body = format!(
                r#"{{"sha":"{COMMIT}","siblings":[{{"rfilename":"m-Q8_0.gguf","lfs":{{"sha256":"{}","size":16492674416640}}}}]}}"#,
                "ab".repeat(32)
            );
            return Answer::new(200, body);
        }
        Answer::new(200, "x")
    });
    let world = World::new(&server.address);
    let error = world.pull("a/b").expect_err("no room");
    if cfg!(unix) {
        assert!(matches!(error, HubError::DiskFull { .. }), "{error}");
        assert!(server.asked("/resolve/").is_empty());
    }
    world.assert_nothing_whole();
}

#[test]
fn a_home_that_cannot_be_written_says_so() {
    let hub = FakeHub::new(vec![large("m-Q8_0.gguf", noise(50, 1))]);
    let mut world = World::new(&hub.server.address);
    // A file where the home should be: even an administrator cannot make a folder there.
    let file = world.folder.path().join("file");
    std::fs::write(&file, "x").expect("written");
    world.config.home = file.join("home");
    let text = world.pull("a/b").expect_err("no folder").to_string();
    assert!(text.contains("file/home"), "{text}");
}
