//! Signs: what a letter is like as a whole, whatever it says and whoever is named in it.
//!
//! How its parts are put together, how much there is of what, and whether what it says of itself agrees: the sender with
//! the host that brought it, with the id, with the links, with where answers go. Of names only whether they are the same
//! organisation's is kept, never which. What most letters of a kind have in common is so next year and elsewhere too. Two
//! signs together are a sign of their own. Everything is bounded by what [`crate::letter`] and the header's limits leave.

use std::borrow::Cow;
use std::net::IpAddr;

use mail::header::{self, Field};
use mail_parser::DateTime;

use super::super::feature::{Gathering, Kind, hash, joined};
use super::body::registrable;
use super::header::FIELDS_MAX;
use super::words::shape;
use crate::letter::links::Host;
use crate::letter::{Letter, Text};

/// Received fields that are looked at.
const HOPS_MAX: usize = 12;
/// Longest field that is looked at, in octets.
const FIELD_BYTES_MAX: usize = 2048;
/// Parts that tell the structure.
const STRUCTURE_PARTS_MAX: usize = 6;
/// Links that are looked at.
const LINKS_MAX: usize = 100;
/// Octets of text that are counted.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// Words of the name of a mail program.
const MAILER_WORDS_MAX: usize = 3;

/// Gathers the signs of a letter.
pub(super) fn read(letter: &Letter, head: &[u8], out: &mut Gathering) {
    let said = Said::read(head);
    let mut signs = Signs::default();
    said.tell(&mut signs);
    links(letter, said.from.as_ref(), &mut signs);
    parts(letter, &mut signs);
    texts(letter, &mut signs);
    signs.gather(out);
}

/// A sign: what it is about, and how that is.
type Sign = (&'static str, Cow<'static, str>);

#[derive(Default)]
struct Signs {
    /// Those that say most together with another.
    main: Vec<Sign>,
    other: Vec<Sign>,
}

impl Signs {
    fn main(&mut self, about: &'static str, how: impl Into<Cow<'static, str>>) {
        self.main.push((about, how.into()));
    }

    fn other(&mut self, about: &'static str, how: impl Into<Cow<'static, str>>) {
        self.other.push((about, how.into()));
    }

    fn gather(self, out: &mut Gathering) {
        let number = |(about, how): &Sign| joined(hash(about), hash(how));
        for sign in self.main.iter().chain(&self.other) {
            out.hashed(Kind::Sign, number(sign), || format!("{} {}", sign.0, sign.1));
        }
        let main: Vec<(&Sign, u64)> = self.main.iter().map(|sign| (sign, number(sign))).collect();
        for (at, (first, one)) in main.iter().enumerate() {
            for (second, other) in main.iter().skip(at + 1) {
                out.hashed(Kind::SignPair, joined(*one, *other), || {
                    format!("{} {}, {} {}", first.0, first.1, second.0, second.1)
                });
            }
        }
    }
}

/// An address, as far as it matters.
struct Named {
    address: String,
    organisation: String,
    has_name: bool,
}

/// What the header says of the letter.
#[derive(Default)]
struct Said {
    from: Option<Named>,
    reply_to: Option<Named>,
    sender: Option<Named>,
    to: Vec<String>,
    has_to: bool,
    copies: usize,
    id: Option<String>,
    date: Option<String>,
    hops: Vec<Hop>,
    hops_all: usize,
    mailer: Option<String>,
    is_reply: bool,
    subject_replies: bool,
    is_listed: bool,
    is_bulk: bool,
    can_unsubscribe: bool,
    fields: usize,
}

fn text(field: &Field<'_>) -> String {
    let text = field.text();
    text.get(..text.floor_char_boundary(FIELD_BYTES_MAX)).unwrap_or_default().to_owned()
}

/// The addresses in a field.
fn addresses(value: &str) -> impl Iterator<Item = String> + '_ {
    let words = value.split(|c: char| c.is_whitespace() || ",;<>()\"'[]".contains(c));
    words
        .filter(|word| {
            word.rsplit_once('@').is_some_and(|(local, host)| !local.is_empty() && host.contains('.'))
        })
        .map(str::to_ascii_lowercase)
}

fn organisation(address: &str) -> String {
    registrable(address.rsplit('@').next().unwrap_or_default()).to_owned()
}

fn named(value: &str) -> Option<Named> {
    let address = addresses(value).last()?;
    let has_name = value.trim().len() > address.len() + 2;
    Some(Named { organisation: organisation(&address), address, has_name })
}

