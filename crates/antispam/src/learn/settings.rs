//! `[antispam.learn]`: what is learnt without being told each time.

use policy::Score;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
}

impl Default for LearnSettings {
    fn default() -> Self {
        Self {
            junk_folders_minutes: 0,
            trash_folders: [".Trash", ".Deleted Messages", ".Deleted Items"].map(str::to_owned).to_vec(),
            automatic: false,
            automatic_spam_score: Score::points(15),
            automatic_ham_score: Score::points(-3),
        }
    }
}
