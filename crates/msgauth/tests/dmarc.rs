//! DMARC's walk up the tree, alignment, and which failures matter; and iprev.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what is wrong by failing")]

use std::time::Duration;

use mail::Domain;
use msgauth::dmarc::{self, Outcome, Policy, Problem, Request};
use msgauth::spf::{self, Identity};
use msgauth::{AuthResult, Limits, Lookups, dkim, examine, iprev};
use net::{DnsSettings, NameServer, Resolver};
use support::{Dns, Trouble};

const ZONE: &str = r#"
$ORIGIN test.
_dmarc.example          TXT "v=DMARC1; p=reject; sp=quarantine; np=none; rua=mailto:a@example.test"
www.example             A   192.0.2.1
mail.example            A   192.0.2.2
_dmarc.strict           TXT "v=DMARC1; p=quarantine; adkim=s; aspf=s"
_dmarc.trying           TXT "v=DMARC1; p=reject; t=y"
_dmarc.reports          TXT "v=DMARC1; rua=mailto:a@reports.test"
_dmarc.empty            TXT "v=DMARC1; p=odd"
_dmarc.twice            TXT "v=DMARC1; p=reject"
_dmarc.twice            TXT "v=DMARC1; p=none"
_dmarc.suffix           TXT "v=DMARC1; psd=y; p=quarantine"
_dmarc.one.suffix       TXT "v=DMARC1; p=reject"
own.example             A   192.0.2.3
_dmarc.own.example      TXT "v=DMARC1; p=none; psd=n"
11.2.0.192.in-addr.arpa. PTR a.client.test.
11.2.0.192.in-addr.arpa. PTR b.client.test.
12.2.0.192.in-addr.arpa. PTR a.client.test.
b.client                A   192.0.2.11
a.client                A   192.0.2.99
"#;

fn lookups(dns: &Dns) -> Lookups {
    let settings = DnsSettings {
        servers: vec![NameServer(dns.addr)],
        try_seconds_max: 1,
        retries_max: 0,
        ..DnsSettings::default()
    };
    Lookups::new(&Resolver::from_settings(&settings).unwrap(), Duration::from_secs(10))
}

fn spf_of(result: AuthResult, domain: &str) -> spf::Outcome {
    spf::Outcome {
        result,
        identity: Identity::MailFrom,
        domain: domain.to_owned(),
        mechanism: None,
        explanation: None,
        problem: None,
    }
}

fn dkim_of(result: AuthResult, domain: &str) -> dkim::Outcome {
    dkim::Outcome {
        result,
        domain: Some(Domain::parse(domain).unwrap()),
        selector: "s".to_owned(),
        agent: None,
        algorithm: Some("rsa-sha256"),
        key_bits: Some(2048),
        testing: false,
        prefix: String::new(),
        reason: None,
    }
}

/// Judges a letter with this From, and results for these domains.
async fn judge(dns: &Dns, from: &str, spf: (AuthResult, &str), dkim: (AuthResult, &str)) -> Outcome {
    let examined = examine(format!("From: {from}\r\n\r\n").as_bytes(), &Limits::default(), 0);
    let (spf, dkim) = (spf_of(spf.0, spf.1), [dkim_of(dkim.0, dkim.1)]);
    let request = Request { authors: examined.authors(), spf: Some(&spf), dkim: &dkim };
    dmarc::check(&request, &lookups(dns)).await
}

use AuthResult::{Fail, None as Nothing, Pass, TempError};

