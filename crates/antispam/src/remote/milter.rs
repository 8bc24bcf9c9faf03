//! Milters: programs that follow a session step by step, decide about it, and may change the message, as Postfix and Sendmail
//! ask them (`smtpd_milters`).
//!
//! ```text
//! Session (one for each client) ─▶ Link (one for each milter) ─▶ Station: breaker, figures ─▶ codec
//!      │ in order, each sees what those before it have changed
//!      └─▶ StageReport for the judge, and Changes for the message
//! ```
//!
//! A milter hears of a client when there is a MAIL, then of connection, HELO and MAIL at once; of RCPT and DATA when they are
//! said; of the message when it is there, beside all other checks and within the same deadline. What it says about a
//! recipient or a message is an operator's order and acts in every mode. A milter that does not answer is unknown, never
//! content: `on_unknown` holds, and its `NAME_TIMEOUT` says so. Here nothing is stored and no alias is followed: changes are
//! values, which are carried out by whoever takes the message in.

pub mod codec;
mod letter;
mod link;
mod macros;
mod session;
pub mod settings;

use std::sync::Arc;

use net::Resolver;
use policy::{Score, Symbol, SymbolDef, SymbolError, timeout_symbol};

use super::settings::ScannerSettings;
use super::station::Station;
use settings::{MilterError, MilterSettings};

pub use letter::{AddedRecipient, Changes, Draught, Room};
pub use macros::Macros;
pub use session::{Greeting, Session};

/// All milters that are set up, in their order.
#[derive(Debug, Default)]
pub struct Milters {
    all: Vec<Arc<Milter>>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Milter {
    settings: MilterSettings,
    station: Arc<Station>,
    /// The symbol that tells what it said.
    symbol: Symbol,
    /// Its section of the configuration.
    key: String,
}

/// Which milters a session is shown to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Choice {
    /// All, in the order of the configuration.
    #[default]
    All,
    /// These, in this order.
    Named(Arc<[String]>),
    /// Those that want mail of programs on this machine.
    Local,
}

impl Milters {
    /// Sets them up; names apart from each other's and from those of the scanners.
    ///
    /// # Errors
    /// [`MilterError`]: what an operator wrote.
    pub fn new(
        all: &[MilterSettings],
        scanners: &[ScannerSettings],
        resolver: &Resolver,
    ) -> Result<Self, MilterError> {
        let mut milters: Vec<Arc<Milter>> = Vec::new();
        for (number, one) in all.iter().enumerate() {
            one.check(number)?;
            let taken = milters.iter().any(|other| other.settings.name == one.name)
                || scanners.iter().any(|scanner| scanner.name() == one.name);
            if taken {
                let why = format!("there is another scanner or milter `{}`: give each its own", one.name);
                return Err(MilterError { number, key: "name", why });
            }
            let def = definition(&one.name);
            let def = def.map_err(|error| MilterError { number, key: "name", why: error.to_string() })?;
            milters.push(Arc::new(Milter {
                settings: one.clone(),
                station: Arc::new(Station::new(one.contact(), resolver.clone())),
                symbol: def.symbol,
                key: format!("antispam.milter[{number}]"),
            }));
        }
        Ok(Self { all: milters })
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|milter| milter.settings.name.as_str())
    }

    /// What they may add to a verdict; none of it counts.
    #[must_use]
    pub fn symbols(&self) -> Vec<SymbolDef> {
        let each = |milter: &Arc<Milter>| {
            let unknown = SymbolDef {
                symbol: timeout_symbol(&milter.settings.name),
                score: Score::ZERO,
                group: None,
                meaning: format!("the milter {} did not finish", milter.settings.name).into(),
            };
            definition(&milter.settings.name).into_iter().chain([unknown])
        };
        self.all.iter().flat_map(each).collect()
    }

    /// One session before those that it is shown to. Nothing is asked yet.
    #[must_use]
    pub fn session(&self, choice: &Choice) -> Session {
        let named = |name: &String| self.all.iter().find(|milter| milter.settings.name == *name);
        let chosen: Vec<&Arc<Milter>> = match choice {
            Choice::All => self.all.iter().collect(),
            Choice::Named(names) => names.iter().filter_map(named).collect(),
            Choice::Local => self.all.iter().filter(|milter| milter.settings.local).collect(),
        };
        Session::new(chosen.into_iter().cloned())
    }

    pub(super) fn stations(&self) -> impl Iterator<Item = Arc<Station>> {
        self.all.iter().map(|milter| Arc::clone(&milter.station))
    }
}

fn definition(name: &str) -> Result<SymbolDef, SymbolError> {
    let meaning = format!("what the milter {name} said and did; counts nothing by itself");
    SymbolDef::configured(&format!("{}_MILTER", name.to_ascii_uppercase()), Score::ZERO, None, meaning)
}

#[cfg(test)]
mod tests;
