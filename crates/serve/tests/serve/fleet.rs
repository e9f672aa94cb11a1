//! Several models within a budget, with loaders and models that only keep count: real threads,
//! real time in milliseconds.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use serve::{
    Admit, Admitted, Clock, Description, Discover, Entry, Error, Event, Events, Fleet, Generate,
    Input, Loader, Name, NameTaken, Request, Reservation, Residence, Rules, SystemClock, Task,
    Timings, Usage, WeightDetails,
};

use crate::scripted::ByteText;

const MILLISECOND: Duration = Duration::from_millis(1);

/// What all models of a test share.
#[derive(Default)]
struct Count {
    /// Bytes of loaded models, and the most that there were.
    bytes: AtomicU64,
    most: AtomicU64,
    loads: AtomicUsize,
    answers: AtomicUsize,
    /// Loads fail.
    is_broken: AtomicBool,
    /// Loads panic.
    is_cursed: AtomicBool,
    /// The files are gone.
    is_removed: AtomicBool,
}

struct Model {
    bytes: u64,
    answer_time: Duration,
    count: Arc<Count>,
}

impl Admit for Model {
    fn admit(&self, request: Request, _arrived: Duration) -> Result<Admitted, Error> {
        if request.choices == 0 {
            return Err(Error::invalid("n", "n is 0"));
        }
        let (time, count) = (self.answer_time, Arc::clone(&self.count));
        Ok(Admitted::new(move |sender| {
            std::thread::spawn(move || {
                std::thread::sleep(time);
                count.answers.fetch_add(1, Ordering::SeqCst);
                let (usage, timings) = (Usage::default(), Timings::default());
                sender.send(Event::Done { usage, timings });
            });
            Ok(())
        }))
    }

    fn describe(&self) -> Description {
        described("in memory")
    }
}

