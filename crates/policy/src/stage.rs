//! The five moments of a session at which it is judged, each as a value and as a type.
//!
//! The types are what [`crate::Check`] is written against: a check of the stage [`Rcpt`] is given [`RcptFacts`] and has no
//! way to ask for a body.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::facts::{ConnectFacts, Facts, HeloFacts, MailFacts, MessageFacts, RcptFacts};

/// A moment of the session, in their order (RFC 5321 §3.1 to §3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// A connection is there, nothing was said.
    Connect,
    /// HELO, EHLO or LHLO.
    Helo,
    /// MAIL.
    Mail,
    /// RCPT, once for each recipient.
    Rcpt,
    /// The message is there.
    EndOfData,
}

impl Stage {
    /// All, in their order.
    pub const ALL: [Self; 5] = [Self::Connect, Self::Helo, Self::Mail, Self::Rcpt, Self::EndOfData];

    /// Its name in settings, records and metrics: `connect`, `helo`, `mail`, `rcpt`, `end_of_data`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Helo => "helo",
            Self::Mail => "mail",
            Self::Rcpt => "rcpt",
            Self::EndOfData => "end_of_data",
        }
    }

    /// For how long what is found at this stage counts, unless a finding says otherwise.
    #[must_use]
    pub const fn scope(self) -> Scope {
        match self {
            Self::Connect | Self::Helo => Scope::Session,
            Self::Mail | Self::EndOfData => Scope::Transaction,
            Self::Rcpt => Scope::Recipient,
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a finding counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One recipient.
    Recipient,
    /// All recipients of the transaction.
    Transaction,
    /// All that the session still brings.
    Session,
}

/// A stage as a type. Implemented by the five markers of this module and nothing else.
pub trait StageMarker: Send + Sync + 'static {
    /// What is known at this stage.
    type Facts: Facts;
    /// The same stage as a value.
    const STAGE: Stage;
}

macro_rules! markers {
    ($($(#[$doc:meta])* $name:ident => $facts:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {}

        impl StageMarker for $name {
            type Facts = $facts;
            const STAGE: Stage = Stage::$name;
        }
    )*};
}

markers! {
    /// [`Stage::Connect`] as a type.
    Connect => ConnectFacts,
    /// [`Stage::Helo`] as a type.
    Helo => HeloFacts,
    /// [`Stage::Mail`] as a type.
    Mail => MailFacts,
    /// [`Stage::Rcpt`] as a type.
    Rcpt => RcptFacts,
    /// [`Stage::EndOfData`] as a type.
    EndOfData => MessageFacts,
}
