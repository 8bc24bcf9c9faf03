//! The name of a table: its kind and where it is, as `kind:place`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::TableError;

/// A table's name.
///
/// Postfix's indexed kinds (`hash:`, `btree:`, `lmdb:`, `cdb:`) read the text file that the index is made from, so
/// no index has to be built.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum Spec {
    /// `text:path`: lines of a key, white space, and a value.
    Text(PathBuf),
    /// `regexp:path`: patterns and values, the first match wins.
    Regexp(PathBuf),
    /// `pcre:path`: patterns as Perl writes them, and values, the first match wins.
    Pcre(PathBuf),
    /// `cidr:path`: networks and values, the first match wins.
    Cidr(PathBuf),
    /// `static:value`: the same value for every key.
    Static(String),
    /// `inline:{key=value, {key = value with spaces}}`: keys and values on the spot.
    Inline(Vec<(String, String)>),
}

const KINDS: &str =
    "write text:PATH, regexp:PATH, pcre:PATH, cidr:PATH, static:VALUE or inline:{KEY=VALUE, …}";

impl Spec {
    /// Parses a table's name.
    ///
    /// # Errors
    /// [`TableError::Spec`] says what to write instead.
    pub fn parse(text: &str) -> Result<Self, TableError> {
        let wrong = |why: &str| TableError::Spec { spec: text.to_owned(), why: why.to_owned() };
        let (kind, place) = text.split_once(':').ok_or_else(|| wrong(KINDS))?;
        if place.trim().is_empty() {
            return Err(wrong("after the colon there is nothing"));
        }
        match kind {
            "text" | "texthash" | "hash" | "btree" | "lmdb" | "cdb" => Ok(Self::Text(place.into())),
            "regexp" => Ok(Self::Regexp(place.into())),
            "pcre" => Ok(Self::Pcre(place.into())),
            "cidr" => Ok(Self::Cidr(place.into())),
            "static" => Ok(Self::Static(braced(place).unwrap_or(place).to_owned())),
            "inline" => pairs(place).map(Self::Inline).map_err(|why| wrong(&why)),
            _ => Err(wrong(KINDS)),
        }
    }
}

/// The inside of `{ … }`, without white space at its ends.
fn braced(text: &str) -> Option<&str> {
    text.trim().strip_prefix('{')?.strip_suffix('}').map(str::trim)
}

fn pairs(place: &str) -> Result<Vec<(String, String)>, String> {
    let inside = braced(place).ok_or("inline: wants braces around its pairs: inline:{KEY=VALUE, …}")?;
    let items = split_items(inside)?;
    if items.is_empty() {
        return Err("inline: wants at least one KEY=VALUE".to_owned());
    }
    items.into_iter().map(pair).collect()
}

/// Splits at commas and white space outside braces; an item in braces keeps both.
fn split_items(inside: &str) -> Result<Vec<&str>, String> {
    let mut items = Vec::new();
    let mut rest = inside;
    let is_separator = |c: char| c == ',' || c.is_whitespace();
    loop {
        rest = rest.trim_start_matches(is_separator);
        if rest.is_empty() {
            return Ok(items);
        }
        if rest.starts_with('{') {
            let end = closing_brace(rest).ok_or("inline: has a { without its }")?;
            let (item, after) = rest.split_at(end + 1);
            items.push(braced(item).unwrap_or_default());
            rest = after;
        } else {
            let (item, after) = rest.split_at(rest.find(is_separator).unwrap_or(rest.len()));
            items.push(item);
            rest = after;
        }
    }
}

/// Index of the brace that closes the first one.
fn closing_brace(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (place, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return Some(place),
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

fn pair(item: &str) -> Result<(String, String), String> {
    let (key, value) = item.split_once('=').ok_or_else(|| format!("`{item}` has no =; write KEY=VALUE"))?;
    let (key, value) = (key.trim(), value.trim());
    if key.is_empty() || value.is_empty() {
        return Err(format!(
            "`{item}` has an empty key or value; write KEY=VALUE, in braces if there are spaces"
        ));
    }
    Ok((key.to_owned(), value.to_owned()))
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(path) => write!(f, "text:{}", path.display()),
            Self::Regexp(path) => write!(f, "regexp:{}", path.display()),
            Self::Pcre(path) => write!(f, "pcre:{}", path.display()),
            Self::Cidr(path) => write!(f, "cidr:{}", path.display()),
            Self::Static(value) => write!(f, "static:{value}"),
            Self::Inline(pairs) => {
                f.write_str("inline:{")?;
                for (place, (key, value)) in pairs.iter().enumerate() {
                    write!(f, "{}{{{key} = {value}}}", if place == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
        }
    }
}

impl FromStr for Spec {
    type Err = TableError;
    fn from_str(text: &str) -> Result<Self, TableError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Spec {
    type Error = TableError;
    fn try_from(text: String) -> Result<Self, TableError> {
        Self::parse(&text)
    }
}

impl From<Spec> for String {
    fn from(spec: Spec) -> Self {
        spec.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inline(pairs: &[(&str, &str)]) -> Spec {
        Spec::Inline(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn names_are_read_and_printed_back() {
        for (text, spec) in [
            ("text:virtual", Spec::Text("virtual".into())),
            ("hash:/etc/postfix/virtual", Spec::Text("/etc/postfix/virtual".into())),
            ("texthash:a:b", Spec::Text("a:b".into())),
            ("regexp:r", Spec::Regexp("r".into())),
            ("pcre:p", Spec::Pcre("p".into())),
            ("cidr:c", Spec::Cidr("c".into())),
            ("static:hello there", Spec::Static("hello there".into())),
            ("static:{ hello }", Spec::Static("hello".into())),
            ("inline:{a=b}", inline(&[("a", "b")])),
            ("inline:{ a=b, c=d=e f=g }", inline(&[("a", "b"), ("c", "d=e"), ("f", "g")])),
            ("inline:{{a = b, c}, {d={e}}}", inline(&[("a", "b, c"), ("d", "{e}")])),
        ] {
            assert_eq!(Spec::parse(text).unwrap(), spec, "{text}");
            assert_eq!(Spec::parse(&spec.to_string()).unwrap(), spec, "{spec}");
        }
    }

    #[test]
    fn what_is_no_name_is_told_what_to_write() {
        for (text, words) in [
            ("virtual", "text:PATH"),
            ("mysql:/etc/x", "text:PATH"),
            ("text:", "nothing"),
            ("inline:a=b", "braces"),
            ("inline:{}", "at least one"),
            ("inline:{a}", "no ="),
            ("inline:{a=}", "empty"),
            ("inline:{{a=b}", "without its }"),
        ] {
            let error = Spec::parse(text).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains(text), "{text}: {error}");
        }
    }
}
