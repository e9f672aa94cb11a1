//! Hours of mixed use in minutes: whether memory, threads and descriptors stay where they are.

use super::under_load::start;
use super::{Context, Findings};
use anyhow::{Result, ensure};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};
use testkit::hostile::{Storm, Usage, storm};
use testkit::http;

const MODEL: &str = "soak";
const CLIENTS: usize = 8;
const SAMPLE: Duration = Duration::from_secs(10);
/// This part of the samples is left out: caches fill and threads start.
const WARM: f64 = 1.0 / 3.0;
/// Growth that counts as none, per minute: what a filling allocator moves, not what requests leave.
const MIB_MAX: f64 = 0.5;
const COUNT_MAX: f64 = 0.1;
/// Tools of a request beside what a storm asks.
const TOOLS: &str = r#"{"model": "soak", "max_tokens": 24, "messages": [{"role": "user", "content": "Weather in Paris?"}], "tools": [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}}}]}"#;

pub(super) fn run(context: &Context) -> Result<Findings> {
    let mut command = Command::new(&context.freehold);
    command.arg("serve").arg(context.smollm2()?).args(["--port", "PORT", "--alias", MODEL]);
    command.args(["--context", "512", "--parallel", "4", "--queue", "128"]);
    command.args(["--threads", &context.threads.to_string()]);
    let server = start(command)?;
    let address: SocketAddr = server.address.parse()?;
    let limit = Duration::from_secs(60 * context.minutes as u64);
    let begun = Instant::now();
    let (tally, tools, samples) = std::thread::scope(|scope| {
        let mixed = scope.spawn(|| {
            storm(address, MODEL, Storm { clients: CLIENTS, requests: usize::MAX, limit })
        });
        let tools = scope.spawn(|| tools(&server.address, begun, limit));
        let samples = sample(server.id(), begun, limit);
        (mixed.join().unwrap_or_default(), tools.join().unwrap_or_default(), samples)
    });
    let samples = samples?;
    let mut found = Findings::default();
    let _ = writeln!(
        found.markdown,
        "{} minutes, {CLIENTS} clients: {} requests in three dialects, streamed and whole, of which most hang up or dawdle ({:?}), and {} whole ones with tools; {} problems.\n\
         Every {} s what the process holds; the slope is Theil and Sen's (the median of the slopes between all pairs) after the first third.\n",
        context.minutes,
        tally.requests(),
        tally.kinds,
        tools.0,
        tally.problems.len() + tools.1,
        SAMPLE.as_secs()
    );
    found.missed.extend(tally.problems.into_iter().take(10));
    if tools.1 > 0 {
        found.missed.push(format!("{} requests with tools failed", tools.1));
    }
    slopes(&samples, &mut found)?;
    Ok(found)
}

/// Asks with tools, one after the other; how many were answered and how many not.
fn tools(address: &str, begun: Instant, limit: Duration) -> (usize, usize) {
    let mut counts = (0, 0);
    while begun.elapsed() < limit {
        match http::post(address, "/v1/chat/completions", TOOLS) {
            Ok(answer) if answer.status == 200 => counts.0 += 1,
            _ => counts.1 += 1,
        }
    }
    counts
}

/// Minutes since the beginning and what was held then.
fn sample(process: u32, begun: Instant, limit: Duration) -> Result<Vec<(f64, Usage)>> {
    let mut samples = Vec::new();
    while begun.elapsed() < limit {
        samples.push((begun.elapsed().as_secs_f64() / 60.0, Usage::of(process)?));
        std::thread::sleep(SAMPLE.min(limit.saturating_sub(begun.elapsed())));
    }
    Ok(samples)
}

/// What is looked at of a process: its name, the value, the most growth per minute.
type Measure = (&'static str, fn(&Usage) -> f64, f64);

const MEASURES: [Measure; 4] = [
    ("resident MiB", |usage| usage.resident_bytes as f64 / 1048576.0, MIB_MAX),
    ("of it without a file, MiB", |usage| usage.anonymous_bytes as f64 / 1048576.0, MIB_MAX),
    ("threads", |usage| usage.threads as f64, COUNT_MAX),
    ("descriptors", |usage| usage.descriptors as f64, COUNT_MAX),
];

fn slopes(samples: &[(f64, Usage)], found: &mut Findings) -> Result<()> {
    let warm = &samples[(samples.len() as f64 * WARM) as usize..];
    ensure!(warm.len() >= 3, "{} samples are too few; --minutes asks for more", warm.len());
    found.markdown.push_str(
        "| | first | last | most | slope a minute | flat is below |\n|---|---|---|---|---|---|\n",
    );
    for (name, of, limit) in MEASURES {
        let points: Vec<(f64, f64)> = warm.iter().map(|(at, usage)| (*at, of(usage))).collect();
        let slope = slope(&points);
        let most = points.iter().map(|(_, value)| *value).fold(0.0, f64::max);
        let (first, last) = (points[0].1, points[points.len() - 1].1);
        let _ = writeln!(
            found.markdown,
            "| {name} | {first:.1} | {last:.1} | {most:.1} | {slope:+.3} | {limit} |"
        );
        if slope >= limit {
            found.missed.push(format!("{name} grow by {slope:.3} a minute"));
        }
    }
    Ok(())
}

/// Theil and Sen's slope of points in order.
fn slope(points: &[(f64, f64)]) -> f64 {
    let pairs =
        points.iter().enumerate().flat_map(|(at, a)| points[at + 1..].iter().map(move |b| (a, b)));
    let slopes: Vec<f64> = pairs.map(|(a, b)| (b.1 - a.1) / (b.0 - a.0)).collect();
    super::median(&slopes)
}

#[cfg(test)]
mod tests {
    use super::slope;

    #[test]
    fn outliers_do_not_move_the_slope() {
        let mut points: Vec<(f64, f64)> =
            (0..20).map(|at| (at.into(), 3.0 + 2.0 * f64::from(at))).collect();
        points[7].1 = 1e6;
        points[12].1 = -1e6;
        assert!((slope(&points) - 2.0).abs() < 1e-9);
    }
}
