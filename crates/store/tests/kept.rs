//! Files and responses: what is kept, for how long, and what is left when it is deleted.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use store::{FileRow, NewBatch, NewFile, NewResponse, Page, Store, StoreError};

fn open(folder: &Path) -> Store {
    Store::open(&folder.join("store.sqlite")).unwrap()
}

fn about(owner: &str, expires_at: Option<u64>) -> NewFile {
    NewFile {
        owner: owner.into(),
        purpose: "user_data".into(),
        filename: "name".into(),
        created_at: 1,
        expires_at,
    }
}

fn add(store: &Store, content: &[u8], expires_at: Option<u64>) -> FileRow {
    let mut upload = store.upload(1 << 20).unwrap();
    upload.write(content).unwrap();
    store.add_file(upload, about("o", expires_at), u64::MAX).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder.join("store/files")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_file_is_there_as_a_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let row = add(&store, b"abc", None);
    // `printf abc | sha256sum`
    assert_eq!(row.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    let mut content = String::new();
    store.content(&row).unwrap().read_to_string(&mut content).unwrap();
    assert_eq!((content.as_str(), row.bytes), ("abc", 3));
    let mut upload = store.upload(4).unwrap();
    upload.write(b"four").unwrap();
    assert!(matches!(upload.write(b"!"), Err(StoreError::TooLong { limit: 4 })));
    assert_eq!(names(folder.path()).len(), 2);
    drop(upload);
    let mut upload = store.upload(9).unwrap();
    upload.write(b"123456").unwrap();
    let refused = store.add_file(upload, about("o", None), 8);
    assert!(matches!(refused, Err(StoreError::Quota { used: 3, asked: 6, limit: 8 })));
    assert_eq!(names(folder.path()), std::slice::from_ref(&row.id));
    assert!(matches!(store.file("other", &row.id), Err(StoreError::Unknown { .. })));
    assert!(store.delete_file("other", &row.id).is_err());
    assert_eq!(store.file("o", &row.id).unwrap(), row);
    store.delete_file("o", &row.id).unwrap();
    assert!(names(folder.path()).is_empty() && store.file_bytes().unwrap() == 0);
}

#[test]
fn what_crashes_leave_is_removed_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let row = add(&store, b"abc", None);
    let files = folder.path().join("store/files");
    std::fs::write(files.join("file-0.part"), "half").unwrap();
    std::fs::write(files.join("file-1"), "whole, without a row").unwrap();
    store.sweep_files(SystemTime::now()).unwrap();
    assert_eq!(names(folder.path()).len(), 3, "young ones may be on their way");
    store.sweep_files(SystemTime::now() + Duration::from_secs(2 * 24 * 3600)).unwrap();
    assert_eq!(names(folder.path()), [row.id]);
}

#[test]
fn files_end_in_time_but_not_while_a_batch_reads_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let (read, old, young, kept) = (
        add(&store, b"a", Some(10)),
        add(&store, b"b", Some(10)),
        add(&store, b"c", Some(11)),
        add(&store, b"d", None),
    );
    let batch = NewBatch {
        owner: "o".into(),
        tenant: 0,
        endpoint: "/v1/completions".into(),
        input_file_id: read.id.clone(),
        completion_window: "24h".into(),
        metadata: "{}".into(),
        output_lasts: None,
        created_at: 1,
        expires_at: 99,
    };
    let batch = store.add_batch(batch).unwrap();
    assert_eq!(store.expire_files(10).unwrap(), 1);
    let page = Page { after: None, limit: 2, newest_first: false };
    let listed = store.files("o", None, &page).unwrap();
    let ids = |rows: &[FileRow]| rows.iter().map(|row| row.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&listed.rows), [read.id.clone(), young.id.clone()]);
    assert!(listed.has_more);
    let page = Page { after: Some(young.id), ..page };
    let listed = store.files("o", None, &page).unwrap();
    assert_eq!((ids(&listed.rows), listed.has_more), (vec![kept.id], false));
    let in_use = store.delete_file("o", &read.id);
    assert!(matches!(in_use, Err(StoreError::InUse { batch: id, .. }) if id == batch.id));
    store.fail_batch(&batch.id, "[]".into(), 12).unwrap();
    assert!(!store.begin_batch(&batch.id, 1, 12).unwrap(), "it has ended");
    assert_eq!(store.expire_files(10).unwrap(), 1);
    let page = Page { after: Some(old.id), ..page };
    assert!(matches!(store.files("o", None, &page), Err(StoreError::Unknown { .. })));
}

