//! Definitions that fit together, files that change them, and what is told about those that do not.

use super::*;

pub(crate) fn definitions() -> Definitions {
    let list = |name: &'static str, tenths: i32, group: &'static str| {
        SymbolDef::grouped(name, Score::tenths(tenths), group, "listed")
    };
    Definitions {
        symbols: vec![
            list("ZEN_SBL", 40, "spamhaus"),
            list("ZEN_XBL", 40, "spamhaus"),
            list("SPAMCOP", 20, LISTS),
            list("DNSWL_MED", -30, LISTS),
            SymbolDef::new("SPF_FAIL", Score::tenths(25), "SPF says the client may not send for the domain"),
            SymbolDef::new("HELO_BARE_IP", Score::points(2), "HELO is a bare address"),
        ],
        groups: vec![
            GroupDef::new(LISTS, Score::points(8)),
            GroupDef::new("spamhaus", Score::points(6)).within(LISTS),
        ],
        composites: vec![CompositeDef {
            symbol: SymbolDef::new("FORGED_LISTED", Score::points(3), "listed, and SPF fails"),
            when: "SPF_FAIL & (ZEN_SBL | ZEN_XBL)".into(),
            members: Members::Keep,
            bound: None,
        }],
        unused: vec![Symbol::new("PSBL")],
    }
}

fn told(text: &str) -> Vec<String> {
    let errors = ScoreBook::with_file(definitions(), text).unwrap_err();
    errors.iter().map(ToString::to_string).collect()
}

/// A file that was made with other lists, or for them.
#[test]
fn what_is_known_and_not_asked_may_be_named_and_is_never_seen() {
    let text = "[symbols]\nPSBL = 4.5\n[composites]\n\
                BOTH = { when = \"PSBL | ZEN_SBL\", score = 1.0, meaning = \"one of two lists\" }\n";
    let book = ScoreBook::with_file(definitions(), text).unwrap();
    assert_eq!(book.worth(&Symbol::new("PSBL")), None);
    assert!(book.composite(&Symbol::new("BOTH")).is_some());
    let typed = told(&text.replace("PSBL", "PSBLL"));
    assert!(typed.len() == 1 && typed[0].contains("there is no symbol `PSBLL`"), "{typed:?}");
}

#[test]
fn a_file_changes_what_it_names_and_nothing_else() {
    let text = "[groups]\nspamhaus = { cap = 5 }\n[symbols]\nZEN_SBL = 4.5\nSPF_FAIL = { score = 1, group = \"spf\" }\n\
                [groups.spf]\ncap = 3.0\n[composites]\nFORGED_LISTED = { members = \"replace\" }\n\
                MINE = { when = \"FORGED_LISTED & !HELO_BARE_IP\", score = -0.25, meaning = \"mine\" }\n";
    let book = ScoreBook::with_file(definitions(), text).unwrap();
    let score = |name: &'static str| book.worth(&Symbol::new(name)).unwrap().score;
    assert_eq!(score("ZEN_SBL"), Score::tenths(45));
    assert_eq!(score("ZEN_XBL"), Score::points(4));
    assert_eq!(score("MINE"), Score::from_thousandths(-250));
    assert_eq!(book.worth(&Symbol::new("SPF_FAIL")).unwrap().group.as_deref(), Some("spf"));
    assert_eq!(book.group("spamhaus").unwrap().cap, Some(Score::points(5)));
    assert_eq!(book.group("spamhaus").unwrap().within.as_deref(), Some(LISTS), "kept");
    let order: Vec<_> = book.composites().map(|composite| composite.symbol.as_str()).collect();
    assert_eq!(order, ["FORGED_LISTED", "MINE"]);
    assert_eq!(book.composite(&Symbol::new("FORGED_LISTED")).unwrap().members, Members::Replace);
}

#[test]
fn a_composite_may_bound_groups() {
    let text = "[composites]\nFRIEND = { when = \"SPF_FAIL\", score = 0, bounds = [\"dnsbl\"], cap = 2, meaning = \"x\" }\n";
    let book = ScoreBook::with_file(definitions(), text).unwrap();
    let bound = Bound { groups: vec!["dnsbl".into()], cap: Score::points(2) };
    assert_eq!(book.composite(&Symbol::new("FRIEND")).unwrap().bound, Some(bound));
    assert_eq!(ScoreBook::with_file(definitions(), &book.to_toml()).unwrap(), book);
    for (from, to, words) in [
        (", cap = 2", "", "composites.FRIEND: `bounds` names groups and `cap` what they add at most"),
        ("\"dnsbl\"", "\"dnsble\"", "composites.FRIEND.bounds: there is no group `dnsble`"),
        ("[\"dnsbl\"]", "\"dnsbl\"", "composites.FRIEND.bounds: write a list"),
        ("cap = 2", "cap = -2", "composites.FRIEND.cap: a cap is not below 0"),
    ] {
        let errors = told(&text.replace(from, to));
        assert!(errors.len() == 1 && errors[0].contains(words), "{errors:?}");
    }
}

