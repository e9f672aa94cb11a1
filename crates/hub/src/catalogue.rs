//! Short names for well-known open models: data in `data/catalogue.json`, read once.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::select::quant_label;

/// A name of the catalogue with its sizes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueModel {
    /// The name, in lower case.
    pub name: String,
    /// The model family that runs it.
    pub family: String,
    /// The tag that is meant where none is given.
    pub default: String,
    /// What it is, in a few words.
    pub about: String,
    /// Its tags.
    pub tags: BTreeMap<String, CatalogueTag>,
}

/// Where one tag's files are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueTag {
    /// `owner/repo` on the hub.
    pub repo: String,
    /// The quantization that is pulled.
    pub quant: String,
    /// The licence of the weights.
    pub licence: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    models: Vec<CatalogueModel>,
}

static CATALOGUE: LazyLock<Vec<CatalogueModel>> = LazyLock::new(|| {
    // The file is part of the program and a test reads all of it.
    serde_json::from_str::<Data>(include_str!("../data/catalogue.json"))
        .expect("the embedded catalogue is valid")
        .models
});

/// Every name of the catalogue, in its own order.
pub fn catalogue() -> &'static [CatalogueModel] {
    &CATALOGUE
}

/// A catalogue entry that a name led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// `name:tag` in full.
    pub(crate) label: String,
    pub(crate) owner: String,
    pub(crate) repo: String,
    pub(crate) quant: String,
    pub(crate) licence: String,
}

/// Looks up `name[:tag]`, in lower case. A tag may carry a quantization of its own, as in
/// `qwen3:4b-q8_0`.
pub(crate) fn find(name: &str, tag: Option<&str>) -> Option<Found> {
    let model = catalogue().iter().find(|model| model.name == name)?;
    let tag = tag.unwrap_or(&model.default);
    let (entry, quant) = match model.tags.get(tag) {
        Some(entry) => (entry, entry.quant.clone()),
        None => {
            let (size, quant) = tag.rsplit_once('-')?;
            (model.tags.get(size)?, quant_label(quant)?)
        }
    };
    let (owner, repo) = entry.repo.split_once('/')?;
    Some(Found {
        label: format!("{name}:{tag}"),
        owner: owner.to_owned(),
        repo: repo.to_owned(),
        quant,
        licence: entry.licence.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::check_key;

    #[test]
    fn every_entry_is_whole() {
        assert!(!catalogue().is_empty());
        for model in catalogue() {
            assert!(model.tags.contains_key(&model.default), "{}: its default", model.name);
            assert!(
                matches!(model.family.as_str(), "llama" | "qwen2" | "qwen3" | "qwen3_moe"),
                "{}: {}",
                model.name,
                model.family
            );
            assert_eq!(check_key(&model.name), Ok(()));
            assert_eq!(model.name, model.name.to_ascii_lowercase());
            for (tag, entry) in &model.tags {
                assert_eq!(check_key(tag), Ok(()), "{}:{tag}", model.name);
                assert_eq!(*tag, tag.to_ascii_lowercase());
                let (owner, repo) = entry.repo.split_once('/').expect("owner/repo");
                assert_eq!((check_key(owner), check_key(repo)), (Ok(()), Ok(())));
                assert_eq!(quant_label(&entry.quant).as_deref(), Some(entry.quant.as_str()));
                assert!(!entry.licence.is_empty());
            }
        }
        let mut names: Vec<_> = catalogue().iter().map(|model| &model.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), catalogue().len(), "a name stands twice");
    }

    #[test]
    fn tags_have_defaults_and_may_carry_a_quantization() {
        let found = find("smollm2", Some("135m")).expect("in the catalogue");
        assert_eq!(found.repo, "SmolLM2-135M-Instruct-GGUF");
        assert_eq!(found.licence, "apache-2.0");
        assert_eq!(find("qwen3", None).expect("its default").label, "qwen3:8b");
        assert_eq!(find("qwen3", Some("4b-q8_0")).expect("with a type").quant, "Q8_0");
        assert_eq!(find("qwen3", Some("9000b")), None);
        assert_eq!(find("nothing", None), None);
    }
}
