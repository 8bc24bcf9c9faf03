//! The SMTP agent against a scripted server on loopback: every recipient gets the outcome that the dialogue calls for.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests fail by panicking")]

mod common;

use std::io::Write;

use common::{BODY, Peer, Script, Setup, address, deliver, job, job_with, record, server_tls, to};
use delivery::{OutboundSettings, Timeouts, TlsPolicy, TlsStart};
use mail::{BodyType, Notify, Reply, Ret};
use queue::DeliveryResult::{Deferred, Failed, Relayed, RelayedWithDsn};
use queue::{Outcome, Trouble};
use store::StoredBody;

const SENT: &str = "Received: by us.test\r\nSubject: test\r\n\r\n.hello\r\n..\r\nworld\r\n";

fn results(outcomes: &[Outcome]) -> Vec<queue::DeliveryResult> {
    outcomes.iter().map(|outcome| outcome.result).collect()
}

fn peer_with(rules: &[(&'static str, &[&'static str])]) -> Script {
    Script { rules: rules.iter().map(|(start, said)| (*start, said.to_vec())).collect(), ..Script::default() }
}

#[tokio::test]
async fn a_message_goes_out_in_two_writes_and_comes_through_unchanged() {
    let peer = Peer::start(Script::default()).await;
    let agents = Setup::default().agents();
    let outcomes = deliver(&agents, job(record(&["joe@a.test", "jim@a.test"]), to(&peer), BODY)).await;
    assert_eq!(results(&outcomes), [Relayed, Relayed]);
    assert_eq!(outcomes[0].reply, Reply::new(250, (2, 0, 0), "queued as 1"));
    assert_eq!(outcomes[0].peer.as_deref(), Some(format!("[127.0.0.1]:{}", peer.address.port()).as_str()));
    let commands = peer.commands();
    let size = SENT.len();
    let mail = format!("MAIL FROM:<sender@from.test> SIZE={size}");
    assert_eq!(commands, ["EHLO us.test", &mail, "RCPT TO:<joe@a.test>", "RCPT TO:<jim@a.test>", "DATA"]);
    assert_eq!(peer.messages(), [SENT]);
    let log = peer.log.lock().unwrap();
    assert_eq!((log.pipelined, log.reads), (3, 3), "EHLO, the envelope, the message");
}

#[tokio::test]
async fn with_chunking_all_goes_out_in_one_write() {
    let extensions = vec!["PIPELINING", "8BITMIME", "CHUNKING"];
    let peer = Peer::start(Script { extensions: extensions.clone(), ..Script::default() }).await;
    let agents = Setup::default().agents();
    assert_eq!(results(&deliver(&agents, job(record(&["joe@a.test"]), to(&peer), BODY)).await), [Relayed]);
    assert_eq!(peer.messages(), [SENT]);
    assert!(peer.commands().last().unwrap().starts_with(&format!("BDAT {} LAST", SENT.len())));
    assert_eq!(peer.log.lock().unwrap().reads, 2, "EHLO, everything else");

    // A message that is too large to be sent on suspicion waits for the recipients' replies.
    let large = format!("Subject: x\r\n\r\n{}", "line\r\n".repeat(20_000));
    assert_eq!(results(&deliver(&agents, job(record(&["joe@a.test"]), to(&peer), &large)).await), [Relayed]);
    assert!(peer.messages()[1].ends_with(&large));

    let refusing = peer_with(&[("RCPT TO:<no@", &["550 5.1.1 no"])]);
    let peer = Peer::start(Script { extensions, ..refusing }).await;
    let outcomes = deliver(&agents, job(record(&["no@a.test"]), to(&peer), BODY)).await;
    assert_eq!((results(&outcomes), outcomes[0].reply.code), (vec![Failed], 550));
    assert_eq!(results(&deliver(&agents, job(record(&["joe@a.test"]), to(&peer), BODY)).await), [Relayed]);
    assert_eq!(peer.messages(), [SENT]);
}

