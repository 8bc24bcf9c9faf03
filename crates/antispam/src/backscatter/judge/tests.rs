//! What proves a message without a sender, and what becomes of those that prove nothing.

use std::net::IpAddr;

use mail::{Address, Domain, QueueId, ReversePath};
use policy::{AuthFacts, BeforeGreeting, ConnectFacts, Door, HeloFacts, MailFacts};
use store::MemoryState;

use super::*;
use crate::backscatter::keys::Key;

const PLAINLY: Addressed = Addressed::Plainly;
const NOW: Timestamp = Timestamp(1_795_309_323_000);

struct House {
    keys: Arc<Keys>,
    state: Arc<MemoryState>,
}

impl House {
    fn new() -> Self {
        Self {
            keys: Arc::new(Keys::new(vec![Key::new(1, NOW, b"secret")])),
            state: Arc::new(MemoryState::default()),
        }
    }

    fn sent(&self) -> Hashes {
        Hashes::new(status::NAMESPACE, self.state.clone())
    }

    fn check(&self, mode: BackscatterMode) -> Backscatter {
        Backscatter::new(mode, self.keys.clone(), (self.state.clone(), self.sent()), 12)
    }

    async fn judge(&self, mode: BackscatterMode, facts: &MessageFacts) -> Findings {
        let check = self.check(mode);
        assert!(check.applies(facts));
        let mut found = Findings::default();
        check.run(facts, &mut found).await;
        found
    }
}

/// A message that came without a sender, from a stranger.
fn facts(message: &str, addressed: Addressed) -> MessageFacts {
    let auth = AuthFacts::default();
    let client: IpAddr = "192.0.2.9".parse().unwrap();
    let connect = ConnectFacts {
        session: "s".into(),
        at: NOW,
        client,
        port: 1,
        local: None,
        door: Door::Mx,
        trusted: false,
        known: false,
        before_greeting: BeforeGreeting::NotWatched,
        auth: auth.clone(),
    };
    let helo = HeloFacts {
        connect: Arc::new(connect),
        name: "away.test".into(),
        esmtp: true,
        tls: false,
        pipelined_early: false,
        auth: auth.clone(),
    };
    let mail = MailFacts {
        helo: Arc::new(helo),
        at: NOW,
        account: None,
        reverse_path: ReversePath::Null,
        size: None,
        body_type: mail::BodyType::SevenBit,
        smtputf8: false,
        sender_is_ours: false,
        earlier_transactions: 0,
        auth: auth.clone(),
    };
    let bytes = Bytes::from(message.to_owned());
    MessageFacts {
        mail: Arc::new(mail),
        at: NOW,
        queue_id: QueueId(1),
        recipients: Arc::from([Address::parse("mara@our.test").unwrap()]),
        addressed,
        header: bytes.slice(..mail::header::body_offset(&bytes)),
        content: Content::Memory(bytes),
        received: Bytes::new(),
        auth,
        shared: policy::Shared::default(),
    }
}

fn bounce_of(message_id: &str) -> String {
    format!(
        "From: MAILER-DAEMON@away.test\r\nSubject: failure notice\r\n\r\nNo such user.\r\n\r\n> Message-ID: <{message_id}>\r\n"
    )
}

#[tokio::test]
async fn a_bounce_of_what_we_never_sent_is_refused_in_enforce_and_recorded_in_observe() {
    let house = House::new();
    let facts = facts(&bounce_of("never@our.test"), PLAINLY);
    let observed = house.judge(BackscatterMode::Observe, &facts).await;
    assert!(observed.has("BACKSCATTER_FORGED") && observed.rulings().is_empty());
    let enforced = house.judge(BackscatterMode::Enforce, &facts).await;
    let [ruling] = enforced.rulings() else { panic!("{enforced:?}") };
    assert_eq!(ruling.source, Source::Backscatter);
    let Order::Reject(reply) = &ruling.order else { panic!("{ruling:?}") };
    assert!(reply.is_permanent());
    let counts = status::counts(house.state.as_ref(), NOW).await.unwrap();
    assert_eq!((counts.forged, counts.refused_thousandths()), (2, 1000));
}

