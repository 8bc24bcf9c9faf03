//! Every mode, every fact, every mix of recipients.

use mail::Reply;
use proptest::prelude::*;

use super::*;
use crate::book::Definitions;
use crate::check::Finding;
use crate::pipeline::Unfinished;
use crate::symbol::{Symbol, SymbolDef};
use crate::thresholds::{ThresholdOverrides, Thresholds};

/// One symbol, worth as many points as its factor says.
fn book() -> ScoreBook {
    let symbols = ["POINTS", "MORE", "GOOD"].map(|name| SymbolDef::new(name, Score::points(1), "x"));
    ScoreBook::new(Definitions { symbols: symbols.to_vec(), ..Definitions::default() }).unwrap()
}

fn points(tenths: i32) -> Finding {
    Finding::new("POINTS").times(tenths * 100)
}

fn rules(mode: Mode) -> Rules {
    let thresholds = Thresholds { quarantine: Score::points(8), ..Thresholds::default() };
    Rules::new("antispam", mode, &thresholds)
}

const STRANGER: Client = Client { is_stranger: true, null_sender: false };

fn refuse() -> Order {
    Order::Reject(Reply::new(554, (5, 7, 1), "as ordered"))
}

#[derive(Debug, Clone, Default)]
struct Seen {
    findings: Vec<Finding>,
    rulings: Vec<Ruling>,
    unfinished: Vec<Unfinished>,
}

impl Seen {
    fn points(tenths: i32) -> Self {
        Self { findings: vec![points(tenths)], ..Self::default() }
    }
    fn rules(source: Source, order: Order) -> Self {
        let ruling = Ruling::new(source, order, "key", "evidence").holds_for(Scope::Transaction);
        Self { rulings: vec![ruling], ..Self::default() }
    }
    fn with(mut self, tenths: i32) -> Self {
        self.findings.push(points(tenths));
        self
    }
    fn evidence(&self) -> Evidence<'_> {
        Evidence {
            findings: self.findings.iter().collect(),
            rulings: self.rulings.iter().collect(),
            unfinished: self.unfinished.iter().collect(),
        }
    }
}

fn rcpt(seen: &Seen, rules: &Rules, client: Client, greylist: Greylist) -> Decision {
    let (book, evidence) = (book(), seen.evidence());
    at_rcpt(&AtRcpt {
        book: &book,
        evidence: &evidence,
        rules,
        first: None,
        client,
        greylisting: Greylisting::Selective,
        greylist,
    })
}

fn message(seen: &[(&Seen, &Rules)]) -> MessageDecision {
    message_with(seen, false, Greylist::NotAsked)
}

fn message_with(seen: &[(&Seen, &Rules)], greylist_after_data: bool, greylist: Greylist) -> MessageDecision {
    let recipients: Vec<AfterDataRecipient<'_>> =
        seen.iter().map(|(seen, rules)| AfterDataRecipient { evidence: seen.evidence(), rules }).collect();
    after_data(&AfterData {
        book: &book(),
        recipients: &recipients,
        client: STRANGER,
        greylist_after_data,
        greylist,
    })
}

fn actions(decision: &MessageDecision) -> Vec<Action> {
    decision.recipients.iter().map(|recipient| recipient.action).collect()
}

