//! Symbols that follow from several others, by default.
//!
//! That DMARC fails marks a letter and refuses none, since lists and forwarders break it: the group of authentication sees
//! to that. Where nothing tells of a list, a forwarder or anybody whom our users know, it is what it looks like. What could
//! not be found out counts as if it were such a trace (I9).

use std::borrow::Cow;

use policy::book::{Bound, CompositeDef, Members};
use policy::{Score, SymbolDef};

use crate::groups;

/// Everything that may explain why a good letter fails DMARC. A report about mail of ours is wanted whoever signs it: servers
/// seldom sign theirs, and SPF knows only their name in HELO.
const NO_EXCUSE: &str = "!MAILING_LIST & !FORWARDED & !HANDED_ON_TIMEOUT & !ARC_PASS & !ARC_UNKNOWN & !DKIM_UNKNOWN & \
                         !CORRESPONDENT & !CORRESPONDENT_TIMEOUT & !BACKSCATTER_PROVEN & !BACKSCATTER_TIMEOUT";

/// In no group: with the eight points of `DMARC_REJECT` these reach the threshold at which mail is refused, even if the
/// forger's own domain has SPF and its host a name.
const DMARC_REJECT_DIRECT: SymbolDef = SymbolDef::new(
    "DMARC_REJECT_DIRECT",
    Score::points(5),
    "From is forged against the wish of its domain, and no list, forwarder or correspondent explains it",
);

/// Enough to mark it, as its domain asks.
const DMARC_QUARANTINE_DIRECT: SymbolDef = SymbolDef::new(
    "DMARC_QUARANTINE_DIRECT",
    Score::points(2),
    "From fails DMARC of a domain that asks for suspicion, and no list, forwarder or correspondent explains it",
);

/// In the place of what failed: a report about our own mail is wanted mail, and its author has nothing to be forged for. Worth
/// as much as [`crate::backscatter::judge::PROVEN_SYMBOL`] alone, so that a tag that somebody has seen buys no more than that.
const DMARC_OF_REPORT: SymbolDef = SymbolDef::new(
    "DMARC_OF_REPORT",
    Score::points(-2),
    "A report about mail that we have sent fails DMARC, as unsigned reports do",
);

/// What a letter says, and what programs make of that: of known people it counts for less than it takes to mark a letter.
const OPINIONS: [&str; 6] =
    [groups::BAYES, groups::RULES, groups::MIME, groups::LINKS, groups::HEADER, groups::SCANNERS];

/// Files that are attached, lists, tables, authentication and malware count as for everybody: known people's accounts are
/// broken into like others'.
const KNOWN_SENDER: SymbolDef = SymbolDef::new(
    "KNOWN_SENDER",
    Score::ZERO,
    "From is proven to be somebody whom our users know: what the letter says marks nothing by itself",
);

/// The composites.
#[must_use]
pub fn all() -> Vec<CompositeDef> {
    let direct = |symbol, cause: &str| CompositeDef {
        symbol,
        when: Cow::Owned(format!("{cause} & {NO_EXCUSE}")),
        members: Members::Keep,
        bound: None,
    };
    let report = CompositeDef {
        symbol: DMARC_OF_REPORT,
        when: Cow::Borrowed("BACKSCATTER_PROVEN & (DMARC_REJECT | DMARC_QUARANTINE)"),
        members: Members::Replace,
        bound: None,
    };
    let known = CompositeDef {
        symbol: KNOWN_SENDER,
        when: Cow::Borrowed("CORRESPONDENT_AUTHOR | REPLY_EXPECTED"),
        members: Members::Keep,
        bound: Some(Bound { groups: OPINIONS.map(Cow::Borrowed).to_vec(), cap: Score::points(2) }),
    };
    vec![
        direct(DMARC_REJECT_DIRECT, "DMARC_REJECT"),
        direct(DMARC_QUARANTINE_DIRECT, "DMARC_QUARANTINE"),
        report,
        known,
    ]
}
