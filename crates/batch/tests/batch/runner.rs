//! The threads, with a model that is busy at first and says what it was asked.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use batch::{Rules, Runner, Task};
use dialect::ApiError;
use serde_json::json;
use serve::{
    Delta, Error, Event, Events, FinishReason, Generate, Input, ModelCard, ModelDetails, Priority,
    Request, Tenant, TextModel, Timings, Usage, channel,
};
use store::{BatchRow, BatchStatus, Store};

use crate::support::{add, line, records};

/// Busy for the first requests; then repeats the prompt, panics or never ends.
#[derive(Default)]
struct Scripted {
    n_busy: AtomicUsize,
    asked: Mutex<Vec<Request>>,
    n_running: Arc<AtomicUsize>,
    n_running_max: AtomicUsize,
}

impl Generate for Scripted {
    fn models(&self) -> Vec<ModelCard> {
        Vec::new()
    }

    fn details(&self, model: &str) -> Result<ModelDetails, Error> {
        Err(Error::UnknownModel { model: model.into(), available: String::new() })
    }

    fn text(&self, model: &str) -> Result<Arc<dyn TextModel>, Error> {
        Err(Error::UnknownModel { model: model.into(), available: String::new() })
    }

    fn submit(&self, request: Request) -> Result<Events, Error> {
        let is_left = |n: usize| n.checked_sub(1);
        if self.n_busy.fetch_update(Ordering::SeqCst, Ordering::SeqCst, is_left).is_ok() {
            return Err(Error::QueueFull { waiting: 1, limit: 1 });
        }
        self.asked.lock().unwrap().push(request.clone());
        let Input::Text(prompt) = request.input else { panic!("no text") };
        assert_ne!(prompt, "panic");
        let running = Arc::clone(&self.n_running);
        let n_running = running.fetch_add(1, Ordering::SeqCst) + 1;
        self.n_running_max.fetch_max(n_running, Ordering::SeqCst);
        let (sender, events) = channel();
        std::thread::spawn(move || {
            sender.send(Event::Started { prompt_tokens: 1, seed: 0 });
            while prompt == "endless" && !sender.is_closed() {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_millis(5));
            running.fetch_sub(1, Ordering::SeqCst);
            let delta = Delta::Text { text: prompt, tokens: Vec::new() };
            sender.send(Event::Delta { choice: 0, delta });
            sender.send(Event::Finished { choice: 0, reason: FinishReason::EndOfTurn });
            let (usage, timings) = (Usage::default(), Timings::default());
            sender.send(Event::Done { usage, timings });
        });
        Ok(events)
    }
}

static NOW: AtomicU64 = AtomicU64::new(10);

fn runner(store: &Arc<Store>, scripted: &Arc<Scripted>) -> Runner {
    let rules = Rules { lines_max: 3, open_max: 4 };
    let generate = Arc::clone(scripted) as Arc<dyn Generate>;
    let models = move |task: &Task| match (&*task.owner, task.model()) {
        ("o", "secret") => Err(ApiError::new(403, "the key is not for this model")),
        _ => Ok(Arc::clone(&generate)),
    };
    let now = || NOW.load(Ordering::SeqCst);
    Runner::start(Arc::clone(store), Box::new(models), rules, now).unwrap()
}

fn until(store: &Store, id: &str, is_so_far: impl Fn(&BatchRow) -> bool) -> BatchRow {
    let begun = Instant::now();
    loop {
        let row = store.batch("o", id).unwrap();
        if is_so_far(&row) {
            return row;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{row:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn asking(prompt: &str) -> String {
    line(prompt, &json!({"model": "m", "prompt": prompt}))
}

#[test]
fn a_busy_server_and_one_bad_line_harm_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(&folder.path().join("store.sqlite")).unwrap());
    let scripted = Arc::new(Scripted { n_busy: AtomicUsize::new(2), ..Default::default() });
    let mut lines: Vec<String> = (0..12).map(|n| asking(&format!("p{n}"))).collect();
    lines.push(asking("panic"));
    lines.push(line("secret", &json!({"model": "secret", "prompt": "x"})));
    lines.push(line("streams", &json!({"model": "m", "prompt": "x", "stream": true})));
    lines.push(line("seeded", &json!({"model": "m", "prompt": "seeded", "seed": 7})));
    let id = add(&store, "o", &lines, 1_000);
    let runner = runner(&store, &scripted);
    let row = until(&store, &id, |row| row.status.has_ended());
    runner.stop();
    assert_eq!(row.status, BatchStatus::Completed);
    let records = records(&store, &row);
    assert_eq!(records.len(), lines.len());
    for n in 0..12 {
        let (is_ok, record) = &records[&format!("p{n}")];
        let text = &record["response"]["body"]["choices"][0]["text"];
        assert!(*is_ok && *text == json!(format!("p{n}")), "{record}");
    }
    let status = |name: &str| records[name].1["response"]["status_code"].clone();
    assert_eq!([status("panic"), status("secret"), status("streams")], [500, 403, 400]);
    assert!(scripted.n_running_max.load(Ordering::SeqCst) <= 3);
    let asked = scripted.asked.lock().unwrap();
    let is_batch = |request: &Request| {
        request.priority == Priority::Batch && request.tenant == Tenant(u64::MAX)
    };
    assert!(asked.iter().all(is_batch));
    let seeds: Vec<u64> = asked.iter().map(|request| request.sampling.seed.unwrap()).collect();
    assert!(seeds.contains(&7));
    let others: std::collections::HashSet<u64> = seeds.iter().copied().collect();
    assert_eq!(others.len(), seeds.len(), "each line has a seed of its own");
}

#[test]
fn one_process_at_a_time_works_and_the_next_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let open = || Arc::new(Store::open(&path).unwrap());
    let (first_store, second_store) = (open(), open());
    let lines: Vec<String> = ["a", "endless", "b"].into_iter().map(asking).collect();
    let (first, second) = (Arc::new(Scripted::default()), Arc::new(Scripted::default()));
    let first_runner = runner(&first_store, &first);
    let id = add(&first_store, "o", &lines, 1_000);
    first_runner.wake();
    until(&first_store, &id, |row| row.completed == 2);
    let second_runner = runner(&second_store, &second);
    std::thread::sleep(Duration::from_millis(50));
    assert!(second.asked.lock().unwrap().is_empty());
    drop(first_runner);
    let begun = Instant::now();
    while second.asked.lock().unwrap().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(5));
    }
    // Only what had no result, and it is cancelled while it is under way.
    second_store.cancel_batch("o", &id, 20).unwrap();
    second_runner.wake();
    let row = until(&second_store, &id, |row| row.status.has_ended());
    assert_eq!((row.status, row.completed, row.failed), (BatchStatus::Cancelled, 2, 1));
    assert_eq!(second.asked.lock().unwrap().len(), 1);
    let codes = records(&second_store, &row);
    assert_eq!(codes["endless"].1["error"]["code"], "batch_cancelled");
}
