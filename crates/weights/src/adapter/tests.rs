//! Configurations and tensors that are understood, and those that are refused by name.

use super::{Adapter, AdapterError, RANK_MAX};
use crate::{Bytes, DType, Gguf, GgufWriter, Tensor, Value};
use bolero::check;
use serde_json::{Value as Json, json};

fn tensor(name: &str, shape: &[usize]) -> Tensor {
    let values: usize = shape.iter().product();
    let data = Bytes::from_vec(vec![0; 4 * values]);
    Tensor::new(name, DType::F32, shape.to_vec(), data).expect("fits")
}

/// A pair of the module `name`, with 6 inputs and 10 outputs.
fn pair(name: &str, rank: usize) -> Vec<Tensor> {
    let whole = |half: &str| format!("base_model.model.{name}.{half}.weight");
    vec![tensor(&whole("lora_A"), &[rank, 6]), tensor(&whole("lora_B"), &[10, rank])]
}

const QUERY: &str = "model.layers.0.self_attn.q_proj";
const DOWN: &str = "model.layers.11.mlp.down_proj";

/// A configuration that PEFT would write, with some values changed.
fn config(changes: Json) -> Json {
    let mut config = json!({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "bias": "none", "r": 4, "lora_alpha": 8,
        "target_modules": ["q_proj", "down_proj"], "modules_to_save": null, "use_dora": false,
        "lora_dropout": 0.05, "init_lora_weights": true, "rank_pattern": {}, "alpha_pattern": {},
        "base_model_name_or_path": "a/base", "layers_to_transform": null,
    });
    for (key, value) in changes.as_object().expect("an object") {
        config[key] = value.clone();
    }
    config
}

fn read(config: Json, tensors: &[Tensor]) -> Result<Adapter, AdapterError> {
    Adapter::from_peft(config.to_string().as_bytes(), tensors)
}

#[track_caller]
fn refused(config: Json, tensors: &[Tensor], words: &[&str]) {
    let error = read(config, tensors).expect_err("refused").to_string();
    assert!(words.iter().all(|word| error.contains(word)), "{error}");
}

#[test]
fn scales_follow_rank_alpha_and_their_patterns() {
    let tensors = [pair(QUERY, 4), pair(DOWN, 4)].concat();
    let scales = |changes: Json, tensors: &[Tensor]| -> Vec<f32> {
        let adapter = read(config(changes), tensors).expect("read");
        assert_eq!(adapter.base(), Some("a/base"));
        // In the order of names: layer 0, then layer 11.
        adapter.pairs().iter().map(|pair| pair.scale).collect()
    };
    assert_eq!(scales(json!({}), &tensors), [2.0, 2.0]);
    assert_eq!(scales(json!({"use_rslora": true}), &tensors), [4.0, 4.0]);
    assert_eq!(scales(json!({"lora_alpha": 0.5}), &tensors), [0.125, 0.125]);
    let patterns = |key: &str, value: Json| json!({ key: value });
    for (pattern, expected) in [
        (json!({"q_proj": 4}), [1.0, 2.0]),
        (json!({"proj": 4}), [2.0, 2.0]),
        (json!({".*proj": 4}), [1.0, 1.0]),
        (json!({"^model.layers.11.mlp.down_proj": 4}), [2.0, 1.0]),
        (json!({"layers.11.mlp.down_proj": 4}), [2.0, 1.0]),
        (json!({"layers.1.mlp.down_proj": 4}), [2.0, 2.0]),
        // A dot is any character.
        (json!({"layers.11.mlp.down.proj": 4}), [2.0, 1.0]),
        (json!({"(q|k)_proj": 4, "q_proj": 12}), [1.0, 2.0]),
        (json!({"q_proj": 12, "(q|k)_proj": 4}), [3.0, 2.0]),
        (json!({r"layers\.\d\d\..*": 16}), [2.0, 4.0]),
    ] {
        let got = scales(patterns("alpha_pattern", pattern.clone()), &tensors);
        assert_eq!(got, expected, "{pattern}");
    }
    let mixed = [pair(QUERY, 4), pair(DOWN, 2)].concat();
    let rank = json!({"rank_pattern": {"down_proj": 2}});
    assert_eq!(scales(rank, &mixed), [2.0, 4.0]);
    let both = json!({"rank_pattern": {"down_proj": 2}, "use_rslora": true});
    assert_eq!(scales(both, &mixed), [4.0, (8.0 / 2f64.sqrt()) as f32]);
}

