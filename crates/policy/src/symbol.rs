//! Symbols: the words in which checks say what they saw, each with points, a group and a line of meaning.
//!
//! A name is upper-case ASCII, digits and underscores (`ZEN_SBL`), so that it can stand in a header, a metric's label and
//! an expression unquoted. Which symbols there are is known before the first session: nothing a peer sends makes one.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::score::Score;

/// Longest name, in octets.
pub const SYMBOL_BYTES_MAX: usize = 64;

/// What stands for one symbol everywhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Symbol(Cow<'static, str>);

/// The text is no symbol's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a symbol is upper-case letters, digits and underscores, begins with a letter and has at most 64 of them"
)]
pub struct SymbolError;

impl Symbol {
    /// A name that is written in the program. Checked by [`crate::ScoreBook`] when the symbol is defined.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// A name from a file.
    ///
    /// # Errors
    /// [`SymbolError`].
    pub fn parse(name: &str) -> Result<Self, SymbolError> {
        if is_symbol(name) { Ok(Self(Cow::Owned(name.to_owned()))) } else { Err(SymbolError) }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// True for what may be a symbol's name.
#[must_use]
pub fn is_symbol(name: &str) -> bool {
    name.len() <= SYMBOL_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

impl From<&'static str> for Symbol {
    fn from(name: &'static str) -> Self {
        Self::new(name)
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl PartialEq<str> for Symbol {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for Symbol {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

/// A symbol as its check declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymbolDef {
    /// Its name.
    pub symbol: Symbol,
    /// Its points, unless a file says otherwise.
    pub score: Score,
    /// The group whose cap it is under.
    pub group: Option<Cow<'static, str>>,
    /// What it means, in one line for operators, without a full stop.
    pub meaning: Cow<'static, str>,
}

impl SymbolDef {
    /// A symbol that is written in the program, in no group.
    #[must_use]
    pub const fn new(name: &'static str, score: Score, meaning: &'static str) -> Self {
        Self { symbol: Symbol::new(name), score, group: None, meaning: Cow::Borrowed(meaning) }
    }

    /// A symbol that is written in the program, in a group.
    #[must_use]
    pub const fn grouped(
        name: &'static str,
        score: Score,
        group: &'static str,
        meaning: &'static str,
    ) -> Self {
        Self {
            symbol: Symbol::new(name),
            score,
            group: Some(Cow::Borrowed(group)),
            meaning: Cow::Borrowed(meaning),
        }
    }

    /// A symbol that a configuration names, such as a rule of a DNS list.
    ///
    /// # Errors
    /// [`SymbolError`].
    pub fn configured(
        name: &str,
        score: Score,
        group: Option<&str>,
        meaning: impl Into<Cow<'static, str>>,
    ) -> Result<Self, SymbolError> {
        let group = group.map(|group| Cow::Owned(group.to_owned()));
        Ok(Self { symbol: Symbol::parse(name)?, score, group, meaning: meaning.into() })
    }
}

/// The symbol that a check adds when it does not finish: `DNSBL_TIMEOUT` for `dnsbl`.
#[must_use]
pub fn timeout_symbol(check: &str) -> Symbol {
    let upper = check.bytes().map(|b| if b.is_ascii_alphanumeric() { b.to_ascii_uppercase() } else { b'_' });
    let mut name: String = upper.map(char::from).take(SYMBOL_BYTES_MAX - "_TIMEOUT".len()).collect();
    name.push_str("_TIMEOUT");
    Symbol(Cow::Owned(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_that_need_no_quotes() {
        for good in ["A", "ZEN_SBL", "X9"] {
            assert!(is_symbol(good), "{good}");
        }
        for bad in ["", "a", "_A", "9A", "A-B", "A B", "Ä", &"A".repeat(65)] {
            assert!(!is_symbol(bad), "{bad}");
        }
    }

    #[test]
    fn a_check_that_does_not_finish_is_named() {
        assert_eq!(timeout_symbol("sender-domain"), "SENDER_DOMAIN_TIMEOUT");
        assert!(is_symbol(timeout_symbol(&"x".repeat(200)).as_str()));
    }

    #[test]
    fn definitions_are_constants() {
        const HELO_BARE_IP: SymbolDef =
            SymbolDef::grouped("HELO_BARE_IP", Score::points(2), "helo", "HELO is a bare address");
        assert_eq!(HELO_BARE_IP.group.as_deref(), Some("helo"));
        assert!(SymbolDef::configured("zen", Score::ZERO, None, "x").is_err());
    }
}
