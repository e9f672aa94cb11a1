//! A byte-level vocabulary as large as Qwen3's, made by rule: any text has tokens, every merge has its parts.

use testkit::calls::byte_letters;
use weights::GgufWriter;

/// Rows of the embedding: words, control tokens and unused places.
pub(super) const SIZE: usize = 151_936;
/// Single bytes, pairs and triples of them; the first control token comes after.
const WORDS: usize = 151_643;
const CONTROLS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/// The types of tokens that GGUF names by number.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const UNUSED: i32 = 5;

const TEMPLATE: &str = "\
{%- for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n\
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

pub(super) fn set(file: &mut GgufWriter<'_>) {
    let (words, merges) = words_and_merges();
    let controls = CONTROLS.map(str::to_owned);
    let unused = (WORDS + CONTROLS.len()..SIZE).map(|id| format!("[unused {id}]"));
    let tokens: Vec<String> = words.into_iter().chain(controls).chain(unused).collect();
    let kind = |id: usize| match id {
        id if id < WORDS => NORMAL,
        id if id < WORDS + CONTROLS.len() => CONTROL,
        _ => UNUSED,
    };
    file.set("tokenizer.ggml.model", "gpt2");
    file.set("tokenizer.ggml.pre", "qwen2");
    file.set("tokenizer.ggml.tokens", tokens);
    file.set("tokenizer.ggml.token_type", (0..SIZE).map(kind).collect::<Vec<i32>>());
    file.set("tokenizer.ggml.merges", merges);
    file.set("tokenizer.ggml.eos_token_id", WORDS as u32 + 2);
    file.set("tokenizer.ggml.padding_token_id", WORDS as u32);
    file.set("tokenizer.ggml.add_bos_token", false);
    file.set("tokenizer.chat_template", TEMPLATE);
}

/// All single bytes, all pairs, and as many triples (a pair and a byte) as there is place for.
fn words_and_merges() -> (Vec<String>, Vec<String>) {
    let bytes = byte_letters();
    let pairs = bytes.iter().flat_map(|a| bytes.iter().map(move |b| (a.to_string(), *b)));
    let pairs: Vec<(String, char)> = pairs.collect();
    let triples =
        pairs.iter().flat_map(|(a, b)| bytes.iter().map(move |c| (format!("{a}{b}"), *c)));
    let joined = pairs.iter().cloned().chain(triples).take(WORDS - bytes.len());
    let mut words: Vec<String> = bytes.iter().map(char::to_string).collect();
    let mut merges = Vec::with_capacity(WORDS);
    for (left, right) in joined {
        merges.push(format!("{left} {right}"));
        words.push(format!("{left}{right}"));
    }
    (words, merges)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn words_are_distinct_and_merges_make_them() {
        let (words, merges) = words_and_merges();
        let known: HashSet<&str> = words.iter().map(String::as_str).collect();
        assert_eq!((words.len(), known.len(), merges.len()), (WORDS, WORDS, WORDS - 256));
        for merge in &merges {
            let (left, right) = merge.split_once(' ').expect("two parts");
            assert!(known.contains(left) && known.contains(right));
            assert!(known.contains(format!("{left}{right}").as_str()));
        }
    }
}
