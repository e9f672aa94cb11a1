//! Coding agents that others made, unmodified, in a session whose answers are scripted: they read
//! a file, change it, run a command and say that they are done.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::packages::node;

use crate::clients::kept;
use crate::turns::{Heard, Own, Turn, start_turns, thought};

/// Speaks Anthropic's messages.
const CLAUDE_CODE: &str = "@anthropic-ai/claude-code@^2.1";
/// Speaks OpenAI's chat completions.
const QWEN_CODE: &str = "@qwen-code/qwen-code@>=0.15 <1";
/// Speaks OpenAI's responses.
const CODEX: &str = "@openai/codex@>=0.160 <0.200";
/// An agent that asks for something else than the server may wait for it a while.
const PATIENCE: Duration = Duration::from_secs(120);
const BEFORE: &str = "The sky is grey.\n";
const AFTER: &str = "The sky is blue.\n";
const DONE: &str = "It is blue now.";

/// An agent's program, its empty home, and a folder with the file to change.
struct Desk {
    program: PathBuf,
    home: PathBuf,
    work: PathBuf,
}

impl Desk {
    fn set(name: &str, package: &str) -> Option<Desk> {
        let program = node(&kept(&format!("agent-{name}")), &[package])?.join(".bin").join(name);
        let [home, work] = ["home", "work"].map(|part| kept(&format!("{name}-{part}")));
        for folder in [&home, &work] {
            // What an earlier run left.
            let _ = std::fs::remove_dir_all(folder);
            std::fs::create_dir_all(folder).unwrap();
        }
        std::fs::write(work.join("sky.txt"), BEFORE).unwrap();
        Some(Desk { program, home, work })
    }

    /// The agent in the folder, without anything of this machine's user.
    fn agent(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.work).stdin(Stdio::null()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", &self.home);
        command
    }

    /// Runs the agent to its end and returns what it said on both streams.
    fn run(&self, command: &mut Command) -> String {
        let path = self.home.join("said.txt");
        let said = File::create(&path).unwrap();
        command.stdout(said.try_clone().unwrap()).stderr(said);
        let mut child = command.spawn().unwrap();
        let begun = Instant::now();
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break Some(status),
                None if begun.elapsed() > PATIENCE => break None,
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        if status.is_none() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let said = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
        assert!(status.is_some_and(|status| status.success()), "{command:?}: {status:?}\n{said}");
        said
    }

    fn file(&self) -> String {
        self.work.join("sky.txt").display().to_string()
    }

    fn sky(&self) -> String {
        std::fs::read_to_string(self.work.join("sky.txt")).unwrap()
    }
}

/// What the model thought came back to it word for word, before the call that it led to.
fn thoughts_came_back(heard: &Heard, tools: [&str; 3]) {
    let turn =
        |(place, tool): (usize, &str)| [Own::Thought(thought(place)), Own::Called(tool.to_owned())];
    let expect: Vec<Own> = tools.into_iter().enumerate().flat_map(turn).collect();
    assert_eq!(heard.own, expect);
}

