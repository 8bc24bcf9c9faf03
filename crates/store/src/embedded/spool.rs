//! The threads that commit and remove bodies in files of their own, so that nobody else waits for their syncs.
//!
//! A body is synced, named, its folder synced, and only then is the record that refers to it appended to the journal
//! (docs/queue-states.md §4). Those that wait together share one sync of the folder. A file is removed only after
//! the settlement that ended its message is durable; what a crash leaves is removed at the next start.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use mail::QueueId;

use super::core::{Core, lock};
use crate::body::{BodyWriter, Kept, PartFile, refused};
use crate::model::NewBody;
use crate::queue_store::StoreError;

/// Threads that place bodies: their syncs share the file system's own commits.
pub(crate) const THREADS: usize = 4;
/// At most so many bodies of one thread share one sync of the folder.
const BATCH_MAX: usize = 8;

/// What becomes of a body that is in its place: given its checksum, or why it is not.
pub(crate) type Placed = Box<dyn FnOnce(Result<u32, StoreError>) + Send>;

/// What the threads are asked for.
pub(crate) enum Task {
    /// Put the body in its place.
    Place { id: QueueId, body: NewBody, placed: Placed },
    /// Remove the body of a message that is durably settled, or was never stored.
    Remove(QueueId),
    /// End.
    Stop,
}

/// Starts the threads, which let go of `alive` when they have ended.
pub(crate) fn start(core: &Arc<Core>, alive: &Sender<()>) -> std::io::Result<Sender<Task>> {
    let (sender, tasks) = channel();
    let tasks = Arc::new(Mutex::new(tasks));
    for _ in 0..THREADS {
        let (core, tasks, alive) = (Arc::clone(core), Arc::clone(&tasks), alive.clone());
        let run = move || {
            serve(&core, &tasks);
            drop(tasks);
            drop(alive);
        };
        std::thread::Builder::new().name("spool".into()).spawn(run)?;
    }
    Ok(sender)
}

fn serve(core: &Core, tasks: &Mutex<Receiver<Task>>) {
    loop {
        let batch = take(&lock(tasks));
        if batch.is_empty() {
            return;
        }
        let mut placed: Vec<(QueueId, u32, Placed)> = Vec::new();
        let mut stop = false;
        for task in batch {
            match task {
                Task::Place { id, body, placed: then } => match place(core, id, body) {
                    Ok(checksum) => placed.push((id, checksum, then)),
                    Err(error) => then(Err(error)),
                },
                // What cannot be removed has no record, and goes at the next start.
                Task::Remove(id) => drop(core.disk.remove(&core.body_path(id))),
                Task::Stop => stop = true,
            }
        }
        name(core, placed);
        if stop {
            return;
        }
    }
}

/// Waits for a task, and takes others that wait as well; but each thread its own stop.
fn take(tasks: &Receiver<Task>) -> Vec<Task> {
    let mut batch: Vec<Task> = tasks.recv().into_iter().collect();
    while batch.len() < BATCH_MAX
        && !matches!(batch.last(), None | Some(Task::Stop))
        && let Ok(task) = tasks.try_recv()
    {
        batch.push(task);
    }
    batch
}

fn place(core: &Core, id: QueueId, body: NewBody) -> Result<u32, StoreError> {
    match body {
        NewBody::File(spooled) => {
            let checksum = spooled.checksum;
            match spooled.kept {
                Kept::File(part) => commit(part, &core.body_path(id)).map(|()| checksum),
                Kept::Memory(chunks) => write(core, id, &chunks),
            }
        }
        NewBody::Memory(chunks) => write(core, id, &chunks),
    }
}

fn commit(part: PartFile, name: &Path) -> Result<(), StoreError> {
    part.commit(name)
}

/// A body that came in memory, too large for the journal.
fn write(core: &Core, id: QueueId, chunks: &[Bytes]) -> Result<u32, StoreError> {
    let mut writer = BodyWriter::in_file(Arc::clone(&core.disk), &core.spool, id)?;
    for chunk in chunks {
        writer.write(chunk)?;
    }
    place(core, id, NewBody::File(writer.finish()?))
}

/// Makes the names durable, and goes on with each.
fn name(core: &Core, placed: Vec<(QueueId, u32, Placed)>) {
    if placed.is_empty() {
        return;
    }
    let synced = core.disk.sync_folder(&core.spool).map_err(|e| refused(&core.spool, &e));
    for (id, checksum, then) in placed {
        if synced.is_err() {
            drop(core.disk.remove(&core.body_path(id)));
        }
        then(synced.clone().map(|()| checksum));
    }
}
