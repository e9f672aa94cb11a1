//! What the commands print: tables for people, numbers with units, and nothing else on
//! standard output.

use std::fmt::Display;
use std::io::{self, StdoutLock, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Standard output, whose errors say that it is what could not be written.
pub(crate) struct Stdout(StdoutLock<'static>);

/// Locks standard output for a command that prints to it.
pub(crate) fn stdout() -> Stdout {
    Stdout(io::stdout().lock())
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(unwritable)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(unwritable)
    }
}

fn unwritable(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot write to standard output: {error}"))
}

/// Whether lines for people are a part of the log.
static ARE_LOGGED: AtomicBool = AtomicBool::new(false);

/// From now on, lines for people are lines of the log: who reads JSON reads nothing else.
pub(crate) fn log_lines() {
    ARE_LOGGED.store(true, Ordering::Relaxed);
}

/// Prints a line for people on standard error. Where that cannot be written, as on a full disk,
/// nobody can be told; the work goes on.
pub(crate) fn say(line: impl Display) {
    if ARE_LOGGED.load(Ordering::Relaxed) {
        return tracing::info!("{line}");
    }
    let _ = writeln!(io::stderr(), "{line}");
}

/// Columns padded to their widest cell; cells that begin with a digit stand to the right.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a line of column names.
    pub(crate) fn new(names: &[&str]) -> Table {
        Table { rows: vec![names.iter().map(|&name| name.to_owned()).collect()] }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [&dyn Display; N]) {
        self.rows.push(cells.iter().map(ToString::to_string).collect());
    }

    /// Writes the rows, with two spaces between columns and none at the end of a line.
    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max()
        };
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let numeric: Vec<bool> = (0..columns).map(|column| self.is_numeric(column)).collect();
        for row in &self.rows {
            let cells = row.iter().enumerate().map(|(i, cell)| {
                let width = widths[i];
                if numeric[i] { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
            writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }

    fn is_numeric(&self, column: usize) -> bool {
        let mut cells = self.rows.iter().skip(1).filter_map(|row| row.get(column)).peekable();
        let first = |cell: &String| cell.trim_start_matches('-').chars().next();
        cells.peek().is_some() && cells.all(|cell| first(cell).is_some_and(|c| c.is_ascii_digit()))
    }
}

/// Bytes with a binary unit, three digits or so: `93.8 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{count} B"),
        _ if value < 10.0 => format!("{value:.2} {}", UNITS[unit]),
        _ => format!("{value:.1} {}", UNITS[unit]),
    }
}

/// A count with a decimal unit: `134.5 M`, `1.24 B`.
pub(crate) fn count(number: u64) -> String {
    let value = number as f64;
    match number {
        0..1_000 => number.to_string(),
        1_000..1_000_000 => format!("{:.1} k", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} M", value / 1e6),
        _ => format!("{:.2} B", value / 1e9),
    }
}

/// A shape as `3072 × 1024`.
pub(crate) fn shape(dimensions: &[usize]) -> String {
    dimensions.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align() {
        let mut table = Table::new(&["name", "bytes"]);
        table.row([&"a", &12]);
        table.row([&"longer", &3]);
        let mut out = Vec::new();
        table.write(&mut out).expect("a vector takes everything");
        assert_eq!(String::from_utf8_lossy(&out), "name    bytes\na          12\nlonger      3\n");
    }

    #[test]
    fn units_keep_three_digits_or_so() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(98_362_432), "93.8 MiB");
        assert_eq!(count(134_515_008), "134.5 M");
        assert_eq!(count(1_240_000_000), "1.24 B");
        assert_eq!(shape(&[49152, 576]), "49152 × 576");
    }
}
