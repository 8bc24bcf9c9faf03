//! Giving journal segments back, oldest first, and copying forward what keeps the oldest from it.
//!
//! A segment is released when nothing in it is live and a durable checkpoint lies beyond it. The oldest one is emptied when
//! less than [`crate::Settings::compact_live_percent`] of it, or of the whole journal, is live: an old message
//! then does not hold the segments behind it for ever, and the journal stays within a multiple of the live mail. Copies
//! carry the state of their moment, so that no older settlement is needed. The index learns of a copy when that is durable.

use bytes::Bytes;
use mail::QueueId;

use super::index::{Edit, IndexError};
use super::keeper::{Job, Keeper};
use super::row::Row;
use crate::codec::{self, BodyPlace, Wreck, kind};
use crate::journal::{AppendError, Durability, Payload, Position, ReadError};

/// Octets that are copied at a time.
const STEP_BYTES: usize = 1 << 20;
/// Rows that are looked at at a time.
const STEP_ROWS: usize = 2_000;
/// So many sealed segments are kept without asking how much in them is live.
const FEW_SEGMENTS: usize = 4;

/// So many times a segment that the device does not give is tried, before what cannot be read of it counts as damaged.
const TRIES_MAX: u32 = 10;

type Result<T> = std::result::Result<T, IndexError>;

/// A segment that is being emptied.
#[derive(Debug)]
pub(crate) struct Compaction {
    generation: u64,
    /// How far the search for its messages has come.
    after: Option<QueueId>,
}

/// A copy of a message that is on its way into the journal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Copy {
    id: QueueId,
    from: Position,
    head_octets: u32,
    wreck: bool,
}

/// What became of copies.
pub(crate) struct Copied {
    copies: Vec<Copy>,
    results: Vec<std::result::Result<Position, AppendError>>,
}

impl Keeper {
    /// Releases what can be released, and begins to empty the oldest segment if that is worth it.
    pub(super) fn give_back(&mut self) -> Result<()> {
        let Some(released) = self.released else { return Ok(()) };
        let segments = self.journal.segments();
        let old: Vec<_> =
            segments.iter().filter(|s| s.sealed && s.generation < released.generation).collect();
        for segment in &old {
            if segment.released {
                continue;
            }
            if self.core.window().live(segment.generation).messages > 0 {
                break;
            }
            // A folder that cannot be synced now is tried again after the next checkpoint.
            if self.journal.recycle(segment.generation).is_err() {
                return Ok(());
            }
        }
        let mut kept = old.iter().filter(|s| !s.released);
        let bytes: u64 = kept.clone().map(|s| u64::from(s.bytes)).sum();
        let oldest = kept.find(|s| self.core.window().live(s.generation).messages > 0);
        let Some(oldest) = oldest.filter(|_| self.compaction.is_none()) else { return Ok(()) };
        let percent = self.core.settings.compact_live_percent;
        let sparse = |live: u64, of: u64| live.saturating_mul(100) < of.saturating_mul(percent);
        let (live, live_here) = {
            let window = self.core.window();
            (window.live_bytes(), window.live(oldest.generation).bytes)
        };
        if old.len() > FEW_SEGMENTS
            && self.core.index_has_room()
            && (sparse(live, bytes) || sparse(live_here, oldest.bytes.into()))
        {
            self.compaction = Some(Compaction { generation: oldest.generation, after: None });
            self.copy_some()?;
        }
        Ok(())
    }

