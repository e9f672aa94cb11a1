//! Whatever happens in whatever order, and whenever memory is lost: each line comes once, what
//! was committed stays as it was, and a batch only goes forward.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use batch::{Batches, Rules, Task, encode_message_batch};
use proptest::prelude::*;
use serde_json::{Value, json};
use store::{BatchRow, BatchStatus, LineRow, Store};

use crate::support::{add_counted, line, records, results};

#[derive(Debug, Clone)]
enum Step {
    /// Time passes, and what is due is done.
    Look(u64),
    /// A line is begun.
    Take,
    /// One under way has a result.
    Keep(usize),
    /// One under way is to be tried again.
    Again(usize),
    /// Somebody cancels a batch.
    Cancel(usize),
    /// All memory is lost.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4u64).prop_map(Step::Look),
        8 => Just(Step::Take),
        8 => any::<usize>().prop_map(Step::Keep),
        1 => any::<usize>().prop_map(Step::Again),
        1 => (0..40usize).prop_map(Step::Cancel),
        1 => Just(Step::Crash),
    ]
}

/// What was committed, by batch and place.
type Kept = BTreeMap<(String, u64), Value>;

struct World<'a> {
    folder: &'a Path,
    store: Arc<Store>,
    batches: Batches,
    rules: Rules,
    now: u64,
    ids: Vec<String>,
    under_way: Vec<Task>,
    kept: Kept,
    seen: BTreeMap<String, BatchStatus>,
    n_results: u64,
}

fn open(folder: &Path) -> Arc<Store> {
    Arc::new(Store::open(&folder.join("store.sqlite")).unwrap())
}

