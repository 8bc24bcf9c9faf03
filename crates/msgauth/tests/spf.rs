//! SPF against a name server: the limits, the errors and the identities of RFC 7208, and the examples of its appendix.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what is wrong by failing")]

use std::time::Duration;

use msgauth::spf::{self, Identity, Outcome, Request};
use msgauth::{AuthResult, Lookups};
use net::{DnsSettings, NameServer, Resolver};
use support::{Dns, Trouble};

/// RFC 7208 appendix A.1, and what the cases below need.
const ZONE: &str = r#"
$ORIGIN example.com.
@           MX   10 mail-a
@           MX   20 mail-b
@           A    192.0.2.10
@           A    192.0.2.11
amy         A    192.0.2.65
bob         A    192.0.2.66
mail-a      A    192.0.2.129
mail-b      A    192.0.2.130
www         CNAME example.com.
mail-c.example.org.     A    192.0.2.140
example.org.            MX   10 mail-c.example.org.
10.2.0.192.in-addr.arpa. PTR example.com.
11.2.0.192.in-addr.arpa. PTR example.com.
65.2.0.192.in-addr.arpa. PTR amy.example.com.
66.2.0.192.in-addr.arpa. PTR bob.example.com.
129.2.0.192.in-addr.arpa. PTR mail-a.example.com.
130.2.0.192.in-addr.arpa. PTR mail-b.example.com.
140.2.0.192.in-addr.arpa. PTR mail-c.example.org.
4.0.0.10.in-addr.arpa.  PTR bob.example.com.
mary.mobile-users._spf  A 127.0.0.2
15.15.168.192.joel.remote-users._spf A 127.0.0.2
"#;

/// A name server with the zone above, and a record for the domain `p.example.com`.
fn dns(record: &str, more: &str) -> Dns {
    Dns::start(&format!("{ZONE}\np TXT \"{record}\"\n{more}"))
}

async fn ask(dns: &Dns, client: &str, helo: &str, mail_from: &str) -> Outcome {
    let settings = DnsSettings {
        servers: vec![NameServer(dns.addr)],
        try_seconds_max: 1,
        retries_max: 0,
        ..DnsSettings::default()
    };
    let lookups = Lookups::new(&Resolver::from_settings(&settings).unwrap(), Duration::from_secs(5));
    let client = client.parse().unwrap();
    let request =
        Request { client, helo, mail_from, receiver: "mx.example.test", now_seconds: 1_700_000_000 };
    spf::check(&request, &lookups).await
}

/// The result for a sender in `p.example.com`.
async fn result(record: &str, more: &str, client: &str) -> AuthResult {
    ask(&dns(record, more), client, "mail.example.net", "joe@p.example.com").await.result
}

/// RFC 7208 appendix A, with the domains written out, since the record stands under another name here.
#[tokio::test]
async fn the_examples_of_the_rfc() {
    use AuthResult::{Fail, Neutral, Pass};
    for (record, client, meant) in [
        ("v=spf1 +all", "192.0.2.99", Pass),
        ("v=spf1 a:example.com -all", "192.0.2.10", Pass),
        ("v=spf1 a:example.com -all", "192.0.2.12", Fail),
        ("v=spf1 a:example.org -all", "192.0.2.10", Fail),
        ("v=spf1 mx:example.com -all", "192.0.2.129", Pass),
        ("v=spf1 mx:example.com -all", "192.0.2.140", Fail),
        ("v=spf1 mx:example.org -all", "192.0.2.140", Pass),
        ("v=spf1 mx:example.com mx:example.org -all", "192.0.2.140", Pass),
        ("v=spf1 mx:example.com/30 mx:example.org/30 -all", "192.0.2.131", Pass),
        ("v=spf1 mx:example.com/30 mx:example.org/30 -all", "192.0.2.143", Pass),
        ("v=spf1 mx:example.com/30 mx:example.org/30 -all", "192.0.2.145", Fail),
        ("v=spf1 ptr:example.com -all", "192.0.2.65", Pass),
        ("v=spf1 ptr:example.com -all", "192.0.2.140", Fail),
        ("v=spf1 ptr:example.com -all", "10.0.0.4", Fail),
        ("v=spf1 ip4:192.0.2.128/28 -all", "192.0.2.65", Fail),
        ("v=spf1 ip4:192.0.2.128/28 -all", "192.0.2.129", Pass),
        ("v=spf1 ip4:192.0.2.128/28", "192.0.2.65", Neutral),
    ] {
        assert_eq!(result(record, "", client).await, meant, "{record} {client}");
    }
}

