//! Masks, acceptance and the way back agree with each other.

mod support;

use constrain::{Grammar, GrammarError, MatcherError, Token, Vocabulary, VocabularyError};
use proptest::prelude::*;
use serde_json::json;
use std::sync::LazyLock;
use support::{END, TOOL_CALL};

static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(support::bytes);

fn grammars() -> Vec<Grammar> {
    vec![
        Grammar::JsonObject,
        Grammar::JsonSchema(json!({"type": "object", "properties": {
            "name": {"type": "string", "maxLength": 5}, "age": {"type": "integer"}},
            "required": ["name"]})),
        Grammar::Regex("(?:ab|a[0-9]{2}é?)+".to_owned()),
        Grammar::Choice(vec!["ab".to_owned(), "abc".to_owned(), "\"quoted\\\n".to_owned()]),
        Grammar::Lark("start: \"ab\" <|tool_call|> %json {\"type\": \"integer\"}".to_owned()),
    ]
}

fn masked(matcher: &mut constrain::Matcher) -> Vec<u32> {
    let mut mask = vec![u32::MAX; VOCABULARY.mask_words() + 1];
    matcher.mask(&mut mask).expect("the grammar is small");
    assert_eq!(mask[VOCABULARY.mask_words()], 0, "words beyond the vocabulary are 0");
    let all = 0..32 * VOCABULARY.mask_words() as u32;
    all.filter(|token| mask[*token as usize / 32] >> (token % 32) & 1 == 1).collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_mask_is_what_is_accepted(
        which in 0usize..5,
        choices in prop::collection::vec(any::<prop::sample::Index>(), 1..25),
        back in any::<prop::sample::Index>(),
    ) {
        let mut matcher = VOCABULARY.compile(&grammars()[which]).expect("it compiles");
        let mut masks = Vec::new();
        let mut tokens = Vec::new();
        for choice in choices {
            let allowed = masked(&mut matcher);
            let n_tokens = VOCABULARY.n_tokens() as u32;
            for token in 0..n_tokens {
                let taken = matcher.clone().accept(token).expect("within the limits");
                prop_assert_eq!(taken, allowed.contains(&token), "token {}", token);
            }
            // What is forced may come.
            let forced = matcher.forced();
            prop_assert_eq!(matcher.clone().accept_all(&forced), Ok(forced.len()));
            prop_assert_eq!(&masked(&mut matcher), &allowed, "looking ahead changes nothing");
            prop_assert_eq!(matcher.may_end(), Ok(allowed.contains(&END)));
            prop_assert_eq!(matcher.is_complete(), allowed == [END] || allowed.is_empty());
            masks.push(allowed.clone());
            if allowed.is_empty() {
                break;
            }
            let token = *choice.get(&allowed);
            prop_assert_eq!(matcher.accept(token), Ok(true));
            tokens.push(token);
        }
        let back = back.index(tokens.len() + 1);
        matcher.rollback(back).expect("so many were accepted");
        let at = tokens.len() - back;
        if let Some(mask) = masks.get(at) {
            prop_assert_eq!(&masked(&mut matcher), mask, "{} of {} back", back, tokens.len());
        }
        prop_assert_eq!(matcher.accept_all(&tokens[at..]), Ok(back));
        let too_many = matcher.rollback(tokens.len() + 1);
        let refused = matches!(too_many, Err(MatcherError::Rollback { .. }));
        prop_assert!(refused, "{too_many:?}");
    }
}

#[test]
fn special_tokens_are_reached_by_name_only() {
    let mut any = VOCABULARY.compile(&Grammar::Regex("[^]*".to_owned())).expect("it compiles");
    assert!(!masked(&mut any).contains(&TOOL_CALL), "text is never a special token");
    let lark = "start: \"a\" <|tool_call|> \"b\"".to_owned();
    let mut call = VOCABULARY.compile(&Grammar::Lark(lark)).expect("it compiles");
    assert_eq!(call.accept(u32::from(b'a')), Ok(true));
    assert_eq!(masked(&mut call), [TOOL_CALL]);
    assert_eq!(call.accept_all(&[TOOL_CALL, u32::from(b'b'), END]), Ok(3));
    assert!(call.is_complete());
    let unknown = VOCABULARY.compile(&Grammar::Lark("start: <|nothing|>".to_owned()));
    assert!(unknown.is_err());
}

#[test]
fn white_space_is_bounded() {
    let schema =
        json!({"type": "object", "properties": {"a": {"type": "array"}}, "required": ["a"]});
    let matcher = VOCABULARY.compile(&Grammar::JsonSchema(schema)).expect("it compiles");
    let yes = [
        "{\"a\":[]}",
        "{\"a\": [1, 2]}",
        "{\n  \"a\": [\n    1,\n    2\n  ]\n}",
        "{\n\t\"a\": []\n}",
    ];
    let no = [
        " {\"a\":[]}",
        "{\"a\":  []}",
        "{\"a\":\n\n[]}",
        "{\"a\":[]} ",
        "{\"a\":[]}\n",
        "{\"a\":\r[]}",
    ];
    for text in yes {
        assert!(support::takes(&matcher, text), "{text:?}");
    }
    for text in no {
        assert!(!support::takes(&matcher, text), "{text:?}");
    }
}

#[test]
fn a_key_cannot_come_in_disguise() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
    let matcher = VOCABULARY.compile(&Grammar::JsonSchema(schema)).expect("it compiles");
    assert!(support::takes(&matcher, "{\"a\":1,\"b\":\"x\"}"));
    assert!(!support::takes(&matcher, "{\"\\u0061\":\"x\"}"), "an escaped key is the same key");
    assert!(!support::takes(&matcher, "{\"a\":1,\"a\":\"x\"}"), "a key comes once");
}

#[test]
fn broken_vocabularies_are_refused() {
    let token = [Token::Bytes(b"a")];
    let none = Vocabulary::new(token, &[], None).err();
    assert_eq!(none, Some(VocabularyError::NoEnd));
    let beyond = Vocabulary::new(token, &[1], None).err();
    assert_eq!(beyond, Some(VocabularyError::UnknownEnd { id: 1, vocab_size: 1 }));
    let long = [b'a'; 1025];
    let long = Vocabulary::new([Token::Bytes(&long)], &[0], None).err();
    assert!(matches!(long, Some(VocabularyError::TooLarge { .. })));
    // Equal tokens, empty ones, and bytes that no text has are all fine.
    let odd = [
        Token::Bytes(b"a"),
        Token::Bytes(b"a"),
        Token::Bytes(b""),
        Token::Bytes(b"\xff"),
        Token::Special("<end>"),
    ];
    let odd = Vocabulary::new(odd, &[4], None).expect("it is odd, not broken");
    let mut matcher = odd.compile(&Grammar::Regex("a".to_owned())).expect("it compiles");
    let mut mask = [0];
    matcher.mask(&mut mask).expect("one word is enough");
    assert_eq!(mask, [0b11], "both tokens of the same bytes may come");
    let other = odd.compile(&Grammar::Regex("b".to_owned()));
    assert!(matches!(other, Err(GrammarError::Unsatisfiable { .. })), "nothing spells it");
}
