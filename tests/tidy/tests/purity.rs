//! The pure cores read no clock, no environment and no socket; unsafe code is forbidden everywhere.

#![allow(clippy::expect_used, reason = "a test says what is wrong by failing")]

const PURE: &[&str] = &["crates/mail/src", "crates/smtp/src", "crates/policy/src", "crates/queue/src"];
/// Measures how long checks take; what judges them beside it is as pure as the rest.
const EXCEPT: &[&str] = &["crates/policy/src/pipeline.rs"];
const FORBIDDEN: &[&str] = &[
    "Instant::now(",
    "SystemTime::now(",
    "std::env::",
    "std::net::Tcp",
    "std::net::Udp",
    "std::fs::",
    "thread::sleep",
];

#[test]
fn pure_crates_touch_nothing_outside() {
    let mut found = Vec::new();
    for folder in PURE {
        for (path, text) in tidy::files(folder, &[".rs"]) {
            if tidy::is_test_file(&path) || EXCEPT.iter().any(|except| path.ends_with(except)) {
                continue;
            }
            for word in FORBIDDEN {
                if tidy::without_tests(&text).contains(word) {
                    found.push(format!("{}: {word}", path.display()));
                }
            }
        }
    }
    assert!(found.is_empty(), "pass it in as a value instead:\n{}", found.join("\n"));
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    for (path, text) in tidy::files("crates", &["Cargo.toml"]) {
        assert!(text.contains("[lints]\nworkspace = true"), "{}: lints are missing", path.display());
    }
    let workspace = std::fs::read_to_string(tidy::root().join("Cargo.toml")).expect("the workspace manifest");
    assert!(workspace.contains("unsafe_code = \"forbid\""));
}
