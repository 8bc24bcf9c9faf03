//! Looks at the files of a letter, and into archives: zip, gzip, tar, one in the other, within bounds.
//!
//! Every name and every file costs units of a purse that one letter has; when it is empty that is a sign of its own and what
//! is left is not seen. So no archive, however it is made, takes longer than the bounds say. Pure.

use std::io::Read;

use flate2::bufread::{DeflateDecoder, GzDecoder};

use super::kinds::{self, MAGIC_BYTES, Magic};
use super::zip;
use crate::letter::{Letter, Part};

/// Octets of one file of a letter that are decoded.
pub const FILE_BYTES_MAX: usize = 8 << 20;
/// Octets of all files of a letter that are decoded.
pub const DECODED_BYTES_MAX: usize = 32 << 20;
/// Octets that are unpacked, of all archives of a letter.
pub const UNPACKED_BYTES_MAX: usize = 24 << 20;
/// Archives within archives.
pub const ARCHIVES_DEPTH_MAX: usize = 4;
/// Files, in archives and outside.
pub const FILES_MAX: usize = 2_000;
/// An archive that claims to unpack to so many times what it is, is a bomb, when that is much in all.
const RATIO_MAX: u64 = 250;
/// What is much.
const MUCH_BYTES: u64 = 64 << 20;
/// Octets of a file that are decoded at first.
const HEAD_BYTES: usize = 4 << 10;
/// Characters of a name that evidence shows.
const SHOWN_CHARS_MAX: usize = 80;

/// What was seen of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sign {
    /// It is a program.
    Executable,
    /// It is a program in an archive.
    ArchivedExecutable,
    /// It is a program by its octets, and not by its name.
    Disguised,
    /// `invoice.pdf.exe`.
    DoubleExtension,
    /// Its name turns the direction of writing.
    NameReversed,
    /// It is locked.
    Encrypted,
    /// It has macros.
    Macros,
    /// It unpacks to far too much.
    Bomb,
    /// Not all of it was seen.
    Unseen,
    /// An archive of another kind.
    Opaque,
}

/// A file, as an operator's lists see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspectable {
    /// Its name in lower case; empty when it has none.
    pub name: String,
    /// Its media type, when MIME tells one.
    pub media: String,
    /// What was seen of it, or of what is in it.
    pub signs: Vec<Sign>,
    /// The part that it is, or is packed into: its place among those of the letter.
    pub part: usize,
}

impl Inspectable {
    /// Its name as it is told.
    #[must_use]
    pub fn shown(&self) -> String {
        let name = if self.name.is_empty() { &self.media } else { &self.name };
        name.chars().take(SHOWN_CHARS_MAX).collect()
    }
}

/// What was seen in a letter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspected {
    /// Each sign once, with the file that showed it first.
    pub signs: Vec<(Sign, String)>,
    /// Its files, at most [`FILES_MAX`].
    pub files: Vec<Inspectable>,
    /// What it has cost: octets decoded and unpacked, and headers read.
    pub units: u64,
}

/// True for a part that may be a file: it has a name, is meant as one, or is no text.
#[must_use]
pub fn is_file(part: &Part) -> bool {
    let is_text = part.text.is_some() || matches!(part.media.as_str(), "text/plain" | "text/html");
    !part.is_container() && (!part.names.is_empty() || part.is_attachment || !is_text)
}

impl Inspected {
    /// Looks at all files of a letter.
    #[must_use]
    pub fn of(letter: &Letter) -> Self {
        let mut purse = Purse {
            out: Self::default(),
            decoded_left: DECODED_BYTES_MAX,
            unpacked_left: UNPACKED_BYTES_MAX,
            current: 0,
        };
        for (number, part) in letter.parts.iter().enumerate().filter(|(_, part)| is_file(part)) {
            purse.current = number;
            purse.part(letter, part);
        }
        purse.out
    }
}

struct Purse {
    out: Inspected,
    decoded_left: usize,
    unpacked_left: usize,
    /// The part that is looked at.
    current: usize,
}

/// A file on its way: where it lies, and under which entry its signs are kept.
#[derive(Clone, Copy)]
struct Place {
    number: usize,
    depth: usize,
}

