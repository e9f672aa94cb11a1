//! Split files: from any part `NAME-00002-of-00003.gguf` to all of them as one checkpoint.

use super::{Gguf, GgufErrorKind, open_part};
use crate::{GgufError, Tensor, WeightsError, tensor::TensorTable};
use std::path::{Path, PathBuf};

/// Most parts of one checkpoint: far above any that is published, far below what would exhaust file handles' maps.
const MAX_PARTS: u64 = 4096;
const COUNT: &str = "split.count";
const NUMBER: &str = "split.no";
const TENSORS: &str = "split.tensors.count";

/// Adds the other parts to `opened`, the part at `path`, if it is one of several.
pub(super) fn complete(path: &Path, opened: Gguf) -> Result<Gguf, WeightsError> {
    let count = opened.metadata.u64(COUNT)?.unwrap_or(1);
    if count <= 1 {
        return Ok(opened);
    }
    if count > MAX_PARTS {
        let text = format!("it is one of {count} parts, at most {MAX_PARTS} are allowed");
        return Err(refuse(path, text));
    }
    let number = opened.metadata.need(NUMBER, super::Metadata::u64)?;
    let paths = part_paths(path, number, count)?;
    let mut given = Some(opened);
    let mut parts = Vec::new();
    for (i, part_path) in (0u64..).zip(&paths) {
        let part = match given.take_if(|_| i == number) {
            Some(part) => part,
            None => open_part(part_path)?,
        };
        check_part(part_path, &part, i, count)?;
        parts.push(part);
    }
    merge(path, parts)
}

/// The paths of all parts, from the path of part `number` (counted from 0).
fn part_paths(path: &Path, number: u64, count: u64) -> Result<Vec<PathBuf>, WeightsError> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let suffix = |i: u64| format!("-{:05}-of-{count:05}.gguf", i + 1);
    match name.strip_suffix(&suffix(number)) {
        Some(stem) if number < count => {
            Ok((0..count).map(|i| path.with_file_name(format!("{stem}{}", suffix(i)))).collect())
        }
        _ => {
            let expected = suffix(number);
            let text = format!(
                "it is part {} of {count}, and the other parts are found by name: expected a name that ends in {expected}",
                number + 1
            );
            Err(refuse(path, text))
        }
    }
}

fn check_part(path: &Path, part: &Gguf, number: u64, count: u64) -> Result<(), WeightsError> {
    let found = (part.metadata.u64(NUMBER)?, part.metadata.u64(COUNT)?);
    if found == (Some(number), Some(count)) {
        return Ok(());
    }
    let said = |v: Option<u64>| v.map_or("missing".into(), |v| v.to_string());
    let text = format!(
        "expected {NUMBER} {number} and {COUNT} {count}, found {} and {}",
        said(found.0),
        said(found.1)
    );
    Err(refuse(path, text))
}

fn merge(path: &Path, parts: Vec<Gguf>) -> Result<Gguf, WeightsError> {
    let files = parts.iter().flat_map(|p| p.files.clone()).collect();
    let file_bytes = parts.iter().map(|p| p.file_bytes).sum();
    let whole = parts.iter().flat_map(|p| p.parts.clone()).collect();
    let tensors: Vec<Tensor> = parts.iter().flat_map(Gguf::tensors).cloned().collect();
    let Some(first) = parts.into_iter().next() else {
        return Err(refuse(path, "it has no parts".into()));
    };
    if let Some(expected) = first.metadata.u64(TENSORS)?
        && expected != tensors.len() as u64
    {
        let found = tensors.len();
        return Err(refuse(
            path,
            format!("expected {expected} tensors in all parts, found {found}"),
        ));
    }
    let tensors = TensorTable::new(tensors)
        .map_err(|name| refuse(path, format!("tensor {name} appears in two parts")))?;
    Ok(Gguf { tensors, parts: whole, files, file_bytes, ..first })
}

fn refuse(path: &Path, text: String) -> WeightsError {
    let kind = GgufErrorKind::Split(text);
    let source = GgufError { at: 0, place: "split file".into(), kind };
    WeightsError::Gguf { path: path.into(), source }
}
