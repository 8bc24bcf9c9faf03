//! Tables at every stage, asked with facts as a session makes them.

use std::path::Path;

use super::*;
use crate::opening::Opening;
use crate::testing;

fn client(ip: &str, name: &str, result: AuthResult, host: Option<&str>) -> MailFacts {
    let names: Vec<&str> = host.into_iter().collect();
    let helo = testing::helo(ip, name);
    MailFacts { helo: Arc::new(helo), auth: testing::iprev(result, &names), ..mail("joe@b.test") }
}

fn from(ip: &str) -> MailFacts {
    MailFacts { auth: AuthFacts::default(), ..client(ip, "mail.far.test", AuthResult::None, None) }
}

fn mail(sender: &str) -> MailFacts {
    testing::mail_from("192.0.2.9", sender)
}

fn rcpt(recipient: &str) -> RcptFacts {
    RcptFacts { recipient: testing::address(recipient), ..testing::rcpt("joe@b.test") }
}

fn access(stage: AccessStage, table: &str) -> Access {
    let mut access = Access::new(Some('+'));
    add(&mut access, 3, stage, table);
    access
}

fn add(access: &mut Access, number: usize, stage: AccessStage, table: &str) {
    let table: Spec = table.parse().unwrap();
    let opened = tables::open(&table, Path::new("/")).unwrap();
    access.add(number, Settings { stage, table, everyone: false }, opened).unwrap();
}

async fn run<S: policy::StageMarker>(access: &Access, facts: &S::Facts) -> Findings
where
    Access: Check<S>,
{
    testing::run::<S>(access, facts).await
}

fn orders(found: &Findings) -> Vec<&'static str> {
    found.rulings().iter().map(|ruling| ruling.order.as_str()).collect()
}

#[tokio::test]
async fn clients_are_found_by_address_and_network() {
    let table =
        access(AccessStage::Connect, "inline:{{192.0.2.9 = OK}, {192.0.2 = REJECT net}, {2001:db8 = HOLD}}");
    for (ip, want) in [
        ("192.0.2.9", vec!["accept"]),
        ("192.0.2.10", vec!["reject"]),
        ("192.0.3.1", vec![]),
        ("2001:db8::9", vec!["hold"]),
    ] {
        assert_eq!(orders(&run::<Mail>(&table, &from(ip)).await), want, "{ip}");
    }
}

#[tokio::test]
async fn clients_are_found_by_a_name_that_leads_back_and_else_by_their_address() {
    let table = access(
        AccessStage::Connect,
        "inline:{{192.0.2.9 = DISCARD}, {b.test = REJECT}, {unknown = DEFER who}, {x.test = HOLD}, {c.test = DUNNO}}",
    );
    for (ip, result, host, want) in [
        ("192.0.2.10", AuthResult::Pass, Some("mx.b.test"), vec!["reject"]),
        ("192.0.2.9", AuthResult::Pass, Some("mx.b.test"), vec!["reject"]),
        ("192.0.2.9", AuthResult::Pass, Some("mx.c.test"), vec![]),
        ("192.0.2.9", AuthResult::Pass, Some("mx.d.test"), vec!["discard"]),
        ("192.0.2.10", AuthResult::Fail, Some("mx.b.test"), vec!["defer"]),
        ("192.0.2.10", AuthResult::Fail, None, vec!["defer"]),
        ("192.0.2.10", AuthResult::TempError, Some("mx.b.test"), vec![]),
        ("192.0.2.9", AuthResult::TempError, Some("mx.b.test"), vec!["discard"]),
        ("192.0.2.10", AuthResult::None, None, vec![]),
    ] {
        // What is said in HELO is not asked for in a table of clients.
        let facts = client(ip, "mx.x.test", result, host);
        assert_eq!(orders(&run::<Mail>(&table, &facts).await), want, "{ip} {result} {host:?}");
    }
}

#[tokio::test]
async fn names_senders_and_recipients_are_found() {
    let table = access(AccessStage::Helo, "inline:{{b.test = REJECT}}");
    let facts = client("192.0.2.9", "Mx.B.test", AuthResult::Fail, None);
    assert_eq!(orders(&run::<Mail>(&table, &facts).await), ["reject"]);

    let table =
        access(AccessStage::Mail, "inline:{{<> = HOLD}, {joe@b.test = DISCARD}, {.b.test = BCC a@a.test}}");
    for (sender, want) in [
        ("", vec!["hold"]),
        ("Joe+x@b.test", vec!["discard"]),
        ("x@y.b.test", vec!["bcc"]),
        ("x@b.test", vec![]),
    ] {
        assert_eq!(orders(&run::<Mail>(&table, &mail(sender)).await), want, "{sender}");
    }

    let table =
        access(AccessStage::Rcpt, "inline:{{root@ = REDIRECT joe@a.test}, {a.test = PREPEND X-To: us}}");
    assert_eq!(orders(&run::<Rcpt>(&table, &rcpt("joe@a.test")).await), ["prepend"]);
    assert_eq!(orders(&run::<Rcpt>(&table, &rcpt("root@b.test")).await), ["redirect"]);
}

