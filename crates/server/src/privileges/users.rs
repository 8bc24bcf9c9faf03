//! Users and groups, read from `/etc/passwd` and `/etc/group` (passwd(5), group(5)).

use std::path::Path;

use super::PrivilegeError;

/// A user as the kernel knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its name, or its number in digits.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// The number of its group.
    pub gid: u32,
    /// All its groups, `gid` among them.
    pub groups: Vec<u32>,
}

/// The two files, as texts.
#[derive(Debug, Clone, Default)]
pub struct Users {
    passwd: String,
    group: String,
}

impl Users {
    /// Reads the system's files. One that cannot be read is empty: numbers work without them.
    #[must_use]
    pub fn of_the_system() -> Self {
        Self::read(Path::new("/etc/passwd"), Path::new("/etc/group"))
    }

    fn read(passwd: &Path, group: &Path) -> Self {
        let text =
            |path| std::fs::read(path).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
        Self { passwd: text(passwd), group: text(group) }
    }

    /// The identity for `user`, `user:group`, and numbers for either. A number that is in no file is good as it is.
    ///
    /// # Errors
    /// When a name is not there.
    pub fn identity(&self, text: &str) -> Result<Identity, PrivilegeError> {
        let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
        let known = self.users().find(|u| u.name == user || user.parse() == Ok(u.uid));
        let (name, uid, own_group) = match (known, user.parse::<u32>()) {
            (Some(known), _) => (known.name.to_owned(), known.uid, Some(known.gid)),
            (None, Ok(uid)) => (user.to_owned(), uid, None),
            (None, Err(_)) => return Err(PrivilegeError::NoUser(user.to_owned())),
        };
        let gid = match (group, own_group) {
            (Some(group), _) => self.group(group)?,
            (None, Some(gid)) => gid,
            (None, None) => uid,
        };
        let mut groups = vec![gid];
        groups.extend(self.groups_of(&name).filter(|g| *g != gid));
        Ok(Identity { name, uid, gid, groups })
    }

    /// The name of a user's number.
    #[must_use]
    pub fn name_of(&self, uid: u32) -> Option<&str> {
        self.users().find(|u| u.uid == uid).map(|u| u.name)
    }

    /// A user's real name: the first part of the comment field, with `&` for the login name, as mail programs have it.
    #[must_use]
    pub fn real_name_of(&self, uid: u32) -> Option<String> {
        let user = self.users().find(|u| u.uid == uid)?;
        let (real, _) = user.comment.split_once(',').unwrap_or((user.comment, ""));
        (!real.is_empty()).then(|| real.replace('&', user.name))
    }

    fn group(&self, text: &str) -> Result<u32, PrivilegeError> {
        let mut lines = self.group.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let gid: u32 = fields.nth(1)?.parse().ok()?;
            (name == text || text.parse() == Ok(gid)).then_some(gid)
        });
        lines.next().or_else(|| text.parse().ok()).ok_or_else(|| PrivilegeError::NoGroup(text.to_owned()))
    }

    /// Groups that name the user as a member.
    fn groups_of<'a>(&'a self, user: &'a str) -> impl Iterator<Item = u32> + 'a {
        self.group.lines().filter_map(move |line| {
            let mut fields = line.split(':').skip(2);
            let gid = fields.next()?.parse().ok()?;
            fields.next()?.split(',').any(|member| member == user).then_some(gid)
        })
    }

    fn users(&self) -> impl Iterator<Item = Line<'_>> {
        self.passwd.lines().filter_map(Line::parse)
    }
}

struct Line<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    comment: &'a str,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next().filter(|n| !n.is_empty())?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Self { name, uid, gid, comment: fields.next().unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Users {
        Users {
            passwd: "root:x:0:0:root:/root:/bin/sh\nbroken\nstaffetta:x:990:991::/:/bin/false\n\
                     anna:x:1000:1000:& Rossi,Room 3:/home/anna:/bin/sh\n"
                .into(),
            group: "root:x:0:\nstaffetta:x:991:\nmail:x:8:staffetta,anna\nssl:x:110:staffetta\n".into(),
        }
    }

    #[test]
    fn names_and_numbers_give_the_same_identity() {
        let users = users();
        let want = Identity { name: "staffetta".into(), uid: 990, gid: 991, groups: vec![991, 8, 110] };
        for text in ["staffetta", "990", "staffetta:staffetta", "990:991"] {
            assert_eq!(users.identity(text), Ok(want.clone()), "{text}");
        }
        let other = users.identity("staffetta:mail").unwrap();
        assert_eq!((other.gid, other.groups), (8, vec![8, 110]));
    }

    #[test]
    fn numbers_need_no_files_and_names_do() {
        let none = Users::default();
        assert_eq!(
            none.identity("65532"),
            Ok(Identity { name: "65532".into(), uid: 65532, gid: 65532, groups: vec![65532] })
        );
        assert_eq!(none.identity("65532:7").unwrap().gid, 7);
        assert_eq!(none.identity("staffetta"), Err(PrivilegeError::NoUser("staffetta".into())));
        assert_eq!(users().identity("anna:wheel"), Err(PrivilegeError::NoGroup("wheel".into())));
    }

    #[test]
    fn callers_have_names_and_real_names() {
        let users = users();
        assert_eq!(users.name_of(1000), Some("anna"));
        assert_eq!(users.real_name_of(1000).as_deref(), Some("anna Rossi"));
        assert_eq!((users.name_of(4), users.real_name_of(990)), (None, None));
    }

    #[test]
    fn the_systems_own_files_have_root() {
        assert_eq!(Users::of_the_system().identity("root").map(|i| i.uid), Ok(0));
    }
}
