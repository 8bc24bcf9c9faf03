//! The fields that tell of all this: Authentication-Results (RFC 8601) and Received-SPF (RFC 7208 §9.1), written, and
//! the first one found where somebody forged it. Pure.
//!
//! Whatever a stranger chose (names, addresses, words of an explanation) is quoted, bounded and free of control
//! characters, so that it can neither end a field nor look like a result.

use std::net::IpAddr;
use std::ops::Range;

use mail::Domain;
use mail::header::{Field, fields, write_field};

use crate::{AuthResult, arc, dkim, dmarc, iprev, spf};

/// Longest text of a stranger's that is repeated, in octets.
const VALUE_BYTES_MAX: usize = 300;

/// What is told; what is not known is left out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Results<'a> {
    /// The client's name, with the address that it was asked for.
    pub iprev: Option<(IpAddr, &'a iprev::Outcome)>,
    /// SPF for HELO.
    pub spf_helo: Option<&'a spf::Outcome>,
    /// SPF for MAIL FROM.
    pub spf: Option<&'a spf::Outcome>,
    /// Every signature that was looked at.
    pub dkim: Option<&'a [dkim::Outcome]>,
    /// The chain.
    pub arc: Option<&'a arc::Outcome>,
    /// The author's domain.
    pub dmarc: Option<&'a dmarc::Outcome>,
}

/// Writes Authentication-Results, with its CRLF.
#[must_use]
pub fn authentication_results(authserv_id: &Domain, results: &Results<'_>) -> Vec<u8> {
    let mut methods: Vec<String> = Vec::new();
    methods.extend(results.iprev.map(|(client, outcome)| iprev_method(client, outcome)));
    let both = results.spf_helo.into_iter().chain(results.spf);
    methods.extend(both.map(spf_method));
    match results.dkim {
        // RFC 8601 §2.7.1: it was looked for, and there was none.
        Some([]) => methods.push("dkim=none".to_owned()),
        Some(signatures) => methods.extend(signatures.iter().map(dkim_method)),
        None => {}
    }
    methods.extend(results.arc.and_then(arc_method));
    methods.extend(results.dmarc.map(dmarc_method));
    if methods.is_empty() {
        // RFC 8601 §2.2: no-result.
        methods.push("none".to_owned());
    }
    let last = methods.len();
    let mut clauses = vec![format!("{authserv_id};")];
    for (number, method) in methods.into_iter().enumerate() {
        clauses.push(if number + 1 < last { method + ";" } else { method });
    }
    written("Authentication-Results", &clauses)
}

/// Writes Received-SPF, with its CRLF; for one identity, with what was asked.
#[must_use]
pub fn received_spf(request: &spf::Request<'_>, outcome: &spf::Outcome) -> Vec<u8> {
    let client = mail::canonical_ip(request.client);
    let verb = match outcome.result {
        AuthResult::Pass => "designates",
        AuthResult::Fail | AuthResult::SoftFail => "does not designate",
        _ => "says nothing definite about",
    };
    let comment =
        format!("({}: {} {verb} {client})", comment_text(request.receiver), comment_text(&outcome.domain));
    let mut clauses = vec![outcome.result.as_str().to_owned(), comment];
    let mut pairs = vec![
        ("receiver", request.receiver),
        ("identity", outcome.identity.as_str()),
        ("envelope-from", request.mail_from),
        ("helo", request.helo),
    ];
    pairs.extend(outcome.mechanism.as_deref().map(|mechanism| ("mechanism", mechanism)));
    pairs.extend(outcome.problem.as_deref().map(|problem| ("problem", problem)));
    let address = client.to_string();
    pairs.insert(1, ("client-ip", &address));
    let last = pairs.len();
    for (number, (name, value)) in pairs.into_iter().enumerate() {
        let end = if number + 1 < last { ";" } else { "" };
        clauses.push(format!("{name}={}{end}", dot_atom_or_quoted(value)));
    }
    written("Received-SPF", &clauses)
}

/// Where the Authentication-Results fields stand that claim to be ours, to be taken away (RFC 8601 §5).
///
/// A field is taken for ours as well when its authserv-id cannot be read and our name stands in it. Those of others stay;
/// so do ARC's fields, which are sealed.
#[must_use]
pub fn forged_results(header: &[u8], authserv_id: &Domain) -> Vec<Range<usize>> {
    let ours = |field: &Field<'_>| field.is("Authentication-Results") && claims(field, authserv_id);
    fields(header).filter(ours).map(|field| field.range()).collect()
}

fn claims(field: &Field<'_>, authserv_id: &Domain) -> bool {
    let text = field.text();
    match authserv_id_of(&text) {
        Some(id) => Domain::parse(&id)
            .map_or_else(|_| id.eq_ignore_ascii_case(authserv_id.as_str()), |domain| domain == *authserv_id),
        None => {
            let text = text.to_lowercase();
            text.contains(authserv_id.as_str()) || text.contains(&authserv_id.to_unicode().to_lowercase())
        }
    }
}

