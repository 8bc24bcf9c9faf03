//! What header_checks and body_checks order beyond a reply: another next hop, and another text.

use support::{Client, Daemon, Sink};

use crate::judging::House;
use crate::{PROGRAM, letter, queue_id};

const USER: &str = "user@example.test";

/// A server with these tables, from which mail for elsewhere goes nowhere.
fn start(header: &str, body: &str) -> Daemon {
    let rest = "[[outbound.route]]\nmatch = \"*\"\nto = \"discard\"\n\
                [antispam]\nheader_checks = \"regexp:header\"\nbody_checks = \"regexp:body\"\n";
    let mut daemon = Daemon::prepare(PROGRAM, "trusted_networks = [\"127.0.0.0/8\"]", rest);
    daemon.write("header", header);
    daemon.write("body", body);
    daemon.add_account(USER, "secret");
    daemon.run();
    daemon
}

/// The whole message goes to the filter, mailboxes and other routes alike, however often it takes, also after a restart; and
/// what the filter sends back is delivered, when the table lets it.
#[test]
fn a_filter_gets_the_whole_message_and_keeps_getting_it() {
    let port = support::free_port();
    let other = Sink::start(0, &[]);
    let mut daemon = start(
        &format!(
            "/^Received: from filter/ PASS\n/^From:/ FILTER smtp:[127.0.0.1]:{}\n/^Subject: filtered/ FILTER smtp:[127.0.0.1]:{port}\n",
            other.address.port()
        ),
        "",
    );
    let mut client = Client::hello(daemon.mx);
    let reply = client.mail("joe@far.test", &[USER, "friend@far.test"], &letter("filtered"));
    let id = queue_id(&reply);
    let show = || daemon.queue(&["show", &id]);
    let tried = || show().contains("451") || show().contains("refused");
    assert!(support::wait_until(tried), "{}\n{}", show(), daemon.log());
    assert!(show().contains(&format!("filter:       smtp:[127.0.0.1]:{port}\n")), "{}", show());
    assert!(daemon.queue(&["show", &id, "--json"]).contains("\"filter\""));
    drop(client);
    daemon.stop();
    daemon.run();

    let filter = Sink::start(port, &[]);
    let _ = daemon.queue(&["retry", "--all"]);
    let taken = filter.wait_for(1).remove(0);
    let mut to = taken.to.clone();
    to.sort();
    assert_eq!(
        (taken.from.as_str(), to.as_slice()),
        ("joe@far.test", &["friend@far.test".to_owned(), USER.to_owned()][..])
    );
    assert!(daemon.mailbox(USER).is_empty() && other.taken().is_empty());

    let back = format!("Received: from filter by here; Sun, 22 Nov 2026 02:00:00 +0000\r\n{}", taken.text);
    let mut filter = Client::hello(daemon.mx);
    assert_eq!(filter.mail(&taken.from, &[USER], &back).code, 250);
    assert!(daemon.wait_for_mail(USER, 1).concat().contains("Received: from filter"));
    // Others of several filters get what only their line fits.
    assert_eq!(filter.mail("joe@far.test", &[USER], &letter("plain")).code, 250);
    assert!(other.wait_for(1).remove(0).text.contains("Subject: plain"));
}

/// Bodies are changed line by line, in memory and in files; what a message makes too long is folded.
#[test]
fn bodies_are_delivered_as_the_tables_have_them() {
    let daemon = start(
        "/^X-Long: (.*)$/ REPLACE X-Longer: $1$1\n",
        "/^secret/ IGNORE\n/^swap (.*)$/ REPLACE swapped $1\n/^mark/ PREPEND marked\n/^long (.*)$/ REPLACE $1$1\n",
    );
    let mut client = Client::hello(daemon.mx);
    let start = "secret one\r\nsecret two\r\nswap this\r\nmark\r\n..dot\r\n";
    for (number, rest) in ["end\r\n".to_owned(), "0123456789abcdef\r\n".repeat(40_000)].iter().enumerate() {
        let field = format!("X-Long: {}\r\n", "y".repeat(600));
        let text = format!("{field}{}{start}long {}\r\n{rest}", letter("edited"), "z".repeat(600));
        assert_eq!(client.mail("joe@far.test", &[USER], &text).code, 250);
        let _ = daemon.wait_for_mail(USER, number + 1);
    }
    let mails = daemon.mailbox(USER);
    for mail in &mails {
        let (head, body) = mail.split_once("\n\n").unwrap();
        let long = format!("{}\n {}\n", "z".repeat(998), "z".repeat(202));
        let want = format!("Hello.\nswapped this\nmarked\nmark\n..dot\n{long}");
        assert!(body.starts_with(&want), "{}", &body[..2_000.min(body.len())]);
        assert!(!mail.contains("secret") && head.contains("X-Longer:"), "{head}");
        assert!(head.lines().all(|line| line.len() <= 998), "{head}");
    }
    let ends = |end: &str| mails.iter().filter(|mail| mail.ends_with(end)).count();
    assert_eq!((ends("\nend\n"), ends("\n0123456789abcdef\n")), (1, 1));
}

/// In every mode; and the letter is taken otherwise as it came.
#[test]
fn files_that_an_operator_does_not_trust_are_renamed() {
    let rest = "[antispam]\nmode = \"tag\"\nheader_checks = \"regexp:fields\"\nbody_checks = \"regexp:lines\"\n\
                [antispam.attachments]\nrename = [\"js\", \"is:executable\"]\n";
    // A table does not bring a name back.
    let fields = "/^Content-Type: text.javascript/ REPLACE Content-Type: text/javascript; name=other.js\n";
    let house = House::start(rest, &[("fields", fields), ("lines", "/^hello/ REPLACE good day\n")]);
    let text = "From: joe@far.test\r\nTo: user@example.test\r\nSubject: files\r\nDate: Sun, 22 Nov 2026 02:00:00 +0000\r\n\
        Message-ID: <f@far.test>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
        --b\r\n\r\nhello\r\n--b\r\nContent-Type: text/javascript; name=\"run.js\"\r\n\r\nalert(1)\r\n\
        --b\r\nContent-Type: application/pdf; name=\"good.pdf\"\r\n\r\n%PDF\r\n--b--\r\n";
    let mut client = house.client("192.0.2.9", "mail.far.test");
    let id = queue_id(&client.mail("joe@far.test", &["user@example.test"], text));
    let arrived = house.daemon.wait_for_mail("user@example.test", 1).concat();
    for words in [
        "--b\nContent-Type: application/octet-stream;\n\tname=\"run.js.renamed\"\nContent-Disposition: attachment;\n\t\
         filename=\"run.js.renamed\"\n\nalert(1)\n--b\n",
        "Content-Type: application/pdf; name=\"good.pdf\"\n\n%PDF\n",
        "\n\ngood day\n--b\n",
    ] {
        assert!(arrived.contains(words), "{words}:\n{arrived}");
    }
    assert!(!arrived.contains("text/javascript"), "{arrived}");
    let (_, told) = house.explain(&[&id]);
    assert!(told.contains("ATTACHMENT_RENAMED") && told.contains("run.js"), "{told}");
}
