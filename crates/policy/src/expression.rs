//! What a composite asks for: `A & !B | (C & D)` over symbols. Parsed once, evaluated without waiting.
//!
//! `!` binds closest, then `&`, then `|`. Pure; bounded in length and depth, so that no file can exhaust the stack.

use std::collections::BTreeSet;
use std::fmt;

use crate::symbol::{Symbol, is_symbol};

/// Longest expression, in octets.
pub const EXPRESSION_BYTES_MAX: usize = 4096;
/// How deep brackets and negations may nest.
pub const EXPRESSION_DEPTH_MAX: usize = 32;

/// A condition over the symbols that were seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// This symbol was seen.
    Seen(Symbol),
    /// The opposite.
    Not(Box<Self>),
    /// All of these.
    All(Vec<Self>),
    /// At least one of these.
    Any(Vec<Self>),
}

/// Why a text is no expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// Over [`EXPRESSION_BYTES_MAX`] or [`EXPRESSION_DEPTH_MAX`].
    #[error("the expression is longer than 4096 octets, or nests deeper than 32")]
    TooLarge,
    /// It ends where something must follow.
    #[error("the expression ends where a symbol or a bracket must stand")]
    Ends,
    /// Something stands where it cannot.
    #[error("`{0}` cannot stand here: symbols are joined by & and |, negated by !, grouped by ( )")]
    Unexpected(String),
}

impl Expression {
    /// Parses an expression.
    ///
    /// # Errors
    /// [`ExpressionError`].
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(ExpressionError::TooLarge);
        }
        let mut reader = Reader { rest: text };
        let all = reader.any(0)?;
        match reader.peek() {
            None => Ok(all),
            Some(_) => Err(reader.unexpected()),
        }
    }

    /// True when it holds, given which symbols were seen.
    pub fn holds(&self, seen: &dyn Fn(&Symbol) -> bool) -> bool {
        match self {
            Self::Seen(symbol) => seen(symbol),
            Self::Not(inner) => !inner.holds(seen),
            Self::All(parts) => parts.iter().all(|part| part.holds(seen)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(seen)),
        }
    }

    /// True when it could hold if none but the symbols `some` were ever seen. May say yes too often (each mention of a
    /// symbol is taken for itself), never no too often.
    pub fn could_hold(&self, some: &dyn Fn(&Symbol) -> bool) -> bool {
        self.could_be(true, some)
    }

    /// True when it could come out as `wanted`.
    fn could_be(&self, wanted: bool, some: &dyn Fn(&Symbol) -> bool) -> bool {
        match (self, wanted) {
            (Self::Seen(symbol), true) => some(symbol),
            (Self::Seen(_), false) => true,
            (Self::Not(inner), _) => inner.could_be(!wanted, some),
            (Self::All(parts), true) | (Self::Any(parts), false) => {
                parts.iter().all(|part| part.could_be(wanted, some))
            }
            (Self::All(parts), false) | (Self::Any(parts), true) => {
                parts.iter().any(|part| part.could_be(wanted, some))
            }
        }
    }

    /// Every symbol it names.
    #[must_use]
    pub fn symbols(&self) -> BTreeSet<&Symbol> {
        let mut all = BTreeSet::new();
        self.collect(&mut all, true, true);
        all
    }

    /// The symbols whose being seen it asks for: those under no `!`.
    #[must_use]
    pub fn members(&self) -> BTreeSet<&Symbol> {
        let mut all = BTreeSet::new();
        self.collect(&mut all, true, false);
        all
    }

    fn collect<'a>(&'a self, into: &mut BTreeSet<&'a Symbol>, positive: bool, both: bool) {
        match self {
            Self::Seen(symbol) => {
                if positive || both {
                    into.insert(symbol);
                }
            }
            Self::Not(inner) => inner.collect(into, !positive, both),
            Self::All(parts) | Self::Any(parts) => {
                for part in parts {
                    part.collect(into, positive, both);
                }
            }
        }
    }
}

