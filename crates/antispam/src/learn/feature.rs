//! What a message is made of, as the classifier sees it: features, each a number made from a kind and its words.
//!
//! A number of 26 bits stands for each; the words are kept only where somebody asks what decided. The numbers are the same
//! in every version and on every machine: they are on disk. Two features may share a number; with a million features in
//! use that is so for one or two in a hundred, and costs nothing that can be measured.

use std::collections::BTreeMap;

/// Bits of a feature's number.
pub const BITS: u32 = 26;

/// Features that are weighed together by one expert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Words of text and subject, in pairs too, and how the text is laid out.
    Text,
    /// Pieces of five characters of the beginning of the text: what is spelled in new ways, and languages without spaces.
    Grams,
    /// How the header is written: not what it says, but what it looks like.
    Style,
    /// Who is named: addresses, domains, link targets.
    Origin,
    /// The way it came: Received, and what lists add.
    Transport,
    /// What it is like as a whole, and whether what it says of itself agrees; no words and no names.
    Signs,
}

impl Group {
    /// All, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Text, Self::Grams, Self::Style, Self::Origin, Self::Transport, Self::Signs];
    /// How many there are.
    pub const COUNT: usize = 6;

    /// Its number.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its name in explanations.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Grams => "grams",
            Self::Style => "style",
            Self::Origin => "origin",
            Self::Transport => "transport",
            Self::Signs => "signs",
        }
    }
}

macro_rules! kinds {
    ($($group:ident { $($kind:ident = $number:literal $name:literal),+ $(,)? })+) => {
        /// What a feature is about. The numbers are on disk: they are never given to another kind.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[doc = $name] $kind = $number,)+)+
        }

        impl Kind {
            /// The group it is in.
            #[must_use]
            pub const fn group(self) -> Group {
                match self { $($(Self::$kind)|+ => Group::$group,)+ }
            }

            /// Its name in explanations.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $($(Self::$kind => $name,)+)+ }
            }
        }
    };
}

kinds! {
    Text {
        Word = 1 "word", Pair = 2 "pair", Case = 3 "case", Quote = 4 "quote", Tag = 5 "tag", TagPair = 6 "tags",
        Long = 7 "long", UrlShape = 8 "url shape", UrlPath = 9 "url path", Attachment = 10 "attachment",
        Subject = 11 "subject", SubjectPair = 12 "subject pair", Hidden = 13 "hidden"
    }
    Grams { Gram = 20 "gram" }
    Style {
        Shape = 30 "shape", Value = 31 "value", NameWord = 32 "name", Part = 33 "part", AddressTld = 34 "address tld",
        FieldOrder = 35 "field order", FieldName = 36 "field"
    }
    Origin { Address = 40 "address", AddressDomain = 41 "address domain", UrlDomain = 42 "url domain", UrlTld = 43 "url tld" }
    Transport { Received = 50 "received", ReceivedShape = 51 "received shape", Other = 52 "other field" }
    Signs { Sign = 60 "sign", SignPair = 61 "signs" }
}

/// The features of one message: numbers, ascending, none twice, for each group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Features {
    groups: [Vec<u32>; Group::COUNT],
}

impl Features {
    /// Those of one group.
    #[must_use]
    pub fn group(&self, group: Group) -> &[u32] {
        self.groups.get(group.index()).map_or(&[], Vec::as_slice)
    }

    /// From numbers in any order.
    #[must_use]
    pub fn new(mut groups: [Vec<u32>; Group::COUNT]) -> Self {
        for ids in &mut groups {
            ids.sort_unstable();
            ids.dedup();
        }
        Self { groups }
    }
}

/// What features are called, for explanations.
pub type Names = BTreeMap<(Group, u32), String>;

/// Gathers features.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    groups: [Vec<u32>; Group::COUNT],
    names: Option<Names>,
}

impl Gathering {
    /// With the words of each kept, when `named`.
    pub(super) fn new(named: bool) -> Self {
        let mut groups: [Vec<u32>; Group::COUNT] = Default::default();
        let [text, grams, ..] = &mut groups;
        text.reserve(2048);
        grams.reserve(4096);
        Self { groups, names: named.then(Names::new) }
    }

    /// A feature by the hash of its words.
    pub(super) fn hashed(&mut self, kind: Kind, hash: u64, name: impl FnOnce() -> String) {
        let id = id(kind, hash);
        let group = kind.group();
        if let Some(ids) = self.groups.get_mut(group.index()) {
            ids.push(id);
        }
        if let Some(names) = &mut self.names {
            names.entry((group, id)).or_insert_with(|| format!("{}: {}", kind.as_str(), name()));
        }
    }

    /// A feature by its words, in lower case whatever they are in.
    pub(super) fn add(&mut self, kind: Kind, words: &str) {
        self.hashed(kind, hash(words), || words.to_lowercase());
    }

    /// A feature by a class and words within it: a field's name and a word of it.
    pub(super) fn add_in(&mut self, kind: Kind, class: &str, words: &str) {
        self.hashed(kind, joined(hash(class), hash(words)), || {
            format!("{} {}", class.to_lowercase(), words.to_lowercase())
        });
    }

    /// A feature by its words in the case they are in.
    pub(super) fn exact(&mut self, kind: Kind, class: &str, words: &str) {
        self.hashed(kind, joined(hash(class), hash_exact(words)), || {
            format!("{} {words}", class.to_lowercase())
        });
    }

    /// What was gathered.
    pub(super) fn finish(self) -> (Features, Names) {
        (Features::new(self.groups), self.names.unwrap_or_default())
    }
}

/// FNV-1a's offset and prime, of 64 bits.
const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// FNV-1a over the lower-case octets.
pub(super) fn hash(words: &str) -> u64 {
    let step = |hash: u64, octet: u8| (hash ^ u64::from(octet)).wrapping_mul(PRIME);
    if words.is_ascii() {
        return words.bytes().fold(OFFSET, |hash, octet| step(hash, octet.to_ascii_lowercase()));
    }
    let mut buffer = [0; 4];
    words
        .chars()
        .flat_map(char::to_lowercase)
        .fold(OFFSET, |hash, c| c.encode_utf8(&mut buffer).bytes().fold(hash, step))
}

/// FNV-1a over the octets.
fn hash_exact(words: &str) -> u64 {
    words.bytes().fold(OFFSET, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(PRIME))
}

/// The hash of two things in their order.
pub(super) const fn joined(first: u64, second: u64) -> u64 {
    mixed(first.rotate_left(23).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ second)
}

/// All bits of the result depend on all bits of the value.
pub(super) const fn mixed(value: u64) -> u64 {
    let value = (value ^ (value >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    value ^ (value >> 32)
}

/// The number of a feature.
#[allow(clippy::cast_possible_truncation)] // BITS bits are left.
fn id(kind: Kind, hash: u64) -> u32 {
    let whole =
        mixed(hash ^ (kind as u64).wrapping_mul(0x2545_f491_4f6c_dd1d)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (whole >> (64 - BITS)) as u32
}
