//! Encoders and embedding models against the reference implementation, for every folder of
//! `testdata/encoders`, and the same bits in any company.

use std::path::Path;
use std::sync::Arc;

use kernels::Pool;
use model::{
    Activations, BLOCK_TOKENS, Batch, Chunk, ForwardError, Head, KvType, LoadOptions, LogitRows,
    Model, Pooled, PooledError, PooledOutput, PooledRoom, Pooling, Scratch, Texts,
};
use weights::Checkpoint;

/// Largest difference in relation to the largest expected value, for f32 products.
const TOLERANCE: f32 = 2e-5;

/// What a golden holds.
struct Golden {
    sequences: Vec<(Vec<u32>, Vec<u8>)>,
    hidden: Vec<f32>,
    vectors: Option<Vec<f32>>,
    scores: Option<Vec<f32>>,
}

impl Golden {
    fn open(folder: &Path) -> Golden {
        let expected = Checkpoint::open(&folder.join("expected.safetensors")).expect("it opens");
        let integers = |name: &str| -> Vec<u32> {
            let words = expected.tensor(name).expect("it is there").data.chunks_exact(4);
            words.map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
        };
        let floats = |name: &str| expected.tensor(name).map(|t| t.to_f32().expect("it decodes"));
        let (tokens, types) = (integers("tokens"), integers("types"));
        let mut sequences = Vec::new();
        let mut at = 0;
        for length in integers("lengths") {
            let range = at..at + length as usize;
            at = range.end;
            let types = types[range.clone()].iter().map(|&kind| kind as u8).collect();
            sequences.push((tokens[range].to_vec(), types));
        }
        Golden {
            sequences,
            hidden: floats("hidden").expect("it is there"),
            vectors: floats("vectors"),
            scores: floats("scores"),
        }
    }
}

fn load(path: &Path, activations: Activations, threads: usize) -> Model {
    let options = LoadOptions { activations, kv: KvType::F32 };
    let checkpoint = Checkpoint::open(path).expect("the checkpoint opens");
    Model::load(&checkpoint, Arc::new(Pool::new(threads)), &options).expect("the model loads")
}

/// Hidden states of all tokens of some sequences in one forward.
fn hidden(model: &Model, sequences: &[&(Vec<u32>, Vec<u8>)]) -> Vec<f32> {
    let blocks: Vec<Vec<u32>> = sequences
        .iter()
        .scan(0, |next, (tokens, _)| {
            let first = *next;
            *next += tokens.len().div_ceil(BLOCK_TOKENS) as u32;
            Some((first..*next).collect())
        })
        .collect();
    let chunks: Vec<Chunk<'_>> = sequences
        .iter()
        .zip(&blocks)
        .map(|((tokens, _), blocks)| Chunk {
            tokens,
            position: 0,
            blocks,
            logits: LogitRows::All,
            adapter: None,
        })
        .collect();
    let types: Vec<u8> = sequences.iter().flat_map(|(_, types)| types.iter().copied()).collect();
    let mut cache = model.new_cache(blocks.iter().map(Vec::len).sum());
    let mut out = Vec::new();
    let batch = Batch { chunks: &chunks };
    let done = model.forward_hidden(&mut cache, &mut Scratch::new(), &batch, &types, &mut out);
    done.expect("it runs");
    out
}

fn relative_error(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len());
    assert!(got.iter().all(|x| x.is_finite()));
    let largest = expected.iter().fold(0f32, |max, x| max.max(x.abs()));
    got.iter().zip(expected).fold(0f32, |max, (a, b)| max.max((a - b).abs())) / largest
}

/// The definition of each pooling, in f64 and to length one.
fn pooled(pooling: Pooling, states: &[f32], hidden_size: usize) -> Vec<f32> {
    let rows: Vec<&[f32]> = states.chunks_exact(hidden_size).collect();
    let of = |i: usize| -> f64 {
        let column = rows.iter().map(|row| f64::from(row[i]));
        match pooling {
            Pooling::Mean => column.sum::<f64>() / rows.len() as f64,
            Pooling::Max => column.fold(f64::MIN, f64::max),
            Pooling::Cls => f64::from(rows[0][i]),
            Pooling::Last => f64::from(rows[rows.len() - 1][i]),
        }
    };
    let vector: Vec<f64> = (0..hidden_size).map(of).collect();
    let length = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
    vector.into_iter().map(|x| (x / length) as f32).collect()
}

