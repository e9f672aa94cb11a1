//! Which files of a repository make the model that was asked for.

use std::collections::BTreeMap;

use crate::digest::ContentHash;
use crate::error::HubError;
use crate::manifest::{FOLDER_REFERENCE, Format};
use crate::names::{RepoPath, check_key};
use crate::reference::Pick;

/// Quantizations in the order in which they are tried where none was asked for: the usual
/// compromise first, then close relatives, then larger, then smaller ones.
const QUANTS_PREFERRED: &[&str] = &[
    "Q4_K_M",
    "Q4_K_S",
    "UD-Q4_K_XL",
    "Q4_K_L",
    "Q4_K",
    "Q4_0",
    "Q4_1",
    "IQ4_NL",
    "IQ4_XS",
    "Q5_K_M",
    "Q5_K_S",
    "Q5_K",
    "Q5_0",
    "Q5_1",
    "Q6_K",
    "Q8_0",
    "Q3_K_L",
    "Q3_K_M",
    "Q3_K_S",
    "BF16",
    "F16",
    "F32",
    "Q2_K",
];
/// Most parts of a split file that are accepted.
const PARTS_MAX: u32 = 9999;

/// A file as a hub or a cache lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RemoteFile {
    pub(crate) path: RepoPath,
    /// Size in bytes, where it is told.
    pub(crate) bytes: Option<u64>,
    /// Hash of the content, where it is told.
    pub(crate) hash: Option<ContentHash>,
    /// Where its bytes come from: an address, or the path of a cached file.
    pub(crate) location: String,
    /// The server's mark of this version, where there is no hash.
    pub(crate) etag: Option<String>,
}

/// The files of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    pub(crate) format: Format,
    /// The quantization, or [`FOLDER_REFERENCE`].
    pub(crate) reference: String,
    /// The file to open; `None` for a folder.
    pub(crate) entry: Option<RepoPath>,
    pub(crate) files: Vec<RemoteFile>,
}

/// Chooses from the files of repository `model`.
///
/// # Errors
/// [`HubError::NoChoice`] lists what is there.
pub(crate) fn select(
    model: &str,
    files: &[RemoteFile],
    pick: &Pick,
) -> Result<Selection, HubError> {
    let groups = gguf_groups(files);
    match pick {
        Pick::Auto => match safetensors_folder(model, files)? {
            Some(selection) => Ok(selection),
            None => default_group(model, &groups)?.into_selection(model),
        },
        Pick::Quant(quant) => asked_group(model, &groups, quant)?.into_selection(model),
        Pick::File(path) => {
            let group = groups.iter().find(|group| group.parts.values().any(|f| f.path == *path));
            let Some(group) = group else {
                let reason = format!("it has no model file {:?}", path.as_str());
                return Err(no_choice(model, reason, &groups));
            };
            let mut selection = group.clone().into_selection(model)?;
            let alike = groups.iter().filter(|g| g.label == group.label).count();
            if alike > 1 || group.label.is_none() {
                selection.reference = reference_of_file(&selection);
            }
            Ok(selection)
        }
    }
}

/// The reference that prefers best among those that are on this machine.
pub(crate) fn preferred<'a>(references: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    references.min_by_key(|reference| {
        let rank = match *reference {
            FOLDER_REFERENCE => 0,
            other => 1 + rank_of(other),
        };
        (rank, *reference)
    })
}

/// Whether a label is the quantization that was asked for, in upper case: `Q4_K_XL` also
/// stands for `UD-Q4_K_XL`.
pub(crate) fn answers(label: &str, quant: &str) -> bool {
    label == quant || label.strip_prefix("UD-") == Some(quant)
}

fn rank_of(label: &str) -> usize {
    QUANTS_PREFERRED.iter().position(|q| *q == label).unwrap_or(QUANTS_PREFERRED.len())
}

