//! How scanners are asked: by listeners on loopback that answer, hang up or are silent.

use std::time::Instant;

use net::{DnsSettings, NameServer};
use policy::{CheckEnd, Checks};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::testing;

const LETTER: &str = "Subject: hello\n\nHello.\n";

pub(super) fn resolver() -> Resolver {
    let nobody =
        DnsSettings { servers: vec![NameServer("127.0.0.1:9".parse().unwrap())], ..DnsSettings::default() };
    Resolver::from_settings(&nobody).unwrap()
}

fn clamd(address: &str) -> ScannerSettings {
    ScannerSettings::new(Kind::Clamd, address.parse().unwrap())
}

/// All of them as the stage after DATA.
fn stage(all: &[ScannerSettings]) -> (Checks<EndOfData>, Scanners) {
    let mut pipeline = Pipeline::default();
    let hostname = "mx.example.test".parse().unwrap();
    let set = |_: &str| CheckSettings::default();
    let scanners = Scanners::set_up(all, &resolver(), &hostname, &mut pipeline, set).unwrap();
    (pipeline.end_of_data, scanners)
}

fn ends(scanners: &Scanners) -> Vec<(String, End, u64)> {
    let all = scanners.status().into_iter();
    all.flat_map(|status| {
        status.ends.into_iter().map(move |(end, count)| (status.scanner.clone(), end, count))
    })
    .filter(|(_, _, count)| *count > 0)
    .collect()
}

/// A scanner that answers each connection with the next of these, after it has seen the end of a stream; `None` hangs up.
async fn answering(answers: &'static [Option<&'static [u8]>]) -> ScannerSettings {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        for answer in answers {
            let (stream, _) = listener.accept().await.unwrap();
            if let Some(answer) = answer {
                serve(stream, answer).await;
            }
        }
    });
    clamd(&address)
}

async fn serve(mut stream: TcpStream, answer: &[u8]) {
    let mut seen = Vec::new();
    while !seen.ends_with(&[0; 4]) {
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await.unwrap();
        assert_ne!(read, 0, "the stream has an end");
        seen.extend_from_slice(&piece[..read]);
    }
    stream.write_all(answer).await.unwrap();
}

/// Every scanner there is accepts connections and says nothing: all are waited for together, and no longer than the stage may
/// take.
#[tokio::test(start_paused = true)]
async fn scanners_that_hang_cost_one_deadline_together() {
    let mut all = Vec::new();
    let mut listeners = Vec::new();
    for number in 0..6 {
        // Nobody accepts: the kernel does, and then there is silence.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut settings = clamd(&listener.local_addr().unwrap().to_string());
        settings.name = Some(format!("scanner{number}"));
        settings.seconds_max = if number < 3 { 9 } else { 60 };
        listeners.push(listener);
        all.push(settings);
    }
    let (checks, scanners) = stage(&all);
    let begun = tokio::time::Instant::now();
    let facts = testing::message("joe@far.test", LETTER);
    let report = checks.run(&facts, Duration::from_secs(30)).await;
    assert_eq!(begun.elapsed().as_secs(), 30);
    assert_eq!(report.unfinished.len(), 6);
    assert!(report.unfinished.iter().all(|one| one.certain), "and all are asked to come back, in every mode");
    for (number, time) in report.times.iter().enumerate() {
        let (end, seconds) = if number < 3 { (CheckEnd::Unknown, 9) } else { (CheckEnd::OutOfTime, 30) };
        assert_eq!((time.end, time.micros / 1_000_000), (end, seconds), "{}", time.check);
    }
    assert!(
        ends(&scanners).iter().all(|(_, end, count)| (*end, *count) == (End::TimedOut, 1)),
        "{scanners:?}"
    );
}

