//! `freehold rm`: removes a model from this machine, or what was computed with it.

use crate::cli::Remove;
use crate::locate::Locator;
use crate::output::{bytes, stdout};
use anyhow::Result;
use serde_json::json;
use std::io::Write as _;

pub(crate) fn run(args: &Remove, locator: &Locator) -> Result<()> {
    let (what, bytes_freed) = match (&args.model, args.prefixes) {
        (Some(model), false) => {
            let (key, removed) = locator.hub().remove(&locator.hub().reference(model)?)?;
            (key.label(), removed.bytes_freed)
        }
        (Some(model), true) => {
            let path = locator.path(model)?;
            (model.clone(), locator.hub().home().remove_prefixes(&path)?)
        }
        // The command line asks for one of them.
        (None, _) => ("all models".to_owned(), locator.hub().home().remove_all_prefixes()?),
    };
    let mut out = stdout();
    if args.json {
        let model = args.model.as_ref().map(|_| &what);
        writeln!(out, "{}", json!({"model": model, "bytes_freed": bytes_freed}))?;
    } else if args.prefixes {
        writeln!(out, "the prefixes of {what} are removed, {} freed", bytes(bytes_freed))?;
    } else {
        writeln!(out, "{what} is removed, {} freed", bytes(bytes_freed))?;
    }
    Ok(())
}
