//! Takes rules of SpamAssassin's over: `header`, `body`, `rawbody`, `uri`, `mimeheader`, `meta`, `score`, `describe`.
//!
//! Theirs are patterns of Perl. What this program's automaton cannot do (looking ahead or behind, back references), what a
//! plugin does and what counts matches is not taken over, and told line by line. Names become upper-case; the two
//! underscores before those that count nothing are replaced. Of `if` and `else` that part is read which a SpamAssassin of today
//! without its plugins would read. Pure.

mod settings;

use std::collections::{BTreeMap, BTreeSet};

use super::file::pattern;

/// What has become of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// Our rules.
    pub toml: String,
    /// How many they are.
    pub rules: usize,
    /// Lines that could not be taken over, with the reason.
    pub left: Vec<Left>,
}

/// A line that could not be taken over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Left {
    /// From 1.
    pub line: usize,
    /// What it begins with: the keyword and the name.
    pub what: String,
    /// Why.
    pub why: String,
}

/// Lines that change nothing of what is found.
const SILENT: [&str; 7] = ["lang", "tflags", "priority", "test", "reuse", "require_version", "version_tag"];
/// What rules of ours do without a plugin.
const BUILT_IN: [&str; 1] = ["Mail::SpamAssassin::Plugin::MIMEHeader"];

/// Lines that define a rule.
const RULES: [&str; 7] = ["header", "body", "rawbody", "full", "uri", "mimeheader", "meta"];

struct Known {
    line: usize,
    keys: String,
    names: BTreeSet<String>,
}

#[derive(Default)]
struct Importing {
    rules: BTreeMap<String, Known>,
    order: Vec<String>,
    /// With the lines they stand in.
    scores: BTreeMap<String, (usize, String)>,
    meanings: BTreeMap<String, String>,
    /// Every rule that is defined, taken over or not.
    defined: BTreeSet<String>,
    left: Vec<Left>,
    /// Of each `if` around this line, whether what follows is read.
    within: Vec<bool>,
}

/// Reads a file of SpamAssassin's.
#[must_use]
pub fn spamassassin(text: &str) -> Imported {
    let mut importing = Importing::default();
    for (number, line) in text.lines().enumerate() {
        importing.line(number + 1, line.trim());
    }
    importing.finish()
}

impl Importing {
    fn left(&mut self, line: usize, what: &str, why: impl Into<String>) {
        self.left.push(Left { line, what: what.chars().take(80).collect(), why: why.into() });
    }

