//! From a request to sequences of tokens: what belongs around a text, what is too long, what
//! is made of the results.

use super::EmbedLimits;
use crate::details::Task;
use crate::error::Error;
use crate::request::{Embed, Input, Overlong, Plain, Request, Rerank};
use crate::text_model::{Around, TextFault, TextModel};

/// Most texts or documents of one request, as OpenAI's own service takes them.
const TEXTS_MAX: usize = 2048;

/// A text with its tokens.
pub(super) struct Sequence {
    pub(super) tokens: Vec<u32>,
    /// Where the second of two texts begins.
    pub(super) second: usize,
    /// Tokens that were left out.
    pub(super) cut_tokens: usize,
}

/// What becomes of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finish {
    /// The first values of a vector, perhaps to length one.
    Vector { dimensions: usize, keeps_length: bool },
    /// A score, perhaps as it is.
    Score { is_raw: bool },
}

/// A request that can be computed.
pub(super) struct Prepared {
    pub(super) sequences: Vec<Sequence>,
    pub(super) finish: Finish,
}

/// Checks and tokenizes.
///
/// # Errors
/// The model does not do what is asked, there is too much of it, or a text is too long.
pub(super) fn prepare(
    request: &Request,
    text: &dyn TextModel,
    limits: &EmbedLimits,
) -> Result<Prepared, Error> {
    match (&request.input, limits.task) {
        (Input::Embed(embed), Task::Embed { dimensions }) => {
            vectors(embed, dimensions, text, limits)
        }
        (Input::Rerank(rerank), Task::Rerank) => scores(rerank, text, limits),
        // A model that is only to be there: nothing is computed.
        (Input::Tokens(_), _) if request.max_tokens == Some(0) => {
            let finish = Finish::Score { is_raw: true };
            Ok(Prepared { sequences: Vec::new(), finish })
        }
        (Input::Embed(_), _) => Err(does_not("embed", "it scores documents: see /v1/rerank")),
        (Input::Rerank(_), _) => Err(does_not("rerank", "it makes vectors: see /v1/embeddings")),
        (_, Task::Rerank) => Err(does_not("generate", "it scores documents: see /v1/rerank")),
        (_, _) => Err(does_not("generate", "it makes vectors: see /v1/embeddings")),
    }
}

fn does_not(what: &str, but: &str) -> Error {
    Error::not_supported("model", format!("this model does not {what}, {but}"))
}

fn vectors(
    embed: &Embed,
    width: usize,
    text: &dyn TextModel,
    limits: &EmbedLimits,
) -> Result<Prepared, Error> {
    check_count("input", embed.texts.len())?;
    let dimensions = embed.dimensions.unwrap_or(width);
    if dimensions == 0 || dimensions > width {
        let message = format!("dimensions is {dimensions}, this model's vectors have {width}");
        return Err(Error::invalid("dimensions", message));
    }
    let around = text.around();
    let limit = limit(embed.overlong, limits)?;
    let one = |(index, one): (usize, &Plain)| {
        let sequence = match one {
            Plain::Text(words) => {
                let tokens = text.encode_plain(words).map_err(|fault| refusal("input", &fault))?;
                let room = Room { limit, used: around.before.len() + around.after.len() };
                let (tokens, cut_tokens) = room.fit(tokens, embed.overlong)?;
                Sequence::new([&around.before, &tokens, &around.after], cut_tokens)
            }
            Plain::Tokens(tokens) => {
                check_tokens(index, tokens, limits)?;
                let room = Room { limit, used: 0 };
                let (tokens, cut_tokens) = room.fit(tokens.clone(), embed.overlong)?;
                Sequence::new([&[], &tokens, &[]], cut_tokens)
            }
        };
        if sequence.tokens.is_empty() {
            let param = format!("input[{index}]");
            return Err(Error::invalid(param.clone(), format!("{param} has no tokens")));
        }
        Ok(sequence)
    };
    let sequences = embed.texts.iter().enumerate().map(one).collect::<Result<_, _>>()?;
    let finish = Finish::Vector { dimensions, keeps_length: embed.keeps_length };
    Ok(Prepared { sequences, finish })
}

