//! A journal without its thread, driven step by step, and a ledger of what its callers were told.
//!
//! Every payload begins with its number and is filled with octets that follow from it, so that a reader knows
//! which one it has and that it is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::Sender;
use std::time::Duration;

use super::*;

/// What a caller was told, and how many changes the disk had seen by then.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Told {
    Durable(Position),
    Refused,
    Unknown,
}

/// Who was told what, when.
pub(super) type Ledger = BTreeMap<u32, (Told, usize)>;

/// A committer without a thread.
pub(super) struct Driver {
    pub(super) disk: SimDisk,
    pub(super) folder: Arc<Folder>,
    pub(super) committer: Committer,
    next: u32,
    answer: Sender<(u32, Answer)>,
    answered: Receiver<(u32, Answer)>,
    pub(super) ledger: Ledger,
}

type Answer = Result<Position, AppendError>;

/// The octets of payload `number`.
pub(super) fn filled(number: u32, bytes: usize) -> Vec<u8> {
    let start = number.to_le_bytes();
    let length = u32::try_from(bytes).unwrap().to_le_bytes();
    let fill = (8..bytes.max(8)).map(|at| u8::try_from((at * 7 + number as usize * 13) % 251).unwrap());
    start.into_iter().chain(length).chain(fill).collect()
}

/// The number of a payload that is whole.
pub(super) fn number_of(octets: &[u8]) -> Option<u32> {
    let number = u32::from_le_bytes(octets.get(..4)?.try_into().ok()?);
    let length = u32::from_le_bytes(octets.get(4..8)?.try_into().ok()?);
    (octets == filled(number, length as usize)).then_some(number)
}

impl Driver {
    /// Opens the journal; what it holds comes with it.
    pub(super) fn open(disk: &SimDisk) -> Result<(Self, Replay), JournalError> {
        let (folder, older) = Folder::open(Arc::new(disk.clone()), folder(), &settings())?;
        let folder = Arc::new(folder);
        let mut writer = Writer::new(Arc::clone(&folder), &settings());
        match writer.ready() {
            Err(error) if !is_full(&error) => {
                return Err(JournalError::Io { what: "test", path: "/".into(), error });
            }
            _ => {}
        }
        let committer = Committer::new(writer, Arc::default(), Arc::default(), &settings());
        let (answer, answered) = channel();
        let disk = disk.clone();
        let ledger = Ledger::new();
        Ok((Self { disk, folder, committer, next: 0, answer, answered, ledger }, Replay::new(older)))
    }

    /// Goes on with the numbers and the ledger of an earlier one.
    pub(super) fn continuing(mut self, earlier: (u32, Ledger)) -> Self {
        (self.next, self.ledger) = earlier;
        self
    }

    pub(super) fn stop(self) -> (u32, Ledger) {
        (self.next, self.ledger)
    }

    /// A request for payloads of these sizes.
    pub(super) fn request(&mut self, sizes: &[usize], durability: Durability) -> Request {
        let first = self.next;
        self.next += u32::try_from(sizes.len()).unwrap();
        let sized = sizes.iter().zip(first..);
        let payloads = sized.map(|(&bytes, number)| payload(&filled(number, bytes.max(8)))).collect();
        let answer = self.answer.clone();
        let done = move |results: Results| {
            for (number, result) in (first..).zip(results) {
                answer.send((number, result)).unwrap();
            }
        };
        Request { payloads, durability, write_by: None, done: Box::new(done) }
    }

    /// Serves requests together, and notes what was answered.
    pub(super) fn serve(&mut self, requests: Vec<Request>) {
        self.committer.serve(requests);
        self.note();
    }

    pub(super) fn sync(&mut self, sizes: &[usize]) {
        let request = self.request(sizes, Durability::Sync);
        self.serve(vec![request]);
    }

    /// Written, not synced.
    pub(super) fn lazy(&mut self, sizes: &[usize]) {
        let request = self.request(sizes, Durability::Lazy { within: Duration::from_secs(3600) });
        self.serve(vec![request]);
    }

    fn note(&mut self) {
        let changes = self.disk.changes();
        for (number, result) in self.answered.try_iter() {
            let told = match result {
                Ok(position) => Told::Durable(position),
                Err(AppendError::NotApplied(_) | AppendError::Full(_)) => Told::Refused,
                Err(AppendError::Unknown(_)) => Told::Unknown,
            };
            let before = self.ledger.insert(number, (told, changes));
            assert_eq!(before, None, "payload {number} was answered twice");
        }
    }
}

/// Checks what a disk holds against the ledger as it stood after `changes`. Gives a complaint.
pub(super) fn audit(ledger: &Ledger, changes: usize, disk: &SimDisk) -> Result<(), String> {
    let (older_folder, older) =
        Folder::open(Arc::new(disk.clone()), folder(), &settings()).map_err(|e| e.to_string())?;
    let oldest = older.first().map_or(u64::MAX, |o| o.generation);
    drop(older_folder);
    let mut found = BTreeSet::new();
    for item in Replay::new(older) {
        match item {
            ReplayItem::Record { payload, position, .. } => {
                let number =
                    number_of(&payload).ok_or(format!("a record that nobody wrote at {position:?}"))?;
                if !found.insert(number) {
                    return Err(format!("record {number} is there twice"));
                }
            }
            // What a crash leaves of a batch that was being written.
            ReplayItem::Damage { reason: DamageReason::Doubtful, .. } => {}
            ReplayItem::Damage { .. } => return Err(format!("a crash is taken for damage: {item:?}")),
        }
    }
    for (number, (told, at)) in ledger.iter().filter(|(_, (_, at))| *at <= changes) {
        match told {
            // Segments go strictly from the oldest on, and only when they have been released.
            Told::Durable(position) if position.generation >= oldest && !found.contains(number) => {
                return Err(format!("acknowledged record {number} (at change {at}) is lost"));
            }
            Told::Refused if found.contains(number) => {
                return Err(format!("refused record {number} (at change {at}) is there"));
            }
            _ => {}
        }
    }
    Ok(())
}
