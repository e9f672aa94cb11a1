//! The report in words and as JSON.

use super::{Architecture, Packed, Report};
use crate::output::{Table, bytes, count, shape};
use anyhow::Result;
use model::{Ffn, Head, Mixer, Parameters, Pooling, RopeScaling, Spec};
use serde_json::{Value, json};
use std::io::Write;
use weights::{Checkpoint, Tensor};

/// Writes the report for people.
pub(super) fn words(report: &Report, out: &mut impl Write) -> Result<()> {
    let facts = &report.facts;
    writeln!(out, "{}", report.name)?;
    line(out, "file", &report.path.display().to_string())?;
    let files = if facts.files > 1 { format!(" in {} files", facts.files) } else { String::new() };
    line(out, "format", &format!("{}, {}{files}", facts.format, bytes(facts.file_bytes)))?;
    for (name, value) in [("title", &facts.title), ("quantized", &facts.quantization)] {
        if let Some(value) = value {
            line(out, name, value)?;
        }
    }
    line(out, "licence", facts.licence.as_deref().unwrap_or("unknown: the files do not name one"))?;
    match &report.architecture {
        Ok(architecture) => {
            architecture_words(architecture, out)?;
            line(out, "packed file", &packed_words(report))?;
        }
        Err(reason) => line(out, "cannot run", reason)?,
    }
    types(report, out)?;
    text_words(report, out)
}

fn line(out: &mut impl Write, name: &str, value: &str) -> Result<()> {
    writeln!(out, "  {name:<14} {value}")?;
    Ok(())
}

fn architecture_words(architecture: &Architecture, out: &mut impl Write) -> Result<()> {
    let spec = &architecture.spec;
    writeln!(out, "\nArchitecture")?;
    line(out, "family", &spec.summary())?;
    for (name, value) in details(spec) {
        line(out, name, &value)?;
    }
    let parameters = &architecture.parameters;
    writeln!(out, "\nParameters")?;
    for (name, number) in parts(parameters) {
        if number > 0 {
            let share = number as f64 / parameters.total() as f64 * 100.0;
            line(out, name, &format!("{:>9}  {share:4.1} %", count(number)))?;
        }
    }
    line(out, "total", &format!("{:>9}", count(parameters.total())))?;
    if parameters.active() != parameters.total() {
        line(out, "per token", &format!("{:>9}", count(parameters.active())))?;
    }
    writeln!(out, "\nMemory when loaded")?;
    match &architecture.memory {
        Ok(plan) => {
            line(out, "weights", &bytes(plan.packed_bytes))?;
            if plan.mapped_bytes > 0 {
                line(
                    out,
                    "mapped",
                    &format!("{}, read row by row from the file", bytes(plan.mapped_bytes)),
                )?;
            }
            if spec.sees_ahead() {
                line(out, "KV cache", "none: nothing is kept of a text")?;
                line(out, "scratch", &bytes(plan.scratch_bytes))?;
                return served(architecture, out);
            }
            line(
                out,
                "KV cache",
                &format!(
                    "{} for each 1k tokens in f16, {} in q8, {} in f32",
                    bytes(plan.kv_bytes_per_1k_tokens_f16),
                    bytes(plan.kv_bytes_per_1k_tokens_q8),
                    bytes(plan.kv_bytes_per_1k_tokens_f32)
                ),
            )?;
            let full = plan.kv_bytes_per_1k_tokens_f16 * spec.context_length as u64 / 1024;
            line(
                out,
                "",
                &format!("{} for the whole context of {} in f16", bytes(full), spec.context_length),
            )?;
            line(out, "scratch", &bytes(plan.scratch_bytes))?;
            line(
                out,
                "while loading",
                &format!("{} beside the weights", bytes(plan.loading_bytes)),
            )?;
        }
        Err(reason) => line(out, "cannot load", reason)?,
    }
    served(architecture, out)
}

fn served(architecture: &Architecture, out: &mut impl Write) -> Result<()> {
    match &architecture.served {
        Some(plan) => line(out, "served", &plan.to_string()),
        None => Ok(()),
    }
}

