//! What a letter is worth by itself: the checks that look at nothing but the letter, and the classifier, in points.
//!
//! For `staffetta score`: no session, no network, no memory. The checks, their points and their caps are those of a server
//! with the same configuration; what such a server knows besides (who sends, from where, what lists say of links) is left
//! out, so its score of the same letter is another one. Links are not looked up.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use antispam::end_of_data::bayes::{self, Bayes};
use antispam::end_of_data::own_filters::OwnFilters;
use antispam::learn::{Owner, tokens};
use bytes::Bytes;
use config::Loaded;
use mail::{Address, BodyType, QueueId, ReversePath, Timestamp};
use policy::tally::Line;
use policy::{
    Addressed, AuthFacts, BeforeGreeting, CheckSettings, Checks, ConnectFacts, Content, Door, EndOfData,
    HeloFacts, MailFacts, MessageFacts, Score, Shared, Tally, Threshold,
};

use crate::assemble::learnt_folder;
use crate::error::Error;
use crate::judge::Judge;
use crate::rehearsal;

/// How long one letter may take.
const TIME_MAX: std::time::Duration = std::time::Duration::from_secs(60);
/// Where letters are said to come from: a stranger of no place (RFC 5737).
const NOWHERE: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

/// Scores letters.
pub struct Scorer {
    judge: Arc<Judge>,
    checks: Checks<EndOfData>,
    /// From here on it is spam.
    spam_from: Score,
    /// Below it is ham.
    ham_below: Score,
    /// Whose mail it is, and the filters that are asked about it.
    own: Option<(Address, OwnFilters)>,
}

/// What a letter is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Called {
    /// Below what is only a little suspicious (`[antispam] thresholds` `greylist`).
    Ham,
    /// Between.
    Unsure,
    /// From where on letters are marked (`tag`).
    Spam,
}

impl Called {
    /// `ham`, `unsure` or `spam`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ham => "ham",
            Self::Unsure => "unsure",
            Self::Spam => "spam",
        }
    }
}

/// What a letter is worth.
#[derive(Debug)]
pub struct Scored {
    /// Its points.
    pub points: Score,
    /// What they make it.
    pub called: Called,
    /// Every symbol, the heaviest first.
    pub lines: Vec<Line>,
}

impl Scorer {
    /// As a server with this configuration does, or one by the defaults; `filter` is the folder of another classifier than
    /// the configured one.
    ///
    /// # Errors
    /// What would keep such a server from starting; neither a configuration nor a folder.
    pub async fn new(loaded: Option<&Loaded>, filter: Option<&Path>) -> Result<Self, Error> {
        let judge = match loaded {
            Some(loaded) => rehearsal::judge(loaded).await?,
            None => rehearsal::default_judge().await?,
        };
        let mut checks = judge.of_letters();
        let folder: Option<PathBuf> = filter.map(Path::to_owned).or_else(|| loaded.map(learnt_folder));
        if let Some(folder) = folder {
            checks.add(Arc::new(Bayes::new(folder)), CheckSettings::default());
        }
        let thresholds = loaded.map(|loaded| loaded.config.antispam.thresholds).unwrap_or_default();
        let (spam_from, ham_below) = (thresholds.get(Threshold::Tag), thresholds.get(Threshold::Greylist));
        Ok(Self { judge, checks, spam_from, ham_below, own: None })
    }

    /// The same for mail of somebody who has a filter of his own, on top of the shared one.
    #[must_use]
    pub fn for_mail_of(self, loaded: &Loaded, owner: &Owner) -> Self {
        let mailbox = match owner {
            Owner::Account(address) => Some(address.clone()),
            // Anybody there.
            Owner::Domain(domain) => Address::new("postmaster", domain.clone()).ok(),
        };
        let filters = OwnFilters::new(learnt_folder(loaded), &loaded.config.antispam.learn);
        Self { own: mailbox.map(|mailbox| (mailbox, filters)), ..self }
    }

