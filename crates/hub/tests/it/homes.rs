//! The home: importing, listing, removing, and what damage does.

use hub::{Home, HubError, ImportMetadata, ModelRef, Sha256Hex};

use crate::world::{FakeHub, World, large, noise, reference, sha256, small};

fn metadata() -> ImportMetadata {
    ImportMetadata { licence: Some("apache-2.0".into()), origin: Some("a wheel".into()) }
}

#[test]
fn a_file_is_imported_under_a_name_and_checked() {
    let world = World::new("http://127.0.0.1:1");
    let source = world.folder.path().join("SmolLM2-135M-Instruct.Q4_1.gguf");
    std::fs::write(&source, noise(10_000, 1)).expect("written");
    let home = Home::new(world.home());
    let hash = Sha256Hex::parse(&sha256(&noise(10_000, 1))).expect("a hash");
    let wrong = Sha256Hex::parse(&"0".repeat(64)).expect("a hash");
    let error = home.import_file("smollm2", "135m", &source, Some(&wrong), metadata());
    assert!(matches!(error, Err(HubError::Hash { .. })), "{error:?}");
    assert!(home.list().expect("a list").models.is_empty());

    let local =
        home.import_file("smollm2", "135m", &source, Some(&hash), metadata()).expect("imported");
    assert_eq!(std::fs::read(&local.path).expect("read"), noise(10_000, 1));
    assert_eq!(local.label, "smollm2:135m");
    // The same again is no work, also while it is in use; the source may go.
    home.import_file("smollm2", "135m", &source, Some(&hash), metadata()).expect("again");
    std::fs::remove_file(&source).expect("removed");
    let found = world.resolve("SmolLM2:135m").expect("by name");
    assert_eq!(found.path, local.path);
    // A catalogue name that the network cannot give falls back to the import.
    assert_eq!(world.pull("smollm2:135m").expect("offline").path, local.path);
}

#[test]
fn a_model_in_use_is_not_removed() {
    let hub = FakeHub::new(vec![large("m-Q8_0.gguf", noise(1_000, 1))]);
    let world = World::new(&hub.server.address);
    let local = world.pull("a/b").expect("pulled");
    let other = local.clone();
    drop(local);
    let error = world.hub().remove(&reference("a/b")).expect_err("in use");
    assert!(matches!(error, HubError::InUse { .. }), "{error}");
    assert!(other.path.exists());
    drop(other);
    let (key, removed) = world.hub().remove(&reference("a/b")).expect("removed");
    assert_eq!(key.label(), "a/b:Q8_0");
    assert_eq!(removed.bytes_freed, 1_000);
    world.assert_nothing_whole();
    let error = world.hub().remove(&reference("a/b")).expect_err("not there any more");
    assert!(matches!(error, HubError::NotLocal { .. }), "{error}");
}

#[test]
fn blobs_that_another_model_uses_stay() {
    let hub = FakeHub::new(vec![
        large("x-Q8_0.gguf", noise(1_000, 1)),
        large("x-Q4_0.gguf", noise(1_000, 1)),
        large("x-F16.gguf", noise(500, 2)),
    ]);
    let world = World::new(&hub.server.address);
    for quant in ["Q8_0", "Q4_0", "F16"] {
        world.pull(&format!("a/b:{quant}")).expect("pulled");
    }
    assert_eq!(world.files_in("blobs").len(), 2);
    let remove = |model: &str| world.hub().remove(&reference(model)).expect("removed").1;
    assert_eq!(remove("a/b:Q8_0").bytes_freed, 0);
    assert!(world.resolve("a/b:Q4_0").is_ok());
    assert_eq!(remove("a/b:F16").bytes_freed, 500);
    assert_eq!(remove("a/b:Q4_0").bytes_freed, 1_000);
    assert!(world.files_in("blobs").is_empty());
}

#[test]
fn damage_is_told_contained_and_repaired() {
    let hub =
        FakeHub::new(vec![small("config.json", "{}"), large("model.safetensors", noise(900, 1))]);
    let world = World::new(&hub.server.address);
    drop(world.pull("a/b").expect("pulled"));
    // The folder of files is rebuilt from the blobs.
    std::fs::remove_dir_all(world.home().join("files")).expect("removed");
    drop(world.resolve("a/b").expect("rebuilt"));

    // A blob that is gone is told, and fetched again by the next pull.
    for path in world.files_in("blobs").into_iter().chain(world.files_in("files")) {
        std::fs::remove_file(path).expect("removed");
    }
    let error = world.resolve("a/b").expect_err("gone");
    assert!(matches!(error, HubError::Damaged { .. }), "{error}");
    drop(world.pull("a/b").expect("repaired"));

    // A manifest that cannot be read is listed as such, and stops blobs from being removed.
    let manifest = &world.files_in("models")[0];
    std::fs::write(manifest, "{").expect("damaged");
    let inventory = world.hub().home().list().expect("a list");
    assert_eq!((inventory.models.len(), inventory.damaged.len()), (0, 1));
    let source = world.folder.path().join("x.gguf");
    std::fs::write(&source, "x").expect("written");
    let home = Home::new(world.home());
    drop(home.import_file("x", "1", &source, None, metadata()).expect("imported"));
    let (_, removed) = world.hub().remove(&reference("x:1")).expect("removed");
    assert!(removed.blobs_kept.is_some());
    drop(world.pull("a/b").expect("repaired"));
    // Now that all is readable, what nothing refers to goes.
    assert_eq!(world.hub().home().sweep().expect("swept").bytes_freed, 1);
    assert!(world.resolve("a/b").is_ok());
}

#[test]
fn paths_are_resolved_with_suggestions() {
    let world = World::new("http://127.0.0.1:1");
    let path = world.folder.path().join("model.gguf");
    std::fs::write(&path, "x").expect("written");
    let found = world.hub().resolve(&ModelRef::Path(path.clone())).expect("there");
    assert_eq!(found.path, path);
    let text = world
        .hub()
        .resolve(&ModelRef::Path(path.with_file_name("modell.gguf")))
        .expect_err("not there")
        .to_string();
    assert!(text.contains("did you mean") && text.contains("model.gguf"), "{text}");
    // A folder that only shares a catalogue name is not the model.
    let catalogue_name = world.hub().reference("qwen3").expect("a name");
    assert!(matches!(catalogue_name, ModelRef::Name { .. }));
    let existing = path.to_str().expect("UTF-8");
    assert_eq!(world.hub().reference(existing), Ok(ModelRef::Path(path)));
}