/// A quantization's name in upper case, if `text` is one: `Q4_K_M`, `IQ4_XS`, `BF16` …
pub(crate) fn quant_label(text: &str) -> Option<String> {
    let upper = text.to_ascii_uppercase();
    if upper.len() > 16 {
        return None;
    }
    if let Some(inner) = upper.strip_prefix("UD-") {
        return quant_label(inner).map(|label| format!("UD-{label}"));
    }
    match upper.as_str() {
        "F16" | "FP16" => return Some("F16".to_owned()),
        "F32" | "FP32" => return Some("F32".to_owned()),
        "BF16" | "MXFP4" | "MXFP4_MOE" | "NVFP4" => return Some(upper),
        _ => {}
    }
    let digits = upper
        .strip_prefix("IQ")
        .or_else(|| upper.strip_prefix("TQ"))
        .or_else(|| upper.strip_prefix('Q'))?;
    let mut chars = digits.chars();
    let bits = chars.next().is_some_and(|c| matches!(c, '1'..='8'));
    let tail = chars.as_str();
    let named = tail.starts_with('_')
        && tail.len() > 1
        && tail.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (bits && named).then_some(upper)
}

/// The GGUF files that belong together: one file, or the parts of a split.
#[derive(Clone, Debug)]
struct GgufGroup {
    /// Path of the file without part number and extension.
    stem: String,
    label: Option<String>,
    /// By part number, from 1.
    parts: BTreeMap<u32, RemoteFile>,
    parts_expected: u32,
}

impl GgufGroup {
    fn into_selection(self, model: &str) -> Result<Selection, HubError> {
        let missing = (1..=self.parts_expected).find(|n| !self.parts.contains_key(n));
        if let Some(part) = missing {
            return Err(HubError::NoChoice {
                model: model.to_owned(),
                reason: format!(
                    "part {part} of {} of {:?} is missing",
                    self.parts_expected, self.stem
                ),
                available: self.parts.values().map(|f| f.path.to_string()).collect(),
            });
        }
        let files: Vec<_> = self.parts.into_values().collect();
        let mut selection = Selection {
            format: Format::Gguf,
            reference: String::new(),
            entry: files.first().map(|file| file.path.clone()),
            files,
        };
        selection.reference = match self.label {
            Some(label) => label,
            None => reference_of_file(&selection),
        };
        Ok(selection)
    }
}

/// A reference for a file whose name tells no quantization, or not it alone.
fn reference_of_file(selection: &Selection) -> String {
    let name = selection.entry.as_ref().map_or("", RepoPath::as_str);
    let stem = &name[..name.len().saturating_sub(".gguf".len())];
    let key: String = stem
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' })
        .collect();
    if check_key(&key).is_ok() {
        return key;
    }
    format!("file-{}", &crate::digest::sha256_text(name)[..16])
}

/// Splits `stem-00002-of-00005` into its stem, number and count.
fn split_part(stem: &str) -> Option<(&str, u32, u32)> {
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (base, number) = rest.rsplit_once('-')?;
    let parse = |digits: &str| {
        (digits.len() == 5 && digits.bytes().all(|b| b.is_ascii_digit()))
            .then(|| digits.parse::<u32>().ok())
            .flatten()
    };
    let (number, count) = (parse(number)?, parse(count)?);
    (number >= 1 && number <= count && count <= PARTS_MAX).then_some((base, number, count))
}

/// The names of all parts of a split file, of which `name` is one; `None` for a whole file.
pub(crate) fn split_names(name: &str) -> Option<Vec<String>> {
    let stem = name.get(..name.len().checked_sub(5)?)?;
    let extension = name.get(name.len() - 5..)?;
    let (base, _, count) = split_part(stem)?;
    Some((1..=count).map(|n| format!("{base}-{n:05}-of-{count:05}{extension}")).collect())
}

