//! Two processes at once, and one that is killed.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hub::{Event, Hub};

use crate::server::Request;
use crate::world::{FakeHub, Recorder, World, config, large, noise, reference};

const CHILD_HOME: &str = "FREEHOLD_TEST_CHILD_HOME";
const CHILD_ENDPOINT: &str = "FREEHOLD_TEST_CHILD_ENDPOINT";

/// Runs in the process that the other tests start; does nothing otherwise.
#[test]
fn child_that_pulls() {
    let (Some(home), Ok(endpoint)) = (std::env::var_os(CHILD_HOME), std::env::var(CHILD_ENDPOINT))
    else {
        return;
    };
    let hub = Hub::new(config(home.as_ref(), &endpoint));
    hub.pull(&reference("a/b"), &hub::Silent).expect("pulled");
}

fn start_child(world: &World) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "processes::child_that_pulls"])
        .env(CHILD_HOME, world.home())
        .env(CHILD_ENDPOINT, &world.config.hf_endpoint)
        .stdout(Stdio::null())
        .spawn()
        .expect("started")
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn slow_hub(bytes: &[u8], pause: Duration, n_slow: usize) -> FakeHub {
    let mut count = 0;
    FakeHub::with_hooks(
        vec![large("m-Q8_0.gguf", bytes)],
        Box::new(|_, answer| answer),
        Box::new(move |_, mut answer| {
            count += 1;
            if count <= n_slow {
                answer.slow = Some(pause);
            }
            answer
        }),
    )
}

#[test]
fn a_killed_pull_leaves_nothing_that_looks_whole_and_is_resumed() {
    let bytes = noise(2_000_000, 1);
    let hub = slow_hub(&bytes, Duration::from_millis(3), 1);
    let world = World::new(&hub.server.address);
    let mut child = start_child(&world);
    let kept = || world.files_in("partial").first().and_then(|p| std::fs::metadata(p).ok());
    wait_until("bytes arrive", || kept().is_some_and(|m| m.len() > 300_000));
    child.kill().expect("killed");
    child.wait().expect("ended");
    world.assert_nothing_whole();
    // Its locks went with it, its bytes stayed.
    let local = world.pull("a/b").expect("pulled");
    assert_eq!(std::fs::read(local.path).expect("read"), bytes);
    let from = hub.cdn.requests().last().and_then(Request::range_from);
    assert!(from.is_some_and(|from| from > 300_000), "{from:?}");
}

#[test]
fn the_second_of_two_pulls_waits_and_finds_it_done() {
    let bytes = noise(700_000, 1);
    let hub = slow_hub(&bytes, Duration::from_millis(1), usize::MAX);
    let world = World::new(&hub.server.address);
    let mut child = start_child(&world);
    wait_until("the first pulls", || !hub.cdn.requests().is_empty());
    let recorder = Recorder::default();
    let local = world.pull_with("a/b", &recorder).expect("pulled");
    assert_eq!(std::fs::read(local.path).expect("read"), bytes);
    assert!(child.wait().expect("ended").success());
    let waited = recorder.events.borrow().iter().any(|e| matches!(e, Event::Waiting { .. }));
    assert!(waited, "{:?}", recorder.events.borrow());
    assert_eq!(recorder.reused_from(), ["the model home"]);
    assert_eq!(hub.cdn.requests().len(), 1, "the bytes came once");
}

#[test]
fn many_pulls_at_once_bring_the_bytes_once() {
    let bytes = noise(50_000, 1);
    let hub = slow_hub(&bytes, Duration::from_millis(1), usize::MAX);
    let world = World::new(&hub.server.address);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let local = Hub::new(world.config.clone())
                    .pull(&reference("a/b"), &hub::Silent)
                    .expect("pulled");
                assert_eq!(std::fs::read(local.path).expect("read"), bytes);
            });
        }
    });
    assert_eq!(hub.cdn.requests().len(), 1);
}
