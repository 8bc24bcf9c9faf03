//! Has somebody handed this letter on: a mailing list, a forwarder? The check `handed_on`, after DATA.
//!
//! Lists and forwarders break SPF and often DKIM of good letters, so their traces keep a failed DMARC from refusing by
//! itself. Anybody can write such fields, which is why they are worth no points and only take a composite's away: a forger
//! that adds them is marked all the same. Reads fields of the header up to bounds; asks nobody, never looks at the body.

use std::time::Duration;

use mail::header::{self, Field};
use mail::{Domain, ReversePath};
use policy::{Check, EndOfData, Findings, MessageFacts, Score, SymbolDef, Work};

use crate::rcpt::greylist::organisation;

const MAILING_LIST: SymbolDef =
    SymbolDef::new("MAILING_LIST", Score::ZERO, "the header says that it comes through a mailing list");
const FORWARDED: SymbolDef =
    SymbolDef::new("FORWARDED", Score::ZERO, "the header or the sender says that somebody handed it on");

/// Fields that only lists write (RFC 2919, RFC 2369). List-Unsubscribe stands in newsletters too: whoever sends these signs
/// them as their author, and a broken one is marked.
const LIST_FIELDS: &[&str] = &[
    "List-Id",
    "List-Post",
    "List-Help",
    "List-Subscribe",
    "List-Unsubscribe",
    "Mailing-List",
    "X-Mailing-List",
];
/// Fields that only forwarders write (RFC 5322 §3.6.6, and custom).
const FORWARD_FIELDS: &[&str] = &[
    "Resent-From",
    "Resent-Sender",
    "Resent-To",
    "X-Forwarded-To",
    "X-Forwarded-For",
    "Delivered-To",
    "X-Original-To",
];
/// Fields that are looked at; beyond them nothing is found.
const FIELDS_MAX: usize = 500;
/// Words of a Received field that are looked at.
const WORDS_MAX: usize = 64;

/// See above.
#[derive(Debug, Clone, Copy)]
pub struct HandedOn;

impl Check<EndOfData> for HandedOn {
    fn name(&self) -> &'static str {
        "handed_on"
    }

    fn symbols(&self) -> Vec<SymbolDef> {
        vec![MAILING_LIST, FORWARDED]
    }

    fn budget(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn run<'a>(&'a self, facts: &'a MessageFacts, found: &'a mut Findings) -> Work<'a> {
        let list = header::fields(&facts.header).take(FIELDS_MAX).find(is_of_list);
        if let Some(field) = list {
            found.saw(MAILING_LIST.symbol, field.name());
        }
        if let Some(trace) = rewritten(facts).or_else(|| forwarded(&facts.header)) {
            found.saw(FORWARDED.symbol, &trace);
        }
        Box::pin(std::future::ready(()))
    }
}

fn is_of_list(field: &Field<'_>) -> bool {
    LIST_FIELDS.iter().any(|name| field.is(name))
        || (field.is("Precedence") && field.text().trim().eq_ignore_ascii_case("list"))
}

/// A forwarder that sends in its own name, and SPF says that it may.
fn rewritten(facts: &MessageFacts) -> Option<String> {
    let ReversePath::Mailbox(sender) = &facts.mail.reverse_path else { return None };
    let kind = sender.local.as_str().get(..5)?.to_ascii_lowercase();
    let is_srs = ["srs0=", "srs0+", "srs0-", "srs1=", "srs1+", "srs1-"].contains(&kind.as_str());
    (is_srs && facts.auth.spf_passes()).then(|| sender.to_string())
}

/// A forwarder's field, or a Received that tells of a way from one organisation to another.
fn forwarded(head: &[u8]) -> Option<String> {
    header::fields(head).take(FIELDS_MAX).find_map(|field| {
        if FORWARD_FIELDS.iter().any(|name| field.is(name)) {
            return Some(field.name().to_owned());
        }
        if !field.is("Received") {
            return None;
        }
        let (from, by) = hop(&field.text())?;
        Some(format!("Received from {from} by {by}"))
    })
}

