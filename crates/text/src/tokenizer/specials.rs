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
}

impl SpecialIds {
    /// Fills `eot` and `ends` from what the file declared and from tokens with a known name.
    /// `find` gives the id of a special token by its text.
    pub(crate) fn complete(
        &mut self,
        declared_ends: impl IntoIterator<Item = u32>,
        find: impl Fn(&str) -> Option<u32>,
    ) {
        if self.eot.is_none() {
            self.eot = TURN_ENDS.iter().find_map(|name| find(name));
        }
        self.ends = ENDS.iter().filter_map(|name| find(name)).collect();
        self.ends.extend(declared_ends);
        self.ends.extend(self.eos.into_iter().chain(self.eot));
        self.ends.sort_unstable();
        self.ends.dedup();
    }
}
