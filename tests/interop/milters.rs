//! Milters as Debian has them, each started by its test: OpenDKIM, clamav-milter, rspamd, one of python3-milter's; and what
//! Postfix tells one, beside what we do.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Clamd, Client, Daemon, Dns, Milter, Sink, attached, infected};

use crate::peer::Peer;
use crate::{USER, letter, postfix};

/// Debian's own Python: another has not its modules.
const PYTHON: &str = "/usr/bin/python3";
const MORE: &str = "more@example.test";

/// A server with a milter on this port.
fn daemon(top: &str, port: u16, rest: &str) -> Daemon {
    let milter = format!(
        "{rest}\n[[antispam.milter]]\nname = \"milter\"\naddress = \"127.0.0.1:{port}\"\nconnect_seconds_max = 30\n\
         command_seconds_max = 60\ncontent_seconds_max = 60\n"
    );
    let mut daemon = Daemon::prepare(env!("CARGO_BIN_EXE_staffetta"), top, &milter);
    for address in [USER, MORE, "refused@example.test"] {
        daemon.add_account(address, "secret");
    }
    daemon.run();
    daemon
}

/// Starts a milter, and waits until it takes connections.
fn start(peer: &mut Peer, command: &mut Command, port: u16) {
    peer.start(command);
    assert!(support::wait_until(|| TcpStream::connect(("127.0.0.1", port)).is_ok()), "{}", peer.log());
}

#[test]
fn libmilter_does_all_that_it_can_do_to_a_message() {
    if !Path::new("/usr/lib/python3/dist-packages/Milter/__init__.py").exists() {
        return support::skip("python3-milter not installed");
    }
    let Some(mut peer) = Peer::prepare() else { return };
    let port = support::free_port();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/interop/libmilter.py");
    start(&mut peer, Command::new(PYTHON).arg(script).arg(port.to_string()), port);
    let daemon = daemon("", port, "");
    let mut client = Client::hello(daemon.mx);

    let text = format!("X-Gone: 1\r\n{}", letter("change"));
    assert_eq!(client.mail("joe@far.test", &[USER], &text).code, 250, "{}", daemon.log());
    let mail = daemon.wait_for_mail(MORE, 1).remove(0);
    let (header, body) = mail.split_once("\n\n").unwrap();
    assert_eq!(body, "HELLO.\n.DOT\n");
    assert!(header.starts_with("Return-Path: <list@far.test>\n"), "{header}");
    assert!(header.contains("\nX-First: on top\n\tfolded\nFrom: "), "{header}");
    assert!(header.contains("\nSubject: changed\n") && !header.contains("X-Gone"), "{header}");
    let seen = header.lines().find_map(|line| line.strip_prefix("X-Seen: ")).unwrap();
    let seen: Vec<&str> = seen.split('|').collect();
    assert_eq!(seen[..4], ["[127.0.0.1] 127.0.0.1", "client.test", "<joe@far.test>", "mx.example.test"]);
    assert_eq!(seen[5..], ["joe@far.test", "127.0.0.1"]);
    assert!(support::wait_until(|| daemon.log().contains(seen[4])), "the queue id: {seen:?}");
    assert!(daemon.mailbox(USER).is_empty());

    assert_eq!(client.command("MAIL FROM:<joe@far.test>").code, 250);
    let reply = client.command("RCPT TO:<refused@example.test>");
    assert_eq!(reply.lines, ["5.7.1 not him", "5.7.1 nor 100% of his kind"]);
    assert_eq!((reply.code, client.command(&format!("RCPT TO:<{USER}>")).code), (550, 250));
    assert_eq!(client.command("BOGUS now").code, 500);
    assert_eq!(client.command("BOGUS later").text(), "4.7.1 heard BOGUS later");
    assert_eq!(client.command("RSET").code, 250);
    for (subject, code) in
        [("reject", 550), ("later", 451), ("discard", 250), ("quarantine", 250), ("fine", 250)]
    {
        assert_eq!(client.mail("joe@far.test", &[USER], &letter(subject)).code, code, "{subject}");
    }
    let mails = daemon.wait_for_mail(USER, 1);
    assert!(mails.len() == 1 && mails[0].contains("Subject: fine\n"), "{mails:?}");
    assert!(daemon.queue(&["list", "--state", "quarantine"]).contains("joe@far.test"));
}

