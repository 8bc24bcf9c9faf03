//! The whole book as a `scores.toml` that can be read again: what `etc/scores.toml` is made of.

use std::fmt::Write as _;

use super::{Bound, Members, ScoreBook, Worth};
use crate::symbol::Symbol;

const PREFACE: &str = "\
# What every symbol is worth. Made from the program by `staffetta symbols --toml`: these are the defaults.
#
# Your own file needs only the lines that you change; name it with `scores` in [antispam]. Points above 0 speak against a
# message, points below 0 for it. A name that the program does not know is an error.
";

impl ScoreBook {
    /// The book as the text of a `scores.toml`: what is written, [`ScoreBook::with_file`] reads back.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = PREFACE.to_owned();
        text.push_str(
            "\n# Symbols that say much the same count together up to `cap`, and take away down to `floor`.\n",
        );
        text.push_str("[groups]\n");
        for (name, group) in &self.groups {
            let mut fields = Vec::new();
            fields.extend(group.cap.map(|cap| format!("cap = {cap}")));
            fields.extend(group.floor.map(|floor| format!("floor = {floor}")));
            fields.extend(group.within.as_deref().map(|outer| format!("within = {}", quoted(outer))));
            let _ = writeln!(text, "{name} = {{ {} }}", fields.join(", "));
        }
        text.push_str("\n[symbols]\n");
        for (symbol, worth) in &self.symbols {
            if !self.composites.contains_key(symbol) {
                let _ = writeln!(text, "{symbol} = {{ {} }}", fields(worth));
            }
        }
        text.push_str("\n# Symbols that follow from others. `members` are the symbols it is made of: \"keep\" their points,\n");
        text.push_str("# or \"replace\" them by its own. While it is seen, the groups in `bounds` together add at most `cap`.\n");
        text.push_str("[composites]\n");
        for (symbol, composite) in &self.composites {
            let Some(worth) = self.symbols.get(symbol) else { continue };
            let members = match composite.members {
                Members::Keep => "keep",
                Members::Replace => "replace",
            };
            let when = quoted(&composite.when.to_string());
            let bound = composite.bound.as_ref().map(bound).unwrap_or_default();
            let _ = writeln!(
                text,
                "{symbol} = {{ when = {when}, members = {}, {bound}{} }}",
                quoted(members),
                fields(worth)
            );
        }
        text
    }

    /// Every symbol in one table row each, for `staffetta symbols`: name, points, group, meaning.
    pub fn rows(&self) -> impl Iterator<Item = [String; 4]> + '_ {
        self.symbols().map(|(symbol, worth): (&Symbol, &Worth)| {
            let group = worth.group.clone().unwrap_or_default();
            [symbol.to_string(), worth.score.to_string(), group, worth.meaning.clone()]
        })
    }
}

fn bound(bound: &Bound) -> String {
    let groups: Vec<String> = bound.groups.iter().map(|group| quoted(group)).collect();
    format!("bounds = [{}], cap = {}, ", groups.join(", "), bound.cap)
}

fn fields(worth: &Worth) -> String {
    let group = worth.group.as_deref().map(|group| format!("group = {}, ", quoted(group)));
    format!("score = {}, {}meaning = {}", worth.score, group.unwrap_or_default(), quoted(&worth.meaning))
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
