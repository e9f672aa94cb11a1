//! Conversations as objects: items that stay until they are deleted.
//!
//! What is added at once is added in one transaction, so it stands together whatever is added at
//! the same time. Their bytes count to the share of their owner's responses; responses that were
//! used longest ago make room for items, but items never go to make room for anything.

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use crate::error::StoreError;
use crate::page::{Listed, Listing, Page};
use crate::responses::{CONVERSATION_BYTES_MAX, make_room};
use crate::store::Store;

/// Most items of a conversation.
pub const ITEMS_MAX: usize = 10_000;
/// What a row counts beside its JSON, so that many small ones are not free: about what its ids,
/// its numbers and its places in the indices take.
const ROW_BYTES: u64 = 256;

/// A conversation without its items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationRow {
    /// Its id.
    pub id: String,
    /// Unix time in seconds.
    pub created_at: u64,
    /// JSON object.
    pub metadata: String,
}

/// An item of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemRow {
    /// Its id, of which there is one in a conversation.
    pub id: String,
    /// JSON object.
    pub item: String,
}

/// Items for the end of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewItems {
    /// The conversation's id.
    pub conversation: String,
    /// In their order.
    pub items: Vec<ItemRow>,
}

impl Store {
    /// Makes a conversation that begins with `items`.
    ///
    /// # Errors
    /// [`StoreError::Quota`] where it does not fit into the owner's share ([`crate::share()`]) of
    /// `quota` bytes, [`StoreError::Exists`] where two items have one id; or the store cannot be
    /// written.
    pub fn add_conversation(
        &self,
        owner: &str,
        new: ConversationRow,
        items: Vec<ItemRow>,
        quota: u64,
    ) -> Result<(), StoreError> {
        let owner = owner.to_owned();
        self.write(move |transaction| {
            let ConversationRow { id, created_at, metadata } = new;
            let bytes = ROW_BYTES + metadata.len() as u64;
            transaction.execute(
                "INSERT INTO conversations (id, owner, created_at, bytes, metadata) \
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![id, owner, created_at, bytes, metadata],
            )?;
            let added = append(transaction, &owner, &NewItems { conversation: id, items })?;
            make_room(transaction, "", bytes.saturating_add(added), &owner, quota)
        })
    }

    /// A conversation of an owner.
    ///
    /// # Errors
    /// There is none, or the store cannot be read.
    pub fn conversation_row(&self, owner: &str, id: &str) -> Result<ConversationRow, StoreError> {
        self.read(|connection| by_id(connection, owner, id))
    }

    /// Gives a conversation other metadata, a JSON object.
    ///
    /// # Errors
    /// There is none, it does not fit into the owner's share of `quota` bytes, or the store cannot
    /// be written.
    pub fn update_conversation(
        &self,
        owner: &str,
        id: &str,
        metadata: String,
        quota: u64,
    ) -> Result<ConversationRow, StoreError> {
        let (owner, id) = (owner.to_owned(), id.to_owned());
        self.write(move |transaction| {
            let before = by_id(transaction, &owner, &id)?;
            let bytes = ROW_BYTES + metadata.len() as u64;
            let sql = "UPDATE conversations SET metadata = ?2, bytes = ?3 WHERE id = ?1";
            transaction.execute(sql, params![id, metadata, bytes])?;
            // What becomes smaller needs no room, although others may have taken it since.
            let grown = metadata.len().saturating_sub(before.metadata.len()) as u64;
            if grown > 0 {
                make_room(transaction, "", grown, &owner, quota)?;
            }
            Ok(ConversationRow { metadata, ..before })
        })
    }

    /// Deletes a conversation with everything in it.
    ///
    /// # Errors
    /// There is none, or the store cannot be written.
    pub fn delete_conversation(&self, owner: &str, id: &str) -> Result<(), StoreError> {
        let (owner, id) = (owner.to_owned(), id.to_owned());
        self.write(move |transaction| {
            let sql = "DELETE FROM conversations WHERE owner = ?1 AND id = ?2";
            match transaction.execute(sql, [&owner, &id])? {
                0 => Err(StoreError::Unknown { id }),
                _ => Ok(()),
            }
        })
    }

    /// Adds items to the end of a conversation, all or none, together.
    ///
    /// # Errors
    /// As [`Store::add_conversation`]; there is no such conversation, or it would become longer than
    /// [`ITEMS_MAX`] and [`CONVERSATION_BYTES_MAX`] allow.
    pub fn add_items(&self, owner: &str, new: NewItems, quota: u64) -> Result<(), StoreError> {
        let owner = owner.to_owned();
        self.write(move |transaction| {
            let added = append(transaction, &owner, &new)?;
            make_room(transaction, "", added, &owner, quota)
        })
    }

    /// A part of an owner's conversations.
    ///
    /// # Errors
    /// There is none that `page.after` names, or the store cannot be read.
    pub fn conversations(
        &self,
        owner: &str,
        page: &Page,
    ) -> Result<Listed<ConversationRow>, StoreError> {
        let listing = Listing { table: "conversations", columns: COLUMNS, owner, filter: None };
        self.read(|connection| listing.read(connection, page, conversation_row))
    }

