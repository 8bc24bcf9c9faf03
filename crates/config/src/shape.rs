//! Holds a file against the shape of the settings: keys that do not exist, values of the wrong type.
//!
//! Works from the schema that the settings' types give, so that a new setting anywhere is known here at once, and finds
//! all such mistakes in one go, which a deserialiser, stopping at the first, cannot. Does not judge what a text means
//! (whether it is an address, a network...): that is the types' own parsing and [`crate::checks`].

use serde_json::Value as Schema;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::document::{Document, Place};
use crate::report::Problem;
use crate::suggest;

/// Every misspelt key and every value of the wrong type in `document`.
pub(crate) fn check(document: &Document<'_>, schema: &Schema) -> Vec<Problem> {
    let mut walk = Walk { document, top: schema, problems: Vec::new(), guessed: Vec::new() };
    walk.value(schema, document.root(), &Place::root());
    walk.problems
}

/// The schema without "or nothing", which TOML cannot write.
pub(crate) fn without_null(schema: &Schema) -> &Schema {
    let choices = schema.get("anyOf").and_then(Schema::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut some = choices.iter().filter(|choice| !has_type(choice, "null"));
    match (some.next(), some.next()) {
        (Some(only), None) => only,
        _ => schema,
    }
}

/// The texts a setting may have, when they are a fixed set.
pub(crate) fn words_of(schema: &Schema) -> Vec<String> {
    let text = |value: &Schema| value.as_str().map(ToOwned::to_owned);
    let mut words: Vec<String> =
        schema.get("enum").and_then(Schema::as_array).into_iter().flatten().filter_map(text).collect();
    words.extend(schema.get("const").and_then(text));
    words.extend(schema.get("oneOf").and_then(Schema::as_array).into_iter().flatten().flat_map(words_of));
    words
}

/// True when the schema allows `name` (a JSON Schema type).
pub(crate) fn has_type(schema: &Schema, name: &str) -> bool {
    match schema.get("type") {
        Some(Schema::String(one)) => one == name,
        Some(Schema::Array(several)) => several.iter().any(|one| one == name),
        _ => false,
    }
}

/// Goes down the file and the schema at once.
struct Walk<'a, 't> {
    document: &'a Document<'t>,
    top: &'a Schema,
    problems: Vec<Problem>,
    /// Keys that misspelt ones probably stand for: they are not missing.
    guessed: Vec<Place>,
}

impl Walk<'_, '_> {
    /// One value against its schema: a table and a list go on inside, everything else ends here.
    fn value(&mut self, schema: &Schema, value: &Spanned<DeValue<'_>>, place: &Place) {
        let schema = without_null(schema);
        let words = words_of(schema);
        match value.get_ref() {
            DeValue::Table(table) if has_type(schema, "object") => self.table(schema, table, place),
            DeValue::Array(items) if has_type(schema, "array") => {
                let item = schema.get("items").unwrap_or(&Schema::Null);
                for (index, value) in items.iter().enumerate() {
                    self.value(item, value, &place.item(index));
                }
            }
            DeValue::String(text) if !words.is_empty() => self.word(&words, text, place),
            DeValue::Integer(number) if has_type(schema, "integer") => {
                self.range(schema, number.as_str(), place);
            }
            other if fits(schema, other) => {}
            other => self.wrong_type(schema, other, place),
        }
    }

    /// Every key that is there must be known, and every key that is required must be there.
    fn table(&mut self, schema: &Schema, table: &DeTable<'_>, place: &Place) {
        let Some(known) = schema.get("properties").and_then(Schema::as_object) else { return };
        for (key, value) in table {
            let here = place.key(key.get_ref());
            match known.get(key.get_ref().as_ref()) {
                Some(schema) => self.value(schema, value, &here),
                None => self.unknown_key(key.get_ref(), known.keys().map(String::as_str), place),
            }
        }
        let required = schema.get("required").and_then(Schema::as_array).into_iter().flatten();
        for key in required.filter_map(Schema::as_str).filter(|key| !table.contains_key(*key)) {
            self.missing_key(key, known.get(key).unwrap_or(&Schema::Null), place);
        }
    }

    /// Tells what the key is for with the first sentence of its documentation: whoever forgot it may not know it.
    fn missing_key(&mut self, key: &str, schema: &Schema, place: &Place) {
        let here = place.key(key);
        if self.guessed.contains(&here) {
            return;
        }
        let meaning = schema.get("description").and_then(Schema::as_str).unwrap_or_default();
        let first = meaning.split_inclusive(['.', ':']).next().unwrap_or_default().replace('\n', " ");
        let label = format!("{} needs `{key}`", place.heading());
        let problem = Problem::error(self.document, &here, format!("`{key}` is missing")).label(label);
        let line = example(schema, &here).unwrap_or_else(|| format!("`{key} = ...`"));
        let why = first.trim_end_matches(['.', ':']);
        self.problems.push(problem.help(format!("add a line such as {line} ({})", lower_first(why))));
    }

    /// Guesses, in this order: a slip of the pen, a key of another section, else lists what there is.
    fn unknown_key<'k>(&mut self, key: &str, known: impl Iterator<Item = &'k str> + Clone, place: &Place) {
        let here = place.key(key);
        let mut problem =
            Problem::error(self.document, &here, format!("`{key}` is not a setting of {}", place.heading()))
                .at(self.document.key_span(&here));
        if let Some(near) = suggest::nearest(key, known.clone()) {
            problem = problem.label(format!("did you mean `{near}`?"));
            self.guessed.push(place.key(near));
        } else if let Some(home) = home_of(self.top, key) {
            problem = problem.label(format!("`{key}` belongs to {}", home.heading()));
            if home == Place::root() {
                problem = problem.help(format!(
                    "move it above the first [section]: what follows `{}` is read as part of it",
                    place.heading()
                ));
            }
        } else {
            problem = problem.label("unknown key");
        }
        if problem.help.is_empty() {
            let all: Vec<&str> = known.collect();
            problem = problem.help(format!("{} has {}", place.heading(), suggest::listed(&all)));
        }
        self.problems.push(problem);
    }

    /// A text that must be one of a few words.
    fn word(&mut self, words: &[String], text: &str, place: &Place) {
        if words.iter().any(|word| word == text) {
            return;
        }
        let all: Vec<&str> = words.iter().map(String::as_str).collect();
        let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        let label = match suggest::nearest(text, all.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "not one of the words it can be".to_owned(),
        };
        let key = place.last_key();
        let problem = Problem::error(self.document, place, format!("`{key}` cannot be \"{text}\""))
            .label(label)
            .help(format!("write one of {}", quoted.join(", ")));
        self.problems.push(problem);
    }

    /// A number within the bounds of its type; what it means is not judged here.
    fn range(&mut self, schema: &Schema, written: &str, place: &Place) {
        let bound = |name: &str| schema.get(name).and_then(Schema::as_f64);
        let Ok(number) = written.replace('_', "").parse::<f64>() else { return };
        let (low, high) = (bound("minimum"), bound("maximum"));
        let help = match (low, high) {
            (Some(low), Some(high)) if number < low || number > high => {
                format!("write a number from {low} to {high}")
            }
            (Some(low), _) if number < low => format!("write a number from {low} up"),
            (_, Some(high)) if number > high => format!("write a number up to {high}"),
            _ => return,
        };
        let problem =
            Problem::error(self.document, place, format!("`{}` cannot be {written}", place.last_key()))
                .label("out of range")
                .help(help);
        self.problems.push(problem);
    }

    /// Says what is wanted, what is there, and how the line should read.
    fn wrong_type(&mut self, schema: &Schema, value: &DeValue<'_>, place: &Place) {
        let (wanted, found) = (wanted(schema), found(value));
        let span = self.document.value_span(place);
        let written = span.map(|span| self.document.slice(span)).unwrap_or_default();
        let mut problem =
            Problem::error(self.document, place, format!("`{}` must be {wanted}", place.last_key()))
                .label(format!("this is {found}"));
        if let Some(fix) = fixed(schema, value, written, place) {
            problem = problem.help(format!("write {fix}"));
        }
        self.problems.push(problem);
    }
}

