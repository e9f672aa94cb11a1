//! Readers of configurations: published ones, hostile ones, and what they refuse.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weights::{Bytes, DType, Tensor};

use super::*;
use crate::parameters::Parameters;
use crate::rope::{Pairing, RopeScaling};
use crate::spec::{Ffn, Head, LayerSpec, Mask, Scoring};

/// SmolLM2-135M's own `config.json`.
fn smollm2() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
        "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 576,
        "initializer_range": 0.041666666666666664, "intermediate_size": 1536,
        "is_llama_config": true, "max_position_embeddings": 8192, "mlp_bias": false,
        "model_type": "llama", "num_attention_heads": 9, "num_hidden_layers": 30,
        "num_key_value_heads": 3, "pad_token_id": 2, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
        "rope_interleaved": false, "rope_scaling": null, "rope_theta": 100000,
        "tie_word_embeddings": true, "torch_dtype": "bfloat16",
        "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}},
        "transformers_version": "4.42.3", "use_cache": true, "vocab_size": 49152
    })
}

/// Qwen3-30B-A3B's.
fn qwen3_moe() -> Value {
    json!({
        "architectures": ["Qwen3MoeForCausalLM"], "attention_bias": false,
        "attention_dropout": 0.0, "bos_token_id": 151643, "decoder_sparse_step": 1,
        "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu", "hidden_size": 2048,
        "initializer_range": 0.02, "intermediate_size": 6144, "max_position_embeddings": 40960,
        "max_window_layers": 48, "mlp_only_layers": [], "model_type": "qwen3_moe",
        "moe_intermediate_size": 768, "norm_topk_prob": true, "num_attention_heads": 32,
        "num_experts": 128, "num_experts_per_tok": 8, "num_hidden_layers": 48,
        "num_key_value_heads": 4, "output_router_logits": false, "rms_norm_eps": 1e-06,
        "rope_scaling": null, "rope_theta": 1000000.0, "router_aux_loss_coef": 0.001,
        "sliding_window": null, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
        "transformers_version": "4.51.0", "use_cache": true, "use_sliding_window": false,
        "vocab_size": 151936
    })
}

/// Qwen2.5-0.5B's.
fn qwen2() -> Value {
    json!({
        "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643,
        "eos_token_id": 151643, "hidden_act": "silu", "hidden_size": 896,
        "initializer_range": 0.02, "intermediate_size": 4864, "max_position_embeddings": 32768,
        "max_window_layers": 24, "model_type": "qwen2", "num_attention_heads": 14,
        "num_hidden_layers": 24, "num_key_value_heads": 2, "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0, "sliding_window": 32768, "tie_word_embeddings": true,
        "torch_dtype": "bfloat16", "transformers_version": "4.40.1", "use_cache": true,
        "use_mrope": false, "use_sliding_window": false, "vocab_size": 151936
    })
}

fn with(mut config: Value, changes: Value) -> Value {
    let Value::Object(changes) = changes else { panic!("changes are an object") };
    for (key, value) in changes {
        config[key] = value;
    }
    config
}

#[test]
fn published_configurations_have_the_published_sizes() {
    let count = |config: Value| Parameters::count(&from_config(&config).expect("reads"));
    assert_eq!(count(smollm2()).total(), 134_515_008);
    assert_eq!(count(qwen2()).total(), 494_032_768);
    let moe = count(qwen3_moe());
    assert_eq!(moe.total(), 30_532_122_624);
    assert_eq!(moe.active() / 100_000_000, 33);
    let qwen3 = with(
        qwen2(),
        json!({
            "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "attention_bias": false,
            "head_dim": 128, "hidden_size": 1024, "intermediate_size": 3072,
            "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8
        }),
    );
    assert_eq!(count(qwen3).total(), 596_049_920);
    let llama = with(
        smollm2(),
        json!({
            "hidden_size": 2048, "intermediate_size": 8192, "num_attention_heads": 32,
            "num_key_value_heads": 8, "num_hidden_layers": 16, "vocab_size": 128256,
            "head_dim": 64, "rope_scaling": {
                "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                "original_max_position_embeddings": 8192, "rope_type": "llama3"
            }
        }),
    );
    assert_eq!(count(llama).total(), 1_235_814_400);
}

