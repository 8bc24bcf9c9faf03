//! The session as its caller sees it: what goes in one write, when input is wanted, when time is up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mail::Reply;

use super::*;
use crate::{Answer, NotAsked, Output, PeerInfo, Question, Role};

/// A session and whoever answers it: yes to everything.
struct Desk {
    session: Session,
    now: Instant,
    sent: Vec<String>,
    body: Vec<u8>,
    aborted: Vec<BodyAbort>,
    closed: Option<CloseReason>,
}

impl Desk {
    fn new(settings: Settings, role: Role, peer: PeerInfo) -> Self {
        let now = Instant::now();
        let session = Session::new(Arc::new(settings), role, peer, now);
        let mut desk = Self { session, now, sent: vec![], body: vec![], aborted: vec![], closed: None };
        desk.drain();
        desk
    }

    fn mx() -> Self {
        Self::new(Settings::default(), Role::Mx, PeerInfo { trusted: false, ..PeerInfo::on_this_machine() })
    }

    fn say(&mut self, bytes: &[u8]) -> &mut Self {
        self.session.receive(bytes, self.now);
        self.drain();
        self
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Send(bytes) => self.sent.push(String::from_utf8(bytes).unwrap()),
                Output::Body(bytes) => self.body.extend_from_slice(&bytes),
                Output::BodyAborted(why) => self.aborted.push(why),
                Output::Ask(question) => self.session.answer(yes(&question), self.now),
                Output::Close(reason) => self.closed = Some(reason),
                Output::StartTls => {}
            }
        }
    }
}

fn yes(question: &Question) -> Answer {
    Answer::Reply(match question {
        Question::EndOfData { .. } => Reply::new(250, (2, 0, 0), "queued"),
        _ => Reply::new(250, (2, 1, 0), "Ok"),
    })
}

const TRANSACTION: &[u8] = b"MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\n";

#[test]
fn replies_to_a_pipelined_group_go_in_one_write() {
    let mut desk = Desk::mx();
    desk.say(b"EHLO c.test\r\n").sent.clear();
    desk.say(&[TRANSACTION, b"DATA\r\n"].concat());
    assert_eq!(desk.sent.len(), 1, "{:?}", desk.sent);
    assert!(desk.sent[0].starts_with("250 2.1.0 Ok\r\n250 2.1.0 Ok\r\n354 "), "{:?}", desk.sent);
    desk.sent.clear();
    desk.say(b"A: b\r\n\r\n..c\r\n.\r\nQUIT\r\n");
    assert_eq!(desk.sent, ["250 2.0.0 queued\r\n221 2.0.0 localhost closing\r\n"]);
    assert_eq!(desk.body, b"A: b\r\n\r\n.c\r\n");
    assert_eq!(desk.closed, Some(CloseReason::Quit));
    let summary = desk.session.summary();
    assert_eq!((summary.messages, summary.recipients, summary.commands, summary.errors), (1, 1, 5, 0));
    let mut verbs: Vec<_> = summary.commands_by_verb().filter(|(_, count)| *count > 0).collect();
    verbs.sort_unstable();
    assert_eq!(verbs, [("DATA", 1), ("EHLO", 1), ("MAIL", 1), ("QUIT", 1), ("RCPT", 1)]);
}

#[test]
fn no_input_is_wanted_while_a_question_is_open() {
    let now = Instant::now();
    let mut session = Session::new(Arc::new(Settings::default()), Role::Mx, PeerInfo::on_this_machine(), now);
    assert!(!session.wants_input() && session.deadline().is_none());
    assert_eq!(session.poll(), Some(Output::Ask(Question::Connect)));
    // A client that does not wait for the greeting is remembered; what it says waits.
    session.receive(b"EHLO c.test\r\n", now);
    assert_eq!(session.poll(), None);
    assert!(session.summary().spoke_first);
    session.answer(yes(&Question::Connect), now);
    let helo = Question::Helo { name: "c.test".into(), esmtp: true };
    assert_eq!(session.poll(), Some(Output::Ask(helo.clone())), "the greeting goes with the reply to EHLO");
    session.answer(yes(&helo), now);
    assert!(!session.wants_input(), "not before the replies are sent");
    assert!(matches!(session.poll(), Some(Output::Send(said)) if said.starts_with(b"220 ")));
    assert!(session.wants_input());
    // Nothing is open: an answer too many has no effect.
    session.answer(Answer::Reply(Reply::new(550, (5, 0, 0), "No")), now);
    assert_eq!(session.poll(), None);
}

