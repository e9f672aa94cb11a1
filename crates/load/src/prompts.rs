//! What is asked: texts of a file, or words that differ from request to request.

use crate::plan::Numbers;

/// Most tokens of a prompt that is made up.
pub const PROMPT_TOKENS_MAX: usize = 1 << 20;
/// Most bytes of a file of prompts.
pub const PROMPT_BYTES_MAX: usize = 256 << 20;

/// Words that most vocabularies have as one token after a space.
const WORDS: [&str; 64] = [
    "time",
    "year",
    "people",
    "way",
    "day",
    "man",
    "thing",
    "woman",
    "life",
    "child",
    "world",
    "school",
    "state",
    "family",
    "student",
    "group",
    "country",
    "problem",
    "hand",
    "part",
    "place",
    "case",
    "week",
    "company",
    "system",
    "program",
    "question",
    "work",
    "government",
    "number",
    "night",
    "point",
    "home",
    "water",
    "room",
    "mother",
    "area",
    "money",
    "story",
    "fact",
    "month",
    "lot",
    "right",
    "study",
    "book",
    "eye",
    "job",
    "word",
    "business",
    "issue",
    "side",
    "kind",
    "head",
    "house",
    "service",
    "friend",
    "father",
    "power",
    "hour",
    "game",
    "line",
    "end",
    "member",
    "law",
];

/// Why a file holds no prompts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PromptsError {
    /// Nothing but empty lines.
    #[error("there is no prompt: every line is empty")]
    Empty,
    /// A line begins as JSON and is none that is known.
    #[error("line {line}: expected a text, a JSON string, or an object with a string `prompt`")]
    Line {
        /// The line, counted from 1.
        line: usize,
    },
    /// More than is read.
    #[error("the file has {found} bytes, the limit is {limit}")]
    TooLong {
        /// Bytes of the file.
        found: usize,
        /// [`PROMPT_BYTES_MAX`].
        limit: usize,
    },
}

/// Where prompts come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompts {
    /// About so many tokens of common words in an order of their own for each request, so that
    /// a cache of prefixes does not answer in the model's place.
    Words(usize),
    /// These in turns; never empty.
    Texts(Vec<String>),
}

impl Prompts {
    /// One prompt a line: a text, a JSON string, or an object with a string `prompt`.
    ///
    /// # Errors
    /// No prompt, too many bytes, or a line of JSON without one.
    pub fn parse(file: &str) -> Result<Prompts, PromptsError> {
        if file.len() > PROMPT_BYTES_MAX {
            return Err(PromptsError::TooLong { found: file.len(), limit: PROMPT_BYTES_MAX });
        }
        let mut texts = Vec::new();
        for (index, line) in file.lines().enumerate() {
            let wrong = || PromptsError::Line { line: index + 1 };
            match line.trim_start().chars().next() {
                None => {}
                Some('{') => {
                    #[derive(serde::Deserialize)]
                    struct Row {
                        prompt: String,
                    }
                    let row: Row = serde_json::from_str(line).map_err(|_| wrong())?;
                    texts.push(row.prompt);
                }
                Some('"') => texts.push(serde_json::from_str(line).map_err(|_| wrong())?),
                Some(_) => texts.push(line.to_owned()),
            }
        }
        if texts.is_empty() { Err(PromptsError::Empty) } else { Ok(Prompts::Texts(texts)) }
    }

    /// The prompt of the request `index` of a seed.
    pub(crate) fn text(&self, seed: u64, index: usize) -> String {
        let count = match self {
            Prompts::Texts(texts) => return texts[index % texts.len()].clone(),
            Prompts::Words(count) => (*count).min(PROMPT_TOKENS_MAX),
        };
        let mut numbers = Numbers::new(seed, index as u64);
        let mut text = String::with_capacity(count * 6);
        for at in 0..count {
            if at > 0 {
                text.push(' ');
            }
            text.push_str(WORDS[(numbers.next() >> 58) as usize]);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_a_seed_differ_and_come_again() {
        let prompts = Prompts::Words(16);
        assert_eq!(prompts.text(1, 5), prompts.text(1, 5));
        assert_ne!(prompts.text(1, 5), prompts.text(1, 6));
        assert_ne!(prompts.text(1, 5), prompts.text(2, 5));
        assert_eq!(prompts.text(1, 5).split(' ').count(), 16);
    }

    #[test]
    fn a_file_has_a_prompt_a_line() {
        let file = "plain text\n\n\"a\\nb\"\n{\"prompt\": \"c\", \"more\": 1}\n";
        let expect = ["plain text", "a\nb", "c"].map(str::to_owned).to_vec();
        assert_eq!(Prompts::parse(file), Ok(Prompts::Texts(expect)));
        assert_eq!(Prompts::parse(" \n\n"), Err(PromptsError::Empty));
        assert_eq!(Prompts::parse("a\n{\"text\": 1}"), Err(PromptsError::Line { line: 2 }));
    }

    #[test]
    fn no_file_makes_the_reader_panic() {
        bolero::check!().with_type::<String>().for_each(|file| {
            if let Ok(Prompts::Texts(texts)) = Prompts::parse(file) {
                assert!(!texts.is_empty());
            }
        });
    }
}