#[test]
fn targets_are_selected_as_peft_selects_them() {
    let names = [QUERY, DOWN, "lm_head", "model.layers.11.mlp.xdown_proj"];
    for (changes, expected) in [
        (json!({}), [true, true, false, false]),
        (json!({"target_modules": [QUERY, "lm_head"]}), [true, false, true, false]),
        (json!({"target_modules": "all-linear"}), [true, true, false, true]),
        (json!({"target_modules": r".*\.(q|k)_proj"}), [true, false, false, false]),
        (json!({"target_modules": "q_proj|.*down_proj"}), [false, true, false, true]),
        (json!({"exclude_modules": ["down_proj"]}), [true, false, false, false]),
        (json!({"exclude_modules": ".*mlp.*"}), [true, false, false, false]),
        (json!({"layers_to_transform": [11]}), [false, true, false, false]),
        (json!({"layers_to_transform": 0}), [true, false, false, false]),
        (json!({"layers_to_transform": []}), [true, true, false, false]),
        (
            json!({"layers_to_transform": [0], "layers_pattern": "layers"}),
            [true, false, false, false],
        ),
        (
            json!({"layers_to_transform": [0], "layers_pattern": ["h", "blocks"]}),
            [false, false, false, false],
        ),
        (
            json!({"layers_to_transform": [0], "target_modules": [DOWN]}),
            [false, true, false, false],
        ),
    ] {
        let read = super::PeftConfig::read(config(changes.clone()).to_string().as_bytes());
        let read = read.expect("understood");
        assert_eq!(names.map(|name| read.is_target(name)), expected, "{changes}");
    }
}

#[test]
fn keys_that_change_the_mathematics_are_refused_by_name() {
    let tensors = pair(QUERY, 4);
    for (key, value) in [
        ("use_dora", json!(true)),
        ("modules_to_save", json!(["lm_head"])),
        ("trainable_token_indices", json!([1, 2])),
        ("target_parameters", json!(["mlp.experts.gate_up_proj"])),
        ("layer_replication", json!([[0, 2], [1, 3]])),
        ("alora_invocation_tokens", json!([5])),
        ("fan_in_fan_out", json!(true)),
        ("lora_bias", json!(true)),
        ("megatron_config", json!({"a": 1})),
        ("use_qalora", json!(true)),
        ("use_bdlora", json!({"a": 1})),
        ("arrow_config", json!({"top_k": 3})),
        ("kasa_config", json!({"a": 1})),
        ("velora_config", json!({"a": 1})),
        ("monteclora_config", json!({"a": 1})),
        ("init_lora_weights", json!("pissa")),
        ("init_lora_weights", json!("pissa_niter_16")),
        ("init_lora_weights", json!("olora")),
        ("init_lora_weights", json!("corda")),
        ("init_lora_weights", json!("loftq")),
        ("of_the_next_version", json!(0.5)),
    ] {
        refused(config(json!({ key: value })), &tensors, &[key, "not supported"]);
    }
    for (key, value, expected) in [
        ("bias", json!("all"), "none"),
        ("bias", json!("lora_only"), "none"),
        ("peft_type", json!("LOHA"), "LORA"),
        ("task_type", json!("SEQ_CLS"), "CAUSAL_LM"),
        ("r", json!(0), "rank of 1"),
        ("r", json!(RANK_MAX + 1), "rank of 1"),
        ("r", json!(-3), "rank of 1"),
        ("r", json!(2.5), "rank of 1"),
        ("r", json!("8"), "rank of 1"),
        ("lora_alpha", json!("NaN"), "finite number"),
        ("use_rslora", json!("yes"), "true or false"),
        ("rank_pattern", json!({"q_proj": 0}), "rank of 1"),
        ("alpha_pattern", json!({"q_proj": null}), "finite number"),
        ("alpha_pattern", json!([1]), "an object"),
        ("target_modules", json!(7), "a list of names"),
        ("target_modules", json!([1]), "names of modules"),
        ("exclude_modules", json!({"a": 1}), "a list of names"),
        ("layers_to_transform", json!("all"), "layer indices"),
        ("layers_to_transform", json!([-1]), "layer indices"),
    ] {
        refused(config(json!({ key: value })), &tensors, &[key, expected]);
    }
    for key in ["r", "lora_alpha", "target_modules"] {
        refused(config(json!({ key: null })), &tensors, &[key, "missing"]);
    }
    // What is off or harmless stands in most files.
    let harmless = json!({"use_dora": false, "megatron_core": "megatron.core", "loftq_config": {},
        "unknown": null, "eva_config": {"rho": 2.0}, "init_lora_weights": "gaussian", "bias": null});
    assert!(read(config(harmless), &tensors).is_ok());
    assert!(matches!(Adapter::from_peft(b"[1]", &tensors), Err(AdapterError::Json(_))));
    assert!(matches!(Adapter::from_peft(b"{\"r\": 1e999}", &tensors), Err(AdapterError::Json(_))));
}

