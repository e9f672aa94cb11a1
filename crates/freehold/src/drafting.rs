//! A second, small model that guesses tokens for a large one: loaded, held against the large one's
//! vocabulary, and given to the engine.

use crate::cli::{Compute, Sparing, Switch};
use crate::compute::{self, Numerics};
use crate::locate::Locator;
use crate::packed::PackedUse;
use crate::plan::{Fixed, Room};
use crate::texts;
use anyhow::{Context as _, Result, bail, ensure};
use engine::{Drafter, ModelDrafter, PagedModel};
use hub::{Home, Progress};
use kernels::Pool;
use std::path::PathBuf;
use std::sync::Arc;
use text::Tokenizer;

/// How far around the number that decides a draw a guess is looked for: a model and its copy in
/// four bits agree in 62 of 100 tokens at temperature 1 with it, in 57 without, and in as many at
/// lower ones (docs/lab-log.md).
const SLACK: f64 = 0.02;

/// A draft model that was found.
pub(crate) struct Draft {
    model: String,
    path: PathBuf,
    home: Home,
    /// Whether it keeps what it computed for later prompts.
    prefix_cache: Switch,
    /// Whether its costs are measured before the first answer, for a process that gives only
    /// one; else when there is a moment.
    pub(crate) measures_at_start: bool,
}

impl Draft {
    /// The model of `--draft`, pulled where it is not on this machine.
    pub(crate) fn find(
        sparing: &Sparing,
        locator: &Locator,
        progress: &dyn Progress,
    ) -> Result<Option<Draft>> {
        let Some(model) = &sparing.draft else { return Ok(None) };
        if sparing.speculate == Switch::Off {
            bail!("--draft {model} guesses tokens, but --speculate is off");
        }
        let found = locator.find_or_pull(model, progress)?;
        ensure!(found.adapter.is_none(), "--draft {model}: a draft model takes no adapter");
        let (model, path) = (model.clone(), found.path);
        let (home, prefix_cache) = (locator.hub().home().clone(), sparing.prefix_cache);
        Ok(Some(Draft { model, path, home, prefix_cache, measures_at_start: false }))
    }

    /// What it takes but for its KV cache, from its headers.
    pub(crate) fn fixed(&self, compute: &Compute, room: Room, threads: usize) -> Result<Fixed> {
        let at = || format!("--draft {}", self.model);
        // Its context may be shorter; nothing is drafted beyond it.
        let compute = Compute { context: None, ..compute.clone() };
        let checkpoint = compute::open(&self.path).with_context(at)?;
        Fixed::of(&checkpoint, &[], &compute, room, threads, None).with_context(at)
    }

    /// Loads it as the drafter of a model with `tokenizer`, `vocab_size` and `blocks` KV blocks.
    pub(crate) fn load(
        &self,
        main: &Main<'_>,
        compute: &Compute,
        pool: &Arc<Pool>,
    ) -> Result<Box<dyn Drafter>> {
        let at = || format!("--draft {}", self.model);
        let tokenizer = texts::tokenizer(&self.path).with_context(at)?;
        compare(main.tokenizer, &tokenizer).with_context(at)?;
        let options = Numerics { kv: compute.kv, activations: compute.activations }.options();
        let checkpoint = compute::open(&self.path).with_context(at)?;
        let packed = PackedUse::at(&self.home, &self.model, compute.packed);
        let model = compute::load_opened(&checkpoint, &self.path, pool, &options, packed)?;
        let paged = PagedModel::new(Arc::new(model), main.blocks, usize::MAX);
        let drafter = ModelDrafter::new(paged, main.vocab_size).with_context(at)?.with_slack(SLACK);
        Ok(Box::new(match self.prefix_cache {
            Switch::On => drafter,
            Switch::Off => drafter.without_prefixes(),
        }))
    }
}

/// The model that is drafted for.
pub(crate) struct Main<'a> {
    pub(crate) tokenizer: &'a Tokenizer,
    pub(crate) vocab_size: usize,
    pub(crate) blocks: usize,
}

/// Two models whose tokens do not mean the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the vocabularies differ, so that one model's tokens say nothing to the other: token {id} is \
     {main} in the model and {draft} in the draft model"
)]
struct VocabularyMismatch {
    /// The first id that differs.
    id: u32,
    /// What it means, for people.
    main: String,
    /// The same in the draft model.
    draft: String,
}

/// Whether each id has the same bytes in both; ids that stand for nothing may be many more in one.
fn compare(main: &Tokenizer, draft: &Tokenizer) -> Result<(), VocabularyMismatch> {
    let n_ids = main.vocab_size().max(draft.vocab_size());
    for id in 0..u32::try_from(n_ids).unwrap_or(u32::MAX) {
        let (of_main, of_draft) = (meaning(main, id), meaning(draft, id));
        if of_main != of_draft {
            let (main, draft) = (shown(of_main), shown(of_draft));
            return Err(VocabularyMismatch { id, main, draft });
        }
    }
    Ok(())
}

/// The bytes of a token, or `None` of what pads a vocabulary and what is beyond it.
fn meaning(tokenizer: &Tokenizer, id: u32) -> Option<&[u8]> {
    if (id as usize) < tokenizer.vocab_size() && tokenizer.is_used(id) {
        tokenizer.token_bytes(id).ok()
    } else {
        None
    }
}

fn shown(meaning: Option<&[u8]>) -> String {
    meaning.map_or("unused".to_owned(), |bytes| format!("`{}`", bytes.escape_ascii()))
}

#[cfg(test)]
mod tests {
    use super::{VocabularyMismatch, compare};
    use serde_json::json;
    use text::Tokenizer;

    /// A tokenizer of these tokens.
    fn tokenizer(tokens: &[&str]) -> Tokenizer {
        let folder = tempfile::tempdir().expect("a folder");
        let vocab: serde_json::Map<String, serde_json::Value> =
            tokens.iter().zip(0..).map(|(token, id)| ((*token).to_owned(), json!(id))).collect();
        let file = json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true},
            "post_processor": null, "decoder": {"type": "ByteLevel"}, "added_tokens": [],
            "model": {"type": "BPE", "vocab": vocab, "merges": []},
        });
        std::fs::write(folder.path().join("tokenizer.json"), file.to_string()).expect("written");
        Tokenizer::from_hf_folder(folder.path()).expect("it is a tokenizer")
    }

    #[test]
    fn vocabularies_are_compared_by_what_tokens_mean() {
        let main = tokenizer(&["a", "b", "\u{120}c"]);
        assert_eq!(compare(&main, &main), Ok(()));
        let mismatch = |other: &[&str]| compare(&main, &tokenizer(other)).expect_err("they differ");
        let error = mismatch(&["a", "b", "c"]);
        let expect = VocabularyMismatch { id: 2, main: "` c`".into(), draft: "`c`".into() };
        assert_eq!(error, expect);
        let error = mismatch(&["a", "b"]);
        assert_eq!((error.id, error.draft.as_str()), (2, "unused"));
        let error = mismatch(&["a", "b", "\u{120}c", "d"]);
        assert_eq!((error.id, error.main.as_str(), error.draft.as_str()), (3, "unused", "`d`"));
        assert!(error.to_string().contains("token 3 is unused in the model and `d`"), "{error}");
    }
}
