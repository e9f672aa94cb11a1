//! Conversations as objects: items that stay until they are deleted.
//!
//! What is added at once is added in one transaction, so it stands together whatever is added at
//! the same time. Their bytes count to the share of their owner's responses; responses that were
//! used longest ago make room for items, but items never go to make room for anything.

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use crate::error::StoreError;
use crate::page::{Listed, Page};
use crate::responses::{CONVERSATION_BYTES_MAX, make_room};
use crate::store::Store;

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
            let bytes = new.metadata.len() as u64;
            transaction.execute(
                "INSERT INTO conversations (id, owner, created_at, bytes, metadata) \
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![new.id, owner, new.created_at, bytes, new.metadata],
            )?;
            let added = append(transaction, &owner, &new.id, &items)?;
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
            let sql = "UPDATE conversations SET metadata = ?3, bytes = octet_length(?3) \
                       WHERE owner = ?1 AND id = ?2";
            transaction.execute(sql, [&owner, &id, &metadata])?;
            let row = by_id(transaction, &owner, &id)?;
            make_room(transaction, "", metadata.len() as u64, &owner, quota)?;
            Ok(row)
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
    /// As [`Store::add_conversation`], or there is no such conversation.
    pub fn add_items(
        &self,
        owner: &str,
        conversation: &str,
        items: Vec<ItemRow>,
        quota: u64,
    ) -> Result<(), StoreError> {
        let (owner, conversation) = (owner.to_owned(), conversation.to_owned());
        self.write(move |transaction| {
            by_id(transaction, &owner, &conversation)?;
            let added = append(transaction, &owner, &conversation, &items)?;
            make_room(transaction, "", added, &owner, quota)
        })
    }

    /// All items of a conversation, the first first.
    ///
    /// # Errors
    /// There is no such conversation, it is longer than [`CONVERSATION_BYTES_MAX`], or the store
    /// cannot be read.
    pub fn all_items(&self, owner: &str, conversation: &str) -> Result<Vec<ItemRow>, StoreError> {
        self.read(|connection| {
            by_id(connection, owner, conversation)?;
            let sql =
                "SELECT id, item FROM conversation_items WHERE conversation = ?1 ORDER BY seq";
            let mut statement = connection.prepare_cached(sql)?;
            let (mut items, mut n_bytes) = (Vec::new(), 0usize);
            for row in statement.query_map([conversation], item_row)? {
                let row = row?;
                n_bytes = n_bytes.saturating_add(row.item.len());
                if n_bytes > CONVERSATION_BYTES_MAX {
                    let limit = CONVERSATION_BYTES_MAX;
                    return Err(StoreError::TooLongAgo { limit, what: "bytes" });
                }
                items.push(row);
            }
            Ok(items)
        })
    }

    /// A part of the items of a conversation.
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
            let place = |id: &str| {
                let sql = "SELECT seq FROM conversation_items WHERE conversation = ?1 AND id = ?2";
                let seq = connection.query_row(sql, [conversation, id], |row| row.get(0));
                seq.optional()?.ok_or_else(|| StoreError::Unknown { id: id.to_owned() })
            };
            let after: Option<i64> = page.after.as_deref().map(place).transpose()?;
            let (beyond, order) = if page.newest_first { ("<", "DESC") } else { (">", "ASC") };
            let sql = format!(
                "SELECT id, item FROM conversation_items WHERE conversation = ?1 \
                 AND (?2 IS NULL OR seq {beyond} ?2) ORDER BY seq {order} LIMIT ?3"
            );
            let one_more = i64::try_from(page.limit.saturating_add(1)).unwrap_or(i64::MAX);
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params![conversation, after, one_more], item_row)?;
            let mut rows = rows.collect::<Result<Vec<_>, _>>()?;
            let has_more = rows.len() > page.limit;
            rows.truncate(page.limit);
            Ok(Listed { rows, has_more })
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

/// Adds items to the end of a conversation; says how many bytes they take.
fn append(
    transaction: &Transaction<'_>,
    owner: &str,
    conversation: &str,
    items: &[ItemRow],
) -> Result<u64, StoreError> {
    let sql = "INSERT INTO conversation_items (conversation, id, owner, bytes, item) \
               VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
    let mut statement = transaction.prepare_cached(sql)?;
    let mut added = 0u64;
    for ItemRow { id, item } in items {
        let bytes = item.len() as u64;
        if statement.execute(params![conversation, id, owner, bytes, item])? == 0 {
            return Err(StoreError::Exists { id: id.clone() });
        }
        added = added.saturating_add(bytes);
    }
    Ok(added)
}

fn by_id(connection: &Connection, owner: &str, id: &str) -> Result<ConversationRow, StoreError> {
    let sql = "SELECT id, created_at, metadata FROM conversations WHERE owner = ?1 AND id = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let row = statement.query_row([owner, id], |row| {
        Ok(ConversationRow { id: row.get(0)?, created_at: row.get(1)?, metadata: row.get(2)? })
    });
    row.optional()?.ok_or_else(|| StoreError::Unknown { id: id.to_owned() })
}

fn item_row(row: &Row<'_>) -> rusqlite::Result<ItemRow> {
    Ok(ItemRow { id: row.get(0)?, item: row.get(1)? })
}
