//! The rows of a quick measurement: from JSON and text, as Markdown and back, and side by side.

use crate::accept::median;
use serde_json::Value;
use std::fmt::Write as _;

/// A difference that is marked; runs on a shared machine differ by less.
const MARKED: f64 = 0.05;

/// One measured number.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// A file, `roof` or `micro`.
    pub(super) work: String,
    pub(super) measure: String,
    pub(super) value: f64,
    pub(super) unit: String,
    /// The lowest and the highest, and the share of a roof, for people.
    pub(super) remarks: String,
}

impl Row {
    fn new(work: &str, measure: String, value: f64, unit: &str, remarks: String) -> Row {
        Row { work: work.to_owned(), measure, value, unit: unit.to_owned(), remarks }
    }
}

/// Prefill and decode from an object of `freehold bench --json`, where they were measured.
pub(super) fn of_work(file: &str, object: &Value) -> Vec<Row> {
    let number = |key: &str| object[key].as_u64().unwrap_or(0);
    let depth = match number("depth_tokens") {
        0 => String::new(),
        depth => format!(" after {depth}"),
    };
    let batch = match number("batch") {
        0 | 1 => String::new(),
        batch => format!(" × {batch}"),
    };
    let prefill = format!("prefill {}{depth}", number("prompt_tokens"));
    let decode = format!("decode {}{batch}{depth}", number("generate_tokens"));
    let row = |measure: String, key: &str, share: &str| {
        let value = object[key].as_f64()?;
        let runs = object[format!("{key}_runs")].as_array().cloned().unwrap_or_default();
        let runs: Vec<f64> = runs.iter().filter_map(Value::as_f64).collect();
        let low = runs.iter().copied().fold(f64::INFINITY, f64::min);
        let high = runs.iter().copied().fold(0.0, f64::max);
        let share = object[share].as_f64();
        let share = share.map_or(String::new(), |s| format!(", {:.0} % of the roof", s * 100.0));
        let remarks = format!("{low:.1} to {high:.1}{share}");
        Some(Row::new(file, measure, value, "tokens/s", remarks))
    };
    let prefill = row(prefill, "prefill_tokens_per_second", "prefill_share_of_multiply_adds");
    let decode = row(decode, "decode_tokens_per_second", "decode_share_of_memory_read");
    [prefill, decode].into_iter().flatten().collect()
}

/// The medians of the roofs over all works.
pub(super) fn roofs(objects: &[Value]) -> Vec<Row> {
    let kinds = [
        ("products of 8 bits", "int8_multiply_adds_per_second", "GMAC/s"),
        ("products of 16 bits", "int16_multiply_adds_per_second", "GMAC/s"),
        ("products of f32", "f32_multiply_adds_per_second", "GMAC/s"),
        ("reading memory", "memory_read_bytes_per_second", "GB/s"),
    ];
    let row = |(measure, key, unit): (&str, &str, &str)| {
        let values: Vec<f64> = objects.iter().filter_map(|object| object[key].as_f64()).collect();
        let middle = median(&values) / 1e9;
        (!middle.is_nan())
            .then(|| Row::new("roof", measure.to_owned(), middle, unit, String::new()))
    };
    kinds.into_iter().filter_map(row).collect()
}

/// From the lines of the kernels' example, such as
/// `Q4_0     1 token   21.5 GB/s   512 tokens   95.0 GMAC/s   packing  1.10 GB/s`.
pub(super) fn of_micro(text: &str) -> Vec<Row> {
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, "1", "token", one, "GB/s", count, "tokens", many, "GMAC/s", ..] = words[..]
        else {
            return None;
        };
        let row = |measure: String, value: &str, unit: &str| {
            Some(Row::new("micro", measure, value.parse().ok()?, unit, String::new()))
        };
        Some([
            row(format!("{name}, 1 token"), one, "GB/s")?,
            row(format!("{name}, {count} tokens"), many, "GMAC/s")?,
        ])
    };
    text.lines().filter_map(row).flatten().collect()
}

