//! `cargo xtask random-model`: a GGUF file of random weights at a real model's shape.
//!
//! Speed depends on shapes and types, not on values, so such a file is a fair one to measure with.
//! It is complete: other programs that read GGUF load it, too.

mod vocabulary;

use crate::mix::Mix;
use anyhow::{Context as _, Result, bail};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use weights::{DType, GgufWriter, quantize};

/// The standard deviation of the weights: about 1/√1024, so that activations keep their size.
const DEVIATION: f32 = 0.03;
/// Values encoded once a type; every tensor is made of blocks drawn from these.
const POOL_VALUES: usize = 1 << 18;

/// Qwen3-0.6B as published.
const HIDDEN: usize = 1024;
const LAYERS: usize = 28;
const HEADS: usize = 16;
const KV_HEADS: usize = 8;
const HEAD_DIM: usize = 128;
const FFN: usize = 3072;
const CONTEXT: u32 = 40_960;

const USAGE: &str = "random-model OUT.gguf [--type Q4_K_M] [--layers 28]";

struct Options {
    out: PathBuf,
    mix: Mix,
    layers: usize,
}

pub(crate) fn run(args: &[String]) -> Result<()> {
    let options = parse(args)?;
    write(&options.out, &options.mix, options.layers)?;
    let bytes = std::fs::metadata(&options.out)?.len();
    println!("{}: {} MiB, {}", options.out.display(), bytes >> 20, options.mix.name);
    Ok(())
}

/// All the layers of the published model in `folder`, made where they are not there yet.
pub(crate) fn kept(folder: &Path, mix: &Mix) -> Result<PathBuf> {
    let path = folder.join(format!("qwen3-0.6b-random-{}.gguf", mix.name));
    if !path.exists() {
        eprintln!("making {}", path.display());
        // Under another name first: what was interrupted is not taken for a model.
        let unfinished = path.with_extension("unfinished");
        write(&unfinished, mix, LAYERS)?;
        std::fs::rename(&unfinished, &path)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(path)
}

fn write(out: &Path, mix: &Mix, layers: usize) -> Result<()> {
    let mut file = GgufWriter::new();
    set_metadata(&mut file, mix, layers)?;
    let mut pools = Pools::default();
    for (name, shape) in tensors(layers) {
        let dtype = mix.dtype(&name, shape.len(), layers);
        if shape.len() == 1 {
            file.tensor_f32(name, dtype, &shape, vec![1.0; shape[0]]);
            continue;
        }
        let pool = pools.of(dtype)?;
        let rows: usize = shape[0];
        let bytes = dtype.row_bytes(shape[1]).context("every row is a multiple of 256")? * rows;
        let seed = seed_of(&name);
        file.tensor(name, dtype, &shape, move |out| draw_blocks(out, &pool, bytes, seed));
    }
    Ok(file.write(out)?)
}

fn parse(args: &[String]) -> Result<Options> {
    let (mut out, mut mix, mut layers) = (None, Mix::from_name("Q4_K_M")?, LAYERS);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--type" => mix = Mix::from_name(value()?)?,
            "--layers" => {
                let text = value()?;
                layers =
                    text.parse().with_context(|| format!("`{text}` is no number of layers"))?;
            }
            path if !path.starts_with('-') && out.is_none() => out = Some(PathBuf::from(path)),
            other => bail!("unexpected `{other}`; usage: {USAGE}"),
        }
    }
    if !(1..=LAYERS).contains(&layers) {
        bail!("expected 1 to {LAYERS} layers, found {layers}");
    }
    let out = out.with_context(|| format!("no output file; usage: {USAGE}"))?;
    Ok(Options { out, mix, layers })
}

fn set_metadata(file: &mut GgufWriter<'_>, mix: &Mix, layers: usize) -> Result<()> {
    let size = |n: usize| u32::try_from(n).context("sizes fit 32 bits");
    file.set("general.architecture", "qwen3");
    file.set("general.name", "random weights at the shape of Qwen3-0.6B");
    file.set("general.file_type", mix.file_type);
    file.set("general.quantization_version", 2u32);
    file.set("qwen3.context_length", CONTEXT);
    file.set("qwen3.embedding_length", size(HIDDEN)?);
    file.set("qwen3.block_count", size(layers)?);
    file.set("qwen3.feed_forward_length", size(FFN)?);
    file.set("qwen3.attention.head_count", size(HEADS)?);
    file.set("qwen3.attention.head_count_kv", size(KV_HEADS)?);
    file.set("qwen3.attention.key_length", size(HEAD_DIM)?);
    file.set("qwen3.attention.value_length", size(HEAD_DIM)?);
    file.set("qwen3.attention.layer_norm_rms_epsilon", 1e-6f32);
    file.set("qwen3.rope.freq_base", 1e6f32);
    vocabulary::set(file);
    Ok(())
}

