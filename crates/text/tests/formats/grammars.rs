//! Runs grammars with llguidance, over a vocabulary of bytes and special tokens.

use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::{Matcher, ParserFactory};
use toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};

/// A vocabulary of the 256 bytes, special tokens from id 256 on, and an end token.
pub(crate) struct Vocabulary {
    pub(crate) specials: Vec<(String, u32)>,
    factory: ParserFactory,
    pub(crate) end: u32,
}

impl Vocabulary {
    pub(crate) fn new(specials: &[&str]) -> Vocabulary {
        let mut words: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
        let mut named = Vec::new();
        for special in specials {
            named.push(((*special).to_owned(), words.len() as u32));
            words.push([b"\xFF", special.as_bytes()].concat());
        }
        let end = words.len() as u32;
        words.push(b"\xFF<end>".to_vec());
        let info = TokRxInfo {
            vocab_size: words.len() as u32,
            tok_eos: end,
            tok_bos: None,
            tok_pad: None,
            tok_unk: None,
            tok_end_of_turn: None,
        };
        let env: TokEnv = Arc::new(ApproximateTokEnv::new(TokTrie::from(&info, &words)));
        let mut factory = ParserFactory::new_simple(&env).unwrap();
        factory.quiet();
        Vocabulary { specials: named, factory, end }
    }

    /// The matcher of a grammar, or why it is none.
    pub(crate) fn matcher(&self, grammar: &str) -> Result<Matcher, String> {
        let grammar = TopLevelGrammar::from_lark(grammar.to_owned());
        let matcher = Matcher::new(self.factory.create_parser(grammar));
        match matcher.get_error() {
            None => Ok(matcher),
            Some(error) => Err(error),
        }
    }

    /// The tokens of a text: special tokens where they are written, else bytes.
    pub(crate) fn tokens(&self, text: &str) -> Vec<u32> {
        let mut tokens = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let special = self.specials.iter().find(|(special, _)| rest.starts_with(special));
            rest = if let Some((special, id)) = special {
                tokens.push(*id);
                &rest[special.len()..]
            } else {
                let length = rest.chars().next().unwrap().len_utf8();
                tokens.extend(rest.bytes().take(length).map(u32::from));
                &rest[length..]
            };
        }
        tokens
    }

    /// The text of a token.
    pub(crate) fn bytes(&self, token: u32) -> Vec<u8> {
        match token.checked_sub(256) {
            None => vec![token as u8],
            Some(special) => self.specials[special as usize].0.clone().into_bytes(),
        }
    }

    /// Whether the grammar accepts all of a text, or where it stops.
    pub(crate) fn accepts(&self, grammar: &str, text: &str) -> Result<(), String> {
        let mut matcher = self.matcher(grammar)?;
        let tokens = self.tokens(text);
        let n = matcher.try_consume_tokens(&tokens).map_err(|e| e.to_string())?;
        if n < tokens.len() {
            let read: Vec<u8> = tokens[..n].iter().flat_map(|token| self.bytes(*token)).collect();
            return Err(format!("stopped after {:?}", String::from_utf8_lossy(&read)));
        }
        match matcher.is_accepting() {
            Ok(true) => Ok(()),
            Ok(false) => Err("not at an end".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}