fn described(family: &str) -> Description {
    let weights = WeightDetails { family: family.to_owned(), ..WeightDetails::default() };
    Description { weights, text: Arc::new(ByteText::default()), task: Task::Generate }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.count.bytes.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

struct Mock {
    bytes: u64,
    load_time: Duration,
    answer_time: Duration,
    count: Arc<Count>,
}

impl Loader for Mock {
    fn is_here(&self) -> bool {
        !self.count.is_removed.load(Ordering::SeqCst)
    }

    fn describe(&self) -> Result<Description, String> {
        assert!(!self.count.is_cursed.load(Ordering::SeqCst), "the reader fell over");
        Ok(described("on disk"))
    }

    fn plan(&self) -> Result<Reservation, String> {
        Ok(Reservation { bytes: self.bytes, context_length: 8 })
    }

    fn load(&self) -> Result<Arc<dyn Admit>, String> {
        let Mock { bytes, answer_time, .. } = *self;
        let count = Arc::clone(&self.count);
        count.loads.fetch_add(1, Ordering::SeqCst);
        let now = count.bytes.fetch_add(bytes, Ordering::SeqCst) + bytes;
        count.most.fetch_max(now, Ordering::SeqCst);
        // What is made first is dropped whatever happens.
        let model = Model { bytes, answer_time, count };
        std::thread::sleep(self.load_time);
        assert!(!self.count.is_cursed.load(Ordering::SeqCst), "the loader fell over");
        if self.count.is_broken.load(Ordering::SeqCst) {
            return Err("the file is damaged".to_owned());
        }
        Ok(Arc::new(model))
    }
}

const RULES: Rules = Rules {
    budget_bytes: 100,
    queue_max: 64,
    wait_max: Duration::from_secs(30),
    idle_unload: None,
    retry_pause: Duration::from_millis(50),
};

/// A model with an adapter.
fn entry(id: &str, bytes: u64, answer_time: Duration, count: Arc<Count>) -> Entry {
    let mock = Mock { bytes, load_time: MILLISECOND * 20, answer_time, count };
    let names = vec![
        Name { id: id.to_owned(), aliases: vec![format!("alias-{id}"), "all".to_owned()] },
        Name { id: format!("{id}+lora"), aliases: Vec::new() },
    ];
    Entry { names, created: 1, loader: Box::new(mock) }
}

/// Models named by letters, of these sizes.
fn fleet(sizes: &[u64], answer_time: Duration, rules: Rules) -> (Fleet, Arc<Count>) {
    let count = Arc::new(Count::default());
    let letter = |at: usize| char::from(b'a' + at as u8).to_string();
    let entry =
        |(at, &bytes): (usize, &u64)| entry(&letter(at), bytes, answer_time, Arc::clone(&count));
    let entries = sizes.iter().enumerate().map(entry).collect();
    let fleet = Fleet::new(entries, rules, Arc::new(SystemClock::default())).unwrap();
    (fleet.start().unwrap(), count)
}

fn ask(fleet: &Fleet, model: &str) -> Result<Events, Error> {
    fleet.submit(Request::new("r", model, Input::Text("Q".to_owned())))
}

/// The last event, which must be the only one.
fn outcome(events: Result<Events, Error>) -> Result<(), Error> {
    let mut events = events?;
    match events.recv_timeout(Duration::from_secs(60)).expect("nobody waits for ever") {
        Some(Event::Done { .. }) => Ok(()),
        Some(Event::Failed(error)) => Err(error),
        other => panic!("{other:?}"),
    }
}

fn residences(fleet: &Fleet) -> Vec<Residence> {
    let bases = fleet.models().into_iter().filter(|card| card.parent.is_none());
    bases.map(|card| card.residence).collect()
}

#[test]
fn models_come_when_asked_for_and_go_for_others() {
    let (fleet, count) = fleet(&[60, 60, 30], MILLISECOND, RULES);
    assert_eq!(residences(&fleet), [Residence::Cold, Residence::Cold, Residence::Cold]);
    fleet.load("a").unwrap();
    assert_eq!(outcome(ask(&fleet, "a")), Ok(()));
    assert_eq!(outcome(ask(&fleet, "alias-c")), Ok(()));
    assert_eq!(residences(&fleet), [Residence::Loaded, Residence::Cold, Residence::Loaded]);
    // The model of the adapter is the second; the first was used before the third.
    assert_eq!(outcome(ask(&fleet, "b+lora")), Ok(()));
    assert_eq!(residences(&fleet), [Residence::Cold, Residence::Loaded, Residence::Loaded]);
    // An alias of several is the first one's.
    assert_eq!(outcome(ask(&fleet, "all")), Ok(()));
    assert_eq!(residences(&fleet)[0], Residence::Loaded);
    assert_eq!(count.loads.load(Ordering::SeqCst), 4);
    assert!(count.most.load(Ordering::SeqCst) <= RULES.budget_bytes);
    let cards = fleet.models();
    assert_eq!((cards[1].id.as_str(), cards[1].parent.as_deref()), ("a+lora", Some("a")));
    assert_eq!(cards[0].memory_bytes, Some(60));
    drop(fleet);
    assert_eq!(count.bytes.load(Ordering::SeqCst), 0);
}

/// Models that came since the start.
#[derive(Default)]
struct Arrivals {
    names: Mutex<Vec<&'static str>>,
    looks: AtomicUsize,
    count: Arc<Count>,
}

struct Door(Arc<Arrivals>);

impl Discover for Door {
    fn new_entries(&self, is_known: &dyn Fn(&str) -> bool) -> Vec<Entry> {
        let Door(arrivals) = self;
        arrivals.looks.fetch_add(1, Ordering::SeqCst);
        let names = arrivals.names.lock().unwrap();
        let new = names.iter().filter(|name| !is_known(name));
        new.map(|name| entry(name, 60, MILLISECOND, Arc::clone(&arrivals.count))).collect()
    }
}

/// Time as the test says it is.
#[derive(Default)]
struct Hand(AtomicU64);

impl Clock for Hand {
    fn now(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

#[test]
fn models_join_a_running_fleet_and_leave_it() {
    let (arrivals, hand) = (Arc::new(Arrivals::default()), Arc::new(Hand::default()));
    let count = Arc::clone(&arrivals.count);
    let entries = vec![entry("a", 60, MILLISECOND, Arc::clone(&count))];
    let fleet = Fleet::new(entries, RULES, Arc::clone(&hand) as Arc<dyn Clock>).unwrap();
    let fleet = fleet.discovering(Box::new(Door(Arc::clone(&arrivals)))).start().unwrap();
    assert!(ask(&fleet, "b").is_err());
    // `a` is there already, `b` came twice under one name, `alias-a` is what `a` was called too.
    arrivals.names.lock().unwrap().extend(["a", "b", "b", "alias-a"]);
    assert!(ask(&fleet, "b").is_err(), "somebody looked a moment ago");
    assert_eq!(arrivals.looks.load(Ordering::SeqCst), 1);
    hand.0.store(2, Ordering::SeqCst);
    assert_eq!(outcome(ask(&fleet, "b")), Ok(()));
    assert_eq!(outcome(ask(&fleet, "b+lora")), Ok(()));
    assert_eq!(fleet.details("alias-a").unwrap().id, "alias-a", "a name wins over an alias");
    let ids: Vec<String> = fleet.models().into_iter().map(|card| card.id).collect();
    assert_eq!(ids, ["a", "a+lora", "b", "b+lora", "alias-a", "alias-a+lora"]);
    // Of what is removed, only what is in memory is left.
    count.is_removed.store(true, Ordering::SeqCst);
    let ids: Vec<String> = fleet.models().into_iter().map(|card| card.id).collect();
    assert_eq!(ids, ["b", "b+lora"]);
    assert!(matches!(ask(&fleet, "a"), Err(Error::UnknownModel { .. })));
    assert_eq!(outcome(ask(&fleet, "b")), Ok(()));
}

#[test]
fn what_can_never_be_is_refused_at_once() {
    let (fleet, count) = fleet(&[60, 101], MILLISECOND, RULES);
    let begun = Instant::now();
    let refused = ask(&fleet, "b").err().unwrap();
    assert_eq!(refused, Error::TooLarge { model: "b".into(), needed: 101, budget: 100 });
    assert!(refused.to_string().contains("101 bytes") && refused.to_string().contains("100"));
    let tokens = Input::Tokens(vec![1; 9]);
    let refused = fleet.submit(Request::new("r", "a", tokens)).err().unwrap();
    assert_eq!(refused, Error::ContextOverflow { prompt_tokens: 9, context_length: 8 });
    let unknown = ask(&fleet, "z").err().unwrap();
    assert!(unknown.to_string().contains("a, a+lora, b, b+lora"), "{unknown}");
    assert!(begun.elapsed() < MILLISECOND * 20, "a load takes longer");
    assert_eq!(count.loads.load(Ordering::SeqCst), 0);
    // A refusal of the model itself ends what it held.
    let nothing = Request { choices: 0, ..Request::new("r", "a", Input::Text("Q".into())) };
    assert!(outcome(fleet.submit(nothing.clone())).is_err());
    assert!(outcome(fleet.submit(nothing)).is_err());
    assert_eq!(count.loads.load(Ordering::SeqCst), 1);
}

#[test]
fn a_failed_load_is_told_and_tried_again() {
    for reason in ["damaged", "fell over"] {
        let (fleet, count) = fleet(&[60], MILLISECOND, RULES);
        let fault = if reason == "damaged" { &count.is_broken } else { &count.is_cursed };
        fault.store(true, Ordering::SeqCst);
        for failed in [ask(&fleet, "a"), ask(&fleet, "a")].map(outcome) {
            let failed = failed.err().unwrap();
            assert!(matches!(&failed, Error::LoadFailed { model, .. } if model == "a"));
            assert!(failed.to_string().contains(reason), "{failed}");
        }
        assert!(matches!(&residences(&fleet)[0], Residence::Failed(why) if why.contains(reason)));
        assert_eq!((count.bytes.load(Ordering::SeqCst), fleet.reserved_bytes()), (0, 0));
        assert_eq!(count.loads.load(Ordering::SeqCst), 1);
        fault.store(false, Ordering::SeqCst);
        std::thread::sleep(RULES.retry_pause);
        assert_eq!(outcome(ask(&fleet, "a")), Ok(()));
    }
}

#[test]
fn who_leaves_while_waiting_frees_the_place() {
    let rules = Rules { queue_max: 1, ..RULES };
    let (fleet, count) = fleet(&[60, 60], MILLISECOND * 300, rules);
    fleet.load("a").unwrap();
    let busy = ask(&fleet, "a");
    let waits = ask(&fleet, "b").unwrap();
    let full = Error::QueueFull { waiting: 1, limit: 1 };
    assert_eq!(ask(&fleet, "b").err(), Some(full));
    drop(waits);
    let waits = ask(&fleet, "b");
    assert!(waits.is_ok(), "{waits:?}");
    drop(waits);
    // Nobody waits for the second model any more, and so it is never loaded.
    assert_eq!(outcome(busy), Ok(()));
    std::thread::sleep(MILLISECOND * 250);
    assert_eq!(count.loads.load(Ordering::SeqCst), 1);
    assert_eq!(outcome(ask(&fleet, "a")), Ok(()));
}

#[test]
fn waiting_has_an_end_and_so_has_idling() {
    let rules = Rules { wait_max: MILLISECOND * 50, ..RULES };
    let (busy_fleet, _) = fleet(&[60, 60], MILLISECOND * 400, rules);
    busy_fleet.load("a").unwrap();
    let busy = ask(&busy_fleet, "a");
    let late = outcome(ask(&busy_fleet, "b")).err().unwrap();
    assert!(matches!(late, Error::NoRoom { .. }), "{late:?}");
    assert_eq!(outcome(busy), Ok(()));
    let rules = Rules { idle_unload: Some(MILLISECOND * 40), ..RULES };
    let (idle_fleet, count) = fleet(&[60], MILLISECOND, rules);
    assert_eq!(outcome(ask(&idle_fleet, "a")), Ok(()));
    let begun = Instant::now();
    while count.bytes.load(Ordering::SeqCst) > 0 {
        assert!(begun.elapsed() < Duration::from_secs(10), "it is never unloaded");
        std::thread::sleep(MILLISECOND);
    }
    assert!(begun.elapsed() >= MILLISECOND * 30);
    assert_eq!(outcome(ask(&idle_fleet, "a")), Ok(()));
}

#[test]
fn a_fleet_that_ends_lets_nobody_wait() {
    let (fleet, _) = fleet(&[60, 60], MILLISECOND * 50, RULES);
    let waits = ask(&fleet, "a");
    drop(fleet);
    assert_eq!(outcome(waits), Err(Error::Stopping));
}

#[test]
fn names_are_unique() {
    let count = Arc::new(Count::default());
    let entry = || {
        let mock = Mock {
            bytes: 1,
            load_time: MILLISECOND,
            answer_time: MILLISECOND,
            count: Arc::clone(&count),
        };
        let names = vec![Name { id: "same".into(), aliases: Vec::new() }];
        Entry { names, created: 1, loader: Box::new(mock) }
    };
    let clock = Arc::new(SystemClock::default());
    let refused = Fleet::new(vec![entry(), entry()], RULES, clock).err();
    assert_eq!(refused, Some(NameTaken("same".into())));
}

#[test]
fn many_clients_of_many_models_are_all_answered_within_the_budget() {
    let rules = Rules { queue_max: 1000, idle_unload: Some(MILLISECOND * 5), ..RULES };
    let (fleet, count) = fleet(&[60, 50, 40, 100], MILLISECOND * 2, rules);
    let (clients, requests) = (16, 25);
    let begin = Barrier::new(clients);
    let left = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for client in 0..clients {
            let (fleet, begin, left) = (&fleet, &begin, &left);
            scope.spawn(move || {
                begin.wait();
                for i in 0..requests {
                    let model = ["a", "b", "c", "d"][(client * 7 + i * 5 + i / 3) % 4];
                    let events = ask(fleet, model);
                    if (client + i) % 9 == 0 {
                        // It goes away, waiting or not.
                        assert!(events.is_ok());
                        left.fetch_add(1, Ordering::SeqCst);
                        continue;
                    }
                    assert_eq!(outcome(events), Ok(()));
                }
            });
        }
    });
    let answers = count.answers.load(Ordering::SeqCst);
    assert!(answers >= clients * requests - left.load(Ordering::SeqCst), "{answers}");
    let most = count.most.load(Ordering::SeqCst);
    assert!(most <= RULES.budget_bytes, "{most}");
    drop(fleet);
}

#[test]
fn a_model_is_described_whether_it_is_loaded_or_not() {
    let (fleet, count) = fleet(&[50, 50], MILLISECOND, RULES);
    count.is_cursed.store(true, Ordering::SeqCst);
    assert!(matches!(fleet.details("b"), Err(Error::LoadFailed { .. })), "a panic is a failure");
    count.is_cursed.store(false, Ordering::SeqCst);
    outcome(ask(&fleet, "a")).unwrap();
    for (model, id, family) in
        [("a", "a", "in memory"), ("alias-a", "a", "in memory"), ("b+lora", "b+lora", "on disk")]
    {
        let details = fleet.details(model).unwrap();
        assert_eq!((details.id.as_str(), details.weights.family.as_str()), (id, family));
        assert_eq!((details.context_length, details.created), (8, 1));
        assert_eq!(fleet.text(model).unwrap().encode("Q").unwrap(), [81]);
    }
    assert_eq!(count.loads.load(Ordering::SeqCst), 1, "nobody was loaded to be described");
    assert!(matches!(fleet.details("c"), Err(Error::UnknownModel { .. })));
    assert!(matches!(fleet.text("c"), Err(Error::UnknownModel { .. })));
}