#[tokio::test]
async fn chunking_can_be_turned_off_and_is_not_used_for_text_without_a_last_line_end() {
    let extensions = vec!["PIPELINING", "CHUNKING"];
    let peer = Peer::start(Script { extensions, ..Script::default() }).await;
    let setup = Setup {
        outbound: OutboundSettings { chunking: false, ..OutboundSettings::default() },
        ..Setup::default()
    };
    deliver(&setup.agents(), job(record(&["joe@a.test"]), to(&peer), BODY)).await;
    deliver(&Setup::default().agents(), job(record(&["joe@a.test"]), to(&peer), "A: b\r\n\r\nopen end"))
        .await;
    assert_eq!(peer.messages(), [SENT, "Received: by us.test\r\nA: b\r\n\r\nopen end\r\n"]);
}

#[tokio::test]
async fn a_peer_without_pipelining_is_asked_step_by_step() {
    let rules = [("RCPT TO:<no@", ["550 5.1.1 no"])];
    let rules = rules.map(|(start, said)| (start, said.to_vec())).to_vec();
    for extensions in [vec![], vec!["CHUNKING"]] {
        let peer = Peer::start(Script { extensions, rules: rules.clone(), ..Script::default() }).await;
        let agents = Setup::default().agents();
        let outcomes = deliver(&agents, job(record(&["no@a.test", "joe@a.test"]), to(&peer), BODY)).await;
        assert_eq!(results(&outcomes), [Failed, Relayed]);
        assert_eq!((peer.messages(), peer.log.lock().unwrap().pipelined), (vec![SENT.to_owned()], 0));
    }
}

#[tokio::test]
async fn a_peer_that_knows_no_ehlo_is_spoken_to_with_helo() {
    let peer = Peer::start(peer_with(&[("EHLO", &["502 what?"])])).await;
    let outcomes = deliver(&Setup::default().agents(), job(record(&["joe@a.test"]), to(&peer), BODY)).await;
    assert_eq!(results(&outcomes), [Relayed]);
    let commands = peer.commands();
    assert_eq!(commands[..3], ["EHLO us.test", "HELO us.test", "MAIL FROM:<sender@from.test>"]);
}

#[tokio::test]
async fn every_recipient_has_a_reply_of_its_own() {
    let script = peer_with(&[
        ("RCPT TO:<no@", &["550-5.1.1 no\r\n550 5.1.1 such user"]),
        ("RCPT TO:<later@", &["450 4.2.0 greylisted"]),
        ("RCPT TO:<odd@", &["354 what"]),
    ]);
    let peer = Peer::start(script).await;
    let recipients = ["joe@a.test", "no@a.test", "later@a.test", "odd@a.test"];
    let outcomes = deliver(&Setup::default().agents(), job(record(&recipients), to(&peer), BODY)).await;
    let later = Deferred(Trouble::Recipient);
    assert_eq!(results(&outcomes), [Relayed, Failed, later, later]);
    assert_eq!(outcomes[1].reply, Reply::new(550, (5, 1, 1), "no\nsuch user"));
    assert_eq!(outcomes[2].reply, Reply::new(450, (4, 2, 0), "greylisted"));
    assert_eq!(peer.messages().len(), 1);
}

