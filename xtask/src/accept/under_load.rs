//! `freehold bench --serve` as the other parts use it: its arguments in, its JSON out.

use super::Context;
use crate::shell;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use testkit::process::{Server, free_port};

const START_TIME_MAX: Duration = Duration::from_secs(120);

/// A server on a port of its own.
pub(super) fn start(mut command: Command) -> Result<Server> {
    let port = free_port()?;
    // The mock takes the port as its first argument, `serve` as a flag; both know what `PORT` is.
    let args: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let mut with_port = Command::new(command.get_program());
    with_port.args(args.iter().map(|arg| match arg.to_str() {
        Some("PORT") => port.to_string().into(),
        _ => arg.clone(),
    }));
    for (name, value) in command.get_envs() {
        with_port.env(name, value.unwrap_or_default());
    }
    command = with_port;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let shown = shell::shown(&command);
    let server = Server::start(&mut command, &format!("127.0.0.1:{port}"), START_TIME_MAX);
    server.with_context(|| format!("cannot start `{shown}`"))
}

/// One measurement of a server.
pub(super) fn measure(context: &Context, address: &str, args: &str) -> Result<Value> {
    let mut command = Command::new(&context.freehold);
    command.args(["bench", "--json", "--serve", &format!("http://{address}")]);
    command.args(args.split(' '));
    let found: Value = serde_json::from_str(&shell::output(&mut command)?)?;
    ensure!(found["failed"] == 0, "`bench {args}`: requests failed: {}", found["errors"]);
    Ok(found)
}

/// A number of a measurement, by its path in the JSON.
pub(super) fn number(found: &Value, path: &str) -> Result<f64> {
    found.pointer(path).and_then(Value::as_f64).with_context(|| format!("no {path} in {found}"))
}

impl Context {
    /// The server whose model answers at once.
    pub(super) fn mock_server(&self) -> Result<PathBuf> {
        if let Some(path) = &self.mock {
            return Ok(path.clone());
        }
        let args = ["build", "--release", "--workspace", "--example", "mock_serve"];
        shell::run(&mut shell::cargo(&args))?;
        let metadata = shell::metadata()?;
        let target =
            metadata["target_directory"].as_str().context("cargo names no target folder")?;
        Ok(PathBuf::from(target).join("release/examples/mock_serve"))
    }
}