pub(super) fn markdown(rows: &[Row]) -> String {
    let mut text = "Medians of three repeats of `freehold bench`, their range and share of the roof measured between them; `micro` is the kernels' example of that name, the best of five.\n\n\
         | work | measure | value | unit | remarks |\n|---|---|---|---|---|\n"
        .to_owned();
    for row in rows {
        let _ = writeln!(
            text,
            "| {} | {} | {:.1} | {} | {} |",
            row.work, row.measure, row.value, row.unit, row.remarks
        );
    }
    text
}

/// The rows of a table that [`markdown`] wrote; other lines are not rows.
pub(super) fn read(markdown: &str) -> Vec<Row> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim().split('|').map(str::trim).collect();
        let ["", work, measure, value, unit, remarks, ""] = cells[..] else { return None };
        let value = value.parse().ok()?;
        Some(Row::new(work, measure.to_owned(), value, unit, remarks.to_owned()))
    };
    markdown.lines().filter_map(row).collect()
}

/// Every row with its change, large ones marked; and what part of the roof it was, since a
/// machine's memory has its days.
pub(super) fn differences(before: &[Row], now: &[Row]) -> String {
    let mut text = "| work | measure | then | now | unit | change | of the roof |\n\
                    |---|---|---|---|---|---|---|\n"
        .to_owned();
    for row in now {
        let same = |old: &&Row| {
            (&old.work, &old.measure, &old.unit) == (&row.work, &row.measure, &row.unit)
        };
        let change = before.iter().find(same).map_or("none |".to_owned(), |old| {
            let change = row.value / old.value - 1.0;
            let mark = if change.abs() > MARKED { "**" } else { "" };
            let shares = match (share(&old.remarks), share(&row.remarks)) {
                (Some(then), Some(now)) => format!("{then} then, {now} now"),
                _ => String::new(),
            };
            format!("{mark}{:+.1} %{mark} | {shares}", change * 100.0)
        });
        let then =
            before.iter().find(same).map_or("none".to_owned(), |old| format!("{:.1}", old.value));
        let _ = writeln!(
            text,
            "| {} | {} | {then} | {:.1} | {} | {change} |",
            row.work, row.measure, row.value, row.unit
        );
    }
    text
}

/// `80 %` of remarks that end with `, 80 % of the roof`.
fn share(remarks: &str) -> Option<&str> {
    remarks.strip_suffix(" of the roof")?.rsplit(", ").next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_are_read_from_both_sources() {
        let object = json!({
            "prompt_tokens": 0, "generate_tokens": 64, "batch": 8, "depth_tokens": 4096,
            "prefill_tokens_per_second": null, "decode_tokens_per_second": 20.0,
            "decode_tokens_per_second_runs": [19.0, 20.0, 23.0],
            "decode_share_of_memory_read": 0.81, "int8_multiply_adds_per_second": 4e11,
        });
        let rows = of_work("f", &object);
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].measure, "decode 64 × 8 after 4096");
        assert_eq!(rows[0].remarks, "19.0 to 23.0, 81 % of the roof");
        assert_eq!(roofs(&[object]).iter().map(|row| row.value).collect::<Vec<_>>(), [400.0]);
        let micro = "avx2 · 2 threads\nroof     8-bit 1 GMAC/s\n\
                     Q4_0     1 token   21.5 GB/s   512 tokens   95.0 GMAC/s   packing  1.1 GB/s\n";
        let rows = of_micro(micro);
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[1].measure.as_str(), rows[1].value), ("Q4_0, 512 tokens", 95.0));
    }

    #[test]
    fn a_table_is_read_back_and_compared() {
        let row = |measure: &str, value| Row::new("w", measure.into(), value, "GB/s", "r".into());
        let before = [row("a", 100.0), row("b", 50.0)];
        assert_eq!(read(&markdown(&before)), before);
        assert_eq!(share("19.0 to 23.0, 81 % of the roof"), Some("81 %"));
        assert_eq!(share("19.0 to 23.0"), None);
        let text = differences(&before, &[row("a", 103.0), row("b", 40.0), row("c", 1.0)]);
        assert!(text.contains("| w | a | 100.0 | 103.0 | GB/s | +3.0 % |  |"), "{text}");
        assert!(text.contains("| w | b | 50.0 | 40.0 | GB/s | **-20.0 %** |  |"), "{text}");
        assert!(text.contains("| w | c | none | 1.0 | GB/s | none | |"), "{text}");
    }
}
