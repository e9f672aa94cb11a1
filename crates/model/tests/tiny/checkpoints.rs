//! Tiny random checkpoints as GGUF, with block types of one's choice.

use std::sync::Arc;

use kernels::Pool;
use model::{BLOCK_TOKENS, Batch, Chunk, KvCache, LoadOptions, LogitRows, Model, Scratch};
use weights::{Checkpoint, DType, GgufWriter, Value};

/// The shape of a tiny model. Widths are multiples of 256 where K-quants are used.
#[derive(Clone)]
pub(crate) struct Tiny {
    pub(crate) arch: &'static str,
    pub(crate) vocab: usize,
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) width: usize,
    /// Number of experts and how many a token uses; (0, 0) for a dense model.
    pub(crate) experts: (usize, usize),
    pub(crate) context: usize,
    pub(crate) tied: bool,
    /// Types of the matrices, taken in turn.
    pub(crate) types: Vec<DType>,
}

impl Tiny {
    pub(crate) fn llama() -> Tiny {
        Tiny {
            arch: "llama",
            vocab: 300,
            hidden: 256,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            head_dim: 64,
            width: 512,
            experts: (0, 0),
            context: 8192,
            tied: true,
            types: vec![DType::Q4_0, DType::Q8_0, DType::Q4_K, DType::Q6_K, DType::Q4_1],
        }
    }

    pub(crate) fn qwen3() -> Tiny {
        Tiny { arch: "qwen3", tied: false, types: vec![DType::Q5_K, DType::Q3_K], ..Tiny::llama() }
    }

    pub(crate) fn qwen3_moe() -> Tiny {
        Tiny { arch: "qwen3moe", width: 256, experts: (8, 3), ..Tiny::qwen3() }
    }

    /// Every tensor: name, shape, whether it is a matrix of weights.
    pub(crate) fn tensors(&self) -> Vec<(String, Vec<usize>, bool)> {
        let (hidden, width) = (self.hidden, self.width);
        let (queries, keys) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let mut all = vec![("token_embd.weight".to_owned(), vec![self.vocab, hidden], true)];
        if !self.tied {
            all.push(("output.weight".to_owned(), vec![self.vocab, hidden], true));
        }
        all.push(("output_norm.weight".to_owned(), vec![hidden], false));
        for layer in 0..self.layers {
            let mut add = |name: &str, shape: Vec<usize>, is_matrix: bool| {
                all.push((format!("blk.{layer}.{name}.weight"), shape, is_matrix));
            };
            add("attn_norm", vec![hidden], false);
            add("attn_q", vec![queries, hidden], true);
            add("attn_k", vec![keys, hidden], true);
            add("attn_v", vec![keys, hidden], true);
            add("attn_output", vec![hidden, queries], true);
            add("ffn_norm", vec![hidden], false);
            if self.arch != "llama" {
                add("attn_q_norm", vec![self.head_dim], false);
                add("attn_k_norm", vec![self.head_dim], false);
            }
            match self.experts.0 {
                0 => {
                    add("ffn_gate", vec![width, hidden], true);
                    add("ffn_up", vec![width, hidden], true);
                    add("ffn_down", vec![hidden, width], true);
                }
                experts => {
                    add("ffn_gate_inp", vec![experts, hidden], false);
                    add("ffn_gate_exps", vec![experts, width, hidden], true);
                    add("ffn_up_exps", vec![experts, width, hidden], true);
                    add("ffn_down_exps", vec![experts, hidden, width], true);
                }
            }
        }
        all
    }

