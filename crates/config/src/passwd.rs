//! Whether users and groups exist, by `/etc/passwd` and `/etc/group` themselves (passwd(5), group(5)).
//!
//! The C library's name service is not used: the program is linked statically, and a directory server that hangs must
//! not keep a mail server from starting. Users that live only in a directory are given by number. Where a file cannot
//! be read, nobody is called unknown: starting will tell.

use std::path::Path;

use crate::Principal;

/// Whether this system has the user. Numbers need no entry.
pub(crate) fn has_user(who: &Principal) -> bool {
    has_name(Path::new("/etc/passwd"), who)
}

/// Whether this system has the group. Numbers need no entry.
pub(crate) fn has_group(who: &Principal) -> bool {
    has_name(Path::new("/etc/group"), who)
}

/// Both files begin their lines with the name and a colon.
fn has_name(file: &Path, who: &Principal) -> bool {
    let Principal::Name(name) = who else { return true };
    match std::fs::read(file) {
        Ok(text) => {
            let mut lines = text.split(|octet| *octet == b'\n');
            lines.any(|line| line.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b":")))
        }
        // A container may have no such file, and then has no names.
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Principal {
        Principal::Name(text.into())
    }

    #[test]
    fn names_are_found_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("passwd");
        std::fs::write(&file, b"root:x:0:0:root:/root:/bin/sh\nvmail:x:990:991:\xe9:/:/bin/false\n").unwrap();
        for (text, there) in [("root", true), ("vmail", true), ("vmai", false), ("x", false)] {
            assert_eq!(has_name(&file, &name(text)), there, "{text}");
        }
    }

    #[test]
    fn numbers_need_no_file() {
        let nowhere = Path::new("/nonexistent/passwd");
        assert!(has_name(nowhere, &Principal::Id(5)));
        assert!(!has_name(nowhere, &name("vmail")));
    }
}
