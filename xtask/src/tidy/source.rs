//! A look at Rust source without a parser: comments and literals blanked out, and where
//! each function begins and ends.

/// Where a function stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    /// Lines from `fn` to the closing brace, both counted.
    pub(super) lines: usize,
}

/// The source with the insides of comments, strings and characters replaced by spaces;
/// lengths and line ends stay.
pub(super) fn code_only(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => line_end(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => comment_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'r' if !continues_word(bytes, at) => raw_string_end(bytes, at).unwrap_or(at),
            b'\'' => char_end(bytes, at),
            _ => at,
        };
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    // Only whole characters were blanked or kept, so this loses nothing.
    String::from_utf8_lossy(&out).into_owned()
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |n| at + n)
}

/// Block comments nest.
fn comment_end(bytes: &[u8], at: usize) -> usize {
    let mut depth = 0;
    let mut i = at;
    while i < bytes.len() {
        match &bytes[i..(i + 2).min(bytes.len())] {
            b"/*" => (depth, i) = (depth + 1, i + 2),
            b"*/" => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut i = at + 1;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => i += 2,
            b'"' => return i + 1,
            _ => i += 1,
        }
    }
    bytes.len()
}

/// The end of `r"…"`, `r#"…"#` and so on, where `at` is the `r`; none where it is no string.
fn raw_string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let hashes = bytes[at + 1..].iter().take_while(|&&byte| byte == b'#').count();
    let open = at + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.resize(hashes + 1, b'#');
    let inside = &bytes[open + 1..];
    let length = inside.windows(close.len()).position(|window| window == close);
    Some(length.map_or(bytes.len(), |n| open + 1 + n + close.len()))
}

/// The end of a character literal, or `at` where the quote begins a lifetime.
fn char_end(bytes: &[u8], at: usize) -> usize {
    if bytes.get(at + 1) == Some(&b'\\') {
        let close = bytes[(at + 3).min(bytes.len())..].iter().position(|&byte| byte == b'\'');
        return close.map_or(bytes.len(), |n| at + 3 + n + 1);
    }
    // One character of one to four bytes, then the quote.
    let close = (at + 2..(at + 6).min(bytes.len())).find(|&i| bytes[i] == b'\'');
    match close {
        Some(end) if end == at + 2 || !bytes[at + 1].is_ascii() => end + 1,
        _ => at,
    }
}

fn continues_word(bytes: &[u8], at: usize) -> bool {
    // `br"…"` is a raw string too; any other letter before the `r` makes it part of a word.
    let before = |n: usize| at.checked_sub(n).map(|i| bytes[i]);
    let is_word = |byte: Option<u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    is_word(before(1)) && (before(1) != Some(b'b') || is_word(before(2)))
}

/// Every function with a body in `code`, which [`code_only`] made.
pub(super) fn functions(code: &str) -> Vec<Function> {
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        if at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_') {
            continue;
        }
        let name: String =
            code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if name.is_empty() {
            continue;
        }
        if let Some(end) = body_end(bytes, at) {
            let lines = 1 + bytes[at..end].iter().filter(|&&byte| byte == b'\n').count();
            found.push(Function { name, lines });
        }
    }
    found
}

/// The position after the closing brace of the function whose `fn` is at `at`; none for a
/// declaration that ends in a semicolon.
fn body_end(bytes: &[u8], at: usize) -> Option<usize> {
    let (mut brackets, mut braces) = (0i32, 0i32);
    for (i, byte) in bytes.iter().enumerate().skip(at) {
        match byte {
            b'(' | b'[' => brackets += 1,
            b')' | b']' => brackets -= 1,
            b';' if braces == 0 && brackets == 0 => return None,
            b'{' => braces += 1,
            b'}' => {
                braces -= 1;
                if braces == 0 {
                    return Some(i + 1);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_comments_are_blanked() {
        let source = "let a = \"{\\\"\"; // {\nlet b = r#\"\"{\"#; /* { /* { */ */ let c = '{'; fn x<'a>() {}";
        let code = code_only(source);
        assert_eq!(code.len(), source.len());
        assert_eq!(code.matches('{').count(), 1, "{code}");
        assert!(code.contains("fn x<'a>() {}"));
        assert_eq!(code_only("'é' '\\u{41}' b'{' br\"{\" for\"{\"").matches('{').count(), 0);
    }

    #[test]
    fn functions_are_measured_from_fn_to_brace() {
        let source = "trait T { fn declared(x: [u8; 3]); }\nfn outer(\n) {\n    fn inner() {}\n}\n";
        let lines: Vec<_> =
            functions(&code_only(source)).into_iter().map(|f| (f.name, f.lines)).collect();
        assert_eq!(lines, [("outer".to_owned(), 4), ("inner".to_owned(), 1)]);
    }
}
