//! What guessing tokens gains where answers repeat their input, and costs where they do not, by
//! lookup and by draft models; the texts with and without must be equal.

use super::server::{Chat, Server};
use super::{Context, Findings, file_name};
use anyhow::{Result, ensure};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

const GROUNDED_MIN: f64 = 1.3;
const PROSE_MIN: f64 = 0.98;
/// Of a draft model that is five times as fast and nearly always right.
const DRAFTED_MIN: f64 = 1.3;
/// Copies that draft: one that is good, one that is bad, and one that takes as long as the model;
/// and what each is to gain at least.
const DRAFTS: [(&str, f64); 3] = [("Q4_K", DRAFTED_MIN), ("Q2_K", PROSE_MIN), ("F32", PROSE_MIN)];
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

/// What some answers took.
#[derive(Default)]
struct Sum {
    tokens: usize,
    seconds: f64,
    drafted: usize,
    accepted: usize,
}

impl Sum {
    fn add(&mut self, chat: &Chat) {
        self.tokens += chat.tokens;
        self.seconds += chat.seconds;
        self.drafted += chat.drafted;
        self.accepted += chat.accepted;
    }
}

/// Without drafts and with.
type Decodes = [Sum; 2];

pub(super) fn run(context: &Context) -> Result<Findings> {
    let mut found = Findings::default();
    if context.wants("lookup") {
        lookup(context, &mut found)?;
    }
    let wanted: Vec<_> =
        DRAFTS.into_iter().filter(|(mix, _)| context.wants(&format!("model {mix}"))).collect();
    if !wanted.is_empty() {
        models(context, &wanted, &mut found)?;
    }
    Ok(found)
}

fn lookup(context: &Context, found: &mut Findings) -> Result<()> {
    let file = context.smollm2()?;
    let start = |with: usize| {
        let mut command = context.serve(&file, 1);
        command.args(["--speculate", ["off", "on"][with], "--prefix-cache", "off"]);
        Server::start(command)
    };
    let grounded =
        TEXTS.iter().flat_map(|text| TASKS.map(|task| (format!("{task}\n\n{text}"), 0.0)));
    let prose = PROSE.map(|text| (text.to_owned(), 0.8));
    let questions = questions(&start(0)?, grounded.chain(prose))?;
    let [grounded, prose] = measure(context, start, &questions)?;
    let _ = writeln!(
        found.markdown,
        "{}, {} threads, decode of chat answers in tokens per second, each answer ending at its first loop; the texts with and without drafts are equal.\n\n\
         | prompts | without | with | ratio | wanted | right |\n|---|---|---|---|---|---|",
        file_name(&file),
        context.threads
    );
    found.row("copy, correct, quote; greedy", &grounded, GROUNDED_MIN);
    found.row("prose at temperature 0.8", &prose, PROSE_MIN);
    Ok(())
}

/// There is one real model here, so that its drafts are those of copies in fewer bits: they guess
/// better than a smaller model of one family would, and are not as much faster.
fn models(context: &Context, drafts: &[(&str, f64)], found: &mut Findings) -> Result<()> {
    let main = context.padded_smollm2("F32")?;
    let _ = writeln!(
        found.markdown,
        "\n{} with copies of itself in fewer bits as draft models, prose; without is with lookup alone.\n\n\
         | draft model | prompts | without | with | ratio | wanted | right |\n|---|---|---|---|---|---|---|",
        file_name(&main),
    );
    let serve = |draft: Option<&Path>| {
        let mut command = context.serve(&main, 1);
        command.args(["--prefix-cache", "off"]);
        if let Some(draft) = draft {
            command.arg("--draft").arg(draft);
        }
        Server::start(command)
    };
    let prose = PROSE.into_iter().flat_map(|text| [0.0, 0.8].map(|t| (text.to_owned(), t)));
    let questions = questions(&serve(None)?, prose)?;
    for &(mix, wanted) in drafts {
        let draft = context.padded_smollm2(mix)?;
        let start = |with: usize| serve((with == 1).then_some(draft.as_path()));
        let [greedy, drawn] = measure(context, start, &questions)?;
        found.row(&format!("{mix} | greedy"), &greedy, wanted);
        found.row(&format!("{mix} | temperature 0.8"), &drawn, PROSE_MIN);
    }
    Ok(())
}

/// Asks a server without drafts and one with, in turns; greedy questions and others apart.
fn measure(
    context: &Context,
    start: impl Fn(usize) -> Result<Server>,
    questions: &[Question],
) -> Result<[Decodes; 2]> {
    let mut decodes: [Decodes; 2] = Default::default();
    let mut texts: HashMap<(&str, bool), String> = HashMap::new();
    for round in 0..context.rounds.min(ROUNDS_MAX) {
        for place in 0..2 {
            let with = (round + place) % 2;
            let server = start(with)?;
            for question in questions {
                let chat = server.chat(&question.text, question.temperature, question.most)?;
                let is_drawn = question.temperature > 0.0;
                decodes[usize::from(is_drawn)][with].add(&chat);
                let text = texts.entry((question.text.as_str(), is_drawn));
                let text = text.or_insert_with(|| chat.text.clone());
                ensure!(*text == chat.text, "another answer to: {}", question.text);
            }
        }
    }
    Ok(decodes)
}

impl Findings {
    /// A row of speeds, and a missed criterion where drafts gain less than wanted.
    fn row(&mut self, what: &str, decodes: &Decodes, wanted: f64) {
        let [without, with] = decodes.each_ref().map(|sum| sum.tokens as f64 / sum.seconds);
        let ratio = with / without;
        let row = format!("| {what} | {without:.0} | {with:.0} | **{ratio:.2}** | {wanted} |");
        let right = match decodes[1].drafted {
            0 => "none drafted".to_owned(),
            drafted => format!("{} of {drafted}", decodes[1].accepted),
        };
        let _ = writeln!(self.markdown, "{row} {right} |");
        if ratio < wanted {
            self.missed.push(format!("{what}: {ratio:.2} × without drafts"));
        }
    }
}

/// Asks everything once to learn where answers are over.
fn questions(server: &Server, asked: impl Iterator<Item = (String, f64)>) -> Result<Vec<Question>> {
    let question = |(text, temperature): (String, f64)| {
        let chat = server.chat(&text, temperature, MOST)?;
        let share = share_before_loop(&chat.text);
        let most = ((chat.tokens as f64 * share) as usize).max(8);
        Ok(Question { text, temperature, most })
    };
    asked.map(question).collect()
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
