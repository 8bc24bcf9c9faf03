//! The next hop: the text after `deliver =`, `to =` and `smart_host =`, as a value.
//!
//! `maildir:/srv/mail/{domain}/{local}/`, `lmtp:unix:/run/dovecot/lmtp`, `lmtp:[::1]:24`, `smtp:[192.0.2.7]:25`,
//! `smtp:relay.test:25` (the MX of relay.test), `submission:[host]:587` (STARTTLS needed), `submissions:[host]:465`
//! (TLS from the start), `mx` (the recipient's own MX), `discard`. Brackets mean: this host, no MX look-up.
//! Never touches DNS or the file system. What is malformed is an error that says what to write instead.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::domain::Domain;

/// Where mail goes next. Written as text: what [`NextHop::parse`] reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum NextHop {
    /// A Maildir on this machine.
    Maildir(MaildirTemplate),
    /// An LMTP server (RFC 2033).
    Lmtp(Endpoint),
    /// An SMTP server.
    Smtp(SmtpTarget),
    /// The recipient domain's own mail exchangers (RFC 5321 §5.1).
    Mx,
    /// Nowhere: accepted and thrown away, with a log line.
    Discard,
}

/// An SMTP server to hand mail to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SmtpTarget {
    /// Which host, or whose MX.
    pub host: Host,
    /// TCP port.
    pub port: u16,
    /// How TLS begins.
    pub tls: TlsStart,
}

/// How TLS begins on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsStart {
    /// STARTTLS when the policy asks for it and the peer offers it (RFC 3207).
    IfOffered,
    /// STARTTLS must succeed (RFC 8314 §3.3).
    StartTls,
    /// With the first octet (RFC 8314 §3).
    Implicit,
}

/// A host as written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// `[192.0.2.1]` or `[2001:db8::1]`: DNS is never asked.
    Address(IpAddr),
    /// `[host.test]`: its addresses, not its MX.
    Exact(Domain),
    /// `host.test`: its MX, or itself where there is none (RFC 5321 §5.1).
    ByMx(Domain),
}

/// A stream socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A path of the file system.
    Unix(PathBuf),
    /// A host and port.
    Inet(Host, u16),
}

/// A Maildir's path with `{domain}`, `{local}`, `{address}` still to be filled in.
///
/// The folders before the first placeholder are the operator's own and may be links; what comes after them is made of
/// names from outside and is opened without following any.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MaildirTemplate {
    root: PathBuf,
    below: Vec<String>,
    text: String,
}

/// A Maildir's place: a folder that is trusted, and names below it that are not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MaildirPath {
    /// The operator's folder.
    pub root: PathBuf,
    /// One plain name per level beneath it: never empty, `.`, `..`, nor with a slash.
    pub below: Vec<String>,
}

/// Why a text is no next hop. Each says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NextHopError {
    /// No such kind.
    #[error(
        "`{0}` is no way to deliver; write maildir:/folder/{{domain}}/{{local}}/, lmtp:unix:/socket, lmtp:[host]:24, \
         smtp:[host]:25, submission:[host]:587, submissions:[host]:465, mx or discard"
    )]
    Kind(String),
    /// Not a host, or not a port.
    #[error(
        "`{0}` is no host and port; write [192.0.2.7]:25, [host.test]:25 or, for a domain's MX, host.test:25"
    )]
    Host(String),
    /// The Maildir's path.
    #[error(
        "`{0}` is no Maildir path; write an absolute one such as /srv/mail/{{domain}}/{{local}}/ without `.` or `..`"
    )]
    Path(String),
    /// No server.
    #[error("`{0}` is no server; write smtp:[host]:port, lmtp:[host]:port or lmtp:unix:/socket")]
    Server(String),
    /// An unknown placeholder.
    #[error("`{0}` is no placeholder; there are {{domain}}, {{local}} and {{address}}")]
    Placeholder(String),
}

impl NextHop {
    /// Reads the text of a configuration key; paths in it must be absolute.
    ///
    /// # Errors
    /// [`NextHopError`], with what to write instead.
    pub fn parse(text: &str) -> Result<Self, NextHopError> {
        Self::parse_beneath(text, Path::new(""))
    }

    /// The same; a relative Maildir or socket path stands beneath `base`, the configuration's folder.
    ///
    /// # Errors
    /// [`NextHopError`], with what to write instead.
    pub fn parse_beneath(text: &str, base: &Path) -> Result<Self, NextHopError> {
        let text = text.trim();
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        match kind {
            "maildir" => MaildirTemplate::parse(rest, base).map(Self::Maildir),
            "lmtp" => match rest.strip_prefix("unix:") {
                Some(path) if !path.is_empty() && base.join(path).is_absolute() => {
                    Ok(Self::Lmtp(Endpoint::Unix(base.join(path))))
                }
                Some(_) => Err(NextHopError::Path(rest.to_owned())),
                None => host_and_port(rest, 24).map(|(host, port)| Self::Lmtp(Endpoint::Inet(host, port))),
            },
            "smtp" | "mx" if rest.is_empty() => Ok(Self::Mx),
            "smtp" => smtp(rest, 25, TlsStart::IfOffered),
            "submission" => smtp(rest, 587, TlsStart::StartTls),
            "submissions" => smtp(rest, 465, TlsStart::Implicit),
            "discard" => Ok(Self::Discard),
            _ => Err(NextHopError::Kind(text.to_owned())),
        }
    }

