//! Whole dialogues with milters of our own on loopback: that answer, change, fall silent, hang up or talk nonsense.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use policy::{OnUnknown, Order, Scope, StageReport};
use store::edited;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::tests::resolver;
use super::super::{End, Scanners};
use super::*;

const LETTER: &str = "A: 1\r\nB: 2\r\n\tfolded\r\n\r\nHello.\r\n";
const LONG: Duration = Duration::from_secs(60);

/// What a milter has heard, a frame each; without its macros.
type Heard = Arc<Mutex<Vec<Vec<u8>>>>;

fn frame(letter: u8, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len() + 1).unwrap();
    [&length.to_be_bytes()[..], &[letter], data].concat()
}

/// What a milter answers to an offer: these flags of the protocol.
fn terms(steps: u32) -> Vec<u8> {
    frame(b'O', &[&[0, 0, 0, 6, 0, 0, 1, 0xff][..], &steps.to_be_bytes()].concat())
}

/// A milter that answers frames so, by their letter; nothing to macros. `None` hangs up.
async fn milter(
    name: &str,
    answer: impl Fn(u8, &[u8]) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> (MilterSettings, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let heard = Heard::default();
    let kept = Arc::clone(&heard);
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&answer), Arc::clone(&kept)));
        }
    });
    (MilterSettings::new(name, address.parse().unwrap()), heard)
}

async fn serve(
    mut stream: TcpStream,
    answer: Arc<impl Fn(u8, &[u8]) -> Option<Vec<u8>> + Send + Sync + 'static>,
    heard: Heard,
) {
    loop {
        let Ok(length) = stream.read_u32().await else { return };
        let mut frame = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut frame).await.unwrap();
        if frame[0] != b'D' {
            heard.lock().unwrap().push(frame.clone());
        }
        let Some(octets) = answer(frame[0], &frame[1..]) else { return };
        drop(stream.write_all(&octets).await);
    }
}

/// Content with everything; `more` before the last answer.
fn content(letter: u8, more: &[u8]) -> Option<Vec<u8>> {
    match letter {
        b'O' => Some(terms(0)),
        b'D' | b'A' | b'Q' => Some(Vec::new()),
        b'E' => Some([more, &frame(b'c', b"")].concat()),
        _ => Some(frame(b'c', b"")),
    }
}

fn said(heard: &Heard) -> String {
    let all = std::mem::take(&mut *heard.lock().unwrap());
    let text = |frame: &Vec<u8>| String::from_utf8_lossy(frame).replace('\0', "|");
    all.iter().filter(|frame| frame[0] != b'O').map(text).collect::<Vec<_>>().join(" ")
}

struct Bench {
    milters: Milters,
    scanners: Scanners,
    session: Session,
    greeting: Greeting,
}

impl Bench {
    fn new(all: &[MilterSettings]) -> Self {
        let milters = Milters::new(all, &[], &resolver()).unwrap();
        let mut scanners = Scanners::default();
        scanners.watch(&milters);
        let session = milters.session(&Choice::All);
        let greeting = Greeting {
            name: "mail.far.test".into(),
            address: Some(("192.0.2.9".parse().unwrap(), 4000)),
            helo: "mail.far.test".into(),
            tls: false,
        };
        Self { milters, scanners, session, greeting }
    }

    async fn mail(&mut self) -> StageReport {
        let words = ["<ann@far.test>".to_owned()];
        self.session.mail(&self.greeting, (&words, &Macros::default()), LONG).await
    }

    async fn rcpt(&mut self, who: &str) -> StageReport {
        let words = [format!("<{who}@example.test>")];
        self.session.rcpt((&words, &Macros::default()), false, LONG).await
    }

    async fn message(&mut self) -> (StageReport, Changes) {
        let letter = Bytes::from(LETTER);
        let start = mail::header::body_offset(&letter);
        let draught = Draught::new(&letter, start, &[]);
        self.session.message(draught, &Macros::default(), &mut |octets| octets < 1000, LONG).await
    }

    /// All of a transaction; the reports of its stages.
    async fn all(&mut self) -> (Vec<StageReport>, Changes) {
        let mail = self.mail().await;
        let rcpt = self.rcpt("joe").await;
        let data = self.session.data(&Macros::default(), LONG).await;
        let (message, changes) = self.message().await;
        (vec![mail, rcpt, data, message], changes)
    }

