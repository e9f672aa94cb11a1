//! Which trace a request belongs to: W3C Trace Context.
//!
//! <https://www.w3.org/TR/trace-context/>

use std::fmt::Write as _;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// A span's place among others.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) trace: [u8; 16],
    pub(crate) span: [u8; 8],
    /// The caller's span, where it named one.
    pub(crate) parent: Option<[u8; 8]>,
    /// Whether the caller, or else the server, wants it exported.
    pub(crate) is_sampled: bool,
}

/// What a `traceparent` header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parent {
    pub(crate) trace: [u8; 16],
    pub(crate) span: [u8; 8],
    pub(crate) is_sampled: bool,
}

impl Parent {
    /// Reads the header; anything that is not well formed is as if it were not there, as the
    /// standard asks.
    pub(crate) fn read(header: &str) -> Option<Self> {
        let mut parts = header.trim().split('-');
        let [version] = bytes(parts.next()?)?;
        let trace: [u8; 16] = bytes(parts.next()?)?;
        let span: [u8; 8] = bytes(parts.next()?)?;
        let [flags] = bytes(parts.next()?)?;
        // A later version may say more behind what this one knows.
        let is_known = version != 0xff && (version != 0 || parts.next().is_none());
        let is_set = trace != [0; 16] && span != [0; 8];
        (is_known && is_set).then_some(Self { trace, span, is_sampled: flags & 1 == 1 })
    }
}

/// Lower-case hexadecimal digits of exactly so many bytes.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_hex = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 2 * N || !text.bytes().all(is_hex) {
        return None;
    }
    let mut out = [0; N];
    for (at, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(out)
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Makes ids by hashing a count with a key of the process that chance made.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    key: RandomState,
    n_made: AtomicU64,
}

impl Ids {
    fn next(&self) -> [u8; 8] {
        let hash = self.key.hash_one(self.n_made.fetch_add(1, Ordering::Relaxed));
        // Zero is no id.
        hash.max(1).to_be_bytes()
    }

    /// The place of a new span: below the caller's, or at the root of a new trace.
    pub(crate) fn place(&self, parent: Option<Parent>) -> Place {
        let span = self.next();
        match parent {
            Some(Parent { trace, span: parent, is_sampled }) => {
                Place { trace, span, parent: Some(parent), is_sampled }
            }
            None => {
                let mut trace = [0; 16];
                trace[..8].copy_from_slice(&self.next());
                trace[8..].copy_from_slice(&self.next());
                Place { trace, span, parent: None, is_sampled: true }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn the_example_of_the_standard_is_read() {
        let parent = Parent::read(HEADER).expect("it is well formed");
        assert_eq!(hex(&parent.trace), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(hex(&parent.span), "b7ad6b7169203331");
        assert!(parent.is_sampled);
        assert!(Parent::read(&format!("{HEADER}-more").replacen("00", "01", 1)).is_some());
        let place = Ids::default().place(Some(parent));
        assert_eq!((place.trace, place.parent), (parent.trace, Some(parent.span)));
    }

    #[test]
    fn what_is_not_well_formed_is_no_parent() {
        for header in [
            "",
            &HEADER.replacen("00", "ff", 1),
            &HEADER.to_uppercase(),
            &format!("{HEADER}-more"),
            &HEADER[..HEADER.len() - 3],
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        ] {
            assert_eq!(Parent::read(header), None, "{header}");
        }
    }

    #[test]
    fn a_header_is_read_or_left_without_a_panic() {
        bolero::check!().with_type::<String>().for_each(|header| {
            let _ = Parent::read(header);
        });
    }

    #[test]
    fn ids_differ() {
        let ids = Ids::default();
        let spans: std::collections::HashSet<_> = (0..1000).map(|_| ids.place(None).span).collect();
        assert_eq!(spans.len(), 1000);
    }
}
