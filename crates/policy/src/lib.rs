//! The pipeline: facts in, checks asked, symbols scored, a verdict out, and why.
//!
//! ```text
//! facts of a stage ─▶ Checks::run ─▶ StageReport ─▶ Dossier ─▶ composites ─▶ group caps ─▶ score ─▶ Verdict ─▶ Reply
//! ```
//!
//! Never looks anything up itself: that is the checks' work, and they are elsewhere. Scoring and judging are pure; they
//! read no clock, no environment and no socket, and give the same verdict for the same findings in any order (invariant
//! I5). A list of DNS never rejects a message, and all lists together cannot. What is certain (`ruling`) is kept apart
//! from what is probable (`score`).

pub mod auth;
pub mod book;
pub mod check;
pub mod dossier;
pub mod explain;
pub mod expression;
pub mod facts;
pub mod headers;
pub mod judge;
pub mod mode;
pub mod pipeline;
pub mod record;
pub mod ruling;
pub mod score;
pub mod stage;
pub mod symbol;
pub mod tally;
pub mod thresholds;
pub mod verdict;

pub use auth::{
    ArcFact, AuthFacts, AuthResult, DkimFact, DmarcFact, DmarcPolicy, IprevFact, SpfFact, SpfIdentity,
};
pub use book::{Bound, CompositeDef, DefinitionError, Definitions, GroupDef, Members, ScoreBook};
pub use check::{Check, CheckSettings, DnsAnswer, Finding, Findings, OnUnknown, Work};
pub use dossier::{Dossier, Evidence};
pub use facts::{
    Addressed, BeforeGreeting, ConnectFacts, Content, Door, Facts, HeloFacts, MailFacts, MessageFacts,
    RcptFacts, Shared,
};
pub use judge::{
    AfterData, AfterDataRecipient, AtRcpt, Client, Decision, Greylist, Greylisting, MessageDecision,
    after_data, at_rcpt,
};
pub use mode::Mode;
pub use pipeline::{CheckEnd, CheckTime, Checks, Pipeline, StageReport, Unfinished};
pub use record::{About, RECORD_BYTES_MAX, RecipientRecord, VerdictRecord};
pub use ruling::{Order, Ruling, Source};
pub use score::{Score, ScoreError};
pub use stage::{Connect, EndOfData, Helo, Mail, Rcpt, Scope, Stage, StageMarker};
pub use symbol::{Symbol, SymbolDef, SymbolError, timeout_symbol};
pub use tally::Tally;
pub use thresholds::{Rules, Setting, Threshold, ThresholdOverrides, Thresholds};
pub use verdict::{Action, DecidedBy, Verdict};