#[test]
fn an_unknown_symbol_is_an_error_that_names_the_right_one() {
    assert_eq!(
        told("[symbols]\nZEN_SBL = 1.0\nZEN_SLB = 4.0\n"),
        ["line 3: symbols.ZEN_SLB: there is no symbol `ZEN_SLB`; did you mean `ZEN_SBL`?"]
    );
    assert_eq!(
        told("[symbols]\nFORGED_LISTED = 4.0\n"),
        ["line 2: symbols.FORGED_LISTED: `FORGED_LISTED` is a composite: move it below [composites]"]
    );
    assert_eq!(
        told("[composites]\nX = { when = \"ZEN_SBL & SPF_FIAL\", score = 1, meaning = \"x\" }"),
        ["line 2: composites.X.when: there is no symbol `SPF_FIAL`; did you mean `SPF_FAIL`?"]
    );
}

#[test]
fn every_mistake_is_told_with_its_line_and_the_cure() {
    for (text, want) in [
        ("[symbols\n", "line 1: this is not TOML"),
        ("ZEN_SBL = 4.0", "line 1: ZEN_SBL: write it below a heading: [symbols]"),
        ("[sumbols]\nA = 1", "there is no section [sumbols]"),
        ("[symbols]\nZEN_SBL = \"4\"", "line 2: symbols.ZEN_SBL: a score is a number"),
        ("[symbols]\nZEN_SBL = nan", "a score is a number"),
        ("[symbols]\nZEN_SBL = 0.0001", "at most three decimals"),
        ("[symbols]\nZEN_SBL = { scor = 4 }", "symbols.ZEN_SBL.scor: unknown key; did you mean `score`?"),
        (
            "[symbols]\nZEN_SBL = { group = \"spamhuas\" }",
            "there is no group `spamhuas`; did you mean `spamhaus`?",
        ),
        ("[groups]\ndnsbl = { cap = -1 }", "line 2: groups.dnsbl.cap: a cap is not below 0"),
        ("[groups]\ndnsbl = { floor = 1 }", "a floor is not above 0"),
        ("[groups]\ndnsbl = { within = \"spamhaus\" }", "the group is within itself"),
        ("[groups]\ndnsbl = 8.0", "write dnsbl = { cap = 8.0 }"),
        ("[groups]\nBig = { cap = 1 }", "a group's name is lower-case"),
        ("[composites]\nX = { score = 1, meaning = \"x\" }", "a new composite needs `when`"),
        ("[composites]\nx = { when = \"ZEN_SBL\", score = 1, meaning = \"x\" }", "a symbol is upper-case"),
        (
            "[composites]\nX = { when = \"ZEN_SBL &\", score = 1, meaning = \"x\" }",
            "line 2: composites.X.when: the expression ends",
        ),
        ("[composites]\nX = { when = \"X\", score = 1, meaning = \"x\" }", "the composite depends on itself"),
        ("[composites]\nFORGED_LISTED = { members = \"drop\" }", "write \"keep\""),
        (
            "[composites]\nZEN_SBL = { when = \"SPF_FAIL\", score = 1, meaning = \"x\" }",
            "choose another name",
        ),
    ] {
        let all = told(text);
        assert_eq!(all.len(), 1, "{text}: {all:?}");
        assert!(all[0].contains(want), "{text}: {all:?}");
    }
    assert_eq!(told("[symbols]\nA = 1\nZEN_SBL = true\nB = 2\n").len(), 3);
}

#[test]
fn two_checks_may_share_a_symbol_but_not_disagree_about_it() {
    let mut twice = definitions();
    twice.symbols.push(twice.symbols[0].clone());
    assert!(ScoreBook::new(twice.clone()).is_ok());
    twice.symbols.push(SymbolDef::new("ZEN_SBL", Score::points(9), "else"));
    assert_eq!(ScoreBook::new(twice).unwrap_err()[0].key, "symbols.ZEN_SBL");
}

#[test]
fn what_is_rendered_is_read_back_the_same() {
    let book = ScoreBook::new(definitions()).unwrap();
    let text = book.to_toml();
    assert_eq!(ScoreBook::with_file(definitions(), &text).unwrap(), book, "{text}");
    assert!(text.contains("ZEN_SBL = { score = 4.0, group = \"spamhaus\", meaning = \"listed\" }"), "{text}");
    assert_eq!(book.rows().count(), 7);
}

#[test]
fn the_ceiling_of_lists_is_their_cap_and_the_composites_of_lists_alone() {
    let book = |text: &str| ScoreBook::with_file(definitions(), text).unwrap();
    assert_eq!(book("").ceiling_of_lists(), Some(Score::points(8)), "SPF_FAIL is no list");
    let only =
        "[composites]\nTWO = { when = \"ZEN_SBL & SPAMCOP & !SPF_FAIL\", score = 5, meaning = \"x\" }\n";
    assert_eq!(book(only).ceiling_of_lists(), Some(Score::points(13)));
    let capped = only.replace("score", "group = \"dnsbl\", score");
    assert_eq!(book(&capped).ceiling_of_lists(), Some(Score::points(8)));
    let nothing_seen = "[composites]\nNONE = { when = \"!SPF_FAIL\", score = 5, meaning = \"x\" }\n";
    assert_eq!(book(nothing_seen).ceiling_of_lists(), Some(Score::points(8)));
    assert_eq!(ScoreBook::default().ceiling_of_lists(), Some(Score::ZERO));
    let mut open = definitions();
    open.groups[0].cap = None;
    assert_eq!(ScoreBook::new(open).unwrap().ceiling_of_lists(), None);
}
