//! The map leads somewhere: every path that ARCHITECTURE.md names exists, every invariant has exactly one marked test.

#![allow(clippy::expect_used, reason = "a test says what is wrong by failing")]

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
    for invariant in ["I1", "I2", "I3", "I4", "I6", "I7", "I8", "I9"] {
        let mark = format!("// invariant: {invariant}");
        let places: Vec<String> = files
            .iter()
            .filter(|(path, text)| !path.starts_with("tests/tidy") && text.lines().any(|l| l.trim() == mark))
            .map(|(path, _)| path.display().to_string())
            .collect();
        assert_eq!(places.len(), 1, "`{mark}` must stand above exactly one test, found: {places:?}");
    }
}
