//! Octets of stored messages, for whoever makes something of them: the beginning only, never more than was asked for.

use std::io::Read as _;

use mail::QueueId;
use store::{QueueStore, StoreError, StoredBody};

/// The first octets of a message as received, at most `bytes_max`.
///
/// # Errors
/// What the store, or the file system, says when it cannot be read.
pub async fn beginning(store: &dyn QueueStore, id: QueueId, bytes_max: usize) -> Result<Vec<u8>, StoreError> {
    match store.read_body(id).await? {
        StoredBody::Memory(chunks) => {
            let mut out = Vec::new();
            for chunk in chunks {
                out.extend(chunk.iter().take(bytes_max - out.len()));
            }
            Ok(out)
        }
        StoredBody::File { path, .. } => {
            let read = tokio::task::spawn_blocking(move || {
                let mut out = Vec::new();
                let file = std::fs::File::open(path)?;
                file.take(bytes_max as u64).read_to_end(&mut out)?;
                Ok::<_, std::io::Error>(out)
            });
            let read = read.await.map_err(|panic| StoreError::NotApplied(panic.to_string()))?;
            read.map_err(|error| StoreError::NotApplied(error.to_string()))
        }
    }
}
