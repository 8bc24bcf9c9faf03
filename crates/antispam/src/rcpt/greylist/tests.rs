//! Simulated senders, with the time passed in: real ones get through, floods stay bounded.

use std::net::IpAddr;
use std::time::Duration;

use mail::Domain;
use policy::{AuthFacts, AuthResult, IprevFact, SpfFact, SpfIdentity};
use store::{MemoryState, StateSettings};

use super::*;

const START: u64 = 1_795_309_323;

struct World {
    greylist: Greylist,
    state: Arc<MemoryState>,
    seconds: u64,
}

/// Who brings a letter.
#[derive(Clone, Copy)]
struct Client<'a> {
    address: &'a str,
    spf: Option<&'a str>,
    name: Option<&'a str>,
}

impl Client<'_> {
    fn origins(&self) -> Vec<Origin> {
        let domain = |text| Domain::parse(text).unwrap();
        let spf = self.spf.map(|text| SpfFact {
            result: AuthResult::Pass,
            identity: SpfIdentity::MailFrom,
            domain: Some(domain(text)),
            explanation: None,
            mechanism: None,
        });
        let iprev = self.name.map(|text| IprevFact {
            result: AuthResult::Pass,
            name: Some(domain(text)),
            names: vec![domain(text)],
        });
        let auth = AuthFacts { spf: spf.map(Arc::new), iprev: iprev.map(Arc::new), ..AuthFacts::default() };
        Origin::all(self.address.parse::<IpAddr>().unwrap(), &auth, false, false)
    }
}

impl World {
    fn new(entries_max: u64) -> Self {
        let settings = StateSettings { namespace_entries_max: entries_max, ..StateSettings::default() };
        let state = Arc::new(MemoryState::new(&settings));
        Self { greylist: Greylist::new(GreylistSettings::default(), state.clone()), state, seconds: START }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(self.seconds)
    }

    fn pass(&mut self, time: Duration) {
        self.seconds += time.as_secs();
    }

