//! What works: both hubs, folders, splits, addresses, names, updates.

use hub::{Format, HubKind, Origin};

use crate::server::{Answer, Server};
use crate::world::{FakeHub, File, Recorder, TOKEN, World, large, noise, sha256, small};

fn folder_files() -> Vec<File> {
    vec![
        small("README.md", "read me"),
        small("config.json", r#"{"model_type":"llama"}"#),
        small("tokenizer.json", "{}"),
        small("chat_template.jinja", "{{ x }}"),
        large("model.safetensors", noise(300_000, 1)),
        large("pytorch_model.bin", noise(100, 2)),
    ]
}

#[test]
fn a_hugging_face_folder_is_pulled_once() {
    let hub = FakeHub::new(folder_files());
    let world = World::new(&hub.server.address);
    let local = world.pull("a/b").expect("pulled");
    assert_eq!(local.origin, Origin::Home);
    let mut names: Vec<_> = std::fs::read_dir(&local.path)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["chat_template.jinja", "config.json", "model.safetensors", "tokenizer.json"]
    );
    assert_eq!(
        std::fs::read(local.path.join("model.safetensors")).expect("read"),
        noise(300_000, 1)
    );
    let manifest = local.manifest.clone().expect("of the home");
    assert_eq!(manifest.format, Format::Safetensors);
    assert_eq!(manifest.licence.as_deref(), Some("apache-2.0"));
    assert_eq!(world.files_in("partial"), Vec::<std::path::PathBuf>::new());

    // A second pull asks for the listing alone, also while the model is in use.
    let asked = hub.server.asked("/resolve/").len();
    let recorder = Recorder::default();
    world.pull_with("a/b", &recorder).expect("still there");
    assert_eq!(hub.server.asked("/resolve/").len(), asked);
    assert_eq!(recorder.reused_from(), ["the model home"; 4]);
    // And resolving asks for nothing.
    let asked = hub.server.requests().len();
    assert_eq!(world.resolve("A/B").expect("in any case").path, local.path);
    assert_eq!(hub.server.requests().len(), asked);
}

#[test]
fn the_token_goes_to_the_hub_and_to_no_other_host() {
    let hub = FakeHub::new(folder_files());
    let world = World::new(&hub.server.address);
    world.pull("a/b").expect("pulled");
    let bearer = format!("Bearer {TOKEN}");
    for request in hub.server.requests() {
        assert_eq!(request.header("authorization"), Some(bearer.as_str()), "{}", request.target);
    }
    let on_cdn = hub.cdn.requests();
    assert!(!on_cdn.is_empty());
    for request in on_cdn {
        assert_eq!(request.header("authorization"), None);
        assert_eq!(request.header("cookie"), None);
    }
}

#[test]
fn a_quantization_is_chosen_and_a_split_comes_whole() {
    let hub = FakeHub::new(vec![
        large("m-Q8_0.gguf", noise(10, 1)),
        large("Q4_K_M/m-Q4_K_M-00001-of-00002.gguf", noise(20, 2)),
        large("Q4_K_M/m-Q4_K_M-00002-of-00002.gguf", noise(30, 3)),
    ]);
    let world = World::new(&hub.server.address);
    let split = world.pull("a/b").expect("the default");
    assert!(split.path.ends_with("Q4_K_M/m-Q4_K_M-00001-of-00002.gguf"), "{:?}", split.path);
    assert!(split.path.with_file_name("m-Q4_K_M-00002-of-00002.gguf").exists());
    let whole = world.pull("a/b:q8_0").expect("the other");
    assert_eq!(std::fs::read(&whole.path).expect("read"), noise(10, 1));
    let error = world.pull("a/b:Q2_K").expect_err("not there").to_string();
    assert!(error.contains("Q4_K_M, Q8_0"), "{error}");
    // Both are there: the preferred one is meant.
    assert_eq!(world.resolve("a/b").expect("in the home").path, split.path);
    assert_eq!(world.hub().home().list().expect("a list").models.len(), 2);
}

