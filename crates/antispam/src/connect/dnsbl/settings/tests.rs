//! Lists as they are written, and what is said of mistakes.

use super::*;
use policy::book::{Definitions, ScoreBook};

const DQS: &str = "abcdefgh12345678ijklmnop90.zen.dq.spamhaus.net";

fn zone(name: &str) -> ZoneSettings {
    let rule = RuleSettings {
        reply: ReplyFilter::default(),
        symbol: format!("X{}", name.len()),
        score: Score::points(1),
    };
    ZoneSettings {
        zone: name.to_owned(),
        about: Default::default(),
        test_domain: None,
        name: None,
        group: None,
        group_cap: None,
        ipv6: false,
        rules: vec![rule],
        errors: Vec::new(),
    }
}

fn problems(zones: &[ZoneSettings]) -> String {
    let errors = check(zones).err().unwrap_or_default();
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_list_is_read_as_the_manual_writes_it() {
    let text = r#"
        zone = "zen.dnsbl.test"
        group = "spamhaus"
        rules = [
            { reply = "127.0.0.[2..3]", symbol = "ZEN_SBL", score = 4.0 },
            { reply = "127.0.0.[10;11]", symbol = "ZEN_PBL", score = 2 },
        ]
    "#;
    let read: ZoneSettings = toml::from_str(text).unwrap();
    assert_eq!(read.shown(), "zen.dnsbl.test");
    let symbols = read.symbols().unwrap();
    assert_eq!(symbols[0].score, Score::points(4));
    assert_eq!(symbols[1].group.as_deref(), Some("spamhaus"));
    assert_eq!(symbols[1].meaning, "listed by zen.dnsbl.test as 127.0.0.[10;11]");
    assert_eq!(check(&[read]), Ok(()));
    assert!(toml::from_str::<ZoneSettings>(&text.replace("group", "grop")).is_err());
    assert!(toml::from_str::<ZoneSettings>(&text.replace("2..3", "3..2")).is_err());
}

#[test]
fn keys_are_not_shown() {
    for (name, shown) in [
        (DQS, "zen.dq.spamhaus.net"),
        ("key.zen.dq.spamhaus.net.", "zen.dq.spamhaus.net"),
        ("zen.dq.spamhaus.net", "zen.dq.spamhaus.net"),
        ("a1b2c3d4e5f6g7.bl.example.test", "bl.example.test"),
        ("abcdefghijklmnopqrstuvwxyz.bl.example.test", "bl.example.test"),
        ("s3cr3tk3y.bl.example.test", "bl.example.test"),
        ("dnsbl-1.uceprotect.net", "dnsbl-1.uceprotect.net"),
        ("zen.spamhaus.org", "zen.spamhaus.org"),
        ("hostkarma.junkemailfilter.com", "hostkarma.junkemailfilter.com"),
    ] {
        assert_eq!(zone(name).shown(), shown);
    }
    let mut secret = zone(DQS);
    secret.rules.clear();
    let told = format!("{secret:?} {}", problems(&[secret.clone(), secret.clone()]));
    assert!(told.contains("zen.dq.spamhaus.net") && !told.contains("abcdefgh"), "{told}");
    secret.name = Some("my list".to_owned());
    assert_eq!(secret.shown(), "my list");
}

#[test]
fn mistakes_are_told_with_the_list_and_the_remedy() {
    let with = |change: &dyn Fn(&mut ZoneSettings)| {
        let mut changed = zone("bl.test");
        change(&mut changed);
        problems(&[zone("first.bl.test"), changed])
    };
    assert_eq!(with(&|_| {}), "");
    for (told, expected) in [
        (with(&|z| z.zone = "bl".to_owned()), "antispam.dnsbl[1] bl: its name is no name of DNS"),
        (with(&|z| z.zone = "[192.0.2.1]".to_owned()), "no name of DNS"),
        (with(&|z| z.zone = "ab.".repeat(70)), "longer than"),
        (with(&|z| z.rules.clear()), "it has 0 rules"),
        (with(&|z| z.rules[0].symbol = "zen".to_owned()), "`zen` is no symbol"),
        (with(&|z| z.rules[0].symbol = "X13".to_owned()), ""),
        (with(&|z| z.group_cap = Some(Score::points(1))), "group_cap needs a group"),
        (with(&|z| z.group = Some("Spam haus".to_owned())), "its group is a word"),
        (with(&|z| z.zone = "FIRST.bl.test".to_owned()), "twice"),
    ] {
        assert!(told.contains(expected), "{told} | {expected}");
    }
    let mut other = zone("other.bl.test");
    other.rules[0].symbol = "X13".to_owned();
    other.rules[0].score = Score::points(2);
    assert!(problems(&[zone("first.bl.test"), other]).contains("X13 is 1.0 points in group dnsbl"));
    let capped = |name: &str, cap| ZoneSettings {
        group: Some("g".to_owned()),
        group_cap: cap,
        rules: vec![RuleSettings { symbol: format!("Y{}", name.len()), ..zone(name).rules.remove(0) }],
        ..zone(name)
    };
    let two = [capped("a.test", Some(Score::points(2))), capped("bb.test", None)];
    assert_eq!(check(&two), Ok(()));
    let expected = [GroupDef::new(GROUP, CAP), GroupDef::new("g", Score::points(2)).within(GROUP)];
    assert_eq!(groups(&two, CAP), expected);
    let not = [capped("a.test", Some(Score::points(2))), capped("bb.test", Some(Score::points(3)))];
    assert!(problems(&not).contains("not that of another list"));
    let many: Vec<_> = (0..60).map(|n| zone(&format!("{}.test", "a".repeat(n + 1)))).collect();
    assert!(problems(&many).contains("at most 50"));
}

#[test]
fn the_defaults_are_sound_and_all_together_stay_below_the_reject_threshold() {
    let zones = defaults();
    assert_eq!(check(&zones), Ok(()));
    let rules: Vec<&RuleSettings> = zones.iter().flat_map(|zone| &zone.rules).collect();
    assert_eq!(rules.len(), 12);
    assert!(rules.iter().all(|rule| rule.reply != ReplyFilter::default()), "a filter does not parse");
    // Each alone is at most a tag, and Spamhaus with all its codes is capped.
    assert!(rules.iter().all(|rule| rule.score <= Score::points(5)));
    let definitions = Definitions {
        symbols: zones.iter().flat_map(|zone| zone.symbols().unwrap()).collect(),
        groups: groups(&zones, CAP),
        ..Definitions::default()
    };
    let book = ScoreBook::new(definitions).unwrap();
    assert_eq!(book.group("spamhaus").unwrap().cap, Some(Score::points(6)));
    assert_eq!(book.ceiling_of_lists(), Some(CAP));
}

/// Neither the configuration nor the file of scores is passed over in silence when the other says something else.
#[test]
fn what_stands_in_two_places_must_be_the_same() {
    let zone = |score: i32, cap: i32| ZoneSettings {
        group: Some("spamhaus".to_owned()),
        group_cap: Some(Score::points(cap)),
        rules: vec![RuleSettings {
            symbol: "ZEN_SBL".to_owned(),
            score: Score::points(score),
            ..zone("zen.dnsbl.test").rules.remove(0)
        }],
        ..zone("zen.dnsbl.test")
    };
    let told = |zones: &[ZoneSettings], cap: i32, file: &str| {
        let definitions = Definitions {
            symbols: zones.iter().flat_map(|zone| zone.symbols().unwrap()).collect(),
            groups: groups(zones, Score::points(cap)),
            ..Definitions::default()
        };
        let book = ScoreBook::with_file(definitions, file).unwrap();
        contradictions(zones, Score::points(cap), &book).join("\n")
    };
    let file = "[groups]\ndnsbl = { cap = 8.0 }\nspamhaus = { cap = 6.0 }\n[symbols]\nZEN_SBL = 4.0\n";
    assert_eq!(told(&[zone(4, 6)], 8, file), "", "they say the same");
    assert_eq!(told(&[zone(3, 5)], 7, ""), "", "there is no file");
    assert_eq!(
        told(&defaults(), 8, &file.replace("8.0", "7.0").replace("4.0", "3.0")),
        "",
        "the file changes defaults"
    );
    let wrong = told(&[zone(3, 5)], 7, file);
    for words in [
        "the cap of the group dnsbl is 7.0 in [antispam] and 8.0 in the file",
        "the cap of the group spamhaus is 5.0",
        "the score of ZEN_SBL is 3.0",
    ] {
        assert!(wrong.contains(words), "{words}: {wrong}");
    }
    assert_eq!(wrong.lines().count(), 3);
}
