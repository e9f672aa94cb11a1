//! The document of the interface is served, every route that it names is there, and what is sent
//! and answered is held to it by a tool that others made.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use dialect::openapi::{ROUTES, Route, document};
use gateway::Config;
use testkit::packages::{self, run};

use crate::clients::kept;
use crate::http::{raw, request};
use crate::scripted::{config, start, start_keeping_for_any_model};

/// Draws hostile and valid requests from the document and checks the answers against it.
const TOOL: &[&str] = &["schemathesis>=4.20,<5"];
/// Requests drawn for each operation in each phase that draws.
const EXAMPLES: &str = "20";

#[test]
fn the_document_is_served_and_every_route_is_there() {
    let server = start(config());
    let served = raw(server.address, &request("GET", "/openapi.json", b""));
    assert_eq!((served.status, served.header("content-type")), (200, Some("application/json")));
    assert_eq!(served.json(), document(env!("CARGO_PKG_VERSION")));
    for route in ROUTES {
        let answer = raw(server.address, &request(route.method, route.path, b"{}"));
        let is_known = !answer.body.contains("unknown_url") && answer.status != 405;
        assert!(is_known, "{} {}: {}", route.method, route.path, answer.body);
    }
}

/// Where routes are added one by one; those of the dialects' tables are held to the document by
/// the dialects' own tests.
const SOURCES: [&str; 3] = [
    include_str!("../../src/routes.rs"),
    include_str!("../../src/kept/mod.rs"),
    include_str!("../../src/kept/message_batches.rs"),
];

#[test]
fn every_route_is_in_the_document() {
    let mut n_found = 0;
    // However their lines are broken.
    let joined = SOURCES.map(|source| source.split_whitespace().collect::<String>());
    for rest in joined.iter().flat_map(|source| source.split(".route(\"").skip(1)) {
        let Some((path, rest)) = rest.split_once('"') else { continue };
        let end = rest.find("))").into_iter().chain(rest.find("),)")).min();
        let handlers = &rest[..end.expect("the end of a route")];
        if path == "/page/{name}" {
            continue;
        }
        let path = path.replace("{*", "{");
        for method in ["GET", "POST", "DELETE"] {
            if handlers.contains(&format!("{}(", method.to_ascii_lowercase())) {
                let is_there = |r: &Route| (r.method, r.path) == (method, path.as_str());
                assert!(ROUTES.iter().any(is_there), "{method} {path} is not in the document");
                n_found += 1;
            }
        }
    }
    assert!(n_found > 30, "the routes were found: {n_found}");
}

#[test]
fn schemathesis_finds_nothing() {
    let Some(python) = packages::python(&kept("python-schemathesis"), TOOL) else { return };
    // The tool waits between requests of a connection.
    let long = Duration::from_secs(30);
    let config = Config { head_timeout: long, body_timeout: long, ..config() };
    let folder = tempfile::tempdir().unwrap();
    let server = start_keeping_for_any_model(config, folder.path());
    let settings = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gateway/schemathesis.toml");
    let mut command = Command::new(python.with_file_name("st"));
    // It keeps what it found in the folder where it runs.
    command.current_dir(env!("CARGO_TARGET_TMPDIR"));
    command.arg("--config-file").arg(settings).arg("run");
    command.args(["--max-examples", EXAMPLES, "--no-color"]);
    run(command.arg(format!("http://{}/openapi.json", server.address)));
}
