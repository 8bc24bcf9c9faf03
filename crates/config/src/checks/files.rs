//! Files that the configuration names: whether they are there and can be read.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use tables::aliases::Aliases;

use super::Findings;
use crate::document::Place;

/// Reports a file that is not there, is a folder, or cannot be read. True when all is well.
pub(super) fn readable(findings: &mut Findings<'_, '_>, place: &Place, written: &Path, what: &str) -> bool {
    let path = findings.path(written);
    let shown = path.display();
    let (message, label, help) = match fs::File::open(&path) {
        Ok(file) if file.metadata().is_ok_and(|facts| facts.is_dir()) => {
            (format!("{what} {shown} is a folder"), "a file is wanted", "name the file in it")
        }
        Ok(_) => return true,
        Err(error) if error.kind() == ErrorKind::NotFound => (
            format!("{what} {shown} does not exist"),
            "no such file",
            "correct the path (relative paths start at the folder of this configuration), or make the file",
        ),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => (
            format!("{what} {shown} may not be read"),
            "permission denied",
            "let the user who starts the server read it",
        ),
        Err(error) => (format!("{what} {shown} cannot be read: {error}"), "unreadable", ""),
    };
    let problem = findings.error(place, message).label(label).help(help);
    findings.push(problem);
    false
}

/// Warns of a secret that every user of this host can read.
pub(super) fn secret(findings: &mut Findings<'_, '_>, place: &Place, written: &Path, what: &str) {
    use std::os::unix::fs::PermissionsExt as _;

    if !readable(findings, place, written, what) {
        return;
    }
    let path = findings.path(written);
    let open = fs::metadata(&path).is_ok_and(|facts| facts.permissions().mode() & 0o004 != 0);
    if open {
        let problem = findings
            .warning(place, format!("every user of this host can read {what} {}", path.display()))
            .label("a secret")
            .help(format!("run `chmod o= {}`", path.display()));
        findings.push(problem);
    }
}

/// The files of `[accounts]`: the one with passwords may come later, the aliases may not.
pub(super) fn accounts(findings: &mut Findings<'_, '_>) {
    let section = Place::of("accounts");
    let accounts = &findings.config.accounts;
    if let Some(aliases) = &accounts.aliases {
        let place = section.key("aliases");
        if readable(findings, &place, aliases, "the aliases file")
            && let Err(error) = Aliases::open(&findings.path(aliases))
        {
            findings.table_refused(&place, &error, "");
        }
    }
    let place = section.key("file");
    if findings.path(&accounts.file).exists() {
        secret(findings, &place, &accounts.file, "the accounts file");
        return;
    }
    let used = findings.config.domain.iter().position(|domain| domain.recipients == "accounts");
    let (place, needed) = match used {
        Some(index) => (Place::of("domain").item(index).key("recipients"), true),
        None => (place.clone(), findings.document.has(&place)),
    };
    if needed {
        let problem = findings
            .warning(
                &place,
                format!("the accounts file {} does not exist yet", findings.path(&accounts.file).display()),
            )
            .label("so nobody exists here, and nobody can log in")
            .help("make the first mailbox with `staffetta account add ADDRESS`");
        findings.push(problem);
    }
}
