//! Models over packed files: the same bits as without, in every precision, and a file that does
//! not fit is told from a checkpoint that does not.

use crate::checkpoints::{Random, Tiny, bits, logits_in_chunks, tables, write};
use kernels::Pool;
use model::{Activations, KvType, LoadOptions, Model, PackPlan, packed_form, packed_key};
use std::io::Cursor;
use std::sync::Arc;
use weights::{Bytes, Checkpoint, DType, PackedFile};

const PRECISIONS: [Activations; 3] =
    [Activations::Quantized, Activations::ExactFloats, Activations::F32];

fn shapes() -> Vec<Tiny> {
    let floats = Tiny { types: vec![DType::F16, DType::BF16, DType::F32], ..Tiny::llama() };
    vec![Tiny::llama(), Tiny::qwen3(), Tiny::qwen3_moe(), floats]
}

fn pool() -> Arc<Pool> {
    Arc::new(Pool::new(2))
}

fn packed(checkpoint: &Checkpoint, precision: Activations) -> PackedFile {
    let plan = PackPlan::new(checkpoint, precision).expect("plans");
    assert_eq!(Some(*plan.key()), packed_key(checkpoint, precision));
    let (mut out, mut told) = (Cursor::new(Vec::new()), 0);
    plan.write(&pool(), &mut out, &mut |bytes| {
        told += bytes;
        Ok(())
    })
    .expect("a vector takes everything");
    let bytes = out.into_inner();
    assert!(bytes.len() as u64 == plan.file_bytes() && told < plan.file_bytes());
    // Aligned as a file's map is.
    let mut room = vec![0; bytes.len() + 4096];
    let start = room.as_ptr().align_offset(4096);
    room[start..start + bytes.len()].copy_from_slice(&bytes);
    let bytes = Bytes::from_vec(room).slice(start, bytes.len()).expect("inside");
    PackedFile::from_bytes(bytes, plan.key()).expect("it is whole")
}

fn logits(model: &Model) -> Vec<u32> {
    let tokens = Random(1).tokens(40, 300);
    let blocks = &tables(&[tokens.len()])[0];
    let mut cache = model.new_cache(blocks.len());
    bits(&logits_in_chunks(model, &mut cache, &tokens, blocks, |_| 13))
}

#[test]
fn a_packed_file_changes_no_bit() {
    for shape in shapes() {
        let checkpoint = shape.checkpoint();
        for activations in PRECISIONS {
            let options = LoadOptions { activations, kv: KvType::F16 };
            let model = Model::load(&checkpoint, pool(), &options).expect("loads");
            let file = packed(&checkpoint, activations);
            let mapped = Model::load_packed(&checkpoint, pool(), &options, &file).expect("loads");
            assert!(logits(&model) == logits(&mapped), "{} {activations:?}", shape.arch);
            assert_eq!(model.resident_bytes(), mapped.resident_bytes());
            assert_eq!(model.mapped_bytes(), 0);
            assert!(mapped.mapped_bytes() > mapped.resident_bytes() / 2);
        }
    }
}

#[test]
fn precisions_that_pack_alike_share_a_file() {
    let forms = |shape: &Tiny| {
        let checkpoint = shape.checkpoint();
        PRECISIONS.map(|precision| packed_form(&checkpoint, precision))
    };
    let [llama, .., floats] = &shapes()[..] else { panic!("four shapes") };
    assert_eq!(forms(llama), ["quantized"; 3]);
    assert_eq!(forms(floats), ["quantized", "exact", "exact"]);
    let checkpoint = floats.checkpoint();
    let keys = PRECISIONS.map(|precision| packed_key(&checkpoint, precision).expect("told"));
    assert!(keys[0] != keys[1] && keys[1] == keys[2]);
}

#[test]
fn a_packed_file_of_another_model_is_told_from_a_bad_checkpoint() {
    let load = |checkpoint: &Checkpoint, file: &PackedFile| {
        let loaded = Model::load_packed(checkpoint, pool(), &LoadOptions::default(), file);
        loaded.err().expect("it does not fit")
    };
    let checkpoint = Tiny::llama().checkpoint();
    let file = packed(&checkpoint, Activations::Quantized);
    let more_layers = Tiny { layers: 3, ..Tiny::llama() };
    let error = load(&more_layers.checkpoint(), &file);
    assert!(error.is_of_packed_file(), "{error}");
    assert!(error.to_string().contains("it has no matrix blk.2.attn_q.weight"), "{error}");
    let wider = Tiny { width: 768, ..Tiny::llama() };
    let error = load(&wider.checkpoint(), &file);
    assert!(error.is_of_packed_file(), "{error}");
    assert!(error.to_string().contains("ffn_gate.weight: expected a packed weight of"), "{error}");
    let error = load(&write(&Tiny::llama().metadata(), Vec::new()), &file);
    assert!(!error.is_of_packed_file(), "{error}");
}
