//! What a checkpoint says about itself: format, title, licence, types of its tensors.

use std::collections::BTreeMap;
use weights::{Checkpoint, Gguf, HfFolder};

/// The longest README whose header is read for a licence, in bytes.
const README_BYTES_MAX: u64 = 1 << 20;

/// What stands in the headers.
pub(super) struct Facts {
    /// `GGUF v3`, `safetensors`.
    pub(super) format: String,
    pub(super) files: usize,
    pub(super) file_bytes: u64,
    /// What the makers call it.
    pub(super) title: Option<String>,
    /// The licence that the file names; its text decides.
    pub(super) licence: Option<String>,
    /// How the file says its weights are quantized.
    pub(super) quantization: Option<String>,
}

/// All tensors of one type together.
pub(super) struct TypeTotal {
    pub(super) name: &'static str,
    pub(super) tensors: u64,
    pub(super) elements: u64,
    pub(super) bytes: u64,
}

pub(super) fn facts(checkpoint: &Checkpoint) -> Facts {
    match checkpoint {
        Checkpoint::Gguf(gguf) => gguf_facts(gguf),
        Checkpoint::Folder(folder) => folder_facts(folder),
    }
}

fn gguf_facts(gguf: &Gguf) -> Facts {
    // A key of another type than expected is shown as missing: showing must not fail on it.
    let text = |key| gguf.metadata().str(key).ok().flatten().map(str::to_owned);
    let licence = text("general.license").map(|licence| match text("general.license.link") {
        Some(link) => format!("{licence} ({link})"),
        None => licence,
    });
    Facts {
        format: format!("GGUF v{}", gguf.version()),
        files: gguf.files().len(),
        file_bytes: gguf.file_bytes(),
        title: text("general.name"),
        licence,
        quantization: file_type(gguf).map(str::to_owned),
    }
}

/// What `general.file_type` says the bulk of the weights is; the tensors' own types decide.
fn file_type(gguf: &Gguf) -> Option<&'static str> {
    let number = gguf.metadata().u64("general.file_type").ok().flatten()?;
    let names: &[(u64, &str)] = &[
        (0, "F32"),
        (1, "F16"),
        (2, "Q4_0"),
        (3, "Q4_1"),
        (7, "Q8_0"),
        (8, "Q5_0"),
        (9, "Q5_1"),
        (10, "Q2_K"),
        (11, "Q3_K_S"),
        (12, "Q3_K_M"),
        (13, "Q3_K_L"),
        (14, "Q4_K_S"),
        (15, "Q4_K_M"),
        (16, "Q5_K_S"),
        (17, "Q5_K_M"),
        (18, "Q6_K"),
        (25, "IQ4_NL"),
        (30, "IQ4_XS"),
        (32, "BF16"),
    ];
    names.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

fn folder_facts(folder: &HfFolder) -> Facts {
    let config = folder.config();
    let method = config["quantization_config"]["quant_method"].as_str();
    Facts {
        format: "safetensors".to_owned(),
        files: folder.files().len(),
        file_bytes: folder.file_bytes(),
        title: config["_name_or_path"].as_str().filter(|name| !name.is_empty()).map(str::to_owned),
        licence: readme_licence(folder),
        quantization: method.map(str::to_owned),
    }
}

/// The `license:` of the header that model cards begin with, between two lines of dashes.
fn readme_licence(folder: &HfFolder) -> Option<String> {
    let path = folder.file("README.md")?;
    if std::fs::metadata(&path).ok()?.len() > README_BYTES_MAX {
        return None;
    }
    let text = std::fs::read_to_string(path).ok()?;
    let header = text.strip_prefix("---")?.split("\n---").next()?;
    let value = header.lines().find_map(|line| line.strip_prefix("license:"))?;
    Some(value.trim().trim_matches(['"', '\'']).to_owned()).filter(|licence| !licence.is_empty())
}

/// Totals for each type, the one with the most bytes first.
pub(super) fn types(checkpoint: &Checkpoint) -> Vec<TypeTotal> {
    let mut totals: BTreeMap<&'static str, TypeTotal> = BTreeMap::new();
    for tensor in checkpoint.tensors() {
        let name = tensor.dtype.name();
        let total =
            totals.entry(name).or_insert(TypeTotal { name, tensors: 0, elements: 0, bytes: 0 });
        total.tensors += 1;
        total.elements += tensor.elements() as u64;
        total.bytes += tensor.data.len() as u64;
    }
    let mut totals: Vec<TypeTotal> = totals.into_values().collect();
    totals.sort_by_key(|total| std::cmp::Reverse(total.bytes));
    totals
}
