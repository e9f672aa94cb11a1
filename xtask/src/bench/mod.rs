//! `cargo xtask bench`: a short look at a machine's speed, written down under `bench/record/`,
//! or compared with what stands there. `accept` is the long one.

mod table;

use crate::accept::{machine::Machine, record};
use crate::mix::Mix;
use crate::{random_model, shell};
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use table::Row;

const USAGE: &str = "\
Usage: cargo xtask bench [--check] [OPTIONS]

  Measures prefill and decode of a few random models and the inner loops alone, in some
  minutes, and records them under bench/record/.

  --check            compare with the last record of this machine and write nothing;
                     a difference is printed and never an error
  --freehold PATH    a built binary [default: built here, in release]
  --models FOLDER    where test models are made and kept [default: target/accept]
  --threads N        [default: 2]
  --only WORD        only works whose names contain WORD; recorded is the whole list alone
";

/// A model, and what `freehold bench` is asked to do with it.
struct Work {
    mix: &'static str,
    arguments: &'static [&'static str],
}

const WORKS: [Work; 6] = [
    Work { mix: "Q4_0", arguments: &[] },
    Work { mix: "Q4_K_M", arguments: &[] },
    Work { mix: "Q4_K_M", arguments: &["--batch", "8", "--prompt", "0"] },
    Work { mix: "Q4_K_M", arguments: &["--depth", "4096", "--prompt", "128", "--generate", "16"] },
    Work { mix: "Q8_0", arguments: &[] },
    Work { mix: "F16", arguments: &[] },
];

struct Options {
    check: bool,
    freehold: Option<PathBuf>,
    models: PathBuf,
    threads: usize,
    only: Option<String>,
}

pub(crate) fn run(args: &[String]) -> Result<()> {
    if args.iter().any(|arg| matches!(arg.as_str(), "--help" | "-h")) {
        print!("{USAGE}");
        return Ok(());
    }
    let options = parse(args)?;
    std::fs::create_dir_all(&options.models)
        .with_context(|| format!("cannot make {}", options.models.display()))?;
    let (isa, rows) = measure(&options)?;
    let title = format!("Quick measurements, {isa} kernels, {} threads", options.threads);
    let machine = Machine::read();
    if options.check {
        let Some((date, body)) = record::last(&machine, &title)? else {
            bail!("no record of this machine has \"{title}\"; `cargo xtask bench` makes one");
        };
        println!(
            "{title}: now beside {date}\n\n{}",
            table::differences(&table::read(&body), &rows)
        );
        return Ok(());
    }
    let markdown = table::markdown(&rows);
    println!("\n## {title}\n\n{markdown}");
    if options.only.is_some() {
        eprintln!("not recorded: --only left some works out");
        return Ok(());
    }
    eprintln!("recorded in {}", record::write(&machine, &title, &markdown)?.display());
    Ok(())
}

fn parse(args: &[String]) -> Result<Options> {
    let models = testkit::repository_root().join("target/accept");
    let mut options = Options { check: false, freehold: None, models, threads: 2, only: None };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} needs a value\n\n{USAGE}"));
        match arg.as_str() {
            "--check" => options.check = true,
            "--freehold" => options.freehold = Some(PathBuf::from(value()?)),
            "--models" => options.models = PathBuf::from(value()?),
            "--only" => options.only = Some(value()?.clone()),
            "--threads" => {
                let text = value()?;
                let number = text.parse().ok().filter(|&n| n > 0);
                options.threads = number.with_context(|| {
                    format!("--threads: expected a number above 0, not `{text}`")
                })?;
            }
            _ => bail!("unexpected `{arg}`\n\n{USAGE}"),
        }
    }
    Ok(options)
}

/// The instruction set in force, and every row in the order of the list.
fn measure(options: &Options) -> Result<(String, Vec<Row>)> {
    let freehold = match &options.freehold {
        Some(path) => path.clone(),
        None => shell::build_freehold("release")?,
    };
    let wanted = |name: &str| options.only.as_ref().is_none_or(|word| name.contains(word.as_str()));
    let (mut objects, mut rows) = (Vec::new(), Vec::new());
    for work in WORKS {
        let file = format!("qwen3-0.6b-random-{}.gguf", work.mix);
        if wanted(&file) {
            let path = random_model::kept(
                &options.models,
                &random_model::Shape::QWEN3_0_6B,
                &Mix::from_name(work.mix)?,
            )?;
            let object = bench(&freehold, &path, options.threads, work.arguments)?;
            rows.extend(table::of_work(&file, &object));
            objects.push(object);
        }
    }
    let Some(first) = objects.first() else { bail!("--only names no work") };
    let isa = first["isa"].as_str().context("`freehold bench --json` has no isa")?.to_owned();
    rows.extend(table::roofs(&objects));
    if wanted("micro") {
        rows.extend(table::of_micro(&micro(options.threads)?));
    }
    Ok((isa, rows))
}

fn bench(freehold: &Path, model: &Path, threads: usize, arguments: &[&str]) -> Result<Value> {
    let mut command = Command::new(freehold);
    command.arg("bench").arg(model).args(arguments).args(["--repeat", "3", "--json"]);
    eprintln!("$ {}", shell::shown(command.arg("--threads").arg(threads.to_string())));
    let text = shell::output(&mut command)?;
    serde_json::from_str(text.trim()).context("`freehold bench --json` printed no JSON")
}

/// What the example of the kernels prints for weights that fit a large cache.
fn micro(threads: usize) -> Result<String> {
    let threads = threads.to_string();
    let example = ["run", "--release", "--quiet", "--package", "kernels", "--example", "micro"];
    let mut command = shell::cargo(&example);
    eprintln!("$ {}", shell::shown(command.arg("--").arg(&threads)));
    shell::output(&mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_checked() {
        let parsed = |line: &str| {
            let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            parse(&args)
        };
        let options = parsed("--check --threads 3 --only Q8").expect("valid");
        assert!(options.check && options.threads == 3 && options.only.as_deref() == Some("Q8"));
        for bad in ["--threads 0", "--threads", "speed"] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
        for work in WORKS {
            assert!(Mix::from_name(work.mix).is_ok());
        }
    }
}
