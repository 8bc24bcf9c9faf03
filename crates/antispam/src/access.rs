//! Access tables: an operator's word about clients, names in HELO, senders and recipients (access(5)).
//!
//! Those for clients, names in HELO and senders are asked at MAIL, when the client's name and account are known; those for
//! recipients at RCPT. As in Postfix the tables of one stage are asked in the order they are written in, until one of them
//! accepts, discards or refuses; a refusal ends it all. What is found is certain and acts in every mode. No table lets
//! anybody relay, and `OK` at one stage undoes no `REJECT` of another.
//!
//! A table that cannot be asked, and a value that is no order, are `451` and named in the record: never an absence (I9).

pub mod keys;

use std::sync::Arc;
use std::time::Duration;

use mail::Reply;
use policy::{
    AuthFacts, AuthResult, Check, ConnectFacts, Facts, Finding, Findings, Mail, MailFacts, Order, Rcpt,
    RcptFacts, Ruling, Score, Source, SymbolDef, SymbolError, Work,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tables::{Answer, Spec, Table};

use crate::action::{Action, Place};

/// How long a table may take. Files answer at once; a pattern has a second.
const BUDGET: Duration = Duration::from_secs(5);

/// What an operator writes: one `[[antispam.access]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What the table is asked about: `connect` (the client's address and name), `helo` (the name in HELO), `mail` (the
    /// sender) or `rcpt` (the recipient). Tables of one stage are asked in the order they are written in, until one of
    /// them says `OK`, `DISCARD` or a refusal. Example: `stage = "connect"`
    pub stage: AccessStage,
    /// The table, as `TYPE:SOURCE` with the type `text`, `regexp`, `pcre`, `cidr`, `static` or `inline`. Its values are
    /// those of Postfix's access(5) and `SCORE n`. Example: `table = "cidr:client_access"`
    pub table: Spec,
    /// Also ask about clients that are vouched for: trusted networks, users who have logged in, this host. Without it
    /// the table is for strangers.
    #[serde(default)]
    pub everyone: bool,
}

/// What a table is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AccessStage {
    /// The client.
    Connect,
    /// The name in HELO.
    Helo,
    /// The sender.
    Mail,
    /// The recipient.
    Rcpt,
}

impl AccessStage {
    /// The same, where actions are read.
    #[must_use]
    pub const fn place(self) -> Place {
        match self {
            Self::Connect => Place::Client,
            Self::Helo => Place::Helo,
            Self::Mail => Place::Sender,
            Self::Rcpt => Place::Recipient,
        }
    }
}

/// Tables, as a check: those of [`AccessStage::Rcpt`] belong to RCPT, all others to MAIL.
#[derive(Debug, Default)]
pub struct Access {
    tables: Vec<One>,
    delimiter: Option<char>,
}

/// One table.
#[derive(Debug)]
struct One {
    settings: Settings,
    table: Arc<dyn Table>,
    /// Its configuration key.
    key: String,
    symbol: SymbolDef,
}

/// What a table's answer means for those that would be asked after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// They are asked.
    Next,
    /// Those of the same stage are not.
    StageDone,
    /// None is: this is a refusal.
    Refused,
}

impl Access {
    /// No tables yet. `delimiter` parts a user from a tag.
    #[must_use]
    pub fn new(delimiter: Option<char>) -> Self {
        Self { tables: Vec::new(), delimiter }
    }

    /// The table of the `number`th `[[antispam.access]]`, from 0, comes last.
    ///
    /// # Errors
    /// None with a number that is not absurd: the symbol's name is made of it.
    pub fn add(
        &mut self,
        number: usize,
        settings: Settings,
        table: Arc<dyn Table>,
    ) -> Result<(), SymbolError> {
        let name = format!("ACCESS_{number}");
        let meaning = format!("SCORE in the access table {}, times its points", settings.table);
        let symbol = SymbolDef::configured(&name, Score::points(1), None, meaning)?;
        self.tables.push(One { settings, table, key: format!("antispam.access[{number}]"), symbol });
        Ok(())
    }

    /// True without tables.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    fn of(&self, stage: AccessStage) -> impl Iterator<Item = &One> {
        self.tables.iter().filter(move |one| one.settings.stage == stage)
    }

    /// Asks about all that is known at MAIL.
    async fn at_mail(&self, facts: &MailFacts, found: &mut Findings) {
        for stage in [AccessStage::Connect, AccessStage::Helo, AccessStage::Mail] {
            for one in self.of(stage).filter(|one| one.is_asked(facts)) {
                let parts = keys::tries_parts(&one.settings.table);
                let asked = match stage {
                    AccessStage::Connect => client_keys(facts.connect(), &facts.auth, parts),
                    AccessStage::Helo => keys::of_name(&facts.helo.name, parts),
                    _ => keys::of_sender(&facts.reverse_path, self.delimiter, parts),
                };
                match one.ask(asked, found).await {
                    After::Next => {}
                    After::StageDone => break,
                    After::Refused => return,
                }
            }
        }
    }

    async fn at_rcpt(&self, facts: &RcptFacts, found: &mut Findings) {
        for one in self.of(AccessStage::Rcpt).filter(|one| one.is_asked(facts)) {
            let parts = keys::tries_parts(&one.settings.table);
            let asked = keys::of_mailbox(&facts.recipient, self.delimiter, parts);
            if one.ask(asked, found).await != After::Next {
                return;
            }
        }
    }
}

