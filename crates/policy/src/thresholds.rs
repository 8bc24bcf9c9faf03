//! From which score on something is done, for whom, and which line of the configuration said so.
//!
//! Settings and their checks; nothing is scored or decided here. Zero switches a threshold off.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::book::ScoreBook;
use crate::mode::Mode;
use crate::score::Score;

/// From which score on what is done. 0 switches one off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Thresholds {
    /// A stranger is asked to come back in a few minutes, at RCPT. 4.0: what is only a little suspicious.
    pub greylist: Score,
    /// Marked and filed into Junk. 5.0, as SpamAssassin has it.
    pub tag: Score,
    /// Kept from the recipient until an operator releases it. 0: nobody looks into quarantines that nobody asked for.
    pub quarantine: Score,
    /// Refused after DATA, when it is reached for every recipient; else those who reached it have it quarantined. 12.0.
    pub reject: Score,
    /// Refused at RCPT, before anything is known of the message. 20.0.
    pub reject_early: Score,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            greylist: Score::points(4),
            tag: Score::points(5),
            quarantine: Score::ZERO,
            reject: Score::points(12),
            reject_early: Score::points(20),
        }
    }
}

/// What a domain or a recipient has otherwise; what is not set stays as above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ThresholdOverrides {
    /// As `greylist` of `thresholds`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub greylist: Option<Score>,
    /// As `tag` of `thresholds`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<Score>,
    /// As `quarantine` of `thresholds`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<Score>,
    /// As `reject` of `thresholds`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reject: Option<Score>,
    /// As `reject_early` of `thresholds`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reject_early: Option<Score>,
}

/// The names of the thresholds, as settings have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Threshold {
    /// Ask to come back.
    Greylist,
    /// Mark.
    Tag,
    /// Keep back.
    Quarantine,
    /// Refuse after DATA.
    Reject,
    /// Refuse at RCPT.
    RejectEarly,
}

impl Threshold {
    /// All of them, the mildest first.
    pub const ALL: [Self; 5] = [Self::Greylist, Self::Tag, Self::Quarantine, Self::Reject, Self::RejectEarly];

    /// The name of its key.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Greylist => "greylist",
            Self::Tag => "tag",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
            Self::RejectEarly => "reject_early",
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is wrong with thresholds: the key below `thresholds`, and the words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct ThresholdError {
    /// The key.
    pub key: String,
    /// What is wrong, and what to write instead.
    pub message: String,
}

/// A value and where it was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// The configuration key: `antispam.thresholds.reject`, `domain[1].antispam.mode`.
    pub key: Arc<str>,
}

/// What holds for one recipient: the settings of all, of its domain, of itself put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// How much verdicts may do.
    pub mode: Setting<Mode>,
    limits: [Setting<Score>; 5],
}

impl Thresholds {
    /// This threshold.
    #[must_use]
    pub const fn get(&self, which: Threshold) -> Score {
        match which {
            Threshold::Greylist => self.greylist,
            Threshold::Tag => self.tag,
            Threshold::Quarantine => self.quarantine,
            Threshold::Reject => self.reject,
            Threshold::RejectEarly => self.reject_early,
        }
    }

    /// With what `overrides` has otherwise.
    #[must_use]
    pub fn overridden(mut self, overrides: &ThresholdOverrides) -> Self {
        self.greylist = overrides.greylist.unwrap_or(self.greylist);
        self.tag = overrides.tag.unwrap_or(self.tag);
        self.quarantine = overrides.quarantine.unwrap_or(self.quarantine);
        self.reject = overrides.reject.unwrap_or(self.reject);
        self.reject_early = overrides.reject_early.unwrap_or(self.reject_early);
        self
    }

    /// What cannot be meant: below zero, or a harder measure before a milder one.
    #[must_use]
    pub fn problems(&self) -> Vec<ThresholdError> {
        let mut problems = Vec::new();
        for which in Threshold::ALL {
            if self.get(which).is_negative() {
                let message = "a threshold is above 0; 0 switches it off".to_owned();
                problems.push(ThresholdError { key: which.to_string(), message });
            }
        }
        let on: Vec<Threshold> =
            Threshold::ALL.into_iter().skip(1).filter(|which| self.get(*which).is_positive()).collect();
        for pair in on.windows(2) {
            let [milder, harder] = pair else { continue };
            let (low, high) = (self.get(*milder), self.get(*harder));
            if high < low {
                let message = format!(
                    "{high} is below {milder} = {low}: the milder measure would never be taken; \
                     write at least {low}, or 0 to switch it off"
                );
                problems.push(ThresholdError { key: harder.to_string(), message });
            }
        }
        problems
    }

    /// What lets DNS lists alone refuse a message. Never a problem when `lists_may_reject`.
    #[must_use]
    pub fn lists_problem(&self, book: &ScoreBook, lists_may_reject: bool) -> Option<ThresholdError> {
        if lists_may_reject {
            return None;
        }
        let ceiling = book.ceiling_of_lists();
        for which in [Threshold::Reject, Threshold::RejectEarly] {
            let limit = self.get(which);
            if !limit.is_positive() || ceiling.is_some_and(|ceiling| ceiling < limit) {
                continue;
            }
            let most = ceiling.map_or_else(|| "any number of points".to_owned(), |score| score.to_string());
            let message = format!(
                "all DNS lists together can add {most}, so they alone could refuse mail at {which} = {limit}; \
                 set dnsbl_cap below {limit}, or lists_may_reject = true if that is wanted"
            );
            return Some(ThresholdError { key: which.to_string(), message });
        }
        None
    }
}

