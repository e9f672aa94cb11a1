//! Reasoning in the place where other servers put what they alone can read: `encrypted_content` of
//! responses, and the `signature` of a message's block whose text is not shown. Where nothing is
//! stored, clients send this back and leave out the text, which a model would then miss after each
//! call of a tool. Nothing is secret in it, so it is the text after a mark.

/// What begins the reasoning of this server's answers.
const MARK: &str = "freehold:";

/// The text as clients send it back.
pub(crate) fn sent_back(text: &str) -> String {
    format!("{MARK}{text}")
}

/// The text of what was sent back, where it is of this server.
pub(crate) fn read(sealed: &str) -> Option<&str> {
    sealed.strip_prefix(MARK)
}
