//! `bench`: roofs, and other commands in turns with its repeats.

use crate::data::{failure, freehold, golden, home, json_output, output, write};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A small measurement in `home`.
fn bench(home: &Path) -> Command {
    let mut command = freehold(home);
    command.arg("bench").arg(golden("llama-gqa"));
    command.args(["--prompt", "8", "--generate", "4", "--threads", "1", "--repeat", "2"]);
    command
}

#[test]
fn roofs_and_shares_are_there() {
    let home = home();
    let found = json_output(bench(home.path()).arg("--json"));
    for key in [
        "prefill_tokens_per_second",
        "decode_tokens_per_second",
        "memory_read_bytes_per_second",
        "int8_multiply_adds_per_second",
        "int16_multiply_adds_per_second",
        "f32_multiply_adds_per_second",
        "prefill_multiply_adds_per_second",
        "prefill_share_of_multiply_adds",
    ] {
        assert!(found[key].as_f64() > Some(0.0), "{key}: {found}");
    }
    assert_eq!(found["prefill_tokens_per_second_runs"].as_array().map(Vec::len), Some(2));
    assert_eq!(found.get("compare"), None);
    let mut prefill = freehold(home.path());
    prefill.arg("bench").arg(golden("llama-gqa")).args(["--prompt", "8", "--generate", "0"]);
    let table = output(&mut prefill);
    assert!(table.contains("GFLOP/s") && !table.contains("decode"), "{table}");
}

#[test]
fn a_command_runs_in_turns_and_its_speeds_are_read() {
    let home = home();
    let script = home.path().join("their bench.sh");
    write(
        &script,
        "echo \"$@\" >> calls\necho loading >&2\necho '[{\"n_prompt\": '$1', \"n_gen\": 0, \"avg_ts\": 10},'\n\
         echo ' {\"n_prompt\": 0, \"n_gen\": '$2', \"avg_ts\": 5.5}]'\n",
    );
    let line = "sh 'their bench.sh' {prompt} {generate} {depth} {batch} {threads} '{model}'";
    let found = json_output(bench(home.path()).args(["--json", "--compare", line]));
    let calls = std::fs::read_to_string(home.path().join("calls")).expect("it was called");
    let call = format!("8 4 0 1 1 {}\n", golden("llama-gqa").display());
    assert_eq!(calls, call.repeat(2));
    let other = &found["compare"][0];
    assert_eq!(other["prefill_tokens_per_second"], 10.0);
    assert_eq!(other["decode_tokens_per_second_runs"], serde_json::json!([5.5, 5.5]));
    let own = found["prefill_tokens_per_second"].as_f64().expect("measured");
    assert_eq!(other["prefill_ratio"].as_f64(), Some(own / 10.0));
    assert_eq!(other["wall_seconds"], Value::Null);
    // What the logits are does not depend on who else runs.
    let alone = json_output(bench(home.path()).arg("--json"));
    assert_eq!(found["logits_hash"], alone["logits_hash"]);
}

#[test]
fn another_build_and_an_unknown_program_are_compared_too() {
    let home = home();
    let own = format!(
        "'{}' bench '{{model}}' --prompt {{prompt}} --generate {{generate}} --repeat 1 --threads 1 --json",
        env!("CARGO_BIN_EXE_freehold")
    );
    let compare = ["--compare", own.as_str(), "--compare", "echo fast"];
    let table = output(bench(home.path()).args(compare));
    for word in ["decode 4, tokens/s", "in turns with echo fast", "wall time with loading, s"] {
        assert!(table.contains(word), "{word}: {table}");
    }
    let found = json_output(bench(home.path()).args(compare).arg("--json"));
    assert!(found["compare"][0]["decode_ratio"].as_f64() > Some(0.0));
    assert_eq!(found["compare"][1]["decode_ratio"], Value::Null);
    assert!(found["compare"][1]["wall_ratio"].as_f64() > Some(0.0));
}

#[test]
fn a_command_that_fails_says_why() {
    let home = home();
    let compare =
        |line: &str, code: i32| failure(bench(home.path()).args(["--compare", line]), code);
    let message = compare("sh -c 'echo no such model {prompt} >&2; exit 3'", 1);
    assert!(message.contains("no such model 8") && message.contains("exit status: 3"), "{message}");
    let message = compare("no-such-program --x", 1);
    assert!(message.contains("cannot start `no-such-program`"), "{message}");
    let message = compare("sh -c 'yes | head -c 9000000'", 1);
    assert!(message.contains("printed more than 4 MiB"), "{message}");
    let message = compare("echo '[{\"n_prompt\": 9, \"n_gen\": 0, \"avg_ts\": 1}]'", 1);
    assert!(message.contains("n_prompt is 9 there and 8 here"), "{message}");
    assert!(compare("a {modle}", 2).contains("{modle} is none of {model}, {prompt}"));
    assert!(compare("'a", 2).contains("a quote is not closed"));
}

#[test]
fn a_signal_kills_the_command_too() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let home = home();
        let line = "sh -c 'echo $$ > begun; mv begun pid; exec sleep 600'";
        let mut command = bench(home.path());
        command.args(["--compare", line]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut bench = command.spawn().expect("the binary starts");
        let patience = Instant::now() + Duration::from_secs(60);
        let pid = loop {
            if let Ok(pid) = std::fs::read_to_string(home.path().join("pid")) {
                break pid.trim().to_owned();
            }
            assert!(Instant::now() < patience, "the command begins");
            std::thread::sleep(Duration::from_millis(10));
        };
        let send = |what: &str, pid: &str| {
            let kill = format!("kill -{what} {pid}");
            let done = Command::new("sh").args(["-c", &kill]).stderr(Stdio::null()).status();
            done.expect("a shell starts").success()
        };
        assert!(send(signal, &bench.id().to_string()));
        assert_eq!(bench.wait().expect("it ends").code(), Some(code));
        // Killed, and perhaps not yet collected by the system.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z"), "{stat}");
    }
}