/// The sentence as a part of another one.
fn lower_first(words: &str) -> String {
    let mut chars = words.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

/// True when a value that is neither table nor list is of an allowed type.
fn fits(schema: &Schema, value: &DeValue<'_>) -> bool {
    let name = match value {
        DeValue::String(_) => "string",
        DeValue::Integer(_) => "integer",
        DeValue::Float(_) => "number",
        DeValue::Boolean(_) => "boolean",
        DeValue::Datetime(_) => "datetime",
        DeValue::Array(_) => "array",
        DeValue::Table(_) => "object",
    };
    let choices = ["anyOf", "oneOf"].iter().filter_map(|key| schema.get(*key).and_then(Schema::as_array));
    // A schema that does not say its type leaves the judgement to the type's own parsing.
    let says_nothing = schema.get("type").is_none() && words_of(schema).is_empty();
    has_type(schema, name)
        || (name == "integer" && has_type(schema, "number"))
        || choices.flatten().any(|choice| fits(choice, value))
        || (says_nothing && schema.get("anyOf").is_none() && schema.get("oneOf").is_none())
}

/// What the schema asks for, in words.
pub(crate) fn wanted(schema: &Schema) -> &'static str {
    let several = has_type(schema, "array");
    let sections = schema.get("items").is_some_and(|items| has_type(items, "object"));
    match schema {
        _ if !words_of(schema).is_empty() => "a word in quotes",
        _ if several && sections => "a list of sections",
        _ if several => "a list in square brackets",
        _ if has_type(schema, "string") => "text in quotes",
        _ if has_type(schema, "integer") => "a whole number",
        _ if has_type(schema, "number") => "a number",
        _ if has_type(schema, "boolean") => "true or false",
        _ => "a section",
    }
}

