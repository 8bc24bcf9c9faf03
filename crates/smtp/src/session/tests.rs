use std::sync::Arc;
use std::time::Instant;

use mail::Reply;

use super::*;
use crate::{Answer, Output, PeerInfo, Question, Role};

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
}
