//! Makes what is missing in the folder, and only that.

use std::error::Error;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use mail::{Address, Domain};
use msgauth::dkim::{Algorithm, KeyStore};
use server::accounts::Cost;
use server::accounts::manage::{self, Credential};

use super::{Ports, choose_ports, files};
use crate::commands::account;
use crate::commands::dkim::SELECTOR;

/// What is wanted.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) folder: PathBuf,
    pub(super) domain: Domain,
    pub(super) hostname: Domain,
    pub(super) mailbox: Address,
    pub(super) user: Option<String>,
    /// Numbers of `user` and its group.
    pub(super) owner: Option<(u32, u32)>,
    /// None: to be tried out.
    pub(super) ports: Option<Ports>,
}

impl Plan {
    /// The file that everything else is found through.
    pub(super) fn configuration_file(&self) -> PathBuf {
        self.folder.join("staffetta.toml")
    }
}

/// What was made in this run.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// Names within the folder, with their meaning.
    pub(super) items: Vec<(String, &'static str)>,
    /// The first mailbox's, when it was made now.
    pub(super) password: Option<String>,
}

/// Octets that everybody may read.
const OPEN: u32 = 0o644;
/// Secrets.
const CLOSED: u32 = 0o600;

/// Makes everything that is missing, the mailbox last: its password is shown when all else is there.
pub(super) fn everything(plan: &Plan) -> Result<Made, Box<dyn Error>> {
    let mut made = Made::default();
    // Local users reach submit.sock in data/; what is theirs to read is not in here.
    folder(&plan.folder, 0o711)?;
    folder(&plan.folder.join("data"), 0o711)?;
    folder(&plan.folder.join("mail"), 0o700)?;
    configuration(plan, &mut made)?;
    certificate(plan, &mut made)?;
    signing_key(plan, &mut made)?;
    let text = files::virtual_aliases(&plan.domain, &plan.mailbox);
    keep(plan, &mut made, "virtual", &text, "whole addresses that stand for others")?;
    let text = files::system_aliases(&plan.mailbox);
    keep(plan, &mut made, "aliases", &text, "names such as root and abuse that stand for others")?;
    mailbox(plan, &mut made)?;
    if let (Some(owner), false) = (plan.owner, made.items.is_empty()) {
        give(&plan.folder, owner)?;
    }
    Ok(made)
}

/// Refuses a folder that is another domain's, before anything is made in it. What is wrong with a configuration that is
/// there is told when it is loaded.
pub(super) fn check_domain(plan: &Plan) -> Result<(), Box<dyn Error>> {
    let file = plan.configuration_file();
    if !file.exists() {
        return Ok(());
    }
    match config::load(&file) {
        Ok(loaded) if !loaded.config.domains().any(|ours| *ours == plan.domain) => {
            let words =
                format!("{} is there already, and is not for {}; use --dir", file.display(), plan.domain);
            Err(words.into())
        }
        _ => Ok(()),
    }
}

/// A user's and its group's numbers.
pub(super) fn owner(name: &str) -> Result<(u32, u32), Box<dyn Error>> {
    let identity = server::privileges::Users::of_the_system().identity(name)?;
    Ok((identity.uid, identity.gid))
}

/// The ports are tried out when the file is written, and never again: a server does not move by itself.
fn configuration(plan: &Plan, made: &mut Made) -> Result<(), Box<dyn Error>> {
    if plan.configuration_file().exists() {
        return Ok(());
    }
    let ports = plan.ports.clone().unwrap_or_else(|| choose_ports(may_bind));
    let text = files::configuration(&plan.domain, &plan.hostname, &ports, plan.user.as_deref(), &free_http());
    keep(plan, made, "staffetta.toml", &text, "the configuration, with comments")
}

/// Binds as the server will, and lets go at once; else the reason in words for the configuration's comment.
fn may_bind(port: u16) -> Result<(), String> {
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    match net::listener::bind(&[address]) {
        Ok(_) => Ok(()),
        Err(net::ListenError::Bind { error, .. }) => Err(match error.kind() {
            ErrorKind::PermissionDenied => format!("port {port} needs root or CAP_NET_BIND_SERVICE"),
            ErrorKind::AddrInUse => format!("another program has port {port}"),
            _ => format!("port {port}: {error}"),
        }),
        Err(error) => Err(error.to_string()),
    }
}