/// The name that leads back to the client, then its address.
fn client_keys(connect: &ConnectFacts, auth: &AuthFacts, parts: bool) -> Vec<String> {
    let mut all = match auth.iprev.as_ref().map(|iprev| (&iprev.name, iprev.result)) {
        Some((Some(name), AuthResult::Pass)) => keys::of_name(name.as_str(), parts),
        Some((_, AuthResult::Fail | AuthResult::PermError)) => vec![keys::UNKNOWN_NAME.to_owned()],
        // Not known is no absence (I9): nothing is said about a name that could not be looked up.
        _ => Vec::new(),
    };
    all.extend(keys::of_address(connect.client, parts));
    all
}

impl One {
    fn is_asked<F: Facts>(&self, facts: &F) -> bool {
        self.settings.everyone || facts.is_stranger()
    }

    /// Asks for each key until one has an answer.
    async fn ask(&self, keys: Vec<String>, found: &mut Findings) -> After {
        for key in keys {
            match self.table.lookup(&key).await {
                Answer::Absent => {}
                Answer::Found(value) => return self.act(&key, &value, found).await,
                Answer::Unavailable(why) => {
                    return self.unavailable(
                        &format!("{} cannot be asked for {key}: {why}", self.settings.table),
                        found,
                    );
                }
            }
        }
        After::Next
    }

    async fn act(&self, key: &str, value: &str, found: &mut Findings) -> After {
        let evidence = format!("{key}: {value}");
        let (order, after) = match Action::parse(value, self.settings.stage.place()) {
            Ok(Action::Dunno) => return After::Next,
            Ok(Action::Score(score)) => {
                found.add(self.finding(key).times(score.thousandths()));
                return After::Next;
            }
            Ok(Action::Note(_)) => {
                found.add(self.finding(&evidence).times(0));
                return After::Next;
            }
            Ok(Action::Ok) => (Order::Accept, After::StageDone),
            Ok(Action::Reject(reply)) => (Order::Reject(reply), After::Refused),
            Ok(Action::Defer(reply)) => (Order::Defer(reply), After::Refused),
            Ok(Action::DeferIfPermit(reply)) => (Order::Defer(reply), After::Next),
            Ok(Action::Discard(_)) => (Order::Discard, After::StageDone),
            Ok(Action::Hold(_)) => (Order::Hold, After::Next),
            Ok(Action::Prepend(line)) => (Order::Prepend(line), After::Next),
            Ok(Action::Redirect(address)) => (Order::Redirect(address), After::Next),
            Ok(Action::Bcc(address)) => (Order::Bcc(address), After::Next),
            Ok(Action::Filter(hop)) => (Order::Filter(hop), After::Next),
            // Those of header_checks(5): no value of an access table is read as one.
            Ok(Action::Replace(_) | Action::Remove(_) | Action::Pass(_)) => return After::Next,
            Err(error) => {
                let line = self.line_of(key).await;
                return self
                    .unavailable(&format!("{}{line}, key {key}: {error}", self.settings.table), found);
            }
        };
        let key = format!("{} {}{}", self.key, self.settings.table, self.line_of(key).await);
        found.rule(Ruling::new(Source::Access, order, &key, &evidence));
        after
    }

    fn finding(&self, evidence: &str) -> Finding {
        Finding::new(self.symbol.symbol.clone()).evidence(evidence)
    }

    /// `:12`, or nothing where a table has no lines.
    async fn line_of(&self, key: &str) -> String {
        let Some(contents) = self.table.snapshot().await else { return String::new() };
        contents.line_of(key.as_bytes()).map(|line| format!(":{line}")).unwrap_or_default()
    }

    fn unavailable(&self, why: &str, found: &mut Findings) -> After {
        let reply =
            Reply::new(451, (4, 3, 5), "A table of this server cannot be used, please try again later");
        found.rule(Ruling::new(Source::Unavailable, Order::Defer(reply), &self.key, why));
        After::Refused
    }
}

/// What is the same at both stages.
macro_rules! check {
    ($stage:ident, $facts:ident, |$this:ident, $given:ident, $found:ident| $work:block) => {
        impl Check<$stage> for Access {
            fn name(&self) -> &str {
                "access"
            }

            fn symbols(&self) -> Vec<SymbolDef> {
                self.tables.iter().map(|one| one.symbol.clone()).collect()
            }

            fn budget(&self) -> Duration {
                BUDGET
            }

            fn is_certain(&self) -> bool {
                true
            }

            fn on_unknown(&self) -> policy::OnUnknown {
                policy::OnUnknown::Tempfail
            }

            fn applies(&self, facts: &$facts) -> bool {
                self.tables.iter().any(|one| one.is_asked(facts))
            }

            fn run<'a>(&'a self, facts: &'a $facts, found: &'a mut Findings) -> Work<'a> {
                let ($this, $given, $found) = (self, facts, found);
                Box::pin(async move { $work })
            }
        }
    };
}

check!(Mail, MailFacts, |this, facts, found| {
    this.at_mail(facts, found).await;
});

check!(Rcpt, RcptFacts, |this, facts, found| {
    this.at_rcpt(facts, found).await;
});

#[cfg(test)]
mod tests;
