//! Writes a packed file matrix by matrix, so that only one has to be in memory.

use super::read::hash;
use super::{
    ALIGNMENT, ENTRY_BYTES, HASH_BYTES, HASHED_BYTES, MAGIC, MATRICES_MAX, NAME_BYTES_MAX, VERSION,
};
use std::io::{Error, ErrorKind, Result, Seek, SeekFrom, Write};

/// Size in bytes of a file with matrices of these lengths of names and of data.
pub fn packed_file_bytes(matrices: impl IntoIterator<Item = (usize, u64)>) -> u64 {
    let align = |bytes: u64| bytes.checked_next_multiple_of(ALIGNMENT as u64).unwrap_or(u64::MAX);
    let (data, table) = matrices.into_iter().fold((ALIGNMENT as u64, 0u64), |sum, matrix| {
        let (name_bytes, bytes) = matrix;
        let entry = (ENTRY_BYTES + name_bytes) as u64;
        (align(sum.0).saturating_add(bytes), sum.1.saturating_add(entry))
    });
    data.saturating_add(table)
}

/// A packed file in the making. Until [`PackedWriter::finish`] has returned it is none: its
/// header is written last.
pub struct PackedWriter<W> {
    out: W,
    key: [u8; 32],
    /// Bytes written so far.
    at: u64,
    table: Vec<u8>,
    count: u64,
}

impl<W: Write + Seek> PackedWriter<W> {
    /// Begins a file of the source with this key.
    ///
    /// # Errors
    /// What `out` answers.
    pub fn new(mut out: W, key: [u8; 32]) -> Result<PackedWriter<W>> {
        out.write_all(&[0; ALIGNMENT])?;
        Ok(PackedWriter { out, key, at: ALIGNMENT as u64, table: Vec::new(), count: 0 })
    }

    /// Adds a matrix (rows × cols) with its packed bytes.
    ///
    /// # Errors
    /// What `out` answers, or a matrix that the format has no room for.
    pub fn add(&mut self, name: &str, kind: u8, shape: [usize; 2], data: &[u8]) -> Result<()> {
        let sizes = (u16::try_from(name.len()), shape.map(u32::try_from));
        let (Ok(name_bytes), [Ok(rows), Ok(cols)]) = sizes else {
            let limits = format!("names of {NAME_BYTES_MAX} bytes and 32-bit sizes");
            let found = format!("{} bytes and {shape:?}", name.len());
            let text = format!("matrix {name}: at most {limits} can be written, got {found}");
            return Err(Error::new(ErrorKind::InvalidInput, text));
        };
        if self.count == MATRICES_MAX {
            let text = format!("at most {MATRICES_MAX} matrices can be written");
            return Err(Error::new(ErrorKind::InvalidInput, text));
        }
        let offset = self.at.next_multiple_of(ALIGNMENT as u64);
        self.out.write_all(&[0; ALIGNMENT][..(offset - self.at) as usize])?;
        self.out.write_all(data)?;
        self.at = offset + data.len() as u64;
        self.count += 1;
        self.table.extend(name_bytes.to_le_bytes());
        self.table.extend([kind, 0]);
        self.table.extend([rows, cols].map(u32::to_le_bytes).as_flattened());
        self.table.extend([offset, data.len() as u64].map(u64::to_le_bytes).as_flattened());
        self.table.extend(name.as_bytes());
        Ok(())
    }

    /// Writes table and header, and gives back what was written to.
    ///
    /// # Errors
    /// What `out` answers.
    pub fn finish(mut self) -> Result<W> {
        self.out.write_all(&self.table)?;
        let mut header = Vec::with_capacity(HASHED_BYTES + HASH_BYTES);
        header.extend(MAGIC);
        header.extend(VERSION.to_le_bytes());
        header.extend([0; 4]);
        header.extend(self.key);
        let numbers = [self.at, self.table.len() as u64, self.count];
        header.extend(numbers.map(u64::to_le_bytes).as_flattened());
        header.extend(hash(&self.table));
        header.extend(hash(&header));
        self.out.seek(SeekFrom::Start(0))?;
        self.out.write_all(&header)?;
        self.out.flush()?;
        Ok(self.out)
    }
}
