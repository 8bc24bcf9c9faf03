//! What SPF, DKIM, ARC and DMARC found, as symbols. The check `authentication`, after DATA.
//!
//! Reads the facts that `msgauth` has found out; asks and verifies nothing. A temporary failure is a symbol of its own that
//! is worth nothing, never a failure (I9), and a message that nobody could verify is unfinished, never silently unsigned. That no list, forwarder or known correspondent explains a failure is for
//! composites to say. `honour_reject` alone makes `p=reject` a ruling: the operator's, and so it acts in every mode
//! (RFC 7489 §6.7, RFC 9989).

use std::time::Duration;

use mail::Reply;
use policy::{
    ArcFact, AuthResult, Check, DkimFact, DmarcFact, DmarcPolicy, EndOfData, Findings, MessageFacts, Order,
    Ruling, Score, Source, SymbolDef, Work,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::groups::AUTHENTICATION;

const BUDGET: Duration = Duration::from_secs(1);

const SYMBOLS: &[(&str, Score, &str)] = &[
    ("DMARC_REJECT", Score::points(8), "The domain in From asks to refuse what fails DMARC, and this does"),
    (
        "DMARC_QUARANTINE",
        Score::points(4),
        "The domain in From asks to suspect what fails DMARC, and this does",
    ),
    ("DMARC_FAIL", Score::tenths(1), "DMARC fails, and its domain asks for nothing"),
    ("DMARC_PASS", Score::tenths(-5), "From is proven by an aligned SPF or DKIM"),
    ("DMARC_NONE", Score::points(0), "The domain in From publishes no DMARC"),
    ("DMARC_BAD_RECORD", Score::points(0), "The DMARC record of the domain in From is malformed"),
    ("DMARC_UNKNOWN", Score::points(0), "DMARC could not be found out now"),
    ("DKIM_PASS", Score::tenths(-1), "A DKIM signature holds"),
    ("DKIM_FAIL", Score::tenths(5), "There are DKIM signatures, and none holds"),
    ("DKIM_WEAK", Score::points(0), "A DKIM signature holds by a key or algorithm that is too weak to count"),
    ("DKIM_NONE", Score::points(0), "There is no DKIM signature"),
    ("DKIM_UNKNOWN", Score::points(0), "No DKIM signature could be verified now"),
    ("ARC_PASS", Score::points(0), "The chain of ARC seals holds"),
    ("ARC_FAIL", Score::tenths(5), "The chain of ARC seals is broken"),
    ("ARC_UNKNOWN", Score::points(0), "The chain of ARC seals could not be verified now"),
];

/// DMARC: `[antispam.dmarc]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DmarcSettings {
    /// Refuse what fails DMARC where its domain publishes `p=reject`, whatever the score. Letters to mailing lists whose
    /// members' domains say so are lost then; the default is points.
    pub honour_reject: bool,
}

/// The check.
#[derive(Debug, Clone, Copy, Default)]
pub struct Authentication {
    settings: DmarcSettings,
}

impl Authentication {
    /// By these settings.
    #[must_use]
    pub fn new(settings: DmarcSettings) -> Self {
        Self { settings }
    }

    fn look(self, facts: &MessageFacts, found: &mut Findings) {
        if facts.auth.dkim.is_none() && facts.auth.dmarc.is_none() {
            return found.unfinished("the message was not verified in time");
        }
        if let Some(dmarc) = &facts.auth.dmarc {
            let from = dmarc.from.as_ref().map(ToString::to_string).unwrap_or_default();
            if let Some(symbol) = dmarc_symbol(dmarc) {
                found.saw(symbol, &from);
            }
            if self.settings.honour_reject && dmarc_symbol(dmarc) == Some("DMARC_REJECT") {
                let text = format!("The domain {from} asks that what fails its DMARC policy be refused");
                let order = Order::Reject(Reply::new(550, (5, 7, 1), text));
                found.rule(Ruling::new(Source::Operator, order, "antispam.dmarc.honour_reject", &from));
            }
        }
        if let Some(signatures) = &facts.auth.dkim {
            let domains = signatures.iter().filter_map(|signature| signature.domain.as_ref());
            let domains: Vec<_> = domains.map(ToString::to_string).collect();
            found.saw(dkim_symbol(signatures), &domains.join(" "));
        }
        if let Some((symbol, evidence)) = facts.auth.arc.as_deref().and_then(arc_symbol) {
            found.saw(symbol, &evidence);
        }
    }
}

impl Check<EndOfData> for Authentication {
    fn name(&self) -> &'static str {
        "authentication"
    }

    fn symbols(&self) -> Vec<SymbolDef> {
        let all = SYMBOLS.iter();
        all.map(|(name, score, meaning)| SymbolDef::grouped(name, *score, AUTHENTICATION, meaning)).collect()
    }

    fn budget(&self) -> Duration {
        BUDGET
    }

    fn run<'a>(&'a self, facts: &'a MessageFacts, found: &'a mut Findings) -> Work<'a> {
        Box::pin(async move { self.look(facts, found) })
    }
}