#[tokio::test]
async fn malware_is_a_ruling_for_all_recipients_and_a_symbol_with_its_name() {
    let (checks, scanners) = stage(&[answering(&[Some(b"stream: Local.Eicar FOUND\0")]).await]);
    let report = checks.run(&testing::message("joe@far.test", LETTER), Duration::from_secs(9)).await;
    assert_eq!(report.findings[0].symbol, "CLAMAV_VIRUS");
    assert_eq!(report.findings[0].evidence, "Local.Eicar");
    let ruling = &report.rulings[0];
    assert_eq!((ruling.source, ruling.scope), (policy::Source::Malware, policy::Scope::Transaction));
    let policy::Order::Reject(reply) = &ruling.order else { panic!("{ruling:?}") };
    assert_eq!(reply.to_string(), "550 5.7.1 This message contains malware: Local.Eicar");
    assert_eq!(ends(&scanners), [("clamav".to_owned(), End::Answered, 1)]);
    assert!(scanners.notices().is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_hangs_up_is_asked_once_more_on_a_fresh_connection() {
    let (checks, scanners) = stage(&[answering(&[None, Some(b"stream: OK\0")]).await]);
    let report = checks.run(&testing::message("joe@far.test", LETTER), Duration::from_secs(9)).await;
    assert!(report.unfinished.is_empty() && report.findings.is_empty(), "{report:?}");
    assert_eq!(ends(&scanners), [("clamav".to_owned(), End::Answered, 1)]);

    let mut once = answering(&[None, Some(b"stream: OK\0")]).await;
    once.retries = 0;
    let (checks, scanners) = stage(&[once]);
    let report = checks.run(&testing::message("joe@far.test", LETTER), Duration::from_secs(9)).await;
    assert_eq!(report.unfinished.len(), 1);
    assert_eq!(ends(&scanners), [("clamav".to_owned(), End::Lost, 1)]);
}

#[tokio::test(start_paused = true)]
async fn who_is_away_is_left_alone_and_taken_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut settings = clamd(&address.to_string());
    (settings.breaker_failures, settings.breaker_seconds) = (2, 30);
    settings.on_unknown = Some(OnUnknown::Ignore);
    let (checks, scanners) = stage(&[settings]);
    let facts = testing::message("joe@far.test", LETTER);
    let ask = async || checks.run(&facts, Duration::from_secs(9)).await;
    for _ in 0..4 {
        let report = ask().await;
        assert_eq!(report.times[0].end, CheckEnd::Unknown);
        assert!(report.unfinished.is_empty(), "nobody is asked to come back");
        assert_eq!(report.findings[0].symbol, "CLAMAV_TIMEOUT");
    }
    let end = |end, count| ("clamav".to_owned(), end, count);
    assert_eq!(ends(&scanners), [end(End::NotAsked, 2), end(End::Unreachable, 2)]);
    assert!(!scanners.status()[0].is_asked);
    let told: Vec<_> = scanners.notices().iter().map(ToString::to_string).collect();
    assert!(told.len() == 1 && told[0].contains("clamav has failed 2 times in a row"), "{told:?}");

    // Back on the same port; the pause is over by the runtime's clock, which is not the one of the wall.
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, b"stream: OK\0").await;
    });
    tokio::time::advance(Duration::from_secs(31)).await;
    assert_eq!(ask().await.times[0].end, CheckEnd::Finished);
    assert_eq!(
        scanners.notices().iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["the scanner clamav answers again"]
    );
    assert!(scanners.status()[0].is_asked);
}

#[tokio::test]
async fn what_was_not_looked_at_is_not_clean() {
    let answers: &[Option<&[u8]>] =
        &[Some(b"INSTREAM size limit exceeded. ERROR\0"), Some(b"what?\0"), Some(&[b'x'; 9000])];
    let mut settings = answering(answers).await;
    settings.retries = 0;
    let (checks, scanners) = stage(&[settings]);
    let facts = testing::message("joe@far.test", LETTER);
    for _ in 0..3 {
        let report = checks.run(&facts, Duration::from_secs(9)).await;
        assert_eq!(report.unfinished.len(), 1, "{report:?}");
    }
    let end = |end, count| ("clamav".to_owned(), end, count);
    assert_eq!(ends(&scanners), [end(End::Declined, 1), end(End::Garbled, 2)]);

    let mut small = clamd("127.0.0.1:1");
    small.message_bytes_max = Some(5);
    let (checks, scanners) = stage(&[small]);
    assert_eq!(checks.run(&facts, Duration::from_secs(9)).await.unfinished.len(), 1);
    assert_eq!(ends(&scanners), [end(End::TooLarge, 1)]);
}

#[tokio::test]
async fn our_own_users_are_looked_at_only_where_that_is_wanted() {
    let mut facts = testing::message("joe@example.test", LETTER);
    let mail = policy::MailFacts { account: Some("joe".into()), ..(*facts.mail).clone() };
    facts.mail = Arc::new(mail);
    for everyone in [true, false] {
        let mut settings = clamd("127.0.0.1:1");
        (settings.everyone, settings.retries) = (Some(everyone), 0);
        let (checks, scanners) = stage(&[settings]);
        assert_eq!(scanners.look_at_everything(), everyone);
        let asked = checks.run(&facts, Duration::from_secs(9)).await.times.len();
        assert_eq!(asked, usize::from(everyone));
    }
    assert!(!Scanners::default().look_at_everything());
}

