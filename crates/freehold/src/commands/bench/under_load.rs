//! `bench --serve`: any server that speaks OpenAI's API under load, for people and as JSON.

use crate::cli::{Bench, BenchArrivals, BenchEndpoint};
use crate::output::{Table, stdout};
use crate::progress;
use anyhow::{Context as _, Result};
use indicatif::ProgressBar;
use load::{Arrivals, Endpoint, Extent, Figures, Job, Pace, Progress, Prompts, Report, Target};
use serde_json::{Map, Value, json};
use std::io::Write as _;
use std::time::Duration;

/// Requests where nothing says how many.
const REQUESTS: u32 = 100;

pub(super) fn run(args: &Bench, target: &Target) -> Result<()> {
    let job = job(args, target)?;
    let bar = bar(&job);
    let report = load::run(&job, &mut |at| show(&bar, &job, at))?;
    bar.finish_and_clear();
    let mut out = stdout();
    if args.json {
        writeln!(out, "{}", json(&job, &report))?;
    } else {
        table(&job, &report).write(&mut out)?;
        for (kind, (count, message)) in &report.errors {
            let message: String =
                message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            writeln!(out, "failed: {count} × {kind}, the first: {message}")?;
        }
    }
    anyhow::ensure!(report.completed > 0, "no request was answered");
    Ok(())
}

fn job(args: &Bench, target: &Target) -> Result<Job> {
    let load = &args.load;
    let pace = match (load.rate, load.concurrency) {
        (Some(per_second), _) => Pace::Open { per_second, arrivals: arrivals(load.arrivals) },
        (None, clients) => Pace::Closed { clients: clients.unwrap_or(1) as usize },
    };
    let extent = match load.duration {
        Some(time) => Extent::Time(time),
        None => Extent::Requests(load.requests.unwrap_or(REQUESTS) as usize),
    };
    let prompts = match &load.prompts {
        None => Prompts::Words(load.prompt_tokens as usize),
        Some(path) => {
            let at = || format!("cannot read {}", path.display());
            Prompts::parse(&std::fs::read_to_string(path).with_context(at)?).with_context(at)?
        }
    };
    let endpoint = match load.endpoint {
        BenchEndpoint::Chat => Endpoint::Chat,
        BenchEndpoint::Completions => Endpoint::Completions,
        BenchEndpoint::Embeddings => Endpoint::Embeddings,
    };
    // A client of the closed loop never has more than one.
    let connections = match pace {
        Pace::Open { .. } => load.connections as usize,
        Pace::Closed { clients } => clients,
    };
    Ok(Job {
        target: target.clone(),
        endpoint,
        model: load.served.clone(),
        api_key: load.api_key.clone(),
        stream: !load.no_stream && endpoint != Endpoint::Embeddings,
        prompts,
        generate: args.generate,
        ignore_eos: load.ignore_eos,
        pace,
        extent,
        warmup: usize::from(load.warmup),
        connections,
        timeout: load.timeout,
        slo: load.slo.unwrap_or_default(),
        seed: load.seed,
    })
}

fn arrivals(named: BenchArrivals) -> Arrivals {
    match named {
        BenchArrivals::Poisson => Arrivals::Poisson,
        BenchArrivals::Constant => Arrivals::Constant,
    }
}

fn bar(job: &Job) -> ProgressBar {
    match job.extent {
        Extent::Requests(count) => progress::steps(count as u64, "requests"),
        Extent::Time(time) => progress::steps(time.as_secs().max(1), "s"),
    }
}

fn show(bar: &ProgressBar, job: &Job, at: Progress) {
    match job.extent {
        Extent::Requests(_) => bar.set_position(at.completed + at.failed),
        Extent::Time(_) => bar.set_position(at.elapsed.as_secs()),
    }
}

/// Names and percentiles of a kind of time, each with its figures.
fn times(report: &Report) -> [(&'static str, &'static str, &Figures); 6] {
    [
        ("first token", "first_token_ms", &report.first_token),
        ("between pieces", "inter_token_ms", &report.inter_token),
        ("mean of a token", "time_per_output_token_ms", &report.per_token),
        ("whole answer", "end_to_end_ms", &report.end_to_end),
        ("since sending", "end_to_end_from_sending_ms", &report.from_sending),
        ("asked late", "generator_lag_ms", &report.lag),
    ]
}

