//! Conversations as objects: order, owners, shares, and what goes with what.

use store::{
    CONVERSATION_BYTES_MAX, ConversationRow, ITEMS_MAX, ItemRow, NewItems, NewResponse, Page,
    Progress, Store, StoreError,
};

const QUOTA: u64 = 4_000;
/// What a row counts beside its JSON.
const ROW: u64 = 256;

fn item(id: &str, n_bytes: usize) -> ItemRow {
    ItemRow { id: id.to_owned(), item: "x".repeat(n_bytes) }
}

fn row(id: &str) -> ConversationRow {
    ConversationRow { id: id.to_owned(), created_at: 1, metadata: "{}".to_owned() }
}

fn to(conversation: &str, items: impl Into<Vec<ItemRow>>) -> NewItems {
    NewItems { conversation: conversation.to_owned(), items: items.into() }
}

fn ids(rows: &[ItemRow]) -> Vec<&str> {
    rows.iter().map(|row| row.id.as_str()).collect()
}

fn all(store: &Store, conversation: &str) -> Vec<String> {
    let items = store.all_items("a", conversation).expect("items");
    items.into_iter().map(|row| row.id).collect()
}

fn response(id: &str, status: &str) -> NewResponse {
    NewResponse {
        id: id.into(),
        owner: "a".into(),
        previous: None,
        status: status.into(),
        runner: "run_1".into(),
        created_at: 1,
        input: "[]".into(),
        body: "{}".into(),
        pieces: String::new(),
        said: None,
    }
}

#[test]
fn items_stay_in_order_across_a_restart_and_go_with_their_conversation() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.sqlite");
    let store = Store::open(&path).expect("a store");
    store.add_conversation("a", row("c1"), vec![item("1", 10), item("2", 10)], QUOTA).expect("new");
    store.add_items("a", to("c1", [item("3", 10)]), QUOTA).expect("more");
    drop(store);
    let store = Store::open(&path).expect("the same store");
    assert_eq!(all(&store, "c1"), ["1", "2", "3"]);
    // An id is an item's in its own conversation alone.
    store.add_conversation("a", row("other"), vec![item("3", 10)], QUOTA).expect("new");
    let page = Page { after: Some("3".to_owned()), limit: 1, newest_first: true };
    let part = store.list_items("a", "c1", &page).expect("a part");
    assert_eq!((ids(&part.rows), part.has_more), (vec!["2"], true));
    let part = store.list_items("a", "other", &page).expect("a part");
    assert_eq!((ids(&part.rows), part.has_more), (vec![], false));
    store.delete_item("a", "c1", "2").expect("deleted");
    assert_eq!(all(&store, "c1"), ["1", "3"]);
    let twice = store.add_items("a", to("c1", [item("4", 1), item("1", 1)]), QUOTA);
    assert_eq!(twice, Err(StoreError::Exists { id: "1".to_owned() }));
    assert_eq!(all(&store, "c1"), ["1", "3"], "all or none");
    let page = Page { after: None, limit: 10, newest_first: true };
    let rows = store.conversations("a", &page).expect("conversations").rows;
    assert_eq!(rows, [row("other"), row("c1")]);
    let update = |metadata: &str| store.update_conversation("a", "c1", metadata.into(), QUOTA);
    assert_eq!(update("{\"k\": 1}").expect("changed").metadata, "{\"k\": 1}");
    for id in ["c1", "other"] {
        store.delete_conversation("a", id).expect("deleted");
    }
    assert!(matches!(store.item("a", "c1", "1"), Err(StoreError::Unknown { .. })));
    // Nothing of it is counted any more: half of everything fits again.
    let rest = (QUOTA / 2 - ROW - 2 - ROW) as usize;
    store.add_conversation("a", row("c2"), vec![item("1", rest)], QUOTA).expect("room");
    store.delete_conversation("a", "c2").expect("deleted");
    let full = store.add_conversation("a", row("c3"), vec![item("1", rest + 1)], QUOTA);
    assert!(matches!(full, Err(StoreError::Quota { used: 0, .. })), "{full:?}");
}

#[test]
fn another_owners_conversation_is_not_there_and_a_share_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&folder.path().join("store.sqlite")).expect("a store");
    store.add_conversation("a", row("c1"), vec![item("1", 400)], QUOTA).expect("new");
    let gone = || StoreError::Unknown { id: "c1".to_owned() };
    assert_eq!(store.conversation_row("b", "c1"), Err(gone()));
    assert_eq!(store.all_items("b", "c1"), Err(gone()));
    assert_eq!(store.add_items("b", to("c1", [item("2", 1)]), QUOTA), Err(gone()));
    assert_eq!(store.update_conversation("b", "c1", "{}".into(), QUOTA), Err(gone()));
    assert_eq!(store.delete_conversation("b", "c1"), Err(gone()));
    assert_eq!(store.delete_item("b", "c1", "1"), Err(gone()));
    assert!(store.item("b", "c1", "1").is_err());
    let page = Page { after: None, limit: 10, newest_first: true };
    assert_eq!(store.list_items("b", "c1", &page), Err(gone()));
    assert_eq!(store.conversations("b", &page).expect("a list").rows, []);
    let used = ROW + 2 + ROW + 400;
    let full = store.add_items("a", to("c1", [item("2", 900)]), QUOTA);
    let expected = StoreError::Quota {
        what: "responses and conversations",
        used,
        asked: ROW + 900,
        limit: 2_000,
    };
    assert_eq!(full, Err(expected));
    assert_eq!(all(&store, "c1"), ["1"]);
    let left = 2_000 - used;
    assert!(matches!(store.check_response("a", left + 1, QUOTA), Err(StoreError::Quota { .. })));
    assert_eq!(store.check_response("a", left, QUOTA), Ok(()));
}

