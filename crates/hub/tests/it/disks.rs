//! Disks that fill up under a pull, and folders that may not be read or written: what is said,
//! that nothing looks whole, and that the next pull goes on once the cause is gone.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hub::{HubError, ImportMetadata};
use testkit::isolate::{SmallDisk, as_plain_user};

use crate::server::Request;
use crate::world::{FakeHub, World, large, noise, small};

const DISK_BYTES: u64 = 128 << 20;
const FILE_BYTES: usize = 20_000;
const PAGE: u64 = 4096;

fn pass() -> crate::world::Hook {
    Box::new(|_, answer| answer)
}

/// Bytes and files that are taken on the disk of `path`.
fn taken(path: &Path) -> (u64, u64) {
    let stat = rustix::fs::statvfs(path).expect("the system tells");
    ((stat.f_blocks - stat.f_bfree) * stat.f_frsize, stat.f_files - stat.f_ffree)
}

fn world_on(disk: &SmallDisk, hub: &FakeHub) -> World {
    let mut world = World::new(&hub.server.address);
    world.config.home = disk.path.join("home");
    world
}

/// Nothing is listed, nothing can be opened, and no manifest or model folder is there.
fn assert_not_listed(world: &World) {
    assert!(world.resolve("a/b").is_err());
    assert_eq!(world.hub().home().list().expect("listed").models.len(), 0);
    assert_eq!(world.files_in("models"), Vec::<PathBuf>::new());
}

/// The model is whole, and nothing of the way there is left.
fn assert_whole(world: &World, bytes: &[u8]) {
    let local = world.resolve("a/b").expect("it is listed");
    assert_eq!(std::fs::read(local.path).expect("read"), bytes);
    assert_eq!(world.files_in("partial"), Vec::<PathBuf>::new());
}

#[test]
fn a_disk_that_fills_up_stops_a_pull_which_goes_on_when_there_is_room() {
    let name = "disks::a_disk_that_fills_up_stops_a_pull_which_goes_on_when_there_is_room";
    let Some(disk) = SmallDisk::of_test(name, DISK_BYTES) else { return };
    let bytes = noise(FILE_BYTES, 1);
    let mut n_stopped = 0;
    for pages_left in 0.. {
        let (full, is_filling) = (disk.clone(), Arc::new(AtomicBool::new(true)));
        let filling = Arc::clone(&is_filling);
        // The room was there when it was looked for, and is gone when the bytes come.
        let on_cdn = move |_: &Request, answer| {
            if filling.load(Ordering::Relaxed) {
                full.set_bytes(taken(&full.path).0 + pages_left * PAGE);
            }
            answer
        };
        let hub = FakeHub::with_hooks(
            vec![large("m-Q8_0.gguf", bytes.clone())],
            pass(),
            Box::new(on_cdn),
        );
        let world = world_on(&disk, &hub);
        let pulled = world.pull("a/b");
        disk.set_bytes(DISK_BYTES);
        if pulled.is_ok() {
            assert_whole(&world, &bytes);
            break;
        }
        n_stopped += 1;
        let error = pulled.expect_err("it was stopped");
        let text = error.to_string();
        assert!(matches!(error, HubError::DiskFull { bytes_needed: None, .. }), "{text}");
        for word in ["home", "more needed", "freehold rm", "try again"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert_not_listed(&world);
        is_filling.store(false, Ordering::Relaxed);
        let requests = hub.cdn.requests().len();
        world.pull("a/b").expect("there is room");
        assert_whole(&world, &bytes);
        let again = &hub.cdn.requests()[requests..];
        let kept = (pages_left * PAGE).min(FILE_BYTES as u64) as usize;
        match again {
            // Every page that could be written is continued; of a whole file nothing is asked.
            [request] => assert_eq!(request.range_from().unwrap_or(0), kept),
            _ => assert!(again.is_empty() && kept == FILE_BYTES, "{again:?}"),
        }
        std::fs::remove_dir_all(world.home()).expect("removed");
    }
    // The five pages of the file and the one of the manifest.
    assert_eq!(n_stopped, 6);
}

#[test]
fn a_disk_without_room_for_another_name_stops_a_pull_anywhere() {
    let name = "disks::a_disk_without_room_for_another_name_stops_a_pull_anywhere";
    let Some(disk) = SmallDisk::of_test(name, DISK_BYTES) else { return };
    let bytes = noise(FILE_BYTES, 1);
    let files = vec![small("config.json", "{}"), large("model.safetensors", bytes.clone())];
    let hub = FakeHub::new(files);
    let world = world_on(&disk, &hub);
    let mut n_stopped = 0;
    for names_left in 0.. {
        disk.set_files(taken(&disk.path).1 + names_left);
        let pulled = world.pull("a/b");
        disk.set_files(1 << 20);
        let Err(error) = pulled else { break };
        n_stopped += 1;
        let text = error.to_string();
        assert!(matches!(error, HubError::DiskFull { .. }), "{names_left}: {text}");
        // The lock of those who use the model is made last, when the model is listed already.
        if world.files_in("models").is_empty() {
            assert_not_listed(&world);
        }
        world.pull("a/b").expect("there is room");
        let local = world.resolve("a/b").expect("it is listed");
        assert_eq!(std::fs::read(local.path.join("model.safetensors")).expect("read"), bytes);
        assert_eq!(leftovers(&world), Vec::<PathBuf>::new());
        drop(local);
        std::fs::remove_dir_all(world.home()).expect("removed");
    }
    assert!(n_stopped > 20, "{n_stopped}");
}

/// What is under `partial`, folders included.
fn leftovers(world: &World) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(world.home().join("partial")).into_iter().flatten();
    entries.flatten().map(|entry| entry.path()).collect()
}

