//! What opening costs in memory and time: one test, because it reads the peak of its whole process.
#![cfg(target_os = "linux")]

use std::io::Write;
use weights::{Bytes, Checkpoint, DType, Gguf, GgufWriter, safetensors};

fn peak_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).expect("a line");
    let kib = line.split_whitespace().nth(1).expect("a number");
    kib.parse::<usize>().expect("a number") * 1024
}

/// A name of four letters for each number below a million.
fn name(i: u64) -> [u8; 4] {
    [0, 5, 10, 15].map(|shift| b'A' + (i >> shift & 31) as u8)
}

/// The smallest possible metadata entries: the file that asks for the most memory a byte.
fn smallest_entries(n: u64) -> Vec<u8> {
    let mut file = b"GGUF\x03\0\0\0".to_vec();
    file.extend([0, n].iter().flat_map(|c| c.to_le_bytes()));
    for i in 0..n {
        file.extend(4u64.to_le_bytes());
        file.extend(name(i));
        file.extend([0; 5]);
    }
    file
}

/// The smallest possible tensors: one byte each, without padding.
fn smallest_tensors(n: u64) -> Vec<u8> {
    let mut file = b"GGUF\x03\0\0\0".to_vec();
    file.extend([n, 1].iter().flat_map(|c| c.to_le_bytes()));
    file.extend(17u64.to_le_bytes());
    file.extend(b"general.alignment");
    file.extend([4u32, 1].iter().flat_map(|v| v.to_le_bytes()));
    for i in 0..n {
        file.extend(4u64.to_le_bytes());
        file.extend(name(i));
        file.extend(1u32.to_le_bytes());
        file.extend(1u64.to_le_bytes());
        file.extend(24u32.to_le_bytes()); // I8
        file.extend(i.to_le_bytes());
    }
    file.resize(file.len() + n as usize, 0);
    file
}

fn check_growth(what: &str, file_bytes: usize, open: impl FnOnce()) {
    let before = peak_bytes();
    open();
    let grown = peak_bytes() - before;
    // Names and values cost headers of their own; what must not happen is growth by a claimed count.
    assert!(grown < 16 * file_bytes, "{what}: {grown} bytes for a file of {file_bytes}");
}

/// A model of 4 GiB, nearly all of it a hole in the file.
fn check_large_model(dir: &std::path::Path) {
    const ROWS: usize = 1 << 16;
    const COLS: usize = 1 << 14;
    let small = dir.join("small.gguf");
    let large = dir.join("large.gguf");
    let mut writer = GgufWriter::new();
    writer.tensor_f32("t", DType::F32, &[1, COLS], vec![1.0; COLS]);
    writer.write(&small).expect("written");
    let mut header = std::fs::read(&small).expect("read");
    // The entry's second size, just before type and offset.
    let at = header.len() - 4 * COLS - header.len() % 32;
    let sizes = [COLS as u64, 1].map(u64::to_le_bytes).concat();
    let at = header[..at].windows(16).rposition(|w| w == sizes).expect("the sizes") + 8;
    header[at..at + 8].copy_from_slice(&(ROWS as u64).to_le_bytes());
    let mut file = std::fs::File::create(&large).expect("created");
    file.write_all(&header).expect("written");
    let data_start = header.len() as u64 - 4 * COLS as u64;
    file.set_len(data_start + 4 * (ROWS * COLS) as u64).expect("a sparse file");
    let before = peak_bytes();
    let checkpoint = Checkpoint::open(&large).expect("opens");
    assert_eq!(checkpoint.tensors().len(), 1);
    assert!(peak_bytes() - before < 4 << 20, "only the header is read");
}

#[test]
fn opening_takes_memory_in_proportion_to_the_header() {
    let dir = tempfile::tempdir().expect("a folder");
    check_large_model(dir.path());
    for file in [smallest_entries(1 << 19), smallest_tensors(1 << 19)] {
        let (bytes, file) = (file.len(), Bytes::from_vec(file));
        check_growth("GGUF entries", bytes, || drop(Gguf::from_bytes(file).expect("valid")));
    }
    let entries: Vec<String> = (0..1 << 17)
        .map(|i| format!(r#""{i}":{{"dtype":"I8","shape":[0],"data_offsets":[0,0]}}"#))
        .collect();
    let header = format!("{{{}}}", entries.join(","));
    drop(entries);
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.into_bytes());
    let (bytes, file) = (file.len(), Bytes::from_vec(file));
    check_growth("safetensors entries", bytes, || {
        safetensors::from_bytes(&file).expect("valid");
    });
}