fn gguf_groups(files: &[RemoteFile]) -> Vec<GgufGroup> {
    let mut groups: BTreeMap<(String, u32), GgufGroup> = BTreeMap::new();
    for file in files {
        let Some(stem) = gguf_stem(file.path.as_str()) else { continue };
        let (base, number, count) = split_part(stem).unwrap_or((stem, 1, 1));
        // Vision projectors and importance matrices are no models of their own.
        let name = base.rsplit('/').next().unwrap_or(base).to_ascii_lowercase();
        if name.contains("mmproj") || name.contains("imatrix") {
            continue;
        }
        groups
            .entry((base.to_owned(), count))
            .or_insert_with(|| GgufGroup {
                stem: base.to_owned(),
                label: label_of(base),
                parts: BTreeMap::new(),
                parts_expected: count,
            })
            .parts
            .insert(number, file.clone());
    }
    groups.into_values().collect()
}

fn gguf_stem(name: &str) -> Option<&str> {
    let cut = name.len().checked_sub(".gguf".len())?;
    name.get(cut..)?.eq_ignore_ascii_case(".gguf").then(|| &name[..cut])
}

/// The quantization in a file's name, else in its folder's.
fn label_of(stem: &str) -> Option<String> {
    stem.rsplit('/').find_map(|part| {
        let words: Vec<&str> = part.split(['-', '.', ' ']).collect();
        let at = words.iter().rposition(|word| quant_label(word).is_some())?;
        let label = quant_label(words[at])?;
        let dynamic = at > 0 && words[at - 1].eq_ignore_ascii_case("ud");
        Some(if dynamic { format!("UD-{label}") } else { label })
    })
}

fn labels(groups: &[GgufGroup]) -> Vec<String> {
    let mut names: Vec<String> = groups
        .iter()
        .map(|g| g.label.clone().unwrap_or_else(|| format!("{}.gguf", g.stem)))
        .collect();
    names.sort_by_key(|name| (rank_of(name), name.clone()));
    names.dedup();
    names
}

fn no_choice(model: &str, reason: String, groups: &[GgufGroup]) -> HubError {
    HubError::NoChoice { model: model.to_owned(), reason, available: labels(groups) }
}

fn asked_group(model: &str, groups: &[GgufGroup], quant: &str) -> Result<GgufGroup, HubError> {
    let exact = |group: &&GgufGroup| group.label.as_deref() == Some(quant);
    let close = |group: &&GgufGroup| group.label.as_deref().is_some_and(|l| answers(l, quant));
    let mut found: Vec<_> = groups.iter().filter(exact).collect();
    if found.is_empty() {
        found = groups.iter().filter(close).collect();
    }
    match found.as_slice() {
        [group] => Ok((*group).clone()),
        [] => Err(no_choice(model, format!("it has no GGUF file of type {quant}"), groups)),
        several => Err(HubError::NoChoice {
            model: model.to_owned(),
            reason: format!("several files are {quant}; give the address of the one that is meant"),
            available: several.iter().map(|g| format!("{}.gguf", g.stem)).collect(),
        }),
    }
}

fn default_group(model: &str, groups: &[GgufGroup]) -> Result<GgufGroup, HubError> {
    if groups.is_empty() {
        let reason = "it has neither GGUF files nor a config.json with safetensors".to_owned();
        return Err(no_choice(model, reason, groups));
    }
    if let [only] = groups {
        return Ok(only.clone());
    }
    for label in QUANTS_PREFERRED {
        let found: Vec<_> =
            groups.iter().filter(|group| group.label.as_deref() == Some(label)).collect();
        match found.as_slice() {
            [group] => return Ok((*group).clone()),
            [] => {}
            _ => return asked_group(model, groups, label),
        }
    }
    let reason = "none of its files is of a type that is chosen by default".to_owned();
    Err(no_choice(model, reason, groups))
}

/// Whether a top-level file belongs to a Hugging Face folder besides the weights.
fn is_folder_file(name: &str) -> bool {
    matches!(
        name,
        "config.json"
            | "generation_config.json"
            | "tokenizer.json"
            | "tokenizer_config.json"
            | "tokenizer.model"
            | "special_tokens_map.json"
            | "added_tokens.json"
            | "vocab.json"
            | "vocab.txt"
            | "merges.txt"
            | "chat_template.jinja"
            | "chat_template.json"
    )
}

