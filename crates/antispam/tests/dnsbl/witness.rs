//! Lists are witnesses, not judges: whole sessions with the lists, scores and thresholds that are there by default.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use antispam::connect::dnsbl::health::HealthSettings;
use antispam::connect::dnsbl::settings::{CAP, defaults, groups};
use antispam::helo::claim::{Claim, Ours};
use antispam::helo::early_pipelining::EarlyPipelining;
use antispam::helo::early_talker::EarlyTalker;
use antispam::helo::rdns::Rdns;
use antispam::mail_from::own_sender::{Asking, Existence, OwnSender, Senders};
use antispam::mail_from::sender_domain::SenderDomain;
use antispam::rcpt::dictionary::Dictionary;
use antispam::rcpt::null_sender::NullSender;
use antispam::rcpt::own_domain::OwnDomain;
use antispam::rcpt::spam_trap::SpamTrap;
use antispam::rcpt::spf::Spf;
use mail::{Address, BodyType, Domain, ReversePath};
use net::{DnsSettings, NameServer, Resolver};
use policy::{
    Action, AfterData, AfterDataRecipient, AtRcpt, AuthFacts, AuthResult, Client, Definitions, Dossier,
    Greylist, Greylisting, HeloFacts, IprevFact, MailFacts, Mode, Pipeline, RcptFacts, Rules, ScoreBook,
    SpfFact, SpfIdentity, Tally, Thresholds, after_data, at_rcpt,
};
use support::Dns;

use crate::parts::{Bench, START, connection};

/// All default lists with their test entries. 192.0.2.66 is on every list of the bad, under every code; 192.0.2.67 on the
/// list of the good as well.
fn world() -> String {
    let mut text = "
        mail.clean.test.                 A 192.0.2.66
        mail.clean.test.                 A 192.0.2.67
        mail.clean.test.                 A 192.0.2.1
        clean.test.                      MX 10 mail.clean.test.
    "
    .to_owned();
    let six = "2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0";
    for zone in defaults() {
        let good = zone.rules[0].score.is_negative();
        let name = &zone.zone;
        writeln!(text, "2.0.0.127.{name}. A 127.0.0.2\n{six}.{name}. A 127.0.0.2").unwrap();
        let codes: &[&str] = match name.as_str() {
            "zen.spamhaus.org" => &["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.9", "127.0.0.10"],
            _ if good => &["127.0.5.3"],
            _ => &["127.0.0.2"],
        };
        for code in codes {
            writeln!(text, "67.2.0.192.{name}. A {code}").unwrap();
            if !good {
                writeln!(text, "66.2.0.192.{name}. A {code}").unwrap();
            }
        }
    }
    text
}

struct Everybody;

impl Senders for Everybody {
    fn exists<'a>(&'a self, _: &'a Address) -> Asking<'a> {
        Box::pin(std::future::ready(Existence::Present))
    }
}

/// Every check of these stages, as a server would have them.
async fn pipeline(dns: &Dns) -> Pipeline {
    let zones = defaults();
    let bench = Bench::new(dns.addr, &zones, HealthSettings::default());
    bench.lists.tend(START).await;
    assert!(bench.states().iter().all(|line| line.ends_with("healthy")), "{:?}", bench.states());
    let settings = DnsSettings { servers: vec![NameServer(dns.addr)], ..DnsSettings::default() };
    let resolver = Resolver::from_settings(&settings).unwrap();
    let traps = tables::open(&"inline:{trap@example.test=yes}".parse().unwrap(), "/".as_ref()).unwrap();
    let mut all = Pipeline::default();
    let set = policy::CheckSettings::default();
    all.connect.add(Arc::new(bench.check), set);
    all.helo.add(Arc::new(EarlyTalker), set);
    all.helo.add(Arc::new(Rdns), set);
    all.helo.add(Arc::new(Claim::new(resolver.clone(), Ours::default())), set);
    all.helo.add(Arc::new(EarlyPipelining), set);
    all.mail.add(Arc::new(SenderDomain::new(resolver)), set);
    all.mail.add(Arc::new(OwnSender::new(Arc::new(Everybody))), set);
    all.rcpt.add(Arc::new(Spf), set);
    all.rcpt.add(Arc::new(OwnDomain), set);
    all.rcpt.add(Arc::new(Dictionary), set);
    all.rcpt.add(Arc::new(NullSender), set);
    all.rcpt.add(Arc::new(SpamTrap::new(traps, None)), set);
    all
}

