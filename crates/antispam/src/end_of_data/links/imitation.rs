//! Names that are made to look like others: letters of another script, digits for letters, the real name in front of the
//! real domain.
//!
//! Two names look alike when the same is left of them after every sign is replaced by the plainest one that looks like it
//! (the idea of UTS #39 §4, with a table for what names of hosts are made of). Pure.

use std::collections::{HashMap, HashSet};

/// Shortest name, without its suffix, that is compared: many short ones look alike by chance.
const LABEL_CHARS_MIN: usize = 4;

/// The protected names, by what they look like.
#[derive(Debug, Default)]
pub(super) struct Protected {
    names: HashSet<String>,
    by_look: HashMap<String, String>,
}

impl Protected {
    pub(super) fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut protected = Self::default();
        for name in names {
            let name = organisation(name);
            protected.names.insert(name.to_owned());
            let label = name.split('.').next().unwrap_or(name);
            if label.chars().count() >= LABEL_CHARS_MIN {
                protected.by_look.insert(look(&shown(name)), name.to_owned());
            }
        }
        protected
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// The protected name that this one imitates.
    pub(super) fn imitated(&self, name: &str) -> Option<&str> {
        let own = organisation(name);
        if self.has(own) || self.by_look.is_empty() {
            return None;
        }
        if let Some(whom) = self.by_look.get(&look(&shown(own))) {
            return Some(whom);
        }
        // `bank.example.login.test`: a protected name as it stands, in front of another's.
        let before = name.strip_suffix(own)?.trim_end_matches('.');
        self.by_look.values().map(String::as_str).find(|whom| {
            before.match_indices(*whom).any(|(at, _)| {
                let bytes = before.as_bytes();
                let begins = at == 0 || bytes.get(at - 1) == Some(&b'.');
                let behind = bytes.get(at + whom.len());
                begins && behind.is_none_or(|octet| *octet == b'.')
            })
        })
    }
}

fn organisation(name: &str) -> &str {
    psl::domain_str(name).unwrap_or(name)
}

/// As people see it.
fn shown(name: &str) -> String {
    if name.contains("xn--") { idna::domain_to_unicode(name).0 } else { name.to_owned() }
}

/// What is left when every sign is the plainest one that looks like it.
fn look(name: &str) -> String {
    let plain: String = name.chars().filter_map(plainest).collect();
    plain.replace("rn", "m").replace("vv", "w").replace("cl", "d")
}

fn plainest(c: char) -> Option<char> {
    let plain = match c {
        '0' | 'о' | 'ο' | 'օ' | 'ö' | 'ó' | 'ò' | 'ô' | 'õ' | 'ø' | 'ō' | 'ő' | 'ọ' => 'o',
        '1' | 'i' | 'і' | 'ı' | 'ι' | 'ӏ' | 'ï' | 'í' | 'ì' | 'î' | 'ī' | 'ł' | 'ļ' | 'ị' | '|' => {
            'l'
        }
        'а' | 'α' | 'ä' | 'á' | 'à' | 'â' | 'ã' | 'å' | 'ā' | 'ą' | 'ă' | 'ạ' => 'a',
        'е' | 'ё' | 'ε' | 'é' | 'è' | 'ê' | 'ë' | 'ē' | 'ę' | 'ė' | 'ě' | 'ẹ' | '3' => 'e',
        'с' | 'ϲ' | 'ç' | 'ć' | 'č' => 'c',
        'р' | 'ρ' => 'p',
        'у' | 'γ' | 'ý' | 'ÿ' => 'y',
        'х' | 'χ' => 'x',
        'ѕ' | 'ś' | 'š' | 'ş' | 'ș' | '5' => 's',
        'к' | 'κ' => 'k',
        'м' => 'm',
        'т' | 'τ' | 'ţ' | 'ť' | 'ț' => 't',
        'в' | 'ß' => 'b',
        'н' | 'һ' => 'h',
        'п' | 'ո' | 'η' | 'ñ' | 'ń' | 'ň' => 'n',
        'ս' | 'υ' | 'ü' | 'ú' | 'ù' | 'û' | 'ū' | 'ů' | 'ű' | 'ụ' => 'u',
        'ν' | 'ѵ' => 'v',
        'ԝ' | 'ω' => 'w',
        'ԁ' | 'ď' | 'đ' => 'd',
        'ɡ' | 'ğ' | 'ģ' | 'ġ' => 'g',
        'ј' => 'j',
        'ź' | 'ż' | 'ž' => 'z',
        'ŕ' | 'ř' | 'г' => 'r',
        '-' | '\u{2010}'..='\u{2015}' => return None,
        c => c,
    };
    Some(plain)
}

/// Scripts whose letters look like each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Script {
    Latin,
    Greek,
    Cyrillic,
    Armenian,
    Cherokee,
}

fn script(c: char) -> Option<Script> {
    Some(match u32::from(c) {
        0x41..=0x5a | 0x61..=0x7a | 0xc0..=0x24f | 0x1e00..=0x1eff => Script::Latin,
        0x370..=0x3ff | 0x1f00..=0x1fff => Script::Greek,
        0x400..=0x52f => Script::Cyrillic,
        0x530..=0x58f => Script::Armenian,
        0x13a0..=0x13ff | 0xab70..=0xabbf => Script::Cherokee,
        _ => return None,
    })
}

/// A label of the name with letters of two such scripts, as people see it.
pub(super) fn mixed_scripts(name: &str) -> Option<String> {
    if !name.contains("xn--") {
        return None;
    }
    let shown = shown(name);
    let mixed = shown.split('.').find(|label| {
        let mut scripts = label.chars().filter_map(script);
        scripts.next().is_some_and(|first| scripts.any(|other| other != first))
    });
    mixed.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ascii(name: &str) -> String {
        idna::domain_to_ascii(name).unwrap()
    }

    #[test]
    fn names_that_look_alike_are_found() {
        let protected = Protected::new(["www.mybank.com", "example.org", "ab.com"].into_iter());
        for (name, whom) in [
            ("rnybank.com", "mybank.com"),
            ("my-bank.com", "mybank.com"),
            ("login.mybаnk.com", "mybank.com"),
            ("examp1e.org", "example.org"),
            ("exämple.org", "example.org"),
            ("mybank.com.secure.net", "mybank.com"),
            ("x.mybank.com.secure.net", "mybank.com"),
        ] {
            assert_eq!(protected.imitated(&ascii(name)), Some(whom), "{name}");
        }
        for name in
            ["mybank.com", "login.mybank.com", "mybank.net", "example.com", "аb.com", "xmybank.com.net"]
        {
            assert_eq!(protected.imitated(&ascii(name)), None, "{name}");
        }
    }

    #[test]
    fn scripts_that_look_alike_are_not_mixed() {
        assert!(mixed_scripts(&ascii("pаypal.com")).is_some(), "a Cyrillic letter among Latin ones");
        for name in ["пример.com", "bücher.com", "例えばexample.com", "example.com", "παράδειγμα.com"]
        {
            assert_eq!(mixed_scripts(&ascii(name)), None, "{name}");
        }
    }
}
