//! `[[domain]]`: names, recipients, where mail goes.

use std::collections::HashMap;
use std::ops::Range;

use delivery::NextHop;
use mail::Domain;
use tables::Spec;

use super::{Findings, files};
use crate::DomainSettings;
use crate::document::Place;

/// Each domain by itself, then their names against one another.
pub(super) fn check(findings: &mut Findings<'_, '_>) {
    let config = findings.config;
    for (index, domain) in config.domain.iter().enumerate() {
        let place = Place::of("domain").item(index);
        names(findings, domain, &place);
        table(findings, &domain.recipients, &place.key("recipients"), true);
        if let Some(aliases) = &domain.aliases {
            table(findings, aliases, &place.key("aliases"), false);
        }
        deliver(findings, domain, &place.key("deliver"));
    }
    twice(findings);
    postmaster(findings);
}

/// At least one name, and names only: mail to `postmaster@[192.0.2.1]` is taken without being asked for.
fn names(findings: &mut Findings<'_, '_>, domain: &DomainSettings, place: &Place) {
    if domain.domains().next().is_none() {
        let problem = findings
            .error(place, "a [[domain]] without a name")
            .label("`name` or `names` is missing")
            .help("add a line such as `name = \"example.test\"`");
        findings.push(problem);
    }
    for (place, name) in placed(domain, place) {
        if name.literal().is_some() {
            let problem = findings
                .error(&place, format!("`{name}` is an address, not a domain"))
                .label("mail to this server's own addresses needs no [[domain]]")
                .help("write a domain's name");
            findings.push(problem);
        }
    }
}

/// Each name with its place.
fn placed<'d>(domain: &'d DomainSettings, place: &Place) -> Vec<(Place, &'d Domain)> {
    let one = domain.name.iter().map(|name| (place.key("name"), name));
    let several = domain.names.iter().enumerate();
    one.chain(several.map(|(index, name)| (place.key("names").item(index), name))).collect()
}

/// A name in two places would have two sets of recipients, and only one would count.
fn twice(findings: &mut Findings<'_, '_>) {
    let mut seen: HashMap<&Domain, Option<Range<usize>>> = HashMap::new();
    let config = findings.config;
    for (index, domain) in config.domain.iter().enumerate() {
        for (place, name) in placed(domain, &Place::of("domain").item(index)) {
            let span = findings.document.value_span(&place);
            if let Some(first) = seen.get(name) {
                let problem = findings
                    .error(&place, format!("the domain `{name}` is there twice"))
                    .label("the second time")
                    .also(first.clone(), "the first time")
                    .help("U-labels, A-labels and capitals make no difference: keep one of them");
                findings.push(problem);
            } else {
                seen.insert(name, span);
            }
        }
    }
}

/// A table, which is opened to see what is in it, or (for recipients) the word `accounts`.
fn table(findings: &mut Findings<'_, '_>, text: &str, place: &Place, recipients: bool) {
    if recipients && text == "accounts" {
        return;
    }
    let or = if recipients { "\"accounts\", or " } else { "" };
    let spec = match Spec::parse(text) {
        Ok(spec) => spec,
        Err(error) => return findings.table_refused(place, &error, or),
    };
    if let Spec::Text(path) | Spec::Regexp(path) | Spec::Cidr(path) = &spec
        && !files::readable(findings, place, path, "the table")
    {
        return;
    }
    if let Err(error) = tables::open(&spec, findings.base) {
        findings.table_refused(place, &error, or);
    }
}

/// Whether mail ends somewhere: a next hop that can be read, and does not lead back here.
fn deliver(findings: &mut Findings<'_, '_>, domain: &DomainSettings, place: &Place) {
    match NextHop::parse_beneath(&domain.deliver, findings.base) {
        Ok(NextHop::Mx) => {
            let problem = findings
                .error(place, "a domain of ours cannot be delivered to its own MX")
                .label("the MX is this server")
                .help("write where its mail ends: maildir:, lmtp:, or smtp:[host]:port of the server behind this one");
            findings.push(problem);
        }
        Ok(hop @ NextHop::Maildir(_)) if domain.recipients == "accounts" && !hop.needs_mailbox() => {
            let problem = findings
                .warning(place, "all mailboxes of this domain share one Maildir")
                .label("there is no {local} in it")
                .help("write `deliver = \"maildir:/srv/mail/{domain}/{local}/\"` for one each");
            findings.push(problem);
        }
        Ok(_) => {}
        Err(error) => findings.refused(place, &error),
    }
}

/// RFC 5321 §4.5.1: mail for postmaster is taken by every server.
fn postmaster(findings: &mut Findings<'_, '_>) {
    let place = Place::of("postmaster");
    match &findings.config.postmaster {
        None if findings.config.domain.is_empty() => {
            let problem = findings
                .warning(&place, "nobody reads mail for <postmaster>")
                .at(Some(0..0))
                .label("there is neither `postmaster` nor a [[domain]]")
                .help("add `postmaster = \"you@example.test\"`: RFC 5321 wants somebody to be reached there");
            findings.push(problem);
        }
        _ => {}
    }
}