#[tokio::test]
async fn the_policy_that_applies_and_what_aligns() {
    let dns = Dns::start(ZONE);
    for (from, spf, dkim, result, policy) in [
        ("a@example.test", (Pass, "example.test"), (Nothing, "x.test"), Pass, Policy::Reject),
        ("a@example.test", (Pass, "mail.example.test"), (Nothing, "x.test"), Pass, Policy::Reject),
        ("a@example.test", (Pass, "other.test"), (Pass, "other.test"), Fail, Policy::Reject),
        ("a@example.test", (Fail, "example.test"), (Pass, "www.example.test"), Pass, Policy::Reject),
        ("a@example.test", (Fail, "example.test"), (Fail, "example.test"), Fail, Policy::Reject),
        (
            "a@example.test",
            (AuthResult::SoftFail, "example.test"),
            (AuthResult::Policy, "example.test"),
            Fail,
            Policy::Reject,
        ),
        // Names below: one that exists, and one that does not.
        ("a@www.example.test", (Pass, "other.test"), (Pass, "mail.example.test"), Pass, Policy::Quarantine),
        ("a@www.example.test", (Fail, "other.test"), (Fail, "other.test"), Fail, Policy::Quarantine),
        ("a@gone.example.test", (Fail, "other.test"), (Fail, "other.test"), Fail, Policy::None),
        // Strict alignment takes the very name.
        ("a@strict.test", (Pass, "strict.test"), (Nothing, "x.test"), Pass, Policy::Quarantine),
        ("a@strict.test", (Pass, "b.strict.test"), (Pass, "b.strict.test"), Fail, Policy::Quarantine),
        ("a@trying.test", (Fail, "x.test"), (Fail, "x.test"), Fail, Policy::Quarantine),
        ("a@reports.test", (Fail, "x.test"), (Fail, "x.test"), Fail, Policy::None),
        // A suffix: what is one label below is an organization, and another one than its neighbour.
        ("a@two.suffix.test", (Pass, "one.suffix.test"), (Fail, "x.test"), Fail, Policy::Quarantine),
        ("a@b.one.suffix.test", (Pass, "c.one.suffix.test"), (Fail, "x.test"), Pass, Policy::Reject),
        // An organization of its own below another one.
        ("a@own.example.test", (Pass, "example.test"), (Fail, "x.test"), Fail, Policy::None),
        ("a@b.own.example.test", (Pass, "own.example.test"), (Fail, "x.test"), Pass, Policy::None),
    ] {
        let outcome = judge(&dns, from, spf, dkim).await;
        assert_eq!(
            (outcome.result, outcome.policy),
            (result, policy),
            "{from} {spf:?} {dkim:?}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn where_there_is_nothing_to_judge_by() {
    let dns = Dns::start(ZONE);
    let both = (Pass, "x.test");
    for (from, problem) in [
        ("a@nothing.test", None),
        ("a@twice.test", None),
        ("a@empty.test", Some(Problem::Record)),
        ("", Some(Problem::NoAuthor)),
        ("joe", Some(Problem::NoAuthor)),
        ("a@example.test, b@other.test", Some(Problem::ManyAuthors)),
        ("a@example.test\r\nFrom: b@other.test", Some(Problem::ManyAuthors)),
    ] {
        let outcome = judge(&dns, from, both, both).await;
        assert_eq!((outcome.result, outcome.problem), (Nothing, problem), "{from}");
    }
    assert_eq!(judge(&dns, "a@b.c.nothing.test", both, both).await.void_lookups, 4);
    // Two From fields of one domain are one author's domain; how many fields there are is told apart.
    let outcome = judge(&dns, "a@example.test\r\nFrom: b@example.test", both, both).await;
    assert_eq!(outcome.result, Fail);
}

#[tokio::test]
async fn a_failed_look_up_matters_where_it_could_change_the_result() {
    for trouble in [Trouble::ServFail, Trouble::Refused, Trouble::Silent, Trouble::Referral] {
        let dns = Dns::start(ZONE);
        dns.trouble("_dmarc.example.test", trouble);
        let outcome = judge(&dns, "a@example.test", (Pass, "example.test"), (Fail, "x.test")).await;
        assert_eq!(outcome.result, TempError, "{trouble:?}");
        assert!(matches!(outcome.problem, Some(Problem::AuthorLookup(_))), "{outcome:?}");
        // The author's record is not there, and whether one above is cannot be known.
        let outcome = judge(&dns, "a@www.example.test", (Pass, "www.example.test"), (Fail, "x.test")).await;
        assert!(matches!(outcome.problem, Some(Problem::ParentLookup(_))), "{outcome:?}");
        assert_eq!(outcome.result, TempError);
        // The author's record is there: only an identifier of the same family hangs on what is above.
        for (spf, result) in [("b.own.example.test", Pass), ("other.test", Fail)] {
            let outcome = judge(&dns, "a@own.example.test", (Pass, spf), (Fail, "x.test")).await;
            assert_eq!((outcome.result, outcome.policy), (result, Policy::None), "{spf} {outcome:?}");
        }
    }
    // A top-level domain that does not answer is no matter where there is a record below it.
    let dns = Dns::start(ZONE);
    dns.trouble("_dmarc.test", Trouble::Refused);
    let outcome = judge(&dns, "a@example.test", (Pass, "mail.example.test"), (Fail, "x.test")).await;
    assert_eq!(outcome.result, Pass);
    let outcome = judge(&dns, "a@nothing.test", (Pass, "nothing.test"), (Fail, "x.test")).await;
    assert!(matches!(outcome.problem, Some(Problem::ParentLookup(_))), "{outcome:?}");
}

#[tokio::test]
async fn evidence_that_could_not_be_found_out_is_no_failure() {
    let dns = Dns::start(ZONE);
    for (spf, dkim, result, problem) in [
        ((TempError, "example.test"), (Fail, "x.test"), TempError, Some(Problem::Evidence)),
        ((Fail, "x.test"), (TempError, "mail.example.test"), TempError, Some(Problem::Evidence)),
        ((TempError, "example.test"), (Pass, "example.test"), Pass, None),
        ((TempError, "other.test"), (TempError, "other.test"), Fail, None),
    ] {
        let outcome = judge(&dns, "a@example.test", spf, dkim).await;
        assert_eq!((outcome.result, outcome.problem), (result, problem), "{spf:?} {dkim:?}");
    }
}

#[tokio::test]
async fn iprev_goes_there_and_back() {
    let dns = Dns::start(ZONE);
    let ask = |client: &str| {
        let (client, lookups) = (client.parse().unwrap(), lookups(&dns));
        async move { iprev::check(client, &lookups).await }
    };
    let outcome = ask("::ffff:192.0.2.11").await;
    assert_eq!((outcome.result, outcome.names.len()), (Pass, 2));
    assert_eq!(outcome.name.unwrap().as_str(), "b.client.test");
    let outcome = ask("192.0.2.12").await;
    assert_eq!((outcome.result, outcome.name, outcome.names.len()), (Fail, None, 1));
    assert_eq!(ask("192.0.2.13").await.result, AuthResult::PermError);
    dns.trouble("b.client.test", Trouble::ServFail);
    assert_eq!(ask("192.0.2.11").await.result, TempError);
    dns.trouble("14.2.0.192.in-addr.arpa", Trouble::Refused);
    assert_eq!(ask("192.0.2.14").await.result, TempError);
}