/// A session: who comes, by what name, what reverse DNS and SPF say.
struct Visit {
    client: &'static str,
    helo: &'static str,
    sender: &'static str,
    iprev: (AuthResult, Option<&'static str>),
    spf: AuthResult,
}

const CLEAN: Visit = Visit {
    client: "192.0.2.1",
    helo: "mail.clean.test",
    sender: "joe@clean.test",
    iprev: (AuthResult::Pass, Some("mail.clean.test")),
    spf: AuthResult::Pass,
};

struct Outcome {
    at_rcpt: Action,
    after_data: Action,
    tally: Tally,
}

async fn judge(visit: &Visit) -> Outcome {
    let dns = Dns::start(&world());
    let pipeline = pipeline(&dns).await;
    let mut everything = antispam::groups::all();
    everything.extend(groups(&defaults(), CAP));
    let definitions =
        Definitions { symbols: pipeline.symbols(), groups: everything, ..Definitions::default() };
    let book = ScoreBook::new(definitions).unwrap();
    let thresholds = Thresholds::default();
    assert!(thresholds.lists_problem(&book, false).is_none());

    let time = Duration::from_secs(30);
    let mut dossier = Dossier::default();
    let connect = Arc::new(connection(visit.client, START));
    dossier.add(pipeline.connect.run(&connect, time).await);
    let names: Vec<Domain> = visit.iprev.1.iter().map(|name| Domain::parse(name).unwrap()).collect();
    let iprev = IprevFact { result: visit.iprev.0, name: names.first().cloned(), names };
    let mut auth = AuthFacts { iprev: Some(Arc::new(iprev)), ..AuthFacts::default() };
    let helo = Arc::new(HeloFacts {
        connect,
        name: visit.helo.into(),
        esmtp: true,
        tls: false,
        pipelined_early: false,
        auth: auth.clone(),
    });
    dossier.add(pipeline.helo.run(&helo, time).await);
    let mail = Arc::new(MailFacts {
        helo,
        at: START,
        account: None,
        reverse_path: ReversePath::Mailbox(Address::parse(visit.sender).unwrap()),
        size: None,
        body_type: BodyType::SevenBit,
        smtputf8: false,
        sender_is_ours: false,
        earlier_transactions: 0,
        auth: auth.clone(),
    });
    dossier.add(pipeline.mail.run(&mail, time).await);
    let spf = SpfFact {
        result: visit.spf,
        identity: SpfIdentity::MailFrom,
        domain: None,
        explanation: None,
        mechanism: None,
    };
    auth.spf = Some(Arc::new(spf));
    let recipient = Address::parse("user@example.test").unwrap();
    let rcpt = RcptFacts {
        mail,
        at: START,
        recipient: recipient.clone(),
        said: None,
        is_ours: true,
        exists: Some(true),
        accepted_before: 0,
        unknown_before: 0,
        auth,
    };
    let number = dossier.add_recipient(recipient, pipeline.rcpt.run(&rcpt, time).await);
    decide(&book, &dossier, number, &thresholds)
}

fn decide(book: &ScoreBook, dossier: &Dossier, number: usize, thresholds: &Thresholds) -> Outcome {
    let rules = Rules::new("antispam", Mode::Enforce, thresholds);
    let client = Client { is_stranger: true, null_sender: false };
    let evidence = dossier.evidence(Some(number));
    let early = at_rcpt(&AtRcpt {
        book,
        evidence: &evidence,
        rules: &rules,
        first: None,
        client,
        greylisting: Greylisting::Selective,
        // As the memory would say of whoever comes for the first time.
        greylist: Greylist::Wait { seconds: 300 },
    });
    let recipients = [AfterDataRecipient { evidence: dossier.evidence(Some(number)), rules: &rules }];
    let mut late = after_data(&AfterData {
        book,
        recipients: &recipients,
        client,
        greylist_after_data: false,
        greylist: Greylist::Passed,
    });
    let late = late.recipients.remove(0);
    Outcome { at_rcpt: early.action, after_data: late.action, tally: late.tally }
}

#[tokio::test]
async fn a_sender_on_every_list_with_a_clean_letter_and_spf_is_at_worst_tagged() {
    let outcome = judge(&Visit { client: "192.0.2.66", ..CLEAN }).await;
    for symbol in ["ZEN_SBL", "ZEN_CSS", "ZEN_XBL", "ZEN_DROP", "ZEN_PBL", "SPAMCOP", "PSBL", "UCEPROTECT_1"]
    {
        assert!(outcome.tally.line(symbol).is_some(), "{symbol}");
    }
    // Asked to come back once, then delivered into Junk: never refused.
    assert_eq!((outcome.at_rcpt, outcome.after_data), (Action::Greylist, Action::Junk));
    assert!(outcome.tally.total < CAP, "{}", outcome.tally.total);
}

#[tokio::test]
async fn the_word_of_a_list_of_the_good_counts_against_the_others() {
    let outcome = judge(&Visit { client: "192.0.2.67", ..CLEAN }).await;
    assert!(outcome.tally.line("DNSWL_HI").is_some());
    assert_eq!((outcome.at_rcpt, outcome.after_data), (Action::Accept, Action::Accept));
}

#[tokio::test]
async fn nothing_speaks_against_a_clean_sender() {
    let outcome = judge(&CLEAN).await;
    assert!(outcome.tally.total.is_negative(), "{}", outcome.tally.total);
    assert_eq!((outcome.at_rcpt, outcome.after_data), (Action::Accept, Action::Accept));
}

#[tokio::test]
async fn lists_and_all_else_together_refuse() {
    let outcome = judge(&Visit {
        client: "192.0.2.66",
        helo: "localhost",
        sender: "joe@clean.test",
        iprev: (AuthResult::Fail, None),
        spf: AuthResult::Fail,
    })
    .await;
    assert_eq!((outcome.at_rcpt, outcome.after_data), (Action::Greylist, Action::Reject));
}