    pub(crate) fn metadata(&self) -> Vec<(String, Value)> {
        let key = |name: &str| format!("{}.{name}", self.arch);
        let size = |name: &str, value: usize| (key(name), Value::U32(value as u32));
        let mut metadata = vec![
            ("general.architecture".to_owned(), Value::String(self.arch.into())),
            size("block_count", self.layers),
            size("context_length", self.context),
            size("embedding_length", self.hidden),
            size("feed_forward_length", self.width),
            size("attention.head_count", self.heads),
            size("attention.head_count_kv", self.kv_heads),
            size("attention.key_length", self.head_dim),
            size("attention.value_length", self.head_dim),
            (key("attention.layer_norm_rms_epsilon"), Value::F32(1e-5)),
            (key("rope.freq_base"), Value::F32(10_000.0)),
        ];
        if self.experts.0 > 0 {
            metadata.push(size("expert_count", self.experts.0));
            metadata.push(size("expert_used_count", self.experts.1));
            metadata.push(size("expert_feed_forward_length", self.width));
        }
        metadata
    }

    /// Random weights at these shapes.
    pub(crate) fn checkpoint(&self) -> Checkpoint {
        let mut random = Random(7);
        let mut matrices = 0;
        let tensors = self.tensors().into_iter().map(|(name, shape, is_matrix)| {
            let len: usize = shape.iter().product();
            let fan_in = *shape.last().expect("a dimension") as f32;
            let (dtype, scale, centre) = if is_matrix {
                matrices += 1;
                (self.types[matrices % self.types.len()], 2.0 / fan_in.sqrt(), 0.0)
            } else {
                (DType::F32, 0.5, 1.0)
            };
            let values = (0..len).map(|_| centre + scale * random.signed()).collect();
            (name, dtype, shape, values)
        });
        write(&self.metadata(), tensors.collect())
    }

    pub(crate) fn load(&self, threads: usize, options: &LoadOptions) -> Model {
        Model::load(&self.checkpoint(), Arc::new(Pool::new(threads)), options).expect("loads")
    }
}

pub(crate) type Named = (String, DType, Vec<usize>, Vec<f32>);

/// Writes a GGUF file and opens it; the file is gone when the checkpoint is dropped.
pub(crate) fn write(metadata: &[(String, Value)], tensors: Vec<Named>) -> Checkpoint {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("tiny.gguf");
    let mut file = GgufWriter::new();
    for (key, value) in metadata {
        file.set(key, value.clone());
    }
    for (name, dtype, shape, values) in tensors {
        file.tensor_f32(name, dtype, &shape, values);
    }
    file.write(&path).expect("written");
    Checkpoint::open(&path).expect("opens")
}

/// SplitMix64 (Steele et al., 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound as u64) as usize
    }

    /// Uniform between -1 and 1.
    pub(crate) fn signed(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub(crate) fn tokens(&mut self, len: usize, vocab: usize) -> Vec<u32> {
        (0..len).map(|_| self.below(vocab) as u32).collect()
    }
}

/// Block tables that share out `cache` in order: sequence `i` of `lens.len()`.
pub(crate) fn tables(lens: &[usize]) -> Vec<Vec<u32>> {
    let mut next = 0;
    let table = |len: &usize| {
        let first = next;
        next += len.div_ceil(BLOCK_TOKENS) as u32;
        (first..next).collect()
    };
    lens.iter().map(table).collect()
}

/// Logits of every position of one sequence, fed in the given chunks.
pub(crate) fn logits_in_chunks(
    model: &Model,
    cache: &mut KvCache,
    tokens: &[u32],
    blocks: &[u32],
    mut chunk: impl FnMut(usize) -> usize,
) -> Vec<f32> {
    let mut scratch = Scratch::new();
    let (mut all, mut logits, mut position) = (Vec::new(), Vec::new(), 0);
    while position < tokens.len() {
        let end = (position + chunk(position).max(1)).min(tokens.len());
        let tokens = &tokens[position..end];
        let chunk = Chunk { tokens, position, blocks, logits: LogitRows::All, adapter: None };
        let batch = Batch { chunks: &[chunk] };
        model.forward(cache, &mut scratch, &batch, &mut logits).expect("runs");
        all.extend_from_slice(&logits);
        position = end;
    }
    all
}

/// The bits, so that equality is equality of every bit.
pub(crate) fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|x| x.to_bits()).collect()
}
