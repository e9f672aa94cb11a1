//! Files and responses: what is kept, for how long, and what is left when it is deleted.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use store::{
    ConversationRow, FileRow, ItemRow, NewBatch, NewFile, NewItems, NewResponse, Page, Progress,
    Store, StoreError,
};

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
    let refused = store.add_file(upload, about("o", None), 16);
    // Half of what is there, because there are keys and others may come.
    assert!(matches!(refused, Err(StoreError::Quota { used: 3, asked: 6, limit: 8, .. })));
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
        n_lines: 0,
    };
    let batch = store.add_batch(batch, u64::MAX).unwrap();
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
        pieces: String::new(),
        said: None,
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
    // An owner's share is half of it.
    let quota = 2 * 4 * 12;
    let queued = NewResponse { status: "queued".into(), ..response("q", None, 1) };
    store.add_response(queued, quota).unwrap();
    for (n, id) in ["a", "b", "c", "d"].into_iter().enumerate() {
        store.add_response(response(id, None, 2 + n as u64), quota).unwrap();
    }
    let there: Vec<bool> = ["q", "a", "b", "c", "d"].map(|id| is_there(&store, id)).into();
    assert_eq!(there, [true, false, true, true, true]);
    assert!(store.move_response("q", Progress::new("cancelled", "{}".into()), quota).unwrap());
    assert!(!store.move_response("q", Progress::new("completed", "{}".into()), quota).unwrap());
    assert_eq!(store.response("o", "q").unwrap().status, "cancelled");
}

fn of(owner: &str, id: &str, at: u64) -> NewResponse {
    NewResponse { owner: owner.into(), ..response(id, None, at) }
}

/// One that keeps much deletes its own alone, and one that does not fit is refused and deletes
/// nothing.
#[test]
fn no_owner_pushes_out_the_responses_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let n_kept = |owner: &str, ids: std::ops::Range<u64>| {
        ids.filter(|n| store.response(owner, &format!("{owner}{n:02}")).is_ok()).count()
    };
    // Each takes 14 bytes: an owner that is alone has room for 16.
    let quota = 2 * 16 * 14;
    store.add_response(of("b", "b00", 1), quota).unwrap();
    for n in 0..40 {
        store.add_response(of("a", &format!("a{n:02}"), 2 + n), quota).unwrap();
    }
    assert_eq!((n_kept("a", 0..40), n_kept("b", 0..1)), (15, 1));
    assert_eq!(n_kept("a", 25..40), 15, "the oldest went");
    for n in 1..40 {
        store.add_response(of("b", &format!("b{n:02}"), 50 + n), quota).unwrap();
    }
    assert_eq!((n_kept("a", 0..40), n_kept("b", 0..40)), (15, 8), "half of what the other leaves");
    let large = NewResponse { body: "x".repeat(400), ..of("a", "large", 99) };
    let refused = store.add_response(large, quota);
    let StoreError::Quota { what, used, asked, limit } = refused.unwrap_err() else { panic!() };
    assert_eq!(
        (what, used, asked, limit),
        ("responses and conversations", 0, 402, (quota - 8 * 14) / 2)
    );
    assert!(store.response("a", "large").is_err());
    assert_eq!((n_kept("a", 0..40), n_kept("b", 0..40)), (15, 8), "nothing went for it");
    // An answer that has become too large leaves its response as it was.
    store.add_response(NewResponse { status: "queued".into(), ..of("a", "q", 99) }, quota).unwrap();
    let grown = store.move_response("q", Progress::new("completed", "x".repeat(400)), quota);
    assert!(matches!(grown, Err(StoreError::Quota { .. })), "{grown:?}");
    assert_eq!(store.response("a", "q").unwrap().status, "queued");
    assert!(store.move_response("q", Progress::new("failed", "{}".into()), quota).unwrap());
    // Where nobody needs a key, there is nobody to leave anything to.
    let folder = tempfile::tempdir().unwrap();
    let alone = open(folder.path());
    for n in 0..40 {
        alone.add_response(of("", &format!("{n:03}"), n), quota).unwrap();
    }
    assert!(alone.response("", "008").is_ok() && alone.response("", "007").is_err());
}