#[test]
fn replies_are_not_held_back_for_ever() {
    let now = Instant::now();
    let mut session = Desk::mx().session;
    session.receive(b"EHLO c.test\r\n", now);
    let hello = session.poll();
    assert!(matches!(hello, Some(Output::Ask(Question::Helo { .. }))), "{hello:?}");
    session.answer(Answer::Reply(Reply::plain(250, "")), now);
    while session.poll().is_some() {}
    session.receive(TRANSACTION, now);
    assert!(matches!(session.poll(), Some(Output::Ask(Question::Mail { .. }))));
    session.answer(Answer::Reply(Reply::new(250, (2, 1, 0), "Ok")), now);
    assert!(
        matches!(session.poll(), Some(Output::Ask(Question::Recipient { .. }))),
        "the reply to MAIL waits"
    );
    session.receive(b"RCPT TO:<e@d.test>\r\n", now);
    session.answer(Answer::Reply(Reply::new(250, (2, 1, 5), "Ok")), now + Duration::from_secs(6));
    assert_eq!(session.poll(), Some(Output::Send(b"250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n".to_vec())));
    assert!(matches!(session.poll(), Some(Output::Ask(Question::Recipient { .. }))));
}

#[test]
fn trickling_neither_prolongs_a_command_nor_a_message_nor_a_session() {
    let limits = Settings { message_seconds_max: 700, session_seconds_max: 900, ..Settings::default() };
    let mut desk = Desk::new(limits, Role::Mx, PeerInfo::on_this_machine());
    let start = desk.now;
    let at = |seconds| start + Duration::from_secs(seconds);
    desk.say(b"EHL");
    desk.now = at(200);
    desk.say(b"O c.te");
    assert_eq!(desk.session.deadline(), Some(at(300)), "a command has its time from its beginning");
    desk.say(b"st\r\n");
    assert_eq!(desk.session.deadline(), Some(at(500)));
    desk.say(&[TRANSACTION, b"DATA\r\n"].concat());
    for seconds in [450, 700, 890] {
        desk.now = at(seconds);
        desk.say(b"x\r\n");
        assert_eq!(
            desk.session.deadline(),
            Some(at((seconds + 300).min(900))),
            "a message is bounded as a whole"
        );
    }
    desk.session.wake(at(899));
    desk.drain();
    assert_eq!(desk.closed, None);
    desk.say(b".\r\n");
    assert_eq!(desk.session.deadline(), Some(at(900)), "and so is the session");
    desk.session.wake(at(900));
    desk.drain();
    assert_eq!(desk.closed, Some(CloseReason::Timeout));
    assert_eq!(desk.session.summary().messages, 1);
}

#[test]
fn an_answer_to_another_question_blames_nobody() {
    let mut session = Desk::mx().session;
    let now = Instant::now();
    session.receive(b"EHLO c.test\r\n", now);
    session.poll();
    session.answer(Answer::Replies(vec![]), now);
    assert!(matches!(session.poll(), Some(Output::Send(said)) if said.starts_with(b"451 4.3.0 ")));
    assert_eq!(session.summary().errors, 0);
}

