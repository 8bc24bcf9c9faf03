//! From evidence to verdicts: at RCPT for one recipient, after DATA for all.
//!
//! Pure: nothing is looked up, no time is read. The same evidence in any order gives the same verdict (invariant I5).
//! What decides alone does so in every mode; modes govern what follows from scores, greylisting and backscatter.

use mail::{Address, Disposition, NextHop};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::book::ScoreBook;
use crate::dossier::Evidence;
use crate::mode::Mode;
use crate::ruling::{Order, Ruling, Source};
use crate::score::Score;
use crate::stage::Scope;
use crate::tally::Tally;
use crate::thresholds::{Rules, Setting, Threshold};
use crate::verdict::{Action, DecidedBy, Verdict};

/// Whom greylisting is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Greylisting {
    /// Strangers whose score reaches the threshold `greylist`.
    #[default]
    Selective,
    /// All strangers.
    Always,
    /// Nobody.
    Off,
}

/// What the memory of greylisting says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Greylist {
    /// It was not asked yet.
    #[default]
    NotAsked,
    /// The client has come back in time, is known, or is exempt; or the memory could not be asked.
    Passed,
    /// The client is to come back.
    Wait {
        /// In so many seconds.
        seconds: u64,
    },
}

/// What greylisting needs to know of a client.
#[derive(Debug, Clone, Copy, Default)]
pub struct Client {
    /// Nothing vouches for it: [`crate::Facts::is_stranger`].
    pub is_stranger: bool,
    /// The reverse-path is null. Never greylisted at RCPT, so that those who verify addresses by calling get their 250.
    pub null_sender: bool,
}

/// One recipient at RCPT.
pub struct AtRcpt<'a> {
    /// What symbols are worth.
    pub book: &'a ScoreBook,
    /// What counts for this recipient.
    pub evidence: &'a Evidence<'a>,
    /// What holds for this recipient.
    pub rules: &'a Rules,
    /// What holds for the first recipient of the transaction that was accepted.
    pub first: Option<&'a Rules>,
    /// Who asks.
    pub client: Client,
    /// Whom greylisting is for.
    pub greylisting: Greylisting,
    /// What its memory says.
    pub greylist: Greylist,
}

/// One recipient after DATA.
pub struct AfterDataRecipient<'a> {
    /// What counts for this recipient.
    pub evidence: Evidence<'a>,
    /// What holds for this recipient.
    pub rules: &'a Rules,
}

/// A message.
pub struct AfterData<'a> {
    /// What symbols are worth.
    pub book: &'a ScoreBook,
    /// Its recipients, in their order; at least one.
    pub recipients: &'a [AfterDataRecipient<'a>],
    /// Who asks.
    pub client: Client,
    /// A score that is first reached after DATA greylists too.
    pub greylist_after_data: bool,
    /// What the memory of greylisting says.
    pub greylist: Greylist,
}

/// What was decided about one recipient, at RCPT or after DATA.
#[derive(Debug, Clone)]
pub struct Decision {
    /// The points.
    pub tally: Tally,
    /// What is done. After DATA, [`Verdict::Accept`] goes with a `disposition`.
    pub verdict: Verdict,
    /// In one word, the disposition counted in.
    pub action: Action,
    /// By what.
    pub decided: DecidedBy,
    /// What would have been done, had every check and this recipient been in mode `enforce`; none when it is the same.
    pub would: Option<Action>,
    /// Where the message goes, if it is accepted.
    pub disposition: Disposition,
    /// This recipient's copy goes to this address instead.
    pub redirect: Option<Address>,
}

/// What was decided about a message.
#[derive(Debug, Clone)]
pub struct MessageDecision {
    /// What is done with it. When it is accepted, each recipient's decision says what is done with that one's copy.
    pub verdict: Verdict,
    /// By what.
    pub decided: DecidedBy,
    /// For each recipient, in their order.
    pub recipients: Vec<Decision>,
    /// The message is queued and held.
    pub hold: bool,
    /// Copies go to these addresses too; sorted.
    pub bcc: Vec<Address>,
    /// Lines for the top of the header; sorted.
    pub prepend: Vec<String>,
    /// The message goes to this next hop, whatever routes its recipients have; of several orders the last.
    pub filter: Option<NextHop>,
}