fn scores(rerank: &Rerank, text: &dyn TextModel, limits: &EmbedLimits) -> Result<Prepared, Error> {
    check_count("documents", rerank.documents.len())?;
    let Around { before, between, after } = text.around();
    let Some(between) = between else {
        let what = "its tokenizer has no form for two texts in one input";
        return Err(Error::not_supported("model", what));
    };
    let encode =
        |param: &str, words: &str| text.encode_plain(words).map_err(|fault| refusal(param, &fault));
    let query = encode("query", &rerank.query)?;
    let used = before.len() + query.len() + between.len() + after.len();
    let limit = limit(rerank.overlong, limits)?;
    let one = |document: &String| {
        let document = encode("documents", document)?;
        let (document, cut_tokens) = Room { limit, used }.fit(document, rerank.overlong)?;
        let sequence = Sequence::new([&before, &query, &between, &document, &after], cut_tokens);
        let second = before.len() + query.len() + between.len();
        Ok::<_, Error>(Sequence { second, ..sequence })
    };
    let sequences = rerank.documents.iter().map(one).collect::<Result<_, _>>()?;
    Ok(Prepared { sequences, finish: Finish::Score { is_raw: rerank.is_raw } })
}

/// Tokens that a sequence may have.
fn limit(overlong: Overlong, limits: &EmbedLimits) -> Result<usize, Error> {
    match overlong {
        Overlong::CutTo(0) => {
            let message = "a text is to be cut to 0 tokens, expected at least 1";
            Err(Error::invalid("truncate_prompt_tokens", message))
        }
        Overlong::CutTo(limit) => Ok(limit.min(limits.context_length)),
        Overlong::Refuse | Overlong::Cut => Ok(limits.context_length),
    }
}

/// What is left for a text.
struct Room {
    limit: usize,
    /// Tokens that are there whatever the text is.
    used: usize,
}

impl Room {
    /// The tokens that fit, and how many were left out.
    fn fit(&self, mut tokens: Vec<u32>, overlong: Overlong) -> Result<(Vec<u32>, usize), Error> {
        let all = self.used + tokens.len();
        let Some(over) = all.checked_sub(self.limit).filter(|&over| over > 0) else {
            return Ok((tokens, 0));
        };
        // What is around the text is never cut, and something must be left of it.
        if overlong == Overlong::Refuse || over >= tokens.len() {
            return Err(Error::TooLong { tokens: all, limit: self.limit });
        }
        tokens.truncate(tokens.len() - over);
        Ok((tokens, over))
    }
}

impl Sequence {
    fn new<const N: usize>(parts: [&[u32]; N], cut_tokens: usize) -> Self {
        let tokens = parts.concat();
        Self { second: tokens.len(), tokens, cut_tokens }
    }
}

fn check_count(param: &str, count: usize) -> Result<(), Error> {
    if (1..=TEXTS_MAX).contains(&count) {
        return Ok(());
    }
    let message = format!("{param} has {count} texts, expected 1 to {TEXTS_MAX}");
    Err(Error::invalid(param, message))
}

fn check_tokens(index: usize, tokens: &[u32], limits: &EmbedLimits) -> Result<(), Error> {
    let vocab_size = limits.vocab_size;
    match tokens.iter().find(|&&token| token as usize >= vocab_size) {
        None => Ok(()),
        Some(token) => {
            let param = format!("input[{index}]");
            let message =
                format!("{param} has the token {token}, this model's vocabulary has {vocab_size}");
            Err(Error::invalid(param, message))
        }
    }
}

fn refusal(param: &str, fault: &TextFault) -> Error {
    Error::invalid(param, fault.to_string())
}
