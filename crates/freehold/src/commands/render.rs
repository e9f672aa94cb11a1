//! `freehold render`: the exact prompt that a model's chat template makes.

use crate::cli::Render;
use crate::locate::Locator;
use crate::output::stdout;
use crate::texts;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value};
use std::io::Write as _;
use std::path::Path;
use text::RenderInput;

/// The largest file of messages or tools, in bytes.
const JSON_BYTES_MAX: u64 = 64 << 20;

pub(crate) fn run(args: &Render, locator: &Locator) -> Result<()> {
    let messages = read(&args.messages)?;
    ensure!(messages.is_array(), "{} is no list of messages", args.messages.display());
    let tools = args.tools.as_deref().map(read).transpose()?;
    let kwargs = match &args.template_kwargs {
        Some(text) => serde_json::from_str(text).context("--template-kwargs is no JSON object")?,
        None => Map::new(),
    };
    let template = texts::template(&locator.path(&args.model)?)?;
    let rendered = template.render(&RenderInput {
        messages,
        tools,
        add_generation_prompt: !args.no_generation_prompt,
        kwargs,
        now: texts::now(),
        ..RenderInput::default()
    })?;
    stdout().write_all(rendered.text.as_bytes())?;
    Ok(())
}

fn read(path: &Path) -> Result<Value> {
    let at = || format!("cannot read {}", path.display());
    let bytes = std::fs::metadata(path).with_context(at)?.len();
    ensure!(
        bytes <= JSON_BYTES_MAX,
        "{} has {bytes} bytes, the limit is {JSON_BYTES_MAX}",
        path.display()
    );
    let text = std::fs::read_to_string(path).with_context(at)?;
    serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))
}