#[test]
fn patterns_have_limits() {
    let tensors = pair(QUERY, 4);
    let with = |pattern: &str| config(json!({"alpha_pattern": { pattern: 1 }}));
    refused(with("(?=q)q_proj"), &tensors, &["alpha_pattern", "(?=q)q_proj", "look-around"]);
    refused(with("("), &tensors, &["alpha_pattern", "unclosed group"]);
    refused(with(&format!("({}", "a".repeat(5000))), &tensors, &["alpha_pattern", "4096"]);
    refused(with("((a{1000}){1000}){1000}"), &tensors, &["alpha_pattern", "size limit"]);
    refused(config(json!({"target_modules": "*"})), &tensors, &["target_modules", "repetition"]);
    let many: serde_json::Map<String, Json> =
        (0..100).map(|i| (format!("(a|b){i}"), json!(1))).collect();
    refused(config(json!({"alpha_pattern": many})), &tensors, &["regular expressions", "64"]);
    let many: serde_json::Map<String, Json> =
        (0..20_000).map(|i| (format!("layers.{i}.q"), json!(1))).collect();
    refused(config(json!({"alpha_pattern": many})), &tensors, &["patterns", "16384"]);
    let groups = json!({"layers_to_transform": [0], "layers_pattern": "(layers|h)"});
    refused(config(groups), &tensors, &["layers_pattern", "groups"]);
}