    fn line(&mut self, number: usize, line: &str) {
        if line.is_empty() || line.starts_with('#') {
            return;
        }
        let (keyword, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let is_read = self.within.iter().all(|is_read| *is_read);
        match keyword {
            "if" | "ifplugin" => {
                let holds = if keyword == "if" { holds(rest) } else { BUILT_IN.contains(&rest) };
                if is_read && !holds {
                    self.left(number, line, "what depends on a plugin is left out, to its else or endif");
                }
                return self.within.push(holds);
            }
            "else" => return self.within.last_mut().into_iter().for_each(|is_read| *is_read = !*is_read),
            "endif" => {
                self.within.pop();
                return;
            }
            _ if !is_read => return,
            _ => {}
        }
        let (name, value) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let value = value.trim();
        let shown = format!("{keyword} {name}");
        let rule = match keyword {
            "score" => {
                // Four scores: without network and learning, with one, the other, both.
                let scores: Vec<_> =
                    value.split_whitespace().take_while(|word| !word.starts_with('#')).collect();
                return match scores.last().map(|score| score.parse::<f64>()) {
                    Some(Ok(score)) if score.is_finite() && score.abs() <= 100.0 => {
                        self.scores.insert(ours(name), (number, format!("{score:.1}")));
                    }
                    _ => self.left(number, &shown, "no score"),
                };
            }
            "describe" => {
                self.meanings.insert(ours(name), value.to_owned());
                return;
            }
            "header" => header(value),
            "body" => plain("body", value),
            "rawbody" => plain("rawbody", value),
            "uri" => plain("uri", value),
            "mimeheader" => mime(value),
            "meta" => meta(value),
            silent if SILENT.contains(&silent) => return,
            other => Err(settings::instead(other).unwrap_or("there is nothing like it here").to_owned()),
        };
        if RULES.contains(&keyword) {
            self.defined.insert(ours(name));
        }
        match rule {
            Ok((keys, names)) => {
                let name = ours(name);
                if self.rules.insert(name.clone(), Known { line: number, keys, names }).is_none() {
                    self.order.push(name);
                }
            }
            Err(why) => self.left(number, &shown, why),
        }
    }

    /// True when what this rule builds upon leads back to it.
    fn is_in_a_circle(&self, name: &str) -> bool {
        let (mut seen, mut next) = (BTreeSet::new(), vec![name]);
        while let Some(rule) = next.pop().and_then(|name| self.rules.get(name)) {
            if rule.names.contains(name) {
                return true;
            }
            next.extend(rule.names.iter().map(String::as_str).filter(|other| seen.insert(*other)));
        }
        false
    }

    fn finish(mut self) -> Imported {
        // A rule about one that was left out cannot hold as it was meant; so on, until none is left.
        loop {
            let missing = self.rules.iter().find_map(|(name, rule)| {
                let missing = rule.names.iter().find(|other| !self.rules.contains_key(*other))?;
                Some((name.clone(), format!("it builds upon {missing}, which is not there")))
            });
            let circle = || self.rules.keys().find(|name| self.is_in_a_circle(name)).cloned();
            let wrong = missing.or_else(|| circle().map(|name| (name, "it builds upon itself".to_owned())));
            let Some((name, why)) = wrong else { break };
            let line = self.rules.remove(&name).map_or(0, |rule| rule.line);
            self.left(line, &format!("meta {name}"), why);
        }
        for (name, (line, score)) in &self.scores {
            if !self.defined.contains(name) {
                // Of the names that both have, such as BAYES_99, and of those that are there alone.
                let why = format!(
                    "there is no rule of this name in what was read; of a symbol that `staffetta symbols` lists: {name} = {score} \
                     below [symbols] in the file of [antispam] scores"
                );
                self.left.push(Left { line: *line, what: format!("score {name}"), why });
            }
        }
        let mut out = Imported { rules: 0, toml: String::new(), left: Vec::new() };
        for name in &self.order {
            let Some(rule) = self.rules.get(name) else { continue };
            out.rules += 1;
            let mut text = format!("[[rule]]\nname = {}\n", quoted(name));
            // Those with two underscores count nothing; all others a point unless they say otherwise.
            if !name.starts_with(PART) {
                let score = self.scores.get(name).map_or("1.0", |(_, score)| score.as_str());
                text += &format!("score = {score}\n");
            }
            if let Some(meaning) = self.meanings.get(name) {
                text += &format!("meaning = {}\n", quoted(meaning));
            }
            out.toml += &format!("{text}{}\n", rule.keys);
        }
        self.left.sort_unstable();
        out.left = self.left;
        out
    }
}

/// Whether a SpamAssassin of today would read what is behind `if`: its version is new enough and it can do what is asked for, but
/// it has none of its plugins, for those are not here.
fn holds(condition: &str) -> bool {
    let condition = condition.trim();
    let (is_negated, rest) = match condition.strip_prefix('!') {
        Some(rest) => (true, rest.trim()),
        None => (false, condition),
    };
    let inside = rest.strip_prefix("plugin").map(|rest| rest.trim().trim_matches(['(', ')']).trim());
    match inside {
        Some(plugin) => BUILT_IN.contains(&plugin) != is_negated,
        // One among several conditions.
        None if rest.contains("plugin") => false,
        None => !is_negated && !rest.contains('<'),
    }
}

/// What takes the place of two underscores.
const PART: &str = "PART_";

/// A name as rules here have it.
fn ours(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    match upper.strip_prefix("__") {
        Some(rest) => format!("{PART}{}", rest.trim_start_matches('_')),
        None => upper.trim_start_matches('_').to_owned(),
    }
}

type Keys = (String, BTreeSet<String>);

fn plain(kind: &str, value: &str) -> Result<Keys, String> {
    if value.starts_with("eval:") {
        return Err("it calls a function of a plugin".to_owned());
    }
    Ok((format!("{kind} = {}\n", quoted(&perl(value)?)), BTreeSet::new()))
}

fn header(value: &str) -> Result<Keys, String> {
    if value.starts_with("eval:") {
        return Err("it calls a function of a plugin".to_owned());
    }
    if let Some(name) = value.strip_prefix("exists:") {
        return Ok((format!("header = {}\n", quoted(name.trim())), BTreeSet::new()));
    }
    let (name, operator, text) = operator(value)?;
    let (text, if_unset) =
        text.split_once("[if-unset:").map_or((text, false), |(text, _)| (text.trim(), true));
    if if_unset {
        return Err("[if-unset:] has nothing like it here".to_owned());
    }
    let (plain_name, part) = name.split_once(':').unwrap_or((name, ""));
    if !matches!(part, "" | "raw" | "addr" | "name") {
        return Err(format!("there is nothing like :{part} here"));
    }
    if plain_name.eq_ignore_ascii_case("MESSAGEID")
        || (plain_name.starts_with("X-Spam-") && plain_name.contains("elay"))
    {
        return Err(format!("there is no field {plain_name} here"));
    }
    let mut keys = format!("header = {}\nmatches = {}\n", quoted(name), quoted(&perl(text)?));
    if operator == "!~" {
        keys += "not = true\n";
    }
    Ok((keys, BTreeSet::new()))
}

fn mime(value: &str) -> Result<Keys, String> {
    let (name, operator, text) = operator(value)?;
    if name.contains(':') {
        return Err("parts of fields of parts have nothing like them here".to_owned());
    }
    let mut keys = format!("mime = {}\nmatches = {}\n", quoted(name), quoted(&perl(text)?));
    if operator == "!~" {
        keys += "not = true\n";
    }
    Ok((keys, BTreeSet::new()))
}

fn operator(value: &str) -> Result<(&str, &str, &str), String> {
    for operator in ["=~", "!~"] {
        if let Some((name, text)) = value.split_once(operator) {
            return Ok((name.trim(), operator, text.trim()));
        }
    }
    Err("there is no =~".to_owned())
}

/// A pattern of Perl's: `/x/i`, `m{x}i`.
fn perl(text: &str) -> Result<String, String> {
    let text = text.split(" #").next().unwrap_or(text).trim();
    let rest = text.strip_prefix('m').filter(|rest| !rest.starts_with(char::is_alphanumeric)).unwrap_or(text);
    let open = rest.chars().next().ok_or_else(|| "there is no pattern".to_owned())?;
    let close = match open {
        '{' => '}',
        '(' => ')',
        '[' => ']',
        '<' => '>',
        other if other.is_alphanumeric() => return Err("there is no pattern".to_owned()),
        other => other,
    };
    let inside = rest.get(open.len_utf8()..).unwrap_or_default();
    let (body, flags) = inside.rsplit_once(close).ok_or_else(|| "the pattern does not end".to_owned())?;
    let mut ours = String::new();
    for flag in flags.chars() {
        match flag {
            'i' | 'm' | 's' | 'x' => ours.push(flag),
            // Perl's ways of compiling.
            'o' | 'a' | 'u' | 'l' => {}
            _ => return Err(format!("the flag `{flag}` has nothing like it here")),
        }
    }
    let body = if open == '/' { body.replace("\\/", "/") } else { body.to_owned() };
    let body = body.replace("\\#", "#").replace("\\@", "@").replace("\\Z", "\\z");
    let whole = if ours.is_empty() { body } else { format!("(?{ours}){body}") };
    for ahead in ["(?=", "(?!", "(?<=", "(?<!", "(?>"] {
        if whole.contains(ahead) {
            return Err(format!("the pattern looks ahead, behind or holds on: {ahead}"));
        }
    }
    pattern(&whole)
}

/// `A && !B || C`, and sums compared with a number, when nothing else is in them.
fn meta(value: &str) -> Result<Keys, String> {
    let value = value.split('#').next().unwrap_or(value).trim();
    if value.contains(['+', '>', '<', '*', '-', '=']) {
        return sum(value);
    }
    let mut out = String::new();
    let mut names = BTreeSet::new();
    let mut rest = value.replace("&&", "&").replace("||", "|");
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end =
            if is_word(first) { rest.find(|c| !is_word(c)).unwrap_or(rest.len()) } else { first.len_utf8() };
        let behind = rest.split_off(end);
        match first {
            _ if first.is_ascii_digit() => return Err("there are numbers in it".to_owned()),
            _ if is_word(first) => {
                let name = ours(&rest);
                out.push_str(&name);
                names.insert(name);
            }
            '&' | '|' => out.push_str(&format!(" {first} ")),
            '!' | '(' | ')' => out.push(first),
            c if c.is_whitespace() => {}
            other => return Err(format!("`{other}` has nothing like it here")),
        }
        rest = behind;
    }
    policy::expression::Expression::parse(&out).map_err(|error| error.to_string())?;
    Ok((format!("meta = {}\n", quoted(&out)), names))
}

