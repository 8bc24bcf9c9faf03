//! Every kind of mistake, and the very words that it is answered with: `reports/NAME.toml` gives `reports/NAME.txt`.
//!
//! After a change of words run it once with `UPDATE_REPORTS=1`, and read the difference.
#![allow(clippy::unwrap_used, reason = "a test may stop where it is")]

use std::fs;
use std::path::Path;

const FOLDER: &str = "tests/reports";

/// What loading `file` says, errors or warnings, without the folder that the project happens to lie in.
fn told(file: &Path) -> String {
    let told = match config::load(file) {
        Ok(loaded) if loaded.warnings.is_empty() => "All is well.\n".to_owned(),
        Ok(loaded) => format!("Loaded, with warnings.\n\n{}", loaded.warnings),
        Err(report) => report.to_string(),
    };
    told.replace(&format!("{}/", env!("CARGO_MANIFEST_DIR")), "/etc/staffetta/")
}

#[test]
fn every_mistake_is_told_in_these_words() {
    // As a fresh clone has it under the usual umask: readable for everybody.
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(Path::new(FOLDER).join("no-certificate.pem"), readable).unwrap();
    let mut names: Vec<_> = fs::read_dir(FOLDER)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    names.sort();
    assert!(names.len() > 25, "only {} cases", names.len());
    let update = std::env::var_os("UPDATE_REPORTS").is_some();
    let mut wrong = Vec::new();
    for file in names {
        let expected = file.with_extension("txt");
        let told = told(&file);
        if update {
            fs::write(&expected, &told).unwrap();
        }
        if fs::read_to_string(&expected).unwrap_or_default() != told {
            wrong.push(format!("{}:\n{told}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "not as written down:\n{}", wrong.join("\n"));
}