/// Decides about one recipient at RCPT.
#[must_use]
pub fn at_rcpt(case: &AtRcpt<'_>) -> Decision {
    let (evidence, rules) = (case.evidence, case.rules);
    let tally = Tally::of(case.book, evidence.findings.iter().copied());
    let (verdict, decided, would) = rcpt_verdict(case, &tally);
    let action = verdict.action();
    let would = would.filter(|would| *would > action);
    let redirect = redirect(&in_force(evidence, rules));
    Decision { tally, verdict, action, decided, would, disposition: Disposition::Inbox, redirect }
}

fn rcpt_verdict(case: &AtRcpt<'_>, tally: &Tally) -> (Verdict, DecidedBy, Option<Action>) {
    let (evidence, rules) = (case.evidence, case.rules);
    let rulings = in_force(evidence, rules);
    let strictest = strictest(&rulings);
    if let Some(ruling) = strictest.filter(|ruling| refuses(ruling)) {
        return (Verdict::Ruled(ruling.clone()), ruling.into(), None);
    }
    let mode = &rules.mode;
    if let Some(first) = case.first.filter(|first| first.mode.value != mode.value) {
        let (key, first) = (mode.key.to_string(), first.mode.value);
        return (Verdict::SeparateTransaction, DecidedBy::Mode { key, mode: mode.value, first }, None);
    }
    let accepted = acceptance(&rulings);
    if let Some(check) = tempfail(evidence, rules, accepted.is_some()) {
        return (Verdict::Tempfail { check: check.clone() }, DecidedBy::Unfinished { check }, None);
    }
    if let Some(ruling) = accepted {
        return (Verdict::Accept, ruling.into(), None);
    }
    // What a score would do if it might: told when it may not.
    let early = rules.reached(Threshold::RejectEarly, tally.observed);
    let grey = greylist_reason(case, rules.reached(Threshold::Greylist, tally.observed), tally.observed);
    let would = early.map(|_| Action::Reject).or(grey.map(|_| Action::Greylist));
    if mode.value < Mode::Enforce {
        return (Verdict::Accept, DecidedBy::Nothing, would);
    }
    if let Some(limit) = rules.reached(Threshold::RejectEarly, tally.refusing) {
        return (Verdict::RejectEarly, by_threshold(Threshold::RejectEarly, limit, tally.refusing), None);
    }
    let reached = rules.reached(Threshold::Greylist, tally.refusing);
    match (greylist_reason(case, reached, tally.refusing), case.greylist) {
        (Some(reason), Greylist::NotAsked) => (Verdict::AskGreylist, reason, None),
        (Some(reason), Greylist::Wait { seconds }) => (Verdict::Greylist { seconds }, reason, None),
        (Some(_), Greylist::Passed) => (Verdict::Accept, DecidedBy::Nothing, None),
        (None, _) => (Verdict::Accept, DecidedBy::Nothing, would),
    }
}

/// Why this recipient is greylisted, if it is; the mode apart.
fn greylist_reason(case: &AtRcpt<'_>, reached: Option<&Setting<Score>>, score: Score) -> Option<DecidedBy> {
    if !case.client.is_stranger || case.client.null_sender {
        return None;
    }
    match case.greylisting {
        Greylisting::Off => None,
        Greylisting::Always => Some(DecidedBy::GreylistAlways),
        Greylisting::Selective => reached.map(|limit| by_threshold(Threshold::Greylist, limit, score)),
    }
}