#[tokio::test]
async fn macros_ask_for_what_they_make() {
    let record =
        "v=spf1 exists:%{l1r+-}.mobile-users._spf.%{o2} exists:%{ir}.%{l1r+-}.remote-users._spf.%{o2} -all";
    let dns = dns(record, "");
    assert_eq!(ask(&dns, "192.0.2.1", "h", "mary+list@p.example.com").await.result, AuthResult::Pass);
    assert_eq!(ask(&dns, "192.168.15.15", "h", "joel@p.example.com").await.result, AuthResult::Pass);
    assert_eq!(ask(&dns, "192.168.15.16", "h", "joel@p.example.com").await.result, AuthResult::Fail);
    // IPv4 inside of IPv6 is IPv4.
    assert_eq!(ask(&dns, "::ffff:192.168.15.15", "h", "joel@p.example.com").await.result, AuthResult::Pass);
}

#[tokio::test]
async fn a_failed_look_up_is_temporary_and_a_wrong_record_permanent() {
    for (record, name) in [
        ("v=spf1 -all", "p.example.com"),
        ("v=spf1 a:bad.example.com -all", "bad.example.com"),
        ("v=spf1 mx:bad.example.com -all", "bad.example.com"),
        ("v=spf1 mx:m.example.com -all", "bad.example.com"),
        ("v=spf1 exists:bad.example.com -all", "bad.example.com"),
        ("v=spf1 include:bad.example.com -all", "bad.example.com"),
        ("v=spf1 redirect=bad.example.com", "bad.example.com"),
    ] {
        for trouble in [Trouble::ServFail, Trouble::Refused, Trouble::Referral] {
            let dns = dns(record, "m MX 5 bad");
            dns.trouble(name, trouble);
            let outcome = ask(&dns, "192.0.2.1", "h", "joe@p.example.com").await;
            assert_eq!(outcome.result, AuthResult::TempError, "{record} {trouble:?}");
            assert!(outcome.problem.is_some());
        }
    }
    // What comes before the failure decides; names of the client are skipped (RFC 7208 §5.5).
    let dns = dns("v=spf1 ip4:192.0.2.1 a:bad.example.com -all", "");
    dns.trouble("bad.example.com", Trouble::ServFail);
    assert_eq!(ask(&dns, "192.0.2.1", "h", "joe@p.example.com").await.result, AuthResult::Pass);
    let dns = self::dns("v=spf1 ptr -all", "");
    dns.trouble("65.2.0.192.in-addr.arpa", Trouble::ServFail);
    assert_eq!(ask(&dns, "192.0.2.65", "h", "joe@p.example.com").await.result, AuthResult::Fail);

    for (record, more) in [
        ("v=spf1 a:b -all", ""),
        ("v=spf1 -all gone", ""),
        ("v=spf1 -all", "p TXT \"v=spf1 +all\""),
        ("v=spf1 include:nowhere.example.com +all", ""),
        ("v=spf1 redirect=nowhere.example.com", ""),
        ("v=spf1 include:q.example.com +all", "q TXT \"v=spf1 ip4:1\""),
        ("v=spf1 include:p.example.com", ""),
        ("v=spf1 redirect=p.example.com", ""),
    ] {
        assert_eq!(result(record, more, "192.0.2.1").await, AuthResult::PermError, "{record}");
    }
    assert_eq!(result("v=spf2 -all", "", "192.0.2.1").await, AuthResult::None);
}

