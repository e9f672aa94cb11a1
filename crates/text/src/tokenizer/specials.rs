//! Which tokens begin, end and steer a text.

/// Tokens that end an answer by their usual name: files that name only one end-of-text token
/// leave these out, and the model goes on past its turn.
const ENDS: &[&str] = &[
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|return|>",
    "<|call|>",
    "<|calls|>",
    "<|flush|>",
    "<end_of_turn>",
    "<turn|>",
    "<end_of_utterance>",
    "<EOT>",
    "[EOT]",
    "[EOS]",
    "[e~[",
    "<｜end▁of▁sentence｜>",
    "<|END_OF_TURN_TOKEN|>",
    "</s>",
    "<eos>",
    "<seed:eos>",
];

/// Tokens that end a turn (rather than a text), in the order they are looked for.
const TURN_ENDS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<turn|>",
    "<|END_OF_TURN_TOKEN|>",
    "<EOT>",
    "[EOT]",
    "<end_of_utterance>",
];

/// In vocabularies that have all of these, harmony's, the first ends a message and the answer goes
/// on with another; the others end it (openai/harmony, `docs/format.md`).
const OF_MESSAGES: [&str; 3] = ["<|end|>", "<|return|>", "<|call|>"];

/// The ids that matter to whoever builds or reads token lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SpecialIds {
    pub(crate) bos: Option<u32>,
    pub(crate) eos: Option<u32>,
    pub(crate) eot: Option<u32>,
    pub(crate) pad: Option<u32>,
    pub(crate) unk: Option<u32>,
    /// Sorted, without duplicates.
    pub(crate) ends: Vec<u32>,
    /// Written before and after a text that is encoded with its special tokens.
    pub(crate) prefix: Vec<u32>,
    pub(crate) suffix: Vec<u32>,
    /// Written between two texts that are one input, where the tokenizer knows such pairs.
    pub(crate) between: Option<Vec<u32>>,
}

impl SpecialIds {
    /// Fills `eot` and `ends` from what the file declared and from tokens with a known name.
    /// `find` gives the id of a special token by its text.
    pub(crate) fn complete(
        &mut self,
        declared_ends: impl IntoIterator<Item = u32>,
        find: impl Fn(&str) -> Option<u32>,
    ) {
        let has_messages = OF_MESSAGES.iter().all(|name| find(name).is_some());
        let find = |name: &&str| {
            let ends_message = has_messages && **name == *OF_MESSAGES[0];
            if ends_message { None } else { find(name) }
        };
        if self.eot.is_none() {
            self.eot = TURN_ENDS.iter().find_map(find);
        }
        self.ends = ENDS.iter().filter_map(find).collect();
        self.ends.extend(declared_ends);
        self.ends.extend(self.eos.into_iter().chain(self.eot));
        self.ends.sort_unstable();
        self.ends.dedup();
    }
}

#[cfg(test)]
mod tests {
    use super::SpecialIds;

    fn ends(names: &[&str]) -> (Option<u32>, Vec<u32>) {
        let mut ids = SpecialIds::default();
        let find = |name: &str| names.iter().position(|known| *known == name).map(|id| id as u32);
        ids.complete([], find);
        (ids.eot, ids.ends)
    }

    #[test]
    fn a_message_of_harmony_does_not_end_the_answer() {
        assert_eq!(ends(&["<|end|>", "<|return|>", "<|call|>"]), (None, vec![1, 2]));
        assert_eq!(ends(&["<|end|>", "</s>"]), (Some(0), vec![0, 1]));
    }
}
