//! RCPT: who is here, whom aliases lead to, who may send elsewhere.

use support::{Client, Sink};

use crate::{codes, daemon, letter};

/// A domain with a table of recipients and one of aliases, beside example.test with its accounts.
const ALIASES: &str = r#"
[[domain]]
names = ["alias.test", "all.test"]
recipients = "text:people"
deliver = "maildir:mail/{domain}/{local}/"
aliases = "text:virtual"
"#;

const VIRTUAL: &str = "\
team@alias.test      joe@alias.test, chief@alias.test, user@example.test
chief@alias.test     joe@alias.test
joe@alias.test       joe@alias.test
@all.test            user@example.test
loop-a@alias.test    loop-b@alias.test
loop-b@alias.test    loop-a@alias.test
dangling@alias.test  joe@alias.test, nobody@alias.test
broken@alias.test    :include:/nonexistent/list
away@alias.test      friend@far.test
";

#[test]
fn aliases_lead_to_their_ends_or_are_refused() {
    let sink = Sink::start(0, &[]);
    let route = format!(
        "{ALIASES}\n[[outbound.route]]\nmatch = \"*\"\nto = \"smtp:[127.0.0.1]:{}\"\n",
        sink.address.port()
    );
    let mut daemon = support::Daemon::prepare(crate::PROGRAM, "", &route);
    daemon.write("people", "joe@alias.test x\n");
    daemon.write("virtual", VIRTUAL);
    daemon.write("aliases", "info: user\nhelp: \"info\"\n");
    daemon.edit("file = \"accounts.toml\"", "file = \"accounts.toml\"\naliases = \"aliases\"");
    daemon.add_account("user@example.test", "secret");
    daemon.run();

    let warned = || daemon.log().contains("virtual:5: the alias `loop-a@alias.test` goes round in a circle");
    assert!(support::wait_until(warned), "{}", daemon.log());
    let mut client = Client::hello(daemon.mx);
    assert_eq!(client.command("MAIL FROM:<joe@far.test>").code, 250);
    for (recipient, want) in [
        ("user@example.test", "250 2.1.5"),
        ("USER+news@EXAMPLE.test", "250 2.1.5"),
        ("nobody@example.test", "550 5.1.1"),
        ("nobody@alias.test", "550 5.1.1"),
        ("help@example.test", "250 2.1.5"),
        ("team@alias.test", "250 2.1.5"),
        ("anybody@all.test", "250 2.1.5"),
        ("loop-a@alias.test", "550 5.4.6"),
        ("dangling@alias.test", "550 5.1.1"),
        // A look-up that failed is no absence.
        ("broken@alias.test", "451 4.3.0"),
        ("away@alias.test", "250 2.1.5"),
        ("Postmaster", "250 2.1.5"),
        ("PostMaster@example.test", "250 2.1.5"),
        ("postmaster@alias.test", "250 2.1.5"),
    ] {
        assert_eq!(codes(&client.command(&format!("RCPT TO:<{recipient}>"))), want, "{recipient}");
    }
    assert_eq!(client.command("RSET").code, 250);
    let to = ["team@alias.test", "anybody@all.test", "help@example.test", "away@alias.test", "postmaster"];
    assert_eq!(client.mail("joe@far.test", &to, &letter("many")).code, 250);
    for mailbox in ["joe@alias.test", "user@example.test", "postmaster@example.test"] {
        assert_eq!(daemon.wait_for_mail(mailbox, 1).len(), 1, "{mailbox}");
    }
    let relayed = sink.wait_for(1);
    assert_eq!((relayed[0].from.as_str(), relayed[0].to[0].as_str()), ("joe@far.test", "friend@far.test"));
    assert!(support::wait_until(|| daemon.queue(&["list"]) == "no messages\n"), "{}", daemon.log());
    assert_eq!(daemon.mailbox("user@example.test").len(), 1, "each mailbox once");
}

const STRANGE: [&str; 8] = [
    "<x@far.test>",
    "<x@[192.0.2.1]>",
    "<@example.test:x@far.test>",
    "<user%far.test@example.test>",
    "<far.test!user@example.test>",
    "<\"user@far.test\"@example.test>",
    "<user@far.test@example.test>",
    "<user%far.test@[127.0.0.1]>",
];

