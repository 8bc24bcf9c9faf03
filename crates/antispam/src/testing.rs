//! Facts for tests of checks: an ordinary stranger with an ordinary letter, to be changed where a test needs it.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use mail::{Address, BodyType, QueueId, ReversePath, Timestamp};
use policy::{
    Addressed, AuthFacts, AuthResult, BeforeGreeting, Check, ConnectFacts, Content, Door, Findings,
    HeloFacts, IprevFact, MailFacts, MessageFacts, RcptFacts, Shared, StageMarker,
};
use store::MemoryState;

use crate::backscatter::Keys;
use crate::backscatter::keys::Key;
use crate::correspondents::letters::Letters;
use crate::correspondents::{self, Correspondents};
use crate::hashes::Hashes;

/// When it all happens.
pub(crate) const NOW: Timestamp = Timestamp(1_795_000_000_000);

/// Whom our users have written to: nobody so far.
pub(crate) fn correspondents(days: u32, state: &Arc<MemoryState>) -> Correspondents {
    Correspondents::new(days, state.clone(), letters(state))
}

/// Letters of our users: none so far.
pub(crate) fn letters(state: &Arc<MemoryState>) -> Letters {
    let keys = Arc::new(Keys::new(vec![Key::new(0, NOW, b"secret")]));
    Letters { hashes: Hashes::new(correspondents::NAMESPACE, state.clone()), keys }
}

/// A connection to the MX door.
pub(crate) fn connect(client: &str) -> ConnectFacts {
    ConnectFacts {
        session: "S1".into(),
        at: NOW,
        client: ip(client),
        port: 40_000,
        local: Some(ip("198.51.100.25")),
        door: Door::Mx,
        trusted: false,
        known: false,
        before_greeting: BeforeGreeting::NotWatched,
        auth: AuthFacts::default(),
    }
}

/// EHLO with this name.
pub(crate) fn helo(client: &str, name: &str) -> HeloFacts {
    HeloFacts {
        connect: Arc::new(connect(client)),
        name: name.into(),
        esmtp: true,
        tls: false,
        pipelined_early: false,
        auth: AuthFacts::default(),
    }
}

/// MAIL with this reverse-path, empty for the null one.
pub(crate) fn mail_from(client: &str, sender: &str) -> MailFacts {
    let reverse_path =
        if sender.is_empty() { ReversePath::Null } else { ReversePath::Mailbox(address(sender)) };
    MailFacts {
        helo: Arc::new(helo(client, "mail.far.test")),
        at: NOW,
        account: None,
        reverse_path,
        size: None,
        body_type: BodyType::SevenBit,
        smtputf8: false,
        sender_is_ours: false,
        earlier_transactions: 0,
        auth: AuthFacts::default(),
    }
}

/// RCPT of somebody of ours.
pub(crate) fn rcpt(sender: &str) -> RcptFacts {
    RcptFacts {
        mail: Arc::new(mail_from("192.0.2.9", sender)),
        at: NOW,
        recipient: address("joe@example.test"),
        said: None,
        is_ours: true,
        exists: Some(true),
        accepted_before: 0,
        unknown_before: 0,
        auth: AuthFacts::default(),
    }
}

/// The end of DATA of a letter, written with bare line feeds.
pub(crate) fn message(sender: &str, letter: &str) -> MessageFacts {
    let letter = Bytes::from(letter.replace('\n', "\r\n"));
    MessageFacts {
        mail: Arc::new(mail_from("192.0.2.9", sender)),
        at: NOW,
        queue_id: QueueId(7),
        recipients: Arc::from([address("joe@example.test")]),
        addressed: Addressed::Plainly,
        header: letter.slice(..mail::header::body_offset(&letter)),
        content: Content::Memory(letter),
        received: Bytes::new(),
        auth: AuthFacts::default(),
        shared: Shared::default(),
    }
}

/// What reverse DNS found: the result, and the names.
pub(crate) fn iprev(result: AuthResult, names: &[&str]) -> AuthFacts {
    let names: Vec<_> = names.iter().map(|name| mail::Domain::parse(name).unwrap()).collect();
    let fact = IprevFact { result, name: names.first().cloned(), names };
    AuthFacts { iprev: Some(Arc::new(fact)), ..AuthFacts::default() }
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// What a check finds. Fails when it names a symbol that it has not declared.
pub(crate) async fn run<S: StageMarker>(check: &dyn Check<S>, facts: &S::Facts) -> Findings {
    let mut found = Findings::default();
    check.run(facts, &mut found).await;
    let declared = check.symbols();
    for finding in found.findings() {
        assert!(
            declared.iter().any(|def| def.symbol == finding.symbol),
            "{} is not declared",
            finding.symbol
        );
    }
    found
}

/// The names of the symbols, in the order they were found.
pub(crate) fn symbols(found: &Findings) -> Vec<&str> {
    found.findings().iter().map(|finding| finding.symbol.as_str()).collect()
}
