//! Blocks of keys and values that are saved and brought back, and the version of their bits.

use crate::checkpoints::{Random, Tiny, bits, logits_in_chunks, tables};
use kernels::BLOCK_TOKENS;
use model::{Activations, KvType, LoadOptions, NUMERICS_VERSION, prefix_key};

const TOKENS: usize = 3 * BLOCK_TOKENS + 9;

fn every_kv() -> Vec<LoadOptions> {
    let with = |kv| [Activations::Quantized, Activations::F32].map(|a| (a, kv));
    let all = KvType::ALL.into_iter().flat_map(with);
    all.map(|(activations, kv)| LoadOptions { activations, kv }).collect()
}

#[test]
fn a_saved_block_gives_the_same_logits_in_another_cache() {
    let tokens = Random(3).tokens(TOKENS, 300);
    for options in every_kv() {
        let model = Tiny::qwen3_moe().load(2, &options);
        let blocks = &tables(&[TOKENS])[0];
        let mut first = model.new_cache(blocks.len());
        let expected = logits_in_chunks(&model, &mut first, &tokens, blocks, |_| 16);
        // Elsewhere, and in another order.
        let mut second = model.new_cache(blocks.len() + 3);
        let elsewhere: Vec<u32> = blocks.iter().rev().map(|block| block + 3).collect();
        let n_saved = 2;
        for (&from, &to) in blocks.iter().zip(&elsewhere).take(n_saved) {
            let mut bytes = Vec::new();
            first.save_block(from, &mut bytes);
            assert_eq!(bytes.len() * blocks.len(), first.bytes());
            assert!(second.restore_block(to, &bytes));
            assert!(!second.restore_block(to, &bytes[1..]), "of another length");
        }
        let start = n_saved * BLOCK_TOKENS;
        let mut logits = Vec::new();
        for (index, &token) in tokens.iter().enumerate().skip(start) {
            let chunk = model::Chunk {
                tokens: &[token],
                position: index,
                blocks: &elsewhere,
                logits: model::LogitRows::All,
                adapter: None,
            };
            let mut row = Vec::new();
            let batch = model::Batch { chunks: &[chunk] };
            model.forward(&mut second, &mut model::Scratch::new(), &batch, &mut row).unwrap();
            logits.extend(row);
        }
        let rest = &bits(&expected)[start * 300..];
        assert!(bits(&logits) == rest, "{options:?}");
    }
}

#[test]
fn a_key_names_weights_and_numerics() {
    let mut keys = Vec::new();
    for shape in [Tiny::llama(), Tiny::qwen3()] {
        let checkpoint = shape.checkpoint();
        for options in every_kv() {
            let model = shape.load(1, &options);
            let key = prefix_key(&checkpoint, &model, &options).unwrap();
            assert_eq!(prefix_key(&checkpoint, &model, &options), Some(key));
            keys.push(key);
        }
    }
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count);
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Of [`NUMERICS_VERSION`] 1: a hash of the keys and values for each type of KV cache, with
/// rounded and with exact activations.
const GOLDEN: [(KvType, u64, u64); 3] = [
    (KvType::F32, 0x494a_e3c1_12cc_3e07, 0x3a45_1315_2e3a_e094),
    (KvType::F16, 0xc7c0_b9e6_8eaa_9bb1, 0x97a0_d43a_5fde_11ff),
    (KvType::Q8, 0x1d0e_8ee1_b80c_f934, 0xa85c_ad75_bb94_c709),
];

#[test]
fn keys_and_values_change_only_with_the_numerics_version() {
    let tokens = Random(4).tokens(2 * BLOCK_TOKENS, 300);
    let blocks = &tables(&[tokens.len()])[0];
    let got = KvType::ALL.map(|kv| {
        let [rounded, exact] = [Activations::Quantized, Activations::F32].map(|activations| {
            let mut bytes = Vec::new();
            for shape in [Tiny::llama(), Tiny::qwen3(), Tiny::qwen3_moe()] {
                let model = shape.load(2, &LoadOptions { activations, kv });
                let mut cache = model.new_cache(blocks.len());
                logits_in_chunks(&model, &mut cache, &tokens, blocks, |_| 64);
                for &block in blocks {
                    cache.save_block(block, &mut bytes);
                }
            }
            hash(&bytes)
        });
        (kv, rounded, exact)
    });
    assert!(
        NUMERICS_VERSION == 1 && got == GOLDEN,
        "keys and values have other bits than NUMERICS_VERSION {NUMERICS_VERSION} had: prefixes \
         that people keep would not be what is computed now. Add one to it, and put these in \
         place of GOLDEN:\n{got:#x?}"
    );
}