/// What all of an owner may take in the property below; a conversation alone takes some of it.
const SUMS_QUOTA: u64 = 2_400;

/// Keeps, moves or deletes something, as a fuzzer says.
fn change(
    store: &Store,
    n: usize,
    (what, which, size): &(u8, u8, u8),
    owner: &str,
) -> Result<(), StoreError> {
    let body = "x".repeat(4 * usize::from(*size) + 1);
    let talk = format!("c{}", which % 3);
    let item = ItemRow { id: n.to_string(), item: body.clone() };
    let said = NewItems { conversation: talk.clone(), items: vec![item.clone()] };
    match what % 8 {
        0 | 1 => {
            let status = if what % 16 < 8 { "completed" } else { "queued" };
            let new = NewResponse {
                body,
                status: status.into(),
                pieces: "[]".into(),
                said: (what % 32 < 16).then_some(said),
                ..of(owner, &n.to_string(), n as u64)
            };
            store.add_response(new, SUMS_QUOTA)
        }
        2 => store
            .move_response(&which.to_string(), Progress::new("completed", body), SUMS_QUOTA)
            .map(drop),
        3 => store.delete_response(owner, &size.to_string()),
        4 | 5 => {
            let new = ConversationRow { id: talk, created_at: 1, metadata: "{}".into() };
            store.add_conversation(owner, new, vec![item], SUMS_QUOTA)
        }
        6 => store.add_items(owner, said, SUMS_QUOTA),
        _ if what % 16 < 8 => store.delete_conversation(owner, &talk),
        _ => store.delete_item(owner, &talk, &size.to_string()).map(drop),
    }
}

/// Whatever is kept, moved and deleted in whatever order: the sums are those of the rows, all stay
/// within the whole, nothing of another owner goes, and what is refused changes nothing.
#[test]
fn sums_are_those_of_the_rows_and_owners_do_not_touch_each_other() {
    let check = |steps: &[(u8, u8, u8)]| {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let rows = rusqlite::Connection::open(folder.path().join("store.sqlite")).unwrap();
        let all = |sql: &str| -> Vec<(String, u64)> {
            let mut statement = rows.prepare(sql).unwrap();
            let all = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            all.map(Result::unwrap).collect()
        };
        let ids = || {
            all("SELECT owner || ' ' || id, bytes FROM responses UNION ALL \
                 SELECT owner || ' ' || id, bytes FROM conversations UNION ALL \
                 SELECT owner || ' ' || id || ' in ' || conversation, bytes \
                 FROM conversation_items ORDER BY 1")
        };
        for (n, step) in steps.iter().take(24).enumerate() {
            let (what, which, _) = step;
            let owner = format!("key_{}", which % 3);
            let before = ids();
            let result = change(&store, n, step, &owner);
            let after = ids();
            if result.is_err() {
                assert_eq!(after, before, "{result:?}");
            }
            let mover = before.iter().find(|(id, _)| id.ends_with(&format!(" {which}")));
            let mover = mover.map_or(owner.as_str(), |(id, _)| id.split(' ').next().unwrap());
            let actor = if what % 8 == 2 { mover } else { &owner };
            let others = |rows: &[(String, u64)]| {
                let is_others = |(id, _): &&(String, u64)| !id.starts_with(actor);
                rows.iter().filter(is_others).cloned().collect::<Vec<_>>()
            };
            assert_eq!(others(&after), others(&before), "of others nothing goes");
            assert!(after.iter().map(|(_, bytes)| bytes).sum::<u64>() <= SUMS_QUOTA);
            let sums = "SELECT owner, sum(bytes) FROM (SELECT owner, bytes FROM responses UNION ALL \
                 SELECT owner, bytes FROM conversations \
                 UNION ALL SELECT owner, bytes FROM conversation_items) \
                 GROUP BY owner ORDER BY owner";
            let taken = "SELECT owner, bytes FROM taken WHERE what = 'responses' ORDER BY owner";
            assert_eq!(all(sums), all(taken));
            let sums = sums.replace("SELECT owner, bytes FROM responses UNION ALL", "");
            assert_eq!(all(&sums), all(&taken.replace("responses", "conversations")));
        }
    };
    bolero::check!()
        .with_iterations(64)
        .with_type::<Vec<(u8, u8, u8)>>()
        .for_each(|steps| check(steps));
}

