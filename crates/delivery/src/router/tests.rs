//! Where recipients of ours and of others lead, with scripted tables and a directory, failing ones included.

use std::collections::HashMap;
use std::path::Path;

use super::*;
use crate::settings::{MaildirSettings, OutboundSettings};
use crate::testing::address;
use tables::Spec;

struct Accounts(HashMap<&'static str, &'static str>);

impl Directory for Accounts {
    fn find(&self, address: &Address) -> Answer {
        match self.0.get(address.lookup_key().as_str()) {
            Some(&"!") => Answer::Unavailable("the accounts file is broken".into()),
            Some(name) => Answer::Found((*name).into()),
            None => Answer::Absent,
        }
    }
}

fn table(text: &str) -> Arc<dyn Table> {
    tables::open(&Spec::parse(text).unwrap(), Path::new("/")).unwrap()
}

fn domain(name: &str, recipients: Recipients, deliver: &str, aliases: Option<&str>) -> LocalDomain {
    LocalDomain {
        names: vec![Domain::parse(name).unwrap()],
        recipients,
        deliver: NextHop::parse(deliver).unwrap(),
        aliases: aliases.map(table),
    }
}

const VIRTUAL: &str = "inline:{{team@a.test = joe@a.test, jim@else.test}, {joe@a.test = joe@a.test, copy@else.test}, \
     one@a.test=two@a.test, two@a.test=one@a.test, gone@a.test=nobody@a.test, move@a.test=@b.test, \
     @cover.test=joe@a.test, long@a.test=l1@a.test}";

fn router(change: impl FnOnce(&mut RouterParts)) -> Router {
    let accounts = HashMap::from([
        ("joe@a.test", "joe"),
        ("jim@a.test", "jim"),
        ("odd@a.test", "o'dd"),
        ("broken@a.test", "!"),
    ]);
    let mail = "maildir:/srv/mail/{domain}/{local}/";
    let mut parts = RouterParts {
        hostname: Domain::parse("mx.a.test").unwrap(),
        postmaster: address("postmaster@a.test"),
        recipient_delimiter: Some('+'),
        domains: vec![
            domain("a.test", Recipients::Accounts, mail, Some(VIRTUAL)),
            domain("b.test", Recipients::Table(table("static:ok")), mail, None),
            domain(
                "cover.test",
                Recipients::Table(table("inline:{real=ok}")),
                "lmtp:unix:/run/l",
                Some(VIRTUAL),
            ),
            domain("down.test", Recipients::Table(Arc::new(Down)), mail, None),
        ],
        system_aliases: Some(table(
            "inline:{root=joe, {both = joe, jim}, postmaster=jim, loop=loop2, loop2=loop}",
        )),
        directory: Arc::new(Accounts(accounts)),
        routes: Routes::new(&OutboundSettings::default(), Path::new("/")).unwrap(),
        tls: TlsPolicy::Opportunistic,
        alias: AliasSettings::default(),
        maildir: Maildir::new(&MaildirSettings::default(), None, "mx.a.test").unwrap(),
    };
    change(&mut parts);
    Router::new(parts)
}

#[derive(Debug)]
struct Down;

impl Table for Down {
    fn lookup<'a>(&'a self, _key: &'a str) -> tables::Lookup<'a> {
        Box::pin(std::future::ready(Answer::Unavailable("the table is down".into())))
    }
}

