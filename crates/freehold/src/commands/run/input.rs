//! What a person types in the chat: lines that join to messages, and commands.

/// What a line amounts to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// The message goes on in the next line.
    More,
    /// Nothing was said.
    Nothing,
    /// A whole message.
    Message(String),
    /// A command: its name without the slash, and the rest of the line.
    Command(String, String),
}

/// The delimiter of a text of several lines.
const FENCE: &str = "\"\"\"";

/// Joins lines to messages.
#[derive(Debug, Default)]
pub(super) struct Lines {
    lines: Vec<String>,
    is_fenced: bool,
}

impl Lines {
    /// Whether a message has begun that is not complete.
    pub(super) fn is_open(&self) -> bool {
        self.is_fenced || !self.lines.is_empty()
    }

    /// Forgets an unfinished message.
    pub(super) fn clear(&mut self) {
        *self = Lines::default();
    }

    /// Takes the next line, without its line end.
    pub(super) fn push(&mut self, line: &str) -> Entry {
        if self.is_fenced {
            return self.push_fenced(line);
        }
        if self.lines.is_empty() {
            if let Some(rest) = line.trim_start().strip_prefix(FENCE) {
                self.is_fenced = true;
                return if rest.is_empty() { Entry::More } else { self.push_fenced(rest) };
            }
            if let Some(command) = line.trim().strip_prefix('/') {
                let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
                return Entry::Command(name.to_owned(), rest.trim().to_owned());
            }
        }
        if let Some(start) = line.strip_suffix('\\') {
            self.lines.push(start.to_owned());
            return Entry::More;
        }
        self.lines.push(line.to_owned());
        self.take()
    }

    fn push_fenced(&mut self, line: &str) -> Entry {
        match line.trim_end().strip_suffix(FENCE) {
            Some(last) => {
                if !last.is_empty() {
                    self.lines.push(last.to_owned());
                }
                self.take()
            }
            None => {
                self.lines.push(line.to_owned());
                Entry::More
            }
        }
    }

    fn take(&mut self) -> Entry {
        let text = std::mem::take(self).lines.join("\n");
        if text.trim().is_empty() { Entry::Nothing } else { Entry::Message(text) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(lines: &[&str]) -> Entry {
        let mut input = Lines::default();
        let mut entry = Entry::Nothing;
        for line in lines {
            entry = input.push(line);
        }
        assert_eq!(input.is_open(), entry == Entry::More);
        entry
    }

    #[test]
    fn lines_join_to_messages() {
        assert_eq!(last(&["hello"]), Entry::Message("hello".into()));
        assert_eq!(last(&["one\\", "two"]), Entry::Message("one\ntwo".into()));
        assert_eq!(last(&["\"\"\"", "a", "", "/b", "\"\"\""]), Entry::Message("a\n\n/b".into()));
        assert_eq!(last(&["\"\"\"a", "b\"\"\""]), Entry::Message("a\nb".into()));
        assert_eq!(last(&["\"\"\"a\"\"\""]), Entry::Message("a".into()));
        assert_eq!(last(&["\"\"\"", "a"]), Entry::More);
        assert_eq!(last(&["  "]), Entry::Nothing);
    }

    #[test]
    fn commands_begin_with_a_slash() {
        assert_eq!(last(&["/help"]), Entry::Command("help".into(), String::new()));
        assert_eq!(last(&["/set top_p 0.9 "]), Entry::Command("set".into(), "top_p 0.9".into()));
        assert_eq!(last(&["a /b"]), Entry::Message("a /b".into()));
    }
}