#[tokio::test]
async fn refusals_of_the_message_concern_all() {
    for (rules, want) in [
        (&[("MAIL", &["550 5.7.1 not you"][..])][..], Failed),
        (&[("MAIL", &["451 4.3.0 later"])], Deferred(Trouble::Destination)),
        (&[("DATA", &["554 5.5.0 no"])], Failed),
        (&[("DATA", &["250 what"])], Deferred(Trouble::Destination)),
        (&[(".", &["554 5.6.0 spam"])], Failed),
        (&[(".", &["451 4.3.0 later"])], Deferred(Trouble::Recipient)),
        (&[("MAIL", &["421 4.3.2 closing"])], Deferred(Trouble::Destination)),
        (&[("RCPT TO:<jim@", &["421 4.3.2 closing"])], Deferred(Trouble::Destination)),
        (&[("DATA", &["421 4.3.2 closing"])], Deferred(Trouble::Destination)),
        (&[(".", &["421 4.3.2 closing"])], Deferred(Trouble::Destination)),
        (&[("MAIL", &["CLOSE"])], Deferred(Trouble::Destination)),
        (&[("RCPT TO:<jim@", &["CLOSE"])], Deferred(Trouble::Destination)),
        (&[("DATA", &["CLOSE"])], Deferred(Trouble::Destination)),
        (&[(".", &["CLOSE"])], Deferred(Trouble::Destination)),
        (&[("MAIL", &["nonsense"])], Deferred(Trouble::Destination)),
    ] {
        for extensions in [vec![], vec!["PIPELINING"], vec!["PIPELINING", "CHUNKING"]] {
            let bdat = extensions.len() == 2 && rules[0].0 == "DATA";
            let peer = Peer::start(Script { extensions: extensions.clone(), ..peer_with(rules) }).await;
            let outcomes = deliver(
                &Setup::default().agents(),
                job(record(&["joe@a.test", "jim@a.test"]), to(&peer), BODY),
            )
            .await;
            let want = if bdat { Relayed } else { want };
            assert_eq!(results(&outcomes), [want, want], "{rules:?} with {extensions:?}: {outcomes:?}");
        }
    }
}

#[tokio::test]
async fn the_connection_is_kept_and_used_again() {
    let peer = Peer::start(Script::default()).await;
    let agents = Setup::default().agents();
    for _ in 0..5 {
        assert_eq!(
            results(&deliver(&agents, job(record(&["joe@a.test"]), to(&peer), BODY)).await),
            [Relayed]
        );
    }
    assert_eq!((peer.connections(), peer.messages().len()), (1, 5));
    assert_eq!((agents.figures().connections.get(), agents.figures().connections_reused.get()), (1, 4));
    assert!(!peer.commands().iter().any(|command| command == "RSET"));
    agents.close().await;
    peer.saw("QUIT", 1).await;
}

#[tokio::test]
async fn after_a_refusal_rset_comes_with_the_next_envelope() {
    let peer = Peer::start(peer_with(&[("RCPT TO:<no@", &["550 5.1.1 no"])])).await;
    let agents = Setup::default().agents();
    assert_eq!(results(&deliver(&agents, job(record(&["no@a.test"]), to(&peer), BODY)).await), [Failed]);
    assert_eq!(results(&deliver(&agents, job(record(&["joe@a.test"]), to(&peer), BODY)).await), [Relayed]);
    assert_eq!((peer.connections(), peer.messages()), (1, vec![SENT.to_owned()]));
    assert!(peer.commands().iter().any(|command| command == "RSET"));
}

#[tokio::test]
async fn data_that_is_taken_without_recipients_is_ended_at_once() {
    let peer = Peer::start(peer_with(&[("RCPT TO:<no@", &["550 5.1.1 no"]), ("DATA", &["354 go"])])).await;
    let agents = Setup::default().agents();
    assert_eq!(results(&deliver(&agents, job(record(&["no@a.test"]), to(&peer), BODY)).await), [Failed]);
    assert_eq!(peer.messages(), [""]);
    assert_eq!(results(&deliver(&agents, job(record(&["joe@a.test"]), to(&peer), BODY)).await), [Relayed]);
}

#[tokio::test]
async fn a_connection_that_the_peer_closed_meanwhile_is_not_used() {
    for last in ["421 4.4.2 idle too long", "CLOSE"] {
        // After the first message the peer says goodbye by itself.
        let peer = Peer::start(peer_with(&[(".", &["250 2.0.0 ok\r\n421 4.4.2 bye", "250 2.0.0 ok"])])).await;
        let agents = Setup::default().agents();
        for _ in 0..2 {
            let outcomes = deliver(&agents, job(record(&["joe@a.test"]), to(&peer), BODY)).await;
            assert_eq!(results(&outcomes), [Relayed], "{last}");
        }
        assert_eq!((peer.connections(), peer.messages().len()), (2, 2), "{last}");
    }
}