const SHARES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];

fn table(job: &Job, report: &Report) -> Table {
    let mut table = Table::new(&["", "p50", "p90", "p99", "p99.9", "max", "of"]);
    for (name, _, figures) in times(report).into_iter().filter(|(.., f)| f.count() > 0) {
        let at = |share| shown(figures.seconds_at(share));
        let [p50, p90, p99, p999] = SHARES.map(|(_, share)| at(share));
        let max = shown(figures.seconds_max());
        table.row([&name, &p50, &p90, &p99, &p999, &max, &figures.count()]);
    }
    let mut line = |name: &str, value: String| table.row([&name, &value]);
    let asked = match job.pace {
        Pace::Open { per_second, .. } => format!("{per_second} asked, "),
        Pace::Closed { clients } => format!("{clients} clients, "),
    };
    let reached = report.per_second(report.completed);
    line("requests/s", format!("{asked}{reached:.2} reached"));
    line("output tokens/s", format!("{:.1}", report.per_second(report.output_tokens)));
    if job.slo.is_set() {
        line("goodput", format!("{:.2} requests/s", report.per_second(report.within_slo)));
    }
    let (requests, seconds) = (report.requests, report.seconds);
    line("requests", format!("{requests} in {seconds:.2} s, {} failed", report.failed()));
    line("most at once", report.in_flight_max.to_string());
    table
}

/// A time of three digits with its unit.
fn shown(seconds: Option<f64>) -> String {
    let Some(seconds) = seconds else { return "-".to_owned() };
    match seconds {
        s if s >= 100.0 => format!("{s:.0} s"),
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 0.1 => format!("{:.0} ms", s * 1e3),
        s if s >= 0.001 => format!("{:.2} ms", s * 1e3),
        s => format!("{:.3} ms", s * 1e3),
    }
}

fn json(job: &Job, report: &Report) -> Value {
    let mut value = json!({
        "url": job.target.to_string(),
        "model": report.model,
        "endpoint": job.endpoint.name(),
        "stream": job.stream,
        "seed": job.seed,
        "requests": report.requests,
        "completed": report.completed,
        "failed": report.failed(),
        "errors": report.errors.iter().map(|(kind, (count, _))| (kind.clone(), json!(count))).collect::<Map<_, _>>(),
        "duration_seconds": report.seconds,
        "requests_per_second": report.per_second(report.completed),
        "prompt_tokens": report.prompt_tokens,
        "output_tokens": report.output_tokens,
        "output_tokens_per_second": report.per_second(report.output_tokens),
        "in_flight_max": report.in_flight_max,
        "connections_max": job.connections,
    });
    match job.pace {
        Pace::Open { per_second, arrivals } => {
            value["loop"] = "open".into();
            value["requests_per_second_asked"] = per_second.into();
            value["arrivals"] = match arrivals {
                Arrivals::Poisson => "poisson",
                Arrivals::Constant => "constant",
            }
            .into();
        }
        Pace::Closed { clients } => {
            value["loop"] = "closed".into();
            value["concurrency"] = clients.into();
        }
    }
    for (_, key, figures) in times(report) {
        value[key] = milliseconds(figures);
    }
    if job.slo.is_set() {
        let limit = |time: Option<Duration>| time.map(|time| time.as_secs_f64() * 1e3);
        value["slo"] = json!({
            "first_token_ms": limit(job.slo.first_token),
            "inter_token_ms": limit(job.slo.inter_token),
            "end_to_end_ms": limit(job.slo.end_to_end),
        });
        value["within_slo"] = report.within_slo.into();
        value["goodput_requests_per_second"] = report.per_second(report.within_slo).into();
    }
    value
}

/// Percentiles in milliseconds; `null` where nothing was timed.
fn milliseconds(figures: &Figures) -> Value {
    if figures.count() == 0 {
        return Value::Null;
    }
    let mut value = json!({"count": figures.count()});
    for (name, share) in SHARES {
        value[name] = figures.seconds_at(share).map(|s| s * 1e3).into();
    }
    value["max"] = figures.seconds_max().map(|s| s * 1e3).into();
    value["mean"] = figures.seconds_mean().map(|s| s * 1e3).into();
    value
}