impl Said {
    fn read(head: &[u8]) -> Self {
        let mut said = Self::default();
        for field in header::fields(head).take(FIELDS_MAX) {
            let name = field.name().to_ascii_lowercase();
            if super::header::is_trace(&name) {
                continue;
            }
            said.fields += 1;
            match name.as_str() {
                "from" => said.from = named(&text(&field)),
                "reply-to" => said.reply_to = named(&text(&field)),
                "sender" => said.sender = named(&text(&field)),
                "to" => {
                    said.has_to = true;
                    said.to.extend(addresses(&text(&field)));
                }
                "cc" => said.copies += addresses(&text(&field)).count(),
                "message-id" => said.id = Some(text(&field)),
                "date" => said.date = Some(text(&field)),
                "received" => {
                    said.hops_all += 1;
                    if said.hops.len() < HOPS_MAX {
                        said.hops.push(Hop::read(&text(&field)));
                    }
                }
                "x-mailer" | "user-agent" => said.mailer = Some(program(&text(&field))),
                "in-reply-to" | "references" => said.is_reply = true,
                "subject" => {
                    said.subject_replies =
                        text(&field).get(..3).is_some_and(|start| start.eq_ignore_ascii_case("re:"));
                }
                "list-id" | "list-post" | "mailing-list" | "x-mailing-list" | "x-mailman-version"
                | "x-beenthere" => {
                    said.is_listed = true;
                }
                "list-unsubscribe" => said.can_unsubscribe = true,
                "precedence" => said.is_bulk = true,
                _ => {}
            }
        }
        said
    }

    fn tell(&self, signs: &mut Signs) {
        let how = match &self.from {
            None => "nobody",
            Some(from) if from.has_name => "a name",
            Some(_) => "no name",
        };
        signs.main("from", how);
        self.tell_way(signs);
        self.tell_id(signs);
        self.tell_others(signs);
        let thread = match (self.is_reply, self.subject_replies) {
            (true, true) => "answer",
            (true, false) => "renamed answer",
            (false, true) => "false answer",
            (false, false) => "new",
        };
        signs.main("thread", thread);
        let sent_to = match (self.is_listed, self.can_unsubscribe, self.is_bulk) {
            (true, ..) => "a list",
            (false, true, _) => "subscribers",
            (false, false, true) => "many",
            (false, false, false) => "somebody",
        };
        signs.main("sent to", sent_to);
        signs.main("program", self.mailer.clone().unwrap_or_else(|| "unnamed".to_owned()));
        signs.other("fields", class(self.fields));
        self.tell_date(signs);
    }

    /// Who brought it, and whether that is the sender's own host.
    fn tell_way(&self, signs: &mut Signs) {
        let is_from =
            |name: &str| self.from.as_ref().is_some_and(|from| registrable(name) == from.organisation);
        let first = self.hops.iter().find(|hop| hop.is_public());
        signs.main("brought by", first.map_or("nobody", Hop::kind));
        let own = if first.is_some_and(|hop| hop.names().any(is_from)) {
            "yes"
        } else if self.hops.iter().any(|hop| hop.names().any(is_from)) {
            "on the way"
        } else {
            "no"
        };
        signs.main("sender's own host", own);
        for hop in self.hops.iter().filter(|hop| hop.is_public()) {
            signs.other("on the way", hop.kind());
        }
        signs.other("hops", class(self.hops_all));
    }

    /// Who else is named, beside who it is from.
    fn tell_others(&self, signs: &mut Signs) {
        let from = self.from.as_ref();
        let answers = match (&self.reply_to, from) {
            (None, _) => "the sender",
            (Some(to), Some(from)) if to.address == from.address => "the sender, said again",
            (Some(to), Some(from)) if to.organisation == from.organisation => "another there",
            _ => "elsewhere",
        };
        signs.main("answers to", answers);
        let sender = match (&self.sender, from) {
            (None, _) => "none",
            (Some(sender), Some(from)) if sender.organisation == from.organisation => "same",
            _ => "other",
        };
        signs.other("sender", sender);
        let to = match self.to.as_slice() {
            [] if !self.has_to => "none",
            [] => "nobody",
            [one] if from.is_some_and(|from| from.address == *one) => "the sender",
            [_] => "one",
            _ => "several",
        };
        signs.main("to", to);
        signs.other("copies", class(self.copies));
    }

