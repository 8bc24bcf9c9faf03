//! Programs that people send mail with log in and submit, over STARTTLS and with TLS from the start.

use std::process::Command;

use support::Daemon;

use crate::{USER, daemon, letter};

/// Runs it; it must succeed.
fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&text));
}

/// Messages with these subjects came from a user who logged in under TLS.
fn arrived(daemon: &Daemon, subjects: &[&str]) {
    let all = daemon.wait_for_mail(USER, subjects.len());
    for subject in subjects {
        let mail = all.iter().find(|mail| mail.contains(&format!("Subject: {subject}\n")));
        assert!(mail.is_some_and(|mail| mail.contains("with ESMTPSA id")), "{subject}: {all:?}");
    }
}

#[test]
fn swaks_submits() {
    let Some(program) = support::need_program("swaks") else { return };
    let with_tls = Command::new(&program).arg("--support").output().unwrap();
    if !String::from_utf8_lossy(&with_tls.stdout).contains("=== TLS supported") {
        return support::skip("swaks has no TLS: libnet-ssleay-perl not installed");
    }
    let daemon = daemon("", "");
    let ways = [
        ("swaks-plain", "PLAIN", "--tls", daemon.submission),
        ("swaks-login", "LOGIN", "--tls", daemon.submission),
        ("swaks-tls", "PLAIN", "--tls-on-connect", daemon.submissions),
    ];
    for (subject, mechanism, tls, address) in ways {
        run(Command::new(&program)
            .args(["--server", "127.0.0.1", "--port", &address.port().to_string(), tls])
            .args(["--auth", mechanism, "--auth-user", USER, "--auth-password", "secret"])
            .args(["--from", USER, "--to", USER, "--header", &format!("Subject: {subject}")]));
    }
    arrived(&daemon, &ways.map(|way| way.0));
    let wrong = Command::new(&program)
        .args(["--server", "127.0.0.1", "--port", &daemon.submissions.port().to_string(), "--tls-on-connect"])
        .args([
            "--auth",
            "PLAIN",
            "--auth-user",
            USER,
            "--auth-password",
            "wrong",
            "--to",
            USER,
            "--from",
            USER,
        ])
        .output()
        .unwrap();
    assert!(
        !wrong.status.success() && String::from_utf8_lossy(&wrong.stdout).contains("535 5.7.8"),
        "{wrong:?}"
    );
}

#[test]
fn curl_submits() {
    let Some(program) = support::need_program("curl") else { return };
    let daemon = daemon("", "");
    let ways = [
        ("curl-starttls", "smtp", daemon.submission.port()),
        ("curl-tls", "smtps", daemon.submissions.port()),
    ];
    for (subject, scheme, port) in ways {
        daemon.write("letter", &letter(subject));
        run(Command::new(&program)
            .args(["--silent", "--show-error", "--insecure", "--ssl-reqd", "--noproxy", "*"])
            .args([
                "--url",
                &format!("{scheme}://127.0.0.1:{port}/client.test"),
                "--user",
                &format!("{USER}:secret"),
            ])
            .args(["--mail-from", USER, "--mail-rcpt", USER, "--upload-file", "letter"])
            .current_dir(daemon.folder()));
    }
    arrived(&daemon, &ways.map(|way| way.0));
}

const PYTHON: &str = r#"
import smtplib, ssl, sys
from email.message import EmailMessage
starttls, tls, user = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
context = ssl._create_unverified_context()
for subject, server in [
    ("python-starttls", smtplib.SMTP("127.0.0.1", starttls)),
    ("python-tls", smtplib.SMTP_SSL("127.0.0.1", tls, context=context)),
]:
    if subject == "python-starttls":
        server.starttls(context=context)
    server.login(user, "secret")
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = user, user, subject
    message.set_content("Gr\u00fc\u00dfe\n.dot\n")
    assert server.send_message(message) == {}
    try:
        server.sendmail("other@example.test", [user], "Subject: forged\r\n\r\nx\r\n")
        sys.exit("another sender was accepted")
    except smtplib.SMTPSenderRefused as refusal:
        assert refusal.smtp_code == 550, refusal
    server.quit()
"#;

#[test]
fn python_submits() {
    let Some(program) = support::need_program("python3") else { return };
    let daemon = daemon("", "");
    let ports = [daemon.submission, daemon.submissions].map(|address| address.port().to_string());
    run(Command::new(program).args(["-c", PYTHON]).args(ports).arg(USER));
    arrived(&daemon, &["python-starttls", "python-tls"]);
}