#[test]
fn an_answer_is_kept_with_what_it_adds_to_its_conversation_or_not_at_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&folder.path().join("store.sqlite")).expect("a store");
    store.add_conversation("a", row("c1"), vec![item("1", 10)], QUOTA).expect("new");
    let said = |ids: &[&str]| Some(to("c1", ids.iter().map(|id| item(id, 10)).collect::<Vec<_>>()));
    store
        .add_response(NewResponse { said: said(&["2", "3"]), ..response("r1", "completed") }, QUOTA)
        .expect("kept");
    assert_eq!(all(&store, "c1"), ["1", "2", "3"]);
    let twice = store.add_response(
        NewResponse { said: said(&["4", "3"]), ..response("r2", "completed") },
        QUOTA,
    );
    assert_eq!(twice, Err(StoreError::Exists { id: "3".into() }));
    let unknown = store.add_response(
        NewResponse { said: Some(to("c2", [])), ..response("r2", "completed") },
        QUOTA,
    );
    assert_eq!(unknown, Err(StoreError::Unknown { id: "c2".into() }));
    assert!(store.response("a", "r2").is_err(), "neither of them");
    assert_eq!(all(&store, "c1"), ["1", "2", "3"]);

    store.add_response(response("r3", "queued"), QUOTA).expect("kept");
    let end = |said| {
        let end = Progress { said, ..Progress::new("completed", "{}".into()) };
        store.move_response("r3", end, QUOTA)
    };
    assert_eq!(end(said(&["1"])), Err(StoreError::Exists { id: "1".into() }));
    assert_eq!(store.response("a", "r3").expect("it is there").status, "queued");
    assert_eq!(end(said(&["4"])), Ok(true));
    assert_eq!(end(said(&["5"])), Ok(false), "it has its end");
    assert_eq!(all(&store, "c1"), ["1", "2", "3", "4"]);
    // Responses make room for items, and never the other way round.
    let items = ROW + 2 + 4 * (ROW + 10);
    let rest = (QUOTA / 2 - items - ROW) as usize;
    store.add_items("a", to("c1", [item("5", rest)]), QUOTA).expect("room was made");
    assert!(store.response("a", "r1").is_err() && store.response("a", "r3").is_err());
    let full = store.add_items("a", to("c1", [item("6", 1)]), QUOTA);
    assert!(matches!(full, Err(StoreError::Quota { .. })), "{full:?}");
    assert_eq!(all(&store, "c1"), ["1", "2", "3", "4", "5"]);
}

/// What could not be gone on with is not added, so a conversation is never too long to be read.
#[test]
fn a_conversation_has_a_longest() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&folder.path().join("store.sqlite")).expect("a store");
    let quota = 1 << 30;
    store.add_conversation("", row("c1"), Vec::new(), quota).expect("new");
    let many = |from: usize, n: usize| -> Vec<ItemRow> {
        (from..from + n).map(|n| item(&n.to_string(), 1)).collect()
    };
    store.add_items("", to("c1", many(0, ITEMS_MAX)), quota).expect("as many as there may be");
    let more = || store.add_items("", to("c1", [item("one", 1)]), quota);
    assert!(matches!(more(), Err(StoreError::TooLongAgo { what: "items", .. })));
    store.delete_item("", "c1", "7").expect("deleted");
    assert_eq!(more(), Ok(()));
    store.add_conversation("", row("c2"), Vec::new(), quota).expect("new");
    let half = CONVERSATION_BYTES_MAX / 2;
    store.add_items("", to("c2", [item("1", half), item("2", half)]), quota).expect("so long");
    let more = store.add_items("", to("c2", [item("3", 1)]), quota);
    assert!(matches!(more, Err(StoreError::TooLongAgo { what: "bytes", .. })));
    // Large items are listed one by one.
    let page = |after: Option<&str>| Page {
        after: after.map(str::to_owned),
        limit: 100,
        newest_first: false,
    };
    let first = store.list_items("", "c2", &page(None)).expect("a part");
    assert_eq!((ids(&first.rows), first.has_more), (vec!["1"], true));
    let second = store.list_items("", "c2", &page(Some("1"))).expect("a part");
    assert_eq!((ids(&second.rows), second.has_more), (vec!["2"], false));
    store.delete_conversation("", "c1").expect("deleted with all items");
    assert_eq!(store.all_items("", "c2").expect("items").len(), 2);
}

/// An owner that came to be over its share, because others grew, may still make things smaller.
#[test]
fn what_becomes_smaller_needs_no_room() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&folder.path().join("store.sqlite")).expect("a store");
    let long =
        ConversationRow { metadata: format!("{{\"k\":\"{}\"}}", "v".repeat(500)), ..row("a1") };
    store.add_conversation("a", long, vec![item("1", 900)], QUOTA).expect("new");
    store.add_conversation("b", row("b1"), vec![item("1", 500)], QUOTA).expect("new");
    let update = |metadata: String| store.update_conversation("a", "a1", metadata, QUOTA);
    assert!(matches!(update("x".repeat(510)), Err(StoreError::Quota { asked: 2, .. })));
    assert_eq!(update("{}".into()).expect("smaller").metadata, "{}");
}