    async fn send(&self, from: Client<'_>, sender: &str, recipient: &str) -> Answer {
        let sender = ReversePath::Mailbox(Address::parse(sender).unwrap());
        let recipient = Address::parse(recipient).unwrap();
        let attempt = Attempt { origins: from.origins(), sender: &sender, recipient: &recipient };
        self.greylist.answer(&attempt, self.now()).await
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
const PLAIN: Client<'_> = Client { address: "192.0.2.9", spf: None, name: None };

fn passes(answer: &Answer) -> bool {
    matches!(answer, Answer::Pass(Pass::CameBack(_) | Pass::Allowed(_)))
}

#[tokio::test]
async fn a_server_that_retries_as_postfix_does_gets_through() {
    let mut world = World::new(1000);
    assert_eq!(world.send(PLAIN, "joe@away.test", "mara@our.test").await, Answer::Wait { seconds: 300 });
    // Tried again when the queue was flushed: that must not cost it the time it has waited.
    world.pass(2 * MINUTE);
    assert_eq!(world.send(PLAIN, "joe@away.test", "mara@our.test").await, Answer::Wait { seconds: 180 });
    world.pass(3 * MINUTE);
    let answer = world.send(PLAIN, "joe@away.test", "mara@our.test").await;
    assert!(passes(&answer), "{answer:?}");
    // And so is every later letter, but not one to somebody else.
    world.pass(20 * DAY);
    assert!(passes(&world.send(PLAIN, "joe@away.test", "mara@our.test").await));
    assert!(!passes(&world.send(PLAIN, "joe@away.test", "john@our.test").await));
}

#[tokio::test]
async fn a_retry_after_the_window_begins_anew() {
    let mut world = World::new(1000);
    world.send(PLAIN, "joe@away.test", "mara@our.test").await;
    world.pass(MINUTE);
    // A retry does not make the window longer either.
    world.send(PLAIN, "joe@away.test", "mara@our.test").await;
    world.pass(2 * DAY);
    assert_eq!(world.send(PLAIN, "joe@away.test", "mara@our.test").await, Answer::Wait { seconds: 300 });
}

#[tokio::test]
async fn pools_pass_by_the_domain_of_spf_or_the_organisation_of_their_names() {
    let mut world = World::new(1000);
    let pool = |address| Client { address, spf: Some("big.test"), name: None };
    world.send(pool("192.0.2.1"), "joe@big.test", "mara@our.test").await;
    world.pass(6 * MINUTE);
    assert!(passes(&world.send(pool("198.51.100.7"), "joe@big.test", "mara@our.test").await));
    let named = |address, name| Client { address, spf: None, name: Some(name) };
    world.send(named("192.0.2.1", "out1.mail.shop.co.uk"), "a@news.test", "mara@our.test").await;
    world.pass(6 * MINUTE);
    assert!(passes(&world.send(named("203.0.113.7", "b7.shop.co.uk"), "a@news.test", "mara@our.test").await));
    // Two that have nothing in common but the sender's name are two.
    world.send(named("192.0.2.1", "a.one.co.uk"), "x@y.test", "mara@our.test").await;
    world.pass(6 * MINUTE);
    assert!(!passes(&world.send(named("203.0.113.7", "a.two.co.uk"), "x@y.test", "mara@our.test").await));
}

#[tokio::test]
async fn senders_that_change_with_every_attempt_are_the_same() {
    let mut world = World::new(1000);
    world.send(PLAIN, "prvs=1001abcdef=joe@away.test", "mara@our.test").await;
    world.pass(6 * MINUTE);
    assert!(passes(&world.send(PLAIN, "prvs=2002fedcba=joe@away.test", "Mara@our.test").await));
}

#[tokio::test]
async fn who_has_passed_five_times_in_as_many_hours_is_not_asked_any_more() {
    let mut world = World::new(1000);
    for letter in 0..5 {
        let sender = format!("{}@away.test", char::from(b'a' + letter));
        assert!(!passes(&world.send(PLAIN, &sender, "mara@our.test").await), "{letter}");
        world.pass(61 * MINUTE);
        for _ in 0..9 {
            assert!(passes(&world.send(PLAIN, &sender, "mara@our.test").await), "one an hour counts");
        }
    }
    let answer = world.send(PLAIN, "new@away.test", "john@our.test").await;
    assert!(matches!(answer, Answer::Pass(Pass::Allowed(_))), "{answer:?}");
    world.pass(36 * DAY);
    assert!(!passes(&world.send(PLAIN, "new@away.test", "john@our.test").await), "forgotten after 35 days");
}

#[test]
fn nobody_is_asked_without_need() {
    let settings = GreylistSettings::default();
    let joe = ReversePath::Mailbox(Address::parse("joe@away.test").unwrap());
    let ask = |sender: &ReversePath, moment, known, reached| asked(&settings, moment, sender, known, reached);
    assert_eq!(ask(&joe, Moment::Rcpt, Known::default(), true), Ok(()));
    assert_eq!(ask(&joe, Moment::Rcpt, Known::default(), false), Err(Pass::NotAsked));
    assert_eq!(ask(&joe, Moment::EndOfData, Known::default(), true), Err(Pass::NotAsked));
    assert_eq!(ask(&ReversePath::Null, Moment::Rcpt, Known::default(), true), Err(Pass::Exempt));
    for known in [
        Known { trusted: true, ..Known::default() },
        Known { listed_as_good: true, ..Known::default() },
        Known { correspondent: true, ..Known::default() },
    ] {
        assert_eq!(ask(&joe, Moment::Rcpt, known, true), Err(Pass::Exempt));
    }
    let always = GreylistSettings { mode: GreylistMode::Always, after_data: true, ..settings.clone() };
    assert_eq!(asked(&always, Moment::Rcpt, &joe, Known::default(), false), Ok(()));
    assert_eq!(asked(&always, Moment::EndOfData, &ReversePath::Null, Known::default(), false), Ok(()));
    let off = GreylistSettings { mode: GreylistMode::Off, ..settings.clone() };
    assert_eq!(asked(&off, Moment::Rcpt, &joe, Known::default(), true), Err(Pass::NotAsked));
}

#[test]
fn the_null_sender_is_known_by_its_network_alone() {
    let auth = AuthFacts::default();
    let all = Origin::all("192.0.2.9".parse().unwrap(), &auth, true, false);
    assert_eq!(all.iter().map(ToString::to_string).collect::<Vec<_>>(), ["net:192.0.2.0/24"]);
}

#[tokio::test]
async fn a_flood_that_never_comes_back_stays_bounded_and_drives_out_nobody() {
    const BOUND: u64 = 2_000;
    let mut world = World::new(BOUND);
    world.send(PLAIN, "joe@away.test", "mara@our.test").await;
    world.pass(6 * MINUTE);
    assert!(passes(&world.send(PLAIN, "joe@away.test", "mara@our.test").await));
    for number in 0..50_000_u64 {
        let [.., a, b, c] = number.to_be_bytes();
        let address = format!("10.{a}.{b}.{c}");
        let spf = format!("{number}.test");
        let client = Client { address: &address, spf: Some(&spf), name: None };
        let sender = format!("{}@{spf}", char::from(b'a' + c % 26));
        assert!(!passes(&world.send(client, &sender, "mara@our.test").await));
    }
    let usage = world.state.usage();
    assert!(usage.iter().all(|(_, usage)| usage.entries <= BOUND), "{usage:?}");
    assert!(
        passes(&world.send(PLAIN, "joe@away.test", "mara@our.test").await),
        "who came back is still known"
    );
}

#[tokio::test]
async fn without_a_memory_nobody_is_asked_to_come_back() {
    let world = World::new(1000);
    world.state.close().await.unwrap();
    let answer = world.send(PLAIN, "joe@away.test", "mara@our.test").await;
    assert!(matches!(answer, Answer::Pass(Pass::Unavailable(_))), "{answer:?}");
}

#[tokio::test]
async fn operators_list_allow_and_delete() {
    let mut world = World::new(1000);
    let client = Client { address: "192.0.2.9", spf: Some("away.test"), name: None };
    world.send(client, "joe@away.test", "mara@our.test").await;
    world.pass(6 * MINUTE);
    world.send(client, "joe@away.test", "mara@our.test").await;
    manage::allow(world.state.as_ref(), &Origin::named("friend.test").unwrap(), world.now()).await.unwrap();
    let (mut lines, mut after) = (Vec::new(), None);
    loop {
        let page = manage::list(world.state.as_ref(), after.as_deref(), 1, world.now()).await.unwrap();
        lines.extend(page.lines.into_iter().map(|line| format!("{} {:?}", line.origin, line.state)));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let count = |word: &str| lines.iter().filter(|line| line.contains(word)).count();
    assert_eq!((lines.len(), count("Allowed"), count("Successes(1)"), count("passed: true")), (6, 2, 2, 2));
    let friend = Client { address: "203.0.113.1", spf: Some("friend.test"), name: None };
    assert!(passes(&world.send(friend, "x@friend.test", "mara@our.test").await));
    let named = Origin::named("away.test").unwrap();
    assert_eq!(manage::delete(world.state.as_ref(), &named, world.now()).await.unwrap(), 2);
    let network = Origin::named("192.0.2.77").unwrap();
    assert_eq!(manage::delete(world.state.as_ref(), &network, world.now()).await.unwrap(), 2);
    assert!(!passes(&world.send(client, "joe@away.test", "mara@our.test").await));
}

#[test]
fn a_network_is_named_by_an_address_or_with_the_size_that_it_has() {
    let named = |text| {
        let origins = Origin::named(text)?;
        Some(origins.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    };
    for (text, want) in [
        ("192.0.2.77", Some("net:192.0.2.0/24")),
        ("192.0.2.0/24", Some("net:192.0.2.0/24")),
        ("net:192.0.2.0/24", Some("net:192.0.2.0/24")),
        ("2001:db8::1", Some("net:2001:db8::/64")),
        ("2001:db8::/64", Some("net:2001:db8::/64")),
        ("Shop.test", Some("spf:shop.test name:shop.test")),
        ("spf:shop.test", Some("spf:shop.test")),
        ("10.0.0.0/8", None),
        ("192.0.2.77/32", None),
        ("net:10.0.0.0/8", None),
        ("2001:db8::/32", None),
        ("joe@shop.test", None),
        ("", None),
    ] {
        assert_eq!(named(text).as_deref(), want, "{text}");
    }
}

#[test]
fn the_reply_says_how_long() {
    assert_eq!(reply(180).code, 451);
    let mut out = Vec::new();
    reply(180).write_to(&mut out);
    assert_eq!(String::from_utf8(out).unwrap(), "451 4.7.1 Greylisted: please try again in 180 seconds\r\n");
}
