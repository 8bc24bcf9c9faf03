//! Runs the dialogues under `tests/dialogue/`, written as RFC 5321 Appendix D writes them, with scripted answers.
//!
//! Each runs twice: every client line at once, and the client's bytes one at a time. What the server says must be the
//! same. `tests/dialogue/README.md` tells the form.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod script;

use std::path::PathBuf;

use script::{Feed, Script};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/dialogue")
}

#[test]
fn every_dialogue_goes_as_written() {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder())
        .expect("tests/dialogue is there")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    assert!(files.len() >= 40, "the dialogues are there");
    let mut failures = Vec::new();
    for file in &files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let script = Script::parse(&std::fs::read_to_string(file).expect("readable"));
        for feed in [Feed::Lines, Feed::Bytes] {
            if let Err(failure) = script.run(feed) {
                failures.push(format!("{name} ({feed:?}): {failure}"));
            }
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n\n"));
}