impl Rules {
    /// The rules of all: `section` is the key of the section they are in, `antispam`.
    #[must_use]
    pub fn new(section: &str, mode: Mode, thresholds: &Thresholds) -> Self {
        let limit = |which: Threshold| Setting {
            value: thresholds.get(which),
            key: format!("{section}.thresholds.{which}").into(),
        };
        Self {
            mode: Setting { value: mode, key: format!("{section}.mode").into() },
            limits: Threshold::ALL.map(limit),
        }
    }

    /// With what a domain or a recipient has otherwise; `section` is the key of the section that says so.
    #[must_use]
    pub fn overridden(&self, section: &str, mode: Option<Mode>, overrides: &ThresholdOverrides) -> Self {
        let mut rules = self.clone();
        if let Some(value) = mode {
            rules.mode = Setting { value, key: format!("{section}.mode").into() };
        }
        let given = [
            overrides.greylist,
            overrides.tag,
            overrides.quarantine,
            overrides.reject,
            overrides.reject_early,
        ];
        for ((limit, value), which) in rules.limits.iter_mut().zip(given).zip(Threshold::ALL) {
            if let Some(value) = value {
                *limit = Setting { value, key: format!("{section}.thresholds.{which}").into() };
            }
        }
        rules
    }

    /// This threshold; none when it is switched off.
    #[must_use]
    pub fn limit(&self, which: Threshold) -> Option<&Setting<Score>> {
        let at = Threshold::ALL.iter().position(|other| *other == which)?;
        self.limits.get(at).filter(|limit| limit.value.is_positive())
    }

    /// The threshold, when it is on and `score` reaches it.
    #[must_use]
    pub fn reached(&self, which: Threshold, score: Score) -> Option<&Setting<Score>> {
        self.limit(which).filter(|limit| score >= limit.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::{Definitions, GroupDef, LISTS};
    use crate::symbol::SymbolDef;

    fn book(cap: i32) -> ScoreBook {
        ScoreBook::new(Definitions {
            symbols: vec![SymbolDef::grouped("LISTED", Score::points(30), LISTS, "x")],
            groups: vec![GroupDef::new(LISTS, Score::points(cap))],
            ..Definitions::default()
        })
        .unwrap()
    }

    #[test]
    fn the_defaults_have_no_problems() {
        assert_eq!(Thresholds::default().problems(), []);
        assert_eq!(Thresholds::default().lists_problem(&book(8), false), None);
    }

    #[test]
    fn lists_alone_never_refuse_unless_that_is_wanted() {
        let all = Thresholds::default();
        let problem = all.lists_problem(&book(12), false).unwrap();
        assert_eq!(problem.key, "reject");
        assert!(problem.message.contains("set dnsbl_cap below 12.0"), "{}", problem.message);
        assert_eq!(all.lists_problem(&book(12), true), None);
        let off = Thresholds { reject: Score::ZERO, ..all };
        assert_eq!(off.lists_problem(&book(12), false), None, "20 is never reached");
        assert_eq!(off.lists_problem(&book(20), false).unwrap().key, "reject_early");
    }

    #[test]
    fn a_harder_measure_never_comes_first() {
        let odd = Thresholds { tag: Score::points(6), quarantine: Score::points(5), ..Thresholds::default() };
        assert_eq!(odd.problems().iter().map(|p| p.key.as_str()).collect::<Vec<_>>(), ["quarantine"]);
        let below = Thresholds { greylist: Score::points(-1), ..Thresholds::default() };
        assert_eq!(below.problems()[0].key, "greylist");
        let off = Thresholds { reject: Score::ZERO, ..Thresholds::default() };
        assert_eq!(off.problems(), []);
    }

    #[test]
    fn the_nearest_setting_counts_and_is_named() {
        let all = Rules::new("antispam", Mode::Enforce, &Thresholds::default());
        let domain = all.overridden(
            "domain[1].antispam",
            Some(Mode::Tag),
            &ThresholdOverrides { reject: Some(Score::points(15)), ..ThresholdOverrides::default() },
        );
        let own = domain.overridden(
            "antispam.recipient[0]",
            None,
            &ThresholdOverrides { tag: Some(Score::ZERO), ..ThresholdOverrides::default() },
        );
        assert_eq!(&*own.mode.key, "domain[1].antispam.mode");
        assert_eq!(&*own.limit(Threshold::Reject).unwrap().key, "domain[1].antispam.thresholds.reject");
        assert_eq!(&*own.limit(Threshold::Greylist).unwrap().key, "antispam.thresholds.greylist");
        assert_eq!(own.limit(Threshold::Tag), None, "0 is off");
        assert!(own.reached(Threshold::Reject, Score::points(15)).is_some());
        assert!(own.reached(Threshold::Reject, Score::from_thousandths(14_999)).is_none());
    }

    #[test]
    fn settings_are_numbers_of_any_kind() {
        let read: Thresholds = toml::from_str("tag = 6\nreject = 12.5\n").unwrap();
        assert_eq!((read.tag, read.reject), (Score::points(6), Score::tenths(125)));
        assert_eq!(read.greylist, Score::points(4));
        assert!(toml::from_str::<Thresholds>("reject_erly = 1").is_err());
    }
}
