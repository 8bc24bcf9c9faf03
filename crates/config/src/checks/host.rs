//! The server's own name, folder and users.

use super::{Findings, files};
use crate::document::Place;
use crate::{Principal, passwd};

/// What can be said of the host without starting: everything here is looked up in files.
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

/// The folder itself is made at the start; only what is no folder stands in the way.
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

/// A user that must be there: the server becomes it, or gives files to it.
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

/// A group is looked up like a user, and has no meaning without one.
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

/// One sign at most: with more, two readings of one address would be possible. `@` and letters would cut names apart.
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
