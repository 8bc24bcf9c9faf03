//! The files that quickstart writes: words, and nothing that computes.

use mail::{Address, Domain};

use super::Ports;

/// The configuration, with comments for who reads it first.
pub(super) fn configuration(
    domain: &Domain,
    hostname: &Domain,
    ports: &Ports,
    user: Option<&str>,
    http: &str,
) -> String {
    let why = &ports.why;
    let user = match user {
        Some(user) => format!("user = \"{user}\""),
        None => "# user = \"staffetta\"".to_owned(),
    };
    let Ports { mx, submission, submissions, .. } = ports;
    format!(
        r#"# Staffetta for {domain}, made by `staffetta quickstart`. It is yours: it is never written again.
# All settings: docs/reference/configuration.md. After a change:
#
#   staffetta config check FILE      is it right?
#   kill -HUP PID                    read it anew, without dropping a session
#
# Relative paths start at the folder of this file.

# What this server calls itself. Its address should lead here, and its address should lead back to the name (PTR).
hostname = "{hostname}"

# The queue, keys and admin.sock. What is accepted is in here before the sender hears 250.
data_dir = "data"

# Started as root, the server becomes this user after it has bound its ports. Make one with
# `useradd --system --shell /usr/sbin/nologin staffetta`, and give it this folder with `chown -R staffetta: FOLDER`.
{user}

# Networks that may send to anybody without logging in: nobody.
trusted_networks = []

# {why}

# From other servers.
[[listener]]
kind = "mx"
bind = ["[::]:{mx}"]

# From mail programs, with STARTTLS and a password.
[[listener]]
kind = "submission"
bind = ["[::]:{submission}"]

# The same with TLS from the first byte (RFC 8314): what mail programs prefer.
[[listener]]
kind = "submissions"
bind = ["[::]:{submissions}"]

# The certificate is self-signed: good enough between servers, not for mail programs. Put a real one in its place (certbot
# and its like); it is re-read when the files change.
[tls]
certificate = "tls/fullchain.pem"
key = "tls/key.pem"

[[domain]]
name = "{domain}"
recipients = "accounts"                            # who exists: `staffetta account add joe@{domain}`
deliver = "maildir:mail/{{domain}}/{{local}}/"         # or lmtp:unix:/run/dovecot/lmtp, smtp:[10.0.0.5]:25
aliases = "text:virtual"                           # whole addresses that stand for others

[accounts]
file = "accounts.toml"                             # mailboxes and password hashes
aliases = "aliases"                                # names such as root and abuse that stand for others
recipient_delimiter = "+"                          # joe+news@{domain} is joe@{domain}

# Mail for others goes to their own servers. A provider that closes port 25 leaves another way:
[outbound]
# smart_host = "submissions:[smtp.example.net]:465"
# user = "joe@example.net"
# password_file = "smart_host.password"

[queue]
# retry_seconds_min = 300
# retry_seconds_max = 14400
# warn_seconds = 14400
# lifetime_seconds = 432000

[observe]
http = "{http}"                           # /metrics /healthz /readyz
log = "text"                                       # text | json
"#
    )
}

/// The table of whole addresses that stand for others: empty but for the words that explain it.
pub(super) fn virtual_aliases(domain: &Domain, mailbox: &Address) -> String {
    format!(
        "# Addresses that stand for others, one a line: the address, blanks, where it leads (a list with commas).\n\
         # `@{domain}` catches every address that nothing else takes. Read anew when it changes.\n\
         #\n\
         # sales@{domain}     {mailbox}, somebody@example.net\n\
         # @{domain}          {mailbox}\n"
    )
}

/// The system's aliases: the names of RFC 2142 that people and machines write to, for the domain and for this host.
pub(super) fn system_aliases(mailbox: &Address) -> String {
    let names = ["postmaster", "mailer-daemon", "root", "abuse", "hostmaster", "webmaster", "security"];
    let others = names.iter().filter(|name| **name != mailbox.local.as_str());
    let lines: Vec<String> = others.map(|name| format!("{:<15}{mailbox}\n", format!("{name}:"))).collect();
    format!(
        "# Names that stand for others, at {} and without a domain (`sendmail root`, cron's reports). Format: aliases(5).\n\n{}",
        mailbox.domain,
        lines.concat()
    )
}