/// Fails for one key, and has no other.
#[derive(Debug)]
struct DownFor(&'static str);

impl Table for DownFor {
    fn lookup<'a>(&'a self, key: &'a str) -> tables::Lookup<'a> {
        let answer =
            if key == self.0 { Answer::Unavailable("the table is down".into()) } else { Answer::Absent };
        Box::pin(std::future::ready(answer))
    }
}

async fn resolve(router: &Router, text: &str) -> Resolution {
    router.resolve(&ForwardPath::Mailbox(address(text))).await
}

fn local(recipients: &[&str]) -> Resolution {
    Resolution::Local { recipients: recipients.iter().map(|text| address(text)).collect() }
}

#[tokio::test]
async fn recipients_are_found_followed_and_refused() {
    let router = router(|_| {});
    for (rcpt, want) in [
        ("joe@a.test", local(&["joe@a.test", "copy@else.test"])),
        ("Jim@A.test", local(&["Jim@a.test"])),
        ("jim+news@a.test", local(&["jim+news@a.test"])),
        ("team@a.test", local(&["joe@a.test", "copy@else.test", "jim@else.test"])),
        ("root@a.test", local(&["joe@a.test", "copy@else.test"])),
        ("both+x@a.test", local(&["joe@a.test", "copy@else.test", "jim@a.test"])),
        ("move@a.test", local(&["move@b.test"])),
        ("any.body+x@b.test", local(&["any.body+x@b.test"])),
        ("real@cover.test", local(&["real@cover.test"])),
        ("what.ever@cover.test", local(&["joe@a.test", "copy@else.test"])),
        ("jim@mx.a.test", local(&["jim@a.test"])),
        ("root@localhost", local(&["joe@a.test", "copy@else.test"])),
        ("nobody@a.test", Resolution::Unknown),
        ("nobody@mx.a.test", Resolution::Unknown),
        ("gone@a.test", Resolution::Dangling(address("nobody@a.test"))),
        ("one@a.test", Resolution::AliasLoop(address("one@a.test"))),
        ("loop@a.test", Resolution::AliasLoop(address("loop@a.test"))),
        ("o'dd@b.test", Resolution::BadMailbox),
        ("odd@a.test", Resolution::BadMailbox),
        ("../x@b.test", Resolution::BadMailbox),
        ("x@else.test", Resolution::Elsewhere(address("x@else.test"))),
        ("x@sub.a.test", Resolution::Elsewhere(address("x@sub.a.test"))),
        ("broken@a.test", Resolution::Unavailable("the accounts file is broken".into())),
        ("x@down.test", Resolution::Unavailable("the table is down".into())),
    ] {
        let Ok(_) = Address::parse(rcpt) else { continue };
        assert_eq!(resolve(&router, rcpt).await, want, "{rcpt}");
    }
}

#[tokio::test]
async fn postmaster_is_always_there() {
    let with_alias = router(|_| {});
    assert_eq!(with_alias.resolve(&ForwardPath::Postmaster).await, local(&["jim@a.test"]));
    assert_eq!(resolve(&with_alias, "PostMaster@a.test").await, local(&["jim@a.test"]));
    assert_eq!(resolve(&with_alias, "postmaster@b.test").await, local(&["postmaster@b.test"]));
    let without = router(|parts| parts.system_aliases = None);
    assert_eq!(resolve(&without, "postmaster@a.test").await, local(&["postmaster@a.test"]));
    let route = without.route(&address("postmaster@a.test"), Disposition::Inbox).await.unwrap();
    assert_eq!(route.mailbox.as_deref(), Some("postmaster"));
    let table_domain = router(|parts| {
        parts.system_aliases = None;
        parts.domains.push(domain("c.test", Recipients::Table(table("inline:{x=ok}")), "discard", None));
    });
    assert_eq!(resolve(&table_domain, "postmaster@c.test").await, local(&["postmaster@a.test"]));
    let elsewhere = router(|parts| parts.postmaster = address("boss@else.test"));
    assert_eq!(elsewhere.resolve(&ForwardPath::Postmaster).await, local(&["boss@else.test"]));
    assert_eq!(resolve(&elsewhere, "boss@else.test").await, Resolution::Elsewhere(address("boss@else.test")));
}

#[tokio::test]
async fn aliases_that_share_targets_are_followed_once() {
    // Nineteen, each naming the next one in two ways: half a million ways, nineteen look-ups.
    let pairs: Vec<String> = (0..19)
        .map(|i| format!("{{n{i}@a.test = n{0}@a.test, n{0}+t@a.test, n{0}+u@a.test}}", i + 1))
        .chain(["n19@a.test=joe@a.test".to_owned()])
        .collect();
    let text = format!("inline:{{{}}}", pairs.join(", "));
    let router = router(|parts| {
        parts.domains[0].aliases = Some(table(&text));
        parts.alias.recipients_max = 5_000;
    });
    let found = router.resolve(&ForwardPath::Mailbox(address("n0@a.test"))).await;
    assert_eq!(found, Resolution::Local { recipients: vec![address("joe@a.test")] });
}

#[tokio::test]
async fn chains_and_fan_out_are_bounded() {
    let chain: Vec<String> = (0..30).map(|n| format!("l{n}@a.test=l{}@a.test", n + 1)).collect();
    let long =
        router(|parts| parts.domains[0].aliases = Some(table(&format!("inline:{{{}}}", chain.join(", ")))));
    assert!(matches!(resolve(&long, "l0@a.test").await, Resolution::AliasLoop(_)));
    assert_eq!(resolve(&long, "l15@a.test").await, Resolution::Dangling(address("l30@a.test")));
    let many: Vec<String> = (0..11).map(|n| format!("u{n}@else.test")).collect();
    let wide = router(|parts| {
        parts.domains[0].aliases = Some(table(&format!("inline:{{{{all@a.test = {}}}}}", many.join(", "))));
        parts.alias.recipients_max = 10;
    });
    assert_eq!(resolve(&wide, "all@a.test").await, Resolution::TooMany);
}

#[tokio::test]
async fn a_full_mailbox_is_said_so_at_rcpt() {
    let root = tempfile::tempdir().unwrap();
    let mailbox = root.path().join("joe/new");
    std::fs::create_dir_all(&mailbox).unwrap();
    std::fs::write(mailbox.join("1"), "some octets").unwrap();
    let settings = MaildirSettings { quota_messages_max: 1, ..MaildirSettings::default() };
    let router = router(|parts| {
        parts.maildir = Maildir::new(&settings, None, "mx.a.test").unwrap();
        let deliver = format!("maildir:{}/{{local}}", root.path().display());
        parts.domains.push(domain("full.test", Recipients::Table(table("static:ok")), &deliver, None));
    });
    assert_eq!(resolve(&router, "joe@full.test").await, Resolution::Full);
    assert_eq!(resolve(&router, "jim@full.test").await, local(&["jim@full.test"]));
}

#[tokio::test]
async fn routes_lead_to_agents_with_canonical_names() {
    let router = router(|_| {});
    let route = |text: &'static str| router.route(Box::leak(Box::new(address(text))), Disposition::Inbox);
    let Route { agent, key, mailbox } = route("Jim+x@A.test").await.unwrap();
    let Agent::Maildir(path) = agent else { panic!("{agent:?}") };
    assert_eq!(path.to_string(), "/srv/mail/a.test/jim");
    assert_eq!((&*key, mailbox.as_deref()), ("maildir:/srv/mail/{domain}/{local}/", Some("jim")));
    assert!(key.starts_with(queue::MAILDIR_KEY), "the scheduler knows Maildirs by it");
    let elsewhere = route("x@else.test").await.unwrap();
    assert_eq!((&*elsewhere.key, elsewhere.mailbox), ("smtp:else.test", None));
    let lmtp = route("real@cover.test").await.unwrap();
    assert_eq!(&*lmtp.key, "lmtp:unix:/run/l");
    assert!(matches!(lmtp.agent, Agent::Peer(hop) if hop.lmtp));
    for (text, want) in [
        ("nobody@a.test", RouteTrouble::Unknown),
        ("odd@a.test", RouteTrouble::BadMailbox),
        ("broken@a.test", RouteTrouble::Unavailable("the accounts file is broken".into())),
    ] {
        assert_eq!(route(text).await.unwrap_err(), want, "{text}");
    }
}

#[tokio::test]
async fn a_filter_is_a_server_and_overrides_all_routes() {
    let router = router(|_| {});
    let hop = |text: &str| NextHop::parse(text).unwrap();
    for text in ["smtp:[127.0.0.1]:10025", "lmtp:unix:/run/filter"] {
        let route = router.filter(&hop(text)).unwrap();
        assert_eq!((&*route.key, &route.mailbox), (text, &None));
        assert!(
            matches!(route.agent, Agent::Peer(peer) if peer.is_configured && peer.lmtp == text.starts_with("lmtp"))
        );
    }
    // No table can say so; what says it all the same waits for an operator.
    for text in ["mx", "discard", "maildir:/srv/{local}"] {
        assert!(matches!(router.filter(&hop(text)), Err(RouteTrouble::Unavailable(_))), "{text}");
    }
}

type Change<'a> = &'a dyn Fn(&mut RouterParts);

/// Wherever a table or the directory may be asked, at RCPT and at delivery. DNS has the same test in `net`.
// invariant: I9
#[tokio::test]
async fn a_failed_look_up_is_never_an_absence() {
    let down = || Arc::new(Down) as Arc<dyn Table>;
    let recipients = |parts: &mut RouterParts| parts.domains[0].recipients = Recipients::Table(down());
    let aliases = |parts: &mut RouterParts| parts.domains[0].aliases = Some(down());
    let system = |parts: &mut RouterParts| parts.system_aliases = Some(down());
    let catch_all = |parts: &mut RouterParts| {
        parts.domains[0].aliases = Some(Arc::new(DownFor("@a.test")));
    };
    let broken: [(&str, Change<'_>); 4] =
        [("recipients", &recipients), ("aliases", &aliases), ("system", &system), ("catch-all", &catch_all)];
    for (which, change) in broken {
        let router = router(change);
        for who in ["nobody@a.test", "nobody+tag@a.test", "nobody@mx.a.test", "postmaster@a.test"] {
            // The system's aliases may answer for postmaster before a later table is asked.
            if (which, who) != ("catch-all", "postmaster@a.test") {
                let found = resolve(&router, who).await;
                assert!(matches!(found, Resolution::Unavailable(_)), "{which}, {who}: {found:?}");
            }
        }
    }
    for who in ["broken@a.test", "x@down.test"] {
        let trouble = router(|_| {}).route(&address(who), Disposition::Inbox).await.unwrap_err();
        let outcome = trouble.outcome(0);
        assert_eq!(
            (outcome.result, outcome.reply.code),
            (DeliveryResult::Deferred(Trouble::Local), 451),
            "{who}"
        );
    }
}

#[test]
fn a_failed_look_up_defers_and_an_absence_fails() {
    assert_eq!(RouteTrouble::Unknown.outcome(3).result, DeliveryResult::Failed);
    let outcome = RouteTrouble::Unavailable("down".into()).outcome(3);
    assert_eq!((outcome.recipient, outcome.result), (3, DeliveryResult::Deferred(Trouble::Local)));
    assert!(outcome.reply.is_transient());
}

#[test]
fn relaying_tricks_are_recognised() {
    for (text, want) in [
        ("a%b.test@c.test", true),
        ("b.test!a@c.test", true),
        ("\"a@b\"@c.test", true),
        ("a+b@c.test", false),
    ] {
        assert_eq!(names_another_host(&address(text).local), want, "{text}");
    }
}