#[test]
fn the_newer_form_says_the_same() {
    let newer = json!({
        "dtype": "bfloat16", "rope_scaling": null, "torch_dtype": null, "rope_theta": null,
        "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"},
        "sliding_window": null, "layer_types": vec!["full_attention"; 24]
    });
    assert_eq!(from_config(&with(qwen2(), newer)), from_config(&qwen2()));
    let experts = json!({"num_experts": null, "num_local_experts": 128});
    assert_eq!(from_config(&with(qwen3_moe(), experts)), from_config(&qwen3_moe()));
}

#[test]
fn layers_follow_the_configuration() {
    let config = with(
        qwen3_moe(),
        json!({"num_hidden_layers": 6, "decoder_sparse_step": 2, "mlp_only_layers": [3]}),
    );
    let spec = from_config(&config).expect("reads");
    let moe: Vec<bool> = spec.layers.iter().map(|l| matches!(l.ffn, Ffn::Moe(_))).collect();
    assert_eq!(moe, [false, true, false, false, false, true]);
    assert_eq!(spec.head, Head::Untied);
    let Mixer::Attention(attention) = &spec.layers[0].mixer;
    assert!(attention.qk_norm.is_some() && !attention.qkv_bias);
    assert_eq!(attention.head_dim, 128);
}

#[test]
fn yarn_lengthens_the_context() {
    let scaling = json!({"rope_scaling": {
        "type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768
    }});
    let spec = from_config(&with(qwen2(), scaling)).expect("reads");
    assert_eq!(spec.context_length, 131_072);
    let Mixer::Attention(attention) = &spec.layers[0].mixer;
    let scaling = attention.rope.as_ref().map(|rope| &rope.scaling);
    assert!(matches!(
        scaling,
        Some(RopeScaling::Yarn { attention_factor, original_context: 32768, .. })
            if (attention_factor - 1.138_629_4).abs() < 1e-6
    ));
}

/// Each change must be refused with an error that names the key.
#[test]
fn what_changes_the_mathematics_is_refused_by_name() {
    let refused: [(Value, &str, Value); 33] = [
        (smollm2(), "hidden_act", json!("gelu")),
        (smollm2(), "rope_interleaved", json!(true)),
        (smollm2(), "sliding_window", json!(4096)),
        (smollm2(), "logit_scale", json!(0.0625)),
        (smollm2(), "attn_logit_softcapping", json!(50.0)),
        (smollm2(), "final_logit_softcapping", json!(30.0)),
        (smollm2(), "quantization_config", json!({"quant_method": "gptq"})),
        (smollm2(), "partial_rotary_factor", json!(0.5)),
        (smollm2(), "embedding_multiplier", json!(12.0)),
        (smollm2(), "architectures", json!(["LlamaForSequenceClassification"])),
        (smollm2(), "model_type", json!("gemma2")),
        (smollm2(), "rope_type", json!({"a": 1})),
        (smollm2(), "pruned_heads", json!({"0": [1]})),
        (smollm2(), "num_attention_heads", json!(0)),
        (smollm2(), "num_key_value_heads", json!(2)),
        (smollm2(), "num_key_value_heads", json!(0)),
        (smollm2(), "num_hidden_layers", json!(1_000_000)),
        (smollm2(), "num_hidden_layers", json!(-1)),
        (smollm2(), "head_dim", json!(0)),
        (smollm2(), "head_dim", json!(63)),
        (smollm2(), "rms_norm_eps", json!("NaN")),
        (smollm2(), "rms_norm_eps", json!(0.0)),
        (smollm2(), "rms_norm_eps", json!(1e300)),
        (smollm2(), "rope_theta", json!(1.0)),
        (smollm2(), "vocab_size", json!(1u64 << 40)),
        (smollm2(), "hidden_size", json!("576")),
        (smollm2(), "tie_word_embeddings", json!(1)),
        (smollm2(), "max_position_embeddings", Value::Null),
        (qwen2(), "layer_types", json!(["sliding_attention"])),
        (qwen2(), "layer_types", json!(["full_attention"])),
        (qwen3_moe(), "num_experts_per_tok", json!(129)),
        (qwen3_moe(), "shared_expert_intermediate_size", json!(512)),
        (qwen3_moe(), "mlp_only_layers", json!("all")),
    ];
    for (config, key, value) in refused {
        let shown = format!("{key} = {value}");
        let error = from_config(&with(config, json!({ key: value }))).expect_err(&shown);
        assert!(error.to_string().contains(key), "{shown}: {error}");
    }
}

