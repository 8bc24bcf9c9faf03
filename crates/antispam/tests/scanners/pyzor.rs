//! Pyzor: the digest beside that of its own program, and a server that has heard of a text.

use std::net::UdpSocket;
use std::path::Path;

use antispam::learn::Class;
use antispam::remote::pyzor::digest_lines;
use antispam::remote::pyzor::report::{Reporter, Text};
use antispam::remote::settings::{Kind, ScannerSettings};
use mail::Timestamp;
use net::{DnsSettings, NameServer, Resolver};
use support::Pyzord;

use crate::bench::{Stage, at, folder};

const NOW: Timestamp = Timestamp(1_795_309_323_000);

const SPAM: &str = "From: ann@far.test\r\nSubject: offer\r\n\r\nBuy this wonderful thing now\r\n\
                    or write to sales@far.test\r\nsee http://far.test/offer for more of it\r\n";

#[tokio::test]
async fn a_text_that_others_have_reported_is_known() {
    let Some(pyzor) = Pyzord::start(&["check", "report"]) else { return };
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

fn reporter(settings: &ScannerSettings) -> Reporter {
    let dns =
        DnsSettings { servers: vec!["127.0.0.1:9".parse::<NameServer>().unwrap()], ..DnsSettings::default() };
    Reporter::new(std::slice::from_ref(settings), &Resolver::from_settings(&dns).unwrap()).unwrap()
}

async fn told(settings: &ScannerSettings, class: Class) -> Option<String> {
    let text = Text::of(SPAM.as_bytes()).unwrap();
    let failed = reporter(settings).tell(&text, class, NOW).await;
    failed.first().map(ToString::to_string)
}

#[tokio::test]
async fn what_is_reported_counts_and_what_is_cleared_counts_as_such() {
    let Some(pyzor) = Pyzord::start(&["check", "report", "whitelist"]) else { return };
    let settings = at(Kind::Pyzor, pyzor.port);
    let counts = || {
        pyzor
            .client(&["check"], SPAM.as_bytes())
            .1
            .split('\t')
            .skip(2)
            .map(|n| n.trim().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(counts(), ["0", "0"]);
    assert_eq!(told(&settings, Class::Spam).await, None);
    assert_eq!(counts(), ["1", "0"], "the package's own client finds it by the same digest");
    for _ in 0..4 {
        assert_eq!(told(&settings, Class::Spam).await, None);
    }
    let stage = Stage::new(&settings);
    assert_eq!(stage.of(SPAM.as_bytes()).await.findings[0].evidence, "reported 5 times");
    assert_eq!(told(&settings, Class::Ham).await, None);
    assert_eq!(counts(), ["5", "1"]);
    assert!(stage.of(SPAM.as_bytes()).await.findings.is_empty());
    assert_eq!(Text::of(b"Subject: x\r\n\r\nshort\r\n"), None);
}

#[tokio::test]
async fn who_cannot_be_told_says_why() {
    if let Some(pyzor) = Pyzord::start(&["check", "report"]) {
        let why = told(&at(Kind::Pyzor, pyzor.port), Class::Ham).await.unwrap();
        assert!(why.starts_with(&format!("pyzor (127.0.0.1:{}): it says: 403", pyzor.port)), "{why}");
    }
    let closed = told(&at(Kind::Pyzor, support::free_port()), Class::Spam).await.unwrap();
    assert!(closed.contains("it cannot be reached: "), "{closed}");
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let settings = ScannerSettings { seconds_max: 1, ..at(Kind::Pyzor, silent.local_addr().unwrap().port()) };
    let why = told(&settings, Class::Spam).await.unwrap();
    assert!(why.ends_with("no answer") || why.ends_with("no answer in 1 seconds"), "{why}");
    silent.set_nonblocking(true).unwrap();
    let mut datagram = [0; 2000];
    let length = silent.recv(&mut datagram).unwrap();
    let said = String::from_utf8_lossy(&datagram[..length]);
    assert!(said.starts_with("Op: report\nOp-Digest: ") && said.contains("\nOp-Spec: 20,3,60,3\n"), "{said}");
    assert!(silent.recv(&mut datagram).is_err(), "it is never said twice");
}

/// Letters of many shapes: the lines that are digested are those that the package's own program prints.
#[test]
fn lines_are_those_of_predigest() {
    if support::need_program("pyzor").is_none() {
        return;
    }
    let home = folder();
    for letter in letters() {
        let (content, theirs) = support::pyzor(home.path(), &["predigest"], letter.as_bytes());
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
        let (content, theirs) = support::pyzor(home.path(), &["predigest"], &letter);
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