    fn ends(&self) -> Vec<(End, u64)> {
        let all = self.scanners.status().into_iter().flat_map(|status| status.ends);
        all.filter(|(_, count)| *count > 0).collect()
    }
}

fn unknown(reports: &[StageReport]) -> Vec<String> {
    let all = reports.iter().flat_map(|report| &report.findings);
    all.filter(|finding| finding.symbol.as_str().ends_with("_TIMEOUT"))
        .map(|finding| finding.evidence.clone())
        .collect()
}

#[tokio::test]
async fn each_is_told_all_and_sees_what_those_before_it_have_changed() {
    let (one, heard_one) = milter("one", |letter, _| {
        content(letter, &[frame(b'i', b"\0\0\0\x01New\0x\n y\0"), frame(b'b', b"Bye.\r\n")].concat())
    })
    .await;
    let (two, heard_two) = milter("two", |letter, _| content(letter, &frame(b'+', b"<more@b.test>\0"))).await;
    let mut bench = Bench::new(&[one, two]);
    for round in 0..2 {
        let (reports, changes) = bench.all().await;
        assert!(reports.iter().all(|report| report.rulings.is_empty() && report.unfinished.is_empty()));
        let client = if round == 0 { "Cmail.far.test|4\u{f}\u{fffd}192.0.2.9| Hmail.far.test| " } else { "" };
        let begun = format!("{client}M<ann@far.test>| R<joe@example.test>| T");
        assert_eq!(said(&heard_one), format!("{begun} LA|1| LB|2\n\tfolded| N BHello.\r\n E"));
        assert_eq!(said(&heard_two), format!("{begun} LNew|x\n y| LA|1| LB|2\n\tfolded| N BBye.\r\n E"));
        let header =
            edited(&Bytes::from("A: 1\r\nB: 2\r\n\tfolded\r\n\r\n"), &changes.header.unwrap()).concat();
        assert_eq!(header, b"New: x\r\n y\r\nA: 1\r\nB: 2\r\n\tfolded\r\n\r\n");
        assert_eq!((changes.body.unwrap(), changes.added.len()), (Bytes::from("Bye.\r\n"), 1));
        let told: Vec<String> =
            reports[3].findings.iter().map(|f| format!("{} {}", f.symbol.as_str(), f.evidence)).collect();
        let want = [
            "ONE_MILTER changes: 1 changes to the header, another body",
            "TWO_MILTER changes: 1 recipients added",
        ];
        assert_eq!(told, want);
    }
    bench.session.quit().await;
    while heard_one.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(said(&heard_one), "Q");
    assert_eq!(bench.ends(), [(End::Answered, 2), (End::Answered, 2)]);
    assert_eq!(bench.milters.symbols().len(), 4);
}

#[tokio::test]
async fn steps_that_are_not_wanted_are_not_told_and_answers_that_do_not_come_are_not_waited_for() {
    // No connection, no header, no body; no answer to HELO and RCPT.
    let (settings, heard) = milter("one", |letter, _| match letter {
        b'O' => Some(terms(0x0001 | 0x0010 | 0x0020 | 0x2000 | 0x8000)),
        b'H' | b'R' => Some(Vec::new()),
        other => content(other, b""),
    })
    .await;
    let mut bench = Bench::new(&[settings]);
    let (reports, changes) = bench.all().await;
    assert_eq!(unknown(&reports), Vec::<String>::new());
    assert_eq!(said(&heard), "Hmail.far.test| M<ann@far.test>| R<joe@example.test>| T N E");
    assert!(changes.is_empty());
}

#[tokio::test]
async fn a_body_that_is_not_wanted_further_is_not_sent_further() {
    let (settings, heard) = milter("one", |letter, _| match letter {
        b'O' => Some(terms(0x0010_0000)),
        b'B' => Some(frame(b's', b"")),
        other => content(other, &frame(b'h', b"X\0 y\0")),
    })
    .await;
    let mut bench = Bench::new(&[settings]);
    bench.mail().await;
    let letter = Bytes::from(["A: 1\r\n\r\n", &"x".repeat(200_000)].concat());
    let draught = Draught::new(&letter, 8, &[]);
    let (_, changes) = bench.session.message(draught, &Macros::default(), &mut |_| true, LONG).await;
    let chunks = heard.lock().unwrap().iter().filter(|frame| frame[0] == b'B').count();
    assert_eq!(chunks, 1);
    assert!(said(&heard).contains("LA| 1|"), "with the space behind the colon");
    let header = edited(&Bytes::from("A: 1\r\n\r\n"), &changes.header.unwrap()).concat();
    assert_eq!(header, b"A: 1\r\nX: y\r\n\r\n");
}