#[tokio::test]
async fn a_tag_our_message_id_or_a_remembered_one_proves_it() {
    let house = House::new();
    let host = Domain::parse("mx.our.test").unwrap();
    let ours = message_id::make(&house.keys, QueueId::from_parts(NOW.0 - 1000, 1), &host);
    let sent = house.sent();
    sent.note(message_id::remembered(&house.keys, "desk-7@laptop.test"), 86_400, NOW);
    sent.save(NOW).await.unwrap();
    for (message_id, addressed) in [
        ("never@our.test", Addressed::Tagged),
        (ours.as_str(), PLAINLY),
        ("desk-7@laptop.test", PLAINLY),
        ("desk-7@laptop.test", Addressed::BadlyTagged),
    ] {
        let found = house.judge(BackscatterMode::Enforce, &facts(&bounce_of(message_id), addressed)).await;
        assert!(found.has("BACKSCATTER_PROVEN") && found.rulings().is_empty(), "{message_id}");
    }
    assert_eq!(status::counts(house.state.as_ref(), NOW).await.unwrap().proven, 4);
}

#[tokio::test]
async fn automatic_replies_and_dispositions_are_scored_and_letters_without_a_sender_are_forged() {
    let house = House::new();
    let vacation =
        "From: joe@away.test\r\nAuto-Submitted: auto-replied\r\nSubject: Away\r\n\r\nOn a boat.\r\n";
    let found = house.judge(BackscatterMode::Enforce, &facts(vacation, PLAINLY)).await;
    assert!(found.has("BACKSCATTER_AUTOMATIC") && found.rulings().is_empty());
    let letter = "From: joe@away.test\r\nSubject: Cheap\r\n\r\nBuy.\r\n";
    let found = house.judge(BackscatterMode::Enforce, &facts(letter, PLAINLY)).await;
    assert_eq!(found.rulings().len(), 1);
}

#[tokio::test]
async fn a_wrong_tag_is_forged_whatever_it_claims_to_be_and_the_postmaster_takes_all() {
    let house = House::new();
    let vacation =
        "From: joe@away.test\r\nAuto-Submitted: auto-replied\r\nSubject: Away\r\n\r\nOn a boat.\r\n";
    let found = house.judge(BackscatterMode::Enforce, &facts(vacation, Addressed::BadlyTagged)).await;
    assert!(found.has("BACKSCATTER_FORGED") && found.rulings().len() == 1);
    assert!(found.findings()[0].evidence.contains("too old"), "{found:?}");
    assert!(!house.check(BackscatterMode::Enforce).applies(&facts(vacation, Addressed::AsPostmaster)));
}

#[tokio::test]
async fn a_memory_that_does_not_answer_concludes_nothing() {
    let house = House::new();
    house.state.close().await.unwrap();
    let found =
        house.judge(BackscatterMode::Enforce, &facts(&bounce_of("desk-7@laptop.test"), PLAINLY)).await;
    assert!(found.why_unfinished().is_some() && found.rulings().is_empty() && found.findings().is_empty());
    let found =
        house.judge(BackscatterMode::Enforce, &facts(&bounce_of("x@y.test"), Addressed::Tagged)).await;
    assert!(found.has("BACKSCATTER_PROVEN"), "a tag needs no memory");
}

#[tokio::test]
async fn a_message_in_a_file_is_read_and_a_lost_one_is_unknown() {
    let house = House::new();
    let folder = tempfile::tempdir().unwrap();
    let path: Arc<std::path::Path> = folder.path().join("message").into();
    let mut facts = facts("", PLAINLY);
    facts.content = Content::File { path: path.clone(), bytes: 10 };
    assert!(house.judge(BackscatterMode::Enforce, &facts).await.why_unfinished().is_some());
    std::fs::write(&path, bounce_of("never@our.test")).unwrap();
    assert!(house.judge(BackscatterMode::Enforce, &facts).await.has("BACKSCATTER_FORGED"));
}
