//! Tool calls of every format over HTTP, from models that write anything that they may.

use crate::data::{freehold, home};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use testkit::calls::{
    Asked, CALL_FORMATS, CallFormat, CallModel, Tally, Words, questions, tool_sets,
};
use testkit::process::{Server, free_port};

/// One question of each kind about each set of tools.
const QUESTIONS: usize = 24;
const CLIENTS: usize = 4;

fn counted(home: &Path, format: &'static CallFormat) -> Tally {
    let folder = home.join(format.name);
    let model = CallModel::write(&folder, format, &Words::bytes_and_pairs()).expect("written");
    let port = free_port().expect("a port is free");
    let mut command = freehold(home);
    command.arg("serve").arg(&model.folder).args(["--alias", "calls", "--threads", "2"]);
    command.args(["--port", &port.to_string(), "--packed", "off"]).stderr(Stdio::null());
    let address = format!("127.0.0.1:{port}");
    let server = Server::start(&mut command, &address, Duration::from_secs(60)).expect("ready");
    let sets = tool_sets();
    let asked = Asked { address: &server.address, name: "calls", model: &model, sets: &sets };
    asked.ask_all(&questions(&sets, QUESTIONS), CLIENTS).unwrap_or_else(|error| {
        let problems = vec![error.to_string()];
        Tally { problems, ..Tally::default() }
    })
}

#[test]
fn every_format_with_calls_is_asked() {
    let has_calls = |name: &&str| text::Format::named(name).is_ok_and(|format| format.has_calls());
    let known: Vec<&str> = text::Format::names().filter(has_calls).collect();
    let asked: Vec<&str> = CALL_FORMATS.iter().map(|format| format.name).collect();
    assert_eq!(known, asked);
}

#[test]
fn calls_of_every_format_are_read_and_valid_streamed_and_whole() {
    let home = home();
    let mut wrong = Vec::new();
    let (mut n_cut, mut n_calls) = (0, 0);
    for format in CALL_FORMATS {
        let tally = counted(home.path(), format);
        println!("{}: {tally}", format.name);
        if !tally.is_right() {
            wrong.push(format!("{}: {tally}", format.name));
        }
        // Text has a piece for each character, or for a few.
        if tally.pieces_max < 5 {
            wrong.push(format!("{}: {} pieces at most", format.name, tally.pieces_max));
        }
        n_cut += tally.cut;
        n_calls += tally.calls;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let n = CALL_FORMATS.len() * QUESTIONS;
    assert!(n_cut * 20 < n && n_calls * 2 > n, "{n} answers, {n_cut} cut, {n_calls} calls");
}