    /// Reads what a content filter is named by: a server to hand messages to, of SMTP or LMTP.
    ///
    /// # Errors
    /// [`NextHopError`], with what to write instead.
    pub fn parse_server(text: &str) -> Result<Self, NextHopError> {
        match Self::parse(text)? {
            hop @ (Self::Smtp(_) | Self::Lmtp(_)) => Ok(hop),
            _ => Err(NextHopError::Server(text.to_owned())),
        }
    }

    /// True when the canonical mailbox name is needed to deliver there.
    #[must_use]
    pub fn needs_mailbox(&self) -> bool {
        match self {
            Self::Maildir(template) => template.below.iter().any(|name| name.contains('{')),
            _ => false,
        }
    }

    /// True when handing over here is final delivery (RFC 5321 §4.4), not relaying.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Maildir(_) | Self::Lmtp(_) | Self::Discard)
    }
}

impl TryFrom<String> for NextHop {
    type Error = NextHopError;
    fn try_from(text: String) -> Result<Self, NextHopError> {
        Self::parse(&text)
    }
}

impl From<NextHop> for String {
    fn from(hop: NextHop) -> Self {
        hop.to_string()
    }
}

fn smtp(rest: &str, port: u16, tls: TlsStart) -> Result<NextHop, NextHopError> {
    host_and_port(rest, port).map(|(host, port)| NextHop::Smtp(SmtpTarget { host, port, tls }))
}

/// `[address]`, `[name]` or `name`, with an optional `:port`.
fn host_and_port(text: &str, default_port: u16) -> Result<(Host, u16), NextHopError> {
    let wrong = || NextHopError::Host(text.to_owned());
    let (host, port) = match text.strip_prefix('[') {
        Some(inner) => {
            let (inner, after) = inner.split_once(']').ok_or_else(wrong)?;
            (
                bracketed_host(inner).ok_or_else(wrong)?,
                after.strip_prefix(':').or(after.is_empty().then_some("")),
            )
        }
        None => {
            let (name, port) = text.split_once(':').unwrap_or((text, ""));
            (Host::ByMx(Domain::parse(name).map_err(|_| wrong())?), Some(port))
        }
    };
    match port.ok_or_else(wrong)? {
        "" => Ok((host, default_port)),
        digits => match digits.parse::<u16>() {
            Ok(port) if port > 0 => Ok((host, port)),
            _ => Err(wrong()),
        },
    }
}

/// What stands in brackets: an address (with or without RFC 5321's `IPv6:`), or a host's name.
fn bracketed_host(inner: &str) -> Option<Host> {
    let bare = inner
        .get(..5)
        .filter(|tag| tag.eq_ignore_ascii_case("IPv6:"))
        .and_then(|_| inner.get(5..))
        .unwrap_or(inner);
    match bare.parse::<IpAddr>() {
        Ok(address) => Some(Host::Address(address)),
        Err(_) => Domain::parse(inner).ok().map(Host::Exact),
    }
}

impl MaildirTemplate {
    fn parse(text: &str, base: &Path) -> Result<Self, NextHopError> {
        let wrong = || NextHopError::Path(text.to_owned());
        if text.is_empty() {
            return Err(wrong());
        }
        let absolute = base.join(text);
        let full = absolute.to_str().ok_or_else(wrong)?;
        let mut root = PathBuf::from("/");
        let mut below: Vec<String> = Vec::new();
        for name in full.split('/').filter(|name| !name.is_empty() && *name != ".") {
            check_placeholders(name)?;
            if name == ".." {
                return Err(wrong());
            }
            if below.is_empty() && !name.contains('{') {
                root.push(name);
            } else {
                below.push(name.to_owned());
            }
        }
        if !full.starts_with('/') || root == Path::new("/") {
            return Err(wrong());
        }
        Ok(Self { root, below, text: full.to_owned() })
    }

    /// The operator's folder, above every name from outside.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The names beneath [`Self::root`], with their placeholders.
    #[must_use]
    pub fn levels(&self) -> &[String] {
        &self.below
    }

    /// Fills the placeholders in. `None` when a name would come out empty, as `.` or `..`, or with a slash or control
    /// character: such a mailbox has no place (answered 5.1.3).
    #[must_use]
    pub fn fill(&self, local: &str, domain: &Domain) -> Option<MaildirPath> {
        let mut below = Vec::with_capacity(self.below.len());
        for name in &self.below {
            let name = name
                .replace("{address}", &format!("{local}@{domain}"))
                .replace("{local}", local)
                .replace("{domain}", domain.as_str());
            let plain = !name.is_empty() && name != "." && name != ".." && name.len() <= 255;
            if !plain || name.chars().any(|c| c == '/' || c.is_control()) {
                return None;
            }
            below.push(name);
        }
        Some(MaildirPath { root: self.root.clone(), below })
    }
}

