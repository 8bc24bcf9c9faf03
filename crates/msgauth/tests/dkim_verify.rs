//! Signatures verified: the RFCs' own, ours, weak ones, changed ones, too many, and whatever a stranger may send.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what is wrong by failing")]

use std::io;
use std::time::Duration;

use mail::Domain;
use msgauth::dkim::{Algorithm, KeyStore, Outcome, summary};
use msgauth::{AuthResult, Examination, Limits, Lookups, examine};
use net::{DnsSettings, NameServer, Resolver};
use proptest::prelude::*;
use support::{Dns, Trouble};

/// RFC 8463 appendix A.3.
const RFC8463: &str = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n \
d=football.example.com; i=@football.example.com;\r\n \
q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n \
subject : date : message-id : from : subject : date;\r\n \
bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n \
b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus\r\n \
Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==\r\n\
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n \
d=football.example.com; i=@football.example.com;\r\n \
q=dns/txt; s=test; t=1528637909; h=from : to : subject :\r\n \
date : message-id : from : subject : date;\r\n \
bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n \
b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3\r\n \
DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz\r\n \
dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=\r\n\
From: Joe SixPack <joe@football.example.com>\r\n\
To: Suzie Q <suzie@shopping.example.net>\r\n\
Subject: Is dinner ready?\r\n\
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n\
Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n\
\r\n\
Hi.\r\n\
\r\n\
We lost the game.  Are you hungry yet?\r\n\
\r\n\
Joe.\r\n";

/// RFC 8463 appendix A.2.
const RFC8463_ZONE: &str = r#"
brisbane._domainkey.football.example.com. TXT "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
test._domainkey.football.example.com. TXT "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/b" "yYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB"
"#;

const FIELDS: &str = "From: Joe <joe@example.test>\r\nTo: jim@other.test\r\nSubject:  folded\r\n\tsubject\r\n\
Date: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID: <1@example.test>\r\n";

const NOW_SECONDS: u64 = 1_800_000_000;

fn lookups(dns: &Dns) -> Lookups {
    let settings = DnsSettings {
        servers: vec![NameServer(dns.addr)],
        try_seconds_max: 1,
        retries_max: 0,
        ..DnsSettings::default()
    };
    Lookups::new(&Resolver::from_settings(&settings).unwrap(), Duration::from_secs(10))
}

async fn verify(dns: &Dns, message: &[u8]) -> Vec<Outcome> {
    examine(message, &Limits::default(), NOW_SECONDS).dkim(&lookups(dns)).await
}

fn results(outcomes: &[Outcome]) -> Vec<AuthResult> {
    outcomes.iter().map(|outcome| outcome.result).collect()
}

/// A domain with keys, and a name server that knows them.
struct Signer {
    store: KeyStore,
    dns: Dns,
    _folder: tempfile::TempDir,
}

impl Signer {
    fn new(algorithms: &[Algorithm]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = KeyStore::open(folder.path()).unwrap();
        for (number, algorithm) in algorithms.iter().enumerate() {
            store.create(&domain(), &format!("s{number}"), *algorithm).unwrap();
        }
        let zone: String = store.dns_records(&domain()).iter().map(|record| format!("{record}\n")).collect();
        Self { store, dns: Dns::start(&zone), _folder: folder }
    }

    fn signed(&self, fields: &str, body: &[u8]) -> Vec<u8> {
        let signature =
            self.store.sign(&domain(), fields.as_bytes(), [io::Result::Ok(body)]).unwrap().unwrap();
        [signature.as_slice(), fields.as_bytes(), b"\r\n", body].concat()
    }
}

fn domain() -> Domain {
    Domain::parse("example.test").unwrap()
}