impl World<'_> {
    fn row(&self, id: &str) -> BatchRow {
        self.store.batch("o", id).unwrap()
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Look(time) => {
                self.now += time;
                self.batches.look(self.now);
            }
            Step::Take => {
                if let Some(task) = self.batches.take() {
                    self.check_taken(&task);
                    self.under_way.push(task);
                }
            }
            Step::Keep(at) => self.keep(*at),
            Step::Again(at) => {
                if let Some(task) = self.pick(*at) {
                    self.batches.put_down(&task, true);
                }
            }
            Step::Cancel(at) => {
                if let Some(id) = self.ids.get(*at) {
                    self.store.cancel_batch("o", id, self.now).unwrap();
                }
            }
            Step::Crash => {
                self.under_way.clear();
                self.store = open(self.folder);
                self.batches = Batches::new(Arc::clone(&self.store), self.rules);
            }
        }
        self.check_forward();
    }

    /// Never a line that is under way or has a result.
    fn check_taken(&self, task: &Task) {
        let place = (task.batch.clone(), task.line.place);
        assert!(!self.kept.contains_key(&place), "a line with a result is begun anew");
        let is_same = |other: &&Task| (other.batch.clone(), other.line.place) == place;
        assert!(self.under_way.iter().find(is_same).is_none(), "a line is begun twice");
        assert!(self.under_way.len() < self.rules.lines_max);
        assert_eq!(task.owner, "o");
        assert_eq!(task.tenant.0, u64::MAX);
    }

    fn pick(&mut self, at: usize) -> Option<Task> {
        let len = self.under_way.len();
        (len > 0).then(|| self.under_way.swap_remove(at % len))
    }

    fn keep(&mut self, at: usize) {
        let Some(task) = self.pick(at) else { return };
        self.n_results += 1;
        let (line, custom_id) = (task.line.place, &task.line.custom_id);
        let is_ok = line % 3 != 0;
        let response = json!({"status_code": if is_ok { 200 } else { 400 }, "body": {}});
        let record = json!({"custom_id": custom_id, "try": self.n_results, "response": response});
        let row = LineRow { line, is_ok, record: record.to_string() };
        self.batches.keep(&task, row).unwrap();
        let status = self.row(&task.batch).status;
        assert!(matches!(status, BatchStatus::InProgress | BatchStatus::Cancelling), "{status:?}");
        assert!(self.kept.insert((task.batch, line), record).is_none());
    }

    fn check_forward(&mut self) {
        use BatchStatus as S;
        for id in &self.ids {
            let row = self.row(id);
            let before = self.seen.insert(id.clone(), row.status).unwrap_or(S::Validating);
            let rank = |status| match status {
                S::Validating => 0,
                S::InProgress => 1,
                S::Finalizing | S::Cancelling => 2,
                S::Completed | S::Expired | S::Cancelled | S::Failed => 3,
            };
            assert!(before == row.status || rank(before) < rank(row.status), "{before:?} {row:?}");
            assert!(row.completed + row.failed <= row.total);
        }
    }

    /// What Anthropic's clients are told of an end is what they find in the results.
    fn check_messages(&self, row: &BatchRow) {
        let told = encode_message_batch(row);
        assert_eq!(told["processing_status"], "ended");
        let mut found = results(&self.store, row);
        for (name, count) in told["request_counts"].as_object().unwrap() {
            assert_eq!(found.remove(name).unwrap_or(0), count.as_u64().unwrap(), "{name}: {told}");
        }
        assert!(found.is_empty(), "{found:?}");
    }

    /// Works on without crashes, until all have ended.
    fn finish(&mut self) {
        for _ in 0..200 {
            self.run(&Step::Look(0));
            self.run(&Step::Take);
            self.run(&Step::Keep(0));
        }
    }

    fn check_end(&self, id: &str, n_lines: u64) {
        let row = self.row(id);
        assert!(row.status.has_ended(), "{row:?}");
        let records = records(&self.store, &row);
        if row.in_progress_at.is_none() && row.asked.n_lines == 0 {
            assert_eq!((row.status, row.total, records.len()), (BatchStatus::Cancelled, 0, 0));
            return;
        }
        assert_eq!(records.len() as u64, n_lines, "each line once");
        assert_eq!((row.total, row.completed + row.failed), (n_lines, n_lines));
        let code = match row.status {
            BatchStatus::Expired => json!("batch_expired"),
            BatchStatus::Cancelled => json!("batch_cancelled"),
            _ => Value::Null,
        };
        for place in 0..n_lines {
            let (is_ok, record) = &records[&format!("r{place}")];
            match self.kept.get(&(id.to_owned(), place)) {
                Some(kept) => assert_eq!((kept, *is_ok), (record, place % 3 != 0)),
                None => {
                    assert_ne!(code, Value::Null, "a complete batch lacks line {place}");
                    assert_eq!(record["error"]["code"], code);
                }
            }
        }
        let n_late = records.values().filter(|(_, record)| record["error"].is_object()).count();
        assert_eq!(row.unanswered, n_late as u64);
        self.check_messages(&row);
        let n_ok = records.values().filter(|(is_ok, _)| *is_ok).count() as u64;
        assert_eq!(row.completed, n_ok);
        assert_eq!(self.store.lines_done(id).unwrap(), [0u64; 0], "rows go when files are there");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn no_line_is_lost_or_repeated(
        sizes in prop::collection::vec(1..9u64, 1..4),
        lasts in 3..60u64,
        open_max in 1..3usize,
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let request = |n: u64| line(&format!("r{n}"), &json!({"model": "m", "prompt": "x"}));
        let ids = sizes.iter().enumerate().map(|(n, size)| {
            let lines: Vec<String> = (0..*size).map(request).collect();
            let n_lines = if n % 2 == 0 { 0 } else { *size };
            add_counted(&store, "o", &lines, lasts, n_lines)
        });
        let ids: Vec<String> = ids.collect();
        let rules = Rules { lines_max: 3, open_max };
        let batches = Batches::new(Arc::clone(&store), rules);
        let mut world = World {
            folder: folder.path(),
            store,
            batches,
            rules,
            now: 0,
            ids: ids.clone(),
            under_way: Vec::new(),
            kept: Kept::new(),
            seen: BTreeMap::new(),
            n_results: 0,
        };
        for step in &steps {
            world.run(step);
        }
        world.finish();
        for (id, size) in ids.iter().zip(&sizes) {
            world.check_end(id, *size);
        }
        // Contents are those of rows: the inputs and what the batches made.
        let files = folder.path().join("store/files");
        let names: HashSet<_> = std::fs::read_dir(files).unwrap().map(|e| e.unwrap().file_name()).collect();
        let made = ids.iter().map(|id| world.row(id));
        let made = made.flat_map(|row| [row.output_file_id, row.error_file_id]).flatten().count();
        prop_assert_eq!(names.len(), ids.len() + made);
    }
}
