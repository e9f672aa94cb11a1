//! Checkpoints and batches that do not fit are refused by name, and the memory plan holds.

use std::sync::Arc;

use crate::checkpoints::{Named, Random, Tiny, write};
use kernels::Pool;
use model::{
    Activations, Batch, Chunk, ForwardError, KvType, LoadOptions, LogitRows, Model, ModelError,
    Scratch, SpecError,
};
use weights::{Checkpoint, DType, Value};

fn load(checkpoint: &Checkpoint) -> Result<Model, ModelError> {
    Model::load(checkpoint, Arc::new(Pool::new(1)), &LoadOptions::default())
}

/// The tiny llama as F32 with its tensors changed.
fn changed(shape: &Tiny, change: impl FnOnce(&mut Vec<Named>)) -> Checkpoint {
    let mut random = Random(9);
    let mut tensors: Vec<Named> = shape
        .tensors()
        .into_iter()
        .map(|(name, shape, _)| {
            let len = shape.iter().product();
            (name, DType::F32, shape, (0..len).map(|_| random.signed()).collect())
        })
        .collect();
    change(&mut tensors);
    write(&shape.metadata(), tensors)
}

fn zeros(name: &str, shape: &[usize]) -> Named {
    (name.to_owned(), DType::F32, shape.to_vec(), vec![0.0; shape.iter().product()])
}

#[test]
fn a_missing_tensor_is_named() {
    let checkpoint = changed(&Tiny::llama(), |all| all.retain(|t| t.0 != "blk.1.ffn_down.weight"));
    let error = load(&checkpoint).err();
    assert!(
        matches!(&error, Some(ModelError::MissingTensor { name }) if name == "blk.1.ffn_down.weight"),
        "{error:?}"
    );
}

#[test]
fn a_wrong_shape_is_named_with_both_shapes() {
    let checkpoint = changed(&Tiny::llama(), |all| {
        for tensor in all.iter_mut().filter(|t| t.0 == "blk.0.attn_k.weight") {
            *tensor = zeros("blk.0.attn_k.weight", &[64, 256]);
        }
    });
    let error = load(&checkpoint).err().expect("refused").to_string();
    assert!(error.contains("blk.0.attn_k.weight"), "{error}");
    assert!(error.contains("[128, 256]") && error.contains("[64, 256]"), "{error}");
}

#[test]
fn a_tensor_without_a_place_is_named() {
    for name in ["blk.0.attn_k_norm.weight", "blk.0.ffn_gate_inp.weight", "blk.9.attn_q.weight"] {
        let checkpoint = changed(&Tiny::llama(), |all| all.push(zeros(name, &[4])));
        let error = load(&checkpoint).err();
        assert!(
            matches!(&error, Some(ModelError::UnexpectedTensors { first, count: 1 }) if first == name),
            "{error:?}"
        );
    }
}

#[test]
fn a_bias_that_only_one_projection_has_is_missed() {
    let checkpoint = changed(&Tiny::llama(), |all| all.push(zeros("blk.0.attn_q.bias", &[256])));
    let error = load(&checkpoint).err();
    assert!(
        matches!(&error, Some(ModelError::MissingTensor { name }) if name == "blk.0.attn_k.bias"),
        "{error:?}"
    );
}

#[test]
fn divisors_of_frequencies_are_checked() {
    let with = |values: Vec<f32>| {
        changed(&Tiny::llama(), |all| {
            all.push(("rope_freqs.weight".to_owned(), DType::F32, vec![values.len()], values));
        })
    };
    assert!(load(&with(vec![2.0; 32])).is_ok());
    for bad in [vec![2.0; 31], vec![0.0; 32], vec![f32::NAN; 32]] {
        let error = load(&with(bad)).err();
        assert!(matches!(error, Some(ModelError::Spec(SpecError::OutOfRange { .. }))), "{error:?}");
    }
}

#[test]
fn fused_experts_are_the_same_model() {
    let shape = Tiny::qwen3_moe();
    let apart = changed(&shape, |_| {});
    let fused = changed(&shape, |all| {
        let (experts, rows) = (shape.experts.0, shape.width * shape.hidden);
        for layer in 0..shape.layers {
            let mut take = |name: &str| {
                let name = format!("blk.{layer}.{name}.weight");
                let at = all.iter().position(|t| t.0 == name).expect("there");
                all.remove(at).3
            };
            let (gate, up) = (take("ffn_gate_exps"), take("ffn_up_exps"));
            let both = (0..experts)
                .flat_map(|e| [&gate[e * rows..(e + 1) * rows], &up[e * rows..(e + 1) * rows]])
                .flatten()
                .copied()
                .collect();
            let name = format!("blk.{layer}.ffn_gate_up_exps.weight");
            all.push((name, DType::F32, vec![experts, 2 * shape.width, shape.hidden], both));
        }
    });
    let tokens = Random(1).tokens(20, shape.vocab);
    let logits = |checkpoint: &Checkpoint| {
        let model = load(checkpoint).expect("loads");
        let mut cache = model.new_cache(1);
        crate::checkpoints::logits_in_chunks(&model, &mut cache, &tokens, &[0], |_| 20)
    };
    assert_eq!(
        crate::checkpoints::bits(&logits(&apart)),
        crate::checkpoints::bits(&logits(&fused))
    );
}