/// The first free port from 9925 on, for /metrics: a second server on the same host must start too.
fn free_http() -> String {
    let free = |port: &u16| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    match (9925..9945).find(free) {
        Some(port) => format!("127.0.0.1:{port}"),
        None => String::new(),
    }
}

/// Certificate and key come together or not at all.
fn certificate(plan: &Plan, made: &mut Made) -> Result<(), Box<dyn Error>> {
    let (certificate_file, key_file) =
        (plan.folder.join("tls/fullchain.pem"), plan.folder.join("tls/key.pem"));
    // One without the other is the operator's doing, or half a run of ours: a key alone can be made anew with its
    // certificate only, and never over what is there.
    if certificate_file.exists() || key_file.exists() {
        return Ok(());
    }
    folder(&plan.folder.join("tls"), 0o700)?;
    let names = [plan.hostname.as_str(), plan.domain.as_str(), "localhost"];
    let (certificate, key) = net::tls::self_signed(&names)?;
    keep_as(plan, made, "tls/fullchain.pem", (&certificate, OPEN), "a self-signed certificate")?;
    keep_as(plan, made, "tls/key.pem", (&key, CLOSED), "its private key")
}

/// A domain that can sign already keeps its keys, whatever their selectors.
fn signing_key(plan: &Plan, made: &mut Made) -> Result<(), Box<dyn Error>> {
    let keys = KeyStore::open(&plan.folder.join("data/dkim"))?;
    if !keys.can_sign(&plan.domain) {
        keys.create(&plan.domain, SELECTOR, Algorithm::Rsa2048)?;
        made.items.push((
            format!("data/dkim/{}/{SELECTOR}.pem", plan.domain),
            "the key that signs your mail (DKIM)",
        ));
    }
    Ok(())
}

/// The file stands for its mailboxes: where there is one, the operator has taken over.
fn mailbox(plan: &Plan, made: &mut Made) -> Result<(), Box<dyn Error>> {
    let file = plan.folder.join("accounts.toml");
    if file.exists() {
        return Ok(());
    }
    let password = account::generated()?;
    let credential = Credential::Password(password.as_bytes().to_vec().into());
    manage::add(&file, &plan.mailbox, &credential, &[], Cost::default(), plan.owner)?;
    made.items.push(("accounts.toml".to_owned(), "mailboxes and password hashes"));
    made.password = Some(password.to_string());
    Ok(())
}

/// Writes a file that is not there and that everybody may read.
fn keep(
    plan: &Plan,
    made: &mut Made,
    name: &str,
    text: &str,
    meaning: &'static str,
) -> Result<(), Box<dyn Error>> {
    keep_as(plan, made, name, (text, OPEN), meaning)
}

/// Writes a file that is not there. Beside first, so that half a file is never taken for one; the link into place fails
/// rather than write over anything.
fn keep_as(
    plan: &Plan,
    made: &mut Made,
    name: &str,
    (text, mode): (&str, u32),
    meaning: &'static str,
) -> Result<(), Box<dyn Error>> {
    let file = plan.folder.join(name);
    let beside = file.with_extension("new");
    let write = || {
        let _ = fs::remove_file(&beside);
        let mut new = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        new.write_all(text.as_bytes())?;
        new.sync_all()?;
        let linked = fs::hard_link(&beside, &file);
        fs::remove_file(&beside)?;
        linked
    };
    match write() {
        Ok(()) => made.items.push((name.to_owned(), meaning)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(format!("{}: {error}", file.display()).into()),
    }
    Ok(())
}

/// Makes a folder that is not there, with this mode; one that is there keeps its own.
fn folder(path: &Path, mode: u32) -> Result<(), Box<dyn Error>> {
    if path.is_dir() {
        return Ok(());
    }
    // The mode is set again after the umask has had its say.
    let made = fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    made.and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .map_err(|error| format!("the folder {} cannot be made: {error}", path.display()).into())
}

/// Gives the folder and all in it to the server's user. Links are given, not followed.
fn give(path: &Path, (uid, gid): (u32, u32)) -> Result<(), Box<dyn Error>> {
    std::os::unix::fs::lchown(path, Some(uid), Some(gid))
        .map_err(|error| format!("{} cannot be given to user {uid}: {error}", path.display()))?;
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), (uid, gid))?;
        }
    }
    Ok(())
}