#[tokio::test]
async fn macros_go_with_each_step_and_a_milter_may_ask_for_others() {
    let all = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&all);
    let (settings, _) = milter("one", move |letter, data| match letter {
        b'O' => Some(frame(
            b'O',
            &[&[0, 0, 0, 6, 0, 0, 1, 0xff, 0, 0, 0, 0, 0, 0, 0, 3][..], b"{client_addr} i\0"].concat(),
        )),
        b'D' => {
            seen.lock().unwrap().push(String::from_utf8_lossy(data).replace('\0', "|"));
            Some(Vec::new())
        }
        other => content(other, b""),
    })
    .await;
    let mut bench = Bench::new(&[settings]);
    let mut macros = Macros::default();
    for (name, value) in
        [("j", "mx.test"), ("i", "ID"), ("client_addr", "192.0.2.9"), ("rcpt_addr", "joe"), ("cipher", "")]
    {
        macros.set(name, value);
    }
    let words = ["<a@b.test>".to_owned()];
    bench.session.mail(&bench.greeting, (&words, &macros), LONG).await;
    bench.session.rcpt((&words, &macros), false, LONG).await;
    assert_eq!(*all.lock().unwrap(), ["Cj|mx.test|", "H", "Mi|ID|", "R{client_addr}|192.0.2.9|i|ID|"]);
}

#[tokio::test]
async fn a_refused_recipient_is_refused_alone() {
    let (one, _) = milter("one", |letter, data| match letter {
        b'R' if data.starts_with(b"<bad") => Some(frame(b'y', b"550 5.7.1 not him\0")),
        b'R' if data.starts_with(b"<later") => Some(frame(b't', b"")),
        other => content(other, b""),
    })
    .await;
    let (two, heard) = milter("two", |letter, _| content(letter, b"")).await;
    let mut bench = Bench::new(&[one, two]);
    bench.mail().await;
    for (who, order) in
        [("bad", "550 5.7.1 not him"), ("later", "451 4.7.1 A filter of this server asks to try again later")]
    {
        let report = bench.rcpt(who).await;
        let [ruling] = &report.rulings[..] else { panic!("{report:?}") };
        assert_eq!((ruling.scope, ruling.key.as_str()), (Scope::Recipient, "antispam.milter[0]"));
        let (Order::Reject(reply) | Order::Defer(reply)) = &ruling.order else { panic!("{ruling:?}") };
        assert_eq!(reply.to_string(), order);
    }
    assert!(bench.rcpt("joe").await.rulings.is_empty());
    let (report, _) = bench.message().await;
    assert!(report.rulings.is_empty() && report.unfinished.is_empty());
    assert!(said(&heard).contains("M<ann@far.test>| R<joe@example.test>| LA"), "only of him");
}

#[tokio::test]
async fn who_is_refused_at_the_door_is_refused_for_the_session_and_who_is_accepted_is_let_be() {
    for (at, with, want) in [(b'C', b'r', 1), (b'H', b't', 1), (b'C', b'a', 0)] {
        let (settings, heard) =
            milter(
                "one",
                move |letter, _| {
                    if letter == at { Some(frame(with, b"")) } else { content(letter, b"") }
                },
            )
            .await;
        let mut bench = Bench::new(&[settings]);
        for _ in 0..2 {
            let (reports, _) = bench.all().await;
            let rulings: usize = reports.iter().map(|report| report.rulings.len()).sum();
            assert_eq!(rulings, want);
        }
        let told = said(&heard);
        assert_eq!(told.matches("Cmail").count(), 1, "{told}");
        assert!(!told.contains("M<"), "{told}");
    }
}

