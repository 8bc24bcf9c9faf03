//! `[[listener]]` and the other addresses that are bound.

use std::net::SocketAddr;
use std::ops::Range;

use net::{AuthPolicy, ListenerKind, ListenerSettings};

use super::Findings;
use crate::document::Place;

/// Each listener by itself, then all addresses against one another.
pub(super) fn check(findings: &mut Findings<'_, '_>) {
    let config = findings.config;
    for (index, listener) in config.listener.iter().enumerate() {
        one(findings, listener, &Place::of("listener").item(index));
    }
    if config.listener.is_empty() {
        let problem = findings
            .warning(&Place::of("listener"), "no [[listener]]: nothing is received over the network")
            .at(Some(0..0))
            .label("only `sendmail` on this host brings mail")
            .help("for mail from other servers add [[listener]] with `kind = \"mx\"` and `bind = [\"[::]:25\"]`");
        findings.push(problem);
    }
    conflicts(findings);
}

/// A listener must have an address, TLS where passwords are taken, and passwords where users come.
fn one(findings: &mut Findings<'_, '_>, listener: &ListenerSettings, place: &Place) {
    let kind = listener.kind.as_str();
    if listener.bind.is_empty() {
        let port = match listener.kind {
            ListenerKind::Mx => 25,
            ListenerKind::Submission => 587,
            ListenerKind::Submissions => 465,
        };
        let problem = findings
            .error(&place.key("bind"), format!("the {kind} listener has no address"))
            .label("`bind` is missing")
            .help(format!("add `bind = [\"[::]:{port}\"]`"));
        findings.push(problem);
    }
    milters(findings, listener, place);
    if findings.config.tls.is_none() {
        without_tls(findings, listener, place);
    }
    if listener.kind != ListenerKind::Mx && listener.auth() == AuthPolicy::Off {
        let problem = findings
            .error(&place.key("auth"), format!("a {kind} listener without authentication"))
            .label("nobody could send here")
            .help("leave `auth` out (then it is required), or make it an mx listener");
        findings.push(problem);
    }
}

/// Mail would pass unseen by a milter that is not there.
fn milters(findings: &mut Findings<'_, '_>, listener: &ListenerSettings, place: &Place) {
    let there: Vec<&str> =
        findings.config.antispam.milter.iter().map(|milter| milter.name.as_str()).collect();
    for (item, name) in listener.milters.iter().flatten().enumerate() {
        if there.contains(&name.as_str()) {
            continue;
        }
        let names = if there.is_empty() { "there are none".to_owned() } else { there.join(", ") };
        let problem = findings
            .error(&place.key("milters").item(item), format!("there is no milter `{name}`"))
            .label("not the `name` of any [[antispam.milter]]")
            .help(format!("write one of these: {names}; or add a section [[antispam.milter]]"));
        findings.push(problem);
    }
}

/// RFC 8314 §3: passwords go over TLS, and submissions begins with it.
fn without_tls(findings: &mut Findings<'_, '_>, listener: &ListenerSettings, place: &Place) {
    let kind = listener.kind.as_str();
    if listener.auth() != AuthPolicy::Off || listener.kind == ListenerKind::Submissions {
        let problem = findings
            .error(
                &place.key("kind"),
                format!("the {kind} listener needs TLS, and there is no [tls] section"),
            )
            .label("passwords are taken under TLS only")
            .help("add [tls] with `certificate = \"tls/fullchain.pem\"` and `key = \"tls/key.pem\"`");
        findings.push(problem);
    } else {
        let problem = findings
            .warning(
                &place.key("kind"),
                format!("the {kind} listener offers no TLS: there is no [tls] section"),
            )
            .label("mail comes in readable to everybody on its way")
            .help("add [tls] with `certificate` and `key`");
        findings.push(problem);
    }
}

/// An address that somebody binds.
struct Bound {
    address: SocketAddr,
    listener: Option<usize>,
    span: Option<Range<usize>>,
    place: Place,
}

/// Reports every address that a listener further up, or `observe.http`, has taken already. Binding would fail too, but
/// later, as root, and one at a time.
fn conflicts(findings: &mut Findings<'_, '_>) {
    let all = bound(findings);
    for (number, later) in all.iter().enumerate() {
        let Some(earlier) = all.iter().take(number).find(|earlier| collide(earlier, later)) else { continue };
        let words = if earlier.address == later.address {
            format!("{} cannot be bound twice", later.address)
        } else {
            format!("{} and {} take the same port", earlier.address, later.address)
        };
        let problem = findings
            .error(&later.place, words)
            .label(format!("taken already by `{}`", earlier.place))
            .also(earlier.span.clone(), "here")
            .help("give each its own address or port; [::] takes IPv4 too");
        findings.push(problem);
    }
}

/// All addresses, in the order in which a conflict is to be told: the first has the right.
fn bound(findings: &Findings<'_, '_>) -> Vec<Bound> {
    let config = findings.config;
    let bound = |address: SocketAddr, listener: Option<usize>, place: Place| Bound {
        address,
        listener,
        span: findings.document.nearest_span(&place),
        place,
    };
    let http = config.observe.http.map(|address| bound(address, None, Place::of("observe").key("http")));
    let mut all = Vec::from_iter(http);
    for (index, listener) in config.listener.iter().enumerate() {
        for (item, address) in listener.bind.iter().enumerate() {
            all.push(bound(*address, Some(index), Place::of("listener").item(index).key("bind").item(item)));
        }
    }
    all
}

/// Port 0 is any free port. `[::]` and `0.0.0.0` of one listener are bound apart from each other; those of two
/// listeners, as `[::]` takes IPv4 too, are not.
fn collide(one: &Bound, other: &Bound) -> bool {
    let (a, b) = (one.address, other.address);
    if a.port() != b.port() || a.port() == 0 {
        return false;
    }
    let every = |address: SocketAddr| address.ip().is_unspecified();
    let covers = |wide: SocketAddr, narrow: SocketAddr| {
        every(wide)
            && (wide.is_ipv6() || narrow.is_ipv4())
            && !(every(narrow) && one.listener == other.listener)
    };
    a.ip() == b.ip() || covers(a, b) || covers(b, a)
}
