//! `freehold rm`: removes a model from this machine.

use crate::cli::Remove;
use crate::locate::Locator;
use crate::output::{bytes, stdout};
use anyhow::Result;
use serde_json::json;
use std::io::Write as _;

pub(crate) fn run(args: &Remove, locator: &Locator) -> Result<()> {
    let (key, removed) = locator.hub().remove(&locator.hub().reference(&args.model)?)?;
    let mut out = stdout();
    if args.json {
        writeln!(out, "{}", json!({"model": key.label(), "bytes_freed": removed.bytes_freed}))?;
    } else {
        writeln!(out, "{} is removed, {} freed", key.label(), bytes(removed.bytes_freed))?;
    }
    Ok(())
}
