//! The test suites of the clients that vendors publish, against the scripted model behind the real
//! server. They are written against a mock of the vendor's own service: they name models of theirs,
//! set every parameter at once, and check each answer strictly against the types of the client.
//!
//! What is refused fails there, and is listed in `sdk_refusals.txt` with what the refusal says: a
//! test that fails otherwise, or a line of the list that no test needs, is a criterion missed. As
//! one refusal hides what else would be wrong with a request, requests are sent a second time
//! without the parameters that the server says it refuses. The files, batches and responses that the
//! tests name are made first, since only a mock has one under every name (`sdk_things.py`).

use super::{Context, Findings};
use crate::shell;
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use testkit::packages;

/// A client, and those of its tests that ask what the server has.
struct Suite {
    package: &'static str,
    version: &'static str,
    /// What follows the server's address.
    base: &'static str,
    /// What its own configuration gives to pytest.
    plugins: &'static [&'static str],
    files: &'static [&'static str],
}

const SUITES: [Suite; 2] = [
    Suite {
        package: "openai",
        version: "3.57.0",
        base: "/v1",
        plugins: &[],
        files: &[
            "chat/test_completions.py",
            "test_completions.py",
            "test_models.py",
            "test_embeddings.py",
            "test_files.py",
            "test_batches.py",
            "test_responses.py",
            "responses",
            "test_conversations.py",
            "conversations",
        ],
    },
    Suite {
        package: "anthropic",
        version: "2.14.0",
        base: "",
        plugins: &["-p", "tests._alias_httpx"],
        files: &[
            "test_messages.py",
            "test_models.py",
            "beta/test_messages.py",
            "beta/test_models.py",
            "messages",
            "beta/messages",
        ],
    },
];
/// What the suites import beside their clients.
const TOOLS: [&str; 8] = [
    "pytest==9.2.0",
    "pytest-asyncio==1.5.0",
    "aiohttp==3.14.5",
    "httpx-aiohttp==0.2.0",
    "respx==0.23.1",
    "rich==15.0.0",
    "inline-snapshot",
    "http-snapshot[httpx]==0.1.9",
];
/// Models that the suites look up by name.
const MODELS: [&str; 4] =
    ["model_id", "gpt-6-astra", "gpt-4o-mini", "ft:gpt-4o-mini:acemeco:suffix:abc123"];
const REFUSALS: &str = include_str!("sdk_refusals.txt");
/// Reasons are cut at the width of the terminal.
const COLUMNS: &str = "1000";

pub(super) fn run(context: &Context) -> Result<Findings> {
    let folder = context.models.join("sdk-suites");
    let pins = SUITES.iter().map(|suite| format!("{}=={}", suite.package, suite.version));
    let packages: Vec<String> = pins.chain(TOOLS.map(str::to_owned)).collect();
    let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
    let python = packages::python(&folder.join("python"), &packages).context("needs Python 3")?;
    let server = Scripted::start()?;
    let refusals = Refusal::all()?;
    let mut found = Findings::default();
    found.markdown.push_str(
        "The suites' tests of the endpoints that are here, with strict validation, sync and async; \
         refused: as listed, with the message that is listed.\n\n\
         | suite | requests | tests | passed | refused | other failures |\n|---|---|---|---|---|---|\n",
    );
    let mut used = BTreeSet::new();
    for suite in &SUITES {
        let source = suite.source(&python, &folder)?;
        for run in [Run::AsItIs, Run::Sieved] {
            let outcomes = suite.outcomes(&python, &source, &server.address, run)?;
            let mut counts = [0; 3];
            for outcome in &outcomes {
                let row = refusals.iter().position(|row| row.is_of(suite, run, outcome));
                match (&outcome.failure, row) {
                    (None, _) => counts[0] += 1,
                    (Some(_), Some(row)) => {
                        used.insert(row);
                        counts[1] += 1;
                    }
                    (Some(failure), None) => {
                        counts[2] += 1;
                        found.missed.push(format!("{}: {failure}", outcome.test));
                    }
                }
            }
            let (name, version, how) = (suite.package, suite.version, run.name());
            let [passed, refused, other] = counts;
            let n = outcomes.len();
            let row =
                format!("| {name} {version} | {how} | {n} | {passed} | {refused} | {other} |");
            eprintln!("{row}");
            let _ = writeln!(found.markdown, "{row}");
        }
    }
    for (row, refusal) in refusals.iter().enumerate() {
        if !used.contains(&row) {
            found.missed.push(format!("sdk_refusals.txt: no test needs `{}`", refusal.line));
        }
    }
    Ok(found)
}

