//! What values of tables mean, and what is said of those that mean nothing.

use super::*;

fn reply(value: &str, place: Place) -> String {
    match Action::parse(value, place).unwrap() {
        Action::Reject(reply) | Action::Defer(reply) | Action::DeferIfPermit(reply) => reply.to_string(),
        other => panic!("{value}: {other:?}"),
    }
}

#[test]
fn refusals_have_a_code_a_status_and_words() {
    for (value, place, want) in [
        ("REJECT", Place::Client, "550 5.7.1 Access denied"),
        ("reject go away", Place::Client, "550 5.7.1 go away"),
        ("REJECT 5.1.8 no such sender", Place::Sender, "550 5.1.8 no such sender"),
        ("554 5.7.1 Helo command rejected", Place::Helo, "554 5.7.1 Helo command rejected"),
        ("421 4.7.0 too many", Place::Client, "421 4.7.0 too many"),
        ("450 later", Place::Recipient, "450 4.7.1 later"),
        ("DEFER", Place::Client, "450 4.7.1 Access denied"),
        ("DEFER_IF_PERMIT 4.7.1 greylisted", Place::Recipient, "450 4.7.1 greylisted"),
        ("REJECT 4.7.1 text", Place::Client, "550 5.7.1 text"),
        ("550 5.1.1 nobody", Place::Client, "550 5.0.0 nobody"),
        ("550 5.1.1 nobody", Place::Sender, "550 5.1.7 nobody"),
        ("550 2.0.0 odd", Place::Client, "550 5.0.0 odd"),
        ("550 5.1.8 bad domain", Place::Recipient, "550 5.1.2 bad domain"),
        ("REJECT", Place::Header, "550 5.7.1 Message content rejected"),
        ("REJECT 4.7.1 later", Place::Body, "451 4.7.1 later"),
        ("REJECT 2.0.0 fine", Place::Body, "550 5.7.1 2.0.0 fine"),
    ] {
        assert_eq!(reply(value, place), want, "{value} {place}");
    }
}

#[test]
fn every_other_order_is_read() {
    let joe = || Address::parse("joe@a.test").unwrap();
    for (value, place, want) in [
        ("OK", Place::Client, Action::Ok),
        ("ok whatever", Place::Client, Action::Ok),
        ("1700000000", Place::Client, Action::Ok),
        ("DUNNO", Place::Recipient, Action::Dunno),
        ("OK", Place::Header, Action::Dunno),
        ("DISCARD bye", Place::Sender, Action::Discard("bye".to_owned())),
        ("HOLD", Place::Body, Action::Hold(String::new())),
        ("PREPEND X-A: b", Place::Client, Action::Prepend("X-A: b".to_owned())),
        ("PREPEND any text", Place::Body, Action::Prepend("any text".to_owned())),
        ("REPLACE any\ttext", Place::Body, Action::Replace("any\ttext".to_owned())),
        ("IGNORE", Place::Body, Action::Remove(None)),
        ("REPLACE X-A: b", Place::Header, Action::Replace("X-A: b".to_owned())),
        ("IGNORE", Place::Header, Action::Remove(None)),
        ("STRIP why", Place::Header, Action::Remove(Some("why".to_owned()))),
        ("REDIRECT joe@a.test", Place::Header, Action::Redirect(joe())),
        ("BCC\t<joe@a.test>", Place::Sender, Action::Bcc(joe())),
        ("WARN look", Place::Body, Action::Note("look".to_owned())),
        ("INFO", Place::Client, Action::Note(String::new())),
        ("PASS", Place::Body, Action::Pass(String::new())),
        (
            "FILTER lmtp:unix:/run/filter",
            Place::Header,
            Action::Filter(NextHop::parse("lmtp:unix:/run/filter").unwrap()),
        ),
        (
            "filter smtp:[192.0.2.1]:10025",
            Place::Client,
            Action::Filter(NextHop::parse("smtp:[192.0.2.1]:10025").unwrap()),
        ),
        ("SCORE -2.5", Place::Helo, Action::Score(Score::from_thousandths(-2500))),
    ] {
        assert_eq!(Action::parse(value, place).unwrap(), want, "{value}");
    }
}

