//! The LMTP agent against a scripted server: a reply per recipient after the end of data (RFC 2033 §4.2).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests fail by panicking")]

mod common;

use common::{BODY, Peer, Script, Setup, deliver, hop, job, record};
use delivery::{Endpoint, Hop, Host, TlsPolicy};
use queue::DeliveryResult::{Deferred, Delivered, Failed};
use queue::Trouble;

fn lmtp(endpoint: Endpoint) -> Hop {
    Hop { lmtp: true, policy: TlsPolicy::Off, ..hop(endpoint) }
}

fn script(rules: Vec<(&'static str, Vec<&'static str>)>) -> Script {
    Script { lmtp: true, extensions: vec!["PIPELINING", "CHUNKING"], rules, ..Script::default() }
}

#[tokio::test]
async fn every_recipient_has_its_own_reply_to_the_message() {
    let rules = vec![
        ("RCPT TO:<no@", vec!["550 5.1.1 unknown"]),
        (".", vec!["250 2.0.0 one", "452 4.2.2 full", "554 5.6.0 no", "250 2.0.0 four"]),
    ];
    let peer = Peer::start(script(rules)).await;
    let to = lmtp(Endpoint::Inet(Host::Address(peer.address.ip()), peer.address.port()));
    let agents = Setup::default().agents();
    let people = ["a@a.test", "no@a.test", "b@a.test", "c@a.test", "d@a.test"];
    let outcomes = deliver(&agents, job(record(&people), to, BODY)).await;
    let results: Vec<_> = outcomes.iter().map(|o| (o.result, o.reply.text.as_ref())).collect();
    let full = Deferred(Trouble::Recipient);
    assert_eq!(
        results,
        [(Delivered, "one"), (Failed, "unknown"), (full, "full"), (Failed, "no"), (Delivered, "four")]
    );
    assert_eq!(peer.commands()[0], "LHLO us.test");
    assert_eq!(peer.commands().last().unwrap(), "DATA", "BDAT is not used here");
    assert_eq!(peer.messages(), [format!("Received: by us.test\r\n{BODY}")]);
}

#[tokio::test]
async fn a_socket_of_the_file_system_does_too_and_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lmtp");
    let log = Peer::start_unix(&path, script(vec![]));
    let agents = Setup::default().agents();
    for _ in 0..3 {
        let outcomes =
            deliver(&agents, job(record(&["a@a.test"]), lmtp(Endpoint::Unix(path.clone())), BODY)).await;
        assert_eq!(outcomes[0].result, Delivered);
        assert_eq!(outcomes[0].peer.as_deref(), path.to_str());
    }
    let log = log.lock().unwrap();
    assert_eq!((log.connections, log.messages.len()), (1, 3));
}

#[tokio::test]
async fn a_server_that_dies_between_the_replies_leaves_the_rest_for_later() {
    let peer = Peer::start(script(vec![(".", vec!["250 2.0.0 one", "CLOSE"])])).await;
    let to = lmtp(Endpoint::Inet(Host::Address(peer.address.ip()), peer.address.port()));
    let outcomes =
        deliver(&Setup::default().agents(), job(record(&["a@a.test", "b@a.test"]), to, BODY)).await;
    assert_eq!(outcomes[0].result, Delivered);
    assert_eq!(outcomes[1].result, Deferred(Trouble::Destination));
    assert_eq!(peer.messages().len(), 1, "what may have been taken is not offered again at once");
}

#[tokio::test]
async fn a_socket_that_is_not_there_defers() {
    let to = lmtp(Endpoint::Unix("/nonexistent/lmtp".into()));
    let outcomes = deliver(&Setup::default().agents(), job(record(&["a@a.test"]), to, BODY)).await;
    assert_eq!(outcomes[0].result, Deferred(Trouble::Destination));
}

#[tokio::test]
async fn mail_in_a_circle_is_returned() {
    let peer = Peer::start(script(vec![])).await;
    let to = lmtp(Endpoint::Inet(Host::Address(peer.address.ip()), peer.address.port()));
    let body = "Delivered-To: a@A.test\r\n\r\n";
    let outcomes =
        deliver(&Setup::default().agents(), job(record(&["a@a.test", "b@a.test"]), to, body)).await;
    assert_eq!((outcomes[0].result, outcomes[1].result), (Failed, Delivered));
}