/// How requests are sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Run {
    AsItIs,
    /// Without the parameters that the server's own list says it refuses.
    Sieved,
}

impl Run {
    fn name(self) -> &'static str {
        match self {
            Run::AsItIs => "as they are",
            Run::Sieved => "without what is refused",
        }
    }
}

/// How a test ended.
struct Outcome {
    test: String,
    failure: Option<String>,
}

/// A line of the list: a test of a suite that is expected to fail, and with what.
struct Refusal {
    line: &'static str,
    suite: &'static str,
    file: &'static str,
    test: &'static str,
    says: &'static str,
}

impl Refusal {
    fn all() -> Result<Vec<Refusal>> {
        let lines = REFUSALS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines
            .map(|line| {
                let parts: Vec<&str> = line.split(" | ").map(str::trim).collect();
                let [suite, file, test, says] = parts[..] else {
                    bail!("sdk_refusals.txt: `{line}` has {} parts, expected 4", parts.len())
                };
                Ok(Refusal { line, suite, file, test, says })
            })
            .collect()
    }

    fn is_of(&self, suite: &Suite, run: Run, outcome: &Outcome) -> bool {
        let Some(failure) = &outcome.failure else { return false };
        let (package, sieved) = match self.suite.strip_suffix(" sieved") {
            Some(package) => (package, true),
            None => (self.suite, false),
        };
        let mut parts = outcome.test.split("::");
        let (file, test) = (parts.next().unwrap_or_default(), parts.last().unwrap_or_default());
        package == suite.package
            && sieved == (run == Run::Sieved)
            && file.strip_prefix("tests/api_resources/") == Some(self.file)
            && kind(test) == self.test
            && failure.contains(self.says)
    }
}

/// What a test asks, without how: `test_raw_response_create_overload_1[loose]` is `create`.
fn kind(test: &str) -> &str {
    let test = test.split('[').next().unwrap_or(test);
    let test = test.split("_overload_").next().unwrap_or(test);
    let test = test.strip_prefix("test_").unwrap_or(test);
    let ways = ["method_", "raw_response_", "streaming_response_"];
    ways.iter().find_map(|way| test.strip_prefix(way)).unwrap_or(test)
}

impl Suite {
    /// The folder of the client's sources, which hold its tests.
    fn source(&self, python: &Path, folder: &Path) -> Result<PathBuf> {
        let name = format!("{}-{}", self.package, self.version);
        let source = folder.join(&name);
        if !source.is_dir() {
            let mut pip = Command::new(python);
            pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--no-binary"]);
            pip.args([self.package, &format!("{}=={}", self.package, self.version), "--dest"]);
            shell::run(pip.arg(folder))?;
            let archive = folder.join(format!("{name}.tar.gz"));
            let mut unpack = Command::new(python);
            unpack.args(["-m", "tarfile", "-e"]).arg(&archive).arg(folder);
            shell::run(&mut unpack)?;
        }
        if !source.join("tests/api_resources").is_dir() {
            bail!("{} has no tests/api_resources", source.display());
        }
        Ok(source)
    }

