//! What tells one checkpoint from another without reading all of it.
//!
//! Size, time of change and header would do on most machines. Systems that give every file the same time exist, and there
//! two trainings of one architecture differ in nothing but their data: so a little of that is read too.

use crate::Bytes;
use sha2::{Digest as _, Sha256};
use std::time::UNIX_EPOCH;

/// Places of all files together whose data is read: on a cold disk a few milliseconds.
const SAMPLES: usize = 64;
/// Bytes that are read at each place.
const SAMPLE_BYTES: usize = 256;

/// One weight file of a checkpoint.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// All of it.
    pub(crate) file: Bytes,
    /// What stands before the tensor data.
    pub(crate) header_bytes: usize,
}

/// A hash over the purpose and all parts; none where one has no time of change, cannot be read, or there are none.
pub(crate) fn of(purpose: &str, parts: &[Part]) -> Option<[u8; 32]> {
    let samples = SAMPLES.div_ceil(parts.len().max(1));
    let mut hash = Sha256::new();
    hash.update((purpose.len() as u64).to_le_bytes());
    hash.update(purpose);
    for part in parts {
        let (len, modified) = part.file.file_stamp()?;
        // Before 1970 is a time as well.
        let (sign, since) = match modified.duration_since(UNIX_EPOCH) {
            Ok(after) => (1u8, after),
            Err(before) => (0u8, before.duration()),
        };
        hash.update(len.to_le_bytes());
        hash.update([sign]);
        hash.update(since.as_nanos().to_le_bytes());
        hash.update((part.header_bytes as u64).to_le_bytes());
        hash.update(part.file.get(..part.header_bytes)?);
        let data_bytes = part.file.len().checked_sub(part.header_bytes)?;
        for i in 0..samples {
            // In 128 bits, which the product of any two sizes fits.
            let at =
                part.header_bytes + (data_bytes as u128 * i as u128 / samples as u128) as usize;
            let sample = part.file.slice(at, SAMPLE_BYTES.min(part.file.len() - at))?;
            sample.populate().ok()?;
            hash.update(&*sample);
        }
    }
    (!parts.is_empty()).then(|| hash.finalize().into())
}
