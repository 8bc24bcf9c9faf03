//! Points: how much a symbol says, how much a letter has, where a threshold lies.
//!
//! Counted in whole thousandths, so that a sum is exact, is the same in any order and on any machine, and what is
//! explained adds up to what was decided. Never a floating point number inside; files and JSON write `4.5`.

use std::borrow::Cow;
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, Neg, Sub};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number of points, exact to a thousandth. Positive speaks against a letter, negative for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Score(i32);

/// The text or number is no score: not a number, over a million, or finer than a thousandth.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a score is a number between -1000 and 1000 with at most three decimals")]
pub struct ScoreError;

impl Score {
    /// No points.
    pub const ZERO: Self = Self(0);
    /// The most that can be written in a file; sums may pass it.
    pub const WRITTEN_MAX: Self = Self(1_000_000);

    /// From thousandths of a point.
    #[must_use]
    pub const fn from_thousandths(thousandths: i32) -> Self {
        Self(thousandths)
    }

    /// From whole points; stops at the largest.
    #[must_use]
    pub const fn points(points: i32) -> Self {
        Self(points.saturating_mul(1000))
    }

    /// From tenths of a point, as most scores are written: `tenths(25)` is 2.5.
    #[must_use]
    pub const fn tenths(tenths: i32) -> Self {
        Self(tenths.saturating_mul(100))
    }

    /// From a number of points in a file.
    ///
    /// # Errors
    /// [`ScoreError`] outside of -1000 to 1000, and for what is finer than a thousandth.
    pub fn from_f64(points: f64) -> Result<Self, ScoreError> {
        let thousandths = (points * 1000.0).round();
        if !points.is_finite()
            || thousandths.abs() > f64::from(Self::WRITTEN_MAX.0)
            || (points * 1000.0 - thousandths).abs() > 1e-6
        {
            return Err(ScoreError);
        }
        #[allow(clippy::cast_possible_truncation, reason = "whole, and within a million either way")]
        Ok(Self(thousandths as i32))
    }

    /// In thousandths of a point.
    #[must_use]
    pub const fn thousandths(self) -> i32 {
        self.0
    }

    /// As a floating point number, for JSON and metrics.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / 1000.0
    }

    /// Times a factor in thousandths: `times(500)` is half. Rounded to the nearest thousandth, halves away from zero.
    #[must_use]
    pub fn times(self, factor_thousandths: i32) -> Self {
        let exact = i64::from(self.0) * i64::from(factor_thousandths);
        let half = if exact < 0 { -500 } else { 500 };
        let rounded = (exact + half) / 1000;
        Self(i32::try_from(rounded).unwrap_or(if rounded < 0 { i32::MIN } else { i32::MAX }))
    }

    /// True above zero.
    #[must_use]
    pub const fn is_positive(self) -> bool {
        self.0 > 0
    }

    /// True below zero.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// True for no points at all. A threshold of zero is switched off.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Its distance from zero.
    #[must_use]
    pub const fn abs(self) -> Self {
        Self(self.0.saturating_abs())
    }
}

impl Add for Score {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Score {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Neg for Score {
    type Output = Self;
    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl Sum for Score {
    fn sum<I: Iterator<Item = Self>>(scores: I) -> Self {
        scores.fold(Self::ZERO, |total, score| total + score)
    }
}

/// With one to three decimals: `4.0`, `-2.25`, `0.125`. A `+` format writes the sign of what is positive too.
impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0.unsigned_abs() / 1000, self.0.unsigned_abs() % 1000);
        let mut decimals = format!("{rest:03}");
        while decimals.len() > 1 && decimals.ends_with('0') {
            decimals.pop();
        }
        f.pad_integral(self.0 >= 0, "", &format!("{whole}.{decimals}"))
    }
}

impl Serialize for Score {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.as_f64())
    }
}

impl<'de> Deserialize<'de> for Score {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Number)
    }
}

/// Reads 4, 4.0 and 4.5 alike.
struct Number;

impl de::Visitor<'_> for Number {
    type Value = Score;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of points, such as 4.5")
    }

    fn visit_f64<E: de::Error>(self, points: f64) -> Result<Score, E> {
        // Sums that were stored may pass what a file may say, and were thousandths when they were written.
        #[allow(clippy::cast_possible_truncation, reason = "a float is cut to the range by `as`")]
        Score::from_f64(points).or_else(|error| {
            let fine = points.is_finite() && points.abs() > Score::WRITTEN_MAX.as_f64();
            if fine { Ok(Score((points * 1000.0).round() as i32)) } else { Err(E::custom(error)) }
        })
    }

    fn visit_i64<E: de::Error>(self, points: i64) -> Result<Score, E> {
        i32::try_from(points).map(Score::points).map_err(|_| E::custom(ScoreError))
    }

    fn visit_u64<E: de::Error>(self, points: u64) -> Result<Score, E> {
        i32::try_from(points).map(Score::points).map_err(|_| E::custom(ScoreError))
    }
}

impl JsonSchema for Score {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Score".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn scores_print_with_one_to_three_decimals() {
        for (thousandths, text, signed) in [
            (4000, "4.0", "+4.0"),
            (-2250, "-2.25", "-2.25"),
            (125, "0.125", "+0.125"),
            (0, "0.0", "+0.0"),
            (-1, "-0.001", "-0.001"),
        ] {
            assert_eq!(Score::from_thousandths(thousandths).to_string(), text);
            assert_eq!(format!("{:+}", Score::from_thousandths(thousandths)), signed);
        }
        assert_eq!(format!("{:>6}", Score::points(4)), "   4.0");
    }

    #[test]
    fn what_is_no_score_is_refused() {
        for bad in [f64::NAN, f64::INFINITY, 1000.001, -1000.5, 0.0001, 1e300] {
            assert_eq!(Score::from_f64(bad), Err(ScoreError), "{bad}");
        }
        assert_eq!(Score::from_f64(-2.3), Ok(Score::from_thousandths(-2300)));
    }

    #[test]
    fn a_factor_rounds_to_the_nearest_thousandth() {
        assert_eq!(Score::tenths(25).times(500), Score::from_thousandths(1250));
        assert_eq!(Score::from_thousandths(1).times(500), Score::from_thousandths(1));
        assert_eq!(Score::from_thousandths(-1).times(500), Score::from_thousandths(-1));
        assert_eq!(Score::from_thousandths(i32::MAX).times(2000), Score::from_thousandths(i32::MAX));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(thousandths: i32) {
            let score = Score::from_thousandths(thousandths);
            let json = serde_json::to_string(&score).unwrap();
            prop_assert_eq!(serde_json::from_str::<Score>(&json).unwrap(), score);
            let packed = rmp_serde::to_vec_named(&score).unwrap();
            prop_assert_eq!(rmp_serde::from_slice::<Score>(&packed).unwrap(), score);
        }
    }
}
