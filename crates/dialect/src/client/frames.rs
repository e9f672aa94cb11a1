//! Streamed bodies in pieces of any size to their frames: the event-stream format, and lines.

use crate::client::ReadError;

/// Longest line or event of a stream, in bytes; a whole answer may come as one.
const FRAME_BYTES_MAX: usize = 16 << 20;

/// An event of an event stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its name; empty where it has none.
    pub event: String,
    /// Its data; several lines are joined by `\n`.
    pub data: String,
}

/// Lines of a body, ended by LF, CR or both.
#[derive(Debug, Default)]
pub struct Lines {
    line: Vec<u8>,
    /// Whether the last byte was a CR, which a LF may belong to.
    is_after_cr: bool,
}

impl Lines {
    /// Takes the next bytes and calls `each` with every line that they end.
    ///
    /// # Errors
    /// A line that is too long or not UTF-8, or what `each` finds.
    pub fn push(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&str) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        for &byte in bytes {
            let is_rest_of_end = byte == b'\n' && self.is_after_cr;
            self.is_after_cr = byte == b'\r';
            match byte {
                b'\n' if is_rest_of_end => {}
                b'\n' | b'\r' => self.end(&mut each)?,
                _ if self.line.len() == FRAME_BYTES_MAX => return Err(too_long()),
                _ => self.line.push(byte),
            }
        }
        Ok(())
    }

    /// Calls `each` with a last line that nothing ended, where there is one.
    ///
    /// # Errors
    /// As [`Lines::push`].
    pub fn finish(
        &mut self,
        mut each: impl FnMut(&str) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        if self.line.is_empty() { Ok(()) } else { self.end(&mut each) }
    }

    fn end(
        &mut self,
        each: &mut dyn FnMut(&str) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let line = std::mem::take(&mut self.line);
        each(std::str::from_utf8(&line).map_err(|_| ReadError::NotUtf8)?)
    }
}

fn too_long() -> ReadError {
    ReadError::TooLong { limit: FRAME_BYTES_MAX }
}

/// Events of an event stream.
///
/// Source: the HTML Standard, "Server-sent events"; `id` and `retry` are for clients that connect
/// again, and are read past.
#[derive(Debug, Default)]
pub struct EventStream {
    lines: Lines,
    event: String,
    data: Option<String>,
    is_begun: bool,
}

impl EventStream {
    /// Takes the next bytes and gives the events that they end.
    ///
    /// # Errors
    /// An event that is too long or not UTF-8.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Frame>, ReadError> {
        let mut frames = Vec::new();
        let Self { lines, event, data, is_begun } = self;
        lines.push(bytes, |line| {
            // A mark of byte order may begin the stream.
            let line = if *is_begun { line } else { line.trim_start_matches('\u{feff}') };
            *is_begun = true;
            if line.is_empty() {
                let event = std::mem::take(event);
                frames.extend(data.take().map(|data| Frame { event, data }));
                return Ok(());
            }
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match (name, &mut *data) {
                ("event", _) => value.clone_into(event),
                ("data", None) => *data = Some(value.to_owned()),
                ("data", Some(data)) if data.len() + value.len() >= FRAME_BYTES_MAX => {
                    return Err(too_long());
                }
                ("data", Some(data)) => {
                    data.push('\n');
                    data.push_str(value);
                }
                // Comments, whose name is empty, and what is not known.
                _ => {}
            }
            Ok(())
        })?;
        Ok(frames)
    }
}
