//! A real browser for tests: Chromium, driven from Node by playwright-core, with axe-core's rules
//! of accessibility.
//!
//! Debian's packages `chromium`, `nodejs` and `npm` are needed, which `cargo xtask test` installs
//! where it may. The two packages of npm are installed once under the build folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What npm installs, at versions that keep their interface.
const PACKAGES: [&str; 2] = ["playwright-core@1", "axe-core@4"];
/// Names of the browser, by distribution; `FREEHOLD_CHROMIUM` is the path of another one.
const CHROMIUM: [&str; 4] =
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Chromium and what drives it.
#[derive(Clone, Debug)]
pub struct Browser {
    chromium: String,
    /// The folder with `node_modules`.
    modules: PathBuf,
}

/// The browser; `folder` is the build's for temporary files.
///
/// # Panics
/// Where a package is missing, with its name.
pub fn browser(folder: &Path) -> Browser {
    static BROWSER: OnceLock<Browser> = OnceLock::new();
    BROWSER.get_or_init(|| Browser { chromium: chromium(), modules: modules(folder) }).clone()
}

/// The program that runs JavaScript outside of browsers.
///
/// # Panics
/// Where it is missing.
pub fn node() -> &'static str {
    assert!(answers("node"), "the package `nodejs` is missing: the chat page's tests need it");
    "node"
}

fn answers(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output();
    found.is_ok_and(|output| output.status.success())
}

fn chromium() -> String {
    if let Ok(path) = std::env::var("FREEHOLD_CHROMIUM") {
        return path;
    }
    let found = CHROMIUM.into_iter().find(|name| answers(name));
    let name = found.expect("the package `chromium` is missing: the chat page's tests need it");
    let path = run(Command::new("sh").args(["-c", "command -v \"$0\"", name]));
    path.trim().to_owned()
}

fn modules(folder: &Path) -> PathBuf {
    let folder = folder.join("page-node");
    let has =
        |package: &str| folder.join("node_modules").join(package).join("package.json").exists();
    if !(has("playwright-core") && has("axe-core")) {
        assert!(answers("npm"), "the package `npm` is missing: the chat page's tests need it");
        std::fs::create_dir_all(&folder).expect("the build folder can be written");
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--prefix"]).arg(&folder).args(PACKAGES);
        run(npm.current_dir(&folder));
    }
    folder
}

impl Browser {
    /// Plays a scenario of `script` on the page at `url`, with further variables.
    ///
    /// # Panics
    /// Where it fails, with what it said and where a picture of the page is.
    pub fn play(&self, script: &Path, scenario: &str, url: &str, variables: &[(&str, &str)]) {
        let mut node = Command::new(node());
        node.arg(script)
            .arg(scenario)
            .env("PAGE_URL", url)
            .env("PAGE_MODULES", &self.modules)
            .env("PAGE_CHROMIUM", &self.chromium)
            .env("PAGE_OUT", &self.modules)
            .envs(variables.iter().copied());
        let said = run(&mut node);
        for line in said.lines() {
            crate::note(&format!("page, {scenario}: {line}"));
        }
    }
}

/// Runs a command to its end and gives what it said.
///
/// # Panics
/// Where it fails, with what it said.
pub fn run(command: &mut Command) -> String {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{said}{errors}");
    said
}
