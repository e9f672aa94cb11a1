//! Hostile vocabularies, templates and conversations: refused or used, never a panic.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod support;

use serde_json::{Map, Value, json};
use support::{TINY, TinyGguf, folder};
use text::{ChatTemplate, EncodeOptions, GgufVocab, RenderInput, TemplateError, Tokenizer};

const TEXTS: &[&str] = &["", "Hello, world! <|im_end|> 12345\n\n x", "🦙é▁Ġ\u{0}\u{ffff} <s>"];

/// Whatever was built must encode and decode, or say why not.
fn exercise(tokenizer: &Tokenizer) {
    for text in TEXTS {
        for parse_special in [false, true] {
            let options = EncodeOptions { add_special: true, parse_special };
            if let Ok(ids) = tokenizer.encode(text, options) {
                let _ = tokenizer.decode(&ids, false);
            }
        }
    }
    let ids: Vec<u32> = (0..tokenizer.vocab_size().min(1000) as u32).collect();
    tokenizer.decode(&ids, true).unwrap();
}

#[test]
fn broken_tokenizer_files() {
    let files: Vec<Vec<u8>> = TINY
        .iter()
        .map(|(name, ..)| std::fs::read(folder(name).join("tokenizer.json")).unwrap())
        .collect();
    bolero::check!().with_type::<(u8, Vec<(u32, u8)>)>().for_each(|(which, changes)| {
        let mut bytes = files[*which as usize % files.len()].clone();
        for &(at, byte) in changes.iter().take(8) {
            let at = at as usize % bytes.len();
            // Digits for digits: ids and numbers change while the file stays JSON.
            bytes[at] = if bytes[at].is_ascii_digit() { b'0' + byte % 10 } else { byte };
        }
        if let Ok(tokenizer) = Tokenizer::from_tokenizer_json(&bytes) {
            exercise(&tokenizer);
        }
    });
    bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
        assert!(Tokenizer::from_tokenizer_json(bytes).is_err());
    });
}

type Vocabulary =
    (u8, Vec<String>, Vec<(u8, u8)>, Vec<i32>, Vec<f32>, (Option<u32>, Option<u32>), Vec<u8>);

#[test]
fn broken_vocabularies() {
    let models = ["gpt2", "llama", "gemma4", "t5", "bert", "none"];
    bolero::check!().with_type::<Vocabulary>().for_each(|input| {
        let (which, tokens, merges, types, scores, (bos, unk), charsmap) = input;
        let merges: Vec<String> = merges
            .iter()
            .filter_map(|&(left, right)| {
                let token = |at: u8| tokens.get(at as usize % tokens.len().max(1));
                Some(format!("{} {}", token(left)?, token(right)?))
            })
            .collect();
        let mut vocab = GgufVocab::default();
        vocab.model = models[*which as usize % models.len()];
        vocab.tokens = tokens.iter().map(String::as_str).collect();
        vocab.merges = merges.iter().map(String::as_str).collect();
        // Lists of the right length get further.
        let n = tokens.len();
        vocab.types = types
            .iter()
            .copied()
            .cycle()
            .take(if types.is_empty() { 0 } else { n })
            .map(|t| t % 8)
            .collect();
        vocab.scores =
            scores.iter().copied().cycle().take(if scores.is_empty() { 0 } else { n }).collect();
        (vocab.bos, vocab.unk) = (*bos, unk.map(|id| id % 16));
        vocab.precompiled_charsmap = charsmap.clone();
        if let Ok(tokenizer) = Tokenizer::from_gguf_vocab(&vocab) {
            exercise(&tokenizer);
        }
    });
}