fn packed_words(report: &Report) -> String {
    let name = &report.name;
    match &report.packed {
        Packed::None => format!("none; `freehold pack {name}` makes starts faster"),
        Packed::Ready(size) => {
            format!("{}, mapped in place of packing: shared and evictable", bytes(*size))
        }
        Packed::Unusable(reason) => format!("not used: {reason}; `freehold pack {name}`"),
    }
}

/// What the summary leaves out.
fn details(spec: &Spec) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(layer) = spec.layers.first() {
        let Mixer::Attention(attention) = &layer.mixer;
        let norm = if attention.qk_norm.is_some() { ", query and key norms" } else { "" };
        let bias = match (attention.qkv_bias, attention.output_bias) {
            (true, true) => ", biases",
            (true, false) => ", query, key and value biases",
            _ => "",
        };
        let mask = if spec.sees_ahead() { "over all of a text" } else { "causal" };
        lines.push(("attention", format!("{mask}, scale {:.6}{norm}{bias}", attention.scale)));
        if spec.embedding.positions.is_some() {
            lines.push(("positions", "a learned vector for each".to_owned()));
        }
        if let Some(rope) = &attention.rope {
            lines.push((
                "positions",
                format!("rotary, base {}, {}", rope.theta, scaling(&rope.scaling)),
            ));
        }
    }
    let head = match spec.head {
        Head::Tied => "the embedding matrix",
        Head::Untied => "a matrix of its own",
        Head::None => "hidden states",
        Head::Classifier { labels: 1 } => "a score",
        Head::Classifier { .. } => "a score for each label",
    };
    lines.push(("output", head.to_owned()));
    let pooling = spec.pooling.map(|pooling| pooling.name().to_owned());
    lines.extend(pooling.map(|pooling| ("pooling", pooling)));
    lines
}

fn scaling(scaling: &RopeScaling) -> String {
    match scaling {
        RopeScaling::None => "not scaled".to_owned(),
        RopeScaling::Linear { factor } => format!("divided by {factor}"),
        RopeScaling::Llama3 { factor, original_context, .. } => {
            format!("long wavelengths divided by {factor} beyond {original_context} positions")
        }
        RopeScaling::Yarn { factor, original_context, .. } => {
            format!("YaRN by {factor} from {original_context} positions")
        }
        RopeScaling::Divisors(divisors) => {
            format!("a divisor for each of {} pairs", divisors.len())
        }
    }
}