/// Every tensor with its shape, outermost dimension first. The head is tied to the embedding.
fn tensors(layers: usize) -> Vec<(String, Vec<usize>)> {
    let (q, kv) = (HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM);
    let layer: [(&str, Vec<usize>); 11] = [
        ("attn_norm", vec![HIDDEN]),
        ("attn_q", vec![q, HIDDEN]),
        ("attn_k", vec![kv, HIDDEN]),
        ("attn_v", vec![kv, HIDDEN]),
        ("attn_q_norm", vec![HEAD_DIM]),
        ("attn_k_norm", vec![HEAD_DIM]),
        ("attn_output", vec![HIDDEN, q]),
        ("ffn_norm", vec![HIDDEN]),
        ("ffn_gate", vec![FFN, HIDDEN]),
        ("ffn_up", vec![FFN, HIDDEN]),
        ("ffn_down", vec![HIDDEN, FFN]),
    ];
    let mut all = vec![
        ("token_embd.weight".to_owned(), vec![vocabulary::SIZE, HIDDEN]),
        ("output_norm.weight".to_owned(), vec![HIDDEN]),
    ];
    for index in 0..layers {
        let named = layer.iter().map(|(n, s)| (format!("blk.{index}.{n}.weight"), s.clone()));
        all.extend(named);
    }
    all
}

/// Encoded blocks of random values, made once a type.
#[derive(Default)]
struct Pools {
    made: Vec<(DType, Pool)>,
}

#[derive(Clone)]
struct Pool {
    blocks: std::rc::Rc<[u8]>,
    block_bytes: usize,
}

impl Pools {
    fn of(&mut self, dtype: DType) -> Result<Pool> {
        if let Some((_, pool)) = self.made.iter().find(|(made, _)| *made == dtype) {
            return Ok(pool.clone());
        }
        let mut random = Random { state: 1 };
        let values: Vec<f32> = (0..POOL_VALUES).map(|_| random.normal() * DEVIATION).collect();
        // Of single values a whole run of 256 is drawn at a time, as of a block.
        let per_block = 256 / dtype.block_len();
        let block_bytes = dtype.block_bytes() * per_block;
        let pool = Pool { blocks: quantize(dtype, &values)?.into(), block_bytes };
        self.made.push((dtype, pool.clone()));
        Ok(pool)
    }
}

/// Writes `bytes` bytes of blocks drawn at random, the same ones for the same seed.
fn draw_blocks(out: &mut dyn Write, pool: &Pool, bytes: usize, seed: u64) -> io::Result<()> {
    let mut random = Random { state: seed };
    let blocks = (pool.blocks.len() / pool.block_bytes) as u64;
    for _ in 0..bytes / pool.block_bytes {
        let at = (random.next() % blocks) as usize * pool.block_bytes;
        out.write_all(&pool.blocks[at..at + pool.block_bytes])?;
    }
    Ok(())
}

/// FNV-1a over the tensor's name.
fn seed_of(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// SplitMix64.
struct Random {
    state: u64,
}

impl Random {
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// About normal, deviation 1: the sum of four uniform values of 16 bits, centred and scaled.
    fn normal(&mut self) -> f32 {
        let bits = self.next();
        let sum: u64 = (0..4).map(|part| (bits >> (16 * part)) & 0xffff).sum();
        // Four uniforms on [0, 1) have the mean 2 and the variance 4/12.
        (sum as f32 / 65_536.0 - 2.0) * 3.0f32.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_stated_deviation() {
        let mut random = Random { state: 7 };
        let values: Vec<f32> = (0..100_000).map(|_| random.normal()).collect();
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        let square = values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32;
        assert!(mean.abs() < 0.02 && (square - 1.0).abs() < 0.02, "mean {mean}, square {square}");
    }

    #[test]
    fn one_layer_makes_a_file_that_opens() {
        let folder = std::env::temp_dir().join(format!("random-model-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("m.gguf");
        let args = [path.display().to_string(), "--layers".into(), "1".into(), "--type".into()];
        run(&[&args[..], &["Q4_K_M".to_owned()]].concat()).expect("written");
        let file = weights::Gguf::open(&path).expect("opens");
        let down = file.tensor("blk.0.ffn_down.weight").expect("there");
        assert_eq!((down.dtype, &down.shape[..]), (DType::Q6_K, &[HIDDEN, FFN][..]));
        let mut row = vec![0.0; FFN];
        down.dequantize_row(HIDDEN - 1, &mut row).expect("decodes");
        assert!(row.iter().all(|v| v.is_finite() && v.abs() < 0.3));
        assert!(row.iter().any(|v| *v != row[0]));
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
