//! Which hashes are known, until when, and in which pack each is kept: the numbers behind [`super::Hashes`].
//!
//! A pack is what one row of the state store holds: an octet that names the format, and hashes of [`HASH_BYTES`] octets. All
//! of a pack expire together. One pack is open: hashes go into it until it is full, or an hour old, and it is written anew as
//! it grows.
//!
//! Pure; time is passed in. Bounded in hashes and in packs: beyond that, what expires soonest goes, in the store as well. What
//! was written by others, or in another format, is passed over.

use std::collections::{HashMap, HashSet};

use mail::Timestamp;

use super::known::Known;

/// Octets of a hash: of half a million, one in 10^8 guesses is right.
pub const HASH_BYTES: usize = 6;
/// Hashes that are known at most: 4 MB, and 1 MB for the latest and the packs. A letter that opens a thread takes two.
pub(super) const HASHES_MAX: usize = 1 << 19;
/// Packs that there are at most.
pub(super) const PACKS_MAX: usize = 16_384;
/// Hashes of a pack: a row of 1 KiB. Larger ones would save little, and cost more while they grow.
pub(super) const PACK_HASHES_MAX: usize = 170;
/// Packs that wait to be written at most; of more, the first are known until a restart only.
pub(super) const WAITING_MAX: usize = 1_024;
/// The part of all hashes that goes at once when there is no room.
const GIVES_WAY: usize = HASHES_MAX / 8;
/// How long a pack is open: its hashes are known for so much longer than was asked for, at most.
const OPEN_SECONDS: u64 = 3_600;
/// A hash is renewed when so much of its time is over, or half of it.
const RENEWED_SECONDS: u64 = 86_400;
/// The first octet of a pack.
const FORMAT: u8 = 1;

/// A hash that is remembered.
pub type Hash = [u8; HASH_BYTES];
/// What a pack is called in the store, behind its prefix: when it was opened, and its number.
pub(super) type Name = [u8; 10];

/// A pack as it is to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) name: Name,
    pub(super) value: Vec<u8>,
    /// Seconds since 1970.
    pub(super) expires: u64,
    number: u16,
}

/// What there is to write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Unsaved {
    /// In this order: a pack may be there twice, the later one holds more.
    pub(super) rows: Vec<Row>,
    /// Packs that gave way.
    pub(super) gone: Vec<Name>,
}

#[derive(Debug)]
struct Pack {
    name: Name,
    expires: u64,
    /// Hashes that were put in; some may have gone over to a later one.
    hashes: usize,
}

/// The pack that is being filled.
#[derive(Debug)]
struct Open {
    number: u16,
    ttl_seconds: u64,
    /// When it was opened, in seconds.
    since: u64,
    hashes: Vec<Hash>,
    unsaved: bool,
}

