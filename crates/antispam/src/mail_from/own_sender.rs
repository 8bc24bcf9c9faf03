//! Strangers who send in the name of somebody of ours that does not exist.
//!
//! Who exists is known to the router, which is asked through [`Senders`]. When it cannot tell, it is unknown (I9).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use mail::Address;
use policy::{Check, Facts, Findings, Mail, MailFacts, Score, SymbolDef, Work};

use crate::groups::SENDER;

const SENDER_UNKNOWN_OURS: SymbolDef = SymbolDef::grouped(
    "SENDER_UNKNOWN_OURS",
    Score::points(4),
    SENDER,
    "a stranger sends as somebody of our domain who does not exist",
);

/// Whether an address of ours is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Existence {
    /// It is.
    Present,
    /// It is not, for certain.
    Absent,
    /// Nobody can say now; why, for logs.
    Unavailable(String),
}

/// A question about an address.
pub type Asking<'a> = Pin<Box<dyn Future<Output = Existence> + Send + 'a>>;

/// Who knows the addresses of our domains.
pub trait Senders: Send + Sync {
    /// Is there such an address? Asked about our own domains only.
    fn exists<'a>(&'a self, address: &'a Address) -> Asking<'a>;
}

/// See above.
#[derive(Clone)]
pub struct OwnSender {
    senders: Arc<dyn Senders>,
}

impl OwnSender {
    /// The check, with who is to be asked.
    #[must_use]
    pub fn new(senders: Arc<dyn Senders>) -> Self {
        Self { senders }
    }
}

impl fmt::Debug for OwnSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnSender")
    }
}

impl Check<Mail> for OwnSender {
    fn name(&self) -> &str {
        "own_sender"
    }

    fn symbols(&self) -> Vec<SymbolDef> {
        vec![SENDER_UNKNOWN_OURS]
    }

    fn budget(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn applies(&self, facts: &MailFacts) -> bool {
        facts.is_stranger() && facts.sender_is_ours
    }

    fn run<'a>(&'a self, facts: &'a MailFacts, found: &'a mut Findings) -> Work<'a> {
        Box::pin(async move {
            let Some(address) = facts.reverse_path.mailbox() else { return };
            match self.senders.exists(address).await {
                Existence::Present => {}
                Existence::Absent => found.saw(SENDER_UNKNOWN_OURS.symbol, &address.to_string()),
                Existence::Unavailable(why) => found.unfinished(&why),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    struct Table;

    impl Senders for Table {
        fn exists<'a>(&'a self, address: &'a Address) -> Asking<'a> {
            let answer = match address.local.as_str() {
                "joe" => Existence::Present,
                "down" => Existence::Unavailable("the table is away".to_owned()),
                _ => Existence::Absent,
            };
            Box::pin(std::future::ready(answer))
        }
    }

    #[tokio::test]
    async fn only_those_who_are_certainly_not_there_are_unknown() {
        let check = OwnSender::new(Arc::new(Table));
        for (sender, symbol, unknown) in
            [("joe", false, false), ("nobody", true, false), ("down", false, true)]
        {
            let mut facts = testing::mail_from("192.0.2.9", &format!("{sender}@example.test"));
            assert!(!check.applies(&facts), "not ours");
            facts.sender_is_ours = true;
            assert!(check.applies(&facts));
            let found = testing::run(&check, &facts).await;
            assert_eq!(found.has("SENDER_UNKNOWN_OURS"), symbol, "{sender}");
            assert_eq!(found.why_unfinished().is_some(), unknown, "{sender}");
            facts.account = Some("joe".into());
            assert!(!check.applies(&facts), "our own users are no strangers");
        }
    }
}
