//! The document of the interface is served, every route that it names is there, and what is sent
//! and answered is held to it by a tool that others made.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use dialect::openapi::{ROUTES, document};
use gateway::Config;

use crate::clients::{installed, run};
use crate::http::{raw, request};
use crate::scripted::{config, start, start_for_any_model};

/// Draws hostile and valid requests from the document and checks the answers against it.
const TOOL: [&str; 1] = ["schemathesis>=4.20,<5"];
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

#[test]
fn schemathesis_finds_nothing() {
    let Some(python) = installed("python-schemathesis", "schemathesis", &TOOL) else { return };
    // The tool waits between requests of a connection.
    let long = Duration::from_secs(30);
    let server = start_for_any_model(Config { head_timeout: long, body_timeout: long, ..config() });
    let settings = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gateway/schemathesis.toml");
    let mut command = Command::new(python.with_file_name("st"));
    // It keeps what it found in the folder where it runs.
    command.current_dir(env!("CARGO_TARGET_TMPDIR"));
    command.arg("--config-file").arg(settings).arg("run");
    command.args(["--max-examples", EXAMPLES, "--no-color"]);
    run(command.arg(format!("http://{}/openapi.json", server.address)));
}
