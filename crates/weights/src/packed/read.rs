//! Reads a packed file: everything in it is checked before a matrix is handed out.

use super::{
    ALIGNMENT, ENTRY_BYTES, HASH_BYTES, HASHED_BYTES, MAGIC, MATRICES_MAX, PackedError,
    PackedMatrix, TABLE_BYTES_MAX, VERSION,
};
use crate::{Bytes, map::FileMap};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::path::Path;

/// An open packed file. Its data stays in the memory map, which processes share.
#[derive(Debug)]
pub struct PackedFile {
    file: Bytes,
    pub(super) matrices: HashMap<String, PackedMatrix>,
}

impl PackedFile {
    /// Maps the packed file at `path`, which must have been packed from the source with this key.
    ///
    /// # Errors
    /// [`PackedError`]: it cannot be read, is of another source or version, or is corrupt.
    pub fn open(path: &Path, key: &[u8; 32]) -> Result<PackedFile, PackedError> {
        PackedFile::from_bytes(Bytes::from_map(FileMap::open(path)?), key)
    }

    /// As [`PackedFile::open`], from memory.
    ///
    /// # Errors
    /// [`PackedError`]: the bytes are of another source or version, or corrupt.
    pub fn from_bytes(file: Bytes, key: &[u8; 32]) -> Result<PackedFile, PackedError> {
        let header = Header::read(&file)?;
        if header.key != *key {
            return Err(PackedError::Key);
        }
        let matrices = header.matrices(&file)?;
        Ok(PackedFile { file, matrices })
    }

    /// The matrix of this name.
    pub fn matrix(&self, name: &str) -> Option<&PackedMatrix> {
        self.matrices.get(name)
    }

    /// How many matrices it holds.
    pub fn matrices(&self) -> usize {
        self.matrices.len()
    }

    /// Size of the whole file, in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.file.len() as u64
    }

    /// Reads the whole file into memory now, where the system can do that.
    ///
    /// # Errors
    /// The file was cut short since it was opened, or the disk failed.
    pub fn populate(&self) -> std::io::Result<()> {
        self.file.populate()
    }

    /// Asks the system to begin to read the whole file, and returns at once.
    pub fn prefetch(&self) {
        self.file.prefetch();
    }
}

/// The header, with a table whose range lies inside the file.
struct Header {
    key: [u8; 32],
    table_at: usize,
    table_bytes: usize,
    count: u64,
    table_hash: [u8; HASH_BYTES],
}

impl Header {
    fn read(file: &Bytes) -> Result<Header, PackedError> {
        let got = file.len() as u64;
        let Some(header) = file.get(..ALIGNMENT) else {
            return Err(match file.first_chunk() {
                Some(magic) if *magic != MAGIC => PackedError::Magic(*magic),
                _ => PackedError::Size { expected: ALIGNMENT as u64, got },
            });
        };
        let mut fields = Fields(header);
        let magic = fields.array();
        if magic != MAGIC {
            return Err(PackedError::Magic(magic));
        }
        let version = fields.u32();
        if version != VERSION {
            return Err(PackedError::Version(version));
        }
        let _reserved = fields.u32();
        let (key, table_at, table_bytes, count) =
            (fields.array(), fields.u64(), fields.u64(), fields.u64());
        let (table_hash, header_hash) = (fields.array(), fields.array());
        if hash(&header[..HASHED_BYTES]) != header_hash {
            return Err(PackedError::Hash("header"));
        }
        for (what, limit, got) in
            [("matrices", MATRICES_MAX, count), ("bytes of a table", TABLE_BYTES_MAX, table_bytes)]
        {
            if got > limit {
                return Err(PackedError::TooMany { what, limit, got });
            }
        }
        let expected = table_at.saturating_add(table_bytes);
        if expected != got || table_at < ALIGNMENT as u64 {
            return Err(PackedError::Size { expected, got });
        }
        // Both fit: together they are the file's own length.
        let (table_at, table_bytes) = (table_at as usize, table_bytes as usize);
        Ok(Header { key, table_at, table_bytes, count, table_hash })
    }

    fn matrices(&self, file: &Bytes) -> Result<HashMap<String, PackedMatrix>, PackedError> {
        // A copy: the file may change under us, and what was checked must be what is used.
        let table = file[self.table_at..self.table_at + self.table_bytes].to_vec();
        if hash(&table) != self.table_hash {
            return Err(PackedError::Hash("table"));
        }
        let mut rest = table.as_slice();
        // No more than the table has room for.
        let room = (self.count as usize).min(table.len() / ENTRY_BYTES);
        let mut matrices = HashMap::with_capacity(room);
        let mut data_end = ALIGNMENT;
        for index in 0..self.count {
            let fail = |reason: String| PackedError::Entry { index, reason };
            let (name, matrix, end) = self.entry(&mut rest, file, data_end).map_err(fail)?;
            data_end = end;
            if matrices.insert(name, matrix).is_some() {
                return Err(fail("its name is there twice".to_owned()));
            }
        }
        if !rest.is_empty() {
            let reason = format!("{} bytes follow the last entry", rest.len());
            return Err(PackedError::Entry { index: self.count, reason });
        }
        Ok(matrices)
    }

    /// The next entry, whose data begins at `data_from` or later, and the end of its data.
    fn entry(
        &self,
        rest: &mut &[u8],
        file: &Bytes,
        data_from: usize,
    ) -> Result<(String, PackedMatrix, usize), String> {
        let Some((fixed, after)) = rest.split_at_checked(ENTRY_BYTES) else {
            return Err(format!("expected {ENTRY_BYTES} bytes, {} are left", rest.len()));
        };
        let mut fields = Fields(fixed);
        let (name_bytes, kind) = (usize::from(u16::from_le_bytes(fields.array())), fields.u8());
        let _reserved = fields.u8();
        let (rows, cols) = (fields.u32() as usize, fields.u32() as usize);
        let (offset, bytes) = (fields.u64(), fields.u64());
        let Some((name, after)) = after.split_at_checked(name_bytes) else {
            return Err(format!("expected a name of {name_bytes} bytes, {} are left", after.len()));
        };
        *rest = after;
        let name = std::str::from_utf8(name).map_err(|_| "its name is not UTF-8".to_owned())?;
        let end = offset.checked_add(bytes).filter(|&end| end <= self.table_at as u64);
        let Some(end) = end.filter(|_| offset >= data_from as u64) else {
            return Err(format!(
                "{name}: expected its data between {data_from} and {}, got {bytes} bytes at {offset}",
                self.table_at
            ));
        };
        if !offset.is_multiple_of(ALIGNMENT as u64) {
            return Err(format!("{name}: expected a multiple of {ALIGNMENT}, got offset {offset}"));
        }
        // All fit: they lie inside the file.
        let data = file.slice(offset as usize, bytes as usize).unwrap_or_default();
        Ok((name.to_owned(), PackedMatrix { kind, rows, cols, data }, end as usize))
    }
}

/// Little-endian fields of bytes that are long enough for all of them.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.0.split_first_chunk().expect("header and entry have fixed sizes");
        self.0 = rest;
        *field
    }

    fn u8(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }
}

pub(super) fn hash(bytes: &[u8]) -> [u8; HASH_BYTES] {
    Sha256::digest(bytes).into()
}
