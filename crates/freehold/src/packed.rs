//! Packed files as the commands use them: found, judged, and said when they do not fit.

use crate::cli::Packed;
use crate::locate::Locator;
use crate::machine;
use crate::output::say;
use anyhow::Result;
use hub::Home;
use kernels::{Pool, Precision};
use model::{LoadOptions, Model, ModelError};
use std::io::{ErrorKind, IsTerminal as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use weights::{Checkpoint, PackedError, PackedFile};

/// Packing for longer than this is worth a word about packed files.
const HINT_AFTER: Duration = Duration::from_secs(2);

/// Whether a load looks for a packed file, and how it speaks of it.
#[derive(Clone, Copy)]
pub(crate) struct PackedUse<'a> {
    home: &'a Home,
    /// As the person wrote it.
    model: &'a str,
    wanted: Packed,
    hints: bool,
}

impl<'a> PackedUse<'a> {
    pub(crate) fn new(locator: &'a Locator, model: &'a str, wanted: Packed) -> PackedUse<'a> {
        PackedUse::at(locator.hub().home(), model, wanted)
    }

    /// The same, of a data folder.
    pub(crate) fn at(home: &'a Home, model: &'a str, wanted: Packed) -> PackedUse<'a> {
        PackedUse { home, model, wanted, hints: false }
    }

    /// Also tells a person at a terminal that packing could be saved.
    pub(crate) fn with_hint(self) -> PackedUse<'a> {
        PackedUse { hints: std::io::stderr().is_terminal(), ..self }
    }

    /// The model over its packed file; none where there is no file that fits, which is said
    /// unless there is none at all.
    pub(crate) fn load(
        &self,
        checkpoint: &Checkpoint,
        pool: &Arc<Pool>,
        options: &LoadOptions,
    ) -> Result<Option<Model>, ModelError> {
        if self.wanted == Packed::Off {
            return Ok(None);
        }
        let file = match find(self.home, checkpoint, options.activations) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(None),
            Err(error) => {
                self.warn(&error);
                return Ok(None);
            }
        };
        // Read while the tokenizer is built. A file that memory would not hold is read as it is
        // needed: of experts that no token chooses, never.
        if machine::available_bytes().is_some_and(|bytes| file.file_bytes() < bytes / 2) {
            file.prefetch();
        }
        match Model::load_packed(checkpoint, Arc::clone(pool), options, &file) {
            Ok(model) => Ok(Some(model)),
            Err(error) if error.is_of_packed_file() => {
                self.warn(&error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn warn(&self, reason: &dyn std::fmt::Display) {
        let model = self.model;
        say(format_args!(
            "warning: the packed file of {model} is not used: {reason}\n  \
             `freehold pack {model}` writes it anew; packing in memory"
        ));
    }

    /// To be called when packing has taken `took`.
    pub(crate) fn hint(&self, took: Duration) {
        if self.hints && self.wanted == Packed::On && took > HINT_AFTER {
            let (model, seconds) = (self.model, took.as_secs_f64());
            say(format_args!(
                "packing the weights took {seconds:.0} s; `freehold pack {model}` does it once for all starts"
            ));
        }
    }
}

/// The packed file of this checkpoint and precision; none where there is none.
///
/// # Errors
/// There is one, and it is outdated, damaged or cannot be read.
pub(crate) fn find(
    home: &Home,
    checkpoint: &Checkpoint,
    precision: Precision,
) -> Result<Option<PackedFile>, PackedError> {
    let Some(path) = path(home, checkpoint, precision) else { return Ok(None) };
    // Asked first: the key reads all headers.
    match std::fs::metadata(&path) {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        other => other?,
    };
    let Some(key) = model::packed_key(checkpoint, precision) else { return Ok(None) };
    PackedFile::open(&path, &key).map(Some)
}

fn path(home: &Home, checkpoint: &Checkpoint, precision: Precision) -> Option<std::path::PathBuf> {
    let source: &Path = checkpoint.path()?;
    Some(home.packed_path(source, model::packed_form(checkpoint, precision)))
}