#[test]
fn modelscope_serves_the_same() {
    let hub = FakeHub::new(folder_files());
    let mut world = World::new(&hub.server.address);
    world.config.hub = HubKind::ModelScope;
    world.config.modelscope_token = world.config.hf_token.take();
    let local = world.pull("a/b").expect("pulled");
    assert_eq!(
        std::fs::read(local.path.join("model.safetensors")).expect("read"),
        noise(300_000, 1)
    );
    let manifest = local.manifest.expect("of the home");
    assert_eq!(
        (manifest.key.source.as_str(), manifest.licence.as_deref()),
        ("modelscope", Some("mit"))
    );
    let request = &hub.server.asked("/models/a/b/resolve/master/model.safetensors")[0];
    assert_eq!(request.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
    // A listing without hashes is believed for the sizes alone, and hashed all the same.
    assert!(manifest.files.iter().any(|file| file.sha256.as_str() == sha256(&noise(300_000, 1))));
}

#[test]
fn a_server_that_sends_parts_under_status_200_is_understood() {
    let bytes = noise(200_000, 4);
    let mut n_requests = 0;
    let hub = FakeHub::with_hooks(
        vec![large("m-Q8_0.gguf", bytes.clone())],
        Box::new(move |request, mut answer| {
            if request.target.contains("/resolve/") {
                n_requests += 1;
                match n_requests {
                    1 => answer.cut_after = Some(70_000),
                    _ => answer.status = 200,
                }
            }
            answer
        }),
        Box::new(|_, answer| answer),
    );
    let mut world = World::new(&hub.server.address);
    world.config.hub = HubKind::ModelScope;
    let local = world.pull("a/b").expect("pulled");
    assert_eq!(std::fs::read(local.path).expect("read"), bytes);
    assert!(hub.server.asked("/resolve/")[1].range_from().is_some_and(|from| from > 0));
}

#[test]
fn a_file_comes_from_an_address() {
    let bytes = noise(5_000, 5);
    let served = bytes.clone();
    let server = Server::start(move |request| {
        if request.target.starts_with("/d/model.gguf") {
            Answer::ranged(request, &served).with("ETag", "\"v1\"")
        } else {
            Answer::new(404, "")
        }
    });
    let world = World::new("http://127.0.0.1:1");
    let url = format!("{}/d/model.gguf?x=1", server.address);
    let local = world.pull(&url).expect("pulled");
    assert_eq!(std::fs::read(&local.path).expect("read"), bytes);
    assert!(server.requests().iter().all(|request| request.header("authorization").is_none()));
    let n_get = |server: &Server| server.requests().iter().filter(|r| r.method == "GET").count();
    assert_eq!(n_get(&server), 1);
    world.pull(&url).expect("the same version");
    assert_eq!(n_get(&server), 1);
    assert_eq!(world.resolve(&url).expect("in the home").path, local.path);
    assert_eq!(world.resolve(&local.label).expect("by its label").path, local.path);
}

#[test]
fn a_new_version_replaces_the_old_unless_it_is_in_use() {
    let hub = FakeHub::new(vec![large("m-Q8_0.gguf", noise(1_000, 1))]);
    let world = World::new(&hub.server.address);
    let old = world.pull("a/b").expect("pulled");
    hub.replace(vec![large("m-Q8_0.gguf", noise(2_000, 2))]);
    let error = world.pull("a/b").expect_err("in use");
    assert!(matches!(error, hub::HubError::InUse { .. }), "{error}");
    assert_eq!(std::fs::read(&old.path).expect("untouched"), noise(1_000, 1));
    drop(old);
    let asked = hub.cdn.requests().len();
    let new = world.pull("a/b").expect("replaced");
    assert_eq!(hub.cdn.requests().len(), asked, "what was fetched is kept");
    assert_eq!(std::fs::read(&new.path).expect("read"), noise(2_000, 2));
    assert_eq!(world.files_in("blobs").len(), 1, "the old blob is gone");
}

#[test]
fn a_pull_works_inside_an_asynchronous_caller() {
    let hub = FakeHub::new(folder_files());
    let world = World::new(&hub.server.address);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async { world.pull("a/b").expect("pulled") });
}
