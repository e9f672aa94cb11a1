//! Adapters: a token's logits depend on its own adapter alone, bit for bit, and what does not
//! fit the model is refused by name.

use crate::checkpoints::{Random, Tiny, bits, tables};
use model::{
    Activations, AdapterError, Batch, Chunk, ForwardError, KvType, LoadOptions, LoadedAdapter,
    LogitRows, Model, Scratch,
};
use std::sync::Arc;
use weights::{Adapter, Bytes, DType, Gguf, GgufWriter, Tensor, Value};

const ALL: &[&str] = &["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// A module's name below its layer, its outputs and its inputs.
fn module(shape: &Tiny, name: &str) -> (String, usize, usize) {
    let (queries, keys) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
    let (outputs, inputs) = match name {
        "q_proj" => (queries, shape.hidden),
        "k_proj" | "v_proj" => (keys, shape.hidden),
        "o_proj" => (shape.hidden, queries),
        "down_proj" => (shape.hidden, shape.width),
        _ => (shape.width, shape.hidden),
    };
    let part = if "qkvo".contains(&name[..1]) { "self_attn" } else { "mlp" };
    (format!("{part}.{name}"), outputs, inputs)
}

fn tensor(name: String, dtype: DType, shape: [usize; 2], values: &[f32]) -> Tensor {
    let bytes = weights::quantize(dtype, values).expect("encodes");
    Tensor::new(name, dtype, shape.to_vec(), Bytes::from_vec(bytes)).expect("fits")
}

/// The halves of a random pair for one module.
fn pair(
    random: &mut Random,
    dtype: DType,
    name: &str,
    rank: usize,
    size: [usize; 2],
) -> Vec<Tensor> {
    let [outputs, inputs] = size;
    let mut values = |len: usize, fan_in: usize| -> Vec<f32> {
        let scale = 1.0 / (fan_in as f32).sqrt();
        (0..len).map(|_| scale * random.signed()).collect()
    };
    let (a, b) = (values(rank * inputs, inputs), values(outputs * rank, rank));
    let whole = |half: &str| format!("base_model.model.{name}.{half}.weight");
    vec![
        tensor(whole("lora_A"), dtype, [rank, inputs], &a),
        tensor(whole("lora_B"), dtype, [outputs, rank], &b),
    ]
}

fn tensors(shape: &Tiny, seed: u64, dtype: DType, rank: usize, modules: &[&str]) -> Vec<Tensor> {
    let mut random = Random(seed);
    let mut tensors = Vec::new();
    for layer in 0..shape.layers {
        for name in modules {
            let (inner, outputs, inputs) = module(shape, name);
            let name = format!("model.layers.{layer}.{inner}");
            tensors.extend(pair(&mut random, dtype, &name, rank, [outputs, inputs]));
        }
    }
    tensors
}

fn config(rank: usize, modules: &[&str]) -> Vec<u8> {
    format!(r#"{{"peft_type":"LORA","r":{rank},"lora_alpha":8,"target_modules":{modules:?}}}"#)
        .into()
}

fn adapter(shape: &Tiny, seed: u64, dtype: DType, rank: usize, modules: &[&str]) -> Adapter {
    let tensors = tensors(shape, seed, dtype, rank, modules);
    Adapter::from_peft(&config(rank, modules), &tensors).expect("an adapter")
}

/// None, and adapters of different ranks, types and modules.
fn adapters(shape: &Tiny, model: &Model) -> Vec<Option<Arc<LoadedAdapter>>> {
    let dense = shape.experts.0 == 0;
    let all = if dense { ALL } else { &ALL[..4] };
    let few: &[&str] = if dense { &["q_proj", "down_proj"] } else { &["v_proj"] };
    let load = |seed, dtype, rank, modules| {
        let adapter = adapter(shape, seed, dtype, rank, modules);
        Some(model.load_adapter(&adapter).expect("fits"))
    };
    vec![
        None,
        load(11, DType::F32, 16, all),
        load(12, DType::F32, 5, few),
        load(13, DType::BF16, 33, all),
        load(14, DType::F16, 1, &["k_proj", "o_proj"]),
    ]
}

/// A sequence and the adapter it has.
struct Run<'a> {
    tokens: Vec<u32>,
    adapter: Option<&'a LoadedAdapter>,
}

/// Logits of every position of all runs, which advance together: run `i` by `chunk(i, step)`
/// tokens in a step, in an order that changes from step to step.
fn together(
    model: &Model,
    runs: &[Run<'_>],
    chunk: impl Fn(usize, usize) -> usize,
) -> Vec<Vec<u32>> {
    let tables = tables(&runs.iter().map(|run| run.tokens.len()).collect::<Vec<_>>());
    let mut cache = model.new_cache(tables.iter().map(Vec::len).sum());
    let (mut scratch, mut logits) = (Scratch::new(), Vec::new());
    let mut all = vec![Vec::new(); runs.len()];
    let mut positions = vec![0; runs.len()];
    for step in 0.. {
        let mut order: Vec<usize> =
            (0..runs.len()).filter(|&i| positions[i] < runs[i].tokens.len()).collect();
        if order.is_empty() {
            break;
        }
        let turn = step % order.len();
        order.rotate_left(turn);
        let chunks: Vec<Chunk<'_>> = order
            .iter()
            .map(|&i| {
                let position = positions[i];
                let end = (position + chunk(i, step).max(1)).min(runs[i].tokens.len());
                let (tokens, blocks) = (&runs[i].tokens[position..end], &tables[i]);
                Chunk { tokens, position, blocks, logits: LogitRows::All, adapter: runs[i].adapter }
            })
            .collect();
        let batch = Batch { chunks: &chunks };
        model.forward(&mut cache, &mut scratch, &batch, &mut logits).expect("runs");
        let mut rows = logits.chunks_exact(model.spec().vocab_size);
        for (&i, chunk) in order.iter().zip(&chunks) {
            for row in rows.by_ref().take(chunk.tokens.len()) {
                all[i].extend(bits(row));
            }
            positions[i] += chunk.tokens.len();
        }
    }
    all
}

/// Each run alone, token by token.
fn alone(model: &Model, runs: &[Run<'_>]) -> Vec<Vec<u32>> {
    let one = |run: &Run<'_>| {
        let run = Run { tokens: run.tokens.clone(), adapter: run.adapter };
        together(model, &[run], |_, _| 1).remove(0)
    };
    runs.iter().map(one).collect()
}

fn options() -> [LoadOptions; 2] {
    let exact = LoadOptions { activations: Activations::F32, kv: KvType::F32 };
    [LoadOptions::default(), exact]
}

#[test]
fn company_chunks_and_threads_change_nothing() {
    let mut random = Random(21);
    for shape in [Tiny::llama(), Tiny::qwen3(), Tiny::qwen3_moe()] {
        // Twice each adapter, so that groups are not adjacent.
        let tokens: Vec<Vec<u32>> = (0..10).map(|i| random.tokens(9 + 5 * i, 300)).collect();
        for options in options() {
            let mut expected: Option<Vec<Vec<u32>>> = None;
            for threads in [1, 2, 3] {
                let model = shape.load(threads, &options);
                let adapters = adapters(&shape, &model);
                let run = |(i, tokens): (usize, &Vec<u32>)| {
                    let adapter = adapters[i % adapters.len()].as_deref();
                    Run { tokens: tokens.clone(), adapter }
                };
                let runs: Vec<Run<'_>> = tokens.iter().enumerate().map(run).collect();
                let expected = expected.get_or_insert_with(|| alone(&model, &runs));
                let chunks: [fn(usize, usize) -> usize; 3] =
                    [|_, _| 1, |_, _| 512, |i, step| 1 + (i * 7 + step * 3) % 19];
                for (way, chunk) in chunks.into_iter().enumerate() {
                    // Single tokens of all sequences on three threads are many small steps.
                    if way == 0 && threads == 3 {
                        continue;
                    }
                    let got = together(&model, &runs, chunk);
                    for (i, (got, want)) in got.iter().zip(expected.iter()).enumerate() {
                        let place = format!("{}, {options:?}, {threads} threads", shape.arch);
                        assert!(got == want, "{place}: sequence {i}, chunks of way {way}");
                    }
                }
            }
        }
    }
}

#[test]
fn every_adapter_changes_its_rows_and_no_others() {
    let shape = Tiny::qwen3();
    let tokens = Random(22).tokens(12, 300);
    let model = shape.load(2, &LoadOptions::default());
    let before = alone(&model, &[Run { tokens: tokens.clone(), adapter: None }]);
    let adapters = adapters(&shape, &model);
    let runs: Vec<Run<'_>> = adapters
        .iter()
        .map(|adapter| Run { tokens: tokens.clone(), adapter: adapter.as_deref() })
        .collect();
    let got = together(&model, &runs, |_, _| 4);
    assert!(got[0] == before[0], "rows without an adapter");
    for i in 0..got.len() {
        for j in 0..i {
            assert!(got[i] != got[j], "adapters {i} and {j} compute the same");
        }
    }
}

#[test]
fn bytes_are_counted_and_go_with_the_last_user() {
    let shape = Tiny::llama();
    let model = shape.load(1, &LoadOptions::default());
    let load = |dtype| {
        let adapter = adapter(&shape, 3, dtype, 16, ALL);
        model.load_adapter(&adapter).expect("fits")
    };
    let loaded = load(DType::F32);
    let values: usize = ALL
        .iter()
        .map(|name| {
            let (_, outputs, inputs) = module(&shape, name);
            16 * (outputs + inputs)
        })
        .sum();
    // Sixteen rows fill a panel, so that packing adds nothing.
    assert_eq!(loaded.bytes(), (4 * shape.layers * values) as u64);
    assert_eq!(load(DType::BF16).bytes(), (2 * shape.layers * values) as u64);
    assert_eq!(loaded.changed(), shape.layers * ALL.len());
    assert_ne!(load(DType::F32).id(), loaded.id());
    let weak = Arc::downgrade(&loaded);
    drop(loaded);
    assert!(weak.upgrade().is_none());
}

#[test]
fn an_adapter_of_another_model_is_refused() {
    let shape = Tiny::llama();
    let load = || shape.load(1, &LoadOptions::default());
    let (model, other) = (load(), load());
    let loaded = other.load_adapter(&adapter(&shape, 3, DType::F32, 4, ALL)).expect("fits");
    let chunk = |adapter| Chunk {
        tokens: &[1],
        position: 0,
        blocks: &[0],
        logits: LogitRows::Last,
        adapter,
    };
    let chunks = [Chunk { blocks: &[1], ..chunk(None) }, chunk(Some(&*loaded))];
    let result = model.forward(
        &mut model.new_cache(2),
        &mut Scratch::new(),
        &Batch { chunks: &chunks },
        &mut Vec::new(),
    );
    assert_eq!(result, Err(ForwardError::AdapterOfAnotherModel { chunk: 1 }));
}

/// The words with which the tiny llama, or another shape, refuses these tensors.
fn refusal(shape: &Tiny, tensors: &[Tensor], modules: &[&str]) -> String {
    let adapter = Adapter::from_peft(&config(4, modules), tensors).expect("well-formed");
    let model = shape.load(1, &LoadOptions::default());
    model.load_adapter(&adapter).expect_err("it does not fit").to_string()
}

#[test]
fn what_the_model_does_not_have_is_refused_by_name() {
    let llama = Tiny::llama();
    let lone = |name: &str, size| pair(&mut Random(1), DType::F32, name, 4, size);
    for (name, size, words) in [
        ("model.layers.2.self_attn.q_proj", [256, 256], ["layer 2", "2 layers"]),
        ("model.layers.18446744073709551616.mlp.up_proj", [512, 256], ["up_proj", "no weight"]),
        ("model.layers.01.mlp.up_proj", [512, 256], ["layers.01.mlp", "no weight"]),
        ("model.layers.0.self_attn.qkv_proj", [512, 256], ["qkv_proj", "no weight"]),
        ("model.embed_tokens", [300, 256], ["embed_tokens", "embedding"]),
        ("lm_head", [300, 256], ["lm_head", "output matrix"]),
        ("model.layers.0.mlp.gate", [8, 256], ["mlp.gate", "routers"]),
        ("model.layers.0.mlp.experts.3.up_proj", [512, 256], ["experts.3.up_proj", "experts"]),
        ("model.layers.0.input_layernorm", [256, 256], ["input_layernorm", "no matrix"]),
        ("model.layers.1.self_attn.k_proj", [256, 256], ["[128, 256]", "[256, 256]"]),
        ("model.layers.1.mlp.down_proj", [256, 256], ["[256, 512]", "[256, 256]"]),
    ] {
        let module = name.rsplit('.').next().expect("a part");
        let got = refusal(&llama, &lone(name, size), &[module]);
        assert!(words.iter().all(|word| got.contains(word)), "{name}: {got}");
    }
    let dense = lone("model.layers.0.mlp.up_proj", [256, 256]);
    let got = refusal(&Tiny::qwen3_moe(), &dense, &["up_proj"]);
    assert!(got.contains("no such weight"), "{got}");
}

#[test]
fn a_selected_weight_without_its_pair_is_refused() {
    let shape = Tiny::llama();
    let mut all = tensors(&shape, 1, DType::F32, 4, &["q_proj", "v_proj"]);
    all.retain(|tensor| !tensor.name.contains("layers.1.self_attn.v_proj"));
    let got = refusal(&shape, &all, &["q_proj", "v_proj"]);
    assert!(got.contains("model.layers.1.self_attn.v_proj.weight"), "{got}");
    // Other models' modules may be on the list.
    let some = tensors(&shape, 1, DType::F32, 4, &["q_proj"]);
    let adapter = Adapter::from_peft(&config(4, &["q_proj", "c_attn"]), &some).expect("an adapter");
    shape.load(1, &LoadOptions::default()).load_adapter(&adapter).expect("fits");
}

#[test]
fn values_that_are_not_finite_are_refused() {
    let shape = Tiny::llama();
    for value in [f32::NAN, f32::INFINITY] {
        let mut all = tensors(&shape, 1, DType::F32, 4, &["q_proj"]);
        let mut bytes = all[3].data.to_vec();
        bytes[40..44].copy_from_slice(&value.to_le_bytes());
        all[3].data = Bytes::from_vec(bytes);
        let got = refusal(&shape, &all, &["q_proj"]);
        let words = ["layers.1.self_attn.q_proj.lora_B", "element 10", &value.to_string()];
        assert!(words.iter().all(|word| got.contains(word)), "{got}");
    }
}

#[test]
fn a_gguf_adapter_of_another_architecture_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("adapter.gguf");
    let mut file = GgufWriter::new();
    for (key, value) in
        [("general.type", "adapter"), ("general.architecture", "qwen3"), ("adapter.type", "lora")]
    {
        file.set(key, value);
    }
    file.set("adapter.lora.alpha", Value::F32(4.0));
    file.tensor_f32("blk.0.attn_q.weight.lora_a", DType::F32, &[4, 256], vec![0.5; 1024]);
    file.tensor_f32("blk.0.attn_q.weight.lora_b", DType::F32, &[256, 4], vec![0.5; 1024]);
    file.write(&path).expect("written");
    let adapter = Adapter::from_gguf(&Gguf::open(&path).expect("opens")).expect("an adapter");
    let model = Tiny::llama().load(1, &LoadOptions::default());
    let error = model.load_adapter(&adapter).expect_err("another architecture");
    assert!(
        matches!(&error, AdapterError::Architecture { expected: "llama", got } if got == "qwen3"),
        "{error}"
    );
    Tiny::qwen3().load(1, &LoadOptions::default()).load_adapter(&adapter).expect("fits");
}
