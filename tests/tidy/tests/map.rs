//! The map leads somewhere: every path that ARCHITECTURE.md names exists, every invariant has exactly one marked test.

#![allow(clippy::expect_used, reason = "a test says what is wrong by failing")]

const INVARIANTS: [&str; 9] = ["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9"];

/// Paths begin with one of these; anything else between backticks is code or a word.
const ROOTED: [&str; 7] = ["crates/", "docs/", "tests/", "benches/", "deploy/", "etc/", ".ci/"];

/// What stands between backticks and is a path from the root.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split('`').skip(1).step_by(2).filter(|word| !word.contains(char::is_whitespace));
    words.filter(|word| ROOTED.iter().any(|start| word.starts_with(start)))
}

/// The targets of links, without those to other places.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    targets.filter(|target| !target.is_empty() && !target.contains("://"))
}

#[test]
fn every_path_in_the_architecture_exists() {
    let text = std::fs::read_to_string(tidy::root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let checked = paths(&text).count();
    assert!(checked > 20, "the table names only {checked} paths");
    let missing: Vec<&str> = paths(&text).filter(|path| !tidy::root().join(path).exists()).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md names what is not there:\n{}", missing.join("\n"));
}

#[test]
fn every_page_leads_somewhere() {
    let pages = tidy::files("", &[".md"]);
    assert!(pages.len() > 10, "only {} pages were found", pages.len());
    let mut missing = Vec::new();
    for (page, text) in &pages {
        let folder = tidy::root().join(page).parent().map(std::path::Path::to_path_buf).unwrap_or_default();
        let rooted = paths(text).filter(|path| !tidy::root().join(path).exists());
        let linked = links(text).filter(|link| !folder.join(link).exists());
        missing.extend(rooted.chain(linked).map(|target| format!("{}: {target}", page.display())));
    }
    assert!(missing.is_empty(), "these pages name what is not there:\n{}", missing.join("\n"));
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