/// With as few brackets as the meaning allows; what it prints, it parses back.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parts, sign) = match self {
            Self::Seen(symbol) => return write!(f, "{symbol}"),
            Self::Not(inner) => {
                return match **inner {
                    Self::All(_) | Self::Any(_) => write!(f, "!({inner})"),
                    _ => write!(f, "!{inner}"),
                };
            }
            Self::All(parts) => (parts, " & "),
            Self::Any(parts) => (parts, " | "),
        };
        for (number, part) in parts.iter().enumerate() {
            if number > 0 {
                f.write_str(sign)?;
            }
            match part {
                Self::Any(_) => write!(f, "({part})")?,
                Self::All(_) if sign == " & " => write!(f, "({part})")?,
                _ => write!(f, "{part}")?,
            }
        }
        Ok(())
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    /// Steps over `sign` if it stands here.
    fn take(&mut self, sign: char) -> bool {
        let there = self.peek() == Some(sign);
        if there {
            self.rest = self.rest.get(sign.len_utf8()..).unwrap_or_default();
        }
        there
    }

    fn unexpected(&self) -> ExpressionError {
        let word = self.rest.split_whitespace().next().unwrap_or_default();
        ExpressionError::Unexpected(word.chars().take(64).collect())
    }

    fn any(&mut self, depth: usize) -> Result<Expression, ExpressionError> {
        let first = self.all(depth)?;
        let mut parts = vec![first];
        while self.take('|') {
            parts.push(self.all(depth)?);
        }
        Ok(joined(parts, Expression::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Expression, ExpressionError> {
        let first = self.one(depth)?;
        let mut parts = vec![first];
        while self.take('&') {
            parts.push(self.one(depth)?);
        }
        Ok(joined(parts, Expression::All))
    }

    fn one(&mut self, depth: usize) -> Result<Expression, ExpressionError> {
        if depth >= EXPRESSION_DEPTH_MAX {
            return Err(ExpressionError::TooLarge);
        }
        if self.take('!') {
            return Ok(Expression::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.take('(') {
            let inner = self.any(depth + 1)?;
            return match self.peek() {
                Some(')') if self.take(')') => Ok(inner),
                None => Err(ExpressionError::Ends),
                Some(_) => Err(self.unexpected()),
            };
        }
        self.peek().ok_or(ExpressionError::Ends)?;
        let end =
            self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        if !is_symbol(word) {
            return Err(self.unexpected());
        }
        let symbol = Symbol::parse(word).map_err(|_| self.unexpected())?;
        self.rest = rest;
        Ok(Expression::Seen(symbol))
    }
}

fn joined(mut parts: Vec<Expression>, join: fn(Vec<Expression>) -> Expression) -> Expression {
    match (parts.len(), parts.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            parts.extend(last);
            join(parts)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn holds(text: &str, seen: &[&str]) -> bool {
        Expression::parse(text).unwrap().holds(&|symbol| seen.contains(&symbol.as_str()))
    }

    #[test]
    fn not_binds_closer_than_and_than_or() {
        let text = "A & !B | (C & D)";
        for (seen, want) in [
            (vec!["A"], true),
            (vec!["A", "B"], false),
            (vec!["A", "B", "C", "D"], true),
            (vec!["C"], false),
            (vec![], false),
        ] {
            assert_eq!(holds(text, &seen), want, "{seen:?}");
        }
        assert!(holds("!(A|B)", &[]));
        assert!(!holds("!!A", &[]));
    }

    #[test]
    fn what_is_no_expression_says_why() {
        use ExpressionError as E;
        for (text, why) in [
            ("", E::Ends),
            ("A &", E::Ends),
            ("(A", E::Ends),
            ("A B", E::Unexpected("B".into())),
            ("A & lower", E::Unexpected("lower".into())),
            ("A && B", E::Unexpected("&".into())),
            (")", E::Unexpected(")".into())),
            (&"!".repeat(100), E::TooLarge),
            (&"A".repeat(5000), E::TooLarge),
        ] {
            assert_eq!(Expression::parse(text).unwrap_err(), why, "{text}");
        }
    }

    #[test]
    fn members_are_what_is_asked_for_and_not_what_is_excluded() {
        let parsed = Expression::parse("A & !(B | !C)").unwrap();
        let names = |set: BTreeSet<&Symbol>| set.into_iter().map(Symbol::to_string).collect::<Vec<_>>();
        assert_eq!(names(parsed.members()), ["A", "C"]);
        assert_eq!(names(parsed.symbols()), ["A", "B", "C"]);
    }

    fn any_expression() -> impl Strategy<Value = Expression> {
        let leaf = "[A-D]".prop_map(|name| Expression::Seen(Symbol::parse(&name).unwrap()));
        leaf.prop_recursive(4, 32, 3, |inner| {
            prop_oneof![
                inner.clone().prop_map(|e| Expression::Not(Box::new(e))),
                prop::collection::vec(inner.clone(), 2..4).prop_map(Expression::All),
                prop::collection::vec(inner, 2..4).prop_map(Expression::Any),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_prints_parses_back(expression in any_expression()) {
            prop_assert_eq!(Expression::parse(&expression.to_string()), Ok(expression));
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "[A-C&|!() ]{0,40}") {
            let _ = Expression::parse(&text);
        }

        #[test]
        fn what_could_hold_is_never_missed(expression in any_expression(), seen in "[A-B]{0,2}") {
            let among = |symbol: &Symbol| ["A", "B"].contains(&symbol.as_str());
            if expression.holds(&|symbol| seen.contains(symbol.as_str())) {
                prop_assert!(expression.could_hold(&among));
            }
        }
    }
}