/// `A + B + C > 1`.
fn sum(value: &str) -> Result<Keys, String> {
    let no = || "only sums of rules that are compared with a number can be taken over".to_owned();
    let value: String = value.chars().filter(|c| !c.is_whitespace()).collect();
    let at = value.find(['>', '<', '=']).ok_or_else(no)?;
    let (left, right) = value.split_at_checked(at).ok_or_else(no)?;
    let (more, number) = match right.strip_prefix(">=") {
        Some(number) => (0, number),
        None => (1, right.strip_prefix('>').ok_or_else(no)?),
    };
    let least = number.trim_end_matches(')').parse::<usize>().map_err(|_| no())? + more;
    let left = left.trim_start_matches('(').trim_end_matches(')');
    let names: Vec<String> = left.split('+').map(ours).collect();
    let is_name = |name: &String| policy::symbol::is_symbol(name);
    if least == 0 || !names.iter().all(is_name) {
        return Err(no());
    }
    let list: Vec<_> = names.iter().map(|name| quoted(name)).collect();
    let keys = format!("at_least = {least}\nof = [{}]\n", list.join(", "));
    Ok((keys, names.into_iter().collect()))
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    if !text.contains(['\'', '\n', '\r']) && !text.chars().any(char::is_control) {
        return format!("'{text}'");
    }
    toml::Value::String(text.to_owned()).to_string()
}