#[test]
fn rope_scaling_is_refused_by_name() {
    let scalings = [
        (json!({"rope_type": "dynamic", "factor": 2.0}), "rope_type"),
        (json!({"type": "longrope", "long_factor": [1.0]}), "rope_type"),
        (json!({"rope_type": "linear"}), "factor"),
        (json!({"rope_type": "linear", "factor": 0.0}), "factor"),
        (json!({"rope_type": "linear", "factor": 2.0, "mystery": 1}), "mystery"),
        (json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0}), "high_freq_factor"),
        (
            json!({
                "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4, "high_freq_factor": 4
            }),
            "high_freq_factor",
        ),
        (json!("yarn"), "rope_scaling"),
    ];
    for (scaling, key) in scalings {
        let error = from_config(&with(smollm2(), json!({"rope_scaling": scaling})))
            .expect_err(&scaling.to_string());
        assert!(error.to_string().contains(key), "{scaling}: {error}");
    }
    let uneven = from_config(&with(smollm2(), json!({"num_attention_heads": 7})));
    assert!(matches!(uneven, Err(SpecError::OutOfRange { key, .. }) if key == "hidden_size"));
    let both = json!({
        "rope_scaling": {"type": "linear", "factor": 2},
        "rope_parameters": {"rope_theta": 1e4, "rope_type": "default"}
    });
    assert!(from_config(&with(smollm2(), both)).is_err());
}

/// The window of each layer.
fn windows(config: Value) -> Result<Vec<Option<usize>>, SpecError> {
    let window = |layer: &LayerSpec| {
        let Mixer::Attention(attention) = &layer.mixer;
        attention.mask.window()
    };
    Ok(from_config(&config)?.layers.iter().map(window).collect())
}

#[test]
fn windows_are_read_as_the_reference_reads_them() {
    let mistral = json!({"model_type": "mistral", "architectures": ["MistralForCausalLM"]});
    let mistral = with(smollm2(), mistral);
    let mistral = |window: Value| with(mistral.clone(), json!({"sliding_window": window}));
    assert_eq!(windows(mistral(json!(512))), Ok(vec![Some(512); 30]));
    let mut missing = mistral(json!(512));
    missing.as_object_mut().expect("an object").remove("sliding_window");
    assert_eq!(windows(missing), Ok(vec![Some(4096); 30]), "the class's default");
    // As long as the context, or none.
    for window in [json!(null), json!(8192), json!(1e9), json!(0)] {
        assert_eq!(windows(mistral(window)), Ok(vec![None; 30]));
    }
    let on = json!({"use_sliding_window": true, "sliding_window": 128});
    let on = |more: Value| with(qwen2(), with(on.clone(), more));
    assert_eq!(windows(on(json!({}))), Ok(vec![None; 24]), "no layer is past the 24th");
    let last = [vec![None; 20], vec![Some(128); 4]].concat();
    assert_eq!(windows(on(json!({"max_window_layers": 20}))), Ok(last.clone()));
    assert_eq!(
        windows(on(json!({"max_window_layers": 20, "use_sliding_window": false}))),
        Ok(vec![None; 24])
    );
    // The types of layers win over their numbers.
    let types: Vec<&str> =
        last.iter().map(|w| w.map_or("full_attention", |_| "sliding_attention")).collect();
    assert_eq!(windows(on(json!({"max_window_layers": 3, "layer_types": types}))), Ok(last));
    let moe = json!({"use_sliding_window": true, "sliding_window": 64});
    assert_eq!(windows(with(qwen3_moe(), moe)), Ok(vec![Some(64); 48]));
    let spec = from_config(&on(json!({"max_window_layers": 20}))).expect("reads");
    assert!(spec.summary().ends_with(", windows of 128 in 4 layers"), "{}", spec.summary());
}

