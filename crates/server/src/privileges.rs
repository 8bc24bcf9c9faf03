//! Giving up root: the server binds its ports as root, then becomes its user for good.
//!
//! Kept are `CAP_NET_BIND_SERVICE`, so that a reload can bind further low ports, and `CAP_CHOWN` only where Maildirs
//! belong to another user than the server. Everything else is dropped, the bounding set included, and
//! `no_new_privs` is set. Must be called before any other thread exists: capabilities belong to threads, and those that
//! are there already would keep theirs. Names are looked up by reading `/etc/passwd` and `/etc/group`: a static
//! binary must not call the system's name services.

use std::collections::BTreeSet;

use caps::{CapSet, Capability};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, geteuid, setgroups, setresgid, setresuid};

mod users;

pub use users::{Identity, Users};

/// Why privileges could not be given up. All of it is the operator's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrivilegeError {
    /// There is no such user.
    #[error("there is no user {0} in /etc/passwd; make it: useradd --system --no-create-home {0}")]
    NoUser(String),
    /// There is no such group.
    #[error("there is no group {0} in /etc/group; make it: groupadd --system {0}")]
    NoGroup(String),
    /// A system call failed.
    #[error("cannot become user {user}: {call}: {message}")]
    Call {
        /// Whom we wanted to be.
        user: String,
        /// Which call.
        call: &'static str,
        /// What the system said.
        message: String,
    },
    /// After dropping root, root could be had again: the server stops rather than go on.
    #[error("root could be had again after it was dropped; not starting")]
    Regained,
}

/// Which capabilities outlive root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keep {
    /// Bind ports below 1024 on reload.
    pub bind: bool,
    /// Give Maildirs to another user.
    pub chown: bool,
}

/// What the process is afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It was root, and is this user now.
    Dropped,
    /// It was not root, and stays who it is.
    Unprivileged,
    /// It is another user than the one configured, and cannot become it: to be told.
    OtherUser {
        /// Who it is.
        uid: u32,
    },
    /// It is root and stays root, as the configuration says: a loud warning is due.
    Root,
}

/// Becomes `identity` when root, drops all capabilities but those to keep, and sets the umask to 077.
///
/// # Errors
/// [`PrivilegeError`]; the server must not go on then.
pub fn drop_root(identity: &Identity, keep: Keep) -> Result<Standing, PrivilegeError> {
    umask(Mode::from_bits_truncate(0o077));
    let failed = |call: &'static str| {
        move |message: String| PrivilegeError::Call { user: identity.name.clone(), call, message }
    };
    let no_new_privileges = || {
        nix::sys::prctl::set_no_new_privs().map_err(|e| failed("prctl(PR_SET_NO_NEW_PRIVS)")(e.to_string()))
    };
    let uid = geteuid();
    if !uid.is_root() {
        no_new_privileges()?;
        let same = uid.as_raw() == identity.uid;
        return Ok(if same { Standing::Unprivileged } else { Standing::OtherUser { uid: uid.as_raw() } });
    }
    if identity.uid == 0 {
        no_new_privileges()?;
        return Ok(Standing::Root);
    }
    let kept = capabilities(keep);
    for capability in caps::all().difference(&kept) {
        // Kernels know fewer capabilities than this list; those cannot be there to drop.
        let _ = caps::drop(None, CapSet::Bounding, *capability);
    }
    nix::sys::prctl::set_keepcaps(true).map_err(|e| failed("prctl(PR_SET_KEEPCAPS)")(e.to_string()))?;
    let groups: Vec<Gid> = identity.groups.iter().map(|&gid| Gid::from_raw(gid)).collect();
    setgroups(&groups).map_err(|e| failed("setgroups")(e.to_string()))?;
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    setresgid(gid, gid, gid).map_err(|e| failed("setresgid")(e.to_string()))?;
    setresuid(uid, uid, uid).map_err(|e| failed("setresuid")(e.to_string()))?;
    let sets = [
        // Effective first: it must be a part of what is permitted at every step.
        (CapSet::Effective, kept.clone()),
        (CapSet::Permitted, kept),
        (CapSet::Inheritable, caps::CapsHashSet::new()),
    ];
    for (set, wanted) in sets {
        caps::set(None, set, &wanted).map_err(|e| failed("capset")(e.to_string()))?;
    }
    no_new_privileges()?;
    if setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_ok() {
        return Err(PrivilegeError::Regained);
    }
    Ok(Standing::Dropped)
}

/// True when this process may bind ports below 1024.
#[must_use]
pub fn may_bind_low_ports() -> bool {
    caps::has_cap(None, CapSet::Effective, Capability::CAP_NET_BIND_SERVICE).unwrap_or(false)
}

/// Raises the number of files and sockets that may be open to the hard limit. Returns what it is now.
#[must_use]
pub fn raise_descriptor_limit() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 0 };
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft }
}

fn capabilities(keep: Keep) -> caps::CapsHashSet {
    let wanted = [(keep.bind, Capability::CAP_NET_BIND_SERVICE), (keep.chown, Capability::CAP_CHOWN)];
    wanted.into_iter().filter(|(keep, _)| *keep).map(|(_, capability)| capability).collect()
}

/// Names of the capabilities that this thread has, for the log.
#[must_use]
pub fn capability_names() -> BTreeSet<String> {
    let held = caps::read(None, CapSet::Effective).unwrap_or_default();
    held.into_iter().map(|capability| capability.to_string()).collect()
}

#[cfg(test)]
mod tests;