#[tokio::test]
async fn every_kind_of_end_is_an_order_for_the_message() {
    for (letter, with, order) in [
        (b'M', b'd', "discard"),
        (b'R', b'd', "discard"),
        (b'T', b'r', "reject"),
        (b'L', b't', "defer"),
        (b'N', b'r', "reject"),
        (b'B', b'd', "discard"),
        (b'E', b'r', "reject"),
        (b'E', b'd', "discard"),
    ] {
        let (settings, _) = milter("one", move |frame_letter, _| {
            if frame_letter == letter { Some(frame(with, b"")) } else { content(frame_letter, b"") }
        })
        .await;
        let (other, heard) = milter("two", |letter, _| content(letter, b"")).await;
        let mut bench = Bench::new(&[settings, other]);
        for _ in 0..2 {
            let (reports, changes) = bench.all().await;
            let rulings: Vec<_> = reports.iter().flat_map(|report| &report.rulings).collect();
            assert_eq!(rulings.len(), 1, "{}", char::from(letter));
            assert_eq!((rulings[0].order.as_str(), rulings[0].scope), (order, Scope::Transaction));
            assert!(changes.is_empty());
            assert!(!said(&heard).contains(" E"), "{}", char::from(letter));
        }
    }
    let more = [frame(b'q', b"looks odd\0"), frame(b'p', b"")].concat();
    let (settings, _) = milter("one", move |letter, _| content(letter, &more)).await;
    let (reports, _) = Bench::new(&[settings]).all().await;
    let ruling = &reports[3].rulings[0];
    assert_eq!((ruling.order.as_str(), ruling.evidence.as_str()), ("quarantine", "message: looks odd"));
}