/// `config.json`, tokenizer, template and safetensors at the top of the repository.
fn safetensors_folder(model: &str, files: &[RemoteFile]) -> Result<Option<Selection>, HubError> {
    let top: Vec<&RemoteFile> = files.iter().filter(|file| file.path.depth() == 0).collect();
    let has = |name: &str| top.iter().any(|file| file.path.as_str() == name);
    if !has("config.json") {
        return Ok(None);
    }
    // A repository may hold the same weights twice, whole and in shards: one set suffices.
    let whole = has("model.safetensors");
    let indexed = has("model.safetensors.index.json");
    let is_weight = |name: &str| {
        let Some(stem) = name.strip_suffix(".safetensors") else { return false };
        if whole {
            stem == "model"
        } else if indexed {
            split_part(stem).is_some_and(|(base, ..)| base == "model")
        } else {
            !stem.starts_with("consolidated") && !stem.starts_with("adapter")
        }
    };
    let weights: Vec<&str> =
        top.iter().map(|file| file.path.as_str()).filter(|name| is_weight(name)).collect();
    if weights.is_empty() {
        return Ok(None);
    }
    check_shards(model, &weights)?;
    let wanted = |name: &str| {
        is_folder_file(name)
            || is_weight(name)
            || (!whole && name.ends_with(".safetensors.index.json"))
    };
    let files = top.into_iter().filter(|file| wanted(file.path.as_str())).cloned().collect();
    Ok(Some(Selection {
        format: Format::Safetensors,
        reference: FOLDER_REFERENCE.to_owned(),
        entry: None,
        files,
    }))
}

