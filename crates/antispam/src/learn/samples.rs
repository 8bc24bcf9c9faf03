//! The messages that were learnt: what each is made of, and what it was called. A log on disk that is only added to.
//!
//! ```text
//! FORMAT line
//! length u32 | CRC-32C u32 | kind u8 | digest 16 | date u64 | for each group: count, then differences of numbers
//! ```
//!
//! Numbers have the least significant octet first; counts and differences have seven bits an octet. A later record of a
//! digest replaces earlier ones; kind 3 forgets it. A record is there when all of it is: a crash leaves a torn one at the
//! end, which is cut off. A record that was damaged is left out and counted, the others stay. Nothing of a message can be
//! read back from it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::feature::{BITS, Features, Group};
use super::files::{self, Reader, put_u32, put_u64, put_varint};
use super::tokens::Read;

/// First line of the file.
const FORMAT: &[u8] = b"staffetta bayes samples 2\n";
/// How that line begins in every version.
const ANY_FORMAT: &[u8] = b"staffetta bayes samples ";
/// Why a file is none of these: the same words have other numbers there, so that no message would be known again.
const OF_ANOTHER_VERSION: &str =
    "these samples were learnt by another version, which reads messages into other features";
/// Longest record, in octets: more than any message makes.
const RECORD_BYTES_MAX: usize = 1 << 20;
/// Octets that are no longer needed before the file is written anew.
const GARBAGE_BYTES_MIN: u64 = 1 << 20;
/// Kind of a record that forgets.
const FORGOTTEN: u8 = 3;

/// What people say a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Wanted.
    Ham = 1,
    /// Not wanted.
    Spam = 2,
}

/// By what a message is known again: a digest of its features, so that what a mailbox adds to it does not matter.
pub type Digest = [u8; 16];

/// One message that was learnt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// What it is.
    pub class: Class,
    /// When it came, in seconds since 1970, by its own account; 0 when it does not say.
    pub seconds: u64,
    /// What it is made of.
    pub features: Features,
    /// The place in the order of learning.
    order: u64,
}

/// How many messages of each class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Wanted.
    pub ham: u64,
    /// Not wanted.
    pub spam: u64,
}

impl Counts {
    /// Both together.
    #[must_use]
    pub const fn all(self) -> u64 {
        self.ham.saturating_add(self.spam)
    }
}

/// What was wrong with the file when it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Damage {
    /// Records that were left out.
    pub records: u64,
    /// Octets at the end that are no record.
    pub torn_bytes: u64,
}

/// What became of a message that was to be learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It is new.
    New,
    /// It was learnt before, as the same.
    Known,
    /// It was learnt before, as the other: that is forgotten.
    Changed,
}

/// All that were learnt.
#[derive(Debug)]
pub struct Samples {
    path: PathBuf,
    live: BTreeMap<Digest, Sample>,
    counts: Counts,
    /// Octets of the file that are good.
    bytes: u64,
    live_bytes: u64,
    next: u64,
    damage: Damage,
    /// Records that are not in the file yet.
    pending: Vec<u8>,
}