#[tokio::test]
async fn ten_terms_two_of_them_in_vain_and_ten_hosts() {
    let terms = |count: usize| "a:amy.example.com ".repeat(count);
    assert_eq!(result(&format!("v=spf1 {}-all", terms(10)), "", "192.0.2.1").await, AuthResult::Fail);
    assert_eq!(result(&format!("v=spf1 {}-all", terms(11)), "", "192.0.2.1").await, AuthResult::PermError);
    let nested = format!("q TXT \"v=spf1 {}\"", terms(10));
    let record = "v=spf1 include:q.example.com -all";
    assert_eq!(result(record, &nested, "192.0.2.1").await, AuthResult::PermError);

    let vain = |count: usize| (0..count).map(|n| format!("exists:n{n}.example.com ")).collect::<String>();
    assert_eq!(result(&format!("v=spf1 {}-all", vain(2)), "", "192.0.2.1").await, AuthResult::Fail);
    assert_eq!(result(&format!("v=spf1 {}-all", vain(3)), "", "192.0.2.1").await, AuthResult::PermError);

    let hosts =
        |count: usize| (0..count).map(|n| format!("m MX {n} amy\nm MX {n} h{n}\n")).collect::<String>();
    assert_eq!(result("v=spf1 mx:m.example.com -all", &hosts(5), "192.0.2.65").await, AuthResult::Pass);
    assert_eq!(result("v=spf1 mx:m.example.com -all", &hosts(6), "192.0.2.65").await, AuthResult::PermError);
}

#[tokio::test]
async fn time_that_is_used_up_is_a_temporary_error() {
    let dns = dns("v=spf1 a:slow.example.com -all", "");
    dns.trouble("slow.example.com", Trouble::Silent);
    let settings = DnsSettings { servers: vec![NameServer(dns.addr)], ..DnsSettings::default() };
    let lookups = Lookups::new(&Resolver::from_settings(&settings).unwrap(), Duration::from_millis(300));
    let request = Request {
        client: "192.0.2.1".parse().unwrap(),
        helo: "",
        mail_from: "joe@p.example.com",
        receiver: "",
        now_seconds: 0,
    };
    assert_eq!(spf::check(&request, &lookups).await.result, AuthResult::TempError);
}

#[tokio::test]
async fn the_null_sender_is_judged_by_helo() {
    let dns = dns("v=spf1 a:amy.example.com -all", "amy TXT \"v=spf1 a -all\"");
    let outcome = ask(&dns, "192.0.2.65", "amy.example.com", "").await;
    assert_eq!((outcome.result, outcome.identity), (AuthResult::Pass, Identity::Helo));
    assert_eq!(outcome.mechanism.as_deref(), Some("a"));
    let outcome = ask(&dns, "192.0.2.65", "amy.example.com", "joe@p.example.com").await;
    assert_eq!((outcome.result, outcome.identity), (AuthResult::Pass, Identity::MailFrom));
    for helo in ["", "[192.0.2.65]", "localhost", "a..b", "amy example.com"] {
        assert_eq!(ask(&dns, "192.0.2.65", helo, "").await.result, AuthResult::None, "{helo}");
    }
    let outcome = ask(&dns, "192.0.2.1", "h", "@p.example.com").await;
    assert_eq!((outcome.result, outcome.domain.as_str()), (AuthResult::Fail, "p.example.com"));
}

#[tokio::test]
async fn explanations_are_for_fail_alone_and_are_a_stranger_s_words() {
    let why = "why TXT \"%{i} is not %{p}, %{S} knows at %{r}\"";
    let dns = dns("v=spf1 ?ip4:192.0.2.2 -all exp=why.example.com", why);
    let outcome = ask(&dns, "192.0.2.65", "h", "joe\r\n@p.example.com").await;
    let words = "192.0.2.65 is not amy.example.com, joe%0D%0A%40p.example.com knows at mx.example.test";
    assert_eq!(outcome.explanation.as_deref(), Some(words));
    assert_eq!(outcome.mechanism.as_deref(), Some("-all"));
    assert_eq!(ask(&dns, "192.0.2.2", "h", "joe@p.example.com").await.explanation, None);
    for more in ["", "why TXT \"two\"\nwhy TXT \"texts\"", "why TXT \"%{bad}\""] {
        let dns = self::dns("v=spf1 -all exp=why.example.com", more);
        let outcome = ask(&dns, "192.0.2.65", "h", "joe@p.example.com").await;
        assert_eq!((outcome.result, outcome.explanation), (AuthResult::Fail, None), "{more}");
    }
}