#[test]
fn tensors_that_are_no_fitting_pairs_are_refused_by_name() {
    let with = |more: Vec<Tensor>| [pair(QUERY, 4), more].concat();
    let inner = |name: &str| format!("base_model.model.{DOWN}.{name}");
    for (name, why) in [
        (inner("lora_magnitude_vector"), "DoRA"),
        (inner("lora_magnitude_vector.weight"), "DoRA"),
        (inner("lora_B.bias"), "biases"),
        (inner("weight"), "modules_to_save"),
        (inner("lora_A.default.weight"), "modules_to_save"),
        ("base_model.model.model.embed_tokens.lora_embedding_A".to_owned(), "embeddings"),
        ("model.layers.0.self_attn.q_proj.lora_A.weight".to_owned(), "begin with base_model"),
    ] {
        let tensors = with(vec![tensor(&name, &[4, 6])]);
        refused(config(json!({})), &tensors, &[name.as_str(), why]);
    }
    let untargeted = "model.layers.0.self_attn.k_proj";
    refused(config(json!({})), &with(pair(untargeted, 4)), &[untargeted, "target_modules"]);
    for (left, lost) in [(0, "lora_B"), (1, "lora_A")] {
        let lone = with(vec![pair(DOWN, 4)[left].clone()]);
        refused(config(json!({})), &lone, &[&inner(lost), "partner"]);
    }
    refused(config(json!({})), &with(pair(DOWN, 3)), &["(4, inputs)", "[3, 6]"]);
    let mut unequal = pair(DOWN, 4);
    unequal[1] = tensor(&inner("lora_B.weight"), &[10, 3]);
    refused(config(json!({})), &with(unequal), &["lora_B", "(outputs, 4)", "[10, 3]"]);
    let mut flat = pair(DOWN, 4);
    flat[0] = tensor(&inner("lora_A.weight"), &[24]);
    refused(config(json!({})), &with(flat), &["lora_A", "[24]"]);
    let mut integers = pair(DOWN, 4);
    integers[0].dtype = DType::from_gguf(27).expect("I64");
    refused(config(json!({})), &with(integers), &["lora_A", "cannot be decoded"]);
    refused(config(json!({})), &[], &["no tensors"]);
    let huge = config(json!({"lora_alpha": 1e300}));
    refused(huge, &pair(QUERY, 4), &["no finite scale", "lora_A"]);
}