/// Decides about a message and each of its recipients.
#[must_use]
pub fn after_data(case: &AfterData<'_>) -> MessageDecision {
    let mut recipients: Vec<Decision> = Vec::with_capacity(case.recipients.len());
    for (number, recipient) in case.recipients.iter().enumerate() {
        // Most recipients have seen what the one before has: adding up once is enough.
        let before = number.checked_sub(1).and_then(|number| case.recipients.get(number));
        let same = before.is_some_and(|before| before.evidence.findings == recipient.evidence.findings);
        let tally = recipients.last().filter(|_| same).map_or_else(
            || Tally::of(case.book, recipient.evidence.findings.iter().copied()),
            |before| before.tally.clone(),
        );
        recipients.push(copy_of(tally, recipient));
    }
    let (verdict, decided) = message_verdict(case, &recipients);
    if matches!(verdict, Verdict::Accept) {
        recipients.iter_mut().for_each(soften);
    } else {
        for recipient in &mut recipients {
            (recipient.verdict, recipient.action) = (verdict.clone(), verdict.action());
            recipient.would = recipient.would.filter(|would| *would > recipient.action);
        }
    }
    let all: Vec<&Ruling> = case.recipients.iter().flat_map(|r| in_force(&r.evidence, r.rules)).collect();
    MessageDecision {
        verdict,
        decided,
        recipients,
        hold: all.iter().any(|ruling| ruling.order == Order::Hold),
        bcc: sorted(all.iter().filter_map(|ruling| match &ruling.order {
            Order::Bcc(address) => Some(address.clone()),
            _ => None,
        })),
        prepend: sorted(all.iter().filter_map(|ruling| match &ruling.order {
            Order::Prepend(line) => Some(line.clone()),
            _ => None,
        })),
        filter: filter(&all).filter(|_| !case.recipients.iter().all(is_redirected)),
    }
}

/// The next hop that the last order of this kind names.
fn filter(rulings: &[&Ruling]) -> Option<NextHop> {
    rulings.iter().rev().find_map(|ruling| match &ruling.order {
        Order::Filter(hop) => Some(hop.clone()),
        _ => None,
    })
}

/// Mail that goes elsewhere goes there itself: with Postfix too REDIRECT overrides FILTER.
fn is_redirected(recipient: &AfterDataRecipient<'_>) -> bool {
    redirect(&in_force(&recipient.evidence, recipient.rules)).is_some()
}

/// What would be done with one recipient's copy if there were no others.
fn copy_of(tally: Tally, recipient: &AfterDataRecipient<'_>) -> Decision {
    let (evidence, rules) = (&recipient.evidence, recipient.rules);
    let rulings = in_force(evidence, rules);
    let (verdict, action, decided) = copy_verdict(&tally, evidence, rules, &rulings);
    let would = strongest(&tally, rules, evidence).filter(|would| *would > action);
    let disposition = disposition(action);
    Decision { tally, verdict, action, decided, would, disposition, redirect: redirect(&rulings) }
}

fn copy_verdict(
    tally: &Tally,
    evidence: &Evidence<'_>,
    rules: &Rules,
    rulings: &[&Ruling],
) -> (Verdict, Action, DecidedBy) {
    let strictest = strictest(rulings);
    if let Some(ruling) = strictest.filter(|ruling| refuses(ruling) || ruling.order == Order::Discard) {
        let verdict = Verdict::Ruled(ruling.clone());
        let action = verdict.action();
        return (verdict, action, ruling.into());
    }
    let accepted = acceptance(rulings);
    if let Some(check) = tempfail(evidence, rules, accepted.is_some()) {
        let decided = DecidedBy::Unfinished { check: check.clone() };
        return (Verdict::Tempfail { check }, Action::Defer, decided);
    }
    let (action, decided) = match accepted {
        Some(ruling) => (Action::Accept, ruling.into()),
        None => {
            let (action, decided) = by_score(tally, rules);
            backscatter_mark(evidence, rules, action, decided)
        }
    };
    if action == Action::Reject {
        return (Verdict::Reject, action, decided);
    }
    // HOLD and quarantine by order, where the score does not ask for more.
    let kept_back = strictest.filter(|r| matches!(r.order, Order::Hold | Order::Quarantine));
    let ordered = kept_back.map(|ruling| (Verdict::Ruled(ruling.clone()).action(), ruling));
    match ordered.filter(|(ordered, _)| *ordered > action) {
        Some((ordered, ruling)) => (Verdict::Accept, ordered, ruling.into()),
        None => (Verdict::Accept, action, decided),
    }
}

