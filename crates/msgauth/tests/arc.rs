//! Chains of ARC, sealed here by hand: whole ones, broken ones, given up ones, and keys that cannot be asked for.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what is wrong by failing")]

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use msgauth::arc::Outcome;
use msgauth::{AuthResult, Limits, Lookups, examine};
use net::{DnsSettings, NameServer, Resolver};
use support::{Dns, Trouble, base64};

const LETTER: &str = "From: joe@example.test\r\nSubject: hello\r\n\r\nBody\r\n";

/// Those who pass a message on: `d1.test`, `d2.test` and so on, with one key.
struct Sealers {
    key: Ed25519KeyPair,
    dns: Dns,
}

impl Sealers {
    fn new() -> Self {
        let key = Ed25519KeyPair::generate().unwrap();
        let public = base64(key.public_key().as_ref());
        let record =
            |number| format!("s._domainkey.d{number}.test. TXT \"v=DKIM1; k=ed25519; p={public}\"\n");
        Self { dns: Dns::start(&(1..=60).map(record).collect::<String>()), key }
    }

    fn sign(&self, canonical: &str) -> String {
        base64(self.key.sign(digest(&SHA256, canonical.as_bytes()).as_ref()).as_ref())
    }

    /// Puts one more set on top. All fields are written in their canonical form, but for the space after the colon.
    fn seal(&self, message: &str, instance: usize, validation: &str) -> String {
        let (header, body) = message.split_once("\r\n\r\n").unwrap();
        let field =
            |name: &str| header.lines().find(|line| line.starts_with(name)).unwrap().replace(": ", ":");
        let own = format!("i={instance}; a=ed25519-sha256; d=d{instance}.test; s=s");
        let results = format!(
            "i={instance}; d{instance}.test; spf=pass smtp.mailfrom=example.test; dmarc=fail (p=none)"
        );
        let hash = base64(digest(&SHA256, body.as_bytes()).as_ref());
        let signature = format!("{own}; c=relaxed/relaxed; h=from:subject; bh={hash}; b=");
        let signed = format!(
            "from:{}\r\nsubject:{}\r\narc-message-signature:{signature}",
            &field("From: ")[5..],
            &field("Subject: ")[8..]
        );
        let signature = format!("{signature}{}", self.sign(&signed));
        let seal = format!("{own}; t=12345; cv={validation}; b=");
        let mut sealed = String::new();
        for earlier in 1..instance {
            for name in ["ARC-Authentication-Results", "ARC-Message-Signature", "ARC-Seal"] {
                let start = format!("{name}: i={earlier};");
                let line = header.lines().find(|line| line.starts_with(&start)).unwrap();
                sealed += &format!("{}:{}\r\n", name.to_lowercase(), &line[name.len() + 2..]);
            }
        }
        sealed += &format!(
            "arc-authentication-results:{results}\r\narc-message-signature:{signature}\r\narc-seal:{seal}"
        );
        let seal = format!("{seal}{}", self.sign(&sealed));
        format!(
            "ARC-Seal: {seal}\r\nARC-Message-Signature: {signature}\r\nARC-Authentication-Results: {results}\r\n{message}"
        )
    }

    /// A letter with so many sets.
    fn chain(&self, sets: usize) -> String {
        (1..=sets).fold(LETTER.to_owned(), |message, instance| {
            self.seal(&message, instance, if instance == 1 { "none" } else { "pass" })
        })
    }

    async fn verify(&self, message: &str) -> Outcome {
        let settings = DnsSettings {
            servers: vec![NameServer(self.dns.addr)],
            try_seconds_max: 1,
            retries_max: 0,
            ..DnsSettings::default()
        };
        let lookups = Lookups::new(&Resolver::from_settings(&settings).unwrap(), Duration::from_secs(10));
        examine(message.as_bytes(), &Limits::default(), 0).arc(&lookups).await
    }
}

#[tokio::test]
async fn whole_chains_pass_and_say_who_sealed_them() {
    let sealers = Sealers::new();
    assert_eq!(sealers.verify(LETTER).await.result, AuthResult::None);
    for sets in [1, 2, 3, 50] {
        let outcome = sealers.verify(&sealers.chain(sets)).await;
        assert_eq!((outcome.result, outcome.sealers.len()), (AuthResult::Pass, sets), "{outcome:?}");
        assert_eq!(outcome.dmarc_before, Some(AuthResult::Fail));
        assert_eq!(outcome.sealers[sets - 1].as_str(), format!("d{sets}.test"));
    }
    assert_eq!(sealers.verify(&sealers.chain(51)).await.result, AuthResult::Fail);
}

#[tokio::test]
async fn what_is_changed_or_missing_breaks_the_chain() {
    let sealers = Sealers::new();
    let chain = sealers.chain(2);
    let without = |start: &str| {
        let kept = chain.split_inclusive("\r\n").filter(|line| !line.starts_with(start));
        kept.collect::<String>()
    };
    let first = |start: &str| chain.split_inclusive("\r\n").find(|line| line.starts_with(start)).unwrap();
    for broken in [
        chain.replace("Body", "body"),
        chain.replace("hello", "bye"),
        chain.replacen("spf=pass", "spf=fail", 1),
        chain.replace("t=12345; cv=none", "t=12346; cv=none"),
        chain.replace("cv=none", "cv=pass"),
        chain.replace("cv=pass", "cv=none"),
        chain.replace(
            "i=2; a=ed25519-sha256; d=d2.test; s=s; t=",
            "i=2; a=ed25519-sha256; d=d3.test; s=s; t=",
        ),
        chain.replace("h=from:subject", "h=from:arc-seal"),
        chain.replace("cv=none;", "cv=none; h=from;"),
        chain.replace("a=ed25519-sha256", "a=rsa-sha1"),
        chain.replace("i=1; ", "i=3; "),
        chain.replace("i=1; ", "i=0; "),
        chain.replace("i=1; ", "i=51; "),
        chain.replace("d2.test; s=s", "nokey.test; s=s"),
        without("ARC-Seal: i=1"),
        without("ARC-Message-Signature: i=2"),
        without("ARC-Authentication-Results: i=1"),
        format!("{}{chain}", first("ARC-Seal: i=2")),
        format!("{}{chain}", first("ARC-Authentication-Results: i=1")),
    ] {
        assert_ne!(broken, chain);
        let outcome = sealers.verify(&broken).await;
        assert_eq!(outcome.result, AuthResult::Fail, "{outcome:?}\n{broken}");
        assert!(outcome.reason.is_some());
    }
    // An older signature of the message may be broken by those who came after; only the last one counts.
    let listed = sealers.seal(&sealers.chain(1).replace("hello", "[list] hello"), 2, "pass");
    assert_eq!(sealers.verify(&listed).await.result, AuthResult::Pass);
}

#[tokio::test]
async fn a_chain_that_was_given_up_is_none_and_an_unknown_key_temporary() {
    let sealers = Sealers::new();
    let given_up = sealers.seal(&sealers.chain(1), 2, "fail");
    let outcome = sealers.verify(&given_up).await;
    assert_eq!(outcome.result, AuthResult::None);
    assert!(outcome.reason.unwrap().contains("broken already"));

    let chain = sealers.chain(2);
    for trouble in [Trouble::ServFail, Trouble::Refused, Trouble::Silent] {
        sealers.dns.trouble("s._domainkey.d1.test", trouble);
        assert_eq!(sealers.verify(&chain).await.result, AuthResult::TempError, "{trouble:?}");
    }
}
