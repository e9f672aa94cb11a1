//! Files that the Hugging Face libraries or Ollama already hold are used, not fetched.

use std::path::{Path, PathBuf};

use hub::{HubError, Origin};

use crate::world::{
    COMMIT, FakeHub, File, Recorder, World, git_sha1, large, noise, reference, sha256, small,
};

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    std::fs::write(path, bytes).expect("written");
}

/// The cache as the libraries lay it out: blobs, and snapshots that link to them.
fn hf_cache(world: &mut World, files: &[File]) -> PathBuf {
    let cache = world.folder.path().join("hf");
    let repo = cache.join("models--a--b");
    write(&repo.join("refs/main"), COMMIT.as_bytes());
    for file in files {
        let blob = if file.lfs { sha256(&file.bytes) } else { git_sha1(&file.bytes) };
        write(&repo.join("blobs").join(&blob), &file.bytes);
        let link = repo.join("snapshots").join(COMMIT).join(&file.name);
        std::fs::create_dir_all(link.parent().expect("a folder")).expect("made");
        #[cfg(unix)]
        std::os::unix::fs::symlink(repo.join("blobs").join(&blob), &link).expect("linked");
        #[cfg(not(unix))]
        std::fs::copy(repo.join("blobs").join(&blob), &link).expect("copied");
    }
    world.config.hf_cache = Some(cache.clone());
    cache
}

fn ollama_store(world: &mut World, name: &[&str], bytes: &[u8]) -> PathBuf {
    let store = world.folder.path().join("ollama");
    let hash = sha256(bytes);
    let blob = store.join("blobs").join(format!("sha256-{hash}"));
    write(&blob, bytes);
    let manifest = serde_json::json!({"schemaVersion": 2, "config": {}, "layers": [
        {"mediaType": "application/vnd.ollama.image.model",
         "digest": format!("sha256:{hash}"), "size": bytes.len()},
        {"mediaType": "application/vnd.ollama.image.template", "digest": "sha256:0", "size": 1}]});
    let mut path = store.join("manifests");
    path.extend(name);
    write(&path, manifest.to_string().as_bytes());
    world.config.ollama_models = Some(store);
    blob
}

fn files() -> Vec<File> {
    vec![small("config.json", "{}"), large("model.safetensors", noise(9_000, 1))]
}

#[test]
fn a_pull_uses_the_hugging_face_cache() {
    let hub = FakeHub::new(files());
    let mut world = World::new(&hub.server.address);
    let cache = hf_cache(&mut world, &files());
    let recorder = Recorder::default();
    let local = world.pull_with("a/b", &recorder).expect("pulled");
    assert_eq!(recorder.reused_from(), ["the Hugging Face cache"; 2]);
    assert!(hub.server.asked("/resolve/").is_empty());
    assert_eq!(local.origin, Origin::Home);
    assert_eq!(std::fs::read(local.path.join("model.safetensors")).expect("read"), noise(9_000, 1));
    // Removing our model frees nothing and takes nothing from the cache.
    drop(local);
    let (_, removed) = world.hub().remove(&reference("a/b")).expect("removed");
    if cfg!(unix) {
        assert_eq!(removed.bytes_freed, 0);
    }
    let blob = cache.join("models--a--b/blobs").join(sha256(&noise(9_000, 1)));
    assert_eq!(std::fs::read(blob).expect("untouched"), noise(9_000, 1));
}