/// A key for OpenDKIM, and its record.
fn key(peer: &Peer) -> Option<(PathBuf, String)> {
    let openssl = support::need_program("openssl")?;
    let file = peer.path("key.pem");
    let run = |arguments: &[&str]| {
        let output = Command::new(&openssl).args(arguments).arg(&file).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    run(&["genrsa", "-out"]);
    let public = run(&["rsa", "-pubout", "-outform", "DER", "-in"]);
    Some((file, format!("v=DKIM1; k=rsa; p={}", support::base64(&public))))
}

/// What our users hand in is signed, and verifies by our own command; what strangers bring is verified.
#[test]
fn opendkim_signs_for_our_users_and_verifies_for_strangers() {
    let Some(program) = support::need_program("opendkim") else { return };
    let Some(mut peer) = Peer::prepare() else { return };
    let Some((file, record)) = key(&peer) else { return };
    let port = support::free_port();
    let name = "od._domainkey.example.test";
    peer.write("keys", &format!("{name} {record}\n"));
    // This machine is a stranger like any other: who has logged in is told by the macros alone.
    peer.write(
        "opendkim.conf",
        &format!(
            "Mode sv\nSocket inet:{port}@127.0.0.1\nBackground no\nDomain example.test\nSelector od\nKeyFile {}\n\
             InternalHosts 192.0.2.1\nTestPublicKeys @DIR@/keys\nAuthservID od.test\nAlwaysAddARHeader yes\n\
             Canonicalization relaxed/simple\nRequireSafeKeys no\n",
            file.display()
        ),
    );
    let file = peer.path("opendkim.conf");
    start(&mut peer, Command::new(program).arg("-f").arg("-x").arg(file), port);
    let far = Sink::start(0, &[]);
    let route =
        format!("[[outbound.route]]\nmatch = \"*\"\nto = \"smtp:[127.0.0.1]:{}\"\n", far.address.port());
    let daemon = daemon("", port, &route);
    let mut client = Client::hello_tls(daemon.submissions);
    assert_eq!(client.log_in(USER, "secret").code, 235);
    // Missing fields are there before it signs.
    let bare = format!("From: {USER}\r\nSubject: signed\r\n\r\nHello.\r\n");
    let mut signed = Vec::new();
    for (number, text) in [letter("signed"), bare].iter().enumerate() {
        assert_eq!(client.mail(USER, &["friend@far.test"], text).code, 250, "{}", daemon.log());
        signed = far.wait_for(number + 1).into_iter().map(|taken| taken.text).collect();
    }
    let dns = Dns::start(&format!("{name}. 60 IN TXT \"{}\" \"{}\"\n", &record[..200], &record[200..]));
    for text in &signed {
        assert!(text.contains("\r\nDKIM-Signature: v=1;") && text.contains("\r\nMessage-ID: "), "{text}");
        daemon.write("signed.eml", text);
        let resolver = dns.addr.to_string();
        let letter = daemon.folder().join("signed.eml");
        let mut check = daemon.command(&["check", "dkim", "--resolver", &resolver, "--message"]);
        let checked = check.arg(letter).output().unwrap();
        let said = String::from_utf8(checked.stdout).unwrap();
        assert!(said.starts_with("pass"), "{said}\n{text}");
    }
    let mut stranger = Client::hello(daemon.mx);
    for (text, result) in
        [(signed[0].clone(), "dkim=pass"), (signed[0].replace("Hello.", "Hi."), "dkim=fail")]
    {
        let before = daemon.mailbox(MORE).len();
        assert_eq!(stranger.mail("joe@far.test", &[MORE], &text).code, 250, "{}", daemon.log());
        let mails = daemon.wait_for_mail(MORE, before + 1);
        let said =
            |mail: &&String| mail.contains("Authentication-Results: od.test;") && mail.contains(result);
        assert!(mails.iter().any(|mail| said(&mail)), "{result}: {mails:?}");
    }
    assert!(!far.taken().is_empty());
}

#[test]
fn clamav_milter_refuses_what_clamd_finds() {
    let Some(program) = support::need_program("clamav-milter") else { return };
    let Some(clamd) = Clamd::start() else { return };
    let Some(mut peer) = Peer::prepare() else { return };
    let port = support::free_port();
    peer.write(
        "clamav-milter.conf",
        &format!(
            "MilterSocket inet:{port}@127.0.0.1\nClamdSocket {}\nForeground yes\nUser root\nOnInfected Reject\n\
             RejectMsg \"There is %v in it\"\nAddHeader Add\nTemporaryDirectory @DIR@\nLogFile @DIR@/log\n",
            clamd.socket()
        ),
    );
    let file = peer.path("clamav-milter.conf");
    start(&mut peer, Command::new(program).arg("-c").arg(file), port);
    let daemon = daemon("", port, "[antispam]\nmode = \"observe\"\n");
    let mut client = Client::hello(daemon.mx);
    for text in infected() {
        let reply = client.mail("ann@far.test", &[USER], &String::from_utf8(text).unwrap());
        assert!(reply.code == 550 && reply.text().contains("There is Own.Eicar"), "{reply:?} {}", peer.log());
    }
    let clean = String::from_utf8(attached(b"nothing at all", "nothing.txt")).unwrap();
    assert_eq!(client.mail("ann@far.test", &[USER], &clean).code, 250, "{}", peer.log());
    assert!(daemon.wait_for_mail(USER, 1)[0].contains("\nX-Virus-Scanned: "));
}

/// rspamd as its users have it: its proxy, which scans by itself.
#[test]
fn rspamd_marks_and_refuses_as_a_milter() {
    let Some(program) = support::need_program("rspamd") else { return };
    let Some(mut peer) = Peer::prepare() else { return };
    let port = support::free_port();
    peer.write(
        "rspamd.conf",
        &format!(
            "options {{ pidfile = \"@DIR@/pid\"; control_socket = \"@DIR@/control mode=0600\"; tempdir = \"@DIR@\";\n\
               hs_cache_dir = \"@DIR@\"; url_tld = \"@DIR@/tld\"; filters = \"regexp\"; gtube_patterns = \"all\";\n\
               dns {{ nameserver = [\"127.0.0.1:9\"]; timeout = 0.1s; retransmits = 1; }} local_addrs = []; }}\n\
             logging {{ type = \"console\"; level = \"warning\"; }}\n\
             worker \"rspamd_proxy\" {{ bind_socket = \"127.0.0.1:{port}\"; milter = yes; count = 1; timeout = 60s;\n\
               upstream \"local\" {{ default = yes; self_scan = yes; }} }}\n\
             actions {{ reject = 15; add_header = 6; greylist = 4; }}\n\
             regexp {{ \"OWN_PILLS\" {{ re = \"Subject=/cheap pills/i{{header}}\"; score = 7.25; }} }}\n"
        ),
    );
    peer.write("tld", "com\ntest\n");
    let file = peer.path("rspamd.conf");
    start(
        &mut peer,
        Command::new(program).args(["-f", "-i", "-u", "root", "-g", "root", "-c"]).arg(file),
        port,
    );
    let daemon = daemon("", port, "[antispam]\nmode = \"observe\"\n");
    let mut client = Client::hello(daemon.mx);
    let pills = letter("x").replace("Subject: x", "Subject: cheap pills");
    for (number, text) in [pills, letter("fine")].iter().enumerate() {
        assert_eq!(client.mail("ann@far.test", &[USER], text).code, 250, "{}", peer.log());
        let mails = daemon.wait_for_mail(USER, number + 1);
        let marked = mails.iter().filter(|mail| mail.contains("\nX-Spam: Yes\n")).count();
        assert_eq!(marked, 1, "the first alone: {mails:?}\n{}", peer.log());
    }
    let gtube = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";
    let reply = client.mail("ann@far.test", &[USER], &letter("test").replace("Hello.", gtube));
    assert_eq!((reply.code, reply.text().starts_with("5.7.1 ")), (554, true), "{reply:?} {}", peer.log());
}

/// A frame as it must be alike: without what names the server and the message.
fn alike(heard: &[String]) -> Vec<String> {
    let macros = |text: &str| {
        let mut parts = text.split('|');
        let mut kept = Vec::new();
        while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
            if !["v", "i", "j", "{daemon_name}", "{rcpt_mailer}"].contains(&name) {
                kept.push(format!("{name}={value}"));
            }
        }
        kept.join(" ")
    };
    let one = |frame: &String| match frame.as_bytes() {
        [b'D', step, ..] => format!("D{} {}", char::from(*step), macros(&frame[2..])),
        // Ports differ, two octets of any kind.
        [b'C', ..] => {
            let name = frame.split('|').next().unwrap_or_default();
            format!("{name} {}", if frame.ends_with("127.0.0.1|") { "127.0.0.1" } else { frame })
        }
        _ => frame.clone(),
    };
    // Postfix says of a message that is over that it is over, as one may.
    heard.iter().filter(|frame| !frame.starts_with('A')).map(one).collect()
}