    /// Copies the next messages of the segment that is being emptied.
    fn copy_some(&mut self) -> Result<()> {
        let Some(compaction) = &mut self.compaction else { return Ok(()) };
        let generation = compaction.generation;
        let mut rows: Vec<(QueueId, Row)> = Vec::new();
        let (mut bytes, mut seen, mut more) = (0, 0, false);
        for found in self.index.rows(compaction.after) {
            let (id, row) = found?;
            compaction.after = Some(id);
            seen += 1;
            // What the window has taken back is moved when the index has it again.
            if row.position.generation == generation && !self.core.window().overrides(id) {
                bytes += row.position.len as usize;
                rows.push((id, row));
            }
            if bytes >= STEP_BYTES || seen >= STEP_ROWS {
                more = true;
                break;
            }
        }
        if self.core.window().live(generation).messages == 0 {
            self.compaction = None;
            return self.give_back();
        }
        if rows.is_empty() && !more {
            let (known, tries) = self.stuck;
            self.stuck = (generation, if known == generation { tries.saturating_add(1) } else { 1 });
            self.compaction = None;
            return Ok(());
        }
        let (copies, payloads) =
            rows.iter().filter_map(|(id, row)| self.copy(*id, row)).unzip::<_, _, Vec<Copy>, Vec<Payload>>();
        let core = std::sync::Arc::clone(&self.core);
        let done = move |results| core.send(Job::Copied(Copied { copies, results }));
        self.journal.append(payloads, Durability::Reserved, Box::new(done));
        Ok(())
    }

    /// What is to be written of a message; nothing when it cannot be read for now.
    fn copy(&self, id: QueueId, row: &Row) -> Option<(Copy, Payload)> {
        let copy = Copy { id, from: row.position, head_octets: row.head_octets, wreck: row.wreck };
        let wrecked = |reason: String| {
            let octets = self.journal.read_unchecked(row.position).unwrap_or_default().to_vec();
            let wreck = Wreck { id, reason, octets };
            let payload = Payload { kind: kind::WRECK, slices: vec![codec::encode(&wreck).ok()?] };
            Some((Copy { wreck: true, ..copy }, payload))
        };
        self.core.index_busy();
        match self.journal.read(row.position) {
            Ok(record) if row.wreck => {
                Some((copy, Payload { kind: kind::WRECK, slices: vec![record.payload] }))
            }
            Ok(record) => {
                copy_of(copy, row, &record.payload).or_else(|| wrecked("it does not decode".into()))
            }
            // A device that does not answer now may answer later.
            Err(ReadError::Io { generation, .. }) if self.stuck < (generation, TRIES_MAX) => None,
            Err(error) => wrecked(error.to_string()),
        }
    }

    /// The journal has the copies: the index points to them from now on.
    pub(super) fn copied(&mut self, copied: Copied) -> Result<()> {
        let mut edits = Vec::new();
        let mut failed = false;
        for (copy, result) in copied.copies.into_iter().zip(copied.results) {
            let Ok(position) = result else {
                failed = true;
                continue;
            };
            // It may have ended, or have been held, while it was copied.
            if self.core.window().overrides(copy.id) {
                continue;
            }
            let Some(old) = self.index.get(copy.id)?.filter(|old| old.position == copy.from) else {
                continue;
            };
            let Copy { head_octets, wreck, .. } = copy;
            let mut row = Row { position, head_octets, wreck, ..old.clone() };
            if wreck {
                row.state.hold = Some(crate::Hold::Damaged);
            }
            let mut window = self.core.window();
            window.discount(&old);
            window.count(&row);
            window.reached(position);
            edits.push(Edit::Put { id: copy.id, row, old: Some(old) });
        }
        self.write(&mut edits)?;
        if failed {
            // It begins again after the next checkpoint.
            self.compaction = None;
            return Ok(());
        }
        self.copy_some()
    }
}

/// The same message with the state of now.
fn copy_of(copy: Copy, row: &Row, payload: &Bytes) -> Option<(Copy, Payload)> {
    let head = codec::decode_head::<codec::Head>(payload).ok()?;
    let octets = codec::encode_head(&head.record, &row.state, head.body).ok()?;
    let head_octets = u32::try_from(octets.len()).ok()?;
    let mut slices = vec![octets];
    if head.body == BodyPlace::Inline {
        slices.push(payload.slice(codec::head_octets(payload).ok()?..));
    }
    Some((Copy { head_octets, ..copy }, Payload { kind: kind::MESSAGE, slices }))
}
