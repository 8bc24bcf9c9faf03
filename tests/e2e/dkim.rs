//! What users submit is signed, and the signature fits the record that the operator was told to publish (RFC 6376).

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use mail_auth::{AuthenticatedMessage, DkimResult, MessageAuthenticator};
use net::{DnsSettings, NameServer, Resolver};
use support::{Client, Daemon, Dns, Running, Sink};

use crate::{PROGRAM, letter};

/// The results of all signatures, asked of a name server that has these records.
pub(crate) fn verify(zone: &str, message: &str) -> Vec<bool> {
    let dns = Dns::start(zone);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let settings = DnsSettings { servers: vec![NameServer(dns.addr)], ..DnsSettings::default() };
        let resolver = Resolver::from_settings(&settings).unwrap();
        let authenticator = MessageAuthenticator(resolver.tokio().clone());
        let message = AuthenticatedMessage::parse(message.as_bytes()).unwrap();
        let results = authenticator.verify_dkim(&message).await;
        results.iter().map(|output| output.result() == &DkimResult::Pass).collect()
    })
}

#[test]
fn relayed_mail_verifies_against_the_printed_records() {
    let sink = Sink::start(0, &[]);
    let route =
        format!("[[outbound.route]]\nmatch = \"*\"\nto = \"smtp:[127.0.0.1]:{}\"\n", sink.address.port());
    let mut daemon = Daemon::prepare(PROGRAM, "", &route);
    daemon.add_account("user@example.test", "secret");
    let record = |options: &[&str]| {
        let output = daemon.tool(&[&["dkim", "new", "example.test"], options].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let zone = record(&[]) + &record(&["--selector", "e1", "--algorithm", "ed25519"]);
    daemon.run();
    let mut client = Client::hello_tls(daemon.submissions);
    assert_eq!(client.log_in("user@example.test", "secret").code, 235);

    let forged = "Authentication-Results: mx.example.test; dkim=pass\r\n";
    let incomplete =
        format!("{forged}From: user@example.test\r\nSubject: incomplete\r\n\r\n.\r\n  a  b\r\n\r\n\r\n");
    let large = letter("large") + &"0123456789abcdef\r\n".repeat(20_000);
    for (number, text) in [letter("complete"), incomplete, large].iter().enumerate() {
        assert_eq!(client.mail("user@example.test", &["friend@far.test"], text).code, 250);
        let relayed = sink.wait_for(number + 1).remove(number).text;
        assert_eq!(verify(&zone, &relayed), [true, true], "{}", &relayed[..2_000.min(relayed.len())]);
        assert!(!relayed.contains("Authentication-Results"), "{relayed}");
        // It is this text that is vouched for, and this key.
        assert_eq!(verify(&zone, &relayed.replace("Subject: ", "Subject: Re: ")), [false, false]);
        assert_eq!(verify("other.test. IN A 192.0.2.1", &relayed), [false, false]);
    }
}

/// What an operator's tables change is changed before the signature, for each recipient alike, whatever becomes of the copy.
#[test]
fn what_tables_change_in_mail_of_our_users_is_changed_before_it_is_signed() {
    let sink = Sink::start(0, &[]);
    let rest = format!(
        "[[outbound.route]]\nmatch = \"*\"\nto = \"smtp:[127.0.0.1]:{}\"\n\
         [antispam]\nheader_checks = \"regexp:changes\"\nbody_checks = \"regexp:lines\"\n\
         [[antispam.access]]\nstage = \"mail\"\ntable = \"inline:{{{{user@example.test = PREPEND Reply-To: desk@example.test}}}}\"\n\
         everyone = true\n\
         [[antispam.access]]\nstage = \"rcpt\"\ntable = \"inline:{{{{gone@far.test = REDIRECT heir@far.test}}}}\"\n\
         everyone = true\n",
        sink.address.port()
    );
    let mut daemon = Daemon::prepare(PROGRAM, "", &rest);
    daemon.write("lines", "/^Hello/ REPLACE Good day.\n/^(secret|end)/ IGNORE\n/^last/ PREPEND before\n");
    daemon.write(
        "changes",
        "/^Subject: (.*)$/ REPLACE Subject: [checked] $1\n/^To:/ PREPEND X-Policy: seen\n/^(Date|X-Secret):/ IGNORE\n\
         /^Message-ID: <old/ REPLACE Message-ID: <new@example.test>\n",
    );
    daemon.add_account("user@example.test", "secret");
    let made = daemon.tool(&["dkim", "new", "example.test"]);
    let zone = String::from_utf8(made.stdout).unwrap();
    daemon.run();
    let mut client = Client::hello_tls(daemon.submissions);
    assert_eq!(client.log_in("user@example.test", "secret").code, 235);
    let results = "Authentication-Results: mx.example.test; dkim=pass\r\nAuthentication-Results: far.test; spf=pass\r\n";
    let text = format!("X-Secret: 1\r\n{results}{}secret\r\n\r\nlast\r\nend\r\n", letter("old"));
    let recipients = ["friend@far.test", "gone@far.test", "user@example.test"];
    assert_eq!(client.mail("user@example.test", &recipients, &text).code, 250);

    let mut delivered: Vec<String> = sink.wait_for(2).into_iter().map(|taken| taken.text).collect();
    delivered.push(daemon.wait_for_mail("user@example.test", 1).concat().replace('\n', "\r\n"));
    for text in delivered {
        assert_eq!(verify(&zone, &text), [true], "{text}");
        for (words, times) in [
            ("\r\nSubject: [checked] old\r\n", 1),
            ("\r\nX-Policy: seen\r\nTo: ", 1),
            ("\r\nReply-To: desk@example.test\r\n", 1),
            ("\r\nMessage-ID: <new@example.test>\r\n", 1),
            ("\r\nDate: ", 1),
            ("Date: Sun, 22 Nov 2026 02:00:00", 0),
            ("X-Secret", 0),
            ("\r\n\r\nGood day.\r\n\r\nbefore\r\nlast\r\n", 1),
            ("secret", 0),
            // Nobody speaks in our name, whom they may log in as or not.
            ("Authentication-Results: mx.example.test", 0),
            ("Authentication-Results: far.test; spf=pass\r\n", 1),
        ] {
            assert_eq!(text.matches(words).count(), times, "{words}:\n{text}");
        }
    }
}

#[test]
fn mail_of_a_quickstart_verifies_against_the_printed_records() {
    let folder = tempfile::tempdir().unwrap();
    let ports = [support::free_port(), support::free_port(), support::free_port()];
    let listed = ports.map(|port| port.to_string()).join(",");
    let program = |arguments: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).current_dir(folder.path()).stdin(Stdio::null());
        command
    };
    let made =
        program(&["quickstart", "example.test", "--dir", "mail", "--ports", &listed]).output().unwrap();
    let told = String::from_utf8(made.stdout).unwrap();
    let after = |word: &str| told.lines().find_map(|line| line.trim().strip_prefix(word)).unwrap().trim();
    let (mailbox, password) = (after("Mailbox:"), after("Password:"));
    let zone: Vec<&str> = told.lines().filter(|line| line.contains(" IN ") && !line.contains(';')).collect();
    let key = told.lines().find(|line| line.contains("._domainkey.")).unwrap().trim();

    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let mut serve = program(&["serve", "--config", "mail/staffetta.toml"]);
    let _running = Running(serve.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    let address = SocketAddr::from(([127, 0, 0, 1], ports[2]));
    let log = || std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(support::wait_until(|| std::net::TcpStream::connect(address).is_ok()), "{}", log());
    let mut client = Client::hello_tls(address);
    assert_eq!(client.log_in(mailbox, password).code, 235, "{}", log());
    let text = format!("From: {mailbox}\r\nTo: {mailbox}\r\nSubject: First\r\n\r\nIt works.\r\n");
    assert_eq!(client.mail(mailbox, &[mailbox], &text).code, 250);

    let new =
        folder.path().join("mail/mail/example.test").join(mailbox.split('@').next().unwrap()).join("new");
    let mut found = None;
    let arrives = || {
        found =
            std::fs::read_dir(&new).ok().and_then(|mut files| files.next()).map(|file| file.unwrap().path());
        found.is_some()
    };
    assert!(support::wait_until(arrives), "{}", log());
    let arrived = std::fs::read_to_string(found.unwrap()).unwrap().replace('\n', "\r\n");
    assert!(zone.len() > 3, "{told}");
    assert_eq!(verify(key, &arrived), [true], "{arrived}");
}
