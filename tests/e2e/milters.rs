//! Milters behind a whole session: what they are told, what they change, what they refuse, and what is done without them.

use std::time::{Duration, Instant};

use support::{Client, Daemon, Milter, Sink};

use crate::{PROGRAM, letter};

const USER: &str = "user@example.test";
const MORE: &str = "more@example.test";

/// A server with these milters, in this order; `rest` is further text.
fn start(top: &str, milters: &[&Milter], more: &str, rest: &str) -> Daemon {
    let section = |(number, milter): (usize, &&Milter)| {
        format!("[[antispam.milter]]\nname = \"milter{number}\"\naddress = \"{}\"\n{more}", milter.address)
    };
    let sections: String = milters.iter().enumerate().map(section).collect();
    let mut daemon = Daemon::prepare(PROGRAM, top, &format!("{rest}\n{sections}"));
    for address in [USER, MORE] {
        daemon.add_account(address, "secret");
    }
    daemon.run();
    daemon
}

/// What was told, without macros.
fn events(milter: &Milter) -> Vec<String> {
    milter.heard().into_iter().filter(|heard| !heard.starts_with(['D', 'O'])).collect()
}

fn body(mail: &str) -> &str {
    mail.split_once("\n\n").map_or("", |(_, body)| body)
}

#[test]
fn what_milters_change_is_delivered_and_each_sees_what_those_before_it_did() {
    let far = Sink::start(0, &[]);
    let change = |letter, data: &[u8]| Milter::frame(letter, data);
    let first = Milter::start(move |letter, _| {
        let changes = [
            change(b'i', b"\0\0\0\x01X-First\0one\n\ttwo\0"),
            change(b'm', b"\0\0\0\x01Subject\0changed\0"),
            change(b'm', b"\0\0\0\x01X-Gone\0\0"),
            change(b'h', b"X-Last\0last\0"),
            change(b'p', b""),
            change(b'b', b"another "),
            change(b'b', b"body\r\n"),
            change(b'e', b"<list@far.test>\0"),
            change(b'+', b"<info@example.test>\0"),
            change(b'+', b"<friend@far.test>\0"),
            change(b'+', b"<nobody@example.test>\0"),
        ];
        Milter::content(letter, &changes.concat())
    });
    let second =
        Milter::start(|letter, _| Milter::content(letter, &Milter::frame(b'-', b"<user@example.test>\0")));
    let rest =
        format!("[[outbound.route]]\nmatch = \"*\"\nto = \"smtp:[127.0.0.1]:{}\"\n", far.address.port());
    let daemon = start("", &[&first, &second], "", &rest);
    let own = "recipients = \"accounts\"";
    daemon.edit(own, &format!("{own}\naliases = \"inline:{{info@example.test=more@example.test}}\""));
    daemon.signal("HUP");
    assert!(support::wait_until(|| daemon.log().contains("read again and is in force")), "{}", daemon.log());

    let mut client = Client::hello(daemon.mx);
    let text = format!("X-Gone: 1\r\n{}", letter("original"));
    assert_eq!(client.mail("joe@far.test", &[USER], &text).code, 250);
    let mail = daemon.wait_for_mail(MORE, 1).remove(0);
    let (header, _) = mail.split_once("\n\n").unwrap();
    assert_eq!(body(&mail), "another body\n");
    let lines: Vec<&str> = header.lines().filter(|line| !line.starts_with(['\t', ' '])).collect();
    let at = |name: &str| lines.iter().position(|line| line.starts_with(name));
    assert!(at("Received:") < at("X-First: one") && at("X-First: one") < at("From:"), "{header}");
    assert_eq!(lines.last(), Some(&"X-Last: last"), "{header}");
    assert!(
        header.contains("\nX-First: one\n\ttwo\n") && header.contains("\nSubject: changed\n"),
        "{header}"
    );
    assert!(at("X-Gone").is_none() && header.starts_with("Return-Path: <list@far.test>\n"), "{header}");
    let taken = far.wait_for(1).remove(0);
    assert_eq!((taken.from.as_str(), taken.to), ("list@far.test", vec!["friend@far.test".to_owned()]));
    assert!(taken.text.ends_with("\r\n\r\nanother body\r\n"), "{}", taken.text);

    // Who was to get it does not, and the log says so.
    assert!(daemon.mailbox(USER).is_empty());
    for words in [
        "to=<user@example.test>, agent=discard",
        "a milter wants <nobody@example.test> to get it: there is nobody",
    ] {
        assert!(support::wait_until(|| daemon.log().contains(words)), "{words}: {}", daemon.log());
    }

    let told = |milter: &Milter, what: &str| events(milter).iter().any(|event| event == what);
    assert!(told(&first, "LSubject|original|") && told(&second, "LSubject|changed|"));
    assert!(told(&second, "LX-First|one\n\ttwo|") && told(&second, "Banother body\r\n"));
    assert!(!events(&first).iter().any(|event| event.starts_with("LReceived")), "ours is not shown");
    let explained = daemon.tool(&["explain", "--last", "1", "--json"]);
    let explained = String::from_utf8(explained.stdout).unwrap();
    assert!(explained.contains("MILTER0_MILTER") && explained.contains("another sender"), "{explained}");
    let answered = "staffetta_scanner_askings_total{result=\"answered\",scanner=\"milter1\"}";
    assert_eq!(daemon.metric(answered), Some(1.0));
    assert!(daemon.metric("staffetta_check_seconds_count{check=\"milter1\"}") >= Some(1.0));
}