/// The table of the modes: what is certain acts in each, what is probable acts where the mode says so.
#[test]
fn every_mode_with_every_fact() {
    use Action as A;
    let all = |action| [action; 3];
    let mut table: Vec<(String, Seen, [Action; 3], [Action; 3])> = Vec::new();
    for source in Source::ALL.into_iter().filter(|source| *source != Source::Backscatter) {
        for (order, rcpt, data) in [
            (refuse(), A::Reject, A::Reject),
            (Order::Defer(Reply::new(450, (4, 7, 1), "later")), A::Defer, A::Defer),
            (Order::Discard, A::Accept, A::Discard),
            (Order::Hold, A::Accept, A::Hold),
            (Order::Quarantine, A::Accept, A::Quarantine),
        ] {
            let name = format!("{source} {}", order.as_str());
            table.push((name, Seen::rules(source, order), all(rcpt), all(data)));
        }
    }
    // In the order observe, tag, enforce.
    let early = [A::Accept, A::Accept, A::Reject];
    let grey = [A::Accept, A::Accept, A::Greylist];
    let scored = |name: &str, tenths, rcpt, data| (name.to_owned(), Seen::points(tenths), rcpt, data);
    table.extend([
        scored("no points", 0, all(A::Accept), all(A::Accept)),
        scored("greylist", 40, grey, all(A::Accept)),
        scored("tag", 50, grey, [A::Accept, A::Junk, A::Junk]),
        scored("quarantine", 80, grey, [A::Accept, A::Junk, A::Quarantine]),
        scored("reject", 120, grey, [A::Accept, A::Junk, A::Reject]),
        scored("reject early", 200, early, [A::Accept, A::Junk, A::Reject]),
    ]);
    let forged = [A::Accept, A::Junk, A::Reject];
    let backscatter = Seen::rules(Source::Backscatter, refuse());
    table.push(("backscatter".into(), backscatter, [A::Accept, A::Accept, A::Reject], forged));
    for (name, seen, at_rcpt, after_data) in &table {
        for ((mode, rcpt_want), data_want) in Mode::ALL.into_iter().zip(at_rcpt).zip(after_data) {
            let rules = rules(mode);
            let answer = rcpt(seen, &rules, STRANGER, Greylist::Wait { seconds: 300 });
            assert_eq!(answer.action, *rcpt_want, "{name} at RCPT in mode {mode}");
            let decision = message(&[(seen, &rules)]);
            assert_eq!(actions(&decision), [*data_want], "{name} after DATA in mode {mode}");
            let replied = decision.verdict.reply("id").is_some();
            assert_eq!(replied, matches!(data_want, A::Reject | A::Defer), "{name} in mode {mode}");
        }
    }
    assert_eq!(table.len(), 10 * 5 + 7);
}

#[test]
fn what_a_milder_mode_holds_back_is_told() {
    let observe = rules(Mode::Observe);
    let seen = Seen::points(120);
    assert_eq!(message(&[(&seen, &observe)]).recipients[0].would, Some(Action::Reject));
    assert_eq!(rcpt(&seen, &observe, STRANGER, Greylist::NotAsked).would, Some(Action::Greylist));
    assert_eq!(rcpt(&Seen::points(200), &observe, STRANGER, Greylist::NotAsked).would, Some(Action::Reject));
    assert_eq!(message(&[(&seen, &rules(Mode::Enforce))]).recipients[0].would, None);
    let forged = Seen::rules(Source::Backscatter, refuse());
    assert_eq!(message(&[(&forged, &observe)]).recipients[0].would, Some(Action::Reject));
}

#[test]
fn only_a_score_that_everybody_refuses_is_refused() {
    let strict = rules(Mode::Enforce);
    let overrides = ThresholdOverrides { reject: Some(Score::points(30)), ..ThresholdOverrides::default() };
    let mild = strict.overridden("antispam.recipient[0]", None, &overrides);
    let tagging = ThresholdOverrides { quarantine: Some(Score::ZERO), ..overrides };
    let milder = strict.overridden("antispam.recipient[1]", None, &tagging);
    let seen = Seen::points(130);
    let some = message(&[(&seen, &strict), (&seen, &mild), (&seen, &milder)]);
    assert_eq!(some.verdict, Verdict::Accept);
    assert_eq!(actions(&some), [Action::Quarantine, Action::Quarantine, Action::Junk]);
    let places: Vec<_> = some.recipients.iter().map(|recipient| recipient.disposition).collect();
    assert_eq!(places, [Disposition::Quarantine, Disposition::Quarantine, Disposition::Junk]);
    let worse = Seen::points(300);
    let all = message(&[(&worse, &strict), (&worse, &mild)]);
    assert_eq!(all.verdict, Verdict::Reject);
    let DecidedBy::Threshold { key, .. } = &all.decided else { panic!("{:?}", all.decided) };
    assert_eq!(key, "antispam.recipient[0].thresholds.reject", "the last that gave in");
}