#[test]
fn what_is_wrong_with_a_vocabulary_is_said() {
    let tiny = TinyGguf::read("gpt-2");
    let error = |change: &dyn Fn(&mut GgufVocab<'_>)| {
        let mut vocab = tiny.vocab("gpt2", "gpt-2");
        change(&mut vocab);
        Tokenizer::from_gguf_vocab(&vocab).unwrap_err().to_string()
    };
    for (message, expected) in [
        (
            error(&|v| v.pre = Some("from-the-future")),
            "pre-tokenizer \"from-the-future\" is not supported",
        ),
        (error(&|v| v.model = "rwkv"), "GGUF tokenizer model \"rwkv\" is not supported"),
        (error(&|v| v.tokens.clear()), "GGUF metadata: tokenizer.ggml.tokens is missing"),
        (
            error(&|v| v.types.truncate(3)),
            "tokenizer.ggml.token_type: expected one entry for each of 445 tokens, got 3",
        ),
        (
            error(&|v| v.tokens[7] = v.tokens[8]),
            "token 8: expected a text and an id of its own, got",
        ),
        (error(&|v| v.merges.push("ab")), "expected two tokens and a space between, got \"ab\""),
        (
            error(&|v| v.merges.push("zz zz")),
            "expected two tokens whose joint is a token, got no token \"zz\"",
        ),
        (error(&|v| v.model = "llama"), "GGUF metadata: tokenizer.ggml.scores is missing"),
    ] {
        assert!(message.contains(expected), "{message}");
    }
    // A vocabulary that lacks a letter says so when it meets it.
    let mut vocab = tiny.vocab("gpt2", "gpt-2");
    let at = vocab.tokens.iter().position(|t| *t == "q").unwrap();
    vocab.tokens[at] = "";
    vocab.merges.retain(|merge| !merge.contains('q'));
    let tokenizer = Tokenizer::from_gguf_vocab(&vocab).unwrap();
    let error = tokenizer.encode("q", EncodeOptions::default()).unwrap_err().to_string();
    assert_eq!(error, "the vocabulary has no piece for \"q\"");
}

/// Parts that templates are made of, put together at random.
const PARTS: &[&str] = &[
    "{{ ",
    " }}",
    "{% ",
    " %}",
    "{%- if messages %}",
    "{% endif %}",
    "{% for m in messages %}",
    "{% endfor %}",
    "m.content",
    "messages",
    "'<|im_start|>'",
    "\"x\"",
    " + ",
    " ~ ",
    " | tojson",
    " | trim",
    "| length",
    ".split('a')",
    ".items()",
    "[0]",
    "[1:]",
    "[::-1]",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    ",",
    "{% set x = 1 %}",
    "x",
    " * 9999999",
    " ** 999",
    "range(999999999)",
    "{% macro f(a) %}",
    "{{ f(f) }}",
    "{% endmacro %}",
    "f",
    "{% generation %}",
    "{% endgeneration %}",
    "{# ",
    " #}",
    "{% raw %}",
    "{% endraw %}",
    "namespace(a=1)",
    " is string",
    " in ",
    " not ",
    "loop.index",
    "{% break %}",
    ".ljust(99999999)",
    ".replace('', 'xxxxxxxxxx')",
    " | join(messages)",
    "raise_exception('no')",
    "\n",
    "é",
    "\\",
    "'",
];

#[test]
fn random_templates() {
    let tokenizer = support::from_folder("qwen2");
    let input = RenderInput {
        messages: json!([{"role": "user", "content": "a<|im_end|>b"}, {"role": "x", "content": null, "items": [1.5, {}]}]),
        add_generation_prompt: true,
        ..RenderInput::default()
    };
    bolero::check!().with_type::<Vec<u8>>().for_each(|picks| {
        let source: String =
            picks.iter().take(40).map(|&pick| PARTS[pick as usize % PARTS.len()]).collect();
        let Ok(template) = ChatTemplate::new(&source, &Map::new()) else { return };
        if let Ok(rendered) = template.guarding(&tokenizer).render(&input) {
            let mut at = 0;
            for range in &rendered.untrusted {
                assert!(at <= range.start && range.start < range.end);
                assert!(
                    rendered.text.get(range.clone()).is_some(),
                    "{range:?} of {:?}",
                    rendered.text
                );
                at = range.end;
            }
            tokenizer.encode_rendered(&rendered).unwrap();
        }
    });
}

fn render(source: &str) -> Result<String, TemplateError> {
    let input = RenderInput {
        messages: json!([{"role": "user", "content": "x"}]),
        ..RenderInput::default()
    };
    ChatTemplate::new(source, &Map::new())?.render(&input).map(|rendered| rendered.text)
}