#[test]
fn pipelining_behind_a_command_that_ends_its_group_is_remembered() {
    let mut desk = Desk::mx();
    desk.say(b"EHLO c.test\r\n").say(&[TRANSACTION, b"DATA\r\n"].concat());
    assert!(!desk.session.summary().pipelined_early);
    desk.say(b"x\r\n.\r\n").say(&[TRANSACTION, b"DATA\r\nx\r\n.\r\n"].concat());
    assert!(desk.session.summary().pipelined_early, "text before 354");
    assert_eq!(desk.session.summary().messages, 2);
}

#[test]
fn recipients_that_nobody_is_asked_about_are_counted_by_reason() {
    let mut desk = Desk::new(
        Settings { recipients_max: 2, ..Settings::default() },
        Role::Mx,
        PeerInfo { trusted: false, ..PeerInfo::on_this_machine() },
    );
    desk.say(b"RCPT TO:<a@b.test>\r\nEHLO c.test\r\nRCPT TO:<a@b.test>\r\nMAIL FROM:<a@c.test>\r\n");
    desk.say(b"RCPT TO:<a@b@c.test>\r\nRCPT TO:<a@b.test>\r\nRCPT TO:<c@b.test>\r\nRCPT TO:<d@b.test>\r\n");
    let summary = desk.session.summary();
    let NotAsked { relaying, too_many, protocol } = summary.recipients_not_asked;
    assert_eq!((relaying, too_many, protocol), (1, 1, 2));
    assert_eq!((summary.recipients, summary.recipients_refused), (2, 4));
}

#[test]
fn an_idle_session_is_small() {
    let mut desk = Desk::mx();
    desk.say(b"EHLO c.test\r\n");
    assert!(size_of::<Session>() <= 1_024, "{}", size_of::<Session>());
    assert!(desk.session.outputs.capacity() <= 8 && desk.session.replies.capacity() == 0);
}

#[test]
fn commands_that_are_not_known_are_asked_about_only_where_somebody_listens() {
    let peer = PeerInfo { trusted: false, tells_unknown: true, ..PeerInfo::on_this_machine() };
    let now = Instant::now();
    let mut session = Session::new(Arc::new(Settings::default()), Role::Mx, peer, now);
    let (mut sent, mut asked) = (String::new(), Vec::new());
    let mut drain = |session: &mut Session, unknown: &Reply| {
        while let Some(output) = session.poll() {
            match output {
                Output::Send(bytes) => sent.push_str(&String::from_utf8(bytes).unwrap()),
                Output::Ask(Question::Unknown { line }) => {
                    asked.push(line);
                    session.answer(Answer::Reply(unknown.clone()), now);
                }
                Output::Ask(question) => session.answer(yes(&question), now),
                _ => {}
            }
        }
        (std::mem::take(&mut sent), std::mem::take(&mut asked))
    };
    let [fine, later, never] = [250, 450, 550].map(|code| Reply::plain(code, "says a filter"));
    drain(&mut session, &fine);
    session.receive(b"EHLO c.test\r\nBOGUS x  y \r\nNOOP\r\n", now);
    let (said, asked) = drain(&mut session, &fine);
    assert!(
        said.ends_with("500 5.5.1 Command not recognised; HELP lists what is\r\n250 2.0.0 Ok\r\n"),
        "{said}"
    );
    assert_eq!(asked, ["BOGUS x  y"]);
    session.receive(b"BOGUS\r\n", now);
    assert!(drain(&mut session, &never).0.starts_with("500 5.5.1 "));
    session.receive(&[TRANSACTION, b"BOGUS\r\nDATA\r\n"].concat(), now);
    let (said, asked) = drain(&mut session, &later);
    assert!(said.contains("\r\n450 says a filter\r\n354 "), "the transaction goes on: {said}");
    assert_eq!(asked, ["BOGUS"]);
    let mut desk = Desk::mx();
    desk.say(b"EHLO c.test\r\n").sent.clear();
    assert!(desk.say(b"BOGUS\r\n").sent[0].starts_with("500 5.5.1 "));
}