impl Purse {
    fn part(&mut self, letter: &Letter, part: &Part) {
        let name = part.names.first().map_or("", String::as_str);
        let Some(number) = self.file(name, &part.media) else { return };
        let place = Place { number, depth: 0 };
        if kinds::is_executable_media(&part.media) {
            self.sign(place, Sign::Executable, name);
        }
        // Each name that it is given by somebody: programs differ in which one they take.
        for name in &part.names {
            self.named(place, name);
        }
        let mut octets = self.decoded(letter, part, HEAD_BYTES);
        let kind = kinds::magic(&octets);
        if octets.len() == HEAD_BYTES
            && kind.is_some_and(|kind| !matches!(kind, Magic::Executable | Magic::Opaque))
        {
            octets = self.decoded(letter, part, FILE_BYTES_MAX);
            if octets.len() >= FILE_BYTES_MAX {
                self.sign(place, Sign::Unseen, name);
            }
        }
        self.contents(place, name, &octets);
    }

    fn decoded(&mut self, letter: &Letter, part: &Part, bytes_max: usize) -> Vec<u8> {
        let octets = letter.decoded(part, bytes_max.min(self.decoded_left));
        self.decoded_left -= octets.len().min(self.decoded_left);
        self.out.units += octets.len() as u64;
        octets
    }

    /// Makes an entry for a file; none when there are too many.
    fn file(&mut self, name: &str, media: &str) -> Option<usize> {
        self.out.units += 1;
        let number = self.out.files.len();
        if number >= FILES_MAX {
            self.sign(Place { number: 0, depth: 0 }, Sign::Unseen, "too many files");
            return None;
        }
        let name: String = kinds::compared(name);
        self.out.files.push(Inspectable {
            name,
            media: media.to_owned(),
            signs: Vec::new(),
            part: self.current,
        });
        Some(number)
    }

    fn sign(&mut self, place: Place, sign: Sign, name: &str) {
        if let Some(file) = self.out.files.get_mut(place.number)
            && !file.signs.contains(&sign)
        {
            file.signs.push(sign);
        }
        if !self.out.signs.iter().any(|(seen, _)| *seen == sign) {
            let shown = name.chars().filter(|c| !kinds::is_turning(*c)).take(SHOWN_CHARS_MAX).collect();
            self.out.signs.push((sign, shown));
        }
    }

    /// What a name tells.
    fn named(&mut self, place: Place, name: &str) {
        if name.chars().any(kinds::is_turning) {
            self.sign(place, Sign::NameReversed, name);
        }
        let compared = kinds::compared(name);
        let ending = kinds::ending(&compared);
        if kinds::is_executable(ending) {
            self.sign(place, executable(place), name);
        }
        if kinds::is_double(&compared) {
            self.sign(place, Sign::DoubleExtension, name);
        }
        if kinds::has_macros_by_name(ending) {
            self.sign(place, Sign::Macros, name);
        }
        if compared.ends_with("vbaproject.bin") {
            self.sign(place, Sign::Macros, name);
        }
    }

    /// What the octets of a file tell, as far as they are there.
    fn contents(&mut self, place: Place, name: &str, octets: &[u8]) {
        match kinds::magic(octets) {
            Some(Magic::Executable) => {
                self.sign(place, executable(place), name);
                let compared = kinds::compared(name);
                let ending = kinds::ending(&compared);
                if !ending.is_empty() && !kinds::is_executable(ending) && ending != "bin" {
                    self.sign(place, Sign::Disguised, name);
                }
            }
            Some(Magic::Ole) => {
                if kinds::ole_has_macros(octets) {
                    self.sign(place, Sign::Macros, name);
                }
                if kinds::ole_is_encrypted(octets) {
                    self.sign(place, Sign::Encrypted, name);
                }
            }
            Some(Magic::Opaque) => self.sign(place, Sign::Opaque, name),
            Some(_) if place.depth >= ARCHIVES_DEPTH_MAX => self.sign(place, Sign::Unseen, name),
            Some(Magic::Zip) => self.zip(place, name, octets),
            Some(Magic::Gzip) => self.gzip(place, name, octets),
            Some(Magic::Tar) => self.tar(place, name, octets),
            None => {}
        }
    }