impl Samples {
    /// Reads them; none when there is no file.
    ///
    /// # Errors
    /// When the file cannot be read, or is not one of these.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut bytes = Vec::new();
        match File::open(path) {
            Ok(mut file) => {
                file.read_to_end(&mut bytes)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut samples = Self::new(path);
        samples.take_in(&bytes)?;
        Ok(samples)
    }

    /// None, that will be in this file.
    fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            live: BTreeMap::new(),
            counts: Counts::default(),
            bytes: 0,
            live_bytes: 0,
            next: 0,
            damage: Damage::default(),
            pending: Vec::new(),
        }
    }

    /// Takes records in; the octets that were good.
    fn take_in(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() < FORMAT.len() && FORMAT.starts_with(bytes) {
            self.damage.torn_bytes = count(bytes.len());
            return Ok(());
        }
        let Some(records) = bytes.strip_prefix(FORMAT) else {
            let why = if bytes.starts_with(ANY_FORMAT) {
                format!("{OF_ANOTHER_VERSION}: move the file away and learn again")
            } else {
                "this is not a file of samples of Staffetta".to_owned()
            };
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        };
        let mut input = Reader::new(records);
        while !input.is_empty() {
            let left = input.len();
            let Some(record) = framed(&mut input) else {
                self.damage.torn_bytes = count(left);
                break;
            };
            match record.and_then(parsed) {
                Some((digest, sample)) => {
                    self.next += 1;
                    let sample = sample.map(|sample| Sample { order: self.next, ..sample });
                    let is_live = sample.is_some();
                    self.put(digest, sample);
                    if is_live {
                        self.live_bytes += count(left - input.len());
                    }
                }
                None => self.damage.records += 1,
            }
        }
        self.bytes = count(bytes.len()) - self.damage.torn_bytes;
        Ok(())
    }

    fn put(&mut self, digest: Digest, sample: Option<Sample>) {
        if let Some(sample) = &sample {
            *self.count_of(sample.class) += 1;
        }
        let before = match sample {
            Some(sample) => self.live.insert(digest, sample),
            None => self.live.remove(&digest),
        };
        if let Some(before) = before {
            *self.count_of(before.class) -= 1;
        }
    }

    fn count_of(&mut self, class: Class) -> &mut u64 {
        match class {
            Class::Ham => &mut self.counts.ham,
            Class::Spam => &mut self.counts.spam,
        }
    }

    /// Learns a message; kept when [`Samples::save`] is done.
    pub fn add(&mut self, read: Read, class: Class) -> Added {
        let before = self.live.get(&read.digest).map(|sample| sample.class);
        if before == Some(class) {
            return Added::Known;
        }
        self.next += 1;
        let sample = Sample { class, seconds: read.seconds, features: read.features, order: self.next };
        let start = self.pending.len();
        write_record(&mut self.pending, &read.digest, Some(&sample));
        self.live_bytes += count(self.pending.len() - start);
        self.put(read.digest, Some(sample));
        if before.is_some() { Added::Changed } else { Added::New }
    }

    /// Forgets a message; true when it was known.
    pub fn forget(&mut self, digest: &Digest) -> bool {
        let known = self.live.contains_key(digest);
        if known {
            write_record(&mut self.pending, digest, None);
            self.put(*digest, None);
        }
        known
    }

    /// Forgets the oldest of the larger class until there are `samples_max`; how many.
    pub fn bound(&mut self, samples_max: u64) -> u64 {
        let over = self.counts.all().saturating_sub(samples_max);
        let mut forgotten = 0;
        if over > 0 {
            let mut oldest = [Class::Ham, Class::Spam].map(|class| {
                let of = self.live.iter().filter(|(_, sample)| sample.class == class);
                let mut all: Vec<(u64, Digest)> =
                    of.map(|(digest, sample)| (sample.order, *digest)).collect();
                all.sort_unstable();
                all.into_iter()
            });
            let [ham, spam] = &mut oldest;
            for _ in 0..over {
                let larger = if self.counts.spam > self.counts.ham { &mut *spam } else { &mut *ham };
                let Some((_, digest)) = larger.next() else { break };
                forgotten += u64::from(self.forget(&digest));
            }
        }
        forgotten
    }

    /// Puts what has changed on disk. When that fails nothing has changed there.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn save(&mut self) -> io::Result<()> {
        let after = self.bytes + count(self.pending.len());
        let garbage = after.saturating_sub(self.live_bytes);
        if garbage > GARBAGE_BYTES_MIN && garbage > self.live_bytes {
            return self.rewrite();
        }
        if self.pending.is_empty() && self.damage.torn_bytes == 0 {
            return Ok(());
        }
        let mut file = files::for_writing(&self.path)?;
        file.set_len(self.bytes)?;
        file.seek(SeekFrom::Start(self.bytes))?;
        if self.bytes == 0 {
            file.write_all(FORMAT)?;
            self.bytes = count(FORMAT.len());
        }
        file.write_all(&self.pending)?;
        file.sync_all()?;
        self.bytes += count(self.pending.len());
        self.pending.clear();
        self.damage.torn_bytes = 0;
        Ok(())
    }

    fn rewrite(&mut self) -> io::Result<()> {
        let content = self.to_bytes();
        files::replace(&self.path, &content)?;
        self.bytes = count(content.len());
        self.live_bytes = self.bytes;
        self.pending.clear();
        self.damage = Damage::default();
        Ok(())
    }

    /// All that is known, in the order it was learnt, as octets of a file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut all: Vec<(&Digest, &Sample)> = self.live.iter().collect();
        all.sort_by_key(|(_, sample)| sample.order);
        let mut content = FORMAT.to_vec();
        for (digest, sample) in all {
            write_record(&mut content, digest, Some(sample));
        }
        content
    }

    /// Learns what another filter knew, from [`Samples::to_bytes`]; how many were new, and what was damaged.
    ///
    /// # Errors
    /// Why that is not a file of samples, or none of this version.
    pub fn import(&mut self, bytes: &[u8]) -> Result<(u64, Damage), &'static str> {
        let mut other = Self::new(Path::new(""));
        if other.take_in(bytes).is_err() {
            let is_other_version = bytes.starts_with(ANY_FORMAT);
            return Err(if is_other_version {
                OF_ANOTHER_VERSION
            } else {
                "this is not what an export gives"
            });
        }
        let mut all: Vec<(Digest, Sample)> = other.live.into_iter().collect();
        all.sort_by_key(|(_, sample)| sample.order);
        let mut new = 0;
        for (digest, sample) in all {
            let read = Read { digest, seconds: sample.seconds, features: sample.features };
            new += u64::from(self.add(read, sample.class) != Added::Known);
        }
        Ok((new, other.damage))
    }

    /// How many there are.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What was wrong with the file.
    #[must_use]
    pub fn damage(&self) -> Damage {
        self.damage
    }

    /// Octets of the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What a message was learnt as.
    #[must_use]
    pub fn class(&self, digest: &Digest) -> Option<Class> {
        self.live.get(digest).map(|sample| sample.class)
    }

    /// All of them, by their digests: an order that does not depend on when they were learnt.
    pub fn iter(&self) -> impl Iterator<Item = (&Digest, &Sample)> {
        self.live.iter()
    }

    /// A number for which messages these are, and as what; the same whatever order they came in.
    #[must_use]
    pub fn state(&self) -> u64 {
        self.live.iter().fold(0, |state, (digest, sample)| {
            let (half, _) = digest.split_at(8);
            let number = half.iter().fold(0_u64, |number, octet| (number << 8) | u64::from(*octet));
            state ^ super::feature::joined(number, sample.class as u64)
        })
    }
}