fn compare(name: &str, path: &Path, golden: &Golden) {
    let model = load(path, Activations::F32, 2);
    let spec = model.spec();
    let all: Vec<_> = golden.sequences.iter().collect();
    let states = hidden(&model, &all);
    let error = relative_error(&states, &golden.hidden);
    assert!(error < TOLERANCE, "{name}: hidden states are off by {error}");
    let mut rest = &states[..];
    let mut results: Vec<Vec<f32>> = Vec::new();
    for (tokens, _) in &golden.sequences {
        let (own, others) = rest.split_at(tokens.len() * spec.hidden_size);
        rest = others;
        results.push(match (spec.head, spec.pooling) {
            (Head::Classifier { labels }, _) => {
                let mut scores = Vec::new();
                let first = &own[..spec.hidden_size];
                model.classify(&mut Scratch::new(), first, &mut scores).expect("it classifies");
                assert_eq!(scores.len(), labels);
                scores
            }
            (_, Some(pooling)) => pooled(pooling, own, spec.hidden_size),
            other => panic!("{name}: nothing is made of its hidden states: {other:?}"),
        });
    }
    let expected = golden.scores.as_ref().or(golden.vectors.as_ref()).expect("one of both");
    let error = relative_error(&results.concat(), expected);
    assert!(error < TOLERANCE, "{name}: results are off by {error}");
    println!("{name}: {error:.1e}");
}

#[test]
fn every_golden_agrees_with_the_reference() {
    let folders = testkit::golden_encoders();
    assert!(folders.len() >= 6, "the repository carries {} encoders", folders.len());
    for folder in folders {
        let golden = Golden::open(&folder);
        compare(&folder.display().to_string(), &folder, &golden);
        let gguf = folder.join("model.gguf");
        if gguf.exists() {
            compare(&gguf.display().to_string(), &gguf, &golden);
        }
    }
}

#[test]
fn a_sequence_has_the_same_bits_in_any_company() {
    for folder in testkit::golden_encoders() {
        let golden = Golden::open(&folder);
        for activations in [Activations::Quantized, Activations::F32] {
            let model = load(&folder, activations, 3);
            let alone = load(&folder, activations, 1);
            let all: Vec<_> = golden.sequences.iter().rev().collect();
            let together = hidden(&model, &all);
            let one: Vec<f32> = all.iter().flat_map(|one| hidden(&alone, &[one])).collect();
            let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert!(bits(&together) == bits(&one), "{}", folder.display());
        }
    }
}

#[test]
fn what_an_encoder_cannot_do_is_refused() {
    let folder = testkit::golden_encoders().into_iter().find(|f| f.ends_with("bert-mean"));
    let model = load(&folder.expect("the repository carries it"), Activations::F32, 1);
    let mut cache = model.new_cache(2);
    let mut scratch = Scratch::new();
    let mut out = Vec::new();
    let chunk = |position, tokens| Chunk {
        tokens,
        position,
        blocks: &[0, 1],
        logits: LogitRows::All,
        adapter: None,
    };
    let chunks = [chunk(0, &[1, 2][..])];
    let whole = Batch { chunks: &chunks };
    let logits = model.forward(&mut cache, &mut scratch, &whole, &mut out);
    assert_eq!(logits, Err(ForwardError::NoLogits));
    let scores = model.classify(&mut scratch, &[0.0; 24], &mut out);
    assert_eq!(scores, Err(ForwardError::NoScores));
    let mut run = |batch: &Batch<'_>, types: &[u8]| {
        model.forward_hidden(&mut cache, &mut scratch, batch, types, &mut out)
    };
    let chunks = [chunk(3, &[1, 2][..])];
    let later = run(&Batch { chunks: &chunks }, &[]);
    assert_eq!(later, Err(ForwardError::NotWhole { chunk: 0, position: 3 }));
    assert!(matches!(run(&whole, &[0]), Err(ForwardError::TokenTypes { got: 1, .. })));
    assert!(matches!(run(&whole, &[0, 2]), Err(ForwardError::TokenTypes { got: 2, .. })));
    assert!(run(&whole, &[1, 1]).is_ok());
    let long = vec![1; 61];
    let chunks = [chunk(0, &long)];
    let overlong = run(&Batch { chunks: &chunks }, &[]);
    assert!(matches!(overlong, Err(ForwardError::PositionPastContext { context_length: 60, .. })));
}

/// A copy of a golden in a folder of its own.
fn copied(name: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let from = testkit::golden_encoders().into_iter().find(|folder| folder.ends_with(name));
    let (home, from) = (tempfile::tempdir().expect("there is room"), from.expect("it is there"));
    let to = home.path().join(name);
    std::fs::create_dir_all(to.join("1_Pooling")).expect("there is room");
    for file in ["config.json", "model.safetensors", "modules.json", "1_Pooling/config.json"] {
        if from.join(file).is_file() {
            std::fs::copy(from.join(file), to.join(file)).expect("there is room");
        }
    }
    (home, to)
}