/// A cache may hold some of the shards only, a repository may be in the middle of an upload.
fn check_shards(model: &str, weights: &[&str]) -> Result<(), HubError> {
    let extension = ".safetensors";
    for name in weights {
        let Some((base, _, count)) = name.strip_suffix(extension).and_then(split_part) else {
            continue;
        };
        let shard = |n: u32| format!("{base}-{n:05}-of-{count:05}{extension}");
        let missing = (1..=count).map(shard).find(|shard| !weights.contains(&shard.as_str()));
        if let Some(missing) = missing {
            return Err(HubError::NoChoice {
                model: model.to_owned(),
                reason: format!("its shard {missing:?} is missing"),
                available: weights.iter().map(|name| (*name).to_owned()).collect(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Vec<RemoteFile> {
        names
            .iter()
            .map(|name| RemoteFile {
                path: RepoPath::new(*name).expect("a safe name"),
                bytes: Some(1),
                hash: None,
                location: String::new(),
                etag: None,
            })
            .collect()
    }

    fn chosen(names: &[&str], pick: &Pick) -> Result<(String, Vec<String>), HubError> {
        let selection = select("a/b", &files(names), pick)?;
        let names = selection.files.iter().map(|f| f.path.to_string()).collect();
        Ok((selection.reference, names))
    }

    #[test]
    fn quantizations_are_read_from_names() {
        for (stem, label) in [
            ("Qwen3-0.6B-Q8_0", Some("Q8_0")),
            ("qwen2.5-0.5b-instruct-q4_k_m", Some("Q4_K_M")),
            ("SmolLM2-135M-Instruct.Q4_1", Some("Q4_1")),
            ("M-UD-Q4_K_XL", Some("UD-Q4_K_XL")),
            ("Q4_K_M/M-Q4_K_M", Some("Q4_K_M")),
            ("BF16/model", Some("BF16")),
            ("m-fp16", Some("F16")),
            ("m-IQ4_XS", Some("IQ4_XS")),
            ("Qwen-7B", None),
            ("q4", None),
            ("QwQ-32B", None),
        ] {
            assert_eq!(label_of(stem).as_deref(), label, "{stem}");
        }
    }

    #[test]
    fn the_default_falls_back_sensibly() {
        let auto = Pick::Auto;
        let got = chosen(&["m-Q8_0.gguf", "m-Q4_K_M.gguf", "mmproj-m-Q4_K_M.gguf"], &auto);
        assert_eq!(got.expect("a choice").0, "Q4_K_M");
        let got = chosen(&["m-Q8_0.gguf", "m-F16.gguf", "README.md"], &auto);
        assert_eq!(got.expect("a choice").0, "Q8_0");
        let got = chosen(&["odd.gguf"], &auto).expect("the only one");
        assert_eq!(got, ("odd".into(), vec!["odd.gguf".into()]));
        assert!(chosen(&["README.md", "pytorch_model.bin"], &auto).is_err());
    }

    #[test]
    fn a_split_comes_whole_or_not_at_all() {
        let all = ["Q4_K_M/m-Q4_K_M-00001-of-00002.gguf", "Q4_K_M/m-Q4_K_M-00002-of-00002.gguf"];
        let quant = Pick::Quant("Q4_K_M".into());
        let got = chosen(&all, &quant).expect("both parts");
        assert_eq!(got, ("Q4_K_M".into(), all.map(str::to_owned).to_vec()));
        let error = chosen(&all[..1], &quant).expect_err("a part is missing").to_string();
        assert!(error.contains("part 2 of 2"), "{error}");
        let file = Pick::File(RepoPath::new(all[1]).expect("safe"));
        assert_eq!(chosen(&all, &file).expect("its whole split").1.len(), 2);
        assert_eq!(split_names(all[1]), Some(all.map(str::to_owned).to_vec()));
        assert_eq!(split_names("m-Q4_K_M.gguf"), None);
    }

    #[test]
    fn what_is_there_is_listed() {
        let names = ["m-Q8_0.gguf", "m-Q5_K_M.gguf", "m-UD-Q4_K_XL.gguf"];
        let error = chosen(&names, &Pick::Quant("Q3_K".into())).expect_err("not there").to_string();
        assert!(error.ends_with("it holds: UD-Q4_K_XL, Q5_K_M, Q8_0"), "{error}");
        let got = chosen(&names, &Pick::Quant("Q4_K_XL".into())).expect("the dynamic one");
        assert_eq!(got.0, "UD-Q4_K_XL");
        let twice = ["a-Q8_0.gguf", "b-Q8_0.gguf"];
        assert!(chosen(&twice, &Pick::Quant("Q8_0".into())).is_err());
        let file = Pick::File(RepoPath::new("b-Q8_0.gguf").expect("safe"));
        assert_eq!(chosen(&twice, &file).expect("one").0, "b-Q8_0");
    }

    #[test]
    fn a_folder_takes_what_it_needs() {
        let got = chosen(
            &[
                "README.md",
                "config.json",
                "tokenizer.json",
                "chat_template.jinja",
                "model.safetensors.index.json",
                "model-00001-of-00002.safetensors",
                "model-00002-of-00002.safetensors",
                "consolidated.safetensors",
                "pytorch_model.bin",
                "onnx/model.onnx",
                "original/config.json",
            ],
            &Pick::Auto,
        )
        .expect("a folder");
        assert_eq!(got.0, "main");
        assert_eq!(got.1.len(), 6, "{:?}", got.1);
        let half =
            ["config.json", "model.safetensors.index.json", "model-00002-of-00002.safetensors"];
        let error = chosen(&half, &Pick::Auto).expect_err("a shard is missing").to_string();
        assert!(error.contains("model-00001-of-00002"), "{error}");
        let got = chosen(
            &[
                "config.json",
                "model.safetensors",
                "model-00001-of-00001.safetensors",
                "model.safetensors.index.json",
            ],
            &Pick::Auto,
        )
        .expect("a folder");
        assert_eq!(got.1, ["config.json", "model.safetensors"]);
    }
}