/// What a value is, in words.
fn found(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(items) if items.iter().any(|item| item.get_ref().is_table()) => "a list of sections",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

/// The line as it should have been, when it can be guessed from what is there.
fn fixed(schema: &Schema, value: &DeValue<'_>, written: &str, place: &Place) -> Option<String> {
    let key = place.last_key();
    let line = |value: &str| Some(format!("`{key} = {value}`"));
    match (value, schema) {
        (DeValue::String(text), _) if has_type(schema, "integer") => match amount(text) {
            Some(number) => line(&number.to_string()),
            None => Some("digits alone, without quotes or unit".to_owned()),
        },
        (DeValue::String(text), _) if has_type(schema, "boolean") => {
            let yes = ["true", "yes", "on", "1"].contains(&text.to_ascii_lowercase().as_str());
            line(if yes { "true" } else { "false" })
        }
        (DeValue::Integer(number), _) if has_type(schema, "boolean") => {
            line(if number.as_str() == "0" { "false" } else { "true" })
        }
        (DeValue::Table(_), _) if has_type(schema, "array") => Some(format!("`[{}]`", place.heading())),
        (DeValue::Array(_), _) if has_type(schema, "object") => {
            Some(format!("`{}` with single brackets, once", place.heading()))
        }
        (_, _) if has_type(schema, "object") => Some(format!("`[{place}]` on a line of its own above them")),
        (DeValue::String(_), _) if has_type(schema, "array") => line(&format!("[{written}]")),
        (_, _) if has_type(schema, "string") && words_of(schema).is_empty() => {
            example(schema, place).or_else(|| line(&format!("\"{written}\"")))
        }
        _ => None,
    }
}

/// The line `key = value` with an example value, or else the default, from the schema.
pub(crate) fn example(schema: &Schema, place: &Place) -> Option<String> {
    example_value(schema).map(|value| format!("`{} = {value}`", place.last_key()))
}

/// An example value, or else the default, as TOML.
pub(crate) fn example_value(schema: &Schema) -> Option<String> {
    let empty = |value: &Schema| value.as_str() == Some("") || value.as_array().is_some_and(Vec::is_empty);
    let given = schema.get("examples").and_then(|examples| examples.get(0));
    let value = given.or_else(|| schema.get("default").filter(|value| !empty(value)))?;
    match value {
        // Plain values, and lists of them, are written in JSON as they are in TOML.
        Schema::Object(_) | Schema::Null => None,
        Schema::Array(items) => {
            let items: Vec<String> = items.iter().map(ToString::to_string).collect();
            Some(format!("[{}]", items.join(", ")))
        }
        value => Some(value.to_string()),
    }
}

/// The schema of the setting at `place`; for an item of a list of plain values, of the list.
pub(crate) fn find<'s>(top: &'s Schema, place: &Place) -> &'s Schema {
    place.keys().fold(top, |here, key| {
        let here = without_null(here);
        let fields = here.get("items").unwrap_or(here);
        fields.get("properties").and_then(|known| known.get(key)).unwrap_or(&Schema::Null)
    })
}

/// `50MB`, `5 min` and their like as the bytes or seconds they stand for.
fn amount(text: &str) -> Option<u64> {
    let text = text.trim().replace('_', "");
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at_checked(digits)?;
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "s" | "sec" | "seconds" | "b" | "bytes" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" if number.len() < 2 => 60,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "min" | "minutes" => 60,
        "h" | "hours" => 3_600,
        "d" | "days" => 86_400,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// The section that does have a setting of this name.
fn home_of(schema: &Schema, key: &str) -> Option<Place> {
    let properties = schema.get("properties")?.as_object()?;
    if properties.contains_key(key) {
        return Some(Place::root());
    }
    properties.iter().find_map(|(section, inner)| {
        let inner = without_null(inner);
        let (list, fields) = match inner.get("items") {
            Some(items) => (true, items),
            None => (false, inner),
        };
        let known = fields.get("properties")?.as_object()?;
        let place = if list { Place::of(section).item(0) } else { Place::of(section) };
        known.contains_key(key).then_some(place)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_with_units_are_understood_for_the_hint() {
        for (text, number) in
            [("50MB", Some(50 << 20)), ("5 min", Some(300)), ("1_000", Some(1000)), ("4h", Some(14_400))]
        {
            assert_eq!(amount(text), number, "{text}");
        }
        assert_eq!(amount("soon"), None);
        assert_eq!(amount("99999999999999999999 GB"), None);
    }
}