#[tokio::test]
async fn a_connection_that_dies_on_reuse_is_replaced_within_the_attempt() {
    let peer = Peer::start(peer_with(&[("MAIL", &["250 2.1.0 ok", "CLOSE", "250 2.1.0 ok"])])).await;
    let agents = Setup::default().agents();
    for _ in 0..2 {
        assert_eq!(
            results(&deliver(&agents, job(record(&["joe@a.test"]), to(&peer), BODY)).await),
            [Relayed]
        );
    }
    assert_eq!((peer.connections(), peer.messages().len()), (2, 2));
}

#[tokio::test]
async fn messages_per_connection_are_bounded_by_us_and_by_the_peer() {
    let setup = Setup {
        outbound: OutboundSettings { messages_per_connection_max: 2, ..OutboundSettings::default() },
        ..Setup::default()
    };
    for (agents, extensions) in [
        (setup.agents(), vec!["PIPELINING"]),
        (Setup::default().agents(), vec!["PIPELINING", "LIMITS MAILMAX=2"]),
    ] {
        let peer = Peer::start(Script { extensions, ..Script::default() }).await;
        for _ in 0..5 {
            assert_eq!(
                results(&deliver(&agents, job(record(&["joe@a.test"]), to(&peer), BODY)).await),
                [Relayed]
            );
        }
        assert_eq!((peer.connections(), peer.messages().len()), (3, 5));
    }
}

#[tokio::test]
async fn the_peers_limits_on_recipients_are_honoured() {
    let people = ["a@a.test", "b@b.test", "c@a.test", "d@b.test", "e@a.test"];
    for (limits, messages) in [
        ("LIMITS RCPTMAX=2", 3),
        ("LIMITS RCPTDOMAINMAX=1", 2),
        ("LIMITS RCPTMAX=1 MAILMAX=2", 5),
        ("HELP", 1),
    ] {
        let peer = Peer::start(Script { extensions: vec!["PIPELINING", limits], ..Script::default() }).await;
        let outcomes = deliver(&Setup::default().agents(), job(record(&people), to(&peer), BODY)).await;
        assert_eq!(results(&outcomes), [Relayed; 5], "{limits}");
        assert_eq!(peer.messages().len(), messages, "{limits}");
    }
}

#[tokio::test]
async fn too_many_recipients_go_in_a_transaction_of_their_own() {
    let script = peer_with(&[
        ("RCPT TO:<c@", &["452 4.5.3 too many", "250 ok"]),
        ("RCPT TO:<d@", &["452 4.5.3 too many", "250 ok"]),
    ]);
    let peer = Peer::start(script).await;
    let people = ["a@a.test", "b@a.test", "c@a.test", "d@a.test"];
    let outcomes = deliver(&Setup::default().agents(), job(record(&people), to(&peer), BODY)).await;
    assert_eq!(results(&outcomes), [Relayed; 4]);
    assert_eq!(peer.messages().len(), 2);
}

#[tokio::test]
async fn dsn_parameters_are_passed_on_to_those_who_know_them() {
    let peer = Peer::start(Script { extensions: vec!["PIPELINING", "DSN"], ..Script::default() }).await;
    let mut record = record(&["joe@a.test"]);
    (record.ret, record.envid) = (Some(Ret::Headers), Some("id 1".into()));
    record.recipients[0].notify = Notify { explicit: true, success: true, failure: true, delay: false };
    let outcomes = deliver(&Setup::default().agents(), job(record, to(&peer), BODY)).await;
    assert_eq!(results(&outcomes), [RelayedWithDsn]);
    let commands = peer.commands();
    assert_eq!(commands[1], "MAIL FROM:<sender@from.test> RET=HDRS ENVID=id+201");
    assert_eq!(commands[2], "RCPT TO:<joe@a.test> NOTIFY=SUCCESS,FAILURE");
}