#[tokio::test]
async fn the_vectors_of_the_rfc() {
    let dns = Dns::start(RFC8463_ZONE);
    let outcomes = verify(&dns, RFC8463.as_bytes()).await;
    assert_eq!(results(&outcomes), [AuthResult::Pass; 2], "{outcomes:?}");
    let facts: Vec<_> = outcomes.iter().map(|it| (it.algorithm, it.key_bits, it.selector.as_str())).collect();
    assert_eq!(
        facts,
        [(Some("ed25519-sha256"), Some(256), "brisbane"), (Some("rsa-sha256"), Some(1024), "test")]
    );
    assert_eq!(outcomes[0].agent.as_deref(), Some("@football.example.com"));
    assert_eq!(outcomes[0].prefix, "/gCrinpc");

    for (old, new) in [
        ("ready?", "ready!"),
        ("Joe SixPack", "Joe Sixpack"),
        ("lost the", "won the"),
        ("Joe.\r\n", "Joe.\r\nPS\r\n"),
    ] {
        let changed = verify(&dns, RFC8463.replace(old, new).as_bytes()).await;
        assert_eq!(results(&changed), [AuthResult::Fail; 2], "{old}");
    }
    // A second From or Subject, in front of the signed one, is noticed: both are signed twice.
    let added = RFC8463.replace("From: Joe", "From: evil@evil.test\r\nFrom: Joe");
    assert_eq!(results(&verify(&dns, added.as_bytes()).await), [AuthResult::Fail; 2]);
}

#[tokio::test]
async fn what_we_sign_holds_whatever_the_body() {
    let signer = Signer::new(&[Algorithm::Ed25519, Algorithm::Rsa2048]);
    for body in [
        "",
        "\r\n",
        " \r\n\t\r\n",
        "a",
        "a\r\n \r\n\r\n",
        "\u{e9}\u{fc}\r\n.\r\n..x\r\n",
        "a  b \t c \r\n\r\n\r\n",
    ] {
        let outcomes = verify(&signer.dns, &signer.signed(FIELDS, body.as_bytes())).await;
        assert_eq!(results(&outcomes), [AuthResult::Pass; 2], "{body:?}: {outcomes:?}");
    }
    let latin = signer.signed(FIELDS, b"\xff\xfe\x00\r\n\x80");
    assert_eq!(summary(&verify(&signer.dns, &latin).await), AuthResult::Pass);
}

#[tokio::test]
async fn chunks_make_no_difference() {
    let signer = Signer::new(&[Algorithm::Ed25519]);
    let message = signer.signed(FIELDS, b"one \r\ntwo\r\n \r\n\r\n");
    let at = mail::header::body_offset(&message);
    let mut examination = Examination::of_header(&message[..at], &Limits::default(), NOW_SECONDS);
    message[at..].iter().for_each(|octet| examination.body(&[*octet]));
    let outcomes = examination.finish().dkim(&lookups(&signer.dns)).await;
    assert_eq!(results(&outcomes), [AuthResult::Pass]);
}

#[tokio::test]
async fn a_key_that_cannot_be_asked_for_is_temporary_and_one_that_is_not_there_is_not() {
    let signer = Signer::new(&[Algorithm::Ed25519]);
    let message = signer.signed(FIELDS, b"hello\r\n");
    for trouble in [Trouble::ServFail, Trouble::Refused, Trouble::Silent, Trouble::Referral] {
        signer.dns.trouble("s0._domainkey.example.test", trouble);
        assert_eq!(results(&verify(&signer.dns, &message).await), [AuthResult::TempError], "{trouble:?}");
    }
    signer.dns.recover("s0._domainkey.example.test");
    for (record, result, why) in [
        ("", AuthResult::PermError, "no key record"),
        ("s0._domainkey.example.test. TXT \"v=DKIM1; p=\"", AuthResult::PermError, "revoked"),
        ("s0._domainkey.example.test. TXT \"hello\"", AuthResult::PermError, "cannot be read"),
        (
            "s0._domainkey.example.test. TXT \"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"",
            AuthResult::Fail,
            "changed",
        ),
    ] {
        signer.dns.set_zone(&format!("other.test. A 192.0.2.1\n{record}"));
        let outcomes = verify(&signer.dns, &message).await;
        assert_eq!(results(&outcomes), [result], "{record}");
        assert!(outcomes[0].reason.as_ref().unwrap().contains(why), "{outcomes:?}");
    }
}

