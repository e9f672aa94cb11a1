//! The server over a real model against requests that schemathesis draws from its document, for
//! as long as a quarter of an hour: no 500, no hang, no answer that the document does not know.

use super::server::{NAME, Server};
use super::{Context, Findings};
use crate::{shell, smollm2};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The same tool as in the gateway's tests, whose settings it takes.
const TOOL: &str = "schemathesis>=4.20,<5";
const SETTINGS: &str = "crates/gateway/tests/gateway/schemathesis.toml";
const SECONDS_MAX: u64 = 900;
/// Requests drawn for each operation in each phase that draws.
const EXAMPLES: u32 = 300;
/// Answers end soon.
const CONTEXT_TOKENS: usize = 256;
const CLIENTS: usize = 4;

pub(super) fn run(context: &Context) -> Result<Findings> {
    let tool = tool(context)?;
    let mut command = context.serve(&context.smollm2()?, CLIENTS);
    command.args(["--context", &CONTEXT_TOKENS.to_string()]);
    let server = Server::start(command)?;
    let answer = testkit::http::get(server.address(), "/openapi.json")
        .context("the server gives no document")?;
    let mut document: Value =
        serde_json::from_str(&answer.body).context("the document is not JSON")?;
    for (path, route) in document["paths"].as_object_mut().into_iter().flatten() {
        // What is pulled is none of those that are served.
        if path != "/api/pull" {
            name_the_model(route);
        }
    }
    let path = std::path::absolute(context.models.join("openapi.json"))?;
    fs::write(&path, document.to_string())
        .with_context(|| format!("cannot write {}", path.display()))?;
    let mut command = Command::new(tool);
    // It keeps what it found in the folder where it runs.
    command.current_dir(&context.models);
    command.arg("--config-file").arg(testkit::repository_root().join(SETTINGS)).arg("run");
    command.args(["--no-color", "--max-examples", &EXAMPLES.to_string()]);
    command.args(["--max-time", &SECONDS_MAX.to_string(), "--url"]);
    command.arg(format!("http://{}", server.address())).arg(&path);
    let output = command.output().context("cannot start schemathesis")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let mut found = Findings::default();
    let summary = said.split_once("SUMMARY").map_or(&*said, |(_, summary)| summary);
    found.markdown = format!(
        "At most {EXAMPLES} requests an operation and phase and {SECONDS_MAX} s, over SmolLM2 with {CONTEXT_TOKENS} tokens of context:\n\n```text\n{}\n```\n",
        summary.trim_matches(['=', '\n', ' '])
    );
    if !output.status.success() {
        eprintln!("{said}{}", String::from_utf8_lossy(&output.stderr));
        found.missed.push("schemathesis found failures".to_owned());
    }
    Ok(found)
}

/// The tool in a virtual environment of its own, made once.
fn tool(context: &Context) -> Result<PathBuf> {
    let folder = std::path::absolute(context.models.join("python-schemathesis"))?;
    let tool = folder.join("bin/st");
    if !tool.exists() {
        shell::run(Command::new(smollm2::python()?).args(["-m", "venv"]).arg(&folder))?;
        let mut command = Command::new(folder.join("bin/python"));
        shell::run(command.args(["-m", "pip", "install", "--quiet", TOOL]))?;
    }
    Ok(tool)
}

/// Lets every request name the model that is there: else nearly all would end with that.
fn name_the_model(value: &mut Value) {
    match value {
        Value::Object(object) => {
            let is_needed = object.get("required").is_some_and(|required| {
                required.as_array().into_iter().flatten().any(|name| name == "model")
            });
            for (name, inner) in object.iter_mut() {
                if name == "properties" && inner["model"]["x-freehold-treatment"] == "honoured" {
                    let names = if is_needed { json!([NAME]) } else { json!([NAME, null]) };
                    inner["model"] = json!({"enum": names});
                }
                name_the_model(inner);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(name_the_model),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_named_where_requests_name_one() {
        let model = json!({"type": "string", "x-freehold-treatment": "honoured"});
        let answer = json!({"properties": {"model": {"type": "string"}}});
        let may = json!({"properties": {"model": model}, "required": ["prompt"]});
        let must = json!({"properties": {"model": model}, "required": ["model"]});
        let mut document = json!({"paths": [may, must, answer]});
        name_the_model(&mut document);
        let named = |at: usize| &document["paths"][at]["properties"]["model"]["enum"];
        assert_eq!((named(0), named(1)), (&json!([NAME, null]), &json!([NAME])));
        assert_eq!(document["paths"][2], answer);
    }
}
