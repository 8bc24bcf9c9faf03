//! Every line letter by letter, and a log whose sink blocks or breaks.

use super::*;
use std::io::Write;
use std::sync::mpsc;
use std::sync::{Condvar, Mutex};

/// A sink whose text can be read.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn noon() -> Timestamp {
    Timestamp(1_795_309_323_456)
}

fn log(format: Format) -> (MailLog, Page) {
    let page = Page::default();
    let settings = Settings { format, ..Settings::default() };
    (MailLog::start(settings, noon, Box::new(page.clone())).unwrap(), page)
}

const ID: QueueId = QueueId(0x0012_3456_789a_bcde);

fn client() -> Client<'static> {
    Client { name: Some("mail.a.test"), ip: Some("192.0.2.1".parse().unwrap()) }
}

fn write_one_of_each(log: &MailLog) {
    let from = ReversePath::Mailbox("a@a.test".parse().unwrap());
    log.session(&SessionLine {
        session: "00JX4M8ZQ0001",
        listener: "mx",
        client: client(),
        helo: Some("mail.a.test"),
        account: None,
        tls: Some("TLSv1.3 TLS_AES_256_GCM_SHA384"),
        commands: 6,
        messages: 1,
        recipients: 2,
        bytes: 4096,
        errors: 0,
        end: "quit",
        lasted: Duration::from_millis(1234),
    });
    log.refused(&RefusedLine {
        session: "00JX4M8ZQ0001",
        stage: "rcpt",
        listener: "mx",
        client: Client { name: None, ..client() },
        helo: Some("x"),
        from: Some(&ReversePath::Null),
        to: Some("nobody@b.test"),
        reply: &Reply::new(550, (5, 1, 1), "no such user"),
    });
    log.accepted(&AcceptedLine {
        id: ID,
        listener: "submission",
        client: client(),
        helo: None,
        account: Some("a@a.test"),
        tls: None,
        from: &from,
        recipients: 2,
        size: 4096,
        message_id: Some("1@a.test"),
    });
    log.delivery(&DeliveryLine {
        id: ID,
        to: "c@c.test",
        accepted_as: Some("b@b.test"),
        agent: "smtp",
        relay: Some("mx.c.test[192.0.2.7]:25"),
        delay: Duration::from_millis(61_500),
        result: queue::DeliveryResult::Deferred(queue::Trouble::Recipient),
        reply: &Reply::new(450, (4, 2, 1), "try\nlater"),
    });
    log.report(&ReportLine { id: ID, kind: "failed", to: &from, report: Some(QueueId(7)), suppressed: None });
    log.auth(&AuthLine {
        client: client(),
        listener: "submission",
        mechanism: "PLAIN",
        account: None,
        result: "failure",
    });
    log.steered(&SteeredLine { id: ID, order: "delete", from: &from, waiting: 2 });
    log.aged_out(&SteeredLine { id: ID, order: "expire", from: &from, waiting: 1 });
    log.notice(Level::Warning, "certificate expires in 3 days");
    log.flush();
}

