//! The chat page of the built binary on SmolLM2, in a real browser: a visitor's first question.

use crate::data::{freehold, home};
use crate::real_model::{EXACT, model};
use std::path::Path;
use std::time::Duration;
use testkit::browser;
use testkit::process::{Server, free_port};

#[test]
fn a_first_visitor_gets_an_answer() {
    let Some(model) = model() else { return };
    let home = home();
    let port = free_port().expect("a port is free");
    let mut command = freehold(home.path());
    command
        .arg("serve")
        .arg(&model)
        .args(["--alias", "smollm2", "--port", &port.to_string()])
        .args(EXACT);
    let address = format!("127.0.0.1:{port}");
    let server =
        Server::start(&mut command, &address, Duration::from_secs(120)).expect("it becomes ready");
    let script = testkit::repository_root().join("crates/gateway/tests/gateway/page/drive.mjs");
    let browser = browser::browser(Path::new(env!("CARGO_TARGET_TMPDIR")));
    let url = format!("http://{}", server.address);
    browser.play(&script, "meets_a_model", &url, &[("PAGE_SAYS", "Paris")]);
}
