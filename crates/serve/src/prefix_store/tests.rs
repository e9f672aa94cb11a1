//! Files that come back, and files that were tampered with.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use engine::{BLOCK_TOKENS, Tenant};
use proptest::prelude::*;

use super::entry::{EntryError, Header, checksum, decode, encode, header};
use super::*;

const SCOPE: Scope = Scope { tenant: Tenant(0), adapter: None };
const PAYLOAD: usize = 1000;

/// A folder that is removed with this value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("prefixes-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn open(&self, model: u8, quota_bytes: u64) -> PrefixStore {
        let (folder, adapters) = (self.0.clone(), AdapterDigests::default());
        let on_failure = Box::new(|error: &std::io::Error| panic!("{error}"));
        let model = [model; 32];
        let lease = Box::new(());
        let options =
            PrefixStoreOptions { folder, lease, model, adapters, quota_bytes, on_failure };
        PrefixStore::open(options).unwrap()
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn tokens(block: u32) -> [u32; BLOCK_TOKENS] {
    std::array::from_fn(|i| block * 100 + i as u32)
}

fn payload(block: u32) -> Vec<u8> {
    (0..PAYLOAD).map(|i| (i as u32 * 7 + block) as u8).collect()
}

/// Keys of the first `count` blocks of a prompt.
fn keys(store: &PrefixStore, count: u32) -> Vec<BlockKey> {
    let root = store.root(SCOPE).unwrap();
    let next = |key: &mut BlockKey, block| {
        *key = store.child(*key, &tokens(block));
        Some(*key)
    };
    (0..count).scan(root, next).collect()
}

fn save_chain(store: &mut PrefixStore, count: u32) -> Vec<BlockKey> {
    let keys = keys(store, count);
    for (depth, &key) in keys.iter().enumerate() {
        let parent = if depth == 0 { store.root(SCOPE).unwrap() } else { keys[depth - 1] };
        let block = depth as u32;
        let (bytes, tokens) = (payload(block), tokens(block));
        let has_state = block % 2 == 1;
        let (depth, bytes, tokens) = (block, bytes.as_slice(), &tokens);
        let stored = StoredBlock { key, parent, depth, tokens, has_state, bytes };
        while !store.save(&stored) {
            std::thread::yield_now();
        }
    }
    keys
}

fn load(store: &mut PrefixStore, key: BlockKey, block: u32) -> Option<(bool, Vec<u8>)> {
    let mut bytes = Vec::new();
    store.load(key, &tokens(block), &mut bytes).map(|has_state| (has_state, bytes))
}

#[test]
fn what_is_saved_comes_back_after_a_restart_for_the_same_model_alone() {
    let folder = Folder::new("restart");
    let keys = save_chain(&mut folder.open(1, u64::MAX), 5);
    let mut again = folder.open(1, u64::MAX);
    for (block, &key) in (0..).zip(&keys) {
        assert_eq!(again.find(key), Some(block % 2 == 1));
        assert_eq!(load(&mut again, key, block), Some((block % 2 == 1, payload(block))));
    }
    let root = again.root(SCOPE).unwrap();
    let other = Scope { tenant: Tenant(1), ..SCOPE };
    assert_ne!(root, again.root(other).unwrap());
    assert_eq!(load(&mut again, keys[0], 1), None, "other tokens");
    drop(again);
    let other_model = folder.open(2, u64::MAX);
    assert_ne!(root, other_model.root(SCOPE).unwrap());
}