/// Whatever a milter does at whatever step, it is unknown, in time, and what it changed is not made.
#[tokio::test(start_paused = true)]
async fn what_is_no_answer_is_unknown() {
    let endless: Vec<u8> = frame(b'p', b"").repeat(10_000);
    let long = [&[0, 0x20, 0, 0][..], b"c"].concat();
    let begun = [frame(b'h', b"X\0y\0"), frame(b'b', b"half")].concat();
    let big = frame(b'b', &[b'x'; 2000]);
    let early = frame(b'h', b"X\0y\0");
    for at in *b"OCHMRTLNBE" {
        for (nonsense, want) in [
            (Some(b"\0\0\0\x01Z".to_vec()), "not understood"),
            (Some(long.clone()), "not understood"),
            (Some(b"\0\0\0\0".to_vec()), "not understood"),
            (Some(Vec::new()), "no answer in"),
            (None, "was lost"),
            (Some(endless.clone()), "no answer in"),
            (Some(if at == b'E' { big.clone() } else { early.clone() }), "not understood"),
            (if at == b'E' { Some(begun.clone()) } else { Some(Vec::new()) }, "no answer in"),
        ] {
            for on_unknown in [OnUnknown::Tempfail, OnUnknown::Ignore] {
                let nonsense = nonsense.clone();
                let shown = format!("{} {:?}", char::from(at), nonsense.as_ref().map(Vec::len));
                let (mut settings, _) = milter("one", move |letter, _| {
                    if letter == at { nonsense.clone() } else { content(letter, &frame(b'h', b"X\0y\0")) }
                })
                .await;
                settings.on_unknown = on_unknown;
                settings.retries = 0;
                let begun = tokio::time::Instant::now();
                let mut bench = Bench::new(&[settings]);
                let (reports, changes) = bench.all().await;
                // Anything may wait for the longest that it has, and for no more.
                assert!(begun.elapsed() <= Duration::from_secs(31), "{shown}");
                assert!(changes.is_empty(), "{shown}");
                let why = unknown(&reports);
                let want = if at == b'O' { "" } else { want };
                assert!(why.len() == 1 && why[0].contains(want), "{shown}: {why:?}, not {want}");
                let unfinished: Vec<_> = reports.iter().flat_map(|report| &report.unfinished).collect();
                assert_eq!(unfinished.len(), usize::from(on_unknown == OnUnknown::Tempfail), "{shown}");
                assert!(unfinished.iter().all(|one| one.certain && one.scope == Scope::Transaction));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_away_is_left_alone_and_one_that_is_back_is_asked_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut settings = MilterSettings::new("one", address.to_string().parse().unwrap());
    settings.breaker_failures = 2;
    let mut bench = Bench::new(&[settings]);
    for _ in 0..4 {
        let report = bench.mail().await;
        assert_eq!(report.unfinished.len(), 1);
    }
    assert_eq!(bench.ends(), [(End::NotAsked, 2), (End::Unreachable, 2)]);
    assert_eq!(bench.scanners.notices().len(), 1);
    let back = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move {
        let (stream, _) = back.accept().await.unwrap();
        serve(stream, Arc::new(|letter, _: &[u8]| content(letter, b"")), Heard::default()).await;
    });
    tokio::time::advance(Duration::from_secs(31)).await;
    let (reports, _) = bench.all().await;
    assert!(reports.iter().all(|report| report.unfinished.is_empty()), "{reports:?}");
    assert!(bench.scanners.status()[0].is_asked);
}

#[tokio::test(start_paused = true)]
async fn all_that_hang_cost_no_more_than_the_stage_may_take() {
    let mut all = Vec::new();
    for name in ["one", "two", "three"] {
        let (mut settings, _) =
            milter(name, |letter, _| if letter == b'E' { Some(Vec::new()) } else { content(letter, b"") })
                .await;
        settings.on_unknown = OnUnknown::Ignore;
        settings.content_seconds_max = 40;
        all.push(settings);
    }
    let mut bench = Bench::new(&all);
    bench.mail().await;
    let begun = tokio::time::Instant::now();
    let (report, _) = bench.message().await;
    assert_eq!(begun.elapsed().as_secs(), 60);
    assert_eq!(unknown(&[report]).len(), 3);
}

#[test]
fn names_are_apart_and_listeners_choose() {
    let one = |name: &str| MilterSettings {
        local: name == "two",
        ..MilterSettings::new(name, "127.0.0.1:1".parse().unwrap())
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _within = runtime.enter();
    let scanner = ScannerSettings::new(crate::remote::settings::Kind::Clamd, "127.0.0.1:1".parse().unwrap());
    for (names, wrong) in [(["one", "one"], 1), (["clamav", "two"], 0)] {
        let error = Milters::new(&names.map(one), std::slice::from_ref(&scanner), &resolver()).unwrap_err();
        assert_eq!((error.number, error.key), (wrong, "name"));
    }
    let milters = Milters::new(&["one", "two"].map(one), &[], &resolver()).unwrap();
    let named = |names: &[&str]| Choice::Named(names.iter().map(|name| (*name).to_owned()).collect());
    for (choice, want) in
        [(Choice::All, 2), (Choice::Local, 1), (named(&["two", "gone"]), 1), (named(&[]), 0)]
    {
        assert_eq!(milters.session(&choice).len(), want, "{choice:?}");
    }
}

#[tokio::test]
async fn commands_that_are_not_known_are_told_to_who_listens() {
    let later = frame(b'y', b"450 4.7.1 not now\0");
    let never = frame(b'y', b"550 5.7.1 never\0");
    for (answer, want) in
        [(frame(b'c', b""), None), (later, Some(450)), (never, None), (frame(b'r', b""), None)]
    {
        let said_so = answer.clone();
        let (settings, heard) = milter("one", move |letter, _| match letter {
            b'U' => Some(said_so.clone()),
            _ => content(letter, b""),
        })
        .await;
        let mut bench = Bench::new(&[settings]);
        let (report, reply) = bench.session.unknown("EARLY", LONG).await;
        assert!(reply.is_none() && report.findings.is_empty(), "it has not heard of the client yet");
        bench.mail().await;
        let (report, reply) = bench.session.unknown("BOGUS x  y", LONG).await;
        assert_eq!(reply.map(|reply| reply.code), want);
        assert!(
            report.rulings.is_empty() && report.unfinished.is_empty(),
            "it refuses nothing else: {report:?}"
        );
        bench.rcpt("joe").await;
        let heard = said(&heard);
        assert!(heard.contains(" UBOGUS x  y| R"), "{heard}");
    }
    // Who does not want them, or is too old to know of them, is not told; who hangs up has failed the transaction.
    for (offer, version) in [(0x100_u32, 6_u8), (0, 2)] {
        let (settings, heard) = milter("one", move |letter, _| match letter {
            b'O' => {
                Some(frame(b'O', &[&[0, 0, 0, version, 0, 0, 1, 0xff][..], &offer.to_be_bytes()].concat()))
            }
            _ => content(letter, b""),
        })
        .await;
        let mut bench = Bench::new(&[settings]);
        bench.mail().await;
        assert!(bench.session.unknown("BOGUS", LONG).await.1.is_none());
        assert!(!said(&heard).contains("UBOGUS"));
    }
    let (settings, _) =
        milter("one", |letter, _| if letter == b'U' { None } else { content(letter, b"") }).await;
    let mut bench = Bench::new(&[settings]);
    bench.mail().await;
    let (report, reply) = bench.session.unknown("BOGUS", LONG).await;
    assert!(reply.is_none() && report.unfinished.len() == 1, "nothing passes without its word: {report:?}");
}
