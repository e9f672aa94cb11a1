//! Progress bars: on a terminal only, never in a pipe.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal as _;

/// A bar over a known number of steps.
pub(crate) fn steps(count: u64, unit: &'static str) -> ProgressBar {
    let bar = hidden_in_pipes(ProgressBar::new(count));
    let template = format!("{{wide_bar}} {{pos}}/{{len}} {unit}, {{eta}} left");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar
}

/// A bar over bytes of a file named by its message.
pub(crate) fn bytes(total: Option<u64>) -> ProgressBar {
    let bar = hidden_in_pipes(total.map_or_else(ProgressBar::no_length, ProgressBar::new));
    let template =
        "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

fn hidden_in_pipes(bar: ProgressBar) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar
}