/// The two ends of a hop between organisations. A user who hands in a letter is none (RFC 3848: the word behind `with` ends
/// in A).
fn hop(text: &str) -> Option<(Domain, Domain)> {
    let words: Vec<&str> = text.split_whitespace().take(WORDS_MAX).collect();
    let behind = |keyword: &str| -> Option<&str> {
        let place = words.iter().position(|word| word.eq_ignore_ascii_case(keyword))?;
        words.get(place + 1).copied()
    };
    let with = behind("with").unwrap_or_default().trim_end_matches(';').to_ascii_uppercase();
    if with.ends_with("MTPA") || with.ends_with("MTPSA") || !words.first()?.eq_ignore_ascii_case("from") {
        return None;
    }
    let (from, by) = (name(behind("from")?)?, name(behind("by")?)?);
    let (one, other) = (organisation(&from)?, organisation(&by)?);
    (one != other).then_some((from, by))
}

fn name(word: &str) -> Option<Domain> {
    let name = word.trim_matches(['.', ';', ',']);
    name.contains('.').then(|| Domain::parse(name).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use policy::{AuthFacts, AuthResult, SpfFact, SpfIdentity};

    use super::*;
    use crate::testing;

    #[tokio::test]
    async fn lists_and_forwarders_leave_traces_and_authors_do_not() {
        for (fields, expected) in [
            ("Subject: x", &[][..]),
            ("List-Id: <a.lists.test>", &["MAILING_LIST"]),
            ("list-unsubscribe: <mailto:x@a.test>", &["MAILING_LIST"]),
            ("Precedence: List", &["MAILING_LIST"]),
            ("Precedence: bulk", &[]),
            ("Resent-From: joe@b.test", &["FORWARDED"]),
            ("Delivered-To: joe@b.test", &["FORWARDED"]),
            ("X-Forwarded-Message-Id: <a@b.test>", &[]),
            (
                "Received: from mail.bank.test (mail.bank.test [192.0.2.1])\n\tby mx.far.test with ESMTPS id 1; x",
                &["FORWARDED"],
            ),
            ("Received: from out.bank.test by mx2.bank.test with ESMTP; x", &[]),
            ("Received: from localhost (localhost [127.0.0.1]) by web.host.test; x", &[]),
            ("Received: from [192.0.2.7] by smtp.bank.test with ESMTPSA; x", &[]),
            ("Received: from laptop.home.test by smtp.bank.test with esmtpsa id 3; x", &[]),
            ("Received: by smtp.bank.test from mail.far.test; x", &[]),
            ("Received: (qmail 7 invoked by uid 89); x", &[]),
        ] {
            let letter = format!("{fields}\nFrom: joe@bank.test\n\nList-Id: <in the body>\n");
            let found = testing::run(&HandedOn, &testing::message("joe@bank.test", &letter)).await;
            assert_eq!(testing::symbols(&found), expected, "{fields}");
        }
    }

    #[tokio::test]
    async fn a_rewritten_sender_counts_when_its_domain_vouches_for_it() {
        for (sender, result, forwarded) in [
            ("SRS0=ab=cd=bank.test=joe@far.test", AuthResult::Pass, true),
            ("srs1+ab=x.test==cd=ef=bank.test=joe@far.test", AuthResult::Pass, true),
            ("SRS0=ab=cd=bank.test=joe@far.test", AuthResult::SoftFail, false),
            ("joe@far.test", AuthResult::Pass, false),
            ("srs@far.test", AuthResult::Pass, false),
        ] {
            let spf = SpfFact {
                result,
                identity: SpfIdentity::MailFrom,
                domain: Domain::parse("far.test").ok(),
                explanation: None,
                mechanism: None,
            };
            let auth = AuthFacts { spf: Some(Arc::new(spf)), ..AuthFacts::default() };
            let facts = MessageFacts { auth, ..testing::message(sender, "From: joe@bank.test\n\n") };
            let found = testing::run(&HandedOn, &facts).await;
            assert_eq!(found.has("FORWARDED"), forwarded, "{sender} {result}");
        }
    }
}
