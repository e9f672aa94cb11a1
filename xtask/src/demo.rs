//! `cargo xtask demo`: a real model on this machine, from nothing to a streamed answer.

use crate::{shell, smollm2};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use testkit::http;
use testkit::process::Server;

const QUESTION: &str = "What is the capital of France?";
const READY_LIMIT: Duration = Duration::from_secs(60);
const ANSWER_TOKENS: u32 = 128;

struct Options {
    once: bool,
    port: u16,
}

pub(crate) fn run(args: &[String]) -> Result<()> {
    let options = parse(args)?;
    let freehold = shell::build_freehold("release")?;
    let model = smollm2::get(&freehold)?;
    eprintln!("model: {}", model.display());
    let address = format!("127.0.0.1:{}", options.port);
    let server = serve(&freehold, &model, &address)?;
    println!("\n> {QUESTION}\n");
    ask(&address)?;
    if options.once {
        return Ok(());
    }
    println!("\nThe server keeps running: http://{address}/v1 (Ctrl-C stops it)");
    server.wait()?;
    Ok(())
}

fn parse(args: &[String]) -> Result<Options> {
    let mut options = Options { once: false, port: 8080 };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--once" => options.once = true,
            "--port" => {
                let port = args.next().context("--port needs a number")?;
                options.port = port.parse().with_context(|| format!("`{port}` is no port"))?;
            }
            other => bail!("`demo` knows --once and --port N, not `{other}`"),
        }
    }
    Ok(options)
}

fn serve(freehold: &Path, model: &Path, address: &str) -> Result<Server> {
    let (host, port) = address.split_once(':').context("an address has a port")?;
    let mut command = Command::new(freehold);
    command.arg("serve").arg(model).args(["--host", host, "--port", port]);
    eprintln!("$ {}", shell::shown(&command));
    Server::start(&mut command, address, READY_LIMIT).context("`freehold serve` did not start")
}

/// Asks over the OpenAI API, prints the answer as it streams and then its speed.
fn ask(address: &str) -> Result<()> {
    let models: Value = serde_json::from_str(&http::get(address, "/v1/models")?.body)?;
    let model = models["data"][0]["id"].as_str().context("/v1/models lists no model")?;
    let body = json!({
        "model": model,
        // An empty system message takes the place of the template's own one, which names the
        // model as an assistant and leads this smallest of models astray.
        "messages": [{"role": "system", "content": ""}, {"role": "user", "content": QUESTION}],
        "temperature": 0,
        "max_tokens": ANSWER_TOKENS,
        "stream": true,
        "stream_options": {"include_usage": true},
    });
    let begun = Instant::now();
    let mut first = None;
    let mut last = begun;
    let mut tokens = 0;
    let answer = http::post_events(address, "/v1/chat/completions", &body.to_string(), |data| {
        let event: Value = serde_json::from_str(data).unwrap_or_default();
        if let Some(text) =
            event["choices"][0]["delta"]["content"].as_str().filter(|t| !t.is_empty())
        {
            last = Instant::now();
            first.get_or_insert(last);
            print!("{text}");
            // A closed terminal ends the demo soon enough.
            let _ = std::io::stdout().flush();
        }
        tokens = event["usage"]["completion_tokens"].as_u64().unwrap_or(tokens);
        data != "[DONE]"
    })?;
    if answer.status != 200 {
        bail!("the server answered {}: {}", answer.status, answer.body);
    }
    let first = first.context("the answer is empty")?;
    // The first and the last token, which ends the turn, stand outside the time measured.
    let speed = tokens.saturating_sub(2) as f64 / (last - first).as_secs_f64().max(1e-9);
    println!(
        "\n\n{tokens} tokens, first after {:.0} ms, then {speed:.1} tokens/s",
        (first - begun).as_secs_f64() * 1e3
    );
    Ok(())
}