#[test]
fn what_a_folder_says_of_sentences_is_kept_to_or_refused_by_name() {
    let (_home, folder) = copied("bert-mean");
    let inspect = || {
        let checkpoint = Checkpoint::open(&folder).expect("it opens");
        model::inspect(&checkpoint).map(|spec| (spec.pooling, spec.context_length))
    };
    let write = |file: &str, text: &str| std::fs::write(folder.join(file), text).expect("written");
    assert_eq!(inspect().expect("as it was"), (Some(Pooling::Mean), 64));
    write("sentence_bert_config.json", r#"{"max_seq_length": 9, "do_lower_case": false}"#);
    assert_eq!(inspect().expect("shorter"), (Some(Pooling::Mean), 9));
    write("1_Pooling/config.json", r#"{"pooling_mode": "lasttoken", "include_prompt": true}"#);
    assert_eq!(inspect().expect("the later form"), (Some(Pooling::Last), 9));
    let module = |kind: &str, path: &str| format!(r#"[{{"type": "a.{kind}", "path": "{path}"}}]"#);
    for (file, text, named) in [
        ("sentence_bert_config.json", r#"{"do_lower_case": true}"#, "do_lower_case"),
        ("sentence_bert_config.json", r#"{"max_seq_length": 0}"#, "max_seq_length"),
        ("sentence_bert_config.json", "[]", "sentence_bert_config.json"),
        (
            "config_sentence_transformers.json",
            r#"{"default_prompt_name": "q", "prompts": {"q": "query: "}}"#,
            "default_prompt_name",
        ),
        ("1_Pooling/config.json", r#"{"pooling_mode_mean_tokens": false}"#, "one pooling mode"),
        (
            "1_Pooling/config.json",
            r#"{"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true}"#,
            "one pooling mode",
        ),
        (
            "1_Pooling/config.json",
            r#"{"pooling_mode_mean_sqrt_len_tokens": true}"#,
            "pooling_mode_mean_sqrt_len_tokens",
        ),
        ("1_Pooling/config.json", r#"{"word_embedding_dimension": 25}"#, "hidden size"),
        ("1_Pooling/config.json", "{", "config.json"),
        ("modules.json", &module("Dense", "2_Dense"), "Dense"),
        ("modules.json", &module("Pooling", "../1_Pooling"), "folder"),
        ("modules.json", &module("Pooling", ""), "folder"),
        ("modules.json", &module("Pooling", "9_Pooling"), "9_Pooling"),
        ("modules.json", "{}", "modules.json"),
        ("modules.json", "[1]", "modules.json"),
    ] {
        let before = std::fs::read(folder.join(file)).ok();
        write(file, text);
        let refused = inspect().expect_err(text).to_string();
        assert!(refused.contains(named), "{text}: {refused}");
        match before {
            Some(before) => std::fs::write(folder.join(file), before).expect("written"),
            None => std::fs::remove_file(folder.join(file)).expect("it is there"),
        }
    }
    assert!(inspect().is_ok(), "all is as it was");
}

#[test]
fn fuzz_what_a_folder_says_of_sentences() {
    let (_home, folder) = copied("bert-mean");
    let files = ["modules.json", "1_Pooling/config.json", "sentence_bert_config.json"];
    let pieces = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "1",
        "null",
        "true",
        "\"type\"",
        "\"path\"",
        "\"a.Pooling\"",
        "\"1_Pooling\"",
        "\"pooling_mode\"",
        "\"mean\"",
        "\"max_seq_length\"",
        "-1",
        "1e99",
    ];
    let input = bolero::generator::produce::<(u8, Vec<u8>)>();
    bolero::check!().with_iterations(300).with_generator(input).for_each(|(file, parts)| {
        let text: String =
            parts.iter().map(|&part| pieces[usize::from(part) % pieces.len()]).collect();
        let path = folder.join(files[usize::from(*file) % files.len()]);
        let before = std::fs::read(&path).ok();
        std::fs::write(&path, text).expect("written");
        let checkpoint = Checkpoint::open(&folder).expect("it opens");
        // Refused or read, and never more context than there is.
        assert!(model::inspect(&checkpoint).map_or(true, |spec| spec.context_length <= 64));
        match before {
            Some(before) => std::fs::write(&path, before).expect("written"),
            None => std::fs::remove_file(&path).expect("it is there"),
        }
    });
}

#[test]
fn configurations_that_change_the_mathematics_are_refused_by_name() {
    let (_home, folder) = copied("bert-mean");
    let config = std::fs::read_to_string(folder.join("config.json")).expect("it is there");
    let config: serde_json::Value = serde_json::from_str(&config).expect("it is JSON");
    for (key, value) in [
        ("hidden_act", serde_json::json!("gelu_new")),
        ("position_embedding_type", "relative_key".into()),
        ("is_decoder", true.into()),
        ("architectures", serde_json::json!(["BertForMaskedLM"])),
        ("layer_norm_eps", 2.into()),
        ("num_attention_heads", 5.into()),
        ("type_vocab_size", 0.into()),
        ("max_position_embeddings", 0.into()),
        ("some_gate", true.into()),
        ("model_type", "nomic_bert".into()),
        ("model_type", "modernbert".into()),
    ] {
        let mut changed = config.clone();
        changed[key] = value;
        let refused = model::from_config(&changed).expect_err(key).to_string();
        // Heads are told by what they share.
        let named = if key == "num_attention_heads" { "hidden_size" } else { key };
        assert!(refused.contains(named), "{key}: {refused}");
    }
    // RoBERTa needs a row behind the padding.
    let mut roberta = config;
    roberta["model_type"] = "roberta".into();
    roberta["architectures"] = serde_json::json!(["RobertaModel"]);
    roberta["pad_token_id"] = 63.into();
    let refused = model::from_config(&roberta).expect_err("no position is left").to_string();
    assert!(refused.contains("max_position_embeddings"), "{refused}");
}

/// Results of all sequences of a golden, by a pooled model with steps of `room`.
fn pooled_run(folder: &Path, golden: &Golden, pooling: Option<Pooling>, room: Room) -> Vec<f32> {
    let model = load(folder, Activations::F32, 2);
    let output = PooledOutput::of(model.spec(), pooling).expect("the files say it");
    let room = match room {
        Room::Usual => PooledRoom::of(model.spec(), model.spec().context_length, 64),
        Room::Small => PooledRoom { step_tokens: 8, blocks: 4 },
    };
    let mut pooled = Pooled::new(model, output, room);
    let texts: Vec<Texts<'_>> = golden
        .sequences
        .iter()
        .map(|(tokens, types)| {
            let second = types.iter().position(|&kind| kind == 1).unwrap_or(tokens.len());
            Texts { tokens, second }
        })
        .collect();
    let mut out = Vec::new();
    pooled.run(&texts, &mut out).expect("it runs");
    assert_eq!(out.len(), texts.len() * output.width(pooled.spec()));
    out
}

enum Room {
    /// Some sequences fit one step together, not all.
    Usual,
    /// Most sequences are longer than a step.
    Small,
}

#[test]
fn pooled_models_give_what_the_reference_gives() {
    for folder in testkit::golden_encoders() {
        let golden = Golden::open(&folder);
        let got = pooled_run(&folder, &golden, None, Room::Usual);
        let expected = golden.scores.as_ref().or(golden.vectors.as_ref()).expect("one of both");
        let unit = |rows: &[f32]| -> Vec<f32> {
            let row = |row: &[f32]| {
                let length = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
                row.iter().map(|x| (f64::from(*x) / length) as f32).collect::<Vec<_>>()
            };
            rows.chunks_exact(rows.len() / golden.sequences.len()).flat_map(row).collect()
        };
        let got = if golden.scores.is_some() { got } else { unit(&got) };
        let error = relative_error(&got, expected);
        assert!(error < TOLERANCE, "{}: {error}", folder.display());
    }
}

#[test]
fn a_text_that_is_longer_than_a_step_has_the_same_bits() {
    let folder = testkit::golden_encoders().into_iter().find(|f| f.ends_with("qwen3-last"));
    let folder = folder.expect("the repository carries it");
    let golden = Golden::open(&folder);
    let mut all = Vec::new();
    for pooling in Pooling::ALL {
        let run = |room| pooled_run(&folder, &golden, Some(pooling), room);
        let (usual, small) = (run(Room::Usual), run(Room::Small));
        assert!(usual.iter().zip(&small).all(|(a, b)| a.to_bits() == b.to_bits()), "{pooling:?}");
        all.push(usual);
    }
    assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "each pooling is another");
}

#[test]
fn a_pooling_must_be_known_and_make_sense() {
    let spec = |name: &str| {
        let folder = testkit::golden_encoders().into_iter().find(|folder| folder.ends_with(name));
        let checkpoint = Checkpoint::open(&folder.expect("it is there")).expect("it opens");
        model::inspect(&checkpoint).expect("it is understood")
    };
    let (vectors, scores) = (spec("bert-mean"), spec("bert-scores"));
    let bare = model::Spec { pooling: None, ..vectors.clone() };
    assert_eq!(PooledOutput::of(&bare, None), Err(PooledError::NoPooling));
    let asked = Some(Pooling::Cls);
    assert_eq!(PooledOutput::of(&vectors, asked), Ok(PooledOutput::Vector(Pooling::Cls)));
    assert_eq!(PooledOutput::of(&scores, None), Ok(PooledOutput::Scores { labels: 1 }));
    assert_eq!(PooledOutput::of(&scores, asked), Err(PooledError::Classifier));
}
