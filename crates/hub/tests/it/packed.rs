//! Packed weights in the home: whole or not there, bound to their model's place, and gone with it.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

use hub::{Home, HubError};

use crate::world::{FakeHub, World, large, noise, reference};

fn pack(home: &Home, source: &Path, form: &str, bytes: &[u8]) {
    let place = home.lock_packed(source, || {}).expect("free");
    let written = place.write(form, bytes.len() as u64, |out| {
        out.write_all(&bytes[..1]).and_then(|()| out.seek(SeekFrom::Start(0))).expect("room");
        out.write_all(bytes).map_err(|_| HubError::Cancelled)
    });
    assert_eq!(written.expect("written"), home.packed_path(source, form));
}

#[test]
fn packed_weights_are_found_by_any_name_of_their_model_and_listed() {
    let world = World::new("http://127.0.0.1:1");
    let home = Home::new(world.home());
    let source = world.folder.path().join("a.gguf");
    std::fs::write(&source, "a model").expect("written");
    assert_eq!(home.packed_bytes(&source), 0);
    assert!(home.list_packed().expect("listed").is_empty());
    pack(&home, &source, "one", &noise(1000, 1));
    pack(&home, &source, "two", &noise(500, 2));
    pack(&home, &source, "one", &noise(2000, 3));
    assert_eq!(std::fs::read(home.packed_path(&source, "one")).expect("there"), noise(2000, 3));
    assert_eq!(home.packed_bytes(&source), 2500);
    let roundabout = world.folder.path().join("x/../a.gguf");
    std::fs::create_dir(world.folder.path().join("x")).expect("ours");
    assert_eq!(home.packed_path(&roundabout, "one"), home.packed_path(&source, "one"));
    assert_ne!(
        home.packed_path(&world.folder.path().join("b"), "one"),
        home.packed_path(&source, "one")
    );
    let listed = home.list_packed().expect("listed");
    assert!(listed.len() == 1 && !listed[0].is_orphan(), "{listed:?}");
    let real = std::fs::canonicalize(&source).expect("there");
    assert_eq!(listed[0].source.as_deref(), Some(real.as_path()));
    assert!(home.remove_packed(&source).expect("removed") >= 2500);
    assert_eq!(home.packed_bytes(&source), 0);
    assert_eq!(home.remove_packed(&source).expect("nothing is no error"), 0);
}

#[test]
fn a_writer_that_fails_leaves_what_was_there() {
    let world = World::new("http://127.0.0.1:1");
    let home = Home::new(world.home());
    let source = world.folder.path().join("a.gguf");
    std::fs::write(&source, "a model").expect("written");
    let fail = || {
        let place = home.lock_packed(&source, || {}).expect("free");
        let failed = place.write("one", 10, |out| {
            out.write_all(b"half").expect("room");
            Err(HubError::Cancelled)
        });
        assert!(matches!(failed, Err(HubError::Cancelled)));
    };
    fail();
    assert_eq!(world.files_in("packed"), Vec::<std::path::PathBuf>::new());
    pack(&home, &source, "one", b"whole");
    // What a killed writer leaves is not used, not counted, and gone with the next one.
    let path = home.packed_path(&source, "one");
    std::fs::write(path.with_extension("pack.tmp"), "half").expect("ours");
    assert_eq!(home.packed_bytes(&source), 5);
    fail();
    assert_eq!(std::fs::read(&path).expect("kept"), b"whole");
    assert_eq!(world.files_in("packed").len(), 2, "the file and its source");
    assert_eq!(home.sweep_packed().expect("nothing to do"), 0);
    // Where nothing else is, it is swept, unless somebody is at it.
    std::fs::rename(&path, path.with_extension("pack.tmp")).expect("ours");
    let place = home.lock_packed(&source, || {}).expect("free");
    assert_eq!(home.sweep_packed().expect("nothing to do"), 0);
    drop(place);
    assert!(home.sweep_packed().expect("swept") > 5);
    assert!(home.list_packed().expect("listed").is_empty());
}

#[test]
fn packed_weights_go_with_their_model_and_orphans_when_they_are_swept() {
    let hub = FakeHub::new(vec![large("m-Q8_0.gguf", noise(1_000, 1))]);
    let world = World::new(&hub.server.address);
    let home = world.hub().home().clone();
    let path = world.pull("a/b").expect("pulled").path;
    let outside = world.folder.path().join("c.gguf");
    std::fs::write(&outside, "a model").expect("written");
    pack(&home, &path, "one", &noise(3000, 1));
    pack(&home, &outside, "one", &noise(500, 1));
    // A home that is moved keeps them.
    let moved = world.folder.path().join("moved");
    std::fs::rename(world.home(), &moved).expect("ours");
    let there = Home::new(&moved);
    let place = path.strip_prefix(world.home()).expect("inside");
    assert_eq!(there.packed_bytes(&moved.join(place)), 3000);
    assert!(there.list_packed().expect("listed").iter().all(|packed| !packed.is_orphan()));
    std::fs::rename(&moved, world.home()).expect("ours");

    let (_, removed) = world.hub().remove(&reference("a/b")).expect("removed");
    assert!((4000..4200).contains(&removed.bytes_freed), "{}", removed.bytes_freed);
    assert_eq!(home.sweep_packed().expect("nothing to do"), 0);
    std::fs::remove_file(&outside).expect("ours");
    let listed = home.list_packed().expect("listed");
    assert!(listed.len() == 1 && listed[0].is_orphan(), "{listed:?}");
    assert_eq!(home.sweep_packed().expect("swept"), listed[0].bytes);
    assert!(home.list_packed().expect("listed").is_empty());
}