    fn outcomes(
        &self,
        python: &Path,
        source: &Path,
        address: &str,
        run: Run,
    ) -> Result<Vec<Outcome>> {
        let plugins = testkit::repository_root().join("xtask/src/accept");
        let mut pytest = Command::new(python);
        // Its own options want tools that are not needed.
        pytest.args(["-m", "pytest", "--override-ini", "addopts=", "--quiet", "--tb=no", "-rA"]);
        pytest.args(["--show-capture=no", "-p", "no:cacheprovider", "-p", "sdk_things"]);
        pytest.args(self.plugins);
        if run == Run::Sieved {
            pytest.args(["-p", "sdk_sieve", "-k", "all_params"]);
        }
        pytest.args(self.files.iter().map(|file| format!("tests/api_resources/{file}")));
        pytest.env("TEST_API_BASE_URL", format!("{address}{}", self.base));
        pytest.env("SERVER", address).env("COLUMNS", COLUMNS);
        pytest.env("PYTHONPATH", plugins).env("PYTHONDONTWRITEBYTECODE", "1");
        // It fails where a test does, which is for the list to judge.
        let out = pytest.current_dir(source).stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&out.stdout);
        let outcomes = outcomes(&said);
        if outcomes.is_empty() || said.contains("\nERROR ") {
            bail!("pytest did not run:\n{said}{}", String::from_utf8_lossy(&out.stderr));
        }
        Ok(outcomes)
    }
}

/// Reads pytest's summary.
fn outcomes(said: &str) -> Vec<Outcome> {
    let outcome = |line: &str| {
        if let Some(test) = line.strip_prefix("PASSED ") {
            return Some(Outcome { test: test.to_owned(), failure: None });
        }
        let rest = line.strip_prefix("FAILED ")?;
        let (test, failure) = rest.split_once(" - ").unwrap_or((rest, "no reason was given"));
        Some(Outcome { test: test.to_owned(), failure: Some(failure.to_owned()) })
    };
    said.lines().filter_map(outcome).collect()
}

/// The scripted model behind the real server, under every name; it ends with this value.
struct Scripted {
    child: Child,
    address: String,
}

impl Scripted {
    fn start() -> Result<Scripted> {
        shell::run(&mut shell::cargo(&["build", "--workspace", "--example", "scripted"]))?;
        let metadata = shell::metadata()?;
        let target = metadata["target_directory"].as_str().context("cargo names no folder")?;
        let program = Path::new(target).join("debug/examples").join("scripted");
        let mut command = Command::new(&program);
        command.args(MODELS).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child =
            command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let stdout = child.stdout.take().context("standard output was asked for")?;
        let mut address = String::new();
        BufReader::new(stdout).read_line(&mut address)?;
        let address = address.trim().to_owned();
        Ok(Scripted { child, address })
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        // Already ended is as good as killed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_of_a_kind() {
        assert_eq!(kind("test_raw_response_create_overload_1[loose]"), "create");
        assert_eq!(kind("test_method_create_with_all_params[x]"), "create_with_all_params");
        assert_eq!(kind("test_path_params_delete"), "path_params_delete");
    }

    #[test]
    fn a_failure_is_expected_by_suite_test_and_message() {
        let said = "..F\nFAILED tests/api_resources/a.py::TestA::test_method_get[x] - E: no audio\n\
                    PASSED tests/api_resources/a.py::TestA::test_method_list[x]\n1 failed";
        let outcomes = outcomes(said);
        assert_eq!(outcomes.len(), 2);
        let row = |suite, says| Refusal { line: "", suite, file: "a.py", test: "get", says };
        let openai = &SUITES[0];
        assert!(row("openai", "no audio").is_of(openai, Run::AsItIs, &outcomes[0]));
        assert!(!row("openai", "no video").is_of(openai, Run::AsItIs, &outcomes[0]));
        assert!(!row("openai", "no audio").is_of(openai, Run::Sieved, &outcomes[0]));
        assert!(row("openai sieved", "no audio").is_of(openai, Run::Sieved, &outcomes[0]));
        assert!(!row("anthropic", "no audio").is_of(openai, Run::AsItIs, &outcomes[0]));
        assert!(!row("openai", "").is_of(openai, Run::AsItIs, &outcomes[1]));
    }

    #[test]
    fn the_list_is_read() {
        assert!(Refusal::all().is_ok_and(|all| !all.is_empty()));
    }
}