#[test]
fn malware_and_an_operators_reject_refuse_for_all() {
    let mild = rules(Mode::Observe);
    for source in [Source::Malware, Source::HeaderCheck, Source::Access] {
        let bad = Seen::rules(source, refuse());
        let decision = message(&[(&bad, &mild), (&bad, &rules(Mode::Enforce))]);
        assert_eq!(actions(&decision), [Action::Reject, Action::Reject]);
        assert_eq!(decision.verdict.reply("id").unwrap().to_string(), "554 5.7.1 as ordered");
    }
}

#[test]
fn another_mode_wants_a_transaction_of_its_own() {
    let (book, seen) = (book(), Seen::points(200));
    let (enforce, tag) = (rules(Mode::Enforce), rules(Mode::Tag));
    let evidence = seen.evidence();
    let case = |rules, first| AtRcpt {
        book: &book,
        evidence: &evidence,
        rules,
        first,
        client: STRANGER,
        greylisting: Greylisting::Always,
        greylist: Greylist::NotAsked,
    };
    let other = at_rcpt(&case(&tag, Some(&enforce)));
    assert_eq!(other.verdict.reply("S1").unwrap().code, 452);
    assert_eq!(
        other.decided,
        DecidedBy::Mode { key: "antispam.mode".into(), mode: Mode::Tag, first: Mode::Enforce }
    );
    assert_eq!(at_rcpt(&case(&tag, Some(&tag))).action, Action::Accept);
    // Who is not there is told so first.
    let unknown = Seen::rules(Source::UnknownRecipient, refuse());
    let evidence = unknown.evidence();
    let decision = at_rcpt(&AtRcpt { evidence: &evidence, ..case(&tag, Some(&enforce)) });
    assert_eq!(decision.action, Action::Reject);
}

#[test]
fn greylisting_asks_its_memory_and_spares_who_must_be_spared() {
    let enforce = rules(Mode::Enforce);
    let seen = Seen::points(40);
    let ask = |client, greylist| rcpt(&seen, &enforce, client, greylist).verdict;
    assert_eq!(ask(STRANGER, Greylist::NotAsked), Verdict::AskGreylist);
    assert_eq!(ask(STRANGER, Greylist::Passed), Verdict::Accept);
    assert_eq!(ask(STRANGER, Greylist::Wait { seconds: 9 }), Verdict::Greylist { seconds: 9 });
    let null = Client { null_sender: true, ..STRANGER };
    assert_eq!(ask(null, Greylist::NotAsked), Verdict::Accept, "call-outs get their 250");
    assert_eq!(ask(Client::default(), Greylist::NotAsked), Verdict::Accept, "our own users");
    assert_eq!(rcpt(&Seen::points(39), &enforce, STRANGER, Greylist::NotAsked).verdict, Verdict::Accept);
}

#[test]
fn greylisting_after_data_is_a_setting_and_needs_all() {
    let (enforce, seen) = (rules(Mode::Enforce), Seen::points(45));
    let two = [(&seen, &enforce), (&seen, &enforce)];
    assert_eq!(message_with(&two, false, Greylist::NotAsked).verdict, Verdict::Accept);
    assert_eq!(message_with(&two, true, Greylist::NotAsked).verdict, Verdict::AskGreylist);
    let wait = Greylist::Wait { seconds: 7 };
    assert_eq!(message_with(&two, true, wait).verdict, Verdict::Greylist { seconds: 7 });
    let clean = Seen::points(0);
    assert_eq!(message_with(&[(&seen, &enforce), (&clean, &enforce)], true, wait).verdict, Verdict::Accept);
    let observe = rules(Mode::Observe);
    assert_eq!(message_with(&[(&seen, &observe)], true, wait).verdict, Verdict::Accept);
}