#[test]
#[cfg(target_os = "linux")]
fn a_cache_on_another_disk_is_referred_to() {
    use std::os::unix::fs::MetadataExt;
    let bytes = noise(7_000, 3);
    let hub = FakeHub::new(vec![large("m-Q8_0.gguf", bytes.clone())]);
    let mut world = World::new(&hub.server.address);
    let Ok(other) = tempfile::tempdir_in("/dev/shm") else {
        println!("skipped: no second disk at /dev/shm");
        return;
    };
    let disk = |path: &Path| std::fs::metadata(path).expect("a folder").dev();
    if disk(other.path()) == disk(world.folder.path()) {
        println!("skipped: /dev/shm is no other disk");
        return;
    }
    let blob = other.path().join("blobs").join(format!("sha256-{}", sha256(&bytes)));
    write(&blob, &bytes);
    world.config.ollama_models = Some(other.path().to_path_buf());
    let local = world.pull("a/b").expect("pulled");
    assert!(hub.cdn.requests().is_empty());
    assert!(world.files_in("blobs").is_empty(), "nothing was copied");
    assert_eq!(std::fs::read(&local.path).expect("read"), bytes);
    let manifest = local.manifest.clone().expect("of the home");
    assert_eq!(manifest.files[0].foreign.as_deref(), Some(blob.as_path()));
    drop(local);
    // What the other program removes is missed, and fetched by the next pull.
    let kept = other.path().join("kept");
    std::fs::rename(&blob, &kept).expect("moved");
    assert!(matches!(world.resolve("a/b"), Err(HubError::Damaged { .. })));
    std::fs::rename(&kept, &blob).expect("moved back");
    let (_, removed) = world.hub().remove(&reference("a/b")).expect("removed");
    assert_eq!(removed.foreign_kept, std::slice::from_ref(&blob));
    assert_eq!(std::fs::read(&blob).expect("untouched"), bytes);
}

#[test]
fn a_damaged_cache_is_not_believed() {
    let hub = FakeHub::new(files());
    let mut world = World::new(&hub.server.address);
    let cache = hf_cache(&mut world, &files());
    let blob = cache.join("models--a--b/blobs").join(sha256(&noise(9_000, 1)));
    write(&blob, &noise(9_000, 2));
    let recorder = Recorder::default();
    let local = world.pull_with("a/b", &recorder).expect("pulled");
    assert!(recorder.notes().iter().any(|note| note.contains("damaged")), "{:?}", recorder.notes());
    assert_eq!(std::fs::read(local.path.join("model.safetensors")).expect("read"), noise(9_000, 1));
}

#[test]
fn without_a_network_the_hugging_face_cache_serves_as_it_is() {
    let mut world = World::new("http://127.0.0.1:1");
    hf_cache(&mut world, &files());
    let local = world.resolve("a/b").expect("cached");
    assert_eq!(local.origin, Origin::HuggingFaceCache);
    assert!(local.path.join("config.json").exists());
    assert_eq!(world.pull("a/b").expect("cached").path, local.path);
    let error = world.hub().remove(&reference("a/b")).expect_err("not ours");
    assert!(error.to_string().contains("outside the home"), "{error}");
    // A quantization that the cache has not is not replaced by another file.
    assert!(matches!(world.resolve("a/b:Q8_0"), Err(HubError::NotLocal { .. })));
}

#[test]
fn a_pull_uses_ollamas_blobs() {
    let bytes = noise(7_000, 3);
    let hub = FakeHub::new(vec![large("m-Q8_0.gguf", bytes.clone())]);
    let mut world = World::new(&hub.server.address);
    let blob = ollama_store(&mut world, &["registry.ollama.ai", "library", "m", "latest"], &bytes);
    let recorder = Recorder::default();
    let local = world.pull_with("a/b", &recorder).expect("pulled");
    assert_eq!(recorder.reused_from(), ["Ollama's store"]);
    assert!(hub.cdn.requests().is_empty());
    assert_eq!(std::fs::read(&local.path).expect("read"), bytes);
    drop(local);
    world.hub().remove(&reference("a/b")).expect("removed");
    assert_eq!(std::fs::read(blob).expect("untouched"), bytes);
}

#[test]
fn ollamas_models_are_found_by_name_and_by_repository() {
    let mut world = World::new("http://127.0.0.1:1");
    let library = ["registry.ollama.ai", "library", "smollm2", "135m"];
    let blob = ollama_store(&mut world, &library, &noise(100, 1));
    let local = world.resolve("smollm2:135m").expect("in the store");
    assert_eq!((local.origin, local.path), (Origin::Ollama, blob));
    let blob = ollama_store(&mut world, &["hf.co", "a", "b", "q8_0"], &noise(200, 2));
    assert_eq!(world.resolve("a/b:Q8_0").expect("in the store").path, blob);
    // A blob that is cut short is not used.
    write(&blob, &noise(100, 2));
    assert!(world.resolve("a/b:Q8_0").is_err());
}
