//! Whole files come back as they were written; every other file is refused, and no bytes make the reader panic.

use super::*;
use bolero::check;
use std::io::Cursor;

const KEY: [u8; 32] = [7; 32];

fn matrices() -> Vec<(String, u8, [usize; 2], Vec<u8>)> {
    (0..5u8)
        .map(|i| {
            let data = (0..usize::from(i) * 3000).map(|k| (k as u8).wrapping_mul(i)).collect();
            (format!("blk.{i}.ffn_up_exps.weight[{i}]"), i, [usize::from(i), 32], data)
        })
        .collect()
}

fn file() -> Vec<u8> {
    let mut writer = PackedWriter::new(Cursor::new(Vec::new()), KEY).expect("a vector grows");
    for (name, kind, shape, data) in matrices() {
        writer.add(&name, kind, shape, &data).expect("a vector grows");
    }
    writer.finish().expect("a vector grows").into_inner()
}

fn read(bytes: Vec<u8>) -> Result<PackedFile, PackedError> {
    PackedFile::from_bytes(Bytes::from_vec(bytes), &KEY)
}

/// Gives a changed header and table the hashes that they should have.
fn seal(file: &mut [u8]) {
    let number =
        |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().expect("eight bytes")) as usize;
    let (at, bytes) = (number(48), number(56));
    if let Some(table) = at.checked_add(bytes).and_then(|end| file.get(at..end)) {
        let hash = read::hash(table);
        file[72..HASHED_BYTES].copy_from_slice(&hash);
    }
    let hash = read::hash(&file[..HASHED_BYTES]);
    file[HASHED_BYTES..HASHED_BYTES + HASH_BYTES].copy_from_slice(&hash);
}

#[test]
fn what_was_written_comes_back() {
    let bytes = file();
    let sizes = matrices().into_iter().map(|(name, .., data)| (name.len(), data.len() as u64));
    assert_eq!(packed_file_bytes(sizes), bytes.len() as u64);
    let start = bytes.as_ptr().addr();
    let packed = read(bytes).expect("it is whole");
    assert_eq!(packed.matrices(), matrices().len());
    for (name, kind, [rows, cols], data) in matrices() {
        let matrix = packed.matrix(&name).expect("it was written");
        assert_eq!((matrix.kind, matrix.rows, matrix.cols), (kind, rows, cols));
        assert_eq!(&*matrix.data, data);
        assert!((matrix.data.as_ptr().addr() - start).is_multiple_of(ALIGNMENT));
    }
    assert!(packed.matrix("blk").is_none());
}

#[test]
fn another_source_version_or_length_is_refused_by_name() {
    let said = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = file();
        change(&mut bytes);
        read(bytes).expect_err("it was changed").to_string()
    };
    for (said, expected) in [
        (said(&|b| b[0] = b'G'), "expected the magic bytes"),
        (said(&|b| b[8] = 9), "another version: expected 1, got 9"),
        (said(&|b| b[20] ^= 1), "hash of its header"),
        (
            said(&|b| {
                b[20] ^= 1;
                seal(b);
            }),
            "out of date",
        ),
        (said(&|b| b.truncate(b.len() - 1)), "cut short"),
        (said(&|b| b.truncate(100)), "expected 4096 bytes, got 100"),
        (said(&|b| b.truncate(0)), "expected 4096 bytes, got 0"),
        (said(&|b| b.push(0)), "cut short or corrupt"),
        (said(&|b| *b.last_mut().expect("a table") ^= 1), "hash of its table"),
        (
            said(&|b| {
                b[71] = 1;
                seal(b);
            }),
            "at most 1048576 matrices",
        ),
        (
            said(&|b| {
                b[63] = 1;
                seal(b);
            }),
            "at most 134217728 bytes of a table",
        ),
        (
            said(&|b| {
                b[55] = 1;
                seal(b);
            }),
            "cut short or corrupt",
        ),
        (
            said(&|b| {
                b[64] += 1;
                seal(b);
            }),
            "expected 28 bytes, 0 are left",
        ),
        (
            said(&|b| {
                b[64] -= 1;
                seal(b);
            }),
            "bytes follow the last entry",
        ),
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[test]
fn entries_that_leave_their_place_are_refused() {
    let whole = file();
    let table = u64::from_le_bytes(whole[48..56].try_into().expect("eight bytes")) as usize;
    // The first entry's offset and length.
    for (at, value) in
        [(12, 4097u64), (12, 1 << 40), (12, 0), (20, u64::MAX), (20, 1 << 30), (20, 5000)]
    {
        let mut bytes = whole.clone();
        bytes[table + at..table + at + 8].copy_from_slice(&value.to_le_bytes());
        seal(&mut bytes);
        assert!(matches!(read(bytes), Err(PackedError::Entry { .. })), "{at}: {value}");
    }
    let mut bytes = whole.clone();
    bytes[table + ENTRY_BYTES + 4] = 0xff;
    seal(&mut bytes);
    assert!(read(bytes).expect_err("no UTF-8").to_string().contains("not UTF-8"));
    let mut writer = PackedWriter::new(Cursor::new(Vec::new()), KEY).expect("a vector grows");
    for _ in 0..2 {
        writer.add("a", 0, [1, 1], &[0]).expect("a vector grows");
    }
    let twice = writer.finish().expect("a vector grows").into_inner();
    assert!(read(twice).expect_err("one name").to_string().contains("twice"));
}

#[test]
fn no_change_makes_the_reader_panic_or_leave_the_file() {
    let whole = file();
    let table = u64::from_le_bytes(whole[48..56].try_into().expect("eight bytes")) as usize;
    // Header and table are what is parsed; changes there are sealed, so that they are looked at.
    check!().with_type::<(Vec<(u16, u8)>, u16, bool)>().for_each(|(changes, cut, sealed)| {
        let mut bytes = whole.clone();
        for &(at, byte) in changes.iter().take(6) {
            let at = usize::from(at) % (HASHED_BYTES + bytes.len() - table);
            let at = if at < HASHED_BYTES { at } else { table + at - HASHED_BYTES };
            bytes[at] = byte;
        }
        if *sealed {
            seal(&mut bytes);
        } else {
            bytes.truncate(usize::from(*cut) % bytes.len());
        }
        if let Ok(packed) = read(bytes) {
            for matrix in packed.matrices.values() {
                assert!(matrix.data.len() <= table);
            }
        }
    });
    check!().with_type::<Vec<u8>>().for_each(|bytes| {
        assert!(read(bytes.clone()).is_err());
    });
}
