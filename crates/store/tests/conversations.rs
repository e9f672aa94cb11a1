//! Conversations as objects: order, owners, shares, and what goes with what.

use store::{ConversationRow, ItemRow, Page, Store, StoreError};

const QUOTA: u64 = 1_000;

fn item(id: &str, n_bytes: usize) -> ItemRow {
    ItemRow { id: id.to_owned(), item: "x".repeat(n_bytes) }
}

fn row(id: &str) -> ConversationRow {
    ConversationRow { id: id.to_owned(), created_at: 1, metadata: "{}".to_owned() }
}

fn ids(rows: &[ItemRow]) -> Vec<&str> {
    rows.iter().map(|row| row.id.as_str()).collect()
}

#[test]
fn items_stay_in_order_across_a_restart_and_go_with_their_conversation() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.sqlite");
    let store = Store::open(&path).expect("a store");
    store.add_conversation("a", row("c1"), vec![item("1", 10), item("2", 10)], QUOTA).expect("new");
    store.add_items("a", "c1", vec![item("3", 10)], QUOTA).expect("more");
    drop(store);
    let store = Store::open(&path).expect("the same store");
    assert_eq!(ids(&store.all_items("a", "c1").expect("items")), ["1", "2", "3"]);
    let page = Page { after: Some("3".to_owned()), limit: 1, newest_first: true };
    let part = store.list_items("a", "c1", &page).expect("a part");
    assert_eq!((ids(&part.rows), part.has_more), (vec!["2"], true));
    store.delete_item("a", "c1", "2").expect("deleted");
    assert_eq!(ids(&store.all_items("a", "c1").expect("items")), ["1", "3"]);
    let twice = store.add_items("a", "c1", vec![item("4", 1), item("1", 1)], QUOTA);
    assert_eq!(twice, Err(StoreError::Exists { id: "1".to_owned() }));
    assert_eq!(ids(&store.all_items("a", "c1").expect("items")), ["1", "3"], "all or none");
    store.delete_conversation("a", "c1").expect("deleted");
    assert!(matches!(store.item("a", "c1", "1"), Err(StoreError::Unknown { .. })));
    // Nothing of it is counted any more: half of everything fits again.
    store.add_conversation("a", row("c2"), vec![item("1", 498)], QUOTA).expect("room");
}

#[test]
fn another_owners_conversation_is_not_there_and_a_share_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&folder.path().join("store.sqlite")).expect("a store");
    store.add_conversation("a", row("c1"), vec![item("1", 400)], QUOTA).expect("new");
    let gone = || StoreError::Unknown { id: "c1".to_owned() };
    assert_eq!(store.conversation_row("b", "c1"), Err(gone()));
    assert_eq!(store.add_items("b", "c1", vec![item("2", 1)], QUOTA), Err(gone()));
    assert_eq!(store.delete_conversation("b", "c1"), Err(gone()));
    assert!(store.item("b", "c1", "1").is_err());
    let full = store.add_items("a", "c1", vec![item("2", 200)], QUOTA);
    assert!(matches!(full, Err(StoreError::Quota { used: 402, asked: 200, limit: 500, .. })));
    assert_eq!(ids(&store.all_items("a", "c1").expect("items")), ["1"]);
    assert!(matches!(store.check_response("a", 99, QUOTA), Err(StoreError::Quota { .. })));
    assert_eq!(store.check_response("a", 98, QUOTA), Ok(()));
}
