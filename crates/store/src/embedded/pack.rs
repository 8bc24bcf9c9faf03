//! Rows packed together: what the index keeps under one key.
//!
//! sled keeps some hundred octets in memory for every sixteen keys, whether their values are in memory or not; so a key holds
//! as many rows as fit into [`OCTETS_MAX`], and a change rewrites these. A pack stands under an id that is not
//! above its first row's, and has the rows up to the next pack's id.
//!
//! Format: one octet of version, then for each row its id less the one before (the first: less the pack's), its length, both
//! variable (seven bits an octet, the lowest first), and its octets. Nothing here does I/O. What does not read as this is
//! [`Damaged`], an older index included: it is made again from the journal.

use bytes::{Buf, BufMut, Bytes};
use mail::QueueId;

use crate::codec::Damaged;

/// Octets of a pack; one row that is larger stands alone. Small, because sled keeps 256 pages of up to 16 packs in memory
/// whatever it is told, and writes all 16 anew after ten changes.
pub(crate) const OCTETS_MAX: usize = 1_024;
/// Format of a pack and of the rows in it. Version 1 had a key for each row.
const VERSION: u8 = 2;

/// Writes a number in as few octets as it needs.
pub(crate) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.put_u8(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    out.put_u8(u8::try_from(number).unwrap_or_default());
}

/// Reads what [`put_number`] wrote.
pub(crate) fn number(from: &mut &[u8]) -> Result<u64, Damaged> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let octet = from.try_get_u8().map_err(|_| Damaged)?;
        let bits = u64::from(octet & 0x7f);
        if bits.checked_shl(shift).is_none_or(|shifted| shifted >> shift != bits) {
            return Err(Damaged);
        }
        number |= bits << shift;
        if octet & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Damaged)
}

/// The rows of the pack that stands under `key`, in order: ids, and where in `pack` their octets are.
fn walk(
    key: QueueId,
    pack: &[u8],
) -> impl Iterator<Item = Result<(QueueId, std::ops::Range<usize>), Damaged>> {
    let (version, mut rest) = pack.split_first().map_or((0, pack), |(version, rest)| (*version, rest));
    let whole = pack.len();
    let (mut id, mut first) = (key.0, true);
    let mut row = move || {
        if version != VERSION {
            return Err(Damaged);
        }
        let step = number(&mut rest)?;
        if step == 0 && !first {
            return Err(Damaged);
        }
        id = id.checked_add(step).ok_or(Damaged)?;
        first = false;
        let octets = usize::try_from(number(&mut rest)?).map_err(|_| Damaged)?;
        let at = whole - rest.len();
        rest = rest.get(octets..).ok_or(Damaged)?;
        Ok((rest.is_empty(), (QueueId(id), at..at + octets)))
    };
    let mut ended = false;
    std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let row = row();
        ended = !matches!(row, Ok((false, _)));
        Some(row.map(|(_, row)| row))
    })
}

/// The rows of the pack that stands under `key`, in order.
pub(crate) fn rows(key: QueueId, pack: &[u8]) -> impl Iterator<Item = Result<(QueueId, &[u8]), Damaged>> {
    walk(key, pack).map(move |row| {
        let (id, place) = row?;
        Ok((id, pack.get(place).ok_or(Damaged)?))
    })
}

/// One row of the pack that stands under `key`.
pub(crate) fn find(key: QueueId, pack: &[u8], id: QueueId) -> Result<Option<&[u8]>, Damaged> {
    for row in rows(key, pack) {
        let (at, octets) = row?;
        if at >= id {
            return Ok((at == id).then_some(octets));
        }
    }
    Ok(None)
}

/// The rows of one pack, or of several that are about to be one, while they are changed.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    rows: Vec<(QueueId, Bytes)>,
    octets: usize,
}

impl Rows {
    /// Adds the rows of the pack that stands under `key`, all of them behind those that are here.
    pub(crate) fn extend(&mut self, key: QueueId, pack: &[u8]) -> Result<(), Damaged> {
        let pack = Bytes::copy_from_slice(pack);
        for row in walk(key, &pack) {
            let (id, place) = row?;
            self.octets += cost(place.len());
            self.rows.push((id, pack.slice(place)));
        }
        Ok(())
    }

    /// Sets a row, or removes it.
    pub(crate) fn set(&mut self, id: QueueId, row: Option<Vec<u8>>) {
        let place = self.rows.binary_search_by_key(&id, |(id, _)| *id);
        self.octets += row.as_ref().map_or(0, |row| cost(row.len()));
        if let Ok(at) = place {
            self.octets -= self.rows.get(at).map_or(0, |(_, old)| cost(old.len()));
        }
        match (place, row.map(Bytes::from)) {
            (Ok(at), None) => drop(self.rows.remove(at)),
            (Ok(at), Some(row)) => {
                if let Some((_, slot)) = self.rows.get_mut(at) {
                    *slot = row;
                }
            }
            (Err(at), Some(row)) => self.rows.insert(at, (id, row)),
            (Err(_), None) => {}
        }
    }

    /// Octets that it takes, about.
    pub(crate) fn octets(&self) -> usize {
        self.octets
    }

    /// The packs that these rows make: the first one's key is `key`, or lower when its first row is. They are full
    /// one after the other when rows are `appended` for ever, and equally filled when any may grow.
    pub(crate) fn packs(&self, key: QueueId, appended: bool) -> Vec<(QueueId, Vec<u8>)> {
        let each =
            if appended { OCTETS_MAX } else { self.octets.div_ceil(self.octets.div_ceil(OCTETS_MAX).max(1)) };
        let mut packs: Vec<(QueueId, Vec<u8>)> = Vec::new();
        let (mut used, mut before) = (0, QueueId(0));
        for (id, row) in &self.rows {
            if packs.is_empty() || used + cost(row.len()) > each.max(OCTETS_MAX / 2) {
                let first = if packs.is_empty() { key.min(*id) } else { *id };
                packs.push((first, vec![VERSION]));
                (used, before) = (0, first);
            }
            used += cost(row.len());
            if let Some((_, pack)) = packs.last_mut() {
                put_number(pack, id.0.saturating_sub(before.0));
                put_number(pack, row.len() as u64);
                pack.extend_from_slice(row);
            }
            before = *id;
        }
        packs
    }
}

/// What a row of so many octets takes in a pack, about.
fn cost(octets: usize) -> usize {
    octets + 3
}

#[cfg(test)]
mod tests;
