//! Dependencies between our crates point only down the table of ARCHITECTURE.md.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test says what is wrong by failing")]

use std::collections::BTreeMap;
use std::process::Command;

/// Crate, and which of our own crates it may use. The order is that of ARCHITECTURE.md.
const ALLOWED: &[(&str, &[&str])] = &[
    ("mail", &[]),
    ("smtp", &["mail"]),
    ("store", &["mail"]),
    ("net", &["mail"]),
    ("tables", &["mail", "net"]),
    ("msgauth", &["mail", "net"]),
    ("policy", &["mail"]),
    ("antispam", &["mail", "net", "store", "tables", "msgauth", "policy"]),
    ("queue", &["mail", "store"]),
    ("delivery", &["mail", "net", "tables", "queue", "store"]),
    ("config", &["mail", "smtp", "store", "net", "tables", "msgauth", "antispam", "queue", "delivery"]),
    (
        "server",
        &[
            "mail", "smtp", "store", "net", "tables", "msgauth", "policy", "antispam", "queue", "delivery",
            "config",
        ],
    ),
    ("staffetta", &["mail", "store", "net", "tables", "msgauth", "config", "server"]),
    ("support", &["net"]),
    ("tidy", &[]),
];

/// Crates that must not know of tokio: the pure cores.
const WITHOUT_TOKIO: &[&str] = &["mail", "smtp", "queue", "config"];

fn packages() -> Vec<serde_json::Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(tidy::root())
        .output()
        .expect("cargo metadata runs");
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    metadata["packages"].as_array().expect("a list of packages").clone()
}

/// Names of what a package needs when it is built for users: tests may use more.
fn needs(package: &serde_json::Value) -> Vec<String> {
    let all = package["dependencies"].as_array().expect("a list of dependencies");
    all.iter()
        .filter(|d| d["kind"].is_null())
        .map(|d| d["name"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn crates_use_only_what_the_table_allows() {
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    let mut wrong = Vec::new();
    for package in packages() {
        let name = package["name"].as_str().unwrap_or_default().to_owned();
        let Some(may) = allowed.get(name.as_str()) else {
            wrong.push(format!("{name} is not in the table"));
            continue;
        };
        for needed in needs(&package) {
            if allowed.contains_key(needed.as_str()) && !may.contains(&needed.as_str()) {
                wrong.push(format!("{name} -> {needed}"));
            }
        }
    }
    assert!(wrong.is_empty(), "edges that the table does not allow:\n{}", wrong.join("\n"));
}

#[test]
fn pure_crates_know_nothing_of_the_runtime() {
    for package in packages() {
        let name = package["name"].as_str().unwrap_or_default().to_owned();
        if WITHOUT_TOKIO.contains(&name.as_str()) {
            assert!(!needs(&package).iter().any(|n| n == "tokio"), "{name} must not use tokio");
        }
    }
}