    fn tell_id(&self, signs: &mut Signs) {
        let host = self.id.as_deref().map(|id| {
            let id = id.trim().trim_matches(['<', '>']);
            id.rsplit_once('@').map_or("", |(_, host)| host)
        });
        let of = |name: &str| self.hops.iter().any(|hop| hop.names().any(|hop| registrable(hop) == name));
        let how = match (host.map(str::to_ascii_lowercase), &self.from) {
            (None, _) => "none",
            (Some(host), _) if host.is_empty() => "no host",
            (Some(host), Some(from)) if registrable(&host) == from.organisation => "the sender's",
            (Some(host), _) if !host.contains('.') => "a name alone",
            (Some(host), _) if of(registrable(&host)) => "on the way",
            _ => "of nobody",
        };
        signs.main("id", how);
        let brackets = self.id.as_deref().is_some_and(|id| id.starts_with('<') && id.ends_with('>'));
        signs.other("id in brackets", if brackets { "yes" } else { "no" });
        let left = self.id.as_deref().and_then(|id| id.split_once('@')).map_or("", |(left, _)| left);
        signs.main("id looks", shape(left));
    }

    fn tell_date(&self, signs: &mut Signs) {
        let Some(date) = &self.date else { return signs.other("date", "none") };
        let zone = date.rsplit_once(['+', '-']).map_or("none", |(_, zone)| zone);
        let is_plain = zone.len() == 4 && zone.bytes().all(|digit| digit.is_ascii_digit());
        signs.other("zone", if is_plain { "plain" } else { "odd" });
        let sent = DateTime::parse_rfc822(date.trim()).filter(DateTime::is_valid);
        let came = self.hops.iter().find_map(|hop| hop.seconds);
        if let (Some(sent), Some(came)) = (sent, came) {
            let late = came.saturating_sub(sent.to_timestamp());
            signs.main(
                "took",
                match late {
                    ..-7200 => "less than nothing",
                    -7200..-300 => "nothing",
                    -300..3600 => "minutes",
                    3600..21_600 => "hours",
                    21_600..172_800 => "a day",
                    _ => "days",
                },
            );
        } else {
            signs.main("took", "nobody knows");
        }
    }
}

/// The name of a mail program without its version.
fn program(name: &str) -> String {
    let words = name.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
    words.take(MAILER_WORDS_MAX).collect::<Vec<_>>().join(" ").to_lowercase()
}

/// What a Received field says of the host that the letter came from (RFC 5321 §4.4).
struct Hop {
    /// What it called itself.
    said: String,
    /// What its address is called.
    found: Option<String>,
    address: Option<IpAddr>,
    seconds: Option<i64>,
}

impl Hop {
    fn read(text: &str) -> Self {
        let (way, date) = text.rsplit_once(';').unwrap_or((text, ""));
        let seconds =
            DateTime::parse_rfc822(date.trim()).filter(DateTime::is_valid).map(|d| d.to_timestamp());
        let from = way.trim_start().strip_prefix("from ").unwrap_or_default();
        let from = from.split(" by ").next().unwrap_or_default();
        let address = from
            .split(['[', ']', '(', ')', ' '])
            .find_map(|word| word.trim_start_matches("IPv6:").parse::<IpAddr>().ok());
        let said = from.split_whitespace().next().unwrap_or_default().trim_matches(['[', ']', '(', ')']);
        let found = from
            .split(['(', ')', ' '])
            .skip(1)
            .map(|word| word.rsplit('@').next().unwrap_or(word))
            .find(|word| is_name(word))
            .map(str::to_ascii_lowercase);
        Self { said: said.to_ascii_lowercase(), found, address, seconds }
    }

    /// True for what came through the Internet.
    fn is_public(&self) -> bool {
        match self.address {
            Some(IpAddr::V4(v4)) => {
                !(v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified())
            }
            Some(IpAddr::V6(v6)) => !(v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local()),
            None => false,
        }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.found.as_deref().into_iter().chain([self.said.as_str()]).filter(|name| is_name(name))
    }

    /// Whether it is what it says.
    fn kind(&self) -> &'static str {
        let said_is_name = is_name(&self.said);
        match &self.found {
            Some(found) if *found == self.said => "what it says",
            Some(found) if said_is_name && registrable(found) == registrable(&self.said) => {
                "about what it says"
            }
            Some(_) if said_is_name => "another than it says",
            Some(_) if self.said.parse::<IpAddr>().is_ok() => "a name, says an address",
            Some(_) => "a name, says none",
            None if said_is_name => "no name, says one",
            None if self.said.parse::<IpAddr>().is_ok() => "no name, says an address",
            None => "no name, says none",
        }
    }
}

/// The name of a host with a domain.
fn is_name(word: &str) -> bool {
    let Some((left, end)) = word.rsplit_once('.') else { return false };
    !left.is_empty()
        && end.len() >= 2
        && end.bytes().all(|octet| octet.is_ascii_alphabetic())
        && left.bytes().all(|octet| octet.is_ascii_alphanumeric() || b".-_".contains(&octet))
}

