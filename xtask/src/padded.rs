//! `cargo xtask padded-model`: a model of the `llama` architecture, widened with zeros to a hidden
//! size that every block format divides, and quantized.
//!
//! SmolLM2's hidden size of 576 has no super-blocks of 256; at 768 every format can be tested on a
//! real model. It stays the same function: the new channels are zero in, zero out; new heads are
//! whole, so rope and grouping do not change; the mean of squares over the larger width is smaller
//! by n/m, which norm weights × √(n/m) and epsilon × n/m undo.

use crate::mix::Mix;
use anyhow::{Context as _, Result, bail};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use weights::{DType, Gguf, GgufWriter, Tensor, quantize};

/// All block formats divide a multiple of this.
const SUPER_BLOCK: usize = 256;
/// Values that one thread encodes at a time.
const ENCODE_RUN: usize = 1 << 20;

const USAGE: &str = "padded-model IN.gguf OUT.gguf [--type Q4_K_M]";

pub(crate) fn run(args: &[String]) -> Result<()> {
    let (input, output, mix) = parse(args)?;
    write_padded(&input, &output, &mix)?;
    println!("{}: {} MiB, {}", output.display(), std::fs::metadata(&output)?.len() >> 20, mix.name);
    Ok(())
}

fn parse(args: &[String]) -> Result<(PathBuf, PathBuf, Mix)> {
    let (mut paths, mut mix) = (Vec::new(), Mix::from_name("Q4_K_M")?);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--type" => mix = Mix::from_name(args.next().context("--type needs a value")?)?,
            path if !path.starts_with('-') => paths.push(PathBuf::from(path)),
            other => bail!("unexpected `{other}`; usage: {USAGE}"),
        }
    }
    let [input, output] = <[PathBuf; 2]>::try_from(paths).map_err(|paths| {
        anyhow::anyhow!("two files expected, found {}; usage: {USAGE}", paths.len())
    })?;
    Ok((input, output, mix))
}

/// Widths before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Widths {
    hidden: (usize, usize),
    heads: (usize, usize),
    kv_heads: (usize, usize),
    head_dim: usize,
    layers: usize,
}

/// Reads `input`, widens it and writes `output` in the types of `mix`.
pub(crate) fn write_padded(input: &Path, output: &Path, mix: &Mix) -> Result<()> {
    let file = Gguf::open(input)?;
    let widths = Widths::read(&file).with_context(|| format!("cannot pad {}", input.display()))?;
    let mut out = GgufWriter::new();
    out.set_all(file.metadata());
    set_metadata(&mut out, &file, &widths, mix)?;
    for tensor in file.tensors() {
        let shape = widths.shape_of(tensor)?;
        let dtype = mix.dtype(&tensor.name, shape.len(), widths.layers);
        let padded = shape.clone();
        out.tensor(&tensor.name, dtype, &shape, move |to| {
            let values = padded_values(tensor, &padded, &widths).map_err(io::Error::other)?;
            write_encoded(to, dtype, &values)
        });
    }
    Ok(out.write(output)?)
}

impl Widths {
    fn read(file: &Gguf) -> Result<Widths> {
        let metadata = file.metadata();
        let architecture = metadata.need("general.architecture", |m, key| m.str(key))?;
        if architecture != "llama" {
            bail!("expected the architecture llama, found {architecture}");
        }
        let number = |key: &str| -> Result<usize> {
            let value = metadata.need(&format!("llama.{key}"), |m, key| m.u64(key))?;
            Ok(usize::try_from(value)?)
        };
        let (hidden, heads) = (number("embedding_length")?, number("attention.head_count")?);
        let (kv_heads, layers) = (number("attention.head_count_kv")?, number("block_count")?);
        if heads == 0 || kv_heads == 0 || hidden == 0 || !hidden.is_multiple_of(heads) {
            bail!("{hidden} channels are not a whole number of {heads} heads");
        }
        let head_dim = hidden / heads;
        let wide = hidden.next_multiple_of(SUPER_BLOCK);
        let widen = |n: usize| {
            let whole = (n * wide).is_multiple_of(hidden);
            whole.then_some((n, n * wide / hidden)).with_context(|| {
                format!("{n} heads cannot grow from {hidden} to {wide} channels in whole heads")
            })
        };
        let (heads, kv_heads) = (widen(heads)?, widen(kv_heads)?);
        Ok(Widths { hidden: (hidden, wide), heads, kv_heads, head_dim, layers })
    }

    /// The factor n/m by which the mean of squares shrinks.
    fn shrink(&self) -> f64 {
        self.hidden.0 as f64 / self.hidden.1 as f64
    }

    /// The padded shape of a tensor.
    fn shape_of(&self, tensor: &Tensor) -> Result<Vec<usize>> {
        let (hidden, wide) = self.hidden;
        let q = (self.heads.0 * self.head_dim, self.heads.1 * self.head_dim);
        let kv = (self.kv_heads.0 * self.head_dim, self.kv_heads.1 * self.head_dim);
        let part = tensor.name.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
        let part = part.map_or(tensor.name.as_str(), |(_, part)| part);
        let free = tensor.shape[0];
        let free = (free, free);
        let ffn = tensor.cols();
        let sizes: &[(usize, usize)] = match part {
            "attn_norm.weight" | "ffn_norm.weight" | "output_norm.weight" => &[self.hidden],
            "attn_q.weight" => &[q, self.hidden],
            "attn_k.weight" | "attn_v.weight" => &[kv, self.hidden],
            "attn_output.weight" => &[self.hidden, q],
            "ffn_down.weight" => &[self.hidden, (ffn, ffn)],
            "token_embd.weight" | "output.weight" | "ffn_gate.weight" | "ffn_up.weight" => {
                &[free, self.hidden]
            }
            _ => bail!("no rule says how {} grows from {hidden} to {wide} channels", tensor.name),
        };
        let before: Vec<usize> = sizes.iter().map(|size| size.0).collect();
        if before != tensor.shape {
            bail!("{}: expected the shape {before:?}, found {:?}", tensor.name, tensor.shape);
        }
        Ok(sizes.iter().map(|size| size.1).collect())
    }
}

