//! Access tables: an operator's word about clients, names in HELO, senders and recipients (access(5)).
//!
//! Runs at CONNECT, HELO, MAIL or RCPT, as the setting says; a table for clients is asked for the address at CONNECT, and at
//! HELO, when reverse DNS is known, for the name that leads back to it, unless the address was found. What is found is
//! certain and acts in every mode. The first table of a stage that answers does not silence the others: the strictest
//! order wins, so that `OK` here never undoes another's `REJECT`, and no table lets anybody relay.
//!
//! A table that cannot be asked, and a value that is no order, are `451` and named in the record: never an absence (I9).

pub mod keys;

use std::sync::Arc;
use std::time::Duration;

use mail::Reply;
use policy::{
    AuthResult, Check, Connect, ConnectFacts, Facts, Finding, Findings, Helo, HeloFacts, Mail, MailFacts,
    Order, Rcpt, RcptFacts, Ruling, Score, Source, SymbolDef, SymbolError, Work,
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
    /// sender) or `rcpt` (the recipient). Example: `stage = "connect"`
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

/// One table, as a check. Add it at its stage; for [`AccessStage::Connect`] at CONNECT and at HELO.
#[derive(Debug)]
pub struct Access {
    settings: Settings,
    table: Arc<dyn Table>,
    delimiter: Option<char>,
    /// Its configuration key.
    key: String,
    symbol: SymbolDef,
}

impl Access {
    /// The table of the `number`th `[[antispam.access]]`, from 0. `delimiter` parts a user from a tag.
    ///
    /// # Errors
    /// None with a number that is not absurd: the symbol's name is made of it.
    pub fn new(
        number: usize,
        settings: Settings,
        table: Arc<dyn Table>,
        delimiter: Option<char>,
    ) -> Result<Self, SymbolError> {
        let name = format!("ACCESS_{number}");
        let meaning = format!("SCORE in the access table {}, times its points", settings.table);
        let symbol = SymbolDef::configured(&name, Score::points(1), None, meaning)?;
        Ok(Self { settings, table, delimiter, key: format!("antispam.access[{number}]"), symbol })
    }

    fn is_asked<F: Facts>(&self, facts: &F) -> bool {
        self.settings.everyone || facts.is_stranger()
    }

    fn tries_parts(&self) -> bool {
        keys::tries_parts(&self.settings.table)
    }

    /// Asks for each key until one has an answer; false when none has.
    async fn ask(&self, keys: Vec<String>, found: &mut Findings) -> bool {
        for key in keys {
            match self.table.lookup(&key).await {
                Answer::Absent => {}
                Answer::Found(value) => {
                    self.act(&key, &value, found).await;
                    return true;
                }
                Answer::Unavailable(why) => {
                    self.unavailable(
                        &format!("{} cannot be asked for {key}: {why}", self.settings.table),
                        found,
                    );
                    return true;
                }
            }
        }
        false
    }

    async fn act(&self, key: &str, value: &str, found: &mut Findings) {
        let place = self.settings.stage.place();
        let evidence = format!("{key}: {value}");
        let order = match Action::parse(value, place) {
            Ok(Action::Dunno) => return,
            Ok(Action::Score(score)) => {
                return found.add(self.finding(key).times(score.thousandths()));
            }
            Ok(Action::Note(_)) => return found.add(self.finding(&evidence).times(0)),
            Ok(Action::Ok) => Order::Accept,
            Ok(Action::Reject(reply)) => Order::Reject(reply),
            Ok(Action::Defer(reply)) => Order::Defer(reply),
            Ok(Action::Discard(_)) => Order::Discard,
            Ok(Action::Hold(_)) => Order::Hold,
            Ok(Action::Prepend(line)) => Order::Prepend(line),
            Ok(Action::Redirect(address)) => Order::Redirect(address),
            Ok(Action::Bcc(address)) => Order::Bcc(address),
            // Those of header_checks(5): no value of an access table is read as one.
            Ok(Action::Replace(_) | Action::Remove(_) | Action::Pass(_) | Action::Filter(_)) => return,
            Err(error) => {
                let line = self.line_of(key).await;
                return self
                    .unavailable(&format!("{}{line}, key {key}: {error}", self.settings.table), found);
            }
        };
        let key = format!("{} {}{}", self.key, self.settings.table, self.line_of(key).await);
        found.rule(Ruling::new(Source::Access, order, &key, &evidence));
    }

    fn finding(&self, evidence: &str) -> Finding {
        Finding::new(self.symbol.symbol.clone()).evidence(evidence)
    }

    /// `:12`, or nothing where a table has no lines.
    async fn line_of(&self, key: &str) -> String {
        let Some(contents) = self.table.snapshot().await else { return String::new() };
        contents.line_of(key.as_bytes()).map(|line| format!(":{line}")).unwrap_or_default()
    }

    fn unavailable(&self, why: &str, found: &mut Findings) {
        let reply =
            Reply::new(451, (4, 3, 5), "A table of this server cannot be used, please try again later");
        found.rule(Ruling::new(Source::Unavailable, Order::Defer(reply), &self.key, why));
    }

    fn address_keys(&self, facts: &ConnectFacts) -> Vec<String> {
        keys::of_address(facts.client, self.tries_parts())
    }

    /// By the name that leads back to the client, unless the address has been found at CONNECT.
    async fn ask_for_client_name(&self, facts: &HeloFacts, found: &mut Findings) {
        let Some(iprev) = &facts.auth.iprev else { return };
        let names = match (&iprev.name, iprev.result) {
            (Some(name), AuthResult::Pass) => keys::of_name(name.as_str(), self.tries_parts()),
            (_, AuthResult::Fail | AuthResult::PermError) => vec![keys::UNKNOWN_NAME.to_owned()],
            // Not known is no absence (I9): nothing is said about a name that could not be looked up.
            _ => return,
        };
        for key in self.address_keys(&facts.connect) {
            if self.table.lookup(&key).await != Answer::Absent {
                return;
            }
        }
        self.ask(names, found).await;
    }
}

/// What is the same at every stage.
macro_rules! check {
    ($stage:ident, $facts:ident, |$this:ident, $given:ident, $found:ident| $work:block) => {
        impl Check<$stage> for Access {
            fn name(&self) -> &str {
                "access"
            }

            fn symbols(&self) -> Vec<SymbolDef> {
                vec![self.symbol.clone()]
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
                self.is_asked(facts)
            }

            fn run<'a>(&'a self, facts: &'a $facts, found: &'a mut Findings) -> Work<'a> {
                let ($this, $given, $found) = (self, facts, found);
                Box::pin(async move { $work })
            }
        }
    };
}

check!(Connect, ConnectFacts, |this, facts, found| {
    this.ask(this.address_keys(facts), found).await;
});

check!(Helo, HeloFacts, |this, facts, found| {
    if this.settings.stage == AccessStage::Connect {
        this.ask_for_client_name(facts, found).await;
    } else {
        this.ask(keys::of_name(&facts.name, this.tries_parts()), found).await;
    }
});

check!(Mail, MailFacts, |this, facts, found| {
    let keys = keys::of_sender(&facts.reverse_path, this.delimiter, this.tries_parts());
    this.ask(keys, found).await;
});

check!(Rcpt, RcptFacts, |this, facts, found| {
    this.ask(keys::of_mailbox(&facts.recipient, this.delimiter, this.tries_parts()), found).await;
});

#[cfg(test)]
mod tests;
