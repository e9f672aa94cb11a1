//! Programs of the system that tests need, installed where that may be done without asking anybody.

use crate::shell;
use std::path::Path;
use std::process::{Command, Stdio};

/// What the chat page's tests need, with the packages that have it.
const BROWSER: [(&str, &str); 3] = [("chromium", "chromium"), ("node", "nodejs"), ("npm", "npm")];

/// Whether a program is there; an administrator with apt-get has its package installed for it.
pub(crate) fn ensure(program: &str, package: &str) -> bool {
    let quietly = |command: &mut Command| {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let found = || quietly(Command::new(program).arg("--version"));
    if found() {
        return true;
    }
    let is_root = shell::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if is_root && Path::new("/usr/bin/apt-get").exists() {
        eprintln!("$ apt-get install --yes {package}");
        let install = || {
            let arguments = ["install", "--yes", "--no-install-recommends", package];
            let mut apt = Command::new("apt-get");
            quietly(apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
        };
        // A fresh system has no lists of packages yet.
        let _ = install() || (quietly(Command::new("apt-get").arg("update")) && install());
    }
    found()
}

/// Makes sure of a browser and of what drives it, as far as that can be done here; the tests
/// themselves name what is missing.
pub(crate) fn browser() {
    for (program, package) in BROWSER {
        if program != "chromium" || std::env::var_os("FREEHOLD_CHROMIUM").is_none() {
            ensure(program, package);
        }
    }
}