/// As in Postfix: a list of those who may, before one of those who may not.
#[tokio::test]
async fn the_first_table_of_a_stage_that_decides_is_the_last_one_asked() {
    let mut tables = Access::new(None);
    add(
        &mut tables,
        0,
        AccessStage::Connect,
        "inline:{{192.0.2.1 = OK}, {192.0.2.2 = HOLD}, {192.0.2.3 = REJECT}}",
    );
    add(&mut tables, 1, AccessStage::Mail, "inline:{{a@b.test = DEFER_IF_PERMIT}, {d@b.test = DISCARD}}");
    add(&mut tables, 2, AccessStage::Connect, "inline:{{192.0.2 = PREPEND X-Net: 2}}");
    add(&mut tables, 3, AccessStage::Mail, "inline:{{b.test = REJECT}}");
    for (ip, sender, want) in [
        ("192.0.2.1", "x@c.test", vec!["accept"]),
        ("192.0.2.2", "x@c.test", vec!["hold", "prepend"]),
        ("192.0.2.1", "x@b.test", vec!["accept", "reject"]),
        ("192.0.2.1", "a@b.test", vec!["accept", "defer", "reject"]),
        ("192.0.2.9", "d@b.test", vec!["prepend", "discard"]),
        ("192.0.2.3", "d@b.test", vec!["reject"]),
    ] {
        let facts = MailFacts { helo: from(ip).helo, ..mail(sender) };
        assert_eq!(orders(&run::<Mail>(&tables, &facts).await), want, "{ip} {sender}");
    }
}

#[tokio::test]
async fn a_decision_names_table_and_line_and_points_are_points() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("client_access");
    std::fs::write(
        &file,
        "# us\n192.0.2.0/24 554 5.7.1 no\n198.51.100.0/24 SCORE 2.5\n203.0.113.0/24 WARN seen\n",
    )
    .unwrap();
    let table = access(AccessStage::Connect, &format!("cidr:{}", file.display()));

    let found = run::<Mail>(&table, &from("192.0.2.9")).await;
    let ruling = found.rulings().first().unwrap();
    assert!(
        ruling.key.starts_with("antispam.access[3] cidr:/") && ruling.key.ends_with("client_access:2"),
        "{ruling:?}"
    );
    assert_eq!(ruling.evidence, "192.0.2.9: 554 5.7.1 no");
    assert_eq!(ruling.order, Order::Reject(Reply::new(554, (5, 7, 1), "no")));

    let found = run::<Mail>(&table, &from("198.51.100.1")).await;
    let finding = found.findings().first().unwrap();
    assert_eq!((finding.symbol.as_str(), finding.factor, orders(&found)), ("ACCESS_3", 2500, vec![]));
    let found = run::<Mail>(&table, &from("203.0.113.1")).await;
    let finding = found.findings().first().unwrap();
    assert_eq!((finding.factor, finding.evidence.as_str()), (0, "203.0.113.1: WARN seen"));
}

// A value that orders nothing must not look like a client that is not listed.
#[tokio::test]
async fn what_cannot_be_understood_or_asked_is_451_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("senders");
    std::fs::write(&file, "/^(a+)+$/ OK\n/joe/ REJEKT $1$$\n".replace("$1", "")).unwrap();
    let table = access(AccessStage::Mail, &format!("pcre:{}", file.display()));
    let mut opening = Opening::new(folder.path());
    assert!(
        opening.table("antispam.access[3]", &"pcre:senders".parse().unwrap(), Some(Place::Sender)).is_none()
    );
    assert!(
        opening.table("antispam.access[4]", &"inline:{a=OK}".parse().unwrap(), Some(Place::Helo)).is_some()
    );
    assert!(
        opening.table("antispam.access[5]", &"static:HOLDD".parse().unwrap(), Some(Place::Helo)).is_none()
    );
    let told = opening.finish().unwrap_err().to_string();
    let told: Vec<&str> = told.lines().collect();
    assert!(
        told.len() == 2
            && told[0].starts_with("antispam.access[3]: /")
            && told[0].contains("/senders:2: not an action for senders: ")
            && told[0].ends_with(": `REJEKT $`")
            && told[1].contains("antispam.access[5]: `static:HOLDD`"),
        "{told:?}"
    );

    for (sender, words) in [
        ("joe@b.test".to_owned(), "senders:2, key joe@b.test: `REJEKT"),
        (format!("{}@b.test", "a".repeat(60)), "limit"),
    ] {
        let found = run::<Mail>(&table, &mail(&sender)).await;
        let ruling = found.rulings().first().unwrap();
        let Order::Defer(reply) = &ruling.order else { panic!("{ruling:?}") };
        assert_eq!((ruling.source, reply.code), (Source::Unavailable, 451));
        assert!(ruling.evidence.contains(words), "{ruling:?}");
    }
}

#[tokio::test]
async fn who_is_vouched_for_is_not_asked_about_unless_it_says_so() {
    let account = MailFacts { account: Some("joe@a.test".into()), ..from("192.0.2.9") };
    let mut table = access(AccessStage::Connect, "static:REJECT");
    assert!(!Check::<Mail>::applies(&table, &account));
    assert!(Check::<Mail>::applies(&table, &from("192.0.2.9")));
    add(&mut table, 4, AccessStage::Connect, "static:HOLD");
    table.tables[1].settings.everyone = true;
    assert!(Check::<Mail>::applies(&table, &account));
    assert_eq!(orders(&run::<Mail>(&table, &account).await), ["hold"]);
}
