//! `[antispam.learn]`: what is learnt without being told each time.

use policy::Score;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::filter::OWN_LEARNT_MIN;
use super::owner::Filters;

/// `[antispam.learn]`: what the classifier learns by itself. Nothing by default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LearnSettings {
    /// Minutes between two looks at the Junk folders of all Maildirs: what users have moved there is learnt as spam, what they
    /// move out of it as ham. What was filed there by its score teaches nothing until it is moved out. 0: never.
    pub junk_folders_minutes: u64,
    /// Folders of a Maildir that say nothing about what is moved there from Junk.
    pub trash_folders: Vec<String>,
    /// Learns from strangers' mail by its verdict, where that is sure without the classifier itself. false: what filters are
    /// wrong about they are wrong about more often then.
    pub automatic: bool,
    /// From this score on, without the classifier's own points, a letter is learnt as spam. 15.
    pub automatic_spam_score: Score,
    /// Up to this score, without the classifier's own points, a letter is learnt as ham. -3.
    pub automatic_ham_score: Score,
    /// Whose filter judges on top of the one that all share: `shared`, nobody's; `domain`, that of the recipient's domain;
    /// `account`, that of the recipient's own mailbox. What users move in and out of Junk teaches theirs.
    pub filters: Filters,
    /// What teaches the filter of a domain or an account teaches the shared one, too. true; without, the shared one learns only
    /// what nobody in particular is named for, and from sure verdicts.
    pub own_teach_shared: bool,
    /// Filters of domains and accounts that are kept; for further ones nothing is learnt but by the shared one. 10,000.
    pub own_filters_max: u64,
    /// Messages that the filter of a domain or an account remembers, of both classes together; for new ones the oldest of the
    /// larger class are forgotten. 2,000, which are about 8 MB on disk.
    pub own_samples_max: u64,
    /// Memory in bytes for the filters of domains and accounts that were asked last; others are read again when they are
    /// needed. 67,108,864 (64 MiB).
    pub own_memory_bytes_max: u64,
}

impl LearnSettings {
    /// Figures with which filters of domains and accounts would never speak: the key, the least that does, and what happens
    /// below it.
    #[must_use]
    pub fn too_small(&self) -> Vec<(&'static str, u64, &'static str)> {
        if self.filters == Filters::Shared {
            return Vec::new();
        }
        let bounds = [
            ("own_filters_max", self.own_filters_max, 1, "nobody could have a filter"),
            ("own_samples_max", self.own_samples_max, 2 * OWN_LEARNT_MIN, "no filter would ever speak"),
            (
                "own_memory_bytes_max",
                self.own_memory_bytes_max,
                1 << 20,
                "filters would be read for each message",
            ),
        ];
        let small = bounds.into_iter().filter(|(_, value, least, _)| value < least);
        small.map(|(key, _, least, consequence)| (key, least, consequence)).collect()
    }
}

impl Default for LearnSettings {
    fn default() -> Self {
        Self {
            junk_folders_minutes: 0,
            trash_folders: [".Trash", ".Deleted Messages", ".Deleted Items"].map(str::to_owned).to_vec(),
            automatic: false,
            automatic_spam_score: Score::points(15),
            automatic_ham_score: Score::points(-3),
            filters: Filters::Shared,
            own_teach_shared: true,
            own_filters_max: 10_000,
            own_samples_max: 2_000,
            own_memory_bytes_max: 64 << 20,
        }
    }
}