#[test]
fn windows_that_are_not_understood_are_refused_by_name() {
    let sliding = json!(vec!["sliding_attention"; 24]);
    let on = json!({"use_sliding_window": true, "sliding_window": 128});
    let moe = json!(vec!["full_attention"; 48]);
    let two_ropes = json!({
        "full_attention": {"rope_type": "default", "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}
    });
    for (config, key) in [
        (with(qwen2(), json!({"layer_types": sliding})), "layer_types"),
        (with(qwen2(), json!({"layer_types": vec!["chunked_attention"; 24]})), "layer_types"),
        (with(with(qwen3_moe(), on.clone()), json!({"layer_types": moe})), "layer_types"),
        (with(with(qwen2(), on), json!({"sliding_window": -1})), "sliding_window"),
        (
            with(qwen2(), json!({"rope_theta": null, "rope_parameters": two_ropes})),
            "sliding_attention",
        ),
    ] {
        let error = from_config(&config).expect_err(key);
        assert!(error.to_string().contains(key), "{key}: {error}");
    }
}

#[test]
fn windows_of_metadata_are_for_all_layers_or_refused() {
    let with_window = |arch: &str, window: Value| {
        let mut entries = metadata(arch);
        entries.push((format!("{arch}.attention.sliding_window"), window));
        read(entries, &[])
    };
    for arch in ["llama", "qwen3moe"] {
        let spec = with_window(arch, json!(512)).expect("reads");
        for layer in &spec.layers {
            let Mixer::Attention(attention) = &layer.mixer;
            assert_eq!(attention.mask, Mask::Sliding { window: 512 });
        }
    }
    for arch in ["qwen2", "qwen3"] {
        let error = with_window(arch, json!(512)).expect_err(arch).to_string();
        assert!(error.contains("attention.sliding_window"), "{error}");
    }
    for arch in ["llama", "qwen2"] {
        for window in [0, 1024] {
            assert!(with_window(arch, json!(window)).is_ok(), "hides nothing");
        }
    }
}

/// The metadata of a tiny GGUF file of architecture `arch`.
fn metadata(arch: &str) -> Vec<(String, Value)> {
    let mut entries = vec![("general.architecture".to_owned(), json!(arch))];
    for (key, value) in [
        ("block_count", json!(3)),
        ("context_length", json!(1024)),
        ("embedding_length", json!(64)),
        ("feed_forward_length", json!(96)),
        ("attention.head_count", json!(4)),
        ("attention.head_count_kv", json!(2)),
        ("attention.layer_norm_rms_epsilon", json!(1e-5)),
        ("vocab_size", json!(100)),
        ("expert_count", json!(if arch == "qwen3moe" { 8 } else { 0 })),
        ("expert_used_count", json!(if arch == "qwen3moe" { 2 } else { 0 })),
        ("expert_feed_forward_length", json!(if arch == "qwen3moe" { 32 } else { 0 })),
    ] {
        entries.push((format!("{arch}.{key}"), value));
    }
    entries
}

fn read(entries: Vec<(String, Value)>, tensors: &[(&str, Vec<usize>)]) -> Result<Spec, SpecError> {
    let tensors: BTreeMap<&str, Tensor> = tensors
        .iter()
        .map(|(name, shape)| {
            let len: usize = shape.iter().product();
            let data = Bytes::from_vec(1f32.to_le_bytes().repeat(len));
            (*name, Tensor::new(*name, DType::F32, shape.clone(), data).expect("fits"))
        })
        .collect();
    from_metadata(entries, &|name| tensors.get(name).cloned())
}

#[test]
fn metadata_is_read_with_what_the_tensors_say() {
    let tensors = [
        ("token_embd.weight", vec![104, 64]),
        ("output.weight", vec![104, 64]),
        ("blk.1.attn_q.bias", vec![64]),
        ("rope_freqs.weight", vec![8]),
    ];
    let spec = read(metadata("llama"), &tensors).expect("reads");
    assert_eq!((spec.vocab_size, spec.head), (104, Head::Untied));
    let biases: Vec<bool> = spec
        .layers
        .iter()
        .map(|layer| {
            let Mixer::Attention(attention) = &layer.mixer;
            let rope = attention.rope.as_ref().expect("rotary");
            assert_eq!(rope.pairing, Pairing::Adjacent);
            assert_eq!(rope.scaling, RopeScaling::Divisors(vec![1.0; 8]));
            attention.qkv_bias
        })
        .collect();
    assert_eq!(biases, [false, true, false]);

    let spec = read(metadata("qwen3moe"), &[("blk.2.ffn_gate_inp.weight", vec![8, 64])]);
    let spec = spec.expect("reads");
    assert_eq!((spec.vocab_size, spec.head), (100, Head::Tied));
    let Ffn::Moe(moe) = &spec.layers[2].ffn else { panic!("experts") };
    assert_eq!(moe.scoring, Scoring::Softmax { renormalize: true });
    assert!(matches!(spec.layers[0].ffn, Ffn::Dense(_)));
}

#[test]
fn metadata_for_each_layer_is_read() {
    let mut entries = metadata("llama");
    entries.retain(|(key, _)| {
        !key.ends_with("head_count_kv") && !key.ends_with("feed_forward_length")
    });
    entries.push(("llama.attention.head_count_kv".into(), json!([1, 2, 4])));
    entries.push(("llama.feed_forward_length".into(), json!([32, 64, 96])));
    let spec = read(entries.clone(), &[]).expect("reads");
    let Mixer::Attention(last) = &spec.layers[2].mixer;
    assert_eq!(last.kv_heads, 4);
    let short = |(key, value): &mut (String, Value)| {
        if key == "llama.feed_forward_length" {
            *value = json!([32, 64]);
        }
    };
    entries.iter_mut().for_each(short);
    assert!(read(entries, &[]).is_err());
}

#[test]
fn metadata_that_changes_the_mathematics_is_refused_by_name() {
    for (key, value) in [
        ("llama.attention.sliding_window", json!("512")),
        ("llama.attention.sliding_window_pattern", json!(2)),
        ("llama.attention.causal", json!(false)),
        ("llama.attention.value_length", json!(8)),
        ("llama.logit_scale", json!(0.5)),
        ("llama.rope.scaling.type", json!("longrope")),
        ("llama.rope.dimension_count", json!(7)),
        ("llama.rope.dimension_count", json!(32)),
        ("llama.block_count", json!(0)),
        ("llama.block_count", json!(u64::MAX)),
        ("llama.attention.head_count", json!(0)),
        ("llama.attention.head_count_kv", json!(3)),
        ("llama.attention.layer_norm_rms_epsilon", json!("NaN")),
        ("llama.expert_count", json!(8)),
        ("llama.rope.freq_base", json!(-1.0)),
        ("general.type", json!("adapter")),
        ("general.architecture", json!("gemma3")),
    ] {
        let mut entries = metadata("llama");
        entries.retain(|(other, _)| other != key);
        entries.push((key.to_owned(), value.clone()));
        let error = read(entries, &[]).expect_err(key);
        assert!(error.to_string().contains(key), "{key} = {value}: {error}");
    }
}

/// What every accepted spec promises to the code behind it.
fn check_promises(spec: &Spec) {
    assert!(limits::LAYERS.contains(&spec.layers.len()));
    assert!(limits::VOCAB.contains(&spec.vocab_size) && limits::HIDDEN.contains(&spec.hidden_size));
    for layer in &spec.layers {
        let Mixer::Attention(attention) = &layer.mixer;
        assert_eq!(attention.heads % attention.kv_heads, 0);
        assert!(attention.scale.is_finite() && attention.head_dim >= 2);
        assert_ne!(attention.mask.window(), Some(0));
        if let Some(rope) = &attention.rope {
            assert!(rope.rotary_dim <= attention.head_dim);
            let frequencies = rope.kernel().inverse_frequencies;
            assert_eq!(frequencies.len(), rope.rotary_dim / 2);
            assert!(frequencies.iter().all(|frequency| frequency.is_finite()), "{rope:?}");
        }
    }
    assert!(Parameters::count(spec).total() > 0);
    assert!(!spec.summary().is_empty());
}

/// A JSON value of whatever kind, some of them the ones that break readers.
fn strange(choice: u8, number: i64) -> Value {
    match choice % 12 {
        0 => Value::Null,
        1 => json!(number),
        2 => json!(number.unsigned_abs() % 4096),
        3 => json!(f64::from_bits(number as u64)),
        4 => json!(number % 2 == 0),
        5 => json!("full_attention"),
        6 => json!([number, 1]),
        7 => json!({"rope_type": "yarn", "factor": number as f64, "rope_theta": 2.0}),
        8 => {
            json!({"type": "llama3", "factor": 1e-30, "low_freq_factor": 1, "high_freq_factor": number})
        }
        9 => json!(u64::MAX),
        10 => json!(1e-40),
        _ => json!({"full_attention": {"rope_type": "linear", "factor": number}}),
    }
}

#[test]
fn any_configuration_is_read_or_refused() {
    let bases = [smollm2(), qwen2(), qwen3_moe()];
    bolero::check!().with_type::<(u8, Vec<(u8, u8, i64)>)>().for_each(|(base, changes)| {
        let mut config = bases[usize::from(*base) % bases.len()].clone();
        let keys: Vec<String> = config.as_object().expect("an object").keys().cloned().collect();
        let extra = ["rope_parameters", "layer_types", "head_dim", "num_local_experts"];
        for (key, choice, number) in changes {
            let at = usize::from(*key) % (keys.len() + extra.len());
            let key = keys.get(at).map_or_else(|| extra[at - keys.len()], String::as_str);
            config[key] = strange(*choice, *number);
        }
        if let Ok(spec) = from_config(&config) {
            check_promises(&spec);
        }
    });
}

#[test]
fn any_json_is_read_or_refused() {
    bolero::check!().for_each(|bytes| {
        if let Ok(config) = serde_json::from_slice::<Value>(bytes)
            && let Ok(spec) = from_config(&config)
        {
            check_promises(&spec);
        }
    });
}

#[test]
fn any_metadata_is_read_or_refused() {
    let archs = ["llama", "qwen2", "qwen3", "qwen3moe"];
    bolero::check!().with_type::<(u8, Vec<(u8, u8, i64)>)>().for_each(|(arch, changes)| {
        let arch = archs[usize::from(*arch) % archs.len()];
        let mut entries = metadata(arch);
        let extra = [
            "rope.scaling.type",
            "rope.scaling.factor",
            "rope.dimension_count",
            "rope.freq_base",
            "attention.sliding_window",
            "attention.key_length",
            "attention.value_length",
        ];
        entries.extend(extra.map(|key| (format!("{arch}.{key}"), Value::Null)));
        for (key, choice, number) in changes {
            let at = usize::from(*key) % entries.len();
            entries[at].1 = strange(*choice, *number);
        }
        if let Ok(spec) = read(entries, &[("blk.0.attn_q.bias", vec![64])]) {
            check_promises(&spec);
        }
    });
}
