//! What guessing tokens gains where answers repeat their input, and costs where they do not; the
//! texts with and without must be equal.

use super::server::Server;
use super::{Context, Findings, file_name};
use anyhow::{Result, ensure};
use std::collections::HashMap;
use std::fmt::Write as _;

const GROUNDED_MIN: f64 = 1.3;
const PROSE_MIN: f64 = 0.98;
const ROUNDS_MAX: usize = 3;
const MOST: usize = 160;
/// An answer is over where so many words come a second time.
const LOOP_WORDS: usize = 8;

const TEXTS: [&str; 4] = [
    "The harbour office opens at seven. Ships from the north unload at pier four, ships from the south at pier nine. Captain Ellen Moor signs every manifest, and the copies go to the archive on Mill Lane. On Fridays the office closes at three, because the tide turns early and the crew goes home.",
    "def area(width, height):\n    if width < 0 or height < 0:\n        raise ValueError('negative size')\n    return width * height\n\ndef volume(width, height, depth):\n    if depth < 0:\n        raise ValueError('negative size')\n    return area(width, height) * depth\n",
    "Minutes of the meeting of 4 May. Present: Ada Winter, Boris Kahn, Chen Li. The budget of 40,000 euros was approved. The new server arrives in June. Boris Kahn will write the plan for the move. Ada Winter will ask the landlord about the cooling. The next meeting is on 18 May at ten o'clock.",
    "Order 1042: three boxes of tea, two jars of honey, one kettle. Ship to Maria Olsen, 5 Harbour Street, Bergen. Order 1043: one box of coffee, four cups. Ship to Jon Dahl, 12 Hill Road, Oslo. Order 1044: six jars of jam, two boxes of tea. Ship to Nina Berg, 7 Lake View, Trondheim.",
];
const TASKS: [&str; 3] = [
    "Copy the following text exactly, word for word:",
    "Fix the spelling in the following text and print the whole corrected text:",
    "Quote the sentences of this text that mention a person or a name, exactly as written:",
];
const PROSE: [&str; 4] = [
    "Write a long story about a lighthouse keeper.",
    "Explain why the sky is blue.",
    "Describe a walk through a forest in autumn.",
    "Tell me about the history of bread.",
];

/// A question, its temperature, and the tokens after which its answer is over.
struct Question {
    text: String,
    temperature: f64,
    most: usize,
}

/// Tokens and seconds, without drafts and with.
type Decodes = [(usize, f64); 2];

pub(super) fn run(context: &Context) -> Result<Findings> {
    let file = context.smollm2()?;
    let start = |speculate: &str| {
        let mut command = context.serve(&file, 1);
        command.args(["--speculate", speculate, "--prefix-cache", "off"]);
        Server::start(command)
    };
    let questions = questions(&start("off")?)?;
    let (mut grounded, mut prose): (Decodes, Decodes) = Default::default();
    let mut texts: HashMap<&str, String> = HashMap::new();
    for round in 0..context.rounds.min(ROUNDS_MAX) {
        for place in 0..2 {
            let with = (round + place) % 2;
            let server = start(["off", "on"][with])?;
            for question in &questions {
                let chat = server.chat(&question.text, question.temperature, question.most)?;
                let sum = if question.temperature > 0.0 { &mut prose } else { &mut grounded };
                sum[with].0 += chat.tokens;
                sum[with].1 += chat.seconds;
                let text = texts.entry(&question.text).or_insert_with(|| chat.text.clone());
                ensure!(*text == chat.text, "another answer to: {}", question.text);
            }
        }
    }
    let mut found = Findings::default();
    let _ = writeln!(
        found.markdown,
        "{}, {} threads, decode of chat answers in tokens per second, each answer ending at its first loop; the texts with and without drafts are equal.\n\n\
         | prompts | without | with | ratio | wanted |\n|---|---|---|---|---|",
        file_name(&file),
        context.threads
    );
    for (what, decodes, wanted) in [
        ("copy, correct, quote; greedy", &grounded, GROUNDED_MIN),
        ("prose at temperature 0.8", &prose, PROSE_MIN),
    ] {
        let [without, with] = decodes.map(|(tokens, seconds)| tokens as f64 / seconds);
        let ratio = with / without;
        let row = format!("| {what} | {without:.0} | {with:.0} | **{ratio:.2}** | {wanted} |");
        let _ = writeln!(found.markdown, "{row}");
        if ratio < wanted {
            found.missed.push(format!("{what}: {ratio:.2} × without drafts"));
        }
    }
    Ok(found)
}

/// Asks everything once to learn where answers are over.
fn questions(server: &Server) -> Result<Vec<Question>> {
    let grounded =
        TEXTS.iter().flat_map(|text| TASKS.map(|task| (format!("{task}\n\n{text}"), 0.0)));
    let prose = PROSE.map(|text| (text.to_owned(), 0.8));
    let mut questions = Vec::new();
    for (text, temperature) in grounded.chain(prose) {
        let chat = server.chat(&text, temperature, MOST)?;
        let share = share_before_loop(&chat.text);
        let most = ((chat.tokens as f64 * share) as usize).max(8);
        questions.push(Question { text, temperature, most });
    }
    Ok(questions)
}

/// How much of a text comes before words that came before.
fn share_before_loop(text: &str) -> f64 {
    let words: Vec<&str> = text.split(' ').collect();
    let again = (LOOP_WORDS..=words.len()).find(|&end| {
        let last = &words[end - LOOP_WORDS..end];
        words[..end - 1].windows(LOOP_WORDS).any(|window| window == last)
    });
    let whole = text.len().max(1);
    again.map_or(1.0, |end| words[..end].join(" ").len() as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::share_before_loop;

    #[test]
    fn a_loop_ends_an_answer() {
        assert_eq!(share_before_loop("a b c"), 1.0);
        assert_eq!(share_before_loop(""), 1.0);
        let once = "one two three four five six seven eight";
        assert_eq!(share_before_loop(once), 1.0);
        let share = share_before_loop(&format!("{once} {once} {once}"));
        assert!((0.6..0.7).contains(&share), "{share}");
    }
}