    fn zip(&mut self, place: Place, name: &str, octets: &[u8]) {
        for entry in zip::entries(octets) {
            let Some(inner) = self.inner(place, &entry.name) else { return };
            if entry.is_encrypted {
                self.sign(inner, Sign::Encrypted, name);
                self.sign(place, Sign::Encrypted, name);
            }
            let claims_much = entry.unpacked > MUCH_BYTES && entry.unpacked / entry.packed.max(1) > RATIO_MAX;
            if claims_much {
                self.sign(place, Sign::Bomb, name);
            }
            // What a directory repeats was read where it lies.
            let Some(data) = entry.data.and_then(|at| octets.get(at..)).filter(|_| !entry.is_encrypted)
            else {
                continue;
            };
            // It says nothing where it is told behind the file.
            let claimed = usize::try_from(entry.packed).unwrap_or(usize::MAX);
            let packed = if claimed == 0 { data.len() } else { claimed.min(data.len()) };
            let unpacked = match entry.method {
                zip::STORED => data.get(..HEAD_BYTES).unwrap_or(data).to_vec(),
                zip::DEFLATED => self.unpacked(place, name, packed, DeflateDecoder::new(data)),
                _ => {
                    self.sign(place, Sign::Opaque, name);
                    continue;
                }
            };
            // A stored archive lies open: its entries are found among those of this one.
            let is_open = entry.method == zip::STORED && kinds::magic(&unpacked) == Some(Magic::Zip);
            if !is_open {
                self.contents(inner, &entry.name, &unpacked);
            }
        }
    }

    fn gzip(&mut self, place: Place, name: &str, octets: &[u8]) {
        let decoder = GzDecoder::new(octets);
        let named = decoder
            .header()
            .and_then(|header| header.filename())
            .map(|name| String::from_utf8_lossy(name).into_owned());
        let compared = kinds::compared(name);
        let outer = compared
            .strip_suffix(".gz")
            .unwrap_or(compared.strip_suffix(".tgz").unwrap_or(&compared))
            .to_owned();
        let inner_name = named.unwrap_or(outer);
        let unpacked = self.unpacked(place, name, octets.len(), decoder);
        let Some(inner) = self.inner(place, &inner_name) else { return };
        self.contents(inner, &inner_name, &unpacked);
    }

    fn tar(&mut self, place: Place, name: &str, octets: &[u8]) {
        const BLOCK: usize = 512;
        let mut rest = octets;
        while let Some(header) = rest.get(..BLOCK) {
            let text = |from: usize, length: usize| {
                let field = header.get(from..from + length).unwrap_or_default();
                let end = field.iter().position(|octet| *octet == 0).unwrap_or(field.len());
                String::from_utf8_lossy(field.get(..end).unwrap_or_default()).trim().to_owned()
            };
            let entry = text(0, 100);
            if entry.is_empty() || text(257, 5) != "ustar" {
                return;
            }
            let Ok(size) = usize::from_str_radix(&text(124, 12), 8) else { return };
            let data = rest.get(BLOCK..).unwrap_or_default();
            let data = data.get(..size).unwrap_or(data);
            let Some(inner) = self.inner(place, &entry) else { return };
            self.contents(inner, &entry, data);
            let next = size.div_ceil(BLOCK).saturating_mul(BLOCK).saturating_add(BLOCK);
            if next >= rest.len() && size > data.len() {
                self.sign(place, Sign::Unseen, name);
            }
            rest = rest.get(next..).unwrap_or_default();
        }
    }

    /// An entry for a file in an archive, with what its name tells.
    fn inner(&mut self, place: Place, name: &str) -> Option<Place> {
        let inner = Place { number: self.file(name, "")?, depth: place.depth + 1 };
        self.named(inner, name);
        Some(inner)
    }

    /// Unpacks the beginning of a file; all of it, within the purse, when it is an archive itself.
    fn unpacked(&mut self, place: Place, name: &str, packed: usize, mut from: impl Read) -> Vec<u8> {
        let mut out = Vec::new();
        let head = MAGIC_BYTES.min(self.unpacked_left) as u64;
        // What is broken has given what it could.
        let _ = from.by_ref().take(head).read_to_end(&mut out);
        let goes_on =
            kinds::magic(&out).is_some_and(|kind| !matches!(kind, Magic::Executable | Magic::Opaque));
        if goes_on && out.len() == MAGIC_BYTES {
            let all = FILE_BYTES_MAX.min(self.unpacked_left.saturating_sub(out.len()));
            let _ = from.take(all as u64).read_to_end(&mut out);
            if out.len() >= all {
                self.sign(place, Sign::Unseen, name);
                if out.len() as u64 / (packed.max(1) as u64) > RATIO_MAX {
                    self.sign(place, Sign::Bomb, name);
                }
            }
        }
        if self.unpacked_left == 0 {
            self.sign(place, Sign::Unseen, name);
        }
        self.unpacked_left -= out.len().min(self.unpacked_left);
        self.out.units += out.len() as u64;
        out
    }
}

fn executable(place: Place) -> Sign {
    if place.depth > 0 { Sign::ArchivedExecutable } else { Sign::Executable }
}
