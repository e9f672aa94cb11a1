//! Which crate may know which: the arrows of ARCHITECTURE.md as two tables.

use anyhow::{Context as _, Result};
use serde_json::Value;

/// Each crate with the siblings that its shipped code may depend on, in the order that the
/// data travels. A sibling that is not listed here is a crate that it does not know.
const SIBLINGS: &[(&str, &[&str])] = &[
    ("hub", &[]),
    ("weights", &[]),
    ("kernels", &["weights"]),
    ("model", &["weights", "kernels"]),
    ("text", &["weights"]),
    ("constrain", &[]),
    ("engine", &["model"]),
    ("store", &[]),
    ("serve", &["text", "constrain", "engine"]),
    ("observe", &["serve", "store"]),
    ("dialect", &["serve"]),
    ("batch", &["serve", "dialect", "store"]),
    ("gateway", &["serve", "observe", "dialect", "store", "batch"]),
    ("load", &[]),
    (
        "freehold",
        &[
            "hub",
            "weights",
            "kernels",
            "model",
            "text",
            "constrain",
            "engine",
            "store",
            "serve",
            "observe",
            "dialect",
            "batch",
            "gateway",
            "load",
        ],
    ),
    ("testkit", &[]),
    ("xtask", &["weights", "testkit"]),
];

/// Packages that only the named crates may use, so that async, sockets, terminals and
/// template engines stay where they belong.
const CONFINED: &[(&str, &[&str])] = &[
    ("tokio", &["hub", "observe", "gateway", "load", "freehold"]),
    ("axum", &["gateway"]),
    ("reqwest", &["hub", "observe"]),
    ("tokenizers", &["text"]),
    ("minijinja", &["text"]),
    ("llguidance", &["constrain"]),
    ("toktrie", &["constrain"]),
    ("anyhow", &["freehold", "xtask"]),
    ("clap", &["freehold"]),
    ("rustyline", &["freehold"]),
    ("indicatif", &["freehold"]),
    ("memmap2", &["weights", "kernels"]),
    ("rusqlite", &["store"]),
    ("getrandom", &["store"]),
    ("rustls", &["gateway"]),
    ("tokio-rustls", &["gateway"]),
    ("rcgen", &["gateway", "freehold"]),
    ("tracing-subscriber", &["freehold"]),
    ("hdrhistogram", &["load"]),
];

/// Compares what `cargo metadata` says with the tables; one line for each broken rule.
pub(super) fn check(metadata: &Value) -> Result<Vec<String>> {
    let packages = metadata["packages"].as_array().context("cargo lists no packages")?;
    let mut problems = Vec::new();
    for package in packages {
        let name = package["name"].as_str().context("a package without a name")?;
        let Some((_, siblings)) = SIBLINGS.iter().find(|(known, _)| *known == name) else {
            problems.push(format!("crate `{name}` has no row in xtask/src/tidy/dependencies.rs"));
            continue;
        };
        for dependency in package["dependencies"].as_array().context("no dependency list")? {
            let other = dependency["name"].as_str().context("a dependency without a name")?;
            let shipped = dependency["kind"].as_str() != Some("dev");
            problems.extend(shipped.then(|| broken(name, siblings, other)).flatten());
        }
    }
    Ok(problems)
}

fn broken(name: &str, siblings: &[&str], other: &str) -> Option<String> {
    let is_sibling = SIBLINGS.iter().any(|(known, _)| *known == other);
    if is_sibling && !siblings.contains(&other) {
        return Some(format!("crate `{name}` must not depend on `{other}`"));
    }
    let (_, allowed) = CONFINED.iter().find(|(package, _)| *package == other)?;
    (!allowed.contains(&name))
        .then(|| format!("package `{other}` is for {} only, not for `{name}`", allowed.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn arrows_point_one_way() {
        let metadata = json!({"packages": [
            {"name": "model", "dependencies": [
                {"name": "kernels", "kind": null},
                {"name": "text", "kind": null},
                {"name": "testkit", "kind": "dev"},
                {"name": "tokio", "kind": null},
            ]},
            {"name": "newcomer", "dependencies": []},
        ]});
        let problems = check(&metadata).expect("the metadata is whole");
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems[0].contains("must not depend on `text`"));
        assert!(problems[1].contains("`tokio` is for"));
        assert!(problems[2].contains("`newcomer` has no row"));
    }
}
