//! After the verdict: the names of attached files that operators want changed, of strangers' letters that are taken.

use std::time::Duration;

use antispam::end_of_data::attachments;
use antispam::end_of_data::content_checks::Note;
use policy::{Facts, MessageFacts};
use store::Edit;

use super::Judge;

impl Judge {
    /// The changes, within `time_max`. What could not be found out changes nothing, and is told.
    pub(super) async fn renamed(
        &self,
        facts: &MessageFacts,
        time_max: Duration,
        notes: &mut Vec<Note>,
    ) -> Vec<Edit> {
        if !facts.is_stranger() {
            return Vec::new();
        }
        let renamed = attachments::renamed(&self.settings.attachments, facts);
        let late = |_| Err("there was no time left to look for them".to_owned());
        tokio::time::timeout(time_max, renamed).await.unwrap_or_else(late).unwrap_or_else(|why| {
            let key = "antispam.attachments.rename".to_owned();
            notes.push(Note { key, text: format!("files are not renamed: {why}") });
            Vec::new()
        })
    }
}