    /// Scores a letter with CRLF as line ends that came at `at`: dates are compared with that.
    pub async fn score(&self, letter: Vec<u8>, at: Timestamp) -> Scored {
        let facts = facts(letter.into(), at);
        let mut report = self.checks.run(&facts, TIME_MAX).await;
        if let Some((mailbox, filters)) = &self.own
            && let Some(heard) = filters.ask(&facts, &[Some(mailbox.clone())], TIME_MAX).await
            && let Some(spoken) = heard.spoken.into_iter().next()
        {
            report.findings.retain(|finding| !bayes::is_told(&finding.symbol));
            report.findings.extend(spoken.findings);
        }
        let tally = Tally::of(self.judge.book(), &report.findings);
        let called = match tally.total {
            points if self.spam_from.is_positive() && points >= self.spam_from => Called::Spam,
            points if points < self.ham_below || !self.ham_below.is_positive() => Called::Ham,
            _ => Called::Unsure,
        };
        Scored { points: tally.total, called, lines: tally.lines }
    }
}

/// When a letter came, by its own account; now when it does not say.
#[must_use]
pub fn came(letter: &[u8]) -> Timestamp {
    match tokens::seconds(letter) {
        0 => crate::clock::now(),
        seconds => Timestamp::from_seconds(seconds),
    }
}

/// A letter of nobody in particular.
pub(crate) fn facts(letter: Bytes, at: Timestamp) -> MessageFacts {
    let connect = ConnectFacts {
        session: "score".into(),
        at,
        client: NOWHERE,
        port: 0,
        local: None,
        door: Door::Mx,
        trusted: false,
        known: false,
        before_greeting: BeforeGreeting::NotWatched,
        auth: AuthFacts::default(),
    };
    let helo = HeloFacts {
        connect: Arc::new(connect),
        name: "unknown".into(),
        esmtp: true,
        tls: false,
        pipelined_early: false,
        auth: AuthFacts::default(),
    };
    let mail = MailFacts {
        helo: Arc::new(helo),
        at,
        account: None,
        // A bounce would be a letter of another kind.
        reverse_path: Address::parse("nobody@unknown.invalid")
            .map_or(ReversePath::Null, ReversePath::Mailbox),
        size: None,
        body_type: BodyType::EightBitMime,
        smtputf8: false,
        sender_is_ours: false,
        earlier_transactions: 0,
        auth: AuthFacts::default(),
    };
    MessageFacts {
        mail: Arc::new(mail),
        at,
        queue_id: QueueId(0),
        recipients: Arc::from([]),
        addressed: Addressed::Plainly,
        header: letter.slice(..mail::header::body_offset(&letter).min(letter.len())),
        content: Content::Memory(letter),
        received: Bytes::new(),
        auth: AuthFacts::default(),
        shared: Shared::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_letter_is_scored_by_what_it_says_without_a_network() {
        let scorer = Scorer::new(None, None).await.unwrap();
        let at = Timestamp(1_795_000_000_000);
        let plain = "From: a@b.test\r\nTo: c@d.test\r\nDate: Sat, 18 Nov 2026 10:26:40 +0000\r\nMessage-ID: <1@b.test>\r\n\
                     Subject: lunch\r\n\r\nShall we?\r\n";
        let scored = scorer.score(plain.into(), at).await;
        assert_eq!((scored.points, scored.called), (Score::ZERO, Called::Ham), "{:?}", scored.lines);
        let spam = "From: a@b.test\r\nSubject: FREE MONEY FOR YOU!!\r\nContent-Type: text/html\r\n\r\n<a href='http://3221225985/'>\
                    http://bank.example.com</a> buy viagra, cialis, no prescription; act now, risk free, work at home\r\n";
        let scored = scorer.score(spam.into(), at).await;
        assert_eq!(scored.called, Called::Spam, "{:?}", scored.lines);
        assert!(scored.lines.iter().any(|line| line.symbol == *"PILLS"));
        let sum: Score = scored.lines.iter().map(|line| line.points).sum();
        assert_eq!(sum, scored.points);
    }
}