/// The objects that a program printed, one a line.
fn lines(said: &str) -> Vec<Value> {
    said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn an_agent_that_speaks_anthropics_messages_changes_a_file() {
    let Some(desk) = Desk::set("claude", CLAUDE_CODE) else { return };
    let file = desk.file();
    let (server, heard) = start_turns(vec![
        Turn::Call("Read", json!({"file_path": file})),
        Turn::Call("Write", json!({"file_path": file, "content": AFTER})),
        Turn::Call("Bash", json!({"command": "wc -c sky.txt", "description": "Count bytes"})),
        Turn::Say(DONE),
    ]);
    let mut command = desk.agent();
    command
        .args(["-p", "Make the sky blue.", "--model", "own/script", "--output-format", "json"])
        .args(["--allowedTools", "Read,Write,Bash"])
        .env("ANTHROPIC_BASE_URL", format!("http://{}", server.address))
        .env("ANTHROPIC_API_KEY", "none")
        .env("ANTHROPIC_DEFAULT_HAIKU_MODEL", "own/script")
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1");
    let said = desk.run(&mut command);
    let heard = heard.lock().unwrap();
    assert_eq!(desk.sky(), AFTER, "{said}\n{heard:?}");
    assert!(said.contains(DONE), "{said}");
    assert_eq!(heard.results.len(), 3, "{heard:?}");
    assert!(heard.results[0].contains(BEFORE.trim()), "{heard:?}");
    assert!(heard.results[2].contains("17 sky.txt"), "{heard:?}");
    thoughts_came_back(&heard, ["Read", "Write", "Bash"]);
}

#[test]
fn an_agent_that_speaks_openais_chat_completions_changes_a_file() {
    let Some(desk) = Desk::set("qwen", QWEN_CODE) else { return };
    let file = desk.file();
    let (server, heard) = start_turns(vec![
        Turn::Call("read_file", json!({"file_path": file})),
        Turn::Call("write_file", json!({"file_path": file, "content": AFTER})),
        Turn::Call(
            "run_shell_command",
            json!({"command": "wc -c sky.txt", "description": "Count bytes", "is_background": false}),
        ),
        Turn::Say(DONE),
    ]);
    let mut command = desk.agent();
    command
        .args(["--yolo", "--auth-type", "openai", "--output-format", "json"])
        .args(["-p", "Make the sky blue."])
        .env("OPENAI_BASE_URL", format!("http://{}/v1", server.address))
        .env("OPENAI_API_KEY", "none")
        .env("OPENAI_MODEL", "own/script");
    let said = desk.run(&mut command);
    let heard = heard.lock().unwrap();
    assert_eq!(desk.sky(), AFTER, "{said}\n{heard:?}");
    assert!(said.contains(DONE), "{said}");
    assert_eq!(heard.results.len(), 3, "{heard:?}");
    assert!(heard.results[0].contains(BEFORE.trim()), "{heard:?}");
    assert!(heard.results[2].contains("17 sky.txt"), "{heard:?}");
    thoughts_came_back(&heard, ["read_file", "write_file", "run_shell_command"]);
}

#[test]
fn an_agent_that_speaks_openais_responses_changes_a_file() {
    let Some(desk) = Desk::set("codex", CODEX) else { return };
    let run_it = |command: &str| Turn::Call("exec_command", json!({"cmd": command}));
    let (server, heard) = start_turns(vec![
        run_it("cat sky.txt"),
        run_it("sed -i s/grey/blue/ sky.txt"),
        run_it("wc -c sky.txt"),
        Turn::Say(DONE),
    ]);
    configure_codex(&desk.home, &format!("http://{}/v1", server.address));
    let mut command = desk.agent();
    command
        .args(["exec", "--json", "--skip-git-repo-check"])
        // The sandbox needs rights that containers do not have; the script is ours.
        .args(["--dangerously-bypass-approvals-and-sandbox", "Make the sky blue."])
        .env("CODEX_HOME", &desk.home);
    let said = desk.run(&mut command);
    let heard = heard.lock().unwrap();
    assert_eq!(desk.sky(), AFTER, "{said}\n{heard:?}");
    let last = lines(&said).into_iter().rfind(|line| line["item"]["type"] == "agent_message");
    assert_eq!(last.map(|line| line["item"]["text"].clone()), Some(json!(DONE)), "{said}");
    assert_eq!(heard.results.len(), 3, "{heard:?}");
    assert!(heard.results[0].contains(BEFORE.trim()), "{heard:?}");
    assert!(heard.results[2].contains("17 sky.txt"), "{heard:?}");
    thoughts_came_back(&heard, ["exec_command"; 3]);
}

fn configure_codex(home: &Path, base_url: &str) {
    let config = format!(
        "model = \"own/script\"\nmodel_provider = \"freehold\"\n\n\
         [model_providers.freehold]\nname = \"freehold\"\nbase_url = \"{base_url}\"\n\
         wire_api = \"responses\"\n"
    );
    std::fs::write(home.join("config.toml"), config).unwrap();
}
