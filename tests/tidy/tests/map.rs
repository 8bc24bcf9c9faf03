//! The map leads somewhere: every path that ARCHITECTURE.md names exists, every invariant has exactly one marked test.

#![allow(clippy::expect_used, reason = "a test says what is wrong by failing")]

/// I5 comes with the policy pipeline.
const INVARIANTS: [&str; 8] = ["I1", "I2", "I3", "I4", "I6", "I7", "I8", "I9"];

#[test]
fn every_path_in_the_architecture_exists() {
    let text = std::fs::read_to_string(tidy::root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let mut checked = 0;
    let mut missing = Vec::new();
    for word in text.split('`').skip(1).step_by(2) {
        let rooted = ["crates/", "docs/", "tests/", "benches/", "deploy/", "etc/", ".ci/"];
        if rooted.iter().any(|start| word.starts_with(start)) {
            checked += 1;
            if !tidy::root().join(word).exists() {
                missing.push(word.to_owned());
            }
        }
    }
    assert!(checked > 20, "the table names only {checked} paths");
    assert!(missing.is_empty(), "ARCHITECTURE.md names what is not there:\n{}", missing.join("\n"));
}

#[test]
fn every_invariant_has_one_marked_test() {
    let mut files = tidy::files("crates", &[".rs"]);
    files.extend(tidy::files("tests", &[".rs"]));
    for invariant in INVARIANTS {
        let mark = format!("// invariant: {invariant}");
        let places: Vec<String> = files
            .iter()
            .filter(|(path, text)| !path.starts_with("tests/tidy") && text.lines().any(|l| l.trim() == mark))
            .map(|(path, _)| path.display().to_string())
            .collect();
        assert_eq!(places.len(), 1, "`{mark}` must stand above exactly one test, found: {places:?}");
    }
}

/// `tests/mutations/run` makes each of these changes and expects the marked test to fail.
#[test]
fn every_invariant_has_a_mutation_that_can_still_be_made() {
    let text =
        std::fs::read_to_string(tidy::root().join("tests/mutations/mutations.json")).expect("mutations");
    let all: Vec<serde_json::Value> = serde_json::from_str(&text).expect("a list");
    let word = |mutation: &serde_json::Value, key: &str| {
        mutation.get(key).and_then(|value| value.as_str()).expect("a text").to_owned()
    };
    for invariant in INVARIANTS {
        assert!(all.iter().any(|m| word(m, "invariant") == invariant), "{invariant} has no mutation");
    }
    for mutation in &all {
        let file = word(mutation, "file");
        let code = std::fs::read_to_string(tidy::root().join(&file)).expect("the file to change");
        let found = code.matches(&word(mutation, "old")).count();
        assert_eq!(found, 1, "{file} must hold the text to change once: {mutation}");
    }
}
