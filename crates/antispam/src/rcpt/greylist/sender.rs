//! The sender of a letter without what changes from one letter, or one attempt, to the next.
//!
//! Tags (BATV `prvs=` and its relatives), the hash and day of SRS, digits of VERP, what stands behind a plus sign, case. The
//! result is for comparison only; it need not be an address.

use mail::{Address, ReversePath};

/// The form by which two attempts with the same letter are the same.
pub(super) fn normalised(sender: &ReversePath) -> String {
    let Some(address) = sender.mailbox() else { return String::new() };
    let lower = address.local.as_str().to_lowercase();
    format!("{}@{}", without_numbers(bare(&lower)), address.domain)
}

/// One and the same correspondent, whatever tag the address carries. Digits stay: they tell people apart.
pub(crate) fn correspondent(address: &Address) -> String {
    let lower = address.local.as_str().to_lowercase();
    format!("{}@{}", bare(&lower), address.domain)
}

/// A local part in lower case, without tags and what stands behind a plus sign.
fn bare(lower: &str) -> &str {
    let local = without_srs(without_tag(lower));
    match local.find('+') {
        Some(plus) if plus > 0 => local.get(..plus).unwrap_or_default(),
        _ => local,
    }
}

/// `prvs=tag=joe`, `prvs=joe/tag`, `btv1==tag==joe`, `msprvs1=tag=joe` are joe.
fn without_tag(local: &str) -> &str {
    let Some(rest) = ["prvs=", "btv1==", "msprvs1="].iter().find_map(|tag| local.strip_prefix(tag)) else {
        return local;
    };
    if let Some((original, _)) = rest.split_once('/') {
        return original;
    }
    let original = rest.split_once('=').map_or(rest, |(_, original)| original);
    original.trim_start_matches('=')
}

/// `srs0=hash=day=away.test=joe` is `away.test=joe`; SRS1 has another such in it, behind the first forwarder's name.
fn without_srs(local: &str) -> &str {
    let separators = ['=', '+', '-'];
    let Some((kind, rest)) = local.split_at_checked(4) else { return local };
    let Some(rest) = rest.strip_prefix(separators) else { return local };
    let behind = |text, parts| (0..parts).try_fold(text, |text: &str, _| Some(text.split_once('=')?.1));
    let original = match kind {
        "srs0" => behind(rest, 2),
        // hash, forwarder, an empty part, then hash and day of the first.
        "srs1" => behind(rest, 2).and_then(|inner| behind(inner.trim_start_matches(separators), 2)),
        _ => return local,
    };
    original.unwrap_or(local)
}

/// Every run of digits becomes `#`: VERP numbers its letters.
fn without_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if !c.is_ascii_digit() {
            out.push(c);
        } else if !out.ends_with('#') {
            out.push('#');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_between_letters_is_left_out() {
        for (one, other) in [
            ("Joe@A.test", "joe@a.test"),
            ("joe+shop@a.test", "joe+bank@a.test"),
            ("news-1700-joe=b.test@a.test", "news-1701-joe=b.test@a.test"),
            ("prvs=1234abcdef=joe@a.test", "prvs=9999ffffff=joe@a.test"),
            ("prvs=joe/1234abcdef@a.test", "joe@a.test"),
            ("btv1==123abc==joe@a.test", "joe@a.test"),
            ("SRS0=abcd=ef=b.test=joe@a.test", "SRS0=wxyz=gh=b.test=joe@a.test"),
            ("SRS0+abcd=ef=b.test=joe@a.test", "SRS0=wxyz=gh=b.test=joe@a.test"),
            ("SRS1=aa=f.test==bb=cc=b.test=joe@a.test", "SRS1=dd=f.test==ee=ff=b.test=joe@a.test"),
        ] {
            let form = |text| normalised(&ReversePath::Mailbox(Address::parse(text).unwrap()));
            assert_eq!(form(one), form(other));
        }
        assert_eq!(normalised(&ReversePath::Null), "");
    }

    #[test]
    fn different_senders_stay_different() {
        let form = |text| normalised(&ReversePath::Mailbox(Address::parse(text).unwrap()));
        let all = [
            "joe@a.test",
            "jim@a.test",
            "joe@b.test",
            "+joe@a.test",
            "srs@a.test",
            "prvs=@a.test",
            "SRS0=a=b=c.test=joe@a.test",
            "SRS0=a=b=c.test=jim@a.test",
            "srs0=x@a.test",
        ];
        let forms: std::collections::BTreeSet<_> = all.iter().map(|text| form(text)).collect();
        assert_eq!(forms.len(), all.len());
    }
}