#[test]
fn an_import_that_finds_the_disk_full_leaves_nothing() {
    let name = "disks::an_import_that_finds_the_disk_full_leaves_nothing";
    let Some(disk) = SmallDisk::of_test(name, DISK_BYTES) else { return };
    let hub = FakeHub::new(Vec::new());
    let world = world_on(&disk, &hub);
    let file = disk.path.join("m.gguf");
    std::fs::write(&file, noise(FILE_BYTES, 1)).expect("written");
    let import = || {
        let metadata = ImportMetadata::default();
        world.hub().home().import_file("m", "a", &file, None, metadata)
    };
    // Less than is to stay free on every disk.
    disk.set_bytes(16 << 20);
    let text = import().expect_err("no room").to_string();
    assert!(text.contains("20000 bytes needed and 68 MB to spare"), "{text}");
    assert_eq!(leftovers(&world).len(), 1, "the folder that was asked for room");
    disk.set_bytes(DISK_BYTES);
    drop(import().expect("there is room"));
    assert_eq!(leftovers(&world), Vec::<PathBuf>::new());
    // To remove a model is what the message advises, and needs no room.
    let (bytes, files) = taken(&disk.path);
    disk.set_bytes(bytes);
    disk.set_files(files);
    let removed = world.hub().remove(&crate::world::reference("m:a")).expect("removed");
    assert_eq!(removed.1.bytes_freed, FILE_BYTES as u64);
}