#[test]
fn text_lines_are_these() {
    let (log, page) = log(Format::Text);
    write_one_of_each(&log);
    let want = "\
2026-11-22T01:02:03.456Z staffetta/session: session=00JX4M8ZQ0001, listener=mx, client=mail.a.test[192.0.2.1], helo=<mail.a.test>, tls=TLSv1.3 TLS_AES_256_GCM_SHA384, commands=6, messages=1, nrcpt=2, size=4096, errors=0, end=quit, seconds=1.234
2026-11-22T01:02:03.456Z staffetta/refuse: session=00JX4M8ZQ0001, stage=rcpt, listener=mx, client=unknown[192.0.2.1], helo=<x>, from=<>, to=<nobody@b.test> (550 5.1.1 no such user)
2026-11-22T01:02:03.456Z staffetta/accept: 004HMASW9NF6Y: listener=submission, client=mail.a.test[192.0.2.1], account=a@a.test, message-id=<1@a.test>, from=<a@a.test>, size=4096, nrcpt=2
2026-11-22T01:02:03.456Z staffetta/deliver: 004HMASW9NF6Y: to=<c@c.test>, orig_to=<b@b.test>, agent=smtp, relay=mx.c.test[192.0.2.7]:25, delay=61.500, dsn=4.2.1, status=deferred (450 4.2.1 try later)
2026-11-22T01:02:03.456Z staffetta/report: 004HMASW9NF6Y: kind=failed, to=<a@a.test>, report=0000000000007
2026-11-22T01:02:03.456Z staffetta/auth: listener=submission, client=mail.a.test[192.0.2.1], sasl_method=PLAIN, result=failure
2026-11-22T01:02:03.456Z staffetta/operator: 004HMASW9NF6Y: order=delete, from=<a@a.test>, nrcpt=2
2026-11-22T01:02:03.456Z staffetta/quarantine: 004HMASW9NF6Y: order=expire, from=<a@a.test>, nrcpt=1
2026-11-22T01:02:03.456Z staffetta/notice: level=warning, certificate expires in 3 days
";
    assert_eq!(page.text(), want);
}

#[test]
fn json_lines_have_the_same_fields() {
    let (log, page) = log(Format::Json);
    write_one_of_each(&log);
    let lines: Vec<serde_json::Value> =
        page.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 9);
    assert_eq!(lines[0]["client"], "192.0.2.1");
    assert_eq!(lines[0]["client_name"], "mail.a.test");
    assert_eq!(lines[0]["seconds"], 1.234);
    assert_eq!(lines[1]["reply"], "550 5.1.1 no such user");
    assert_eq!(lines[2]["queue_id"], "004HMASW9NF6Y");
    assert_eq!(lines[3]["status"], "deferred");
    assert_eq!(lines[6]["order"], "delete");
    assert_eq!((&lines[7]["event"], &lines[7]["order"]), (&"quarantine".into(), &"expire".into()));
    assert_eq!(lines[8]["text"], "certificate expires in 3 days");
}

#[test]
fn no_peer_can_forge_a_line_or_a_field() {
    for format in [Format::Text, Format::Json] {
        let (log, page) = log(format);
        let evil = "x>\r\n2026 staffetta/deliver: status=sent, to=<\u{202e}";
        log.auth(&AuthLine {
            client: client(),
            listener: "mx",
            mechanism: "PLAIN",
            account: Some(evil),
            result: "failure",
        });
        log.refused(&RefusedLine {
            session: "00JX4M8ZQ0001",
            stage: "helo",
            listener: "mx",
            client: Client { name: Some("a[10.0.0.1], x=y"), ..client() },
            helo: Some(evil),
            from: None,
            to: None,
            reply: &Reply::plain(501, "a\r\nb"),
        });
        log.flush();
        let text = page.text();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(!text.contains(['\r', '\u{202e}']), "{text}");
        if format == Format::Text {
            assert!(!text.contains(", status=") && !text.contains("account=x>\r"), "{text}");
            assert!(text.contains("client=a?10.0.0.1???x?y[192.0.2.1]"), "{text}");
        }
    }
}

#[test]
fn long_values_are_cut() {
    let (log, page) = log(Format::Text);
    log.notice(Level::Info, &"ä".repeat(10_000));
    log.flush();
    assert!(page.text().chars().count() < VALUE_CHARS_MAX + 100);
}