fn gguf(change: impl FnOnce(&mut GgufWriter<'_>)) -> Result<Adapter, AdapterError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("adapter.gguf");
    let mut file = GgufWriter::new();
    file.set("general.architecture", "llama");
    file.set("general.type", "adapter");
    file.set("adapter.type", "lora");
    file.set("adapter.lora.alpha", Value::F32(6.0));
    for (half, shape) in [("a", [3, 8]), ("b", [16, 3])] {
        let name = format!("blk.1.attn_q.weight.lora_{half}");
        file.tensor_f32(name, DType::F32, &shape, vec![0.5; shape[0] * shape[1]]);
    }
    change(&mut file);
    file.write(&path).expect("written");
    Adapter::from_gguf(&Gguf::open(&path).expect("opens"))
}

#[test]
fn gguf_adapters_are_read_or_refused_by_name() {
    let adapter = gguf(|_| {}).expect("read");
    assert_eq!(adapter.architecture(), Some("llama"));
    let [pair] = adapter.pairs() else { panic!("one pair") };
    assert_eq!((pair.target.as_str(), pair.rank(), pair.scale), ("blk.1.attn_q.weight", 3, 2.0));
    let unscaled = gguf(|file| {
        file.set("adapter.lora.alpha", Value::F32(0.0));
    });
    assert_eq!(unscaled.expect("read").pairs()[0].scale, 1.0);
    let refused = |change: fn(&mut GgufWriter<'_>), words: [&str; 2]| {
        let error = gguf(change).expect_err("refused").to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    refused(
        |f| {
            f.set("general.type", "model");
        },
        ["general.type", "\"adapter\""],
    );
    refused(
        |f| {
            f.set("adapter.type", "control");
        },
        ["adapter.type", "\"lora\""],
    );
    refused(
        |f| {
            f.set("adapter.lora.alpha", Value::F32(f32::NAN));
        },
        ["alpha NaN", "lora_a"],
    );
    refused(
        |f| {
            f.set("adapter.lora.alpha", "6");
        },
        ["adapter.lora.alpha", "float"],
    );
    refused(
        |f| {
            f.set("adapter.alora.invocation_tokens", vec![1u32]);
        },
        ["adapter.alora.invocation_tokens", "not supported"],
    );
    refused(
        |f| {
            f.tensor_f32("blk.0.attn_k.weight.lora_b", DType::F32, &[8, 3], vec![0.0; 24]);
        },
        ["blk.0.attn_k.weight.lora_b", "blk.0.attn_k.weight.lora_a"],
    );
    refused(
        |f| {
            f.tensor_f32("output_norm.weight", DType::F32, &[8], vec![0.0; 8]);
        },
        ["output_norm.weight", ".lora_a"],
    );
}

#[test]
fn folders_are_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let refusal = || Adapter::open(folder.path()).expect_err("no adapter").to_string();
    assert!(refusal().contains("without adapter_config.json"), "{}", refusal());
    std::fs::write(folder.path().join("config.json"), "{}").expect("written");
    assert!(refusal().contains("whole model"), "{}", refusal());
    std::fs::write(folder.path().join("adapter_config.json"), config(json!({})).to_string())
        .expect("written");
    assert!(refusal().contains("adapter_model.safetensors"), "{}", refusal());
    std::fs::write(folder.path().join("adapter_model.bin"), "PK").expect("written");
    assert!(refusal().contains("pickle"), "{}", refusal());
    let names = ["lora_A", "lora_B"].map(|h| format!("base_model.model.{QUERY}.{h}.weight"));
    let values = [0.5; 40];
    let tensors =
        vec![(&names[0], vec![4, 6], &values[..24]), (&names[1], vec![10, 4], &values[..])];
    let weights = folder.path().join("adapter_model.safetensors");
    crate::write_safetensors(&weights, tensors).expect("written");
    assert_eq!(Adapter::open(folder.path()).expect("opens").pairs().len(), 1);
    let error = Adapter::open(&weights).expect_err("not the folder").to_string();
    assert!(error.contains("name the folder"), "{error}");
}

/// Whatever was read keeps what its documentation promises.
fn check_read(adapter: &Adapter) {
    assert!(!adapter.pairs().is_empty());
    for pair in adapter.pairs() {
        assert!((1..=RANK_MAX).contains(&pair.rank()) && pair.scale.is_finite());
        assert_eq!(pair.b.shape[1], pair.rank());
        assert!(adapter.is_target(&pair.target));
    }
}

#[test]
fn fuzz_changed_configurations() {
    let text = config(json!({
        "rank_pattern": {"q_proj": 4, r"layers\.1.*": 4}, "alpha_pattern": {"^model.(a|b)": 2.5},
        "layers_to_transform": [0, 11], "layers_pattern": "layers", "exclude_modules": "x.*",
    }))
    .to_string();
    let tensors = [pair(QUERY, 4), pair(DOWN, 4)].concat();
    let changes = bolero::generator::produce::<Vec<(u16, u8)>>().with().len(0usize..4);
    check!().with_iterations(10_000).with_generator(changes).for_each(|changes| {
        let mut bytes = text.clone().into_bytes();
        for &(at, byte) in changes {
            let at = usize::from(at) % bytes.len();
            bytes[at] = byte;
        }
        if let Ok(adapter) = Adapter::from_peft(&bytes, &tensors) {
            check_read(&adapter);
        }
    });
}

#[test]
fn fuzz_values_of_keys_and_names_of_tensors() {
    let keys = [
        "r",
        "lora_alpha",
        "target_modules",
        "exclude_modules",
        "rank_pattern",
        "alpha_pattern",
        "layers_to_transform",
        "layers_pattern",
        "use_rslora",
        "bias",
        "init_lora_weights",
    ];
    let input = bolero::generator::produce::<(u8, u8, i64, String)>();
    check!().with_iterations(10_000).with_generator(input).for_each(|(key, form, number, text)| {
        let value = match form % 6 {
            0 => json!(number),
            1 => json!(*number as f64 / 7.0),
            2 => json!(text),
            3 => json!([text, number]),
            4 => json!({ text: number }),
            _ => json!([number]),
        };
        let changed = config(json!({ keys[usize::from(*key) % keys.len()]: value }));
        let mut tensors = pair(QUERY, 4);
        if let Ok(adapter) = read(changed.clone(), &tensors) {
            check_read(&adapter);
        }
        tensors[0].name = text.clone();
        assert!(read(changed, &tensors).is_err(), "A without a name of its own");
    });
}
