//! `cargo xtask random-model`: a GGUF file of random weights at a real model's shape.
//!
//! Speed depends on shapes and types, not on values, so such a file is a fair one to measure with.
//! It is complete: other programs that read GGUF load it, too.

mod shape;
mod vocabulary;

use crate::mix::Mix;
use anyhow::{Context as _, Result, bail};
pub(crate) use shape::Shape;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use weights::{DType, GgufWriter, quantize};

/// The standard deviation of the weights: about 1/√1024, so that activations keep their size.
const DEVIATION: f32 = 0.03;
/// Values encoded once a type; every tensor is made of blocks drawn from these.
const POOL_VALUES: usize = 1 << 18;

const USAGE: &str = "random-model OUT.gguf [--shape qwen3-0.6b|qwen3-30b-a3b] [--type Q4_K_M] [--layers N]\n       or, with --adapter RANK [--type F32|BF16], a LoRA adapter of every linear layer";

struct Options {
    out: PathBuf,
    shape: Shape,
    /// The name of a mixture, or of an adapter's type.
    dtype: String,
    /// The rank of an adapter that is asked for in place of a model.
    adapter: Option<usize>,
}

pub(crate) fn run(args: &[String]) -> Result<()> {
    let options = parse(args)?;
    match options.adapter {
        Some(rank) => {
            let dtype = DType::from_name(&options.dtype).context("no type of an adapter")?;
            let shape = &options.shape;
            write_adapter(&options.out, shape.architecture(), shape.tensors(), rank, dtype)?;
        }
        None => write(&options.out, &options.shape, &Mix::from_name(&options.dtype)?)?,
    }
    let bytes = std::fs::metadata(&options.out)?.len();
    println!("{}: {} MiB, {}", options.out.display(), bytes >> 20, options.dtype);
    Ok(())
}

/// A LoRA adapter of every linear layer of a dense model with these tensors.
pub(crate) fn write_adapter(
    out: &Path,
    architecture: &str,
    tensors: Vec<(String, Vec<usize>)>,
    rank: usize,
    dtype: DType,
) -> Result<()> {
    let mut file = GgufWriter::new();
    file.set("general.architecture", architecture);
    file.set("general.type", "adapter");
    file.set("adapter.type", "lora");
    file.set("adapter.lora.alpha", 2.0 * rank as f32);
    for (name, sizes) in tensors {
        let [outputs, inputs] = sizes[..] else { continue };
        if !name.starts_with("blk.") || name.contains("_inp.") {
            continue;
        }
        let mut random = Random { state: seed_of(&name) };
        let mut values = |len| (0..len).map(|_| random.normal() * DEVIATION).collect::<Vec<f32>>();
        let (a, b) = (values(rank * inputs), values(outputs * rank));
        file.tensor_f32(format!("{name}.lora_a"), dtype, &[rank, inputs], a);
        file.tensor_f32(format!("{name}.lora_b"), dtype, &[outputs, rank], b);
    }
    Ok(file.write(out)?)
}

/// The file of this shape and mixture in `folder`, made where it is not there yet.
pub(crate) fn kept(folder: &Path, shape: &Shape, mix: &Mix) -> Result<PathBuf> {
    let path = folder.join(format!("{}-random-{}.gguf", shape.title(), mix.name));
    if !path.exists() {
        eprintln!("making {}", path.display());
        // Under another name first: what was interrupted is not taken for a model.
        let unfinished = path.with_extension("unfinished");
        write(&unfinished, shape, mix)?;
        std::fs::rename(&unfinished, &path)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(path)
}

fn write(out: &Path, shape: &Shape, mix: &Mix) -> Result<()> {
    let mut file = GgufWriter::new();
    shape.set_metadata(&mut file)?;
    file.set("general.file_type", mix.file_type);
    file.set("general.quantization_version", 2u32);
    vocabulary::set(&mut file);
    let mut pools = Pools::default();
    for (name, sizes) in shape.tensors() {
        let dtype = mix.dtype(&name, sizes.len(), shape.layers);
        if let [len] = sizes[..] {
            file.tensor_f32(name, dtype, &sizes, vec![1.0; len]);
            continue;
        }
        let (cols, outer) = sizes.split_last().context("every tensor has a dimension")?;
        let rows: usize = outer.iter().product();
        let pool = pools.of(dtype)?;
        let bytes = dtype.row_bytes(*cols).context("every row is a multiple of 256")? * rows;
        let seed = seed_of(&name);
        file.tensor(name, dtype, &sizes, move |out| draw_blocks(out, &pool, bytes, seed));
    }
    Ok(file.write(out)?)
}

fn parse(args: &[String]) -> Result<Options> {
    let (mut out, mut dtype, mut layers, mut adapter) = (None, None, None, None);
    let mut shape = Shape::QWEN3_0_6B;
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--shape" => shape = Shape::from_name(value()?)?,
            "--type" => dtype = Some(value()?.clone()),
            "--adapter" => {
                let text = value()?;
                let rank = text.parse().ok().filter(|rank| (1..=1024usize).contains(rank));
                adapter = Some(rank.with_context(|| format!("`{text}` is no rank of 1 to 1024"))?);
            }
            "--layers" => {
                let text = value()?;
                let number: usize =
                    text.parse().with_context(|| format!("`{text}` is no number of layers"))?;
                layers = Some(number);
            }
            path if !path.starts_with('-') && out.is_none() => out = Some(PathBuf::from(path)),
            other => bail!("unexpected `{other}`; usage: {USAGE}"),
        }
    }
    let shape = shape.with_layers(layers.unwrap_or(shape.layers))?;
    let out = out.with_context(|| format!("no output file; usage: {USAGE}"))?;
    let usual = if adapter.is_some() { "F32" } else { "Q4_K_M" };
    let dtype = dtype.unwrap_or_else(|| usual.to_owned());
    Ok(Options { out, shape, dtype, adapter })
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
        assert_eq!((down.dtype, &down.shape[..]), (DType::Q6_K, &[1024, 3072][..]));
        let mut row = vec![0.0; 3072];
        down.dequantize_row(1023, &mut row).expect("decodes");
        assert!(row.iter().all(|v| v.is_finite() && v.abs() < 0.3));
        assert!(row.iter().any(|v| *v != row[0]));
        let adapter = folder.join("a.gguf");
        let args = [adapter.display().to_string(), "--layers".into(), "1".into()];
        run(&[&args[..], &["--adapter".to_owned(), "5".to_owned()]].concat()).expect("written");
        let adapter = weights::Adapter::open(&adapter).expect("an adapter");
        assert_eq!((adapter.pairs().len(), adapter.pairs()[0].rank()), (7, 5));
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