fn response(id: &str, previous: Option<&str>, at: u64) -> NewResponse {
    NewResponse {
        id: id.into(),
        owner: "o".into(),
        previous: previous.map(str::to_owned),
        status: "completed".into(),
        runner: "run".into(),
        created_at: at,
        input: "[]".into(),
        body: format!("{{\"id\":\"{id}\"}}"),
    }
}

fn is_there(store: &Store, id: &str) -> bool {
    store.response("o", id).is_ok()
}

#[test]
fn a_conversation_is_kept_as_long_as_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.add_response(response("a", None, 10), u64::MAX).unwrap();
    store.add_response(response("lone", None, 11), u64::MAX).unwrap();
    store.add_response(response("b", Some("a"), 20), u64::MAX).unwrap();
    assert_eq!(store.expire_responses(15).unwrap(), 1);
    assert!(!is_there(&store, "lone"));
    let turns = store.conversation("o", "b").unwrap();
    let ids: Vec<&str> = turns.iter().map(|turn| turn.id.as_str()).collect();
    assert_eq!(ids, ["a", "b"]);
    assert!(store.conversation("other", "b").is_err());
    store.delete_response("o", "a").unwrap();
    let broken = store.conversation("o", "b");
    assert!(matches!(broken, Err(StoreError::Unknown { id }) if id == "a"));
    let large = |id: &str, previous| NewResponse {
        body: "x".repeat(9 << 20),
        ..response(id, previous, 30)
    };
    store.add_response(large("c", None), u64::MAX).unwrap();
    store.add_response(large("d", Some("c")), u64::MAX).unwrap();
    let long = store.conversation("o", "d");
    assert!(matches!(long, Err(StoreError::TooLongAgo { what: "bytes", .. })));
}

#[test]
fn the_oldest_make_room_and_what_is_worked_on_stays() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let quota = 4 * 12;
    let queued = NewResponse { status: "queued".into(), ..response("q", None, 1) };
    store.add_response(queued, quota).unwrap();
    for (n, id) in ["a", "b", "c", "d"].into_iter().enumerate() {
        store.add_response(response(id, None, 2 + n as u64), quota).unwrap();
    }
    let there: Vec<bool> = ["q", "a", "b", "c", "d"].map(|id| is_there(&store, id)).into();
    assert_eq!(there, [true, false, true, true, true]);
    assert!(store.move_response("q", "cancelled", "{}".into(), quota).unwrap());
    assert!(!store.move_response("q", "completed", "{}".into(), quota).unwrap());
    assert_eq!(store.response("o", "q").unwrap().status, "cancelled");
}

#[test]
fn what_is_worked_on_is_abandoned_when_its_process_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (open(folder.path()), open(folder.path()));
    let (mine, theirs) = (first.join().unwrap(), second.join().unwrap());
    let queued = |id: &str, runner: &str| NewResponse {
        status: "queued".into(),
        runner: runner.into(),
        ..response(id, None, 1)
    };
    first.add_response(queued("a", mine.id()), u64::MAX).unwrap();
    second.add_response(queued("b", theirs.id()), u64::MAX).unwrap();
    assert!(first.abandoned_responses(mine.id()).unwrap().is_empty());
    drop(theirs);
    let abandoned = first.abandoned_responses(mine.id()).unwrap();
    assert_eq!(abandoned, [("b".to_owned(), "{\"id\":\"b\"}".to_owned())]);
}

#[test]
fn deletion_leaves_no_trace_on_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let secret = "a secret that nobody may find";
    let has_trace = || {
        let mut folders = vec![folder.path().to_owned()];
        while let Some(next) = folders.pop() {
            for entry in std::fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let bytes = std::fs::read(path).unwrap();
                    if bytes.windows(secret.len()).any(|part| part == secret.as_bytes()) {
                        return true;
                    }
                }
            }
        }
        false
    };
    let store = open(folder.path());
    let kept = NewResponse { body: secret.into(), ..response("a", None, 1) };
    store.add_response(kept, u64::MAX).unwrap();
    let file = add(&store, secret.as_bytes(), None);
    assert!(has_trace());
    store.delete_response("o", "a").unwrap();
    store.delete_file("o", &file.id).unwrap();
    store.settle_log().unwrap();
    assert!(!has_trace());
}