fn dmarc_symbol(dmarc: &DmarcFact) -> Option<&'static str> {
    match dmarc.result {
        AuthResult::Pass => Some("DMARC_PASS"),
        AuthResult::Fail => Some(match dmarc.policy {
            DmarcPolicy::Reject => "DMARC_REJECT",
            DmarcPolicy::Quarantine => "DMARC_QUARANTINE",
            DmarcPolicy::None => "DMARC_FAIL",
        }),
        AuthResult::None => Some("DMARC_NONE"),
        AuthResult::TempError => Some("DMARC_UNKNOWN"),
        AuthResult::PermError => Some("DMARC_BAD_RECORD"),
        AuthResult::Neutral | AuthResult::SoftFail | AuthResult::Policy => None,
    }
}

/// The best of the signatures counts: whoever adds a broken one takes nothing from a good one (RFC 6376 §6.1).
fn dkim_symbol(signatures: &[DkimFact]) -> &'static str {
    let any = |result| signatures.iter().any(|signature| signature.result == result);
    let order = [
        (AuthResult::Pass, "DKIM_PASS"),
        (AuthResult::TempError, "DKIM_UNKNOWN"),
        (AuthResult::Policy, "DKIM_WEAK"),
    ];
    match order.into_iter().find(|(result, _)| any(*result)) {
        Some((_, symbol)) => symbol,
        None if signatures.is_empty() => "DKIM_NONE",
        None => "DKIM_FAIL",
    }
}

fn arc_symbol(arc: &ArcFact) -> Option<(&'static str, String)> {
    let sealer = arc.sealer.as_ref().map(ToString::to_string).unwrap_or_default();
    match arc.result {
        AuthResult::Pass => Some(("ARC_PASS", sealer)),
        AuthResult::Fail | AuthResult::PermError => Some(("ARC_FAIL", sealer)),
        AuthResult::TempError => Some(("ARC_UNKNOWN", sealer)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dmarc(result: AuthResult, policy: DmarcPolicy) -> DmarcFact {
        let from = mail::Domain::parse("bank.test").ok();
        DmarcFact { result, policy, from, spf_aligned: false, dkim_aligned: false, reason: None }
    }

    fn dkim(results: &[AuthResult]) -> Vec<DkimFact> {
        let fact = |result: &AuthResult| DkimFact {
            result: *result,
            domain: mail::Domain::parse("a.test").ok(),
            selector: "s".into(),
            algorithm: "rsa-sha256".into(),
            reason: None,
        };
        results.iter().map(fact).collect()
    }

    #[test]
    fn only_a_failure_counts_as_one_and_as_its_domain_wants_it() {
        for (result, policy, expected) in [
            (AuthResult::Fail, DmarcPolicy::Reject, "DMARC_REJECT"),
            (AuthResult::Fail, DmarcPolicy::Quarantine, "DMARC_QUARANTINE"),
            (AuthResult::Fail, DmarcPolicy::None, "DMARC_FAIL"),
            (AuthResult::TempError, DmarcPolicy::Reject, "DMARC_UNKNOWN"),
            (AuthResult::PermError, DmarcPolicy::Reject, "DMARC_BAD_RECORD"),
            (AuthResult::Pass, DmarcPolicy::Reject, "DMARC_PASS"),
            (AuthResult::None, DmarcPolicy::None, "DMARC_NONE"),
        ] {
            assert_eq!(dmarc_symbol(&dmarc(result, policy)), Some(expected), "{result} {policy:?}");
        }
    }

    #[test]
    fn the_best_signature_counts() {
        use AuthResult::{Fail, Pass, PermError, Policy, TempError};
        for (results, expected) in [
            (&[][..], "DKIM_NONE"),
            (&[Fail, Pass, Policy], "DKIM_PASS"),
            (&[Fail, TempError], "DKIM_UNKNOWN"),
            (&[Fail, Policy], "DKIM_WEAK"),
            (&[Fail, PermError], "DKIM_FAIL"),
        ] {
            assert_eq!(dkim_symbol(&dkim(results)), expected, "{results:?}");
        }
    }

    #[tokio::test]
    async fn what_was_not_verified_in_time_is_unknown_and_not_unsigned() {
        let mut facts = crate::testing::message("a@far.test", "Subject: a\n\ntext\n");
        let check = Authentication::default();
        let found = crate::testing::run(&check, &facts).await;
        assert!(found.findings().is_empty());
        assert!(found.why_unfinished().is_some());
        facts.auth.dkim = Some(Vec::new().into());
        let found = crate::testing::run(&check, &facts).await;
        assert!(found.has("DKIM_NONE") && found.why_unfinished().is_none());
    }

    #[test]
    fn every_symbol_is_declared_with_the_points_of_the_policy() {
        let declared = Authentication::default().symbols();
        let points = |name: &str| declared.iter().find(|def| def.symbol == *name).map(|def| def.score);
        assert_eq!(points("DMARC_REJECT"), Some(Score::points(8)));
        assert_eq!(points("DMARC_QUARANTINE"), Some(Score::points(4)));
        for result in [AuthResult::Pass, AuthResult::Fail, AuthResult::TempError, AuthResult::PermError] {
            let arc = ArcFact { result, sealer: None, instances: 1, dmarc_before: None };
            let (symbol, _) = arc_symbol(&arc).unwrap();
            assert!(points(symbol).is_some(), "{symbol}");
            assert!(points(dkim_symbol(&dkim(&[result]))).is_some());
        }
    }
}
