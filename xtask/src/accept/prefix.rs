//! What a long shared prefix costs those who come after the first, one after another and at once.

use super::server::{Job, Numbers, Server};
use super::{Context, Findings, file_name, median};
use anyhow::Result;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Tokens that all begin with, own tokens of each, and requests.
const SHARED: usize = 4_000;
const OWN: usize = 40;
const REQUESTS: usize = 64;
const CONTEXT: usize = 4_608;
/// The first token may take this share of the first request's.
const LATER_MAX: f64 = 0.03;
/// After a restart, with the prefix on disk.
const RESTART_MAX: f64 = 0.1;
/// Seconds in which a server that has nothing to do writes the prefix.
const WRITING: std::time::Duration = std::time::Duration::from_secs(3);
/// All at once may take this much of what their own work takes one after another.
const AT_ONCE_MAX: f64 = 1.3;

pub(super) fn run(context: &Context) -> Result<Findings> {
    let file = context.smollm2()?;
    let start = |clients: usize| {
        let mut command = context.serve(&file, clients);
        command.args(["--context", &CONTEXT.to_string()]);
        Server::start(command)
    };
    let mut numbers = Numbers::new();
    let shared = numbers.tokens(SHARED);
    let jobs: Vec<Job> = (0..REQUESTS)
        .map(|_| Job { prompt: [shared.clone(), numbers.tokens(OWN)].concat(), answer: 1 })
        .collect();
    let alone = start(1)?.work(1, &jobs)?.first_tokens;
    let (cold, later) = (alone[0], median(&alone[1..]));
    let at_once = start(REQUESTS)?.work(REQUESTS, &jobs)?.wall_seconds;
    let own = cold + (REQUESTS - 1) as f64 * later;
    let disk = Disk::new(context)?;
    let first = disk.start()?;
    first.work(1, &jobs[..2])?;
    std::thread::sleep(WRITING);
    // Killed, as a power cut would.
    drop(first);
    let restarted = disk.start()?.work(1, &jobs[2..3])?.first_tokens[0];
    let bytes = disk.bytes()?;
    disk.damage()?;
    let damaged = disk.start()?.work(1, &jobs[3..4])?.first_tokens[0];
    let (share, ratio) = (later / cold, at_once / own);
    let mut found = Findings::default();
    let _ = writeln!(
        found.markdown,
        "{}, {} threads: {REQUESTS} requests, each the same {SHARED} tokens and {OWN} of its own, one token asked for.\n\
         One after another: {cold:.2} s to the first token of the first, {later:.4} s (median) of the others, {:.1} % of it (the limit is {:.0} %).\n\
         All at once: {at_once:.1} s, {ratio:.2} × the {own:.1} s that their own work takes one after another (the limit is {AT_ONCE_MAX} ×).\n\
         With `--prefix-disk`, the server killed and started again: {restarted:.3} s, {:.1} % of the cold one (the limit is {:.0} %), {:.0} MiB in files; \
         with a byte of every file changed it is computed anew: {damaged:.2} s.",
        file_name(&file),
        context.threads,
        share * 100.0,
        LATER_MAX * 100.0,
        restarted / cold * 100.0,
        RESTART_MAX * 100.0,
        bytes as f64 / f64::from(1 << 20),
    );
    if restarted > RESTART_MAX * cold {
        let share = restarted / cold * 100.0;
        found.missed.push(format!("after a restart the first token takes {share:.1} %"));
    }
    if damaged < cold / 2.0 {
        found.missed.push(format!("a damaged prefix was used: {damaged:.2} s"));
    }
    if share > LATER_MAX {
        found.missed.push(format!("a later first token takes {:.1} % of the first", share * 100.0));
    }
    if ratio > AT_ONCE_MAX {
        found.missed.push(format!("all at once take {ratio:.2} × their own work"));
    }
    Ok(found)
}

/// A data folder of its own, with prefixes in it.
struct Disk<'a> {
    context: &'a Context,
    home: PathBuf,
}

impl Disk<'_> {
    fn new(context: &Context) -> Result<Disk<'_>> {
        let home = context.models.join("prefix-home");
        if home.exists() {
            std::fs::remove_dir_all(&home)?;
        }
        Ok(Disk { context, home })
    }

    fn start(&self) -> Result<Server> {
        let mut command = self.context.serve(&self.context.smollm2()?, 1);
        command.args(["--context", &CONTEXT.to_string(), "--prefix-disk", "4G", "--home"]);
        command.arg(&self.home);
        Server::start(command)
    }

    fn files(&self) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for folder in std::fs::read_dir(self.home.join("prefixes"))? {
            for file in std::fs::read_dir(folder?.path())? {
                files.push(file?.path());
            }
        }
        Ok(files)
    }

    fn bytes(&self) -> Result<u64> {
        let bytes = |path: &PathBuf| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        Ok(self.files()?.iter().map(bytes).sum())
    }

    /// Changes a byte in the middle of every file.
    fn damage(&self) -> Result<()> {
        for path in self.files()? {
            let mut bytes = std::fs::read(&path)?;
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(path, bytes)?;
        }
        Ok(())
    }
}