/// RFC 8601 §2.2: comments and white space, then a token or quoted string.
fn authserv_id_of(text: &str) -> Option<String> {
    let rest = without_comments(text)?;
    if let Some(quoted) = rest.strip_prefix('"') {
        let mut id = String::new();
        let mut chars = quoted.chars();
        loop {
            match chars.next()? {
                '"' => return Some(id),
                '\\' => id.push(chars.next()?),
                other => id.push(other),
            }
        }
    }
    let end = rest.find(|c: char| c.is_ascii_whitespace() || ";(=\"".contains(c)).unwrap_or(rest.len());
    // `spf=pass` at this place is no authserv-id: whose results these are is not said.
    let (id, after) = rest.split_at_checked(end)?;
    (!id.is_empty() && !after.starts_with(['=', '"'])).then(|| id.to_owned())
}

/// What follows leading white space and comments, which nest; `None` where one does not end.
fn without_comments(text: &str) -> Option<&str> {
    let mut rest = text.trim_start();
    while rest.starts_with('(') {
        let (mut depth, mut escaped, mut end) = (0usize, false, None);
        for (at, c) in rest.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                end = Some(at + c.len_utf8());
                break;
            }
        }
        rest = rest.get(end?..)?.trim_start();
    }
    Some(rest)
}

fn iprev_method(client: IpAddr, outcome: &iprev::Outcome) -> String {
    let client = mail::canonical_ip(client).to_string();
    let name = outcome.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    format!("iprev={}{name} policy.iprev={}", outcome.result, value(&client))
}

fn spf_method(outcome: &spf::Outcome) -> String {
    let property = match outcome.identity {
        spf::Identity::Helo => "smtp.helo",
        spf::Identity::MailFrom => "smtp.mailfrom",
    };
    format!("spf={} {property}={}", outcome.result, value(&outcome.domain))
}

fn dkim_method(outcome: &dkim::Outcome) -> String {
    let mut text = format!("dkim={}", outcome.result);
    let algorithm = outcome.algorithm.unwrap_or("unknown");
    text.extend(outcome.key_bits.map(|bits| format!(" ({bits} bits, {algorithm})")));
    text.extend(outcome.reason.as_ref().map(|reason| format!(" reason={}", quoted(reason))));
    text.extend(outcome.domain.as_ref().map(|domain| format!(" header.d={domain}")));
    text.extend(outcome.agent.as_ref().map(|agent| format!(" header.i={}", value(agent))));
    if !outcome.selector.is_empty() {
        text.push_str(&format!(" header.s={}", value(&outcome.selector)));
    }
    if !outcome.prefix.is_empty() {
        text.push_str(&format!(" header.b={}", value(&outcome.prefix)));
    }
    text
}

/// RFC 8617 §7 knows none, pass and fail: what could not be found out is not told.
fn arc_method(outcome: &arc::Outcome) -> Option<String> {
    if outcome.result == AuthResult::TempError {
        return None;
    }
    let mut text = format!("arc={}", outcome.result);
    text.extend(outcome.sealers.last().map(|domain| format!(" (i={} {domain})", outcome.sealers.len())));
    text.extend(outcome.reason.as_ref().map(|reason| format!(" reason={}", quoted(reason))));
    Some(text)
}

fn dmarc_method(outcome: &dmarc::Outcome) -> String {
    let mut text = format!("dmarc={}", outcome.result);
    if outcome.record_domain.is_some() {
        text.push_str(&format!(" (p={})", outcome.policy.as_str()));
    }
    text.extend(outcome.domain.as_ref().map(|domain| format!(" header.from={domain}")));
    text
}

fn written(name: &str, clauses: &[String]) -> Vec<u8> {
    let mut out = Vec::new();
    write_field(&mut out, name, &clauses.iter().map(String::as_str).collect::<Vec<_>>());
    out
}

/// A pvalue (RFC 8601 §2.2): a token (RFC 2045 §5.1), an address of tokens, or a quoted string.
fn value(text: &str) -> String {
    let token = |c: char| c.is_ascii_graphic() && !"()<>@,;:\\\"/[]?=".contains(c);
    let (local, domain) = text.rsplit_once('@').unwrap_or(("", text));
    let plain = !domain.is_empty() && local.chars().all(token) && domain.chars().all(token);
    if plain && text.len() <= VALUE_BYTES_MAX { text.to_owned() } else { quoted(text) }
}

/// RFC 7208 §9.1: a dot-atom (RFC 5322 §3.2.3) or a quoted string.
fn dot_atom_or_quoted(text: &str) -> String {
    let atext = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    let plain = text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(atext));
    if plain && text.len() <= VALUE_BYTES_MAX { text.to_owned() } else { quoted(text) }
}

/// A quoted string (RFC 5322 §3.2.4), shortened; characters that cannot stand in one become `?`.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        if out.len() > VALUE_BYTES_MAX {
            break;
        }
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push('?'),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// What may stand in a comment as it is.
fn comment_text(text: &str) -> String {
    let plain = |c: char| if c.is_control() || "()\\\"".contains(c) { '?' } else { c };
    text.chars().take(VALUE_BYTES_MAX).map(plain).collect()
}

#[cfg(test)]
mod tests;
