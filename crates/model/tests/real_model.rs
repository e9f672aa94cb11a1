//! SmolLM2-135M-Instruct continues a sentence as a language model does.

use std::sync::Arc;

use kernels::Pool;
use model::{
    BLOCK_TOKENS, Batch, Chunk, LoadOptions, LogitRows, Model, PackPlan, Parameters, Scratch,
};
use weights::{Checkpoint, PackedFile};

/// Ids of words that are whole tokens, and their texts back; the vocabulary marks a
/// leading space with Ġ.
fn vocabulary(checkpoint: &Checkpoint) -> Vec<String> {
    let Checkpoint::Gguf(gguf) = checkpoint else { panic!("a GGUF file") };
    let tokens = gguf.metadata().strings("tokenizer.ggml.tokens");
    let tokens = tokens.expect("strings").expect("a vocabulary");
    tokens.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect()
}

/// The logits of every position, fed in chunks of `chunk`, behind `company` other sequences.
fn logits_in_company(model: &Model, tokens: &[u32], chunk: usize, company: usize) -> Vec<u32> {
    let per_sequence = tokens.len().div_ceil(BLOCK_TOKENS);
    let tables: Vec<Vec<u32>> = (0..=company)
        .map(|i| (0..per_sequence).map(|block| (block * (company + 1) + i) as u32).collect())
        .collect();
    let mut cache = model.new_cache(per_sequence * (company + 1));
    let (mut scratch, mut logits, mut all) = (Scratch::new(), Vec::new(), Vec::new());
    let mut reversed = tokens.to_vec();
    reversed.reverse();
    for position in (0..tokens.len()).step_by(chunk) {
        let end = (position + chunk).min(tokens.len());
        let mut chunks: Vec<Chunk<'_>> = tables[1..]
            .iter()
            .enumerate()
            .map(|(i, blocks)| Chunk {
                // Others are shorter, so that rows begin at odd places.
                tokens: &reversed[position..end - (i % 2) * ((end - position) / 2)],
                position,
                blocks,
                logits: LogitRows::None,
                adapter: None,
            })
            .collect();
        chunks.push(Chunk {
            tokens: &tokens[position..end],
            position,
            blocks: &tables[0],
            logits: LogitRows::All,
            adapter: None,
        });
        let batch = Batch { chunks: &chunks };
        model.forward(&mut cache, &mut scratch, &batch, &mut logits).expect("runs");
        all.extend(logits.iter().map(|x| x.to_bits()));
    }
    all
}

#[test]
fn company_changes_no_bit_of_a_real_model() {
    let Some(path) = testkit::smollm2() else {
        testkit::skipped("SmolLM2-135M-Instruct is not there (FREEHOLD_SMOLLM2)");
        return;
    };
    let checkpoint = Checkpoint::open(&path).expect("opens");
    let load = |threads| {
        let options = LoadOptions::default();
        Model::load(&checkpoint, Arc::new(Pool::new(threads)), &options).expect("loads")
    };
    let tokens: Vec<u32> = (0..70u32).map(|i| (i * i * 97 + 11) % 49_152).collect();
    let model = load(1);
    let expected = logits_in_company(&model, &tokens, 64, 0);
    for (chunk, company) in [(1, 0), (7, 0), (512, 0), (7, 4), (1, 15), (512, 2)] {
        let got = logits_in_company(&model, &tokens, chunk, company);
        assert!(got == expected, "chunks of {chunk} behind {company} others");
    }
    for threads in [2, 3, 7] {
        let got = logits_in_company(&load(threads), &tokens, 16, 3);
        assert!(got == expected, "{threads} threads");
    }
}

#[test]
fn a_packed_file_changes_no_bit_of_a_real_model() {
    let Some(path) = testkit::smollm2() else {
        testkit::skipped("SmolLM2-135M-Instruct is not there (FREEHOLD_SMOLLM2)");
        return;
    };
    let checkpoint = Checkpoint::open(&path).expect("opens");
    let options = LoadOptions::default();
    let pool = Arc::new(Pool::new(2));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("packed");
    let plan = PackPlan::new(&checkpoint, options.activations).expect("plans");
    let out = std::fs::File::create(&file).expect("ours");
    plan.write(&pool, out, &mut |_| Ok(())).expect("written");
    let packed = PackedFile::open(&file, plan.key()).expect("whole");
    assert_eq!(packed.file_bytes(), plan.file_bytes());
    let tokens: Vec<u32> = (0..70u32).map(|i| (i * i * 97 + 11) % 49_152).collect();
    let logits = |model: Model| logits_in_company(&model, &tokens, 16, 2);
    let load = || Model::load(&checkpoint, Arc::clone(&pool), &options).expect("loads");
    let mapped = Model::load_packed(&checkpoint, Arc::clone(&pool), &options, &packed);
    let mapped = mapped.expect("loads");
    assert!(mapped.mapped_bytes() > 0 && mapped.resident_bytes() == load().resident_bytes());
    assert!(logits(mapped) == logits(load()));
}

#[test]
fn the_capital_of_france_is_paris() {
    let Some(path) = testkit::smollm2() else {
        testkit::skipped("SmolLM2-135M-Instruct is not there (FREEHOLD_SMOLLM2)");
        return;
    };
    let checkpoint = Checkpoint::open(&path).expect("opens");
    let words = vocabulary(&checkpoint);
    let id = |word: &str| words.iter().position(|w| w == word).expect("a token") as u32;
    let mut tokens: Vec<u32> =
        ["The", "Ġcapital", "Ġof", "ĠFrance", "Ġis"].into_iter().map(id).collect();

    let options = LoadOptions::default();
    let model = Model::load(&checkpoint, Arc::new(Pool::new(2)), &options).expect("loads");
    assert_eq!(Parameters::count(model.spec()).total(), 134_515_008);
    let plan = model::plan(&checkpoint, model.spec(), options.activations, 512, 1).expect("plans");
    assert_eq!(plan.packed_bytes, model.resident_bytes());
    println!("{}\n{plan:?}", model.spec().summary());

    let (prompt, steps) = (tokens.len(), 16);
    let blocks: Vec<u32> = (0..(prompt + steps).div_ceil(BLOCK_TOKENS) as u32).collect();
    let mut cache = model.new_cache(blocks.len());
    let (mut scratch, mut logits, mut position) = (Scratch::new(), Vec::new(), 0);
    for _ in 0..steps {
        let chunk = Chunk {
            tokens: &tokens[position..],
            position,
            blocks: &blocks,
            logits: LogitRows::Last,
            adapter: None,
        };
        let batch = Batch { chunks: &[chunk] };
        model.forward(&mut cache, &mut scratch, &batch, &mut logits).expect("runs");
        position = tokens.len();
        let best =
            (0..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best });
        tokens.push(best as u32);
    }
    let text: String =
        tokens[prompt..].iter().map(|&t| words[t as usize].replace('Ġ', " ")).collect();
    println!("The capital of France is{text}");
    assert!(text.starts_with(" Paris"), "The capital of France is{text}");
}
