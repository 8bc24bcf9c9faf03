//! What no committed text says: paths of one machine, and hosts that packages come from (`Cargo.lock` apart).

#![allow(clippy::expect_used, reason = "a test says what is wrong by failing")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Written in two parts, so that this file does not name them itself.
const HOSTS: &[&str] = &[
    concat!("crates", ".io"),
    concat!("pypi", ".org"),
    concat!("python", "hosted.org"),
    concat!("npmjs", ".org"),
    concat!("ruby", "gems.org"),
    concat!("proxy.golang", ".org"),
    concat!("deb.debian", ".org"),
];

/// Absolute folders that exist on somebody's machine. The first is permitted in tests and shell scripts.
const FOLDERS: &[&str] = &[concat!("/", "tmp"), concat!("/", "work")];

/// Every file that is, or is about to be, committed; without git, all that are there.
fn committed() -> Vec<(PathBuf, String)> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(tidy::root())
        .output();
    let Some(output) = listed.ok().filter(|output| output.status.success()) else {
        return tidy::files("", &[""]);
    };
    let names = String::from_utf8(output.stdout).expect("names of files are UTF-8");
    let read =
        |name: &str| Some((PathBuf::from(name), std::fs::read_to_string(tidy::root().join(name)).ok()?));
    names.lines().filter_map(read).collect()
}

/// True when `text` names `folder` itself or something in it, and not the end of another path.
fn names_folder(text: &str, folder: &str) -> bool {
    let part_of_a_name = |c: char| c.is_alphanumeric() || "_-.}/$".contains(c);
    text.match_indices(folder).any(|(at, _)| {
        let before = text.get(..at).and_then(|start| start.chars().next_back());
        let after = text.get(at + folder.len()..).and_then(|rest| rest.chars().next());
        !before.is_some_and(part_of_a_name)
            && !after.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '-')
    })
}

fn may_use_temporary_files(path: &Path) -> bool {
    let shell = path.extension().is_some_and(|ending| ending == "sh") || path.ends_with("run");
    shell || tidy::is_test_file(path)
}

#[test]
fn no_text_names_a_machine_or_a_registry() {
    let files = committed();
    assert!(files.len() > 100, "only {} files were found", files.len());
    let mut wrong = Vec::new();
    for (path, text) in &files {
        if path.ends_with("Cargo.lock") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let permitted = usize::from(may_use_temporary_files(path));
            let folders = FOLDERS.iter().skip(permitted).filter(|folder| names_folder(line, folder));
            for word in folders.chain(HOSTS.iter().filter(|host| line.contains(*host))) {
                wrong.push(format!("{}:{}: {word}", path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "say it without these:\n{}", wrong.join("\n"));
}

#[test]
fn a_folder_is_found_as_a_path_of_its_own_only() {
    let folder = "/some";
    for yes in ["/some", "in /some/where", "(/some)", "\"/some\"", "x=/some"] {
        assert!(names_folder(yes, folder), "{yes}");
    }
    for no in ["a/some", "/something", "{dir}/some", "./some", "//some", "/some-where"] {
        assert!(!names_folder(no, folder), "{no}");
    }
}
