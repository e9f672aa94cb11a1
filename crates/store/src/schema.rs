//! The tables, as steps that bring a file of any age to today's form.
//!
//! A step that has been released is never changed: what comes later is a further step.

use std::path::Path;

use rusqlite::Connection;

use crate::error::StoreError;

/// Marks the file as this program's: `Frhd` (SQLite's `application_id`).
const APPLICATION_ID: i32 = i32::from_be_bytes(*b"Frhd");

/// The steps in order; a file's `user_version` is the number of those that it has taken.
const STEPS: &[&str] = &[
    include_str!("schema/keys.sql"),
    include_str!("schema/calls.sql"),
    include_str!("schema/files.sql"),
    include_str!("schema/batches.sql"),
    include_str!("schema/responses.sql"),
    include_str!("schema/shares.sql"),
    include_str!("schema/conversations.sql"),
    include_str!("schema/streams.sql"),
    include_str!("schema/message_batches.sql"),
];

/// Brings the file to today's form.
///
/// # Errors
/// It is another program's, or a later version's, or SQLite refuses.
pub(crate) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    // Immediate, so that of two processes that start at once one waits for the other's steps.
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let number = |name| transaction.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let tables: i64 =
        transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let (id, version) = (number("application_id")?, number("user_version")?);
    if id != APPLICATION_ID && (tables > 0 || id != 0) {
        let path = path.to_owned();
        return Err(StoreError::Foreign { path, got: id, expected: APPLICATION_ID });
    }
    let taken = usize::try_from(version).unwrap_or(usize::MAX);
    let Some(left) = STEPS.get(taken..) else {
        return Err(StoreError::Newer { path: path.to_owned(), got: taken, known: STEPS.len() });
    };
    for step in left {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", STEPS.len())?;
    Ok(transaction.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(connection: &mut Connection) -> Result<(), StoreError> {
        migrate(connection, Path::new("store.sqlite"))
    }

    #[test]
    fn a_second_migration_changes_nothing() {
        let mut connection = Connection::open_in_memory().expect("a database");
        at(&mut connection).expect("a new file");
        at(&mut connection).expect("the same file");
        let version: usize = connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .expect("a version");
        assert_eq!(version, STEPS.len());
    }

    /// What was kept before sums were is counted, and goes from them as what comes later does.
    #[test]
    fn what_was_there_before_is_counted() {
        let mut connection = Connection::open_in_memory().expect("a database");
        for step in &STEPS[..5] {
            connection.execute_batch(step).expect("a step");
        }
        connection.pragma_update(None, "application_id", APPLICATION_ID).expect("a mark");
        connection.pragma_update(None, "user_version", 5).expect("a version");
        let old = "INSERT INTO files VALUES (1, 'f', 'a', 'p', 'n', 7, 's', 1, NULL), \
                   (2, 'g', 'a', 'p', 'n', 4, 's', 1, NULL), (3, 'h', 'b', 'p', 'n', 1, 's', 1, NULL); \
                   INSERT INTO responses VALUES (1, 'r', 'a', NULL, 'completed', '', 1, 1, 9, '', '');";
        connection.execute_batch(old).expect("old rows");
        at(&mut connection).expect("an old file");
        let taken = |connection: &Connection| {
            let sql = "SELECT what || ' ' || owner || ' ' || bytes FROM taken ORDER BY 1";
            let mut statement = connection.prepare(sql).expect("a statement");
            let rows = statement.query_map([], |row| row.get::<_, String>(0)).expect("rows");
            rows.map(|row| row.expect("a row")).collect::<Vec<_>>()
        };
        assert_eq!(taken(&connection), ["files a 11", "files b 1", "responses a 9"]);
        let less = "DELETE FROM files WHERE id IN ('f', 'h'); UPDATE responses SET bytes = 3";
        connection.execute_batch(less).expect("changes");
        assert_eq!(taken(&connection), ["files a 4", "responses a 3"]);
    }

    #[test]
    fn files_of_others_and_of_the_future_are_left_alone() {
        let mut foreign = Connection::open_in_memory().expect("a database");
        foreign.execute_batch("CREATE TABLE theirs (x)").expect("a table");
        assert!(matches!(at(&mut foreign), Err(StoreError::Foreign { got: 0, .. })));
        let mut newer = Connection::open_in_memory().expect("a database");
        at(&mut newer).expect("a new file");
        newer.pragma_update(None, "user_version", STEPS.len() + 1).expect("a version");
        let known = STEPS.len();
        let refused = at(&mut newer);
        assert!(
            matches!(refused, Err(StoreError::Newer { got, known: k, .. }) if got == known + 1 && k == known)
        );
    }
}