fn parts(parameters: &Parameters) -> [(&'static str, u64); 7] {
    [
        ("embedding", parameters.embedding),
        ("attention", parameters.attention),
        ("feed-forward", parameters.ffn),
        ("experts", parameters.experts),
        ("routers", parameters.routers),
        ("norms", parameters.norms),
        ("output", parameters.head),
    ]
}

fn types(report: &Report, out: &mut impl Write) -> Result<()> {
    if report.types.is_empty() {
        writeln!(out, "\nNo tensors: a vocabulary or a configuration alone")?;
        return Ok(());
    }
    writeln!(out, "\nTypes")?;
    for total in &report.types {
        let bits = total.bytes as f64 * 8.0 / total.elements.max(1) as f64;
        line(
            out,
            total.name,
            &format!(
                "{} tensors, {} elements, {}, {bits:.2} bits each",
                total.tensors,
                count(total.elements),
                bytes(total.bytes)
            ),
        )?;
    }
    Ok(())
}

fn text_words(report: &Report, out: &mut impl Write) -> Result<()> {
    writeln!(out, "\nText")?;
    match &report.text.tokenizer {
        Ok(tokenizer) => {
            line(
                out,
                "tokenizer",
                &format!("{}, {} tokens", tokenizer.kind, tokenizer.vocab_size),
            )?;
            if let Some(begin) = &tokenizer.begin {
                line(out, "begins with", begin)?;
            }
            line(out, "ends with", &tokenizer.ends.join(" "))?;
        }
        Err(reason) => line(out, "tokenizer", reason)?,
    }
    let template = match &report.text.template {
        Ok(template) => format!(
            "{} characters{}",
            template.characters,
            if template.knows_tools { ", knows tools" } else { "" }
        ),
        Err(reason) => reason.clone(),
    };
    line(out, "template", &template)
}

/// Every tensor in a table, in the order of the file.
pub(super) fn tensors(checkpoint: &Checkpoint, out: &mut impl Write) -> Result<()> {
    let mut table = Table::new(&["tensor", "type", "shape", "bytes"]);
    for tensor in checkpoint.tensors() {
        table.row([&tensor.name, &tensor.dtype.name(), &shape(&tensor.shape), &tensor.data.len()]);
    }
    table.write(out)?;
    Ok(())
}

pub(super) fn tensor_json(tensor: &Tensor) -> Value {
    json!({"name": tensor.name, "type": tensor.dtype.name(), "shape": tensor.shape, "bytes": tensor.data.len()})
}

/// The report as one object.
pub(super) fn json(report: &Report) -> Value {
    let facts = &report.facts;
    let types: Vec<Value> = report
        .types
        .iter()
        .map(|t| json!({"type": t.name, "tensors": t.tensors, "elements": t.elements, "bytes": t.bytes}))
        .collect();
    json!({
        "model": report.name,
        "path": report.path,
        "format": facts.format,
        "files": facts.files,
        "file_bytes": facts.file_bytes,
        "title": facts.title,
        "licence": facts.licence,
        "quantization": facts.quantization,
        "types": types,
        "architecture": report.architecture.as_ref().ok().map(architecture_json),
        "parameters": report.architecture.as_ref().ok().map(|a| parameters_json(&a.parameters)),
        "memory": report.architecture.as_ref().ok().and_then(|a| a.memory.as_ref().ok()).map(memory_json),
        "packed_bytes": match report.packed {
            Packed::Ready(size) => json!(size),
            Packed::None => json!(0),
            Packed::Unusable(_) => Value::Null,
        },
        "cannot_run": cannot_run(report),
        "tokenizer": report.text.tokenizer.as_ref().ok().map(|t| json!({
            "kind": t.kind, "tokens": t.vocab_size, "begin": t.begin, "ends": t.ends})),
        "template": report.text.template.as_ref().ok().map(|t| json!({
            "characters": t.characters, "knows_tools": t.knows_tools})),
    })
}

fn cannot_run(report: &Report) -> Option<&str> {
    match &report.architecture {
        Err(reason) => Some(reason),
        Ok(architecture) => architecture.memory.as_ref().err().map(String::as_str),
    }
}

fn architecture_json(architecture: &Architecture) -> Value {
    let spec = &architecture.spec;
    let attention = spec.layers.first().map(|layer| {
        let Mixer::Attention(attention) = &layer.mixer;
        attention
    });
    let moe = spec.layers.iter().find_map(|layer| match &layer.ffn {
        Ffn::Moe(moe) => Some(json!({
            "experts": moe.experts, "experts_per_token": moe.experts_per_token, "width": moe.width})),
        Ffn::Dense(_) => None,
    });
    json!({
        "family": spec.family.name(),
        "layers": spec.layers.len(),
        "hidden_size": spec.hidden_size,
        "vocab_size": spec.vocab_size,
        "context_length": spec.context_length,
        "heads": attention.map(|a| a.heads),
        "kv_heads": attention.map(|a| a.kv_heads),
        "head_dim": attention.map(|a| a.head_dim),
        "tied_output": spec.head == Head::Tied,
        "output": match spec.head {
            Head::Tied | Head::Untied => "logits",
            Head::None => "hidden_states",
            Head::Classifier { .. } => "scores",
        },
        "pooling": spec.pooling.map(Pooling::name),
        "experts": moe,
    })
}

fn parameters_json(parameters: &Parameters) -> Value {
    let mut object: serde_json::Map<String, Value> = parts(parameters)
        .iter()
        .map(|(name, number)| (name.replace('-', "_"), json!(number)))
        .collect();
    object.insert("total".to_owned(), json!(parameters.total()));
    object.insert("active".to_owned(), json!(parameters.active()));
    Value::Object(object)
}

fn memory_json(plan: &model::MemoryPlan) -> Value {
    json!({
        "weights_bytes": plan.packed_bytes,
        "mapped_bytes": plan.mapped_bytes,
        "kv_bytes_per_1k_tokens": {
            "f16": plan.kv_bytes_per_1k_tokens_f16, "f32": plan.kv_bytes_per_1k_tokens_f32,
            "q8": plan.kv_bytes_per_1k_tokens_q8},
        "scratch_bytes": plan.scratch_bytes,
        "loading_bytes": plan.loading_bytes,
    })
}
