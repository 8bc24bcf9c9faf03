//! What holds for any input: pieces make no difference, nothing panics, nothing grows.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::sync::Arc;
use std::time::Instant;

use mail::Reply;
use proptest::prelude::*;
use smtp::{Answer, AuthPolicy, Output, PeerInfo, Question, Role, Session, Settings, TlsInfo};

/// What a session did, in a form in which pieces make no difference.
#[derive(Debug, PartialEq, Eq, Default)]
struct Record {
    said: String,
    /// Bodies, with what became of them.
    bodies: Vec<(Vec<u8>, String)>,
    questions: Vec<String>,
    closed: Option<String>,
}

fn peer(auth: AuthPolicy, trusted: bool) -> PeerInfo {
    let tls =
        TlsInfo { version: String::new(), cipher: String::new(), sni: None, channel_binding: Some([1; 32]) };
    PeerInfo { trusted, auth, tls: (auth != AuthPolicy::Off).then_some(tls), ..PeerInfo::on_this_machine() }
}

fn answer(question: &Question) -> Answer {
    let refused = |text: &str| text.contains('x');
    match question {
        Question::Recipient { bare, .. } if refused(bare) => {
            Answer::Reply(Reply::new(550, (5, 1, 1), "Unknown"))
        }
        Question::Password { authcid, .. } if authcid == "a" => {
            Answer::Authenticated { account: "a".into(), reply: Reply::new(235, (2, 7, 0), "In") }
        }
        Question::Password { .. } | Question::ScramDone { .. } => {
            Answer::Reply(Reply::new(535, (5, 7, 8), "No"))
        }
        Question::ScramKeys { .. } => Answer::Reply(Reply::new(454, (4, 7, 0), "Later")),
        _ => Answer::Reply(Reply::new(250, (2, 0, 0), "Ok")),
    }
}

/// Feeds `input` in pieces of `step` and drains as a driver does.
fn run(input: &[u8], step: usize, role: Role, peer: PeerInfo) -> Record {
    let settings = Settings {
        command_line_bytes_max: 120,
        auth_line_bytes_max: 100,
        errors_max: 30,
        ..Settings::default()
    };
    let now = Instant::now();
    let mut session = Session::new(Arc::new(settings), role, peer, now);
    let (mut record, mut body) = (Record::default(), Vec::new());
    drain(&mut session, &mut record, &mut body, now);
    for piece in input.chunks(step.max(1)) {
        session.receive(piece, now);
        drain(&mut session, &mut record, &mut body, now);
    }
    session.eof(now);
    drain(&mut session, &mut record, &mut body, now);
    record
}

fn drain(session: &mut Session, record: &mut Record, body: &mut Vec<u8>, now: Instant) {
    while let Some(output) = session.poll() {
        match output {
            Output::Send(bytes) => record.said.push_str(&String::from_utf8(bytes).unwrap()),
            Output::Body(bytes) => body.extend_from_slice(&bytes),
            // How much was handed out before a refusal depends on the pieces, and is void.
            Output::BodyAborted(why) => {
                body.clear();
                record.bodies.push((Vec::new(), format!("{why:?}")));
            }
            Output::Ask(question) => {
                if let Question::EndOfData { bytes, .. } = &question {
                    assert_eq!(*bytes, body.len() as u64);
                    record.bodies.push((std::mem::take(body), "whole".to_owned()));
                }
                record.questions.push(format!("{question:?}"));
                session.answer(answer(&question), now);
            }
            Output::Close(why) => record.closed = Some(format!("{why:?}")),
            Output::StartTls => {}
        }
    }
}

/// Input that gets far: whole commands, with some garbage and message text between them.
fn dialogue() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        &b"EHLO c.test\r\n"[..],
        b"LHLO c.test\r\n",
        b"MAIL FROM:<a@b.test>\r\n",
        b"MAIL FROM:<> SIZE=10 BODY=8BITMIME\r\n",
        b"RCPT TO:<c@d.test>\r\n",
        b"RCPT TO:<x@d.test>\r\n",
        b"MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n",
        b"DATA\r\n",
        b"BDAT 7\r\n",
        b"BDAT 20 LAST\r\n",
        b"BDAT 0\r\n",
        b"text\r\n..dot\r\n",
        b"\r\n.\r\n",
        b".\r\n",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"AUTH PLAIN AGEAYg==\r\n",
        b"AUTH LOGIN\r\n",
        b"AUTH SCRAM-SHA-256 biwsbj11LHI9eA==\r\n",
        b"YQ==\r\n",
        b"*\r\n",
        b"STARTTLS\r\n",
        b"HELP\r\n",
        b"a\nb",
        b"a\rb",
        b"\r",
        b"\n",
        b"\r\n",
    ]);
    let piece = prop_oneof![
        12 => word.prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => (100usize..300).prop_map(|length| [vec![b'x'; length], b"\r\n".to_vec()].concat()),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn roles() -> impl Strategy<Value = Role> {
    prop::sample::select(vec![Role::Mx, Role::Submission, Role::Submissions, Role::Lmtp, Role::Local])
}

fn policies() -> impl Strategy<Value = AuthPolicy> {
    prop::sample::select(vec![AuthPolicy::Off, AuthPolicy::Optional, AuthPolicy::Required])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_byte_at_a_time_equals_all_at_once(
        input in dialogue(), step in 1usize..50, role in roles(), auth in policies(), trusted: bool,
    ) {
        let whole = run(&input, input.len(), role, peer(auth, trusted));
        prop_assert_eq!(&run(&input, 1, role, peer(auth, trusted)), &whole);
        prop_assert_eq!(&run(&input, step, role, peer(auth, trusted)), &whole);
    }

    #[test]
    fn garbage_neither_panics_nor_is_taken_for_mail(input in prop::collection::vec(any::<u8>(), 0..2000), role in roles()) {
        let record = run(&input, 64, role, peer(AuthPolicy::Off, false));
        prop_assert!(record.bodies.is_empty());
        prop_assert!(record.said.split_terminator("\r\n").all(|line| line.len() <= 512 && !line.contains(['\r', '\n'])));
    }

    #[test]
    fn every_message_begun_is_completed_or_aborted(input in dialogue(), role in roles()) {
        let record = run(&input, input.len(), role, peer(AuthPolicy::Off, false));
        let begun = record.questions.iter().filter(|question| *question == "Data").count();
        prop_assert_eq!(begun, record.bodies.len());
    }
}

/// What a session keeps is bounded by its settings: feeding it for ever ends in replies or in its own end.
// invariant: I6
#[test]
fn floods_end_or_are_drained() {
    let now = Instant::now();
    let settings = Arc::new(Settings { pipeline_bytes_max: 10_000, ..Settings::default() });
    // A driver that never answers and reads on regardless.
    let mut session = Session::new(Arc::clone(&settings), Role::Mx, peer(AuthPolicy::Off, false), now);
    assert!(matches!(session.poll(), Some(Output::Ask(Question::Connect))));
    assert!(!session.wants_input());
    for _ in 0..11 {
        session.receive(&[b'x'; 1_000], now);
    }
    assert!(matches!(session.poll(), Some(Output::Close(smtp::CloseReason::TooMuchInput))));
    // A peer that never ends its line.
    let mut record = Record::default();
    let mut session = Session::new(settings, Role::Mx, peer(AuthPolicy::Off, false), now);
    for _ in 0..1_000 {
        session.receive(&[b'x'; 1_000], now);
        drain(&mut session, &mut record, &mut Vec::new(), now);
    }
    assert_eq!(record.closed.as_deref(), Some("TooMuchInput"));
    assert_eq!(session.deadline(), None);
}