#[allow(clippy::cast_possible_truncation)] // usize has 64 bits at most.
const fn count(bytes: usize) -> u64 {
    bytes as u64
}

/// The content of the next record; within, none when its checksum is wrong. None when there is no whole record.
#[allow(clippy::option_option)] // A torn end and a damaged record are told apart.
fn framed<'a>(input: &mut Reader<'a>) -> Option<Option<&'a [u8]>> {
    let length = usize::try_from(input.u32()?).ok().filter(|length| *length <= RECORD_BYTES_MAX)?;
    let sum = input.u32()?;
    let content = input.bytes(length)?;
    Some((crc32c::crc32c(content) == sum).then_some(content))
}

fn parsed(content: &[u8]) -> Option<(Digest, Option<Sample>)> {
    let mut input = Reader::new(content);
    let kind = input.u8()?;
    let digest = input.array()?;
    let class = match kind {
        1 => Class::Ham,
        2 => Class::Spam,
        FORGOTTEN => return Some((digest, None)),
        _ => return None,
    };
    let seconds = input.u64()?;
    let mut groups: [Vec<u32>; Group::COUNT] = Default::default();
    for ids in &mut groups {
        let mut id = 0_u32;
        let length = usize::try_from(input.varint()?).ok()?;
        ids.reserve_exact(length.min(content.len()));
        for _ in 0..length {
            id = id.checked_add(input.varint()?).filter(|id| id >> BITS == 0)?;
            ids.push(id);
        }
    }
    Some((digest, Some(Sample { class, seconds, features: Features::new(groups), order: 0 })))
}

fn write_record(out: &mut Vec<u8>, digest: &Digest, sample: Option<&Sample>) {
    let mut content = Vec::new();
    content.push(sample.map_or(FORGOTTEN, |sample| sample.class as u8));
    content.extend_from_slice(digest);
    if let Some(sample) = sample {
        put_u64(&mut content, sample.seconds);
        for group in Group::ALL {
            let ids = sample.features.group(group);
            put_varint(&mut content, u32::try_from(ids.len()).unwrap_or(u32::MAX));
            let mut before = 0;
            for id in ids {
                put_varint(&mut content, id - before);
                before = *id;
            }
        }
    }
    put_u32(out, u32::try_from(content.len()).unwrap_or(u32::MAX));
    put_u32(out, crc32c::crc32c(&content));
    out.extend_from_slice(&content);
}
