//! Parts of long lists, by the id of the last row that the client has.

use rusqlite::{Connection, OptionalExtension as _, Row, ToSql};

use crate::error::StoreError;

/// Which part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The part begins behind the row with this id.
    pub after: Option<String>,
    /// Most rows.
    pub limit: usize,
    /// Whether the newest row is the first.
    pub newest_first: bool,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// Its rows.
    pub rows: Vec<T>,
    /// Whether more follow.
    pub has_more: bool,
}

/// Most bytes of a part, where rows may be large; one row there is however large.
const PART_BYTES_MAX: usize = 4 << 20;

/// What of a table is listed: rows of one owner that `filter` leaves.
pub(crate) struct Listing<'a> {
    pub(crate) table: &'static str,
    pub(crate) columns: &'static str,
    pub(crate) owner: &'a str,
    /// A column and the value that it must have.
    pub(crate) filter: Option<(&'static str, &'a str)>,
}

impl Listing<'_> {
    /// Reads one part.
    ///
    /// # Errors
    /// There is no row of the owner that `page.after` names.
    pub(crate) fn read<T>(
        &self,
        connection: &Connection,
        page: &Page,
        row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Listed<T>, StoreError> {
        self.read_sized(connection, page, row, |_| 0)
    }

    /// Reads one part of rows that may be large: fewer than asked for where they are.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn read_sized<T>(
        &self,
        connection: &Connection,
        page: &Page,
        row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
        n_bytes: impl Fn(&T) -> usize,
    ) -> Result<Listed<T>, StoreError> {
        let Self { table, columns, owner, .. } = *self;
        let after: Option<i64> =
            page.after.as_deref().map(|id| self.place(connection, id)).transpose()?;
        let (beyond, order) = if page.newest_first { ("<", "DESC") } else { (">", "ASC") };
        let (column, wanted) = self.only();
        // A condition that may not be one would keep the index from being used for it.
        let behind = after.map_or(String::new(), |_| format!("AND seq {beyond} ?3"));
        let sql = format!(
            "SELECT {columns} FROM {table} WHERE owner = ?1 AND {column} = ?2 {behind} \
             ORDER BY seq {order} LIMIT ?4"
        );
        let one_more = i64::try_from(page.limit.saturating_add(1)).unwrap_or(i64::MAX);
        let values: [&dyn ToSql; 4] = [&owner, &wanted, &after, &one_more];
        let mut statement = connection.prepare_cached(&sql)?;
        let (mut rows, mut all_bytes) = (Vec::new(), 0usize);
        for row in statement.query_map(values, row)? {
            let row = row?;
            all_bytes = all_bytes.saturating_add(n_bytes(&row));
            if rows.len() == page.limit || (!rows.is_empty() && all_bytes > PART_BYTES_MAX) {
                return Ok(Listed { rows, has_more: true });
            }
            rows.push(row);
        }
        Ok(Listed { rows, has_more: false })
    }

    /// The column that all rows have alike, and what it is.
    fn only(&self) -> (&str, &str) {
        self.filter.unwrap_or(("owner", self.owner))
    }

    fn place(&self, connection: &Connection, id: &str) -> Result<i64, StoreError> {
        let (table, (column, wanted)) = (self.table, self.only());
        let sql = format!("SELECT seq FROM {table} WHERE owner = ?1 AND {column} = ?2 AND id = ?3");
        let values = [self.owner, wanted, id];
        let found = connection.query_row(&sql, values, |row| row.get(0)).optional()?;
        found.ok_or_else(|| StoreError::Unknown { id: id.to_owned() })
    }
}
