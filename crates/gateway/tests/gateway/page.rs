//! The chat page in a real browser, in front of the scripted model, and its modules without one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gateway::Config;
use serde_json::Value;
use testkit::browser;

use crate::http::{Response, raw, request};
use crate::scripted::{Running, config, eventually, start};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gateway/page")
}

/// A server for browsers, which may be slow on a machine that has more to do.
fn patient() -> Running {
    let patience = Duration::from_secs(60);
    let times = Config { write_timeout: patience, head_timeout: patience, ..config() };
    start(Config { body_bytes_max: 16 << 20, body_timeout: patience, ..times })
}

/// Runs a scenario of `page/scenarios.mjs` and gives the server that it was played to.
fn plays(scenario: &str) -> Running {
    let server = patient();
    let browser = browser::browser(Path::new(env!("CARGO_TARGET_TMPDIR")));
    let url = format!("http://{}", server.address);
    browser.play(&folder().join("drive.mjs"), scenario, &url, &[]);
    server
}

#[test]
fn the_modules_do_what_they_promise() {
    let mut node = Command::new(browser::node());
    browser::run(node.arg("--test").arg(folder().join("units.test.mjs")));
}

#[test]
fn a_visitor_asks_and_the_chat_is_kept() {
    plays("asks");
}

#[test]
fn reasoning_tool_calls_and_settings() {
    plays("thinks_and_calls");
}

#[test]
fn stopping_cancels_on_the_server() {
    let server = plays("stops");
    eventually("the end", || server.n_running.load(Ordering::SeqCst) == 0);
    assert_eq!(server.n_cancelled.load(Ordering::SeqCst), 2);
}

#[test]
fn errors_are_told_in_plain_words() {
    plays("errs");
}

#[test]
fn a_key_is_asked_for_and_forgotten() {
    plays("has_a_key");
}

#[test]
fn hostile_text_does_nothing() {
    plays("reads_hostile_text");
}

#[test]
fn a_mebibyte_is_drawn_as_it_comes() {
    plays("reads_long_text");
}

#[test]
fn the_keyboard_is_enough() {
    plays("types_and_tabs");
}

#[test]
fn chats_are_edited_searched_deleted_and_moved() {
    plays("keeps_chats");
}

#[test]
fn a_full_browser_is_told_of() {
    plays("is_full");
}

#[test]
fn scrolling_follows_only_who_is_at_the_end() {
    plays("scrolls");
}

#[test]
fn nothing_flashes_moves_or_is_cut_off() {
    plays("looks_right");
}

#[test]
fn no_grave_barrier_in_any_state() {
    plays("is_for_everybody");
}

fn get(server: &Running, path: &str, header: &str) -> Response {
    let bytes = request("GET", path, b"");
    let text = String::from_utf8(bytes).unwrap();
    let head = format!("host: localhost\r\n{header}\r\n");
    raw(server.address, text.replacen("host: localhost\r\n", &head, 1).as_bytes())
}

#[test]
fn browsers_get_the_page_and_its_files() {
    const BYTES_MAX: usize = 150_000;
    let server = start(config());
    let page = get(&server, "/", "accept: text/html,application/xhtml+xml,*/*;q=0.8");
    assert_eq!((page.status, page.header("vary")), (200, Some("accept")));
    assert!(page.body.starts_with("<!doctype html>"));
    // Every file that the page or another file names is there, and nothing is elsewhere.
    let mut known = vec!["/".to_owned()];
    let mut n_bytes = page.body.len();
    let mut unread = vec![page.body];
    while let Some(text) = unread.pop() {
        for file in named_files(&text) {
            if known.contains(&file) {
                continue;
            }
            let response = get(&server, &file, "accept: */*");
            assert_eq!(response.status, 200, "{file}");
            check_headers(&server, &file, &response);
            n_bytes += response.body.len();
            unread.push(response.body);
            known.push(file);
        }
    }
    assert!(known.len() > 15, "{known:?}");
    assert!(n_bytes <= BYTES_MAX, "{n_bytes} bytes");
    for path in
        ["/page/", "/page/index.html", "/page/package.json", "/page/../Cargo.toml", "/page/%2e"]
    {
        assert_eq!(get(&server, path, "accept: */*").status, 404, "{path}");
    }
    let posted = raw(server.address, &request("POST", "/page/app.js", b""));
    assert_eq!(posted.status, 405);
}

/// Paths of the page's files in the text of one: `/page/x` in HTML, `./x` in scripts.
fn named_files(text: &str) -> Vec<String> {
    let quoted = text.split('"').filter(|quoted| !quoted.contains(char::is_whitespace));
    let own =
        quoted.filter_map(|quoted| quoted.strip_prefix("/page/").or(quoted.strip_prefix("./")));
    own.filter(|name| name.contains('.')).map(|name| format!("/page/{name}")).collect()
}

fn check_headers(server: &Running, file: &str, response: &Response) {
    let content_type = match file.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        _ => "image/svg+xml",
    };
    assert_eq!(response.header("content-type"), Some(content_type), "{file}");
    assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(response.header("cache-control"), Some("no-cache"));
    let policy = response.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"));
    let tag = response.header("etag").unwrap();
    for known in [tag.to_owned(), format!("W/{tag}, \"other\"")] {
        let again = get(server, file, &format!("if-none-match: {known}"));
        assert_eq!((again.status, again.body.as_str()), (304, ""), "{file}");
        assert_eq!(again.header("etag"), Some(tag));
    }
    assert_eq!(get(server, file, "if-none-match: \"0000000000000000\"").status, 200);
}

#[test]
fn programs_still_hear_that_a_server_runs() {
    let server = start(config());
    for accept in ["accept: */*", "accept: application/json", "x-none: 1"] {
        assert_eq!(get(&server, "/", accept).body, "Ollama is running");
    }
    let health: Value = get(&server, "/health", "accept: text/html").json();
    assert_eq!(health["status"], "ok");
}
