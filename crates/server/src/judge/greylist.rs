//! Asks the memory of greylisting: who is asked to come back, and who has come back.

use antispam::helo::rdns::generic::{self, Look};
use antispam::rcpt::greylist::{Answer, Attempt, GreylistMode, Origin};
use mail::{Address, ReversePath};
use policy::{AuthFacts, Facts, Greylist, Greylisting, MailFacts, MessageFacts, RcptFacts};

use super::Judge;
use super::case::Case;

/// Local parts that always hear the world: they are how others tell us of trouble (RFC 2142).
const ROLES: [&str; 2] = ["postmaster", "abuse"];

impl Judge {
    /// Whom greylisting is for, where this recipient is concerned.
    pub(super) fn greylisting(&self, recipient: &Address) -> Greylisting {
        let role = ROLES.iter().any(|role| recipient.local.as_str().eq_ignore_ascii_case(role));
        match self.settings.greylist.mode {
            _ if role => Greylisting::Off,
            GreylistMode::Off => Greylisting::Off,
            GreylistMode::Selective => Greylisting::Selective,
            GreylistMode::Always => Greylisting::Always,
        }
    }

    /// True when a score that is first reached after DATA greylists.
    pub(super) fn greylists_after_data(&self) -> bool {
        self.settings.greylist.after_data && self.settings.greylist.mode != GreylistMode::Off
    }
}

impl Case {
    /// What the memory says of a recipient.
    pub(super) async fn ask_greylist(&self, facts: &RcptFacts) -> Greylist {
        if self.is_vouched_for() || self.is_correspondent(&facts.mail, [&facts.recipient]).await {
            return Greylist::Passed;
        }
        let origins = origins(facts, &facts.auth, &facts.mail.reverse_path);
        let attempt = Attempt { origins, sender: &facts.mail.reverse_path, recipient: &facts.recipient };
        told(&self.judge.greylist.answer(&attempt, facts.at).await)
    }

    /// What the memory says of all recipients of a message: whoever has to wait makes all wait.
    pub(super) async fn ask_greylist_for_all(&self, facts: &MessageFacts) -> Greylist {
        if self.is_vouched_for() || self.is_correspondent(&facts.mail, facts.recipients.iter()).await {
            return Greylist::Passed;
        }
        let mut longest = Greylist::Passed;
        for recipient in facts.recipients.iter() {
            let origins = origins(facts, &facts.auth, &facts.mail.reverse_path);
            let attempt = Attempt { origins, sender: &facts.mail.reverse_path, recipient };
            let answer = told(&self.judge.greylist.answer(&attempt, facts.at).await);
            longest = match (longest, answer) {
                (Greylist::Wait { seconds }, Greylist::Wait { seconds: more }) => {
                    Greylist::Wait { seconds: seconds.max(more) }
                }
                (_, wait @ Greylist::Wait { .. }) => wait,
                (so_far, _) => so_far,
            };
        }
        longest
    }

    /// True when a user of ours, of the domain of one of these recipients, has written lately to who this says it is. That
    /// is not proven; a forger who knows such a pair gains five minutes by it. A memory that does not answer knows nobody.
    async fn is_correspondent(
        &self,
        mail: &MailFacts,
        recipients: impl IntoIterator<Item = &Address>,
    ) -> bool {
        let Some(sender) = mail.reverse_path.mailbox() else { return false };
        let ours = recipients.into_iter().map(|recipient| &recipient.domain);
        let known = self.judge.correspondents.known(&[sender], ours, mail.at).await;
        known.is_ok_and(|known| !known.is_empty())
    }

    /// True when a list of good senders vouches for the client.
    fn is_vouched_for(&self) -> bool {
        let seen = self.dossier.evidence(None).findings;
        seen.iter().any(|finding| self.judge.vouching.iter().any(|symbol| finding.symbol == **symbol))
    }
}

fn origins(facts: &impl Facts, auth: &AuthFacts, sender: &ReversePath) -> Vec<Origin> {
    let client = facts.connect().client;
    let name = auth.iprev.as_ref().and_then(|iprev| iprev.name.as_ref());
    let generic = name.is_some_and(|name| generic::look(name.as_str(), client) != Look::Chosen);
    Origin::all(client, auth, sender.is_null(), generic)
}

fn told(answer: &Answer) -> Greylist {
    match answer {
        Answer::Pass(_) => Greylist::Passed,
        Answer::Wait { seconds } => Greylist::Wait { seconds: *seconds },
    }
}