#[test]
fn no_owner_takes_the_room_of_anothers_files_and_batches() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let add = |owner: &str, n_bytes: usize| {
        let mut upload = store.upload(1 << 20).unwrap();
        upload.write(&vec![b'x'; n_bytes]).unwrap();
        store.add_file(upload, about(owner, None), 1000)
    };
    let first = add("a", 500).unwrap();
    assert!(matches!(add("a", 1), Err(StoreError::Quota { used: 500, asked: 1, limit: 500, .. })));
    let second = add("b", 250).unwrap();
    assert!(matches!(add("b", 1), Err(StoreError::Quota { limit: 250, .. })));
    add("c", 125).unwrap();
    assert_eq!(store.file_bytes().unwrap(), 875);
    store.delete_file("a", &first.id).unwrap();
    assert!(add("b", 188).is_ok() && add("b", 1).is_err(), "half of what `c` leaves");
    let batch = |owner: &str, file: &FileRow, quota: u64| {
        let new = NewBatch {
            owner: owner.into(),
            tenant: 0,
            endpoint: "/v1/completions".into(),
            input_file_id: file.id.clone(),
            completion_window: "24h".into(),
            metadata: "{}".into(),
            output_lasts: None,
            created_at: 1,
            expires_at: 99,
            n_lines: 0,
        };
        store.add_batch(new, quota)
    };
    let third = add("a", 100).unwrap();
    let over = batch("b", &second, 500);
    assert!(matches!(over, Err(StoreError::Quota { what: "files", .. })), "{over:?}");
    let mut last = None;
    for _ in 0..500 {
        last = Some(batch("b", &second, u64::MAX).unwrap());
    }
    let full = batch("b", &second, u64::MAX);
    assert!(matches!(full, Err(StoreError::TooManyBatches { active: 500, limit: 500 })));
    assert!(batch("a", &third, u64::MAX).is_ok());
    store.fail_batch(&last.unwrap().id, "[]".into(), 2).unwrap();
    assert!(batch("b", &second, u64::MAX).is_ok());
}

/// Whoever reads for long holds up nobody who writes, though the log cannot be emptied meanwhile.
#[test]
fn the_log_is_emptied_without_holding_up_writes() {
    let folder = tempfile::tempdir().unwrap();
    let store = std::sync::Arc::new(open(folder.path()));
    store.add_response(response("a", None, 1), u64::MAX).unwrap();
    let reader = rusqlite::Connection::open(folder.path().join("store.sqlite")).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM responses").unwrap();
    store.add_response(response("b", None, 1), u64::MAX).unwrap();
    let settling = {
        let store = std::sync::Arc::clone(&store);
        std::thread::spawn(move || store.settle_log().unwrap())
    };
    let begun = std::time::Instant::now();
    let mut n_written = 0;
    while !settling.is_finished() {
        store.add_response(response(&format!("c{n_written}"), None, 1), u64::MAX).unwrap();
        n_written += 1;
    }
    assert!(!settling.join().unwrap(), "somebody reads");
    assert!(n_written > 5 && begun.elapsed() < Duration::from_secs(8), "{n_written}");
    drop(reader);
    assert!(store.settle_log().unwrap());
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
    assert!(store.settle_log().unwrap());
    assert!(!has_trace());
}
