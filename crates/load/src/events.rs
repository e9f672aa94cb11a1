//! Server-sent events out of pieces of bytes (WHATWG HTML, "Server-sent events"; of it what
//! servers of models send: `data` lines, one event each, comments as signs of life).

/// Most bytes of one line.
pub(crate) const LINE_BYTES_MAX: usize = 4 << 20;

/// Lines that are not complete yet.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    pending: Vec<u8>,
}

/// A line is longer than [`LINE_BYTES_MAX`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Lines {
    /// Takes more bytes and hands over the payload of each `data` line that they complete.
    pub(crate) fn push(
        &mut self,
        mut bytes: &[u8],
        data: &mut dyn FnMut(&[u8]),
    ) -> Result<(), TooLong> {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            if self.pending.is_empty() {
                payload(line).into_iter().for_each(&mut *data);
            } else {
                self.keep(line)?;
                payload(&self.pending).into_iter().for_each(&mut *data);
                self.pending.clear();
            }
            bytes = rest;
        }
        self.keep(bytes)
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.pending.len() + bytes.len() > LINE_BYTES_MAX {
            return Err(TooLong);
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }
}

/// What stands after `data:`, with one space less and without the line's end.
fn payload(line: &[u8]) -> Option<&[u8]> {
    let data = line.strip_suffix(b"\r").unwrap_or(line).strip_prefix(b"data:")?;
    Some(data.strip_prefix(b" ").unwrap_or(data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.push(piece, &mut |data| found.push(data.to_vec())).expect("short");
        }
        found
    }

    #[test]
    fn payloads_are_found() {
        let text = b": sign of life\n\ndata: {\"a\": 1}\r\n\r\nevent: x\ndata:2\n\ndata: [DO";
        assert_eq!(read(&[text]), [b"{\"a\": 1}".to_vec(), b"2".to_vec()]);
        let long = vec![b'x'; LINE_BYTES_MAX + 1];
        assert_eq!(Lines::default().push(&long, &mut |_| {}), Err(TooLong));
    }

    proptest! {
        #[test]
        fn splits_change_nothing(
            lines in prop::collection::vec("(data:|data: |event: )?[a-z ]{0,6}\r?", 0..8),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let text = lines.join("\n") + "\n";
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len())).collect();
            cuts.sort_unstable();
            let (mut pieces, mut from) = (Vec::new(), 0);
            for cut in cuts.into_iter().chain([text.len()]) {
                pieces.push(&text.as_bytes()[from..cut]);
                from = cut;
            }
            prop_assert_eq!(read(&pieces), read(&[text.as_bytes()]));
        }
    }
}
