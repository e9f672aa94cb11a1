//! Logits and hidden states against the reference implementation, for every folder of
//! `testdata/models`: `expected.safetensors` holds what transformers computes in f32.

use std::path::Path;
use std::sync::Arc;

use kernels::Pool;
use model::{
    Activations, BLOCK_TOKENS, Batch, Chunk, KvType, LoadOptions, LogitRows, Model, Scratch,
};
use weights::{Adapter, Checkpoint};

/// Largest difference in relation to the largest expected value, logits and hidden states.
const TOLERANCE: f32 = 2e-4;

/// What one run returns: logits (tokens, vocabulary), then the hidden states.
struct Run {
    logits: Vec<f32>,
    hidden: Vec<Vec<f32>>,
}

fn run(checkpoint: &Checkpoint, tokens: &[u32], adapter: Option<&Path>) -> Run {
    let options = LoadOptions { activations: Activations::F32, kv: KvType::F32 };
    let model = Model::load(checkpoint, Arc::new(Pool::new(2)), &options).expect("loads");
    let adapter = adapter.map(|path| {
        let adapter = Adapter::open(path).expect("the adapter opens");
        model.load_adapter(&adapter).expect("the adapter fits")
    });
    let blocks: Vec<u32> = (0..tokens.len().div_ceil(BLOCK_TOKENS) as u32).collect();
    let mut cache = model.new_cache(blocks.len());
    let chunk = Chunk {
        tokens,
        position: 0,
        blocks: &blocks,
        logits: LogitRows::All,
        adapter: adapter.as_deref(),
    };
    let mut run = Run { logits: Vec::new(), hidden: Vec::new() };
    let mut tap = |index: usize, hidden: &[f32]| {
        assert_eq!(index, run.hidden.len());
        run.hidden.push(hidden.to_vec());
    };
    model
        .forward_traced(
            &mut cache,
            &mut Scratch::new(),
            &Batch { chunks: &[chunk] },
            &mut run.logits,
            &mut tap,
        )
        .expect("runs");
    run
}

fn relative_error(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len());
    let largest = expected.iter().fold(0f32, |max, x| max.max(x.abs()));
    let error = got.iter().zip(expected).fold(0f32, |max, (a, b)| max.max((a - b).abs()));
    assert!(got.iter().all(|x| x.is_finite()));
    error / largest
}

fn argmax(row: &[f32]) -> usize {
    (0..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

fn compare(name: &str, checkpoint: &Path, adapter: Option<&Path>, expected: &Path) -> f32 {
    let expected = Checkpoint::open(expected).expect("expected.safetensors opens");
    let tensor = |name: &str| expected.tensor(name).unwrap_or_else(|| panic!("{name} is there"));
    let words = tensor("tokens").data.chunks_exact(4);
    let tokens: Vec<u32> = words.map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let checkpoint = Checkpoint::open(checkpoint).expect("the checkpoint opens");
    let got = run(&checkpoint, &tokens, adapter);

    let logits = tensor("logits").to_f32().expect("f32");
    let vocab = logits.len() / tokens.len();
    let mut worst = relative_error(&got.logits, &logits);
    for (row, (got, want)) in got.logits.chunks(vocab).zip(logits.chunks(vocab)).enumerate() {
        assert_eq!(argmax(got), argmax(want), "{name}: argmax at position {row}");
    }
    for (index, hidden) in got.hidden.iter().enumerate() {
        let want = tensor(&format!("hidden.{index}")).to_f32().expect("f32");
        worst = worst.max(relative_error(hidden, &want));
    }
    assert!(expected.tensor(&format!("hidden.{}", got.hidden.len())).is_none(), "{name}: layers");
    assert!(worst <= TOLERANCE, "{name}: relative error {worst}");
    worst
}

#[test]
fn every_golden_agrees_with_the_reference() {
    let folders = testkit::golden_models();
    assert!(folders.len() >= 29, "the repository carries {} goldens", folders.len());
    for folder in folders {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let expected = folder.join("expected.safetensors");
        let error = compare(&name, &folder, None, &expected);
        println!("{name}: {error:.1e}");
        let gguf = folder.join("model.gguf");
        if gguf.exists() {
            let error = compare(&format!("{name} (gguf)"), &gguf, None, &expected);
            println!("{name} (gguf): {error:.1e}");
        }
    }
}

#[test]
fn every_adapter_agrees_with_peft() {
    let folders = testkit::golden_adapters();
    assert!(folders.len() >= 8, "the repository carries {} adapters", folders.len());
    let mut compared = 0;
    for folder in folders {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let peft = Adapter::open(&folder).expect("opens");
        let base = peft.base().expect("the generator names the base");
        let base =
            folder.parent().and_then(Path::parent).expect("in testdata").join("models").join(base);
        let expected = folder.join("expected.safetensors");
        // Adapter and base in either form: rows of queries and keys are in different orders.
        for adapter in [folder.clone(), folder.join("adapter.gguf")] {
            for base in [base.clone(), base.join("model.gguf")] {
                if !adapter.exists() || !base.exists() {
                    continue;
                }
                let form = |path: &Path| if path.is_dir() { "folder" } else { "gguf" };
                let name = format!("{name} ({} over {})", form(&adapter), form(&base));
                let error = compare(&name, &base, Some(&adapter), &expected);
                println!("{name}: {error:.1e}");
                compared += 1;
            }
        }
    }
    assert!(compared >= 20, "only {compared} pairs of files were compared");
}

#[test]
fn products_count_every_weight_of_a_matrix_once() {
    for folder in testkit::golden_models() {
        let checkpoint = Checkpoint::open(&folder).expect("a golden opens");
        let spec = model::inspect(&checkpoint).expect("a golden is understood");
        let matrices: u64 = checkpoint
            .tensors()
            .filter(|t| t.shape.len() == 2 && !t.name.contains("embed_tokens"))
            .map(|t| t.shape.iter().product::<usize>() as u64)
            .sum();
        let parameters = model::Parameters::count(&spec);
        // A tied embedding is the output matrix, too.
        let head = (spec.vocab_size * spec.hidden_size) as u64;
        let untied = parameters.head;
        let unchosen = parameters.experts - parameters.active_experts;
        for activations in [Activations::Quantized, Activations::F32] {
            let found = model::Products::count(&checkpoint, &spec, activations).expect("counts");
            let name = folder.display();
            assert_eq!(found.token.total(), matrices - untied - unchosen, "{name}");
            assert_eq!(found.logits.total(), head, "{name}");
            if activations == Activations::F32 {
                let forward = found.of_forward(5, 2);
                assert_eq!(forward.f32, 5 * found.token.total() + 2 * head, "{name}");
            }
        }
    }
}
