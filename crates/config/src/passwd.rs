//! Users and groups, read from `/etc/passwd` and `/etc/group` (passwd(5), group(5)).
//!
//! The C library's name service is not used: the program is linked statically, and a directory server that hangs must
//! not keep a mail server from starting. Users that live only in a directory are given by number.

use std::path::Path;

use crate::Principal;

/// A user of this system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The login name; empty for a number that no line of the file has.
    pub name: String,
    /// The numeric user id.
    pub uid: u32,
    /// The numeric id of its primary group.
    pub gid: u32,
}

/// Finds a user; a number without a line is a user too, whose group has the same number.
///
/// # Errors
/// The file cannot be read.
pub fn user(who: &Principal) -> std::io::Result<Option<User>> {
    user_in(Path::new("/etc/passwd"), who)
}

/// Finds a group's number; a number is itself.
///
/// # Errors
/// The file cannot be read.
pub fn group(who: &Principal) -> std::io::Result<Option<u32>> {
    group_in(Path::new("/etc/group"), who)
}

fn user_in(file: &Path, who: &Principal) -> std::io::Result<Option<User>> {
    let fallback = match who {
        Principal::Id(id) => Some(User { name: String::new(), uid: *id, gid: *id }),
        Principal::Name(_) => None,
    };
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        // A container may have no such file; numbers need none.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(fallback),
        Err(error) => return Err(error),
    };
    let found = text.lines().filter_map(parse_user).find(|user| match who {
        Principal::Name(name) => user.name == *name,
        Principal::Id(id) => user.uid == *id,
    });
    Ok(found.or(fallback))
}

fn group_in(file: &Path, who: &Principal) -> std::io::Result<Option<u32>> {
    let name = match who {
        Principal::Id(id) => return Ok(Some(*id)),
        Principal::Name(name) => name,
    };
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let gid = |line: &str| {
        let mut fields = line.split(':');
        let here = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        (here == name).then_some(gid)
    };
    Ok(text.lines().find_map(gid))
}

/// `name:password:uid:gid:…` (passwd(5)); other lines are skipped.
fn parse_user(line: &str) -> Option<User> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some(User { name: name.to_owned(), uid, gid })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Principal {
        Principal::Name(text.into())
    }

    #[test]
    fn users_are_found_by_name_and_number() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("passwd");
        std::fs::write(&file, "root:x:0:0:root:/root:/bin/sh\n# note\nbad\nvmail:x:990:991::/:/bin/false\n")
            .unwrap();
        let vmail = User { name: "vmail".into(), uid: 990, gid: 991 };
        assert_eq!(user_in(&file, &name("vmail")).unwrap(), Some(vmail.clone()));
        assert_eq!(user_in(&file, &Principal::Id(990)).unwrap(), Some(vmail));
        assert_eq!(user_in(&file, &name("bad")).unwrap(), None);
        let stranger = User { name: String::new(), uid: 7, gid: 7 };
        assert_eq!(user_in(&file, &Principal::Id(7)).unwrap(), Some(stranger));
    }

    #[test]
    fn numbers_need_no_file() {
        let nowhere = Path::new("/nonexistent/passwd");
        assert_eq!(user_in(nowhere, &Principal::Id(5)).unwrap().map(|user| user.gid), Some(5));
        assert_eq!(user_in(nowhere, &name("vmail")).unwrap(), None);
        assert_eq!(group_in(nowhere, &Principal::Id(5)).unwrap(), Some(5));
        assert_eq!(group_in(nowhere, &name("mail")).unwrap(), None);
    }

    #[test]
    fn groups_are_found_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("group");
        std::fs::write(&file, "root:x:0:\nmail:x:8:postfix\n").unwrap();
        assert_eq!(group_in(&file, &name("mail")).unwrap(), Some(8));
        assert_eq!(group_in(&file, &name("mai")).unwrap(), None);
    }
}