#[test]
fn unknown_metadata_that_says_something_is_refused() {
    let shape = Tiny::llama();
    let with = |key: &str, value: Value| {
        let mut metadata = shape.metadata();
        metadata.push((key.to_owned(), value));
        load(&write(&metadata, changed_tensors(&shape))).err()
    };
    let key = "llama.attention.sliding_window_pattern";
    let refused = with(key, Value::U32(2)).expect("refused");
    assert!(refused.to_string().contains(key), "{refused}");
    assert!(with("llama.expert_count", Value::U32(8)).is_some());
    assert!(with("llama.expert_count", Value::U32(0)).is_none());
    assert!(with("llama.logit_scale", Value::F32(f32::NAN)).is_some());
    assert!(with("general.name", Value::String("anything".into())).is_none());
}

fn changed_tensors(shape: &Tiny) -> Vec<Named> {
    shape.tensors().into_iter().map(|(name, shape, _)| zeros(&name, &shape)).collect()
}

#[test]
fn the_memory_plan_is_what_loading_takes() {
    let floats = Tiny { types: vec![DType::BF16, DType::F16], ..Tiny::llama() };
    for shape in [Tiny::llama(), Tiny::qwen3(), Tiny::qwen3_moe(), floats] {
        let checkpoint = shape.checkpoint();
        let spec = model::inspect(&checkpoint).expect("reads");
        for activations in [Activations::Quantized, Activations::ExactFloats, Activations::F32] {
            let plan = model::plan(&checkpoint, &spec, activations, 64, 1).expect("plans");
            assert_eq!(plan.mapped_bytes > 0, !shape.tied);
            for kv in KvType::ALL {
                let options = LoadOptions { activations, kv };
                let model = shape.load(1, &options);
                assert_eq!(model.resident_bytes(), plan.packed_bytes, "{}", shape.arch);
                let blocks = model::KV_TOKENS / model::BLOCK_TOKENS;
                let expected = match kv {
                    KvType::F16 => plan.kv_bytes_per_1k_tokens_f16,
                    KvType::F32 => plan.kv_bytes_per_1k_tokens_f32,
                    KvType::Q8 => plan.kv_bytes_per_1k_tokens_q8,
                };
                let mut cache = model.new_cache(blocks);
                assert_eq!(cache.bytes() as u64, expected);
                let (mut scratch, mut logits) = (Scratch::new(), Vec::new());
                let last = LogitRows::Last;
                let chunk = Chunk {
                    tokens: &[1; 64],
                    position: 0,
                    blocks: &[0, 1],
                    logits: last,
                    adapter: None,
                };
                let batch = Batch { chunks: &[chunk] };
                model.forward(&mut cache, &mut scratch, &batch, &mut logits).expect("runs");
                let held = scratch.held_bytes() + 4 * logits.len() as u64;
                assert_eq!(held, plan.scratch_bytes, "{}", shape.arch);
            }
        }
        // A tied embedding is packed once; another stays in the file.
    }
}

#[test]
fn batches_that_do_not_fit_are_refused() {
    let shape = Tiny { context: 100, ..Tiny::llama() };
    let model = shape.load(1, &LoadOptions::default());
    let mut cache = model.new_cache(3);
    let mut run = |tokens: &[u32], position: usize, blocks: &[u32]| {
        let chunk = Chunk { tokens, position, blocks, logits: LogitRows::Last, adapter: None };
        let batch = Batch { chunks: &[chunk] };
        model.forward(&mut cache, &mut Scratch::new(), &batch, &mut Vec::new())
    };
    assert_eq!(run(&[], 0, &[0]), Err(ForwardError::EmptyChunk { chunk: 0 }));
    assert!(matches!(
        run(&[1, 300], 0, &[0]),
        Err(ForwardError::TokenOutOfRange { index: 1, token: 300, vocab_size: 300, .. })
    ));
    assert!(matches!(
        run(&[1, 2], 99, &[0, 1, 2, 0]),
        Err(ForwardError::PositionPastContext { position: 100, context_length: 100, .. })
    ));
    assert!(matches!(run(&[1], usize::MAX, &[0]), Err(ForwardError::PositionPastContext { .. })));
    assert!(matches!(
        run(&[1, 2], 31, &[0]),
        Err(ForwardError::BlockTableTooShort { expected: 2, got: 1, .. })
    ));
    assert!(matches!(
        run(&[1], 40, &[0, 3]),
        Err(ForwardError::BlockOutOfRange { block: 3, blocks: 3, .. })
    ));
    assert_eq!(run(&[1, 2], 31, &[2, 0]), Ok(()));
    let twice = |a: usize, b: usize| {
        let chunk = |position, blocks| Chunk {
            tokens: &[1, 2],
            position,
            blocks,
            logits: LogitRows::None,
            adapter: None,
        };
        let chunks = [chunk(a, &[1, 2]), chunk(b, &[1, 0])];
        let mut cache = model.new_cache(3);
        model.forward(&mut cache, &mut Scratch::new(), &Batch { chunks: &chunks }, &mut Vec::new())
    };
    assert_eq!(twice(4, 9), Err(ForwardError::BlockWrittenTwice { block: 1 }));
    assert_eq!(twice(32, 34), Ok(()), "a block that is only read may be shared");
    let other = Tiny { layers: 1, ..Tiny::llama() }.load(1, &LoadOptions::default());
    let chunk =
        Chunk { tokens: &[1], position: 0, blocks: &[0], logits: LogitRows::Last, adapter: None };
    let batch = Batch { chunks: &[chunk] };
    let mismatch = other.forward(&mut cache, &mut Scratch::new(), &batch, &mut Vec::new());
    assert_eq!(mismatch, Err(ForwardError::CacheMismatch { expected: 1, got: 2 }));
}
