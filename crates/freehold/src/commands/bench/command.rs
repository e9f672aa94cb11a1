//! Running another engine's command: what it prints, how long it takes, what it says when it
//! fails; and no child that outlives this process.

use anyhow::{Context as _, Result, bail};
use std::collections::VecDeque;
use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// The most bytes of standard output that are read.
const OUTPUT_BYTES_MAX: usize = 4 << 20;
/// The last bytes of standard error that are kept, and lines that are shown of them.
const ERRORS_BYTES: usize = 8 << 10;
const ERRORS_LINES: usize = 10;
/// How often the end is looked for when the output has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// What a command did.
pub(super) struct Outcome {
    pub(super) output: String,
    pub(super) wall_seconds: f64,
}

/// Runs commands one at a time. Ctrl-C and SIGTERM kill the one that runs before they end this
/// process: a terminal tells both, another program may tell this one alone.
pub(super) struct Commands {
    running: Arc<Mutex<Option<Child>>>,
}

impl Commands {
    pub(super) fn new() -> Result<Commands> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let running = Arc::new(Mutex::new(None));
        let (mut interrupt, mut terminate) = {
            let _inside = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let child = Arc::clone(&running);
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let signal = runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => SignalKind::interrupt(),
                    _ = terminate.recv() => SignalKind::terminate(),
                }
            });
            // Held to the end, so that nothing is started any more.
            let mut running = lock(&child);
            kill(&mut running);
            std::process::exit(128 + signal.as_raw_value());
        })?;
        Ok(Commands { running })
    }

    /// Runs a program with arguments to its end.
    ///
    /// # Errors
    /// It cannot be started, prints too much, or fails: then with the last lines of its errors.
    pub(super) fn run(&self, words: &[String]) -> Result<Outcome> {
        let (program, arguments) = words.split_first().context("no program to run")?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let begun = Instant::now();
        let (stdout, stderr) = {
            let mut running = lock(&self.running);
            let mut child = command.spawn().with_context(|| format!("cannot start `{program}`"))?;
            let pipes = (child.stdout.take(), child.stderr.take());
            *running = Some(child);
            pipes
        };
        let (stdout, stderr) = stdout.zip(stderr).context("both were asked for")?;
        let errors = std::thread::spawn(move || last_lines(stderr));
        let output = self.output(stdout);
        if output.is_err() {
            kill(&mut lock(&self.running));
        }
        let status = self.wait()?;
        let wall_seconds = begun.elapsed().as_secs_f64();
        let errors = errors.join().unwrap_or_default();
        let output = output?;
        if !status.success() {
            bail!("`{program}` failed ({status}){}", shown(&errors));
        }
        Ok(Outcome { output, wall_seconds })
    }

    fn output(&self, stdout: impl Read) -> Result<String> {
        let mut bytes = Vec::new();
        stdout.take(OUTPUT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > OUTPUT_BYTES_MAX {
            bail!("it printed more than {} MiB", OUTPUT_BYTES_MAX >> 20);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The lock is open between two looks, so that a signal finds the child.
    fn wait(&self) -> Result<ExitStatus> {
        loop {
            let mut running = lock(&self.running);
            let child = running.as_mut().context("a command runs until it is waited for")?;
            if let Some(status) = child.try_wait()? {
                *running = None;
                return Ok(status);
            }
            drop(running);
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        kill(&mut lock(&self.running));
    }
}

fn lock(running: &Mutex<Option<Child>>) -> MutexGuard<'_, Option<Child>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kill(running: &mut Option<Child>) {
    if let Some(child) = running {
        // Already ended is as good as killed.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Reads to the end and keeps the last [`ERRORS_BYTES`].
fn last_lines(mut from: impl Read) -> String {
    let mut kept = VecDeque::new();
    let mut buffer = [0; 4096];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => kept.extend(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
        kept.drain(..kept.len().saturating_sub(ERRORS_BYTES));
    }
    String::from_utf8_lossy(kept.make_contiguous()).into_owned()
}

/// The last lines of what a command said, each below the other.
fn shown(errors: &str) -> String {
    let lines: Vec<&str> = errors.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.is_empty() {
        return " and said nothing".to_owned();
    }
    let last = &lines[lines.len().saturating_sub(ERRORS_LINES)..];
    last.iter().fold(", its last words:".to_owned(), |text, line| text + "\n  " + line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_shown() {
        let long = format!("{}\nlast\n", "x".repeat(3 * ERRORS_BYTES));
        let kept = last_lines(long.as_bytes());
        assert_eq!(kept.len(), ERRORS_BYTES);
        assert!(kept.ends_with("x\nlast\n"));
        let many: String = (0..30).map(|i| format!("line {i}\n\n")).collect();
        let text = shown(&many);
        assert!(!text.contains("line 19") && text.ends_with("line 28\n  line 29"), "{text}");
        assert_eq!(shown(" \n"), " and said nothing");
    }
}
