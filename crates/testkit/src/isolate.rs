//! A test run again in another process: where it may mount small disks of its own, or as a user
//! whom permissions bind.

use crate::skipped;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Set in the process that runs a test again: the folder for its small disk.
const DISK: &str = "FREEHOLD_TEST_DISK";
/// A user that owns nothing.
pub const NOBODY: u32 = 65_534;

/// Whether this process runs as the administrator, whom permissions do not bind.
pub fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    // The second of the four is the one that counts.
    uid.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
}

/// True where the test `name` may go on, as a user whom permissions bind. For the administrator
/// the test is run to its end in a process of such a user, and the answer is false.
///
/// # Panics
/// Where the test failed in that process.
pub fn as_plain_user(name: &str) -> bool {
    if !is_root() {
        return true;
    }
    judge(name, run_again(name, &mut as_nobody(&this_program())));
    false
}

/// `program` run as a user that owns nothing.
pub fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new(program);
    #[cfg(unix)]
    std::os::unix::process::CommandExt::uid(&mut command, NOBODY);
    #[cfg(unix)]
    std::os::unix::process::CommandExt::gid(&mut command, NOBODY);
    command
}

/// What goes before a command so that it runs where it may mount; none, with a visible line,
/// where this machine does not let us.
pub fn mounting() -> Option<Command> {
    for flags in [["--mount"].as_slice(), &["--mount", "--user", "--map-root-user"]] {
        let mut command = Command::new("unshare");
        command.args(flags).arg("--");
        let mut probe = Command::new("unshare");
        probe.args(flags).args(["sh", "-c", "mount -t tmpfs -o size=64k tmpfs /tmp"]);
        probe.stdout(Stdio::null()).stderr(Stdio::null());
        if probe.status().is_ok_and(|status| status.success()) {
            return Some(command);
        }
    }
    skipped("full and read-only disks (no mount namespace: `unshare --mount` does not work)");
    None
}

/// A small disk in memory, gone with the process.
#[derive(Clone, Debug)]
pub struct SmallDisk {
    /// Where it is mounted.
    pub path: PathBuf,
}

impl SmallDisk {
    /// The disk of the test `name`, of `bytes` bytes, in the process that runs the test again.
    /// None in the first process, when the second has ended, or where none can be started.
    ///
    /// # Panics
    /// Where the test failed in the second process, or the disk's folder cannot be made.
    pub fn of_test(name: &str, bytes: u64) -> Option<SmallDisk> {
        if let Some(path) = std::env::var_os(DISK) {
            let disk = SmallDisk { path: PathBuf::from(path) };
            disk.mount(&format!("size={bytes}"));
            // Something is always taken: a size of 0 would mean no limit.
            std::fs::write(disk.path.join("ballast"), "x").expect("the disk is new");
            return Some(disk);
        }
        let mut command = mounting()?;
        let folder = name.replace("::", "-");
        let folder = std::env::temp_dir().join(format!("{folder}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("the system has a folder for temporary files");
        let out = run_again(name, command.arg(this_program()).env(DISK, &folder));
        // Nothing but an empty folder is left of the disk.
        let _ = std::fs::remove_dir(&folder);
        judge(name, out);
        None
    }

    /// Changes how many bytes it has room for, those that are taken included; whole pages.
    pub fn set_bytes(&self, bytes: u64) {
        self.mount(&format!("remount,size={bytes}"));
    }

    /// Changes how many files and folders it has room for, those that are there included.
    pub fn set_files(&self, files: u64) {
        self.mount(&format!("remount,nr_inodes={files}"));
    }

    fn mount(&self, options: &str) {
        let mut mount = Command::new("mount");
        // With the source named, options that are there are not repeated: a user that this
        // namespace does not know may be among them.
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&self.path);
        let status = mount.status();
        assert!(status.is_ok_and(|status| status.success()), "mount {options}");
    }
}

fn this_program() -> PathBuf {
    std::env::current_exe().expect("the system knows which program this is")
}

/// Runs one test of this program through `command`.
fn run_again(name: &str, command: &mut Command) -> io::Result<Output> {
    command.args(["--exact", name, "--nocapture"]).output()
}

fn judge(name: &str, out: io::Result<Output>) {
    match out {
        Ok(out) => {
            let said = [out.stdout, out.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            assert!(out.status.success() && said.contains("1 passed"), "{name}:\n{said}");
        }
        // A program in a folder that others may not enter, for instance.
        Err(error) => skipped(&format!("{name} (cannot start this program again: {error})")),
    }
}