    /// All items of a conversation, the first first.
    ///
    /// # Errors
    /// There is no such conversation, or the store cannot be read.
    pub fn all_items(&self, owner: &str, conversation: &str) -> Result<Vec<ItemRow>, StoreError> {
        self.read(|connection| {
            by_id(connection, owner, conversation)?;
            let sql =
                "SELECT id, item FROM conversation_items WHERE conversation = ?1 ORDER BY seq";
            let mut statement = connection.prepare_cached(sql)?;
            let items = statement.query_map([conversation], item_row)?;
            Ok(items.collect::<Result<Vec<_>, _>>()?)
        })
    }

    /// A part of the items of a conversation; fewer than asked for where they are large.
    ///
    /// # Errors
    /// There is no such conversation, or no item in it that `page.after` names, or the store
    /// cannot be read.
    pub fn list_items(
        &self,
        owner: &str,
        conversation: &str,
        page: &Page,
    ) -> Result<Listed<ItemRow>, StoreError> {
        self.read(|connection| {
            by_id(connection, owner, conversation)?;
            let filter = Some(("conversation", conversation));
            let listing =
                Listing { table: "conversation_items", columns: "id, item", owner, filter };
            listing.read_sized(connection, page, item_row, |row| row.item.len())
        })
    }

    /// One item of a conversation.
    ///
    /// # Errors
    /// There is none, or the store cannot be read.
    pub fn item(&self, owner: &str, conversation: &str, id: &str) -> Result<ItemRow, StoreError> {
        self.read(|connection| {
            let sql = "SELECT id, item FROM conversation_items \
                       WHERE owner = ?1 AND conversation = ?2 AND id = ?3";
            let row = connection.query_row(sql, [owner, conversation, id], item_row).optional()?;
            row.ok_or_else(|| StoreError::Unknown { id: id.to_owned() })
        })
    }

    /// Deletes one item; the conversation that is left.
    ///
    /// # Errors
    /// There is none, or the store cannot be written.
    pub fn delete_item(
        &self,
        owner: &str,
        conversation: &str,
        id: &str,
    ) -> Result<ConversationRow, StoreError> {
        let (owner, id) = (owner.to_owned(), id.to_owned());
        let conversation = conversation.to_owned();
        self.write(move |transaction| {
            let row = by_id(transaction, &owner, &conversation)?;
            let sql = "DELETE FROM conversation_items WHERE conversation = ?1 AND id = ?2";
            match transaction.execute(sql, [&conversation, &id])? {
                0 => Err(StoreError::Unknown { id }),
                _ => Ok(row),
            }
        })
    }
}

/// Adds items to the end of a conversation of an owner, which must not become longer than
/// [`ITEMS_MAX`] and [`CONVERSATION_BYTES_MAX`]; says how many bytes they count.
pub(crate) fn append(
    transaction: &Transaction<'_>,
    owner: &str,
    new: &NewItems,
) -> Result<u64, StoreError> {
    by_id(transaction, owner, &new.conversation)?;
    let sql = "INSERT INTO conversation_items (conversation, id, owner, bytes, item) \
               VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
    let mut statement = transaction.prepare_cached(sql)?;
    let mut added = 0u64;
    for ItemRow { id, item } in &new.items {
        let bytes = ROW_BYTES + item.len() as u64;
        if statement.execute(params![new.conversation, id, owner, bytes, item])? == 0 {
            return Err(StoreError::Exists { id: id.clone() });
        }
        added = added.saturating_add(bytes);
    }
    let sums = "SELECT n_items, n_bytes FROM conversations WHERE id = ?1";
    let sums = transaction.query_row(sums, [&new.conversation], |row| {
        Ok((row.get::<_, usize>(0)?, row.get::<_, usize>(1)?))
    });
    match sums? {
        (n_items, _) if n_items > ITEMS_MAX => {
            Err(StoreError::TooLongAgo { limit: ITEMS_MAX, what: "items" })
        }
        (_, n_bytes) if n_bytes > CONVERSATION_BYTES_MAX => {
            Err(StoreError::TooLongAgo { limit: CONVERSATION_BYTES_MAX, what: "bytes" })
        }
        _ => Ok(added),
    }
}

const COLUMNS: &str = "id, created_at, metadata";

fn by_id(connection: &Connection, owner: &str, id: &str) -> Result<ConversationRow, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM conversations WHERE owner = ?1 AND id = ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    let row = statement.query_row([owner, id], conversation_row).optional()?;
    row.ok_or_else(|| StoreError::Unknown { id: id.to_owned() })
}

fn conversation_row(row: &Row<'_>) -> rusqlite::Result<ConversationRow> {
    Ok(ConversationRow { id: row.get(0)?, created_at: row.get(1)?, metadata: row.get(2)? })
}

fn item_row(row: &Row<'_>) -> rusqlite::Result<ItemRow> {
    Ok(ItemRow { id: row.get(0)?, item: row.get(1)? })
}