#[test]
fn what_is_no_order_is_named_and_told_what_to_write() {
    for (value, place, words) in [
        ("", Place::Client, "OK, REJECT, DUNNO"),
        ("REJEKT spam", Place::Client, "`REJEKT spam` is not an action for clients: OK, REJECT"),
        ("permit_mynetworks", Place::Client, "are known"),
        ("FILTER scan:dummy", Place::Client, "write maildir:/folder/"),
        ("FILTER scan:[192.0.2.1]:25", Place::Header, "write maildir:/folder/"),
        ("FILTER discard", Place::Body, "write smtp:[host]:port, lmtp:[host]:port"),
        ("FILTER", Place::Header, "lmtp:[host]:24"),
        ("DEFER_IF_REJECT", Place::Sender, "is not there"),
        ("RELAY", Place::Client, "trusted_networks"),
        ("REDIRECT joe", Place::Header, "user@domain"),
        ("BCC", Place::Header, "user@domain"),
        ("PREPEND nothing", Place::Header, "PREPEND X-Name: value"),
        ("PREPEND X-A : b", Place::Header, "PREPEND X-Name: value"),
        ("REPLACE", Place::Body, "write a line of text"),
        ("PREPEND", Place::Body, "write a line of text"),
        ("SCORE", Place::Client, "SCORE 2.5"),
        ("SCORE 101", Place::Client, "from -100 to 100"),
        ("SCORE 2", Place::Header, "are known"),
        ("550", Place::Client, "a text behind 550"),
        ("590 x", Place::Client, "are known"),
        ("PASS", Place::Client, "are known"),
        ("IGNORE", Place::Client, "are known"),
    ] {
        let error = Action::parse(value, place).unwrap_err().to_string();
        assert!(error.contains(words), "{value}: {error}");
    }
}

#[test]
fn values_that_wait_for_a_key_are_looked_at_as_far_as_they_go() {
    for good in [
        "REJECT forged $1",
        "PREPEND X-A: $1",
        "REPLACE $1: x",
        "REDIRECT $1@a.test",
        "BCC $1",
        "$1",
        "WARN $1",
        "FILTER smtp:[127.0.0.1]:$1",
    ] {
        assert_eq!(Action::check_template(good, Place::Header), Ok(()), "{good}");
    }
    for bad in ["REJEKT $1", "SCORE $1"] {
        assert!(Action::check_template(bad, Place::Header).is_err(), "{bad}");
    }
    assert_eq!(Action::check_template("REPLACE $1", Place::Body), Ok(()));
    assert_eq!(Action::check_template("SCORE $1", Place::Client), Ok(()));
}

#[test]
fn long_lines_are_broken_and_never_a_reason_to_refuse() {
    let long = "y".repeat(2_500);
    for (place, value, want) in [
        (Place::Body, long.clone(), vec![998, 998, 506]),
        (Place::Body, "y".repeat(998), vec![998]),
        (Place::Header, format!("X-A: {long}"), vec![4, 998, 998, 507]),
        (Place::Header, format!("X-A: {}", "word ".repeat(400)), vec![994, 995, 15]),
        (Place::Header, format!("X-A:{}", "\u{20ac}".repeat(400)), vec![997, 208]),
        (Place::Header, format!("X-A: b{}c", " ".repeat(1_500)), vec![4, 998, 506]),
    ] {
        let Action::Replace(text) = Action::parse(&format!("REPLACE {value}"), place).unwrap() else {
            panic!()
        };
        let lengths: Vec<usize> = text.split('\n').map(str::len).collect();
        assert_eq!(lengths, want, "{place}: {value}");
        assert!(text.split('\n').skip(1).all(|line| line.starts_with(' ')));
        // Unfolded it says the same, but for blanks where there was none to fold at.
        assert_eq!(text.replace(['\n', ' '], ""), value.replace(' ', ""));
    }
    let name = format!("REPLACE {}: x", "X".repeat(998));
    assert!(Action::parse(&name, Place::Header).is_err());
}

proptest::proptest! {
    #[test]
    fn no_reply_has_a_wrong_class_or_a_line_end(value in "(REJECT|DEFER|4[0-9]{2}|5[0-9]{2}|HOLD|PREPEND) [ -~\\r\\n\\t2-5.]{0,30}") {
        for place in [Place::Client, Place::Sender, Place::Header, Place::Body] {
            match Action::parse(&value, place) {
                Ok(Action::Reject(reply)) => proptest::prop_assert!(reply.is_permanent() && !reply.text.contains('\n')),
                Ok(Action::Defer(reply)) => proptest::prop_assert!(reply.is_transient() && !reply.text.contains('\n')),
                Ok(Action::Prepend(line)) => {
                    let begins_field = line.split('\n').skip(1).any(|line| !line.starts_with([' ', '\t']));
                    proptest::prop_assert!(!line.contains('\r') && !begins_field);
                }
                _ => {}
            }
        }
    }
}
