//! Prometheus' text format, version 0.0.4.
//!
//! Written by hand: a family is a line or two, and half of what is told here is read from the
//! models' own counts at the moment of the scrape, for which a registry of metrics has no place.

use std::fmt::{Display, Write as _};

use crate::histogram::Snapshot;

/// The content type of a page of metrics.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Most bytes of a label's value.
const VALUE_BYTES_MAX: usize = 256;

/// A label's name and value.
pub(crate) type Label<'a> = (&'a str, &'a str);

/// A page of metrics, family by family.
#[derive(Debug, Default)]
pub(crate) struct Page(String);

/// What a family's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Page {
    pub(crate) fn finish(self) -> String {
        self.0
    }

    /// Begins a family: all its samples must follow before the next begins.
    pub(crate) fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// A value of the family that was begun last.
    pub(crate) fn sample(&mut self, name: &str, labels: &[Label<'_>], value: impl Display) {
        self.line(name, "", labels, None, value);
    }

    /// A histogram of the family that was begun last.
    pub(crate) fn histogram(&mut self, name: &str, labels: &[Label<'_>], read: &Snapshot) {
        for (bound, count) in &read.buckets {
            let bound = if bound.is_infinite() { "+Inf".to_owned() } else { format!("{bound:?}") };
            self.line(name, "_bucket", labels, Some(("le", &bound)), count);
        }
        self.line(name, "_sum", labels, None, read.sum);
        self.line(name, "_count", labels, None, read.count);
    }

    fn line(
        &mut self,
        name: &str,
        suffix: &str,
        labels: &[Label<'_>],
        last: Option<Label<'_>>,
        value: impl Display,
    ) {
        self.0.push_str(name);
        self.0.push_str(suffix);
        for (at, (label, text)) in labels.iter().copied().chain(last).enumerate() {
            self.0.push(if at == 0 { '{' } else { ',' });
            self.0.push_str(label);
            self.0.push_str("=\"");
            escape(text, &mut self.0);
            self.0.push('"');
        }
        if !labels.is_empty() || last.is_some() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }
}

/// A label's value, which may be anything.
fn escape(text: &str, out: &mut String) {
    let mut end = text.len().min(VALUE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    for c in text[..end].chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_what_the_format_says() {
        let mut page = Page::default();
        page.family("requests_total", Kind::Counter, "Requests.");
        page.sample("requests_total", &[("model", "a\"b\\c\nd"), ("status", "200")], 3);
        page.family("up", Kind::Gauge, "Whether it is up.");
        page.sample("up", &[], 1);
        let text = "# HELP requests_total Requests.\n# TYPE requests_total counter\n\
            requests_total{model=\"a\\\"b\\\\c\\nd\",status=\"200\"} 3\n\
            # HELP up Whether it is up.\n# TYPE up gauge\nup 1\n";
        assert_eq!(page.finish(), text);
    }

    #[test]
    fn no_label_breaks_its_line() {
        bolero::check!().with_type::<String>().for_each(|text| {
            let mut page = Page::default();
            page.sample("m", &[("l", text)], 1);
            let page = page.finish();
            assert_eq!(page.matches('\n').count(), 1);
            let value = page.strip_prefix("m{l=\"").and_then(|rest| rest.strip_suffix("\"} 1\n"));
            let value = value.expect("the line has its form");
            let bare = value.replace("\\\\", "").replace("\\\"", "").replace("\\n", "");
            assert!(!bare.contains(['"', '\\']), "{page}");
            assert!(value.len() <= 3 * VALUE_BYTES_MAX);
        });
    }
}
