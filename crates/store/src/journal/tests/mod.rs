//! Tests of the journal on simulated and real disks.

mod commit;
mod crash;
mod damage;
mod faults;
mod ledger;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use super::committer::Request;
use super::*;
use crate::disk::SimDisk;

/// Small segments, so that tests pass through many.
fn settings() -> Settings {
    Settings { segment_bytes: 32 * 1024, spare_segments_max: 2, ..Settings::default() }
}

fn folder() -> &'static Path {
    Path::new("/queue/journal")
}

fn open(disk: &SimDisk) -> (Journal, Replay) {
    Journal::open(Arc::new(disk.clone()), folder(), &settings()).expect("opens")
}

fn payload(octets: &[u8]) -> Payload {
    Payload { kind: 1, slices: vec![Bytes::copy_from_slice(octets)] }
}

type Results = Vec<Result<Position, AppendError>>;

fn append(journal: &Journal, payloads: Vec<Payload>, durability: Durability) -> Receiver<Results> {
    let (sender, receiver) = channel();
    journal.append(payloads, durability, Box::new(move |results| drop(sender.send(results))));
    receiver
}

/// Lets the process end, so that the journal can be opened again.
fn end(journal: Journal) {
    drop(journal);
}

/// Appends one payload, and waits until it is durable.
fn store(journal: &Journal, octets: &[u8]) -> Position {
    let results = append(journal, vec![payload(octets)], Durability::Sync).recv().expect("answered");
    results.into_iter().next().expect("one result").expect("stored")
}

/// The payloads that a replay gives, and whether there was any damage.
fn records(replay: Replay) -> (Vec<Vec<u8>>, Vec<DamageReason>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for item in replay {
        match item {
            ReplayItem::Record { payload, .. } => good.push(payload.to_vec()),
            ReplayItem::Damage { reason, .. } => bad.push(reason),
        }
    }
    (good, bad)
}