/// See above.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// The hashes, each with the number of its pack.
    known: Known,
    packs: HashMap<u16, Pack>,
    open: Option<Open>,
    waiting: Unsaved,
    /// The number of the latest pack.
    latest: u16,
    /// When expired ones were last removed, in seconds.
    swept: u64,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// True when this hash was put in, and has not expired.
    pub(super) fn has(&self, hash: &Hash, now: Timestamp) -> bool {
        self.expires(hash).is_some_and(|expires| expires > now.seconds())
    }

    fn expires(&self, hash: &Hash) -> Option<u64> {
        Some(self.packs.get(&self.known.get(hash)?)?.expires)
    }

    /// Knows a hash for `ttl_seconds` at least. False when nothing has changed: it was known for about as long.
    pub(super) fn note(&mut self, hash: Hash, ttl_seconds: u64, now: Timestamp) -> bool {
        let fresh = ttl_seconds - RENEWED_SECONDS.min(ttl_seconds / 2);
        if self.expires(&hash).is_some_and(|expires| expires > now.seconds().saturating_add(fresh)) {
            return false;
        }
        let fits = |open: &Open| {
            open.hashes.len() < PACK_HASHES_MAX
                && open.ttl_seconds == ttl_seconds
                && now.seconds().saturating_sub(open.since) < OPEN_SECONDS
        };
        if !self.open.as_ref().is_some_and(fits) {
            self.begin(ttl_seconds, now);
        }
        let Some(open) = &mut self.open else { return false };
        open.hashes.push(hash);
        open.unsaved = true;
        self.known.insert(hash, open.number);
        if let Some(pack) = self.packs.get_mut(&open.number) {
            pack.hashes += 1;
        }
        true
    }

    /// Knows what was kept. Of a hash that is in several packs, the one that expires last counts.
    pub(super) fn load(&mut self, name: &[u8], value: &[u8], expires: u64) {
        let (Some((&FORMAT, rest)), Ok(name)) = (value.split_first(), name.try_into()) else { return };
        let (hashes, _) = rest.as_chunks::<HASH_BYTES>();
        let is_news = |hash: &&Hash| self.expires(hash).is_none_or(|known| known < expires);
        let hashes: Vec<Hash> = hashes.iter().take(PACK_HASHES_MAX).filter(is_news).copied().collect();
        if hashes.is_empty() {
            return;
        }
        self.make_room();
        let number = self.number();
        self.packs.insert(number, Pack { name, expires, hashes: hashes.len() });
        hashes.into_iter().for_each(|hash| self.known.insert(hash, number));
    }

    /// Closes the open pack and opens another one.
    fn begin(&mut self, ttl_seconds: u64, now: Timestamp) {
        let row = self.open.as_ref().filter(|open| open.unsaved).and_then(|open| self.row(open));
        self.open = None;
        if let Some(row) = row {
            self.wait(row);
        }
        if now.seconds().saturating_sub(self.swept) >= OPEN_SECONDS {
            self.swept = now.seconds();
            let expired =
                self.packs.iter().filter(|(_, pack)| pack.expires <= now.seconds()).map(|(n, _)| *n);
            let expired = expired.collect();
            // The store removes them by itself.
            self.forget(&expired);
        }
        self.make_room();
        let number = self.number();
        let (time, count) = (now.0.to_be_bytes(), number.to_be_bytes());
        let mut name = Name::default();
        name.iter_mut().zip(time.iter().chain(&count)).for_each(|(place, octet)| *place = *octet);
        let expires = now.seconds().saturating_add(ttl_seconds).saturating_add(OPEN_SECONDS);
        self.packs.insert(number, Pack { name, expires, hashes: 0 });
        self.open =
            Some(Open { number, ttl_seconds, since: now.seconds(), hashes: Vec::new(), unsaved: false });
    }

    /// A number that no pack has.
    fn number(&mut self) -> u16 {
        loop {
            self.latest = self.latest.wrapping_add(1);
            if !self.packs.contains_key(&self.latest) {
                return self.latest;
            }
        }
    }

    /// Sees to it that there is room for another pack and what it will hold.
    fn make_room(&mut self) {
        let has_room = |table: &Self| {
            // The open one may not be full either.
            table.known.len() + 2 * PACK_HASHES_MAX <= HASHES_MAX && table.packs.len() < PACKS_MAX
        };
        while !has_room(self) {
            let open = self.open.as_ref().map(|open| open.number);
            let mut all: Vec<(u64, u16)> = self.packs.iter().map(|(n, pack)| (pack.expires, *n)).collect();
            all.retain(|(_, number)| Some(*number) != open);
            all.sort_unstable();
            let (mut least, mut hashes) = (all.len() / 8, 0);
            let gone = all.into_iter().map_while(|(_, number)| {
                let more = least > 0 || hashes < GIVES_WAY;
                least = least.saturating_sub(1);
                hashes += self.packs.get(&number).map_or(0, |pack| pack.hashes);
                more.then_some(number)
            });
            let gone: HashSet<u16> = gone.collect();
            if gone.is_empty() {
                return;
            }
            let names = gone.iter().filter_map(|number| Some(self.packs.get(number)?.name));
            // What has no room here goes when its time is over.
            let room = PACKS_MAX.saturating_sub(self.waiting.gone.len());
            self.waiting.gone.extend(names.take(room));
            self.forget(&gone);
        }
    }

    fn forget(&mut self, gone: &HashSet<u16>) {
        if gone.is_empty() {
            return;
        }
        drop(self.open.take_if(|open| gone.contains(&open.number)));
        self.packs.retain(|number, _| !gone.contains(number));
        self.waiting.rows.retain(|row| !gone.contains(&row.number));
        self.known.retain(|number| !gone.contains(&number));
    }

    fn row(&self, open: &Open) -> Option<Row> {
        let pack = self.packs.get(&open.number)?;
        let value = std::iter::once(FORMAT).chain(open.hashes.iter().flatten().copied()).collect();
        Some(Row { name: pack.name, value, expires: pack.expires, number: open.number })
    }

    fn wait(&mut self, row: Row) {
        if self.waiting.rows.len() >= WAITING_MAX {
            self.waiting.rows.remove(0);
        }
        self.waiting.rows.push(row);
    }

    /// What is to be written down by now.
    pub(super) fn take_unsaved(&mut self) -> Unsaved {
        let mut unsaved = std::mem::take(&mut self.waiting);
        if let Some(open) = self.open.as_ref().filter(|open| open.unsaved) {
            unsaved.rows.extend(self.row(open));
        }
        if let Some(open) = &mut self.open {
            open.unsaved = false;
        }
        unsaved
    }

    /// Takes back what could not be written down.
    pub(super) fn give_back(&mut self, unsaved: Unsaved) {
        let later = std::mem::take(&mut self.waiting);
        for row in unsaved.rows {
            match &mut self.open {
                Some(open) if open.number == row.number => open.unsaved = true,
                _ if self.packs.contains_key(&row.number) => self.wait(row),
                _ => {}
            }
        }
        later.rows.into_iter().for_each(|row| self.wait(row));
        self.waiting.gone.extend(unsaved.gone.into_iter().chain(later.gone).take(PACKS_MAX));
    }
}

#[cfg(test)]
mod tests;
