//! The server's own name, folder, users and limits.

use super::{Findings, files};
use crate::document::Place;
use crate::{Principal, passwd, split_advice};

pub(super) fn check(findings: &mut Findings<'_, '_>) {
    hostname(findings);
    data_dir(findings);
    let config = findings.config;
    for (place, who) in [
        (Place::of("user"), config.user.as_ref()),
        (Place::of("accounts").key("mailbox_user"), config.accounts.mailbox_user.as_ref()),
    ] {
        user(findings, &place, who);
    }
    for (index, who) in config.submission.trusted_users.iter().enumerate() {
        user(findings, &Place::of("submission").key("trusted_users").item(index), Some(who));
    }
    group(findings);
    delimiter(findings);
    limits(findings);
    files::accounts(findings);
}

/// RFC 5321 §2.3.5: a server names itself with a full domain name, or an address literal where it has none.
fn hostname(findings: &mut Findings<'_, '_>) {
    let name = &findings.config.hostname;
    if name.parent().is_none() && name.literal().is_none() {
        let problem = findings
            .warning(&Place::of("hostname"), format!("`{name}` is not a full name"))
            .label("no domain follows it")
            .help(format!("write a name that the world can look up, such as \"{name}.example.test\""));
        findings.push(problem);
    }
}

fn data_dir(findings: &mut Findings<'_, '_>) {
    let path = findings.path(&findings.config.data_dir);
    if path.exists() && !path.is_dir() {
        let problem = findings
            .error(&Place::of("data_dir"), format!("{} is not a folder", path.display()))
            .label("a file is in its place")
            .help("name a folder; it is made when it is not there");
        findings.push(problem);
    }
}

fn user(findings: &mut Findings<'_, '_>, place: &Place, who: Option<&Principal>) {
    let Some(who) = who else { return };
    if !passwd::has_user(who) {
        let problem = findings
            .error(place, format!("this system has no user `{who}`"))
            .label("not in /etc/passwd")
            .help(format!(
                "make it with `useradd --system --shell /usr/sbin/nologin {who}`, or give the number of a user that \
                 is known elsewhere"
            ));
        findings.push(problem);
    }
}

fn group(findings: &mut Findings<'_, '_>) {
    let place = Place::of("group");
    let Some(who) = &findings.config.group else { return };
    if !passwd::has_group(who) {
        let problem = findings
            .error(&place, format!("this system has no group `{who}`"))
            .label("not in /etc/group")
            .help(format!(
                "make it with `groupadd --system {who}`, or leave it out: then it is the user's own group"
            ));
        findings.push(problem);
    } else if findings.config.user.is_none() {
        let problem = findings
            .warning(&place, "`group` does nothing without `user`")
            .label("ignored")
            .help("add `user`, or leave `group` out");
        findings.push(problem);
    }
}

fn delimiter(findings: &mut Findings<'_, '_>) {
    let delimiter = &findings.config.accounts.recipient_delimiter;
    let fits =
        delimiter.is_empty() || (delimiter.len() == 1 && delimiter.chars().all(|c| "+-_=.#".contains(c)));
    if !fits {
        let place = Place::of("accounts").key("recipient_delimiter");
        let problem = findings
            .error(&place, format!("`recipient_delimiter` cannot be \"{delimiter}\""))
            .label("not a separator")
            .help("write one character such as \"+\" or \"-\", or \"\" for none");
        findings.push(problem);
    }
}

/// Bounds of nothing at all: the server would run and do nothing.
fn limits(findings: &mut Findings<'_, '_>) {
    let server = &findings.config.server;
    let section = Place::of("server");
    let bounds = [
        (
            Place::of("message_bytes_max"),
            findings.config.message_bytes_max,
            65_536,
            "smaller than ordinary mail",
        ),
        (section.key("sessions_max"), server.sessions_max as u64, 1, "nobody could connect"),
        (
            section.key("sessions_per_network_max"),
            server.sessions_per_network_max as u64,
            1,
            "nobody could connect",
        ),
        (
            section.key("body_memory_bytes_max"),
            server.body_memory_bytes_max as u64,
            1 << 20,
            "messages would crawl",
        ),
        (section.key("password_hashes_max"), server.password_hashes_max as u64, 1, "nobody could log in"),
    ];
    for (place, value, least, consequence) in bounds {
        if value < least {
            let key = place.last_key();
            let problem = findings
                .error(&place, format!("`{key}` is too small"))
                .label(consequence)
                .help(format!("write a number from {least} up"));
            findings.push(problem);
        }
    }
    if let Err(error) = findings.config.queue.check() {
        section_check(findings, "queue", "contradicts the rest", &error.to_string());
    }
    if let Err(error) = findings.config.limits.check() {
        section_check(findings, "limits", "too small", &error.to_string());
    }
}

/// What a section has found wrong with itself. The words name its keys as `SECTION.KEY`; the first is where to look.
fn section_check(findings: &mut Findings<'_, '_>, section: &'static str, label: &str, words: &str) {
    let rest = words.strip_prefix(section).and_then(|rest| rest.strip_prefix('.'));
    let key = rest.and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    let (message, help) = split_advice(words);
    let place = Place::of(section).key(key);
    let problem = findings.error(&place, message).label(label).help(help);
    findings.push(problem);
}