// invariant: I4
#[test]
fn only_the_permitted_relay() {
    let port = support::free_port();
    let rest = format!(
        "[[outbound.route]]\nmatch = \"*\"\nto = \"discard\"\n[[listener]]\nkind = \"mx\"\n\
         bind = [\"127.0.0.1:{port}\"]\nproxy_protocol_from = [\"127.0.0.0/8\"]\n\
         [antispam]\nmode = \"observe\"\n"
    );
    let daemon = daemon("trusted_networks = [\"192.0.2.0/24\"]", &rest);
    let behind_proxy = |client: &str| {
        let mut stream = Client::raw(([127, 0, 0, 1], port).into());
        stream.send(format!("PROXY TCP4 {client} 127.0.0.1 4000 25\r\n").as_bytes());
        assert_eq!(stream.reply().code, 220);
        assert_eq!(stream.command("EHLO client.test").code, 250);
        stream
    };
    for mut stranger in [Client::hello(daemon.mx), behind_proxy("198.51.100.1")] {
        assert_eq!(stranger.command("MAIL FROM:<user@example.test>").code, 250);
        for path in STRANGE {
            let reply = stranger.command(&format!("RCPT TO:{path}"));
            assert_eq!(codes(&reply), "550 5.7.1", "{path}: {reply:?}");
        }
        assert_eq!(stranger.command("RCPT TO:<user@example.test>").code, 250);
    }
    let mut trusted = behind_proxy("192.0.2.9");
    assert_eq!(trusted.mail("a@b.test", &["x@far.test"], &letter("trusted")).code, 250);
    let mut user = Client::hello_tls(daemon.submissions);
    assert_eq!(codes(&user.command("MAIL FROM:<user@example.test>")), "530 5.7.0");
    assert_eq!(user.log_in("user@example.test", "secret").code, 235);
    assert_eq!(user.mail("user@example.test", &["x@far.test"], &letter("user")).code, 250);
    // Each address from each stranger, the second @ too, which the session refuses without asking.
    assert_refused(&daemon, "relay_denied", 16.0);
}

/// What the session refuses by itself is counted when it is over.
fn assert_refused(daemon: &support::Daemon, reason: &str, want: f64) {
    let series = format!("staffetta_recipients_refused_total{{reason=\"{reason}\"}}");
    assert!(
        support::wait_until(|| daemon.metric(&series) == Some(want)),
        "{series}: {:?}",
        daemon.metric(&series)
    );
}

#[test]
fn every_refusal_is_counted_by_its_reason() {
    let rest = "[limits]\nrecipients_max = 6\n[[domain]]\nname = \"odd.test\"\nrecipients = \"static:yes\"\n\
                deliver = \"maildir:mail/{domain}/{local}/\"\naliases = \"inline:{a@odd.test=b@odd.test,b@odd.test=a@odd.test}\"\n";
    let daemon = daemon("", rest);
    let mut client = Client::hello(daemon.mx);
    assert_eq!(codes(&client.command("RCPT TO:<user@example.test>")), "503 5.5.1");
    assert_eq!(client.command("MAIL FROM:<joe@far.test>").code, 250);
    for (path, want) in [
        ("user@example.test", "501 5.5.2"),
        ("<user@exam ple.test>", "501 5.1.3"),
        ("<user@example.test> SHOUT", "555 5.5.4"),
        ("<us\u{e9}r@example.test>", "553 5.6.7"),
        ("<user@far.test@example.test>", "550 5.7.1"),
        ("<user%far.test@example.test>", "550 5.7.1"),
        ("<far.test!user@example.test>", "550 5.7.1"),
        ("<nobody@example.test>", "550 5.1.1"),
        ("<-@odd.test>", "550 5.1.3"),
        ("<a@odd.test>", "550 5.4.6"),
    ] {
        assert_eq!(codes(&client.command(&format!("RCPT TO:{path}"))), want, "{path}");
    }
    assert_eq!(client.command("RSET").code, 250);
    assert_eq!(client.command("MAIL FROM:<joe@far.test>").code, 250);
    let replies = [0; 7].map(|_| client.command("RCPT TO:<user@example.test>"));
    assert_eq!((codes(&replies[5]), codes(&replies[6])), ("250 2.1.5".to_owned(), "452 4.5.3".to_owned()));
    assert_eq!(client.command("QUIT").code, 221);
    for (reason, count) in [
        ("protocol", 5.0),
        ("relay_denied", 3.0),
        ("unknown", 1.0),
        ("bad_mailbox", 1.0),
        ("bad_alias", 1.0),
        ("too_many", 1.0),
        ("unavailable", 0.0),
    ] {
        assert_refused(&daemon, reason, count);
    }
}