/// A sink that blocks until it is let go, and tells when it is entered.
struct Gate {
    entered: mpsc::Sender<()>,
    open: Arc<(Mutex<bool>, Condvar)>,
    page: Page,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = self.entered.send(());
        let mut open = self.open.0.lock().unwrap();
        while !*open {
            open = self.open.1.wait(open).unwrap();
        }
        self.page.write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_sink_that_blocks_costs_lines_and_never_time() {
    let (entered, is_entered) = mpsc::channel();
    let open = Arc::new((Mutex::new(false), Condvar::new()));
    let page = Page::default();
    let gate = Gate { entered, open: Arc::clone(&open), page: page.clone() };
    let settings = Settings { buffer_bytes_max: 1000, linger: Duration::ZERO, ..Settings::default() };
    let log = MailLog::start(settings, noon, Box::new(gate)).unwrap();
    log.notice(Level::Info, "first");
    is_entered.recv().unwrap();
    for _ in 0..100 {
        log.notice(Level::Info, "while the sink is blocked");
    }
    let lost = log.lines_lost();
    assert!((80..100).contains(&lost), "{lost}");
    *open.0.lock().unwrap() = true;
    open.1.notify_all();
    log.flush();
    let text = page.text();
    assert!(text.contains(&format!("{lost} log lines lost")), "{text}");
    assert_eq!(text.lines().count(), 1 + 100 - usize::try_from(lost).unwrap() + 1);
}

struct Broken;
impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_sink_that_fails_is_counted() {
    let log = MailLog::start(Settings::default(), noon, Box::new(Broken)).unwrap();
    log.notice(Level::Info, "a");
    log.notice(Level::Info, "b");
    log.flush();
    assert_eq!(log.lines_lost(), 2);
}

#[test]
fn what_was_logged_is_written_when_the_log_goes() {
    let (log, page) = log(Format::Text);
    log.notice(Level::Info, "last words");
    drop(log);
    assert!(page.text().contains("last words"));
}

/// A symbol's name cannot hold a comma; the words of a check or a table can.
#[test]
fn a_verdict_names_who_decided_and_the_heaviest_symbols() {
    use policy::record::Points;
    use policy::tally::{Line, Note};
    use policy::{About, Action, DecidedBy, Score, Source, Stage, Symbol, VerdictRecord};
    let line = |name: &'static str, points| Line {
        symbol: Symbol::new(name),
        evidence: "a peer's words".to_owned(),
        full: points,
        points,
        note: Note::Whole,
    };
    let lines =
        [vec![line("ZEN_SBL", Score::tenths(40))], vec![line("B", Score::tenths(-5)); SYMBOLS_MAX]].concat();
    let mut record = VerdictRecord {
        about: About {
            id: "00JX4M8ZQ0002".to_owned(),
            session: "00JX4M8ZQ0001".to_owned(),
            at: noon(),
            stage: Stage::Rcpt,
            client: "192.0.2.1".parse().unwrap(),
            client_name: None,
            helo: None,
            account: None,
            sender: Some(String::new()),
        },
        action: Action::Reject,
        decided: DecidedBy::Ruling {
            source: Source::Access,
            order: "reject".to_owned(),
            key: "antispam.access[0] a, b=c:12".to_owned(),
            evidence: String::new(),
        },
        reply: None,
        recipients: Vec::new(),
        points: Points { lines, total: Score::tenths(55), ..Points::default() },
        dns: Vec::new(),
        times: Vec::new(),
        left_out: 0,
    };
    let (log, page) = log(Format::Text);
    log.verdict(&VerdictLine { id: None, record: &record, required: Score::points(5) });
    record.points.lines.clear();
    record.decided = DecidedBy::Nothing;
    log.verdict(&VerdictLine { id: Some(ID), record: &record, required: Score::points(5) });
    log.flush();
    let many = ",B(-0.5)".repeat(SYMBOLS_MAX - 1);
    assert_eq!(
        page.text(),
        format!(
            "2026-11-22T01:02:03.456Z staffetta/verdict: session=00JX4M8ZQ0001, client=unknown[192.0.2.1], from=<>, \
             nrcpt=0, stage=rcpt, action=reject, score=5.5, required=5.0, symbols=ZEN_SBL(4.0){many},+1, \
             decided=access antispam.access[0] a? b?c:12\n\
             2026-11-22T01:02:03.456Z staffetta/verdict: 004HMASW9NF6Y: session=00JX4M8ZQ0001, \
             client=unknown[192.0.2.1], from=<>, nrcpt=0, stage=rcpt, action=reject, score=5.5, required=5.0, \
             symbols=none\n"
        )
    );
}