/// A large message, whose body is in a file, and a large one in the place of a small one.
#[test]
fn bodies_of_any_size_are_shown_whole_and_replaced() {
    let milter = Milter::start(|letter, _| {
        let piece = Milter::frame(b'b', "0123456789abcdef\r\n".repeat(3_000).as_bytes());
        Milter::content(letter, &piece.repeat(20))
    });
    let daemon = start("", &[&milter], "", "");
    let mut client = Client::hello(daemon.mx);
    let large = "fedcba9876543210\r\n".repeat(100_000);
    for (number, text) in [letter("small"), letter("large") + &large].iter().enumerate() {
        assert_eq!(client.mail("joe@far.test", &[USER], text).code, 250, "{}", daemon.log());
        let mails = daemon.wait_for_mail(USER, number + 1);
        let want = "0123456789abcdef\n".repeat(60_000);
        assert!(mails.iter().all(|mail| body(mail) == want), "{number}");
    }
    let shown: usize =
        events(&milter).iter().filter(|event| event.starts_with('B')).map(|b| b.len() - 1).sum();
    assert!(shown > 1_800_000, "{shown}");
}

#[test]
fn what_is_signed_is_what_milters_have_made_of_it_and_missing_fields_are_shown() {
    let milter = Milter::start(|letter, _| {
        let changes =
            [Milter::frame(b'h', b"X-Footer\0yes\0"), Milter::frame(b'b', b"Hello.\r\n-- \r\nfooter\r\n")];
        Milter::content(letter, &changes.concat())
    });
    let far = Sink::start(0, &[]);
    let rest =
        format!("[[outbound.route]]\nmatch = \"*\"\nto = \"smtp:[127.0.0.1]:{}\"\n", far.address.port());
    let mut daemon = start("", &[&milter], "", &rest);
    let made = daemon.tool(&["dkim", "new", "example.test"]);
    let zone = String::from_utf8(made.stdout).unwrap();
    daemon.stop();
    daemon.run();
    let mut client = Client::hello_tls(daemon.submissions);
    assert_eq!(client.log_in(USER, "secret").code, 235);
    let text = format!("From: {USER}\r\nSubject: signed\r\n\r\nHello.\r\n");
    assert_eq!(client.mail(USER, &["friend@far.test"], &text).code, 250, "{}", daemon.log());
    let taken = far.wait_for(1).remove(0).text;
    assert!(taken.contains("\r\nX-Footer: yes\r\n") && taken.ends_with("-- \r\nfooter\r\n"), "{taken}");
    assert_eq!(crate::dkim::verify(&zone, &taken), [true], "{taken}");
    assert_eq!(taken.matches("\r\nMessage-ID: <").count(), 1);
    // A letter that is all header gets a body, and the empty line before it.
    assert_eq!(
        client.mail(USER, &["friend@far.test"], &format!("From: {USER}\r\nSubject: bare\r\n")).code,
        250
    );
    let bare = far.wait_for(2).remove(1).text;
    assert!(bare.ends_with("\r\n\r\nHello.\r\n-- \r\nfooter\r\n"), "{bare}");
    assert_eq!(crate::dkim::verify(&zone, &bare), [true], "{bare}");
    let heard = milter.heard();
    assert!(heard.iter().any(|event| event.starts_with("LMessage-ID|<")), "{heard:?}");
    assert!(
        heard
            .iter()
            .any(|event| event.starts_with("DM") && event.contains("{auth_authen}|user@example.test|"))
    );
    assert!(heard.iter().any(|event| event.starts_with("DH") && event.contains("{tls_version}|TLSv1.3|")));
}

