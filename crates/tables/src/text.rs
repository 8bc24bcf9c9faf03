//! `text:`: lines of a key, white space, and a value; the file that `postmap` makes its indexes from.
//!
//! Keys are found in any case. White space inside a quoted part of a key belongs to it, as in `"joe smith"@a.test`;
//! the quotes too. The first of two equal keys counts, as in Postfix.

use std::collections::HashMap;
use std::path::Path;

use crate::{Answer, Contents, Entry, Row, TableError, source};

/// Keys in lower case, their values and where they stand.
#[derive(Debug)]
pub(crate) struct Text(HashMap<Box<str>, (u32, Box<str>)>);

/// Parses a file.
///
/// # Errors
/// The first line that is no key and value.
pub(crate) fn parse(file: &Path, text: &str) -> Result<Text, TableError> {
    let mut pairs = HashMap::new();
    for Row { line, key, value } in rows(file, text)? {
        let number = u32::try_from(line.unwrap_or_default()).unwrap_or(u32::MAX);
        pairs.entry(key.to_lowercase().into_boxed_str()).or_insert_with(|| (number, value.into()));
    }
    Ok(Text(pairs))
}

/// Keys and values as they are written.
///
/// # Errors
/// The first line that is no key and value.
pub(crate) fn rows(file: &Path, text: &str) -> Result<Vec<Row>, TableError> {
    let mut rows = Vec::new();
    for line in source::logical_lines(file, text)? {
        let (key, value) = split(&line.text)
            .ok_or_else(|| line.wrong(file, "there must be a key, white space and a value on each line"))?;
        if key.ends_with(':') {
            return Err(line.wrong(file, "the key ends with a colon, as in an aliases file; remove it here"));
        }
        rows.push(Row { line: Some(line.number), key: key.to_owned(), value: value.to_owned() });
    }
    Ok(rows)
}

/// Key and value; `None` when one of them is missing.
fn split(line: &str) -> Option<(&str, &str)> {
    let mut quoted = false;
    let mut escaped = false;
    let end = line.find(|c: char| {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            _ => return c.is_whitespace() && !quoted,
        }
        false
    })?;
    let (key, value) = line.split_at(end);
    let value = value.trim();
    (!value.is_empty()).then_some((key, value))
}

impl Text {
    fn get(&self, key: &str) -> Option<&(u32, Box<str>)> {
        self.0.get(key.trim().to_lowercase().as_str())
    }
}

impl Contents for Text {
    fn find(&self, key: &str) -> Answer {
        self.get(key).map_or(Answer::Absent, |(_, value)| Answer::Found(value.to_string()))
    }

    fn line_of(&self, key: &[u8]) -> Option<usize> {
        let (line, _) = self.get(std::str::from_utf8(key).ok()?)?;
        usize::try_from(*line).ok()
    }

    fn entries(&self) -> Vec<Entry> {
        let entry = |(line, value): &(u32, Box<str>)| Entry {
            line: usize::try_from(*line).ok(),
            value: value.to_string(),
            has_groups: false,
        };
        let mut entries: Vec<_> = self.0.values().map(entry).collect();
        entries.sort_by_key(|entry| entry.line);
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_in_any_case_and_the_first_of_equals_counts() {
        let text = parse(
            Path::new("t"),
            "Joe@Example.test  one two \n  three\nJOE@example.test later\n\"joe smith\"@a.test quoted\nmÜller u\n",
        )
        .unwrap();
        for (key, value) in [
            ("joe@EXAMPLE.test", Some("one two   three")),
            ("\"Joe Smith\"@a.test", Some("quoted")),
            ("MÜLLER", Some("u")),
            ("joe", None),
            ("", None),
        ] {
            let expected = value.map_or(Answer::Absent, |value| Answer::Found(value.to_owned()));
            assert_eq!(text.find(key), expected, "{key}");
        }
    }

    #[test]
    fn a_line_without_a_value_or_from_an_aliases_file_is_an_error() {
        for (text, words) in
            [("a 1\nb\n", "t:2: "), ("a: b\n", "aliases file"), ("\"a b\n", "a key, white space")]
        {
            let error = parse(Path::new("t"), text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