/// Where links lead, beside the sender.
fn links(letter: &Letter, from: Option<&Named>, signs: &mut Signs) {
    let (mut own, mut all, mut addresses) = (0, 0, 0);
    let mut organisations = Vec::new();
    for link in letter.links.iter().take(LINKS_MAX) {
        all += 1;
        match &link.host {
            Host::Name(name) => {
                let organisation = registrable(name);
                own += usize::from(from.is_some_and(|from| from.organisation == organisation));
                if !organisations.contains(&organisation) {
                    organisations.push(organisation);
                }
            }
            Host::Address(_) => addresses += 1,
        }
    }
    signs.main(
        "links to",
        match (all, own) {
            (0, _) => "nowhere",
            (_, 0) if addresses > 0 => "an address",
            (_, 0) => "others",
            (all, own) if own == all => "the sender",
            _ => "the sender and others",
        },
    );
    signs.other("links", class(all));
    signs.other("organisations", class(organisations.len()));
}

fn parts(letter: &Letter, signs: &mut Signs) {
    let shown = |part: &crate::letter::Part| {
        let mark = if part.is_attachment { "!" } else { "" };
        format!("{}{}{mark}", part.depth.min(4), part.media)
    };
    let structure: Vec<String> = letter.parts.iter().take(STRUCTURE_PARTS_MAX).map(shown).collect();
    signs.main("made of", structure.join(" "));
    signs.other("parts", class(letter.parts.len()));
    for fault in &letter.faults {
        signs.other("fault", format!("{fault:?}"));
    }
}

/// How much there is of what.
#[derive(Default)]
struct Amounts {
    letters: usize,
    capitals: usize,
    digits: usize,
    foreign: usize,
    exclaims: usize,
    money: usize,
    all: usize,
}

fn texts(letter: &Letter, signs: &mut Signs) {
    let mut amounts = Amounts::default();
    let (mut source, mut hidden, mut images, mut lines, mut quoted) = (0, 0, 0, 0, 0);
    let mut longest = 0;
    for text in letter.parts.iter().filter_map(|part| part.text.as_ref()) {
        let shown = text.shown();
        let shown = shown.get(..shown.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or_default();
        amounts.count(shown);
        source += text.source().len();
        if let Text::Html(_, html) = text {
            hidden += html.hidden.len();
            images += html.tags.iter().filter(|tag| *tag == "img").count();
        } else {
            for line in shown.lines() {
                lines += 1;
                quoted += usize::from(line.starts_with('>'));
                longest = longest.max(line.trim_end().len());
            }
        }
    }
    signs.main("length", class(amounts.all));
    signs.other("shown", share(amounts.all, source));
    signs.other("hidden", share(hidden, amounts.all));
    signs.other("images", class(images));
    signs.other("quoted", share(quoted, lines));
    signs.other("longest line", if lines == 0 { Cow::Borrowed("none") } else { class(longest / 20) });
    signs.main("capitals", share(amounts.capitals, amounts.letters));
    signs.other("digits", share(amounts.digits, amounts.all));
    signs.other("foreign", share(amounts.foreign, amounts.all));
    signs.other("exclaims", class(amounts.exclaims));
    signs.other("money", class(amounts.money));
}

impl Amounts {
    fn count(&mut self, text: &str) {
        for octet in text.bytes() {
            match octet {
                b'A'..=b'Z' => self.capitals += 1,
                b'a'..=b'z' => self.letters += 1,
                b'0'..=b'9' => self.digits += 1,
                b'!' => self.exclaims += 1,
                b'$' => self.money += 1,
                b' ' | b'\t' | b'\r' | b'\n' => continue,
                128.. => self.foreign += 1,
                _ => {}
            }
            self.all += 1;
        }
        self.letters += self.capitals;
    }
}

/// How many, roughly: by doublings.
fn class(count: usize) -> Cow<'static, str> {
    match count {
        0 => Cow::Borrowed("0"),
        1 => Cow::Borrowed("1"),
        count => Cow::Owned(format!("{}+", 1_usize << count.ilog2())),
    }
}

/// What share, roughly.
fn share(part: usize, whole: usize) -> &'static str {
    if part == 0 {
        return "none";
    }
    match part.saturating_mul(100) / whole.max(1) {
        0 => "next to none",
        1 => "1 %",
        2..4 => "2 %",
        4..8 => "4 %",
        8..16 => "8 %",
        16..32 => "16 %",
        32..64 => "32 %",
        _ => "most",
    }
}