#[test]
fn an_operators_ok_lets_the_score_be_and_nothing_else() {
    let enforce = rules(Mode::Enforce);
    let ok = Seen::rules(Source::Access, Order::Accept).with(300);
    assert_eq!(rcpt(&ok, &enforce, STRANGER, Greylist::NotAsked).verdict, Verdict::Accept);
    let decision = message(&[(&ok, &enforce)]);
    assert_eq!(actions(&decision), [Action::Accept]);
    assert_eq!(decision.recipients[0].would, Some(Action::Reject), "recorded");
    let mut infected = ok;
    infected.rulings.extend(Seen::rules(Source::Malware, refuse()).rulings);
    assert_eq!(actions(&message(&[(&infected, &enforce)])), [Action::Reject]);
    infected.rulings[1].order = Order::Hold;
    let held = message(&[(&infected, &enforce)]);
    assert_eq!((actions(&held), held.hold), (vec![Action::Hold], true));
}

#[test]
fn a_check_that_is_needed_and_not_finished_is_answered_451() {
    let unfinished = |mode, certain| Seen {
        unfinished: vec![Unfinished { check: "clamav".into(), mode, certain, scope: Scope::Transaction }],
        ..Seen::default()
    };
    for (check_mode, certain, mode, want) in [
        (Mode::Enforce, false, Mode::Enforce, Action::Defer),
        (Mode::Tag, false, Mode::Enforce, Action::Accept),
        (Mode::Enforce, false, Mode::Tag, Action::Accept),
        (Mode::Enforce, true, Mode::Observe, Action::Defer),
    ] {
        let (seen, rules) = (unfinished(check_mode, certain), rules(mode));
        assert_eq!(actions(&message(&[(&seen, &rules)])), [want], "{check_mode} {certain} {mode}");
        assert_eq!(rcpt(&seen, &rules, STRANGER, Greylist::NotAsked).action, want);
    }
}

#[test]
fn orders_that_add_something_are_all_carried_out() {
    let address = |text: &str| Address::parse(text).unwrap();
    let mut seen = Seen::default();
    for order in [
        Order::Prepend("X-B: 2".into()),
        Order::Prepend("X-A: 1".into()),
        Order::Prepend("X-A: 1".into()),
        Order::Bcc(address("copy@x.test")),
        Order::Redirect(address("else@x.test")),
        Order::Filter("smtp:[192.0.2.1]:25".to_owned().try_into().unwrap()),
    ] {
        seen.rulings.extend(Seen::rules(Source::HeaderCheck, order).rulings);
    }
    let decision = message(&[(&seen, &rules(Mode::Observe))]);
    assert_eq!(decision.prepend, ["X-A: 1", "X-B: 2"]);
    assert_eq!(decision.bcc, [address("copy@x.test")]);
    assert_eq!(decision.recipients[0].redirect, Some(address("else@x.test")));
    assert_eq!(decision.filter, None, "what is sent elsewhere is not filtered");
    let mut stays = seen.clone();
    stays.rulings.retain(|ruling| !matches!(ruling.order, Order::Redirect(_)));
    let rules = rules(Mode::Observe);
    let both = message(&[(&seen, &rules), (&stays, &rules)]);
    assert_eq!(both.filter.as_ref().map(ToString::to_string).as_deref(), Some("smtp:[192.0.2.1]:25"));
    assert_eq!(actions(&decision), [Action::Accept]);
}

#[test]
fn one_recipients_discard_is_not_anothers() {
    let enforce = rules(Mode::Enforce);
    let mut one = Seen::rules(Source::Access, Order::Discard);
    one.rulings[0].scope = Scope::Recipient;
    let two = Seen::points(130);
    let decision = message(&[(&one, &enforce), (&Seen::default(), &enforce)]);
    assert_eq!(
        (&decision.verdict, actions(&decision)),
        (&Verdict::Accept, vec![Action::Discard, Action::Accept])
    );
    assert_eq!(message(&[(&one, &enforce), (&two, &enforce)]).verdict, Verdict::Reject);
    assert_eq!(message(&[(&one, &enforce)]).verdict.action(), Action::Discard);
}

