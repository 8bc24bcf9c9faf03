//! Letters with links of all kinds, and lists on loopback that know some of them.

use net::{DnsSettings, NameServer};
use policy::{AuthFacts, AuthResult, DmarcFact, DmarcPolicy};
use support::Dns;

use super::*;
use crate::connect::dnsbl::health::HealthSettings;
use crate::connect::dnsbl::settings::domain_defaults;
use crate::testing::{NOW, message, run, symbols};

async fn check(zone: &str) -> (Links, Dns) {
    let dns = Dns::start(zone);
    let settings = DnsSettings { servers: vec![NameServer(dns.addr)], ..DnsSettings::default() };
    let zones = domain_defaults();
    let lists = Arc::new(Lists::new(&zones, HealthSettings::default(), &settings).unwrap());
    lists.tend(NOW).await;
    let own: Vec<Domain> = vec!["our-example.com".parse().unwrap()];
    let settings: LinkSettings =
        toml::from_str("protected_domains = ['mybank.com']\ndomains_max = 3\n").unwrap();
    (Links::new(lists, &zones, settings, &own), dns)
}

/// The lists with their test entries; `bad.com` is in each of them.
const WORLD: &str = "
    dbltest.com.dbl.spamhaus.org. A 127.0.1.2
    2.0.0.127.multi.surbl.org. A 127.0.0.254
    2.0.0.127.multi.uribl.com. A 127.0.0.14
    bad.com.dbl.spamhaus.org. A 127.0.1.4
    bad.com.multi.surbl.org. A 127.0.0.72
    bad.com.multi.uribl.com. A 127.0.0.2
";

fn html(body: &str) -> String {
    format!("From: joe@far.test\nContent-Type: text/html\n\n{body}\n")
}

async fn seen(check: &Links, letter: &str) -> Vec<String> {
    let found = run(check, &message("joe@far.test", letter)).await;
    let mut all: Vec<_> = symbols(&found).into_iter().map(ToOwned::to_owned).collect();
    all.sort_unstable();
    all
}

#[tokio::test]
async fn domains_of_links_are_asked_about_in_all_lists() {
    let (check, _dns) = check(WORLD).await;
    let letter =
        "Subject: x\n\nhttp://www.shop.bad.com/x http://good.com http://192.0.2.1/ http://our-example.com\n";
    let want = ["DBL_PHISH", "LINK_ADDRESS", "SURBL_ABUSE", "SURBL_PHISH", "URIBL_BLACK"];
    assert_eq!(seen(&check, letter).await, want);
    let found = run(&check, &message("joe@far.test", letter)).await;
    let asked: Vec<_> = found.dns_answers().iter().map(|answer| answer.question.clone()).collect();
    assert!(asked.contains(&"good.com.multi.surbl.org. A".to_owned()), "{asked:?}");
    assert!(!asked.iter().any(|name| name.contains("192") || name.contains("our-example")), "{asked:?}");
    // The fourth is not asked about.
    assert!(
        seen(&check, "Subject: x\n\nhttp://a.com http://b.com http://c.com http://bad.com\n")
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn answers_that_are_no_listings_suspend_the_list_and_silence_is_unknown() {
    let world =
        format!("{WORLD}\nx.com.dbl.spamhaus.org. A 127.0.1.255\ny.com.multi.surbl.org. A 127.0.0.9\n");
    let (check, _dns) = check(&world).await;
    assert!(seen(&check, "Subject: x\n\nhttp://x.com http://y.com\n").await.is_empty());
    let states: Vec<_> = check.lists.status().iter().map(|line| line.state.clone()).collect();
    assert_eq!(states, ["suspended", "suspended", "healthy"]);
    // Only the one that is left is asked now.
    assert_eq!(seen(&check, "Subject: x\n\nhttp://bad.com\n").await, ["URIBL_BLACK"]);
}

#[tokio::test]
async fn links_that_lead_elsewhere_are_told() {
    let (check, _dns) = check("").await;
    for (body, want) in [
        ("<a href='http://evil.net/'>https://www.mybank.com/login</a>", vec!["LINK_OTHER_TEXT"]),
        ("<a href='http://192.0.2.7/'>www.mybank.com</a>", vec!["LINK_ADDRESS", "LINK_OTHER_TEXT"]),
        ("<a href='https://login.mybank.com/'>mybank.com</a>", vec![]),
        ("<a href='https://mybank.co.uk/'>mybank.com</a>", vec![]),
        ("<a href='https://evil.net/'>Click here</a>", vec![]),
        ("<a href='https://eur01.safelinks.protection.outlook.com/?url=x'>www.mybank.com</a>", vec![]),
        ("<a href='https://rnybank.com/'>log in</a>", vec!["LINK_IMITATION"]),
        ("<a href='https://mybank.com.evil.net/'>log in</a>", vec!["LINK_IMITATION"]),
        ("<a href='https://p\u{430}ypal.com/'>log in</a>", vec!["LINK_MIXED_SCRIPTS"]),
        ("<a href='https://mybank.com@evil.net/'>log in</a>", vec!["LINK_USER_PART"]),
        ("<a href='https://joe:secret@evil.net/'>log in</a>", vec![]),
    ] {
        assert_eq!(seen(&check, &html(body)).await, want, "{body}");
    }
}

#[tokio::test]
async fn a_proven_author_may_count_clicks_and_an_imitator_is_known() {
    let (check, _dns) = check("").await;
    let by = |from: &str, result| AuthFacts {
        dmarc: Some(Arc::new(DmarcFact {
            result,
            policy: DmarcPolicy::None,
            from: Some(from.parse().unwrap()),
            spf_aligned: false,
            dkim_aligned: false,
            reason: None,
        })),
        ..AuthFacts::default()
    };
    let letter = html("<a href='http://counter.net/'>www.shop.com</a>");
    for (from, result, want) in [
        ("news.shop.com", AuthResult::Pass, vec![]),
        ("news.shop.com", AuthResult::Fail, vec!["LINK_OTHER_TEXT"]),
        ("mybаnk.com", AuthResult::Pass, vec!["FROM_IMITATION", "LINK_OTHER_TEXT"]),
    ] {
        let from = idna::domain_to_ascii(from).unwrap();
        let facts = MessageFacts { auth: by(&from, result), ..message("joe@far.test", &letter) };
        assert_eq!(symbols(&run(&check, &facts).await), want, "{from}");
    }
}
