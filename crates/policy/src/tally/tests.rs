//! Points that add up, in any order.

use proptest::prelude::*;

use super::*;
use crate::book::{Bound, CompositeDef, Definitions, GroupDef, LISTS};
use crate::symbol::SymbolDef;

fn book() -> ScoreBook {
    let grouped = |name: &'static str, tenths: i32, group: &'static str| {
        SymbolDef::grouped(name, Score::tenths(tenths), group, "x")
    };
    let composite = |name: &'static str, tenths: i32, when: &'static str, members: Members| CompositeDef {
        symbol: SymbolDef::new(name, Score::tenths(tenths), "x"),
        when: when.into(),
        members,
        bound: None,
    };
    ScoreBook::new(Definitions {
        symbols: vec![
            grouped("SBL", 40, "spamhaus"),
            grouped("XBL", 40, "spamhaus"),
            grouped("PBL", 20, "spamhaus"),
            grouped("COP", 25, LISTS),
            grouped("DNSWL", -30, LISTS),
            SymbolDef::new("SPF_FAIL", Score::tenths(25), "x"),
            SymbolDef::new("KNOWN", Score::tenths(-50), "x"),
            SymbolDef::new("ACCESS", Score::points(1), "x"),
            SymbolDef::new("PROVEN", Score::points(-1), "x"),
            grouped("WORDS", 50, "letter"),
            grouped("PRAISE", -20, "letter"),
        ],
        groups: vec![
            GroupDef::new(LISTS, Score::points(8)),
            GroupDef::new("spamhaus", Score::points(6)).within(LISTS),
            GroupDef::new("letter", Score::points(9)),
        ],
        composites: vec![
            composite("FORGED", 70, "SPF_FAIL & !KNOWN & (SBL | XBL)", Members::Replace),
            composite("FORGED_COP", 10, "FORGED & COP", Members::Keep),
            CompositeDef {
                bound: Some(Bound { groups: vec![LISTS.into(), "letter".into()], cap: Score::points(2) }),
                ..composite("FRIEND", 0, "PROVEN", Members::Keep)
            },
        ],
        ..Definitions::default()
    })
    .unwrap()
}

fn tally(findings: &[Finding]) -> Tally {
    Tally::of(&book(), findings)
}

