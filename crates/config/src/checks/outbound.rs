//! `[outbound]`: the smart host and the transport table.

use std::collections::HashMap;
use std::ops::Range;

use delivery::{NextHop, TlsStart};
use mail::Domain;

use super::{Findings, files};
use crate::document::Place;

/// The smart host with its login, then each line of the transport table.
pub(super) fn check(findings: &mut Findings<'_, '_>) {
    smart_host(findings);
    routes(findings);
}

/// The smart host is another server: a Maildir, LMTP or nothing at all would swallow all outgoing mail.
fn smart_host(findings: &mut Findings<'_, '_>) {
    let section = Place::of("outbound");
    let outbound = &findings.config.outbound;
    let place = section.key("smart_host");
    let mut in_clear = false;
    if !outbound.smart_host.is_empty() {
        match NextHop::parse_beneath(&outbound.smart_host, findings.base) {
            Ok(NextHop::Smtp(target)) => in_clear = target.tls == TlsStart::IfOffered,
            Ok(_) => {
                let problem = findings
                    .error(&place, "the smart host must be an SMTP server")
                    .label("not one")
                    .help("write `smart_host = \"smtp:[mail.example.test]:25\"`, or submissions:[...]:465 with a login");
                findings.push(problem);
            }
            Err(error) => findings.refused(&place, &error),
        }
    }
    login(findings, &section, in_clear);
}

/// A name without a password, or the other way round, or either without a server.
fn login(findings: &mut Findings<'_, '_>, section: &Place, in_clear: bool) {
    let outbound = &findings.config.outbound;
    let (user, file) = (section.key("user"), section.key("password_file"));
    match (outbound.user.is_empty(), &outbound.password_file) {
        (false, None) => {
            let problem = findings
                .error(&user, "the smart host's login has no password")
                .label("a name without `password_file`")
                .help("put the password into a file that only root reads, and add `password_file = \"...\"`");
            findings.push(problem);
        }
        (true, Some(_)) => {
            let problem = findings
                .error(&file, "the smart host's password has no name")
                .label("a password without `user`")
                .help("add `user = \"...\"`");
            findings.push(problem);
        }
        (false, Some(path)) => {
            files::secret(findings, &file, path, "the password file");
            if outbound.smart_host.is_empty() {
                let problem = findings
                    .error(&user, "a login without a smart host")
                    .label("for which server?")
                    .help("add `smart_host = \"submissions:[mail.example.test]:465\"`");
                findings.push(problem);
            } else if in_clear {
                let problem = findings
                    .warning(&section.key("smart_host"), "a login over a port where TLS is optional")
                    .label("nothing is sent while the server offers no TLS with a valid certificate")
                    .help("write `submissions:[host]:465`, or `submission:[host]:587`, if it serves them");
                findings.push(problem);
            }
        }
        (true, None) => {}
    }
}

/// Each pattern and each next hop, and that no pattern is there twice: only one of the two would ever be used.
fn routes(findings: &mut Findings<'_, '_>) {
    let mut seen: HashMap<String, Option<Range<usize>>> = HashMap::new();
    let config = findings.config;
    for (index, route) in config.outbound.route.iter().enumerate() {
        let place = Place::of("outbound").key("route").item(index);
        match NextHop::parse_beneath(&route.to, findings.base) {
            Ok(NextHop::Maildir(_)) => {
                let problem = findings
                    .error(&place.key("to"), "a route cannot lead to a Maildir")
                    .label("this is mail for others")
                    .help("write smtp:, lmtp:, mx or discard; a Maildir belongs to a [[domain]] of yours");
                findings.push(problem);
            }
            Ok(_) => {}
            Err(error) => findings.refused(&place.key("to"), &error),
        }
        let place = place.key("match");
        let Some(pattern) = canonical(&route.matches) else {
            let problem = findings
                .error(&place, format!("`match` cannot be \"{}\"", route.matches))
                .label("not a domain")
                .help(
                    "write \"partner.test\", \".partner.test\" for its subdomains, or \"*\" for everything",
                );
            findings.push(problem);
            continue;
        };
        let span = findings.document.value_span(&place);
        if let Some(first) = seen.get(&pattern) {
            let problem = findings
                .error(&place, format!("there are two routes for `{pattern}`"))
                .label("the second")
                .also(first.clone(), "the first")
                .help("keep one of them");
            findings.push(problem);
        } else {
            seen.insert(pattern, span);
        }
    }
}

/// The pattern with its domain in canonical form.
fn canonical(pattern: &str) -> Option<String> {
    if pattern == "*" {
        return Some(pattern.to_owned());
    }
    let (dot, name) = match pattern.strip_prefix('.') {
        Some(name) => (".", name),
        None => ("", pattern),
    };
    Domain::parse(name).ok().map(|domain| format!("{dot}{domain}"))
}
