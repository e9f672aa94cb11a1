//! Each case runs in a child process: this test binary again, told by a variable which part to play.

use super::FileMap;
use std::hint::black_box;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use std::{fs::File, io::Write, path::Path};

const ROLE: &str = "FREEHOLD_TEST_MAP_ROLE";
const FILE: &str = "FREEHOLD_TEST_MAP_FILE";
const FILE_BYTES: usize = 1 << 20;

fn child(role: &str, file: &Path) -> Output {
    let me = std::env::current_exe().expect("a test binary");
    let mut command = Command::new(me);
    command.args(["--exact", "map::tests::play_role", "--nocapture", "--test-threads", "1"]);
    command.env(ROLE, role).env(FILE, file).output().expect("the child starts")
}

fn write_file(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("weights.bin");
    File::create(&path).and_then(|mut f| f.write_all(&vec![7; FILE_BYTES])).expect("written");
    path
}

fn truncate(path: &Path) {
    let file = File::options().write(true).open(path).expect("opens");
    file.set_len(10).expect("cut");
}

/// The child's part; does nothing in an ordinary run.
#[test]
fn play_role() {
    let (Ok(role), Ok(file)) = (std::env::var(ROLE), std::env::var(FILE)) else { return };
    let file = Path::new(&file);
    if role == "other handler first" {
        install_other_handler();
    }
    let ours = FileMap::open(file).expect("maps");
    match role.as_str() {
        "cut" => truncate(file),
        "populate" => {
            truncate(file);
            let answer = ours.populate(FILE_BYTES / 2, 10);
            std::process::exit(if answer.is_err() { 33 } else { 34 });
        }
        // A fault in a map that the registry does not know, or no longer knows.
        _ => {
            let unknown = File::open(file).expect("opens");
            // SAFETY: read-only map of a file that only this test changes.
            let unknown = unsafe { memmap2::Mmap::map(&unknown) }.expect("maps");
            drop(ours);
            truncate(file);
            black_box(unknown[FILE_BYTES - 1]);
            return;
        }
    }
    black_box(ours.as_slice()[FILE_BYTES - 1]);
}

fn install_other_handler() {
    extern "C" fn leave(_: i32) {
        // SAFETY: `_exit` may be called in a signal handler.
        unsafe { libc::_exit(42) }
    }
    let handler: extern "C" fn(i32) = leave;
    // SAFETY: the handler only exits.
    unsafe { libc::signal(libc::SIGBUS, handler as *const () as usize) };
}

#[test]
fn a_file_cut_short_ends_with_its_name_and_exit_code_1() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = child("cut", &write_file(dir.path()));
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("weights.bin: the file was cut short"), "{stderr}");
}

#[test]
fn other_faults_go_to_the_handler_before_ours() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = child("other handler first", &write_file(dir.path()));
    assert_eq!(out.status.code(), Some(42));
    let out = child("no other handler", &write_file(dir.path()));
    assert_eq!(out.status.signal(), Some(libc::SIGBUS));
}

#[test]
#[cfg(target_os = "linux")]
fn populate_reports_instead_of_faulting() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = child("populate", &write_file(dir.path()));
    // 34: a kernel before 5.14, which cannot tell.
    assert!(matches!(out.status.code(), Some(33 | 34)), "{:?}", out.status);
}

#[test]
fn released_pages_come_back_with_the_same_bytes() {
    let dir = tempfile::tempdir().expect("a folder");
    let map = FileMap::open(&write_file(dir.path())).expect("maps");
    map.prefetch(5, 5000);
    map.release(5000, 100_000);
    map.release(FILE_BYTES - 1, 1);
    assert!(map.as_slice().iter().all(|&b| b == 7));
    map.populate(0, FILE_BYTES).expect("the file is whole");
}

#[test]
fn only_regular_files_are_mapped() {
    let dir = tempfile::tempdir().expect("a folder");
    assert!(FileMap::open(dir.path()).is_err());
    assert!(FileMap::open(Path::new("/dev/zero")).is_err());
    let empty = dir.path().join("empty");
    File::create(&empty).expect("created");
    assert!(FileMap::open(&empty).expect("an empty file is a file").as_slice().is_empty());
}

/// Which pages of the map this process has in its page table, from Linux' page map.
#[cfg(target_os = "linux")]
fn present(map: &FileMap, page: usize) -> Vec<bool> {
    use std::os::unix::fs::FileExt;
    const ENTRY: usize = 8;
    const PRESENT: u8 = 0x80;
    let bytes = map.as_slice();
    let mut entries = vec![0; bytes.len().div_ceil(page) * ENTRY];
    let at = bytes.as_ptr().addr() / page * ENTRY;
    let table = File::open("/proc/self/pagemap").expect("linux has it");
    table.read_exact_at(&mut entries, at as u64).expect("an entry for each page");
    entries.chunks_exact(ENTRY).map(|entry| entry[ENTRY - 1] & PRESENT != 0).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn a_released_range_stays_out_when_what_follows_is_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let map = FileMap::open(&write_file(dir.path())).expect("maps");
    map.populate(0, FILE_BYTES).expect("readable");
    let whole = |len: &usize| super::whole_pages(0, *len, usize::MAX) == Some(*len);
    let page = (1..FILE_BYTES / 15).find(whole).expect("some pages in the file");
    let end = 10 * page + 7;
    map.release(0, end);
    black_box(map.as_slice()[end]);
    let present = present(&map, page);
    assert!(present[..10].iter().all(|present| !present), "what was released stays out");
    assert!(present[10..].iter().all(|&present| present), "what follows stays");
}