fn set_metadata(out: &mut GgufWriter<'_>, file: &Gguf, widths: &Widths, mix: &Mix) -> Result<()> {
    let size = |n: usize| u32::try_from(n).context("sizes fit 32 bits");
    let key = "llama.attention.layer_norm_rms_epsilon";
    let epsilon = file.metadata().need(key, |m, key| m.f32(key))?;
    out.set(key, (f64::from(epsilon) * widths.shrink()) as f32);
    out.set("llama.embedding_length", size(widths.hidden.1)?);
    out.set("llama.attention.head_count", size(widths.heads.1)?);
    out.set("llama.attention.head_count_kv", size(widths.kv_heads.1)?);
    out.set("general.file_type", mix.file_type);
    out.set("general.quantization_version", 2u32);
    Ok(())
}

/// The tensor's values in its new shape, zeros where it has grown; norm weights are scaled.
fn padded_values(tensor: &Tensor, shape: &[usize], widths: &Widths) -> Result<Vec<f32>> {
    let mut values = tensor.to_f32()?;
    if let [width] = *shape {
        let scale = widths.shrink().sqrt();
        values.iter_mut().for_each(|v| *v = (f64::from(*v) * scale) as f32);
        values.resize(width, 0.0);
        return Ok(values);
    }
    let [rows, cols] = *shape else { bail!("{}: expected a matrix", tensor.name) };
    let mut padded = vec![0.0; rows * cols];
    for (to, from) in padded.chunks_exact_mut(cols).zip(values.chunks_exact(tensor.cols())) {
        to[..from.len()].copy_from_slice(from);
    }
    Ok(padded)
}

/// Encodes on every core: the better formats search for their scales.
fn write_encoded(to: &mut dyn Write, dtype: DType, values: &[f32]) -> io::Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let runs: Vec<&[f32]> = values.chunks(ENCODE_RUN).collect();
    for batch in runs.chunks(threads) {
        let encoded = std::thread::scope(|scope| {
            let workers: Vec<_> =
                batch.iter().map(|run| scope.spawn(|| quantize(dtype, run))).collect();
            let results = workers.into_iter().map(|worker| worker.join());
            results.collect::<std::thread::Result<Vec<_>>>()
        });
        for bytes in encoded.map_err(|_| io::Error::other("the encoder panicked"))? {
            to.write_all(&bytes.map_err(io::Error::other)?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One layer of 192 channels in three heads over one KV head: it grows to 256 and needs 4/3 of a KV head.
    fn file(kv_heads: u32) -> GgufWriter<'static> {
        let mut file = GgufWriter::new();
        file.set("general.architecture", "llama");
        file.set("llama.embedding_length", 192u32);
        file.set("llama.block_count", 1u32);
        file.set("llama.attention.head_count", 3u32);
        file.set("llama.attention.head_count_kv", kv_heads);
        file.set("llama.attention.layer_norm_rms_epsilon", 1e-5f32);
        file.tensor_f32("output_norm.weight", DType::F32, &[192], vec![2.0; 192]);
        let values: Vec<f32> = (0..192 * 192).map(|i| i as f32).collect();
        file.tensor_f32("blk.0.attn_q.weight", DType::F32, &[192, 192], values);
        file
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("padded-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    #[test]
    fn rows_columns_and_norms_grow() {
        let folder = folder("grow");
        let (input, output) = (folder.join("in.gguf"), folder.join("out.gguf"));
        file(3).write(&input).expect("written");
        write_padded(&input, &output, &Mix::from_name("F32").expect("known")).expect("padded");
        let padded = Gguf::open(&output).expect("opens");
        let q = padded.tensor("blk.0.attn_q.weight").expect("there");
        assert_eq!(q.shape, [256, 256]);
        let values = q.to_f32().expect("floats");
        assert_eq!(values[256 + 5], 192.0 + 5.0);
        assert_eq!(values[192..256], [0.0; 64]);
        assert!(values[192 * 256..].iter().all(|&v| v == 0.0));
        let norm =
            padded.tensor("output_norm.weight").and_then(|t| t.to_f32().ok()).expect("floats");
        assert_eq!((norm[191], norm[192]), (2.0 * 0.75f32.sqrt(), 0.0));
        let key = "llama.attention.layer_norm_rms_epsilon";
        assert_eq!(padded.metadata().f32(key).expect("a float"), Some(0.75e-5));
        assert_eq!(padded.metadata().u64("llama.attention.head_count").expect("a number"), Some(4));
        std::fs::remove_dir_all(&folder).expect("removed");
    }

    #[test]
    fn what_cannot_grow_is_refused() {
        let folder = folder("refuse");
        let (input, output) = (folder.join("in.gguf"), folder.join("out.gguf"));
        file(1).write(&input).expect("written");
        let mix = Mix::from_name("F32").expect("known");
        let error = write_padded(&input, &output, &mix).expect_err("a third of a head");
        assert!(format!("{error:#}").contains("1 heads cannot grow from 192 to 256"), "{error:#}");
        assert!(!output.exists());
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
