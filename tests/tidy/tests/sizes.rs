//! Files stay small enough to be read in one sitting (functions are clippy's: `too-many-lines-threshold`).

const LINES_MAX: usize = 600;

#[test]
fn files_have_at_most_600_lines_of_code() {
    let long: Vec<String> = tidy::files("crates", &[".rs"])
        .into_iter()
        .filter(|(path, _)| !tidy::is_test_file(path))
        .map(|(path, text)| (path, tidy::without_tests(&text).lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "split these by what they do:\n{}", long.join("\n"));
}

#[test]
fn every_module_opens_with_its_purpose() {
    let bare: Vec<String> = tidy::files("crates", &[".rs"])
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert!(bare.is_empty(), "these begin without a //! line that says what they do:\n{}", bare.join("\n"));
}
