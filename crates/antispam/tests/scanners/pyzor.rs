//! Pyzor: the digest beside that of its own program, and a server that has heard of a text.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use antispam::remote::pyzor::digest_lines;
use antispam::remote::settings::Kind;
use support::Running;
use tempfile::TempDir;

use crate::bench::{Stage, at, folder};

/// The interpreter that Debian's package is made for.
const PYTHON: &str = "/usr/bin/python3";

struct Pyzor {
    _server: Running,
    dir: TempDir,
    port: u16,
}

impl Pyzor {
    fn start() -> Option<Self> {
        let program = support::need_program("pyzord")?;
        support::need_program("pyzor")?;
        let (dir, port) = (folder(), support::free_port());
        let rights: String =
            ["check", "report", "ping"].map(|verb| format!("{verb} : anonymous : allow\n")).concat();
        std::fs::write(dir.path().join("access"), rights).unwrap();
        std::fs::write(dir.path().join("passwd"), "").unwrap();
        std::fs::write(dir.path().join("servers"), format!("127.0.0.1:{port}\n")).unwrap();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let mut command = Command::new(PYTHON);
        command.arg(program).arg(format!("--homedir={}", dir.path().display()));
        command.args(["-a", "127.0.0.1", "-e", "gdbm", "--password-file=passwd", "--access-file=access"]);
        command.arg("-p").arg(port.to_string()).arg(format!("--dsn={}/base", dir.path().display()));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let server = Running(command.spawn().unwrap());
        let pyzor = Self { _server: server, dir, port };
        let up = support::wait_until(|| pyzor.client(&["ping"], b"").0);
        assert!(up, "{}", std::fs::read_to_string(pyzor.dir.path().join("log")).unwrap());
        Some(pyzor)
    }

    fn client(&self, arguments: &[&str], input: &[u8]) -> (bool, String) {
        client(self.dir.path(), arguments, input)
    }
}

/// The program of the package: whether it is content, and what it says.
fn client(home: &Path, arguments: &[&str], input: &[u8]) -> (bool, String) {
    let mut command = Command::new(PYTHON);
    command.arg(support::need_program("pyzor").unwrap()).arg("--homedir").arg(home).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

const SPAM: &str = "From: ann@far.test\r\nSubject: offer\r\n\r\nBuy this wonderful thing now\r\n\
                    or write to sales@far.test\r\nsee http://far.test/offer for more of it\r\n";

#[tokio::test]
async fn a_text_that_others_have_reported_is_known() {
    let Some(pyzor) = Pyzor::start() else { return };
    let stage = Stage::new(&at(Kind::Pyzor, pyzor.port));
    let report = stage.of(SPAM.as_bytes()).await;
    assert!(report.unfinished.is_empty() && report.findings.is_empty(), "{report:?}");
    for _ in 0..5 {
        assert!(pyzor.client(&["report"], SPAM.as_bytes()).0);
    }
    let report = stage.of(SPAM.as_bytes()).await;
    assert_eq!(
        (report.findings[0].symbol.as_str(), report.findings[0].evidence.as_str()),
        ("PYZOR_LISTED", "reported 5 times")
    );
    let report = stage.of(b"Subject: x\r\n\r\nshort\r\n").await;
    assert!(report.unfinished.is_empty() && report.findings.is_empty(), "{report:?}");
}

/// Letters of many shapes: the lines that are digested are those that the package's own program prints.
#[test]
fn lines_are_those_of_predigest() {
    if support::need_program("pyzor").is_none() {
        return;
    }
    let home = folder();
    for letter in letters() {
        let (content, theirs) = client(home.path(), &["predigest"], letter.as_bytes());
        assert!(content, "{letter}");
        let theirs: Vec<&str> = theirs.lines().collect();
        assert_eq!(digest_lines(letter.as_bytes()), theirs, "{letter}");
    }
}

/// As they come from many programs: reports with attached letters, headers and fields.
#[test]
fn lines_of_real_reports_are_those_of_predigest() {
    if support::need_program("pyzor").is_none() {
        return;
    }
    let home = folder();
    let bounces = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/messages/bounces");
    let mut seen = 0;
    for entry in std::fs::read_dir(bounces).unwrap() {
        let file = entry.unwrap().path();
        let is_letter = file.extension().is_some_and(|ending| ending == "eml");
        if !is_letter {
            continue;
        }
        let letter = std::fs::read(&file).unwrap();
        let (content, theirs) = client(home.path(), &["predigest"], &letter);
        let theirs: Vec<&str> = theirs.lines().collect();
        assert!(content && digest_lines(&letter) == theirs, "{}: {theirs:?}", file.display());
        seen += 1;
    }
    assert!(seen > 10, "{seen}");
}

fn letters() -> Vec<String> {
    let head = "From: ann@far.test\r\nSubject: x\r\nMIME-Version: 1.0\r\n";
    let long: String = (0..40).map(|n| format!("this is line number {n} of a letter\r\n")).collect();
    let html = "<html><head><style>p { color: red }</style></head><body><p>Dear &amp; beloved friend,</p>\r\n\
                <script>if (a < b) alert()</script>\r\n<a href=\"http://x.test/?a>b\">click on this now</a><br>\r\n\
                caf&eacute; au lait &#8364; 5<!-- not this --> or so it is</body></html>\r\n";
    let flat = [
        format!("\r\n{long}"),
        "\r\nshort\r\nHello dear friend of mine\r\n\r\nwrite to joe@far.test today please\r\n".to_owned(),
        "\r\nwww: see http://a.b ftp:x mailto:joe a:b :c d: ok this\r\nid 0123456789abcdef stays out of it\r\n".to_owned(),
        "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
         Gr=C3=BC=C3=9Fe aus dem S=C3=BCden\r\nund noch eine =\r\nganze Zeile\r\n"
            .to_owned(),
        "Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\nplain words only here\r\n"
            .to_owned(),
        format!(
            "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n",
            support::base64("Zeile eins hat Wörter\nZeile zwei hat auch\n".as_bytes())
        ),
        format!("Content-Type: text/html; charset=utf-8\r\n\r\n{html}"),
    ];
    let parts = format!(
        "Content-Type: multipart/mixed; boundary=b\r\n\r\npreamble that nobody reads\r\n--b\r\n\
         Content-Type: text/plain\r\n\r\nThe first part of it all\r\n--b\r\nContent-Type: text/html\r\n\r\n{html}--b\r\n\
         Content-Type: application/x\r\n\r\nsome thing else in here\r\nand more of that too\r\n--b\r\n\
         Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nwhat was sent on to you\r\n--b--\r\nepilogue of no use\r\n"
    );
    flat.into_iter().chain([parts]).map(|rest| format!("{head}{rest}")).collect()
}