#[tokio::test]
async fn what_the_peer_cannot_take_is_returned_without_asking() {
    type Case = (&'static str, &'static str, fn(&mut store::MessageRecord), &'static str, (u16, u16));
    let cases: [Case; 4] = [
        ("SIZE 50", "8BITMIME", |_| {}, "A: b\r\n\r\nlonger than fifty octets, with the trace\r\n", (552, 4)),
        ("HELP", "SMTPUTF8", |_| {}, "A: b\r\n\r\nj\u{f6}rg\r\n", (554, 3)),
        ("HELP", "8BITMIME", |r| r.smtputf8 = true, "A: j\u{f6}rg\r\n\r\n", (553, 7)),
        (
            "HELP",
            "8BITMIME",
            |r| r.recipients[0].address = address("j\u{f6}rg@a.test"),
            "A: b\r\n\r\n",
            (553, 7),
        ),
    ];
    for (one, other, change, body, (code, detail)) in cases {
        let peer =
            Peer::start(Script { extensions: vec!["PIPELINING", one, other], ..Script::default() }).await;
        let mut record = record(&["joe@a.test"]);
        change(&mut record);
        let outcomes = deliver(&Setup::default().agents(), job(record, to(&peer), body)).await;
        assert_eq!((results(&outcomes), outcomes[0].reply.code), (vec![Failed], code), "{outcomes:?}");
        assert_eq!(outcomes[0].reply.enhanced.unwrap().2, detail);
        assert!(peer.commands().iter().all(|command| !command.starts_with("MAIL")));
    }
}

#[tokio::test]
async fn eight_bit_and_international_mail_is_declared() {
    let peer =
        Peer::start(Script { extensions: vec!["PIPELINING", "8BITMIME", "SMTPUTF8"], ..Script::default() })
            .await;
    let agents = Setup::default().agents();
    let mut international = record(&["joe@a.test"]);
    international.smtputf8 = true;
    deliver(&agents, job(international, to(&peer), "A: j\u{f6}rg\r\n\r\n")).await;
    deliver(&agents, job(record(&["joe@a.test"]), to(&peer), "A: b\r\n\r\nj\u{f6}rg\r\n")).await;
    let mut declared = record(&["joe@a.test"]);
    declared.body_type = BodyType::EightBitMime;
    deliver(&agents, job(declared, to(&peer), BODY)).await;
    let mails: Vec<String> = peer.commands().into_iter().filter(|c| c.starts_with("MAIL")).collect();
    let start = "MAIL FROM:<sender@from.test> BODY=8BITMIME";
    assert_eq!(mails, [&format!("{start} SMTPUTF8"), start, start]);
}

#[tokio::test]
async fn large_bodies_stream_from_their_file() {
    let peer = Peer::start(Script { extensions: vec!["PIPELINING", "CHUNKING"], ..Script::default() }).await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let text = format!("Subject: x\r\n\r\n{}", ".a line that begins with a dot\r\n".repeat(30_000));
    file.write_all(text.as_bytes()).unwrap();
    let body = StoredBody::File { path: file.path().to_owned(), size: text.len() as u64 };
    let agents = Setup::default().agents();
    assert_eq!(
        results(&deliver(&agents, job_with(record(&["joe@a.test"]), to(&peer), body)).await),
        [Relayed]
    );
    assert!(
        peer.messages()[0] == format!("Received: by us.test\r\n{text}"),
        "the body was changed on its way"
    );

    let short = StoredBody::File { path: file.path().to_owned(), size: text.len() as u64 + 9 };
    let outcomes = deliver(&agents, job_with(record(&["joe@a.test"]), to(&peer), short)).await;
    assert_eq!(results(&outcomes), [Deferred(Trouble::Local)], "{outcomes:?}");
    assert_eq!(peer.messages().len(), 1, "half a message must not be taken for a whole one");
}

#[tokio::test]
async fn recipients_with_lines_of_their_own_get_copies_of_their_own() {
    let peer = Peer::start(Script::default()).await;
    let mut record = record(&["a@a.test", "b@a.test", "c@a.test"]);
    record.recipients[1].header_lines = b"X-Spam: yes\r\n".to_vec();
    record.recipients[2].accepted_as = Some(address("list@us.test"));
    let outcomes = deliver(&Setup::default().agents(), job(record, to(&peer), "A: b\r\n\r\n")).await;
    assert_eq!(results(&outcomes), [Relayed; 3]);
    let top = "Received: by us.test\r\n";
    let want = [
        format!("{top}A: b\r\n\r\n"),
        format!("{top}X-Spam: yes\r\nA: b\r\n\r\n"),
        format!("Delivered-To: list@us.test\r\n{top}A: b\r\n\r\n"),
    ];
    assert_eq!(peer.messages(), want);
}

#[tokio::test]
async fn what_an_alias_sent_on_before_is_returned() {
    let peer = Peer::start(Script::default()).await;
    let mut record = record(&["joe@a.test"]);
    record.recipients[0].accepted_as = Some(address("list@us.test"));
    let body = "Delivered-To: List@us.test\r\n\r\n";
    let outcomes = deliver(&Setup::default().agents(), job(record, to(&peer), body)).await;
    assert_eq!((results(&outcomes), outcomes[0].reply.enhanced.unwrap().2), (vec![Failed], 6));
    assert_eq!(peer.connections(), 0);
}

#[tokio::test]
async fn a_host_that_is_down_or_does_not_want_to_talk_defers() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let down = Peer { address, log: std::sync::Arc::default() };
    let agents = Setup::default().agents();
    let outcomes = deliver(&agents, job(record(&["joe@a.test"]), to(&down), BODY)).await;
    assert_eq!(results(&outcomes), [Deferred(Trouble::Destination)]);
    assert!(outcomes[0].peer.as_deref().unwrap().contains("127.0.0.1"), "{outcomes:?}");
    for (greeting, want) in [
        ("421 4.3.2 busy", Deferred(Trouble::Destination)),
        ("554 5.7.1 go away", Deferred(Trouble::Destination)),
        ("521 5.3.2 no mail here", Failed),
        ("CLOSE", Deferred(Trouble::Destination)),
        ("SSH-2.0-x", Deferred(Trouble::Destination)),
    ] {
        let peer = Peer::start(Script { greeting, ..Script::default() }).await;
        let outcomes = deliver(&agents, job(record(&["joe@a.test"]), to(&peer), BODY)).await;
        assert_eq!(results(&outcomes), [want], "{greeting}: {outcomes:?}");
    }
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_left_after_a_while() {
    let patient = Timeouts { command_seconds_max: 1000, data_seconds_max: 1000, ..Timeouts::default() };
    let timeouts = [
        ("MAIL", Timeouts { command_seconds_max: 1, ..patient.clone() }),
        ("DATA", Timeouts { data_seconds_max: 1, ..patient.clone() }),
        (".", Timeouts { end_of_data_seconds_max: 1, ..patient }),
    ];
    for (rule, timeouts) in timeouts {
        let peer = Peer::start(peer_with(&[(rule, &["HANG"])])).await;
        let mut setup = Setup::default();
        setup.delivery.timeouts = timeouts;
        let outcomes = deliver(&setup.agents(), job(record(&["joe@a.test"]), to(&peer), BODY)).await;
        assert_eq!(results(&outcomes), [Deferred(Trouble::Destination)], "{rule}");
        assert!(outcomes[0].reply.text.contains("no answer within 1 s"), "{outcomes:?}");
    }
}

fn tls_script() -> Script {
    Script { extensions: vec!["PIPELINING", "STARTTLS"], tls: Some(server_tls()), ..Script::default() }
}

#[tokio::test]
async fn tls_is_used_where_it_is_offered() {
    let peer = Peer::start(tls_script()).await;
    let agents = Setup::default().agents();
    for _ in 0..2 {
        assert_eq!(
            results(&deliver(&agents, job(record(&["joe@a.test"]), to(&peer), BODY)).await),
            [Relayed]
        );
    }
    assert_eq!(peer.messages(), [SENT, SENT]);
    assert_eq!(peer.commands()[..3], ["EHLO us.test", "STARTTLS", "EHLO us.test"]);
    assert_eq!((agents.figures().tls_1_3.get(), peer.connections()), (1, 1));
}

#[tokio::test]
async fn a_host_with_broken_tls_is_sent_to_in_the_clear_and_remembered() {
    let peer = Peer::start(Script { broken_tls: true, ..tls_script() }).await;
    let mut setup = Setup::default();
    setup.outbound.idle_seconds_max = 0;
    let agents = setup.agents();
    for _ in 0..2 {
        assert_eq!(
            results(&deliver(&agents, job(record(&["joe@a.test"]), to(&peer), BODY)).await),
            [Relayed]
        );
    }
    assert_eq!((peer.messages().len(), peer.connections()), (2, 3), "the failed attempt is made once");
}

#[tokio::test]
async fn where_tls_is_required_nothing_goes_in_the_clear() {
    for (policy, start, script) in [
        (TlsPolicy::Required, TlsStart::IfOffered, Script::default()),
        (TlsPolicy::Opportunistic, TlsStart::StartTls, Script::default()),
        (TlsPolicy::Required, TlsStart::IfOffered, Script { broken_tls: true, ..tls_script() }),
        (TlsPolicy::Verified, TlsStart::IfOffered, tls_script()),
        (TlsPolicy::Opportunistic, TlsStart::Implicit, Script::default()),
    ] {
        let peer = Peer::start(script).await;
        let mut hop = to(&peer);
        (hop.policy, hop.tls) = (policy, start);
        // A TLS hello is no command, and the scripted peer waits for its end.
        let mut setup = Setup::default();
        setup.delivery.timeouts.tls_seconds_max = 1;
        let outcomes = deliver(&setup.agents(), job(record(&["joe@a.test"]), hop, BODY)).await;
        assert_eq!(results(&outcomes), [Deferred(Trouble::Destination)], "{policy:?} {start:?}");
        assert_eq!(outcomes[0].reply.enhanced.unwrap().1, 7, "{outcomes:?}");
        assert!(peer.messages().is_empty());
    }
}

#[tokio::test]
async fn implicit_tls_and_policies_that_any_certificate_satisfies() {
    let implicit = Script { implicit_tls: true, ..tls_script() };
    for (policy, start, script) in [
        (TlsPolicy::Required, TlsStart::IfOffered, tls_script()),
        (TlsPolicy::Opportunistic, TlsStart::StartTls, tls_script()),
        (TlsPolicy::Opportunistic, TlsStart::Implicit, implicit),
    ] {
        let peer = Peer::start(script).await;
        let mut hop = to(&peer);
        (hop.policy, hop.tls) = (policy, start);
        let outcomes = deliver(&Setup::default().agents(), job(record(&["joe@a.test"]), hop, BODY)).await;
        assert_eq!(results(&outcomes), [Relayed], "{policy:?} {start:?}: {outcomes:?}");
    }
}

#[tokio::test]
async fn the_smart_host_is_logged_in_to() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "secret").unwrap();
    let setup = Setup {
        outbound: OutboundSettings {
            user: "joe".into(),
            password_file: Some(file.path().to_owned()),
            ..OutboundSettings::default()
        },
        ..Setup::default()
    };
    let extensions = vec!["PIPELINING", "STARTTLS", "AUTH CRAM-MD5 PLAIN"];
    let script = Script { extensions, ..tls_script() };
    let peer = Peer::start(script.clone()).await;
    let mut hop = to(&peer);
    hop.login = true;
    assert_eq!(results(&deliver(&setup.agents(), job(record(&["joe@a.test"]), hop, BODY)).await), [Relayed]);
    assert_eq!(peer.commands()[3], "AUTH PLAIN AGpvZQBzZWNyZXQ=");

    let refusing = Script { rules: vec![("AUTH", vec!["535 5.7.8 wrong"])], ..script };
    let peer = Peer::start(refusing).await;
    let mut hop = to(&peer);
    hop.login = true;
    let outcomes = deliver(&setup.agents(), job(record(&["joe@a.test"]), hop, BODY)).await;
    assert_eq!(
        results(&outcomes),
        [Deferred(Trouble::Local)],
        "a wrong password is ours to mend: {outcomes:?}"
    );
    assert!(!outcomes[0].reply.text.contains("secret"));
}
