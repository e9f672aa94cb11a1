//! Clients that others made, unmodified, on a real model.

use crate::data::{freehold, home};
use crate::real_model::{EXACT, model};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use testkit::packages::{self, FRAMEWORKS, run};
use testkit::process::{Server, free_port};

#[test]
fn one_question_has_one_answer_through_every_client() {
    let Some(model) = model() else { return };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-frameworks");
    let Some(python) = packages::python(&folder, FRAMEWORKS) else { return };
    let home = home();
    let address = format!("127.0.0.1:{}", free_port().expect("a port is free"));
    let port = address.rsplit(':').next().unwrap_or_default();
    let mut serve = freehold(home.path());
    serve.arg("serve").arg(&model).args(["--alias", "small", "--port", port]).args(EXACT);
    serve.stderr(Stdio::null());
    let server = Server::start(&mut serve, &address, Duration::from_secs(60)).expect("ready");
    let url = format!("http://{}", server.address);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/real_clients.py");
    let mut command = Command::new(python);
    command.arg(script).arg(&url).current_dir(home.path()).env("HOME", home.path());
    run(command.env("LLM_USER_PATH", home.path()).env("OLLAMA_HOST", &url));
}