#[test]
fn templates_that_do_not_end_are_stopped() {
    for source in [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% set x = a %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) %}xxxxxxxxxxxxxxxxxxxx{% endfor %}{% endfor %}",
        "{% set ns = namespace(s='x') %}{% for a in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}",
        "{% set ns = namespace(s='x') %}{% for a in range(99) %}{% set ns.s = ns.s.replace('x', 'xx') %}{% endfor %}",
        "{% set ns = namespace(l=[1]) %}{% for a in range(29) %}{% set ns.l = ns.l + ns.l %}{% endfor %}{{ ns.l }}",
        "{% set ns = namespace(l=[1]) %}{% for a in range(29) %}{% set ns.l = ns.l + ns.l %}{% endfor %}{{ ns.l | tojson }}",
        "{% set ns = namespace(l=[1]) %}{% for a in range(29) %}{% set ns.l = ns.l + ns.l %}{% endfor %}{{ ns.l | join }}",
        "{% set ns = namespace(l=[1]) %}{% for a in range(29) %}{% set ns.l = ns.l + ns.l %}{% endfor %}{{ 'x'.join(ns.l) }}",
        "{% set ns = namespace(l=[1]) %}{% for a in range(29) %}{% set ns.l = ns.l + ns.l %}{% endfor %}{{ ns.l.count(1) }}",
        "{% set ns = namespace(l=[1]) %}{% for a in range(29) %}{% set ns.l = ns.l + ns.l %}{% endfor %}{{ '{}'.format(ns.l) }}",
        "{{ '{:>99999999}'.format(1) }}",
        "{{ 'x'.ljust(99999999999) }}",
        "{{ ('x' * 99999999) ~ ('x' * 99999999) }}",
    ] {
        let error = render(source).unwrap_err();
        assert!(
            matches!(
                error,
                TemplateError::OutOfFuel { .. }
                    | TemplateError::TooLarge { .. }
                    | TemplateError::Render { .. }
            ),
            "{source}: {error}"
        );
    }
}

#[test]
fn endless_recursion_and_nesting_are_refused() {
    assert!(render("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}").is_err());
    for (open, close) in
        [("(", ")"), ("[", "]"), ("{'a':", "}"), ("-", "1"), ("not ", "1"), ("x.", "y")]
    {
        let n = 20_000;
        assert!(
            render(&format!("{{{{ {}1{} }}}}", open.repeat(n), close.repeat(n))).is_err(),
            "{open}"
        );
    }
    assert!(render(&"{% if x %}".repeat(20_000)).is_err());
    // Long and deep, but not too deep for the stack that is there.
    assert!(render(&format!("{{{{ 1{} }}}}", " + 1".repeat(8_000))).is_ok());
    let elifs = "{% elif 0 %}".repeat(50_000);
    assert!(render(&format!("{{% if 0 %}}{elifs}{{% endif %}}")).is_ok());
    let nested = "{% set ns = namespace(l=[], m=[]) %}{% for i in range(200) %}{% set ns.l = [ns.l] %}{% set ns.m = [ns.m] %}{% endfor %}";
    for used in [
        "ns.l == ns.m",
        "ns.l ~ ''",
        "[ns.l, ns.m] | sort | length",
        "ns.l | pprint | length",
        "ns.l",
    ] {
        render(&format!("{nested}{{{{ {used} }}}}")).unwrap();
    }
    let mut deep = json!("x");
    for _ in 0..1000 {
        deep = Value::Array(vec![deep]);
    }
    let input = RenderInput { messages: deep, ..RenderInput::default() };
    let error =
        ChatTemplate::new("{{ messages }}", &Map::new()).unwrap().render(&input).unwrap_err();
    assert!(matches!(error, TemplateError::TooLarge { .. }), "{error}");
}

#[test]
fn errors_say_where_in_the_template() {
    let line = |source: &str| match render(source).unwrap_err() {
        TemplateError::Syntax { line, .. }
        | TemplateError::Render { line, .. }
        | TemplateError::Refused { line, .. }
        | TemplateError::OutOfFuel { line, .. } => line,
        other => panic!("{other}"),
    };
    assert_eq!(line("a\n{% if %}"), 2);
    assert_eq!(line("a\n\n{{ messages.x.y }}"), 3);
    assert_eq!(line("a\n{{ raise_exception('no') }}"), 2);
    assert_eq!(
        line(
            "\n\n\n{% for a in range(9999) %}{% for b in range(9999) %}{% set c = b %}{% endfor %}{% endfor %}"
        ),
        4
    );
    let error = render("\n{{ raise_exception('roles must alternate') }}").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the chat template refuses this conversation: roles must alternate (line 2)"
    );
}