/// What the score alone does with one recipient's copy.
fn by_score(tally: &Tally, rules: &Rules) -> (Action, DecidedBy) {
    let mode = rules.mode.value;
    if mode == Mode::Enforce {
        for (threshold, action) in
            [(Threshold::Reject, Action::Reject), (Threshold::Quarantine, Action::Quarantine)]
        {
            if let Some(limit) = rules.reached(threshold, tally.refusing) {
                return (action, by_threshold(threshold, limit, tally.refusing));
            }
        }
    }
    if mode >= Mode::Tag {
        // What may not be refused or kept back is marked at least.
        for threshold in [Threshold::Tag, Threshold::Quarantine, Threshold::Reject] {
            if let Some(limit) = rules.reached(threshold, tally.total) {
                return (Action::Junk, by_threshold(threshold, limit, tally.total));
            }
        }
    }
    (Action::Accept, DecidedBy::Nothing)
}

/// What would be done if every check and the recipient were in mode `enforce`.
fn strongest(tally: &Tally, rules: &Rules, evidence: &Evidence<'_>) -> Option<Action> {
    let forged = evidence.rulings.iter().filter(|ruling| ruling.source == Source::Backscatter);
    let forged = forged.map(|ruling| Verdict::Ruled((*ruling).clone()).action()).max();
    let scored = [
        (Threshold::Reject, Action::Reject),
        (Threshold::Quarantine, Action::Quarantine),
        (Threshold::Tag, Action::Junk),
    ]
    .into_iter()
    .find(|(threshold, _)| rules.reached(*threshold, tally.observed).is_some())
    .map(|(_, action)| action);
    scored.max(forged)
}

/// A forged bounce that may only be marked, is.
fn backscatter_mark(
    evidence: &Evidence<'_>,
    rules: &Rules,
    action: Action,
    decided: DecidedBy,
) -> (Action, DecidedBy) {
    let mut forged: Vec<&Ruling> = evidence.rulings.clone();
    forged
        .retain(|ruling| !ruling.acts_in(rules.mode.value) && ruling.mode.min(rules.mode.value) == Mode::Tag);
    match strictest(&forged) {
        Some(ruling) if action < Action::Junk => (Action::Junk, ruling.into()),
        _ => (action, decided),
    }
}

/// What is done with the message as a whole.
fn message_verdict(case: &AfterData<'_>, recipients: &[Decision]) -> (Verdict, DecidedBy) {
    let accept = (Verdict::Accept, DecidedBy::Nothing);
    // What is ordered for the whole message acts for the whole message, whatever holds for its recipients.
    let common: Vec<&Ruling> = case
        .recipients
        .iter()
        .flat_map(|recipient| in_force(&recipient.evidence, recipient.rules))
        .filter(|ruling| ruling.scope >= Scope::Transaction && ruling.source != Source::Backscatter)
        .collect();
    if let Some(ruling) = strictest(&common).filter(|r| refuses(r) || r.order == Order::Discard) {
        return (Verdict::Ruled(ruling.clone()), ruling.into());
    }
    let kept: Vec<&Decision> = recipients.iter().filter(|r| r.action != Action::Discard).collect();
    let Some(mildest) = kept.iter().min_by_key(|recipient| recipient.action) else {
        let first = recipients.first();
        return first.map_or(accept, |first| (first.verdict.clone(), first.decided.clone()));
    };
    // A check that somebody needs and that did not finish: all wait, since there is one reply for all.
    if let Some(waiting) = kept.iter().find(|recipient| matches!(recipient.verdict, Verdict::Tempfail { .. }))
    {
        return (waiting.verdict.clone(), waiting.decided.clone());
    }
    if mildest.action == Action::Reject {
        // Told is the threshold that was hardest to reach: without it, somebody would have got the message.
        let last = kept.iter().max_by_key(|recipient| hardness(&recipient.decided)).unwrap_or(mildest);
        return (last.verdict.clone(), last.decided.clone());
    }
    greylist_message(case, &kept).unwrap_or(accept)
}

fn hardness(decided: &DecidedBy) -> Score {
    match decided {
        DecidedBy::Threshold { limit, .. } => *limit,
        _ => Score::ZERO,
    }
}

