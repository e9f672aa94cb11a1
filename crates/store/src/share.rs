//! How much of what all may take together one owner may take.
//!
//! An owner may take as much as it leaves to others: half of what the others do not take. So there
//! is room left whoever comes next, a lone owner is not held to a small part, and owners that all
//! want everything come to equal parts, n of them to 1/(n + 1) each. This is the dynamic threshold
//! with α = 1 by which switches share their buffers (Choudhury and Hahne, "Dynamic queue length
//! thresholds for shared-memory packet switches", 1998). Where nobody needs a key there is one
//! owner, and nobody to leave anything to.

use rusqlite::{Connection, OptionalExtension as _};

use crate::error::StoreError;

/// What an owner may take of `all` while others take `others` of it, in the unit of both.
#[must_use]
pub fn share(owner: &str, all: u64, others: u64) -> u64 {
    let left = all.saturating_sub(others);
    if owner.is_empty() { left } else { left.div_ceil(2) }
}

/// What an owner has, and may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) used: u64,
    pub(crate) limit: u64,
}

/// Bytes of an owner in a table that [`taken`](self) is kept for, of `all` bytes of all owners.
pub(crate) fn taken(
    connection: &Connection,
    what: &str,
    owner: &str,
    all: u64,
) -> Result<Taken, StoreError> {
    let own = "SELECT bytes FROM taken WHERE what = ?1 AND owner = ?2";
    let mut own = connection.prepare_cached(own)?;
    let used: u64 = own.query_row([what, owner], |row| row.get(0)).optional()?.unwrap_or(0);
    let others = bytes(connection, what)?.saturating_sub(used);
    Ok(Taken { used, limit: share(owner, all, others) })
}

/// Bytes of all owners.
pub(crate) fn bytes(connection: &Connection, what: &str) -> Result<u64, StoreError> {
    let sum = "SELECT coalesce(sum(bytes), 0) FROM taken WHERE what = ?1";
    Ok(connection.prepare_cached(sum)?.query_row([what], |row| row.get(0))?)
}

#[cfg(test)]
mod tests {
    use super::share;

    /// Whoever comes in whatever order and takes all that it may: all together never take more
    /// than there is, and there is something for the next.
    #[test]
    fn whoever_comes_finds_room_and_all_stay_within_the_whole() {
        bolero::check!().with_type::<(u32, Vec<(u8, u32)>)>().for_each(|(all, steps)| {
            let all = u64::from(*all);
            let mut used = [0u64; 4];
            for (owner, wanted) in steps {
                let at = usize::from(owner % 4);
                let others = used.iter().sum::<u64>() - used[at];
                let limit = share(&format!("key_{at}"), all, others);
                // What it has already it keeps, what others have come to since then notwithstanding.
                used[at] = used[at].max(limit.min(u64::from(*wanted)));
                assert!(used.iter().sum::<u64>() <= all);
            }
        });
        let mut left = 1u64 << 30;
        for n in 0..20 {
            let limit = share(&format!("key_{n}"), 1 << 30, (1 << 30) - left);
            assert_eq!(limit, 1 << (29 - n));
            left -= limit;
        }
        assert_eq!((share("", 9, 0), share("key_1", 9, 8), share("key_1", 9, 12)), (9, 1, 0));
    }

    #[test]
    fn owners_that_want_everything_come_to_equal_parts() {
        let (all, mut used) = (1_000_000, [0u64; 4]);
        for _ in 0..100 {
            for at in 0..used.len() {
                let others = used.iter().sum::<u64>() - used[at];
                used[at] = share(&format!("key_{at}"), all, others);
            }
        }
        assert!(used.iter().all(|&one| one.abs_diff(all / 5) <= 2), "{used:?}");
    }
}
