//! A tiny model of random weights with the vocabulary and the template of a format.

use super::formats::CallFormat;
use serde_json::{Map, Value, json};
use std::io::{self, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The tokens of a byte-level vocabulary: all single bytes, and what merges make of them.
#[derive(Clone, Debug)]
pub struct Words {
    /// The parts of each merge, in order.
    pub merges: Vec<(String, String)>,
}

impl Words {
    /// Bytes, and pairs of what stands around values: tokens that reach over the ends of them.
    pub fn bytes_and_pairs() -> Words {
        let marks = "{}[]\":,<>/='()ĠĊ";
        let pairs = marks.chars().flat_map(|a| marks.chars().map(move |b| (a, b)));
        Words { merges: pairs.map(|(a, b)| (a.to_string(), b.to_string())).collect() }
    }

    fn all(&self) -> Vec<String> {
        let bytes = byte_letters().into_iter().map(String::from);
        bytes.chain(self.merges.iter().map(|(a, b)| format!("{a}{b}"))).collect()
    }
}

/// The letter that byte-level vocabularies write for each byte, in the order of GPT-2's table:
/// printable bytes stand for themselves, the others for U+0100 and following.
pub fn byte_letters() -> Vec<char> {
    let printable = |b: &u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let own = (0..=255u8).filter(printable).map(char::from);
    let moved = (0..=255u8).filter(|b| !printable(b)).zip('\u{100}'..).map(|(_, letter)| letter);
    own.chain(moved).collect()
}

/// A model in a folder.
#[derive(Clone, Debug)]
pub struct CallModel {
    /// Where it is.
    pub folder: PathBuf,
    format: &'static CallFormat,
    n_words: usize,
}

const HIDDEN: usize = 64;
const CONTEXT: usize = 1 << 15;

impl CallModel {
    /// Writes a model of this format into a folder of its own, which is made.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn write(
        folder: &Path,
        format: &'static CallFormat,
        words: &Words,
    ) -> io::Result<CallModel> {
        std::fs::create_dir_all(folder)?;
        let tokens = words.all();
        let (n_words, n_all) = (tokens.len(), tokens.len() + format.specials.len());
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text);
        write("config.json", &config(n_all, n_words).to_string())?;
        write("tokenizer.json", &tokenizer(&tokens, words, format).to_string())?;
        let named = json!({"bos_token": null, "eos_token": format.specials[0]});
        write("tokenizer_config.json", &named.to_string())?;
        write("chat_template.jinja", &format.template())?;
        weights(&folder.join("model.safetensors"), n_all)?;
        Ok(CallModel { folder: folder.to_owned(), format, n_words })
    }

    /// The format.
    pub fn format(&self) -> &'static CallFormat {
        self.format
    }

    /// Tokens that are not special.
    pub(super) fn n_words(&self) -> usize {
        self.n_words
    }

    /// The special tokens.
    pub(super) fn special_ids(&self) -> Range<usize> {
        self.n_words..self.n_words + self.format.specials.len()
    }
}

fn config(n_all: usize, end: usize) -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": n_all,
        "hidden_size": HIDDEN, "intermediate_size": HIDDEN, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": HIDDEN / 2,
        "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "max_position_embeddings": CONTEXT, "tie_word_embeddings": true, "dtype": "float32",
        "bos_token_id": null, "eos_token_id": end, "pad_token_id": null,
    })
}

fn tokenizer(tokens: &[String], words: &Words, format: &CallFormat) -> Value {
    let vocab: Map<String, Value> =
        tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
    let merges: Vec<String> = words.merges.iter().map(|(a, b)| format!("{a} {b}")).collect();
    let added = format.specials.iter().enumerate().map(|(at, content)| {
        json!({"id": tokens.len() + at, "content": content, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false, "special": true})
    });
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
        "use_regex": true});
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added.collect::<Vec<Value>>(),
        "normalizer": null, "pre_tokenizer": bytes, "post_processor": null, "decoder": bytes,
        "model": {"type": "BPE", "dropout": null, "unk_token": null,
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
            "byte_fallback": false, "vocab": vocab, "merges": merges},
    })
}

/// Random weights, the same for the same sizes. The embedding is the head too: with this
/// deviation logits have a deviation of about 1.
fn weights(path: &Path, n_all: usize) -> io::Result<()> {
    let (half, ends) = (HIDDEN / 2, [HIDDEN, HIDDEN]);
    let layer = |name: &str| format!("model.layers.0.{name}.weight");
    let tensors = [
        ("model.embed_tokens.weight".to_owned(), vec![n_all, HIDDEN]),
        ("model.norm.weight".to_owned(), vec![HIDDEN]),
        (layer("input_layernorm"), vec![HIDDEN]),
        (layer("post_attention_layernorm"), vec![HIDDEN]),
        (layer("self_attn.q_proj"), ends.to_vec()),
        (layer("self_attn.k_proj"), vec![half, HIDDEN]),
        (layer("self_attn.v_proj"), vec![half, HIDDEN]),
        (layer("self_attn.o_proj"), ends.to_vec()),
        (layer("mlp.gate_proj"), ends.to_vec()),
        (layer("mlp.up_proj"), ends.to_vec()),
        (layer("mlp.down_proj"), ends.to_vec()),
    ];
    let (mut header, mut data) = (Map::new(), Vec::new());
    let mut state = 1u64;
    for (name, shape) in tensors {
        let start = data.len();
        for _ in 0..shape.iter().product() {
            let value = if shape.len() == 1 { 1.0 } else { normal(&mut state) / 8.0 };
            data.extend(value.to_le_bytes());
        }
        let place = json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]});
        header.insert(name, place);
    }
    let header = Value::Object(header).to_string();
    let mut file = std::fs::File::create(path)?;
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    file.write_all(&data)
}

/// About normal, deviation 1: the sum of four uniform values of 16 bits, centred and scaled.
fn normal(state: &mut u64) -> f32 {
    // SplitMix64 (Steele, Lea and Flood, 2014).
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    let sum: u64 = (0..4).map(|part| (z >> (16 * part)) & 0xffff).sum();
    (sum as f32 / 65_536.0 - 2.0) * 3.0f32.sqrt()
}