fn any_seen() -> impl Strategy<Value = Seen> {
    let finding = (
        prop::sample::select(vec!["POINTS", "MORE", "GOOD"]),
        -30_000..30_000i32,
        prop::sample::select(Mode::ALL.to_vec()),
    )
        .prop_map(|(name, factor, mode)| Finding { mode, ..Finding::new(Symbol::new(name)).times(factor) });
    let order = prop_oneof![
        Just(refuse()),
        Just(Order::Reject(Reply::new(550, (5, 7, 1), "other words"))),
        Just(Order::Defer(Reply::new(450, (4, 7, 1), "later"))),
        Just(Order::Discard),
        Just(Order::Hold),
        Just(Order::Accept),
        Just(Order::Quarantine),
        Just(Order::Prepend("X: y".into())),
    ];
    let ruling = (
        prop::sample::select(Source::ALL.to_vec()),
        order,
        "[ab]",
        prop::sample::select(Mode::ALL.to_vec()),
        any::<bool>(),
    )
        .prop_map(|(source, order, key, mode, whole)| {
            let scope = if whole { Scope::Transaction } else { Scope::Recipient };
            Ruling { mode, ..Ruling::new(source, order, &key, "").holds_for(scope) }
        });
    (prop::collection::vec(finding, 0..6), prop::collection::vec(ruling, 0..4))
        .prop_map(|(findings, rulings)| Seen { findings, rulings, unfinished: Vec::new() })
}

fn seen_in_two_orders() -> impl Strategy<Value = (Seen, Seen)> {
    any_seen().prop_flat_map(|seen| {
        let (findings, rulings) = (seen.findings.clone(), seen.rulings.clone());
        (Just(seen), Just(findings).prop_shuffle(), Just(rulings).prop_shuffle())
            .prop_map(|(seen, findings, rulings)| (seen, Seen { findings, rulings, unfinished: Vec::new() }))
    })
}

fn same(one: &MessageDecision, other: &MessageDecision) -> bool {
    format!("{one:?}") == format!("{other:?}")
}

proptest! {
    // invariant: I5
    #[test]
    fn invariant_i5_the_same_evidence_in_any_order_gives_the_same_verdict(
        (one, other) in seen_in_two_orders(),
        mode in prop::sample::select(Mode::ALL.to_vec()),
    ) {
        let rules = rules(mode);
        prop_assert!(same(&message(&[(&one, &rules)]), &message(&[(&other, &rules)])));
        let (a, b) = (rcpt(&one, &rules, STRANGER, Greylist::NotAsked), rcpt(&other, &rules, STRANGER, Greylist::NotAsked));
        prop_assert_eq!(format!("{a:?}"), format!("{b:?}"));
    }

    #[test]
    fn more_points_are_never_treated_milder(low in 0..300i32, more in 0..300i32) {
        let rules = rules(Mode::Enforce);
        let action = |tenths| message(&[(&Seen::points(tenths), &rules)]).recipients[0].action;
        prop_assert!(action(low) <= action(low + more));
    }

    #[test]
    fn a_higher_threshold_is_never_stricter(score in 0..300i32, low in 1..300i32, more in 0..300i32) {
        let with = |tenths| {
            let limit = Some(Score::tenths(tenths));
            let overrides = ThresholdOverrides { reject: limit, ..ThresholdOverrides::default() };
            let rules = rules(Mode::Enforce).overridden("x", None, &overrides);
            message(&[(&Seen::points(score), &rules)]).recipients[0].action
        };
        prop_assert!(with(low + more) <= with(low));
    }

    #[test]
    fn a_milder_mode_is_never_stricter(seen in any_seen()) {
        let action = |mode| message(&[(&seen, &rules(mode))]).recipients[0].action;
        prop_assert!(action(Mode::Observe) <= action(Mode::Tag));
        prop_assert!(action(Mode::Tag) <= action(Mode::Enforce));
    }
}
