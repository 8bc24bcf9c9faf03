//! A Postfix of our own: it delivers to us and we to it, in the clear and under TLS.

use std::process::Command;

use support::{Client, Daemon, Dns};

use crate::peer::{NOBODY, Peer};
use crate::{USER, daemon, letter};

const MAIN: &str = "\
compatibility_level = 3.6
queue_directory = @DIR@/queue
data_directory = @DIR@/state
maillog_file = @DIR@/log
maillog_file_prefixes = @DIR@
daemon_directory = /usr/lib/postfix/sbin
myhostname = postfix.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
alias_maps =
local_recipient_maps =
relay_domains = example.test, tls.test
transport_maps = inline:{ { example.test = clear:[127.0.0.1]:@MX@ }, { tls.test = tls:[127.0.0.1]:@MX@ } }
virtual_mailbox_domains = postfix.test, clear.postfix.test
virtual_mailbox_base = @DIR@/mail
virtual_mailbox_maps = inline:{ { user@postfix.test = all/ }, { user@clear.postfix.test = all/ } }
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_minimum_uid = 1
smtpd_tls_security_level = may
smtpd_tls_cert_file = @CERTIFICATES@/cert.pem
smtpd_tls_key_file = @CERTIFICATES@/key.pem
smtpd_tls_received_header = yes
smtpd_tls_session_cache_database =
smtp_tls_session_cache_database =
";

const MASTER: &str = "\
127.0.0.1:@PORT@ inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
clear unix - - n - - smtp -o smtp_tls_security_level=none
tls unix - - n - - smtp -o smtp_tls_security_level=encrypt
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
";

/// The number of a user, from the system's file.
fn user_id(name: &str) -> u32 {
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap();
    line.split(':').nth(2).unwrap().parse().unwrap()
}

/// Starts a Postfix that listens on this port and takes mail for `example.test` to `daemon`. `settings` are `name = value`
/// of main.cf, which come in place of those above; `more` is further text of master.cf.
pub(crate) fn start(daemon: &Daemon, port: u16, settings: &[(&str, &str)], more: &str) -> Option<Peer> {
    let program = support::need_program("postfix")?;
    let mut peer = Peer::prepare()?;
    let certificates = daemon.folder().to_string_lossy().into_owned();
    let changed = |line: &&str| settings.iter().all(|(name, _)| !line.starts_with(&format!("{name} =")));
    let mut main: String = MAIN.lines().filter(changed).map(|line| format!("{line}\n")).collect();
    main.extend(settings.iter().map(|(name, value)| format!("{name} = {value}\n")));
    let main = main.replace("@MX@", &daemon.mx.port().to_string()).replace("@CERTIFICATES@", &certificates);
    peer.write("main.cf", &main);
    peer.write("master.cf", &format!("{}{more}", MASTER.replace("@PORT@", &port.to_string())));
    peer.make_folder("queue", 0);
    peer.make_folder("state", user_id("postfix"));
    peer.make_folder("mail", NOBODY);
    peer.start(Command::new(program).arg("-c").arg(peer.path("")).arg("start-fg"));
    let greets = || Client::try_hello(([127, 0, 0, 1], port).into()).is_some();
    assert!(support::wait_until(greets), "{}", peer.log());
    Some(peer)
}