#[cfg(unix)]
#[test]
fn nobody_else_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new("private");
    save_chain(&mut folder.open(1, u64::MAX), 2);
    for file in folder.files() {
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_quota_gives_up_the_deepest_of_the_oldest() {
    let folder = Folder::new("quota");
    let keys = save_chain(&mut folder.open(1, u64::MAX), 6);
    let one = std::fs::metadata(&folder.files()[0]).unwrap().len();
    let age = |key: BlockKey, seconds| {
        let name: String = key.0.iter().map(|byte| format!("{byte:02x}")).collect();
        let file = File::open(folder.0.join(format!("{name}.block"))).unwrap();
        file.set_modified(SystemTime::now() - std::time::Duration::from_secs(seconds)).unwrap();
    };
    keys.iter().for_each(|&key| age(key, 3600));
    let store = folder.open(1, 4 * one);
    assert_eq!(store.bytes(), 4 * one);
    let there: Vec<bool> = keys.iter().map(|&key| store.find(key).is_some()).collect();
    assert_eq!(there, [true, true, true, true, false, false]);
    drop(store);
    // Whatever the clock says of the files, none loses the one that it builds on.
    age(keys[0], 9000);
    age(keys[3], 1);
    let store = folder.open(1, 2 * one);
    let there: Vec<bool> = keys.iter().map(|&key| store.find(key).is_some()).collect();
    assert_eq!(there, [true, true, false, false, false, false]);
    assert_eq!(folder.files().len(), 2);
    drop(store);
    let mut store = folder.open(1, one / 2);
    save_chain(&mut store, 2);
    drop(store);
    assert_eq!(folder.files().len(), 0, "no block has room");
}

#[test]
fn a_store_knows_when_it_is_full_and_what_is_used() {
    let folder = Folder::new("full");
    let keys = save_chain(&mut folder.open(1, u64::MAX), 3);
    let one = std::fs::metadata(&folder.files()[0]).unwrap().len();
    assert!(!folder.open(1, 4 * one).is_full());
    let mut store = folder.open(1, 3 * one + one / 2);
    assert!(store.is_full() && store.has_room());
    store.locked().touch(keys[2], 1);
    let later = index::seconds(SystemTime::now()) + 1000;
    store.locked().touch(keys[1], later);
    let used = |store: &PrefixStore, key| store.locked().get(key).unwrap().used;
    assert_eq!([used(&store, keys[0]), used(&store, keys[1])], [later, later]);
    store.used(keys[2]);
    assert!(used(&store, keys[2]) < later && used(&store, keys[2]) > 1);
}

#[test]
fn what_does_not_belong_there_is_no_block() {
    let folder = Folder::new("strangers");
    let keys = save_chain(&mut folder.open(1, u64::MAX), 2);
    let first = folder.files()[0].clone();
    std::fs::write(folder.0.join("notes.txt"), "mine").unwrap();
    std::fs::write(folder.0.join("half.part"), "torn").unwrap();
    std::fs::copy(&first, folder.0.join("another.block")).unwrap();
    std::fs::write(folder.0.join("empty.block"), "").unwrap();
    let store = folder.open(1, u64::MAX);
    assert!(keys.iter().all(|&key| store.find(key).is_some()));
    let names: Vec<String> = folder
        .files()
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .filter(|name| name.len() < 64)
        .collect();
    assert_eq!(names, ["notes.txt"]);
}

#[test]
fn a_disk_that_refuses_is_told_once_and_holds_nobody_up() {
    static TOLD: AtomicBool = AtomicBool::new(false);
    let folder = Folder::new("refuses");
    let options = PrefixStoreOptions {
        folder: folder.0.clone(),
        lease: Box::new(()),
        model: [1; 32],
        adapters: AdapterDigests::default(),
        quota_bytes: u64::MAX,
        on_failure: Box::new(|_| assert!(!TOLD.swap(true, Ordering::SeqCst), "told twice")),
    };
    let mut store = PrefixStore::open(options).unwrap();
    std::fs::remove_dir_all(&folder.0).unwrap();
    let keys = save_chain(&mut store, 30);
    assert!(keys.iter().all(|&key| store.find(key).is_none()));
    drop(store);
    assert!(TOLD.load(Ordering::SeqCst));
}

fn damage(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut file = std::fs::read(path).unwrap();
    change(&mut file);
    std::fs::write(path, file).unwrap();
}

#[test]
fn a_damaged_file_is_removed_and_not_used() {
    let folder = Folder::new("damaged");
    let changes: [fn(&mut Vec<u8>); 4] = [
        |file| file[super::entry::HEADER_BYTES + 500] ^= 1,
        |file| *file.last_mut().unwrap() ^= 128,
        |file| file.truncate(700),
        |file| file.push(0),
    ];
    for change in changes {
        let mut store = folder.open(1, u64::MAX);
        let key = save_chain(&mut store, 1)[0];
        drop(store);
        let mut store = folder.open(1, u64::MAX);
        damage(&folder.files()[0], change);
        assert_eq!(load(&mut store, key, 0), None);
        assert_eq!((store.find(key), store.bytes(), folder.files().len()), (None, 0, 0));
    }
}

fn sample() -> (Header, Vec<u8>) {
    let (key, parent) = (BlockKey([3; 32]), BlockKey([4; 32]));
    let header = Header { key, parent, depth: 7, has_state: true, tokens: tokens(9) };
    let mut file = encode(&header, &payload(1));
    file.extend(checksum(&file));
    (header, file)
}

proptest! {
    #[test]
    fn no_change_of_a_file_goes_unseen(at in 0usize..10_000, with in 1u8..=255) {
        let (header, mut file) = sample();
        let at = at % file.len();
        let tokens = header.tokens;
        assert!(decode(&file, header.key, &tokens).is_ok());
        file[at] ^= with;
        assert!(decode(&file, header.key, &tokens).is_err(), "byte {at}");
    }
}

#[test]
fn a_file_is_what_it_says() {
    let (expected, file) = sample();
    assert_eq!(header(&file), Ok((expected.clone(), file.len() as u64)));
    let found = decode(&file, expected.key, &expected.tokens).unwrap();
    assert_eq!((found.has_state, found.payload), (true, payload(1).as_slice()));
    let other = decode(&file, BlockKey([5; 32]), &expected.tokens);
    assert_eq!(other, Err(EntryError::Other));
}

#[test]
fn any_bytes_are_a_file_or_an_error() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let mut file = bytes.to_vec();
        let _ = decode(&file, BlockKey([0; 32]), &[0; BLOCK_TOKENS]);
        // The same behind a start that looks right.
        file.splice(0..0, *b"FHPREFX1");
        let digest = checksum(&file);
        file.extend(digest);
        let _ = decode(&file, BlockKey([0; 32]), &[0; BLOCK_TOKENS]);
    });
}
