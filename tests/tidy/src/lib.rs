//! House rules as tests: `cargo test -p tidy`.
//!
//! Each rule is one file in `tests/`; this library only finds the files of the repository. Never changes anything.

use std::fs;
use std::path::{Path, PathBuf};

/// The root of the repository.
///
/// # Panics
/// When this crate is not two folders below it.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).map_or_else(|| here.to_path_buf(), Path::to_path_buf)
}

/// Every file below `folder` (relative to the root) that ends in one of `endings`, with its text.
///
/// Build results and hidden folders are left out; files that are not UTF-8 as well.
#[must_use]
pub fn files(folder: &str, endings: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    walk(&root().join(folder), endings, &mut found);
    found.sort();
    found
}

fn walk(folder: &Path, endings: &[&str], found: &mut Vec<(PathBuf, String)>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                walk(&path, endings, found);
            }
        } else if endings.iter().any(|ending| name.ends_with(ending))
            && let Ok(text) = fs::read_to_string(&path)
        {
            let short = path.strip_prefix(root()).map_or_else(|_| path.clone(), Path::to_path_buf);
            found.push((short, text));
        }
    }
}

/// True for files that hold nothing but tests.
#[must_use]
pub fn is_test_file(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.ends_with("tests.rs")
        || text.contains("/tests/")
        || text.starts_with("tests/")
        || text.contains("/benches/")
}

/// The lines before the first test module of a file.
#[must_use]
pub fn without_tests(text: &str) -> &str {
    text.split_once("\n#[cfg(test)]\nmod ").map_or(text, |(code, _)| code)
}