/// The fields that tests have put there, in their order, with their values.
fn marked(mail: &str) -> Vec<&str> {
    mail.lines().filter(|line| line.starts_with("X-") && !line.starts_with("X-Original-To")).collect()
}

#[test]
fn milters_are_told_what_postfix_tells_them_and_their_changes_come_to_the_same() {
    let answers = |letter: u8, _: &[u8]| {
        let change = |letter, data: &[u8]| Milter::frame(letter, data);
        let changes = [
            change(b'i', b"\0\0\0\0X-Ins0\0x\0"),
            change(b'i', b"\0\0\0\x01X-Ins1\0x\0"),
            change(b'i', b"\0\0\0\x05X-Ins5\0x\0"),
            change(b'i', b"\0\0\0\x63X-Ins99\0x\0"),
            change(b'h', b"X-Add\0x\n folded\nX-Evil: y\0"),
            change(b'm', b"\0\0\0\x02X-Two\0changed2\0"),
            change(b'm', b"\0\0\0\x07X-Two\0changed7\0"),
            change(b'm', b"\0\0\0\0X-Zero\0zero\0"),
            change(b'm', b"\0\0\0\x01X-Gone\0\0"),
        ];
        Milter::content(letter, &changes.concat())
    };
    let (theirs, ours) = (Milter::start(answers), Milter::start(answers));
    let daemon = daemon("trusted_networks = [\"127.0.0.0/8\"]", ours.address.port(), "");
    let port = support::free_port();
    let milter = format!("inet:{}", theirs.address);
    let Some(postfix) = postfix::start(&daemon, port, &[("smtpd_milters", &milter)], "") else { return };
    // Whoever asked whether Postfix is up was shown to it.
    let is_over = || theirs.heard().last().is_some_and(|frame| frame == "Q");
    assert!(support::wait_until(is_over), "{:?}", theirs.heard());
    let before = theirs.heard().len();

    let text = format!("X-One:  1\r\nX-Two: a\r\nX-Two:b\r\nX-Gone: 1\r\n{}", letter("told"));
    for (address, recipient) in [(([127, 0, 0, 1], port).into(), "user@postfix.test"), (daemon.mx, USER)] {
        let mut client = Client::hello(address);
        assert_eq!(
            client.command("MAIL FROM:<joe@far.test> SIZE=100 BODY=8BITMIME RET=HDRS ENVID=abc").code,
            250
        );
        let rcpt = format!("RCPT TO:<{recipient}> NOTIFY=FAILURE ORCPT=rfc822;a@b.test");
        assert!(matches!(client.command("BOGUS").code, 500 | 502));
        assert_eq!(client.command(&rcpt).code, 250);
        assert_eq!(client.command("DATA").code, 354);
        client.send(format!("{}.\r\n", text.replace("\r\n.", "\r\n..")).as_bytes());
        assert_eq!(client.reply().code, 250);
        assert_eq!(client.command("QUIT").code, 221);
    }
    let ended = |milter: &Milter, from: usize| milter.heard().iter().skip(from).any(|frame| frame == "Q");
    assert!(support::wait_until(|| ended(&theirs, before) && ended(&ours, 0)));
    let told = alike(&theirs.heard()[before..]).join("\n").replace("postfix.test", "example.test");
    // Nobody has verified the name of the client for us, as there is no DNS.
    let told = told.replace("Clocalhost", "C[127.0.0.1]").replace("_=localhost", "_=unknown");
    assert_eq!(alike(&ours.heard()).join("\n").replace("mx.example.test", "example.test"), told);

    let all = || postfix.files("mail/all/new");
    assert!(support::wait_until(|| all().len() == 1), "{}", postfix.log());
    let mails = daemon.wait_for_mail(USER, 1);
    assert_eq!(marked(&mails[0]), marked(&all()[0]));
    assert!(mails[0].contains("\n\tX-Evil: y\n") && all()[0].contains("\n\tX-Evil: y\n"));
}