#[tokio::test]
async fn what_never_counts_is_policy() {
    let dns = Dns::start(RFC8463_ZONE);
    for (old, new, why) in [
        ("a=rsa-sha256", "a=rsa-sha1", "SHA-1"),
        ("t=1528637909", "t=1528637909; x=1528637910", "expired"),
        ("q=dns/txt; s=test", "q=dns/txt; l=3; s=test", "part of the body"),
    ] {
        let message = RFC8463.replace(old, new).replace("Joe.\r\n", "Joe.\r\nPS: more\r\n");
        let outcomes = verify(&dns, message.as_bytes()).await;
        let policy = outcomes.iter().find(|it| it.result == AuthResult::Policy).unwrap();
        assert!(policy.reason.as_ref().unwrap().contains(why), "{outcomes:?}");
    }
    // 512 bits: the signature is not even looked at.
    let short = "test._domainkey.football.example.com. TXT \"p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAIWmlgix/84GJ+dfgjm7LTc9EPdfkftlgiPpCq4/kbDAZmU0VvYKDljjleJ1dfvS+CGy9U/kk1tG3EeEvb82xAcCAwEAAQ==; t=y\"";
    dns.set_zone(short);
    let outcomes = verify(&dns, RFC8463.as_bytes()).await;
    assert_eq!(results(&outcomes), [AuthResult::PermError, AuthResult::Policy]);
    assert_eq!((outcomes[1].key_bits, outcomes[1].testing), (Some(512), true));
    // t=s: not for agents of subdomains.
    let strict = RFC8463_ZONE.replace("k=ed25519;", "k=ed25519; t=s;");
    dns.set_zone(&strict);
    assert_eq!(results(&verify(&dns, RFC8463.as_bytes()).await)[0], AuthResult::Pass);
    let message = RFC8463.replacen("i=@football", "i=@b.football", 1);
    assert_eq!(results(&verify(&dns, message.as_bytes()).await)[0], AuthResult::PermError);
}

#[tokio::test]
async fn of_many_signatures_those_of_the_author_are_verified() {
    let signer = Signer::new(&[Algorithm::Ed25519]);
    let signed = signer.signed(FIELDS, b"hello\r\n");
    let foreign = |number: usize| {
        format!("DKIM-Signature: v=1; a=rsa-sha256; d=d{number}.other; s=s; h=from; bh=aGk=; b=aGk=\r\n")
    };
    let message = [(0..200).map(foreign).collect::<String>().as_bytes(), &signed].concat();
    // More than are read to choose from stand above it.
    assert_eq!(results(&verify(&signer.dns, &message).await), [AuthResult::Fail; 8]);
    let message = [(0..40).map(foreign).collect::<String>().as_bytes(), &signed].concat();
    let outcomes = verify(&signer.dns, &message).await;
    assert_eq!(
        (outcomes.len(), outcomes[7].result, summary(&outcomes)),
        (8, AuthResult::Pass, AuthResult::Pass)
    );
    assert_eq!(outcomes[0].domain.as_ref().unwrap().as_str(), "d0.other");
    assert_eq!(summary(&[]), AuthResult::None);
}

proptest! {
    /// Whatever a stranger sends, there is a result, and it is not a pass.
    #[test]
    fn no_message_makes_it_panic(
        message in prop::collection::vec(prop_oneof![
            Just(b"DKIM-Signature: v=1; a=rsa-sha256; d=a.test; s=s; h=from:to; bh=aGk=; b=aGk=\r\n".to_vec()),
            Just(b"ARC-Seal: i=1; a=rsa-sha256; cv=none; d=a.test; s=s; b=aGk=\r\n".to_vec()),
            Just(b"ARC-Message-Signature: i=1; a=rsa-sha256; d=a.test; s=s; h=from; bh=aGk=; b=aGk=\r\n".to_vec()),
            Just(b"ARC-Authentication-Results: i=1; a.test; none\r\n".to_vec()),
            Just(b"From: a@b.test, \"x\r\n".to_vec()),
            Just(b"From: \xff@\xfe\r\n\t;=\r\n".to_vec()),
            Just(b"DKIM-Signature:".to_vec()),
            Just(b"\r\n".to_vec()),
            Just(b"\n".to_vec()),
            prop::collection::vec(any::<u8>(), 0..40),
        ], 0..12).prop_map(|parts| parts.concat())
    ) {
        let examined = examine(&message, &Limits::default(), NOW_SECONDS);
        prop_assert!(examined.authors().fields() <= 12);
    }
}