#[test]
fn packed_weights_that_find_the_disk_full_leave_nothing_and_keep_what_was_there() {
    use std::io::Write as _;
    let name =
        "disks::packed_weights_that_find_the_disk_full_leave_nothing_and_keep_what_was_there";
    let Some(disk) = SmallDisk::of_test(name, DISK_BYTES) else { return };
    let home = hub::Home::new(disk.path.join("home"));
    let source = disk.path.join("m.gguf");
    std::fs::write(&source, "a model").expect("written");
    let pack = |bytes: &[u8], before: &dyn Fn()| {
        let place = home.lock_packed(&source, || {}).expect("free");
        place.write("q", bytes.len() as u64, |out| {
            before();
            bytes.chunks(1000).try_for_each(|part| out.write_all(part)).map_err(|_| other())
        })
    };
    let bytes = noise(FILE_BYTES, 1);
    let folder = home.packed_path(&source, "q").parent().expect("a folder").to_path_buf();
    // Known before a byte is written.
    disk.set_bytes(16 << 20);
    let text = pack(&bytes, &|| {}).expect_err("no room").to_string();
    assert!(text.contains("20000 bytes needed and 68 MB to spare"), "{text}");
    assert!(!folder.exists());
    // Found while it is written: every page that may be missing.
    for pages_left in 0.. {
        disk.set_bytes(DISK_BYTES);
        let fill = || disk.set_bytes(taken(&disk.path).0 + pages_left * PAGE);
        let Err(error) = pack(&bytes, &fill) else { break };
        let text = error.to_string();
        for word in ["disk is too full", "20000 bytes needed", "try again"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert!(!folder.exists() && pages_left < 6, "{pages_left}");
    }
    disk.set_bytes(DISK_BYTES);
    let kept = std::fs::read(home.packed_path(&source, "q")).expect("written");
    assert_eq!(kept, bytes);
    // What was there stays when its successor finds no room.
    let fill = || disk.set_bytes(taken(&disk.path).0);
    pack(&noise(FILE_BYTES, 2), &fill).expect_err("no room");
    assert_eq!(std::fs::read(home.packed_path(&source, "q")).expect("kept"), bytes);
    assert_eq!(std::fs::read_dir(&folder).expect("listed").count(), 2);
    // And is removed on a full disk.
    assert_eq!(home.remove_packed(&source).expect("removed") / 1000, FILE_BYTES as u64 / 1000);
}

/// What a writer makes of a failure; the home tells its own.
fn other() -> HubError {
    HubError::Cancelled
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
}

#[test]
fn a_folder_of_the_home_without_permission_is_named_and_the_pull_goes_on_later() {
    let name = "disks::a_folder_of_the_home_without_permission_is_named_and_the_pull_goes_on_later";
    if !as_plain_user(name) {
        return;
    }
    let bytes = noise(FILE_BYTES, 1);
    for folder in ["blobs", "models", "files", "partial", "locks", ""] {
        for mode in [0o555, 0o000] {
            let hub = FakeHub::new(vec![large("m-Q8_0.gguf", bytes.clone())]);
            let world = World::new(&hub.server.address);
            let path = world.home().join(folder);
            std::fs::create_dir_all(&path).expect("made");
            set_mode(&path, mode);
            let error = world.pull("a/b").expect_err("no permission");
            let text = error.to_string();
            assert!(matches!(error, HubError::Permission { .. }), "{folder} {mode:o}: {text}");
            assert!(text.contains(path.to_str().expect("UTF-8")), "{folder} {mode:o}: {text}");
            set_mode(&path, 0o755);
            assert_not_listed(&world);
            world.pull("a/b").expect("it may now");
            assert_whole(&world, &bytes);
            let asked = hub.cdn.requests().len();
            assert!(asked <= 1, "{folder} {mode:o}: the bytes came once, not {asked} times");
        }
    }
}

#[test]
fn an_import_that_was_stopped_by_permissions_can_be_repeated() {
    let name = "disks::an_import_that_was_stopped_by_permissions_can_be_repeated";
    if !as_plain_user(name) {
        return;
    }
    let world = World::new("http://127.0.0.1:1");
    let file = world.folder.path().join("m.gguf");
    std::fs::write(&file, noise(FILE_BYTES, 1)).expect("written");
    // A copy takes over that its source may not be written.
    set_mode(&file, 0o444);
    let import = || {
        let metadata = ImportMetadata::default();
        world.hub().home().import_file("m", "a", &file, None, metadata)
    };
    let blobs = world.home().join("blobs");
    std::fs::create_dir_all(&blobs).expect("made");
    set_mode(&blobs, 0o555);
    let text = import().expect_err("no permission").to_string();
    assert!(text.contains("blobs") && text.contains("no permission"), "{text}");
    assert_eq!(leftovers(&world), Vec::<PathBuf>::new());
    set_mode(&blobs, 0o755);
    drop(import().expect("it may now"));
    // A file that may not be read lies outside the home: no advice about that.
    set_mode(&file, 0o000);
    let text = import().expect_err("no permission").to_string();
    assert!(text.contains("m.gguf: Permission denied") && !text.contains("FREEHOLD"), "{text}");
}
