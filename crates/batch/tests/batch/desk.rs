//! What fails for now, and whose turn it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use batch::{Batches, Rules};
use serde_json::{Value, json};
use store::{BatchRow, BatchStatus, Store};

use crate::support::{add, line};

fn requests(n: usize) -> Vec<String> {
    (0..n).map(|n| line(&format!("r{n}"), &json!({"model": "m", "prompt": "x"}))).collect()
}

fn open(folder: &Path, rules: Rules) -> (Arc<Store>, Batches) {
    let store = Arc::new(Store::open(&folder.join("store.sqlite")).unwrap());
    (Arc::clone(&store), Batches::new(store, rules))
}

fn content(folder: &Path, row: &BatchRow) -> PathBuf {
    folder.join("store/files").join(&row.asked.input_file_id)
}

fn code(row: &BatchRow) -> Value {
    serde_json::from_str::<Value>(&row.errors).unwrap()[0]["code"].clone()
}

/// A folder in the place of the content opens and cannot be read, as a disk that fails.
#[test]
fn a_read_error_that_passes_fails_no_batch() {
    let folder = tempfile::tempdir().unwrap();
    let (store, batches) = open(folder.path(), Rules::default());
    let (passes, stays, gone) = (
        add(&store, "o", &requests(3), 1000),
        add(&store, "o", &requests(3), 1000),
        add(&store, "o", &requests(3), 1000),
    );
    let row = |id: &str| store.batch("o", id).unwrap();
    let files = [&passes, &stays, &gone].map(|id| content(folder.path(), &row(id)));
    for file in &files[..2] {
        std::fs::rename(file, file.with_extension("away")).unwrap();
        std::fs::create_dir(file).unwrap();
    }
    std::fs::remove_file(&files[2]).unwrap();
    batches.look(0);
    assert_eq!(
        (row(&gone).status, code(&row(&gone))),
        (BatchStatus::Failed, "file_unreadable".into())
    );
    for now in 0..10 {
        batches.look(now);
        assert_eq!(row(&passes).status, BatchStatus::Validating, "at {now}");
    }
    std::fs::remove_dir(&files[0]).unwrap();
    std::fs::rename(files[0].with_extension("away"), &files[0]).unwrap();
    // Tried at 0, 1, 3, 7 and 15.
    batches.look(14);
    assert_eq!(row(&passes).status, BatchStatus::Validating, "each try waits longer");
    batches.look(15);
    assert_eq!((row(&passes).status, row(&passes).total), (BatchStatus::InProgress, 3));
    // Its time ends the tries.
    batches.look(999);
    assert_eq!(row(&stays).status, BatchStatus::Validating);
    batches.look(1060);
    assert_eq!(
        (row(&stays).status, code(&row(&stays))),
        (BatchStatus::Failed, "file_unreadable".into())
    );
    // A batch that is cancelled while it waits is at its end at once.
    let other = add(&store, "o", &requests(3), 9000);
    std::fs::rename(content(folder.path(), &row(&other)), folder.path().join("away")).unwrap();
    std::fs::create_dir(content(folder.path(), &row(&other))).unwrap();
    batches.look(2000);
    store.cancel_batch("o", &other, 2000).unwrap();
    batches.look(2000);
    assert_eq!(row(&other).status, BatchStatus::Cancelled);
}

/// Who has many batches holds up nobody who has one: neither before it is opened nor by lines.
#[test]
fn owners_take_turns() {
    let folder = tempfile::tempdir().unwrap();
    let rules = Rules { lines_max: 4, open_max: 4 };
    let (store, batches) = open(folder.path(), rules);
    for _ in 0..20 {
        add(&store, "key_1", &requests(20), 1000);
    }
    while batches.look(0) {}
    let first: Vec<_> = (0..4).map(|_| batches.take().unwrap()).collect();
    assert!(first.iter().all(|task| task.owner == "key_1") && batches.take().is_none());
    let late = add(&store, "key_2", &requests(20), 1000);
    while batches.look(0) {}
    for task in &first {
        batches.put_down(task, true);
    }
    let mut counts = BTreeMap::<String, usize>::new();
    let mut under_way = Vec::new();
    for _ in 0..40 {
        while let Some(task) = batches.take() {
            *counts.entry(task.owner.clone()).or_default() += 1;
            under_way.push(task);
        }
        let (own, other): (Vec<_>, Vec<_>) =
            under_way.iter().partition(|task| task.owner == "key_1");
        assert!(own.len() == 2 && other.len() == 2 || counts["key_2"] == 20, "{counts:?}");
        let task = under_way.remove(0);
        let record = json!({"custom_id": task.line.custom_id}).to_string();
        let row = store::LineRow { line: task.line.place, is_ok: true, record };
        batches.keep(&task, row).unwrap();
    }
    assert_eq!(counts["key_2"], 20);
    while let Some(task) = under_way.pop() {
        let row = store::LineRow { line: task.line.place, is_ok: true, record: "{}".into() };
        batches.keep(&task, row).unwrap();
    }
    while batches.look(0) {}
    assert_eq!(store.batch("key_2", &late).unwrap().status, BatchStatus::Completed);
}