#[test]
fn what_milters_refuse_is_refused_where_they_say_it() {
    let milter = Milter::start(|letter, data| {
        let says = |word: &str| data.windows(word.len()).any(|window| window == word.as_bytes());
        match letter {
            b'M' if says("bad@") => Some(Milter::frame(b'y', b"554 5.7.1 not from %%bad\0")),
            b'R' if says("more@") => Some(Milter::frame(b'r', b"")),
            b'L' if says("later") => Some(Milter::frame(b't', b"")),
            b'B' if says("thrown away") => Some(Milter::frame(b'd', b"")),
            b'B' if says("kept back") => Milter::content(b'E', &[]).map(|_| Milter::frame(b'c', b"")),
            other => Milter::content(other, b""),
        }
    });
    let daemon = start("", &[&milter], "", "[antispam]\nmode = \"observe\"\n");
    let mut client = Client::hello(daemon.mx);
    assert_eq!(client.command("MAIL FROM:<bad@far.test>").code, 250);
    let reply = client.command(&format!("RCPT TO:<{USER}>"));
    assert_eq!((reply.code, reply.text().as_str()), (554, "5.7.1 not from %bad"));
    assert_eq!(client.command("RSET").code, 250);
    assert_eq!(client.command("MAIL FROM:<joe@far.test>").code, 250);
    assert_eq!(client.command(&format!("RCPT TO:<{MORE}>")).code, 550);
    assert_eq!(client.command(&format!("RCPT TO:<{USER}>")).code, 250);
    assert_eq!(client.command("DATA").code, 354);
    client.send(format!("{}.\r\n", letter("fine").replace("\r\n.", "\r\n..")).as_bytes());
    assert_eq!(client.reply().code, 250);
    assert_eq!(daemon.wait_for_mail(USER, 1).len(), 1);
    assert_eq!(client.mail("joe@far.test", &[USER], &letter("later")).code, 451);
    let thrown = letter("x").replace("Hello.", "thrown away");
    assert_eq!(client.mail("joe@far.test", &[USER], &thrown).code, 250);
    assert!(support::wait_until(|| daemon.log().contains("discarded by a rule")), "{}", daemon.log());
    assert_eq!(daemon.mailbox(USER).len(), 1);
    let explained = daemon.tool(&["explain", "--last", "5", "--json"]);
    let explained = String::from_utf8(explained.stdout).unwrap();
    assert!(explained.contains("MAIL: refuses: 554 5.7.1 not from %bad"), "{explained}");
    assert!(explained.contains("antispam.milter[0]"), "{explained}");
}

#[test]
fn a_message_that_a_milter_wants_kept_is_kept_for_all() {
    let milter = Milter::start(|letter, _| {
        Milter::content(
            letter,
            &[Milter::frame(b'q', b"odd\0"), Milter::frame(b'+', b"<more@example.test>\0")].concat(),
        )
    });
    let daemon = start("", &[&milter], "", "");
    assert_eq!(Client::hello(daemon.mx).mail("joe@far.test", &[USER], &letter("odd")).code, 250);
    let held = daemon.queue(&["list", "--state", "quarantine"]);
    assert!(held.contains("joe@far.test"), "{held}");
    let _ = daemon.queue(&["release", "--all"]);
    assert_eq!((daemon.wait_for_mail(USER, 1).len(), daemon.wait_for_mail(MORE, 1).len()), (1, 1));
}

#[test]
fn listeners_choose_their_milters() {
    let (one, two) =
        (Milter::start(|l, _| Milter::content(l, b"")), Milter::start(|l, _| Milter::content(l, b"")));
    let mut daemon = start("", &[&one, &two], "", "");
    daemon.stop();
    daemon.edit("kind = \"mx\"", "kind = \"mx\"\nmilters = [\"milter1\"]");
    daemon.run();
    assert_eq!(Client::hello(daemon.mx).mail("joe@far.test", &[USER], &letter("x")).code, 250);
    assert!(events(&one).is_empty() && events(&two).iter().any(|event| event == "E"));
    daemon.edit("milters = [\"milter1\"]", "milters = [\"gone\"]");
    let file = daemon.configuration();
    let checked = daemon.command(&["config", "check"]).arg(file).output().unwrap();
    assert!(String::from_utf8_lossy(&checked.stderr).contains("there is no milter `gone`"), "{checked:?}");
}

#[test]
fn a_milter_that_is_away_or_hangs_is_unknown_in_time() {
    let hanging = Milter::start(
        |letter, _| {
            if letter == b'E' { Some(Vec::new()) } else { Milter::content(letter, b"") }
        },
    );
    for (more, code) in [("", 451), ("on_unknown = \"ignore\"\n", 250)] {
        let more = format!("content_seconds_max = 1\n{more}");
        let daemon = start("", &[&hanging], &more, "[antispam]\nmode = \"observe\"\n");
        let begun = Instant::now();
        assert_eq!(Client::hello(daemon.mx).mail("joe@far.test", &[USER], &letter("x")).code, code);
        assert!((Duration::from_secs(1)..Duration::from_secs(20)).contains(&begun.elapsed()));
    }
    let nowhere = format!("127.0.0.1:{}", support::free_port());
    for (more, code) in [("breaker_failures = 2\n", 451), ("on_unknown = \"ignore\"\n", 250)] {
        let section =
            format!("[[antispam.milter]]\nname = \"away\"\naddress = \"{nowhere}\"\nretries = 0\n{more}");
        let mut daemon = Daemon::prepare(PROGRAM, "", &section);
        daemon.add_account(USER, "secret");
        daemon.run();
        for _ in 0..3 {
            let mut client = Client::hello(daemon.mx);
            assert_eq!(client.command("MAIL FROM:<joe@far.test>").code, 250);
            assert_eq!(client.command(&format!("RCPT TO:<{USER}>")).code, code);
        }
        if code == 451 {
            let told = "the scanner away has failed 2 times in a row";
            assert!(support::wait_until(|| daemon.log().contains(told)), "{}", daemon.log());
            assert_eq!(daemon.metric("staffetta_scanner_asked{scanner=\"away\"}"), Some(0.0));
        }
    }
}