fn check_placeholders(name: &str) -> Result<(), NextHopError> {
    let mut rest = name;
    while let Some((_, after)) = rest.split_once('{') {
        let (word, behind) =
            after.split_once('}').ok_or_else(|| NextHopError::Placeholder(format!("{{{after}")))?;
        if !matches!(word, "domain" | "local" | "address") {
            return Err(NextHopError::Placeholder(format!("{{{word}}}")));
        }
        rest = behind;
    }
    Ok(())
}

impl fmt::Display for MaildirPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.root.display())?;
        self.below.iter().try_for_each(|name| write!(f, "/{name}"))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "[{address}]"),
            Self::Exact(name) => write!(f, "[{name}]"),
            Self::ByMx(name) => write!(f, "{name}"),
        }
    }
}

/// The text that [`NextHop::parse`] reads back; it serves as destination key.
impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Maildir(template) => write!(f, "maildir:{}", template.text),
            Self::Lmtp(Endpoint::Unix(path)) => write!(f, "lmtp:unix:{}", path.display()),
            Self::Lmtp(Endpoint::Inet(host, port)) => write!(f, "lmtp:{host}:{port}"),
            Self::Smtp(target) => target.fmt(f),
            Self::Mx => f.write_str("mx"),
            Self::Discard => f.write_str("discard"),
        }
    }
}

impl fmt::Display for SmtpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.tls {
            TlsStart::IfOffered => "smtp",
            TlsStart::StartTls => "submission",
            TlsStart::Implicit => "submissions",
        };
        write!(f, "{kind}:{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<NextHop, NextHopError> {
        NextHop::parse_beneath(text, Path::new("/etc/staffetta"))
    }

    #[test]
    fn what_is_parsed_prints_back() {
        for text in [
            "maildir:/srv/mail/{domain}/{local}/",
            "lmtp:unix:/run/dovecot/lmtp",
            "lmtp:[::1]:24",
            "smtp:[10.0.0.5]:25",
            "smtp:relay.test:2525",
            "smtp:[relay.test]:25",
            "submission:[relay.test]:587",
            "submissions:[192.0.2.1]:465",
            "mx",
            "discard",
        ] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn filters_are_servers() {
        for text in ["smtp:[127.0.0.1]:10025", "lmtp:unix:/run/filter", "smtp:filter.test:25"] {
            assert_eq!(NextHop::parse_server(text).unwrap().to_string(), text);
        }
        for text in ["smtp:", "mx", "discard", "maildir:/srv/{local}", "lmtp:unix:run", "filter:[::1]:25"] {
            assert!(NextHop::parse_server(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ports_have_their_defaults() {
        for (text, want) in [
            ("smtp:[192.0.2.1]", "smtp:[192.0.2.1]:25"),
            ("submissions:[h.test]", "submissions:[h.test]:465"),
            ("submission:h.test", "submission:h.test:587"),
            ("lmtp:[IPv6:::1]", "lmtp:[::1]:24"),
            ("smtp:", "mx"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), want, "{text}");
        }
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for text in [
            "",
            "mbox:/x",
            "maildir:",
            "maildir:/",
            "maildir:/{local}",
            "maildir:/a/../{local}",
            "maildir:/a/{user}",
            "maildir:/a/{local",
            "lmtp:unix:",
            "lmtp:",
            "smtp:[1.2.3.4",
            "smtp:[1.2.3.4]25",
            "smtp:a:0",
            "smtp:a:70000",
            "smtp:a b:25",
            "smtp:::1:25",
            "/srv/mail",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn relative_maildirs_stand_beneath_the_configuration() {
        assert_eq!(parse("maildir:mail/{local}").unwrap().to_string(), "maildir:/etc/staffetta/mail/{local}");
    }

    #[test]
    fn names_from_outside_stay_one_level_each() {
        let NextHop::Maildir(template) = parse("maildir:/srv/mail/{domain}/x-{local}/").unwrap() else {
            panic!()
        };
        let domain = Domain::parse("a.test").unwrap();
        let path = template.fill("joe", &domain).unwrap();
        assert_eq!(
            (path.root.to_str().unwrap(), path.to_string().as_str()),
            ("/srv/mail", "/srv/mail/a.test/x-joe")
        );
        for hostile in ["a/b", "../x", "a\0", "a\n", &"a".repeat(300)] {
            assert_eq!(template.fill(hostile, &domain), None, "{hostile}");
        }
        let NextHop::Maildir(bare) = parse("maildir:/srv/mail/{local}").unwrap() else { panic!() };
        for hostile in ["", ".", ".."] {
            assert_eq!(bare.fill(hostile, &domain), None, "{hostile}");
        }
    }
}