#[test]
fn postfix_delivers_to_us_and_we_to_postfix() {
    let port = support::free_port();
    let route = |domain: &str, tls: &str| {
        format!(
            "[[outbound.route]]\nmatch = \"{domain}\"\nto = \"smtp:[127.0.0.1]:{port}\"\ntls = \"{tls}\"\n"
        )
    };
    let second = "[[domain]]\nname = \"tls.test\"\nrecipients = \"accounts\"\ndeliver = \"maildir:mail/{domain}/{local}/\"\n";
    let rest =
        format!("{second}{}{}", route("postfix.test", "opportunistic"), route("clear.postfix.test", "off"));
    let daemon = daemon("trusted_networks = [\"127.0.0.0/8\"]", &rest);
    daemon.add_account("user@tls.test", "secret");
    daemon.signal("HUP");
    let Some(postfix) = start(&daemon, port, &[], "") else { return };

    let mut client = Client::hello(([127, 0, 0, 1], port).into());
    for (recipient, with) in [(USER, "with ESMTP id"), ("user@tls.test", "with ESMTPS id")] {
        assert_eq!(client.mail("joe@far.test", &[recipient], &letter("from postfix")).code, 250);
        let mail = daemon.wait_for_mail(recipient, 1).remove(0);
        assert!(
            mail.contains("\nReceived: from postfix.test ([127.0.0.1])") && mail.contains(with),
            "{mail}"
        );
        assert!(mail.ends_with("\n\nHello.\n.dot\n"), "{mail}");
    }
    // Postfix tells its sender what we said of an unknown recipient.
    assert_eq!(client.mail("user@postfix.test", &["nobody@example.test"], &letter("unknown")).code, 250);
    let all = || postfix.files("mail/all/new");
    assert!(support::wait_until(|| all().len() == 1), "{}", postfix.log());
    assert!(all()[0].contains("550 5.1.1 No such recipient here"), "{}", all()[0]);

    let mut client = Client::hello(daemon.mx);
    for (domain, tls) in [("postfix.test", true), ("clear.postfix.test", false)] {
        let before = all().len();
        assert_eq!(client.mail(USER, &[&format!("user@{domain}")], &letter(domain)).code, 250);
        assert!(support::wait_until(|| all().len() == before + 1), "{}\n{}", daemon.log(), postfix.log());
        let mail = all().into_iter().find(|m| m.contains(&format!("Subject: {domain}\n"))).unwrap();
        assert!(mail.ends_with("\n\nHello.\n.dot\n"), "{mail}");
        let top = mail.split("Received: ").nth(1).unwrap();
        assert_eq!(top.contains("(using TLSv1.3"), tls, "{mail}");
    }
    assert_eq!(client.mail(USER, &["gone@postfix.test"], &letter("gone")).code, 250);
    let report = || daemon.mailbox(USER).into_iter().find(|mail| mail.contains("multipart/report"));
    assert!(support::wait_until(|| report().is_some()), "{}", daemon.log());
    assert!(report().unwrap().contains("<gone@postfix.test>: Recipient address rejected"), "{:?}", report());
    assert!(support::wait_until(|| daemon.queue(&["list"]) == "no messages\n"));
}

/// Postfix takes a letter, finds nobody for it, and returns it: to the address with the tag, which proves the bounce.
#[test]
fn a_bounce_of_postfix_comes_back_to_the_tag_and_is_taken() {
    let port = support::free_port();
    let dns = Dns::start(
        "@ 3600 IN SOA ns.test. root.test. 1 3600 600 86400 60\n\
         1.0.0.127.in-addr.arpa. 60 IN PTR postfix.test.\npostfix.test. 60 IN A 127.0.0.1\n",
    );
    // This host is a stranger like any other.
    let rest = format!(
        "[[outbound.route]]\nmatch = \"postfix.test\"\nto = \"smtp:[127.0.0.1]:{port}\"\n[dns]\nservers = [\"{}\"]\n\
         [antispam]\nexempt_networks = []\n[antispam.greylist]\nmode = \"off\"\n\
         [antispam.backscatter]\nmode = \"enforce\"\n",
        dns.addr
    );
    let daemon = daemon("", &rest);
    let Some(postfix) = start(&daemon, port, &[("smtpd_reject_unlisted_recipient", "no")], "") else {
        return;
    };
    let mut user = Client::hello_tls(daemon.submissions);
    assert_eq!(user.log_in(USER, "secret").code, 235);
    assert_eq!(user.mail(USER, &["gone@postfix.test"], &letter("gone")).code, 250);
    let report = || daemon.mailbox(USER).into_iter().find(|mail| mail.contains("multipart/report"));
    assert!(support::wait_until(|| report().is_some()), "{}\n{}", daemon.log(), postfix.log());
    let report = report().unwrap();
    assert!(report.starts_with(&format!("Return-Path: <>\nDelivered-To: {USER}\n")), "{report}");
    assert!(report.contains("MAILER-DAEMON@postfix.test"), "{report}");
    assert!(
        postfix.log().contains(&format!("={USER}>")) && postfix.log().contains("<prvs="),
        "{}",
        postfix.log()
    );
    let explained = daemon.tool(&["explain", "--rcpt", USER, "--since", "1h"]);
    let explained = String::from_utf8(explained.stdout).unwrap();
    assert!(explained.contains("tag in the recipient"), "{explained}");
    // The same words to the plain address, and without the letter's Message-ID, are nobody's.
    let forged = report.replace("gone@example.test", "other@example.test").replace('\n', "\r\n");
    let mut stranger = Client::hello(daemon.mx);
    let reply = stranger.mail("", &[USER], &forged);
    assert!(reply.code == 550 && reply.text().starts_with("5.7.1 "), "{reply:?}");
}