#[tokio::test]
async fn a_message_in_a_file_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("message");
    std::fs::write(&file, LETTER).unwrap();
    let mut facts = testing::message("joe@far.test", LETTER);
    facts.content = Content::File { path: file.clone().into(), bytes: 10 };
    let (checks, _) = stage(&[answering(&[Some(b"stream: OK\0")]).await]);
    assert!(checks.run(&facts, Duration::from_secs(9)).await.unfinished.is_empty());
    std::fs::remove_file(file).unwrap();
    assert_eq!(checks.run(&facts, Duration::from_secs(9)).await.unfinished.len(), 1);
}

/// A client that goes away says nothing about the scanner; one whose patience ended does.
#[tokio::test(start_paused = true)]
async fn an_asking_that_is_given_up_is_counted_and_ends_a_trial() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = clamd(&listener.local_addr().unwrap().to_string());
    (settings.breaker_failures, settings.seconds_max) = (1, 60);
    let (checks, scanners) = stage(&[settings]);
    let facts = testing::message("joe@far.test", LETTER);
    let begun = Instant::now();
    checks.run(&facts, Duration::from_secs(1)).await;
    assert!(scanners.status()[0].is_asked);
    checks.run(&facts, Duration::from_secs(20)).await;
    assert!(!scanners.status()[0].is_asked);
    let end = |end, count| ("clamav".to_owned(), end, count);
    assert_eq!(ends(&scanners), [end(End::TimedOut, 1), end(End::GivenUp, 1)]);
    assert!(begun.elapsed() < Duration::from_secs(10), "no wall clock was waited for");
}

/// Whatever stands in the answer of a scorer that is none: unknown, and its end is counted for what it is.
#[tokio::test]
async fn what_is_no_answer_is_unknown() {
    let head = "HTTP/1.1 200 OK\r\n";
    let endless = format!("{head}{}", "X-Field: x\r\n".repeat(100));
    let cases: [(Kind, String, End); 14] = [
        (Kind::Spamd, "SPAMD/1.0 76 Bad header line\r\n".into(), End::Declined),
        (Kind::Spamd, "SPAMD/1.1 0 EX_OK\r\nContent-length: 2\r\n\r\nx\n".into(), End::Garbled),
        (Kind::Spamd, "SPAMD/1.1 0 EX_OK\r\nSpam: True ; many / 5\r\n\r\n".into(), End::Garbled),
        (Kind::Spamd, "HTTP/1.1 200 OK\r\n\r\n".into(), End::Garbled),
        (Kind::Spamd, format!("SPAMD/1.1 0 EX_OK\r\n{}", "X: y\r\n".repeat(100)), End::Garbled),
        (Kind::Spamd, "SPAMD/1.1 0 EX_OK\r\nSpam: Tr".into(), End::Lost),
        (Kind::Rspamd, "HTTP/1.1 503 Too busy\r\nContent-Length: 2\r\n\r\n{}".into(), End::Declined),
        (Kind::Rspamd, format!("{head}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), End::Garbled),
        (Kind::Rspamd, format!("{head}Content-Length: 99999999999\r\n\r\n"), End::Garbled),
        (Kind::Rspamd, format!("{head}Content-Length: 2\r\n\r\n{{}}"), End::Garbled),
        (Kind::Rspamd, format!("{head}\r\n{{\"error\": \"no\"}}"), End::Declined),
        (Kind::Rspamd, format!("{head}Content-Length: 20\r\n\r\n{{}}"), End::Lost),
        (Kind::Rspamd, endless, End::Garbled),
        (Kind::Rspamd, "220 mx.example.test ESMTP\r\n".into(), End::Garbled),
    ];
    for (kind, answer, end) in cases {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let told = answer.clone();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"Hello.\r\n") {
                assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0);
            }
            stream.write_all(told.as_bytes()).await.unwrap();
        });
        let mut settings = ScannerSettings::new(kind, address.parse().unwrap());
        settings.retries = 0;
        let (checks, scanners) = stage(&[settings]);
        let report = checks.run(&testing::message("joe@far.test", LETTER), Duration::from_secs(9)).await;
        assert_eq!(report.times[0].end, CheckEnd::Unknown, "{kind:?}: {answer}");
        assert!(report.rulings.is_empty() && report.unfinished.is_empty(), "an opinion that is not heard");
        assert_eq!(ends(&scanners)[0].1, end, "{kind:?}: {answer}");
    }
}

#[tokio::test]
async fn an_opinion_about_what_is_too_large_is_not_asked_for() {
    let mut settings = ScannerSettings::new(Kind::Spamd, "127.0.0.1:1".parse().unwrap());
    settings.message_bytes_max = Some(5);
    let (checks, scanners) = stage(&[settings]);
    let report = checks.run(&testing::message("joe@far.test", LETTER), Duration::from_secs(9)).await;
    assert_eq!(report.times[0].end, CheckEnd::Finished);
    assert_eq!(ends(&scanners), [("spamassassin".to_owned(), End::TooLarge, 1)]);
}