/// Greylisting after DATA: one reply for all, so it needs everybody's consent.
fn greylist_message(case: &AfterData<'_>, kept: &[&Decision]) -> Option<(Verdict, DecidedBy)> {
    if !case.greylist_after_data || !case.client.is_stranger || kept.len() != case.recipients.len() {
        return None;
    }
    let mut reason = None;
    for (recipient, decision) in case.recipients.iter().zip(kept) {
        let score = decision.tally.refusing;
        let limit = recipient.rules.reached(Threshold::Greylist, score)?;
        let ruled = in_force(&recipient.evidence, recipient.rules).iter().any(|r| r.order == Order::Accept);
        if recipient.rules.mode.value != Mode::Enforce || ruled {
            return None;
        }
        reason.get_or_insert_with(|| by_threshold(Threshold::Greylist, limit, score));
    }
    match case.greylist {
        Greylist::NotAsked => Some((Verdict::AskGreylist, reason?)),
        Greylist::Wait { seconds } => Some((Verdict::Greylist { seconds }, reason?)),
        Greylist::Passed => None,
    }
}

/// The message is accepted for others: who would have refused it has it kept back. Never bounced.
fn soften(recipient: &mut Decision) {
    if recipient.action == Action::Reject {
        recipient.action = Action::Quarantine;
        recipient.disposition = Disposition::Quarantine;
        recipient.verdict = Verdict::Accept;
        recipient.would = None;
    }
}

const fn disposition(action: Action) -> Disposition {
    match action {
        Action::Junk => Disposition::Junk,
        Action::Quarantine => Disposition::Quarantine,
        _ => Disposition::Inbox,
    }
}

/// The rulings that act for a recipient with these rules.
fn in_force<'a>(evidence: &Evidence<'a>, rules: &Rules) -> Vec<&'a Ruling> {
    let acts = |ruling: &&&Ruling| ruling.acts_in(rules.mode.value);
    evidence.rulings.iter().filter(acts).copied().collect()
}

/// The strictest of several rulings; of equals the same one, in whatever order they came.
fn strictest<'a>(rulings: &[&'a Ruling]) -> Option<&'a Ruling> {
    rulings.iter().copied().min_by(|a, b| {
        let words = |ruling: &Ruling| Verdict::Ruled(ruling.clone()).reply("").map(|reply| reply.to_string());
        b.order
            .rank()
            .cmp(&a.order.rank())
            .then_with(|| a.source.cmp(&b.source))
            .then_with(|| a.key.cmp(&b.key))
            .then_with(|| a.evidence.cmp(&b.evidence))
            .then_with(|| a.scope.cmp(&b.scope))
            .then_with(|| a.mode.cmp(&b.mode))
            .then_with(|| words(a).cmp(&words(b)))
    })
}

/// The order to let the score be, if there is one.
fn acceptance<'a>(rulings: &[&'a Ruling]) -> Option<&'a Ruling> {
    let all: Vec<&Ruling> = rulings.iter().copied().filter(|ruling| ruling.order == Order::Accept).collect();
    strictest(&all)
}

fn refuses(ruling: &Ruling) -> bool {
    matches!(ruling.order, Order::Reject(_) | Order::Defer(_))
}

/// The check whose not finishing is answered 451, if any; the first by name.
fn tempfail(evidence: &Evidence<'_>, rules: &Rules, score_is_void: bool) -> Option<String> {
    let acts = |one: &crate::pipeline::Unfinished| {
        one.certain || (!score_is_void && one.mode.min(rules.mode.value) == Mode::Enforce)
    };
    evidence.unfinished.iter().filter(|one| acts(one)).map(|one| one.check.clone()).min()
}

fn redirect(rulings: &[&Ruling]) -> Option<Address> {
    let addresses = rulings.iter().filter_map(|ruling| match &ruling.order {
        Order::Redirect(address) => Some((&ruling.key, address)),
        _ => None,
    });
    addresses.min().map(|(_, address)| address.clone())
}

fn by_threshold(threshold: Threshold, limit: &Setting<Score>, score: Score) -> DecidedBy {
    DecidedBy::Threshold { threshold, key: limit.key.to_string(), limit: limit.value, score }
}

fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut all: Vec<T> = items.collect();
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests;