fn seen(names: &[&'static str]) -> Tally {
    tally(&names.iter().map(|name| Finding::new(*name)).collect::<Vec<_>>())
}

#[test]
fn a_symbol_counts_once_however_often_it_is_seen() {
    let twice = tally(&[
        Finding::new("SPF_FAIL").evidence("b"),
        Finding::new("SPF_FAIL").evidence("a").times(400),
        Finding::new("SPF_FAIL").evidence("b"),
    ]);
    assert_eq!(twice.total, Score::tenths(25));
    assert_eq!(twice.line("SPF_FAIL").unwrap().evidence, "a; b");
}

#[test]
fn groups_are_capped_inside_and_outside() {
    let all = seen(&["SBL", "XBL", "PBL", "COP"]);
    assert_eq!(all.total, Score::points(8));
    let points: Vec<_> = all.lines.iter().map(|l| format!("{} {}", l.symbol, l.points)).collect();
    assert_eq!(points, ["SBL 4.0", "COP 2.5", "XBL 1.5", "PBL 0.0"]);
    assert_eq!(all.line("PBL").unwrap().note, Note::Capped("spamhaus".into()));
    assert_eq!(all.line("XBL").unwrap().note, Note::Capped(LISTS.into()));
    let before: Vec<_> = all.capped.iter().map(|c| (c.group.as_str(), c.before)).collect();
    assert_eq!(before, [(LISTS, Score::tenths(85)), ("spamhaus", Score::points(10))]);
}

#[test]
fn a_composite_bounds_what_some_groups_add_together_and_nothing_else() {
    let names = ["WORDS", "PRAISE", "SBL", "ACCESS"];
    assert_eq!(seen(&names).total, Score::points(8));
    let all = seen(&[&names[..], &["PROVEN"]].concat());
    let points: Vec<_> = all.lines.iter().map(|l| format!("{} {}", l.symbol, l.points)).collect();
    assert_eq!(points, ["WORDS 2.0", "PRAISE -2.0", "ACCESS 1.0", "PROVEN -1.0", "SBL 0.0", "FRIEND 0.0"]);
    assert_eq!(all.line("SBL").unwrap().note, Note::Bounded(Symbol::new("FRIEND")));
    let capped = Capped { group: "FRIEND".into(), bound: Score::points(2), before: Score::points(9) };
    assert_eq!(all.capped, [capped]);
    assert_eq!(seen(&["PROVEN", "PRAISE"]).capped, []);
}

#[test]
fn what_speaks_for_a_client_is_not_swallowed_by_a_cap() {
    assert_eq!(seen(&["SBL", "XBL", "COP", "DNSWL"]).total, Score::points(5));
}

#[test]
fn composites_follow_from_what_was_seen_and_may_stand_in_its_place() {
    let forged = seen(&["SPF_FAIL", "SBL", "COP"]);
    assert_eq!(forged.line("FORGED").unwrap().evidence, "SBL, SPF_FAIL");
    assert_eq!(forged.line("SBL").unwrap().note, Note::Replaced(Symbol::new("FORGED")));
    assert_eq!(forged.total, Score::tenths(70 + 10 + 25));
    assert!(seen(&["SPF_FAIL", "SBL", "KNOWN"]).line("FORGED").is_none());
}

#[test]
fn a_check_that_may_only_mark_helps_to_mark_and_not_to_refuse() {
    let tagging = Finding { mode: Mode::Tag, ..Finding::new("SPF_FAIL") };
    let both = tally(&[tagging, Finding::new("ACCESS").times(3000)]);
    assert_eq!((both.total, both.refusing), (Score::tenths(55), Score::points(3)));
    let good = Finding { mode: Mode::Tag, ..Finding::new("KNOWN") };
    let milder = tally(&[good, Finding::new("ACCESS").times(9000)]);
    assert_eq!((milder.total, milder.refusing), (Score::points(4), Score::points(4)));
}

#[test]
fn a_check_that_only_records_is_told_and_does_not_count() {
    let observed = Finding { mode: Mode::Observe, ..Finding::new("SPF_FAIL") };
    let both = tally(&[observed, Finding::new("SBL")]);
    assert_eq!((both.total, both.refusing), (Score::points(4), Score::points(4)));
    assert_eq!(both.observed, Score::points(7), "with the composite that would follow");
    assert_eq!(both.line("SPF_FAIL").unwrap().note, Note::Observed);
    assert!(both.line("FORGED").is_none());
}

#[test]
fn an_undefined_symbol_is_worth_nothing() {
    let tally = seen(&["NOWHERE"]);
    assert_eq!((tally.total, &tally.lines[0].note), (Score::ZERO, &Note::Undefined));
}

fn any_finding() -> impl Strategy<Value = Finding> {
    let names =
        ["SBL", "XBL", "PBL", "COP", "DNSWL", "SPF_FAIL", "KNOWN", "ACCESS", "NOWHERE"].map(Symbol::new);
    let modes = prop::sample::select(Mode::ALL.to_vec());
    (prop::sample::select(names.to_vec()), -200_000..200_000i32, modes, "[a-c]{0,2}").prop_map(
        |(symbol, factor, mode, evidence)| Finding {
            mode,
            ..Finding::new(symbol).times(factor).evidence(&evidence)
        },
    )
}

fn findings_in_two_orders() -> impl Strategy<Value = (Vec<Finding>, Vec<Finding>)> {
    prop::collection::vec(any_finding(), 0..20)
        .prop_flat_map(|findings| (Just(findings.clone()), Just(findings).prop_shuffle()))
}

proptest! {
    #[test]
    fn the_order_of_findings_changes_nothing((one, other) in findings_in_two_orders()) {
        prop_assert_eq!(tally(&one), tally(&other));
    }

    #[test]
    fn the_lines_add_up_to_the_total(findings in prop::collection::vec(any_finding(), 0..20)) {
        let tally = tally(&findings);
        prop_assert_eq!(tally.lines.iter().map(|line| line.points).sum::<Score>(), tally.total);
        prop_assert!(tally.refusing <= tally.total);
    }

    #[test]
    fn no_group_passes_its_bounds(findings in prop::collection::vec(any_finding(), 0..20)) {
        let (book, tally) = (book(), tally(&findings));
        for (name, group) in book.groups() {
            let inside = tally.lines.iter().filter(|line| book.is_in(&line.symbol, name));
            let added: Score = inside.map(|line| line.points.max(Score::ZERO)).sum();
            prop_assert!(added <= group.cap.unwrap(), "{name}: {added}");
        }
    }

    #[test]
    fn no_line_has_more_than_its_own(findings in prop::collection::vec(any_finding(), 0..20)) {
        for line in tally(&findings).lines {
            prop_assert!(line.points.abs() <= line.full.abs(), "{line:?}");
            prop_assert!(line.points == line.full || line.note != Note::Whole, "{line:?}");
        }
    }
}
