//! A user or group as operators write it: a name or a number.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A user or group: a name, or a number (in quotes or without).
///
/// Only written down here; who it is, is looked up when the server starts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Principal {
    /// A name.
    Name(String),
    /// A numeric id.
    Id(u32),
}

/// Why a text is neither.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is neither a user's name nor a number: write a name such as \"staffetta\" or a number such as 990"
)]
pub struct PrincipalError(String);

impl Principal {
    /// Reads a name or number.
    ///
    /// # Errors
    /// [`PrincipalError`] for what no system has as a name: empty, with blanks, colons or slashes.
    pub fn parse(text: &str) -> Result<Self, PrincipalError> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        let fine = |c: char| c.is_ascii_alphanumeric() || "_-.$".contains(c);
        let first = |c: char| c.is_ascii_alphabetic() || c == '_';
        if text.starts_with(first) && text.len() <= 64 && text.chars().all(fine) {
            return Ok(Self::Name(text.to_owned()));
        }
        Err(PrincipalError(text.to_owned()))
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Id(id) => write!(f, "{id}"),
        }
    }
}

impl Serialize for Principal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Name(name) => serializer.serialize_str(name),
            Self::Id(id) => serializer.serialize_u32(*id),
        }
    }
}

impl<'de> Deserialize<'de> for Principal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Visitor)
    }
}

/// Takes a text or a number.
struct Visitor;

impl serde::de::Visitor<'_> for Visitor {
    type Value = Principal;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a user's or group's name or number")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Principal, E> {
        Principal::parse(text).map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Principal, E> {
        u32::try_from(number).map(Principal::Id).map_err(|_| E::custom(PrincipalError(number.to_string())))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Principal, E> {
        u32::try_from(number).map(Principal::Id).map_err(|_| E::custom(PrincipalError(number.to_string())))
    }
}

impl JsonSchema for Principal {
    fn schema_name() -> Cow<'static, str> {
        "Principal".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Holder {
        user: Principal,
    }

    #[test]
    fn names_and_numbers_are_read_and_printed_back() {
        for (text, meant) in [
            ("user = \"vmail\"", Principal::Name("vmail".into())),
            ("user = 990", Principal::Id(990)),
            ("user = \"990\"", Principal::Id(990)),
        ] {
            let holder: Holder = toml::from_str(text).unwrap();
            assert_eq!(holder.user, meant, "{text}");
            assert_eq!(toml::from_str::<Holder>(&toml::to_string(&holder).unwrap()).unwrap(), holder);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["\"\"", "\"a b\"", "\"root:root\"", "\"../x\"", "-1", "4294967296"] {
            let error = toml::from_str::<Holder>(&format!("user = {text}")).unwrap_err();
            assert!(error.message().contains("neither a user's name"), "{text}: {error}");
        }
    }
}
