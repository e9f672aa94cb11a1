//! Whether a model shall reason before it answers, and how templates are told.

use serde_json::{Map, Value};

/// Whether the model shall reason before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Thinking {
    /// Nothing is said: the template's own default.
    #[default]
    Unsaid,
    /// It shall not.
    Off,
    /// It shall.
    On,
    /// It shall, with this much effort.
    Effort(Effort),
}

/// How much a model shall reason, as the templates of gpt-oss and others know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Little.
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
}

impl Effort {
    /// The word that templates know.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// The variables by which templates switch reasoning: Qwen, GLM, SmolLM3, Gemma and others know
/// the first, DeepSeek, Kimi and Granite the second, gpt-oss the third.
const SWITCHES: [&str; 3] = ["enable_thinking", "thinking", "reasoning_effort"];

/// Whether a template reads one of the variables that [`Thinking`] sets.
#[must_use]
pub fn has_thinking_switch(template: &str) -> bool {
    SWITCHES.iter().any(|switch| {
        template.match_indices(switch).any(|(at, _)| {
            let before = template[..at].chars().next_back();
            let after = template[at + switch.len()..].chars().next();
            let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            // `message.thinking` and `'thinking'` are fields of messages, `<thinking>` is text.
            let is_other = matches!(before, Some('.' | '\'' | '"' | '<' | '/' | '['));
            !joins(before) && !joins(after) && !is_other
        })
    })
}

impl Thinking {
    /// `kwargs` with what tells a template; what a client said itself stands.
    #[must_use]
    pub fn over(self, kwargs: &Map<String, Value>) -> Map<String, Value> {
        let mut all = kwargs.clone();
        let [enable, thinking, effort] = SWITCHES;
        let is_on = match self {
            Self::Unsaid => return all,
            Self::Off => false,
            Self::On | Self::Effort(_) => true,
        };
        for name in [enable, thinking] {
            all.entry(name).or_insert(Value::Bool(is_on));
        }
        if let Self::Effort(level) = self {
            all.entry(effort).or_insert_with(|| Value::String(level.name().to_owned()));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::{Effort, Thinking, has_thinking_switch};

    #[test]
    fn templates_are_told_and_clients_have_the_last_word() {
        let none = Map::new();
        assert_eq!(Thinking::Unsaid.over(&none), none);
        let off = json!({"enable_thinking": false, "thinking": false});
        assert_eq!(json!(Thinking::Off.over(&none)), off);
        let high = json!({"enable_thinking": true, "thinking": true, "reasoning_effort": "high"});
        assert_eq!(json!(Thinking::Effort(Effort::High).over(&none)), high);
        let own = json!({"thinking": true, "x": 1}).as_object().cloned().unwrap_or_default();
        let both = json!({"thinking": true, "x": 1, "enable_thinking": false});
        assert_eq!(json!(Thinking::Off.over(&own)), both);
    }

    #[test]
    fn a_switch_is_a_variable_and_no_text() {
        for template in [
            "{% if enable_thinking is defined %}",
            "{%- if not thinking %}",
            "{{ reasoning_effort|default('medium') }}",
        ] {
            assert!(has_thinking_switch(template), "{template}");
        }
        for template in [
            "{{ message.thinking }}",
            "<thinking>{{ x }}</thinking>",
            "m['thinking']",
            "rethinking",
        ] {
            assert!(!has_thinking_switch(template), "{template}");
        }
    }
}
