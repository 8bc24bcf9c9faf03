//! The octets of a message as the checks see them: all in one piece of memory, within what all judging together may take.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use store::{NewBody, StoreError};

use crate::limits::{BodyRoom, Room};
use crate::session::body::ReceivedBody;

/// A message in one piece, with the room it takes; the room is given back when this is dropped.
pub(super) struct Whole {
    pub(super) octets: Bytes,
    pub(super) header: Bytes,
    /// Its room, when it was not in memory before.
    pub(super) room: Option<Room>,
}

/// Puts a message together. A body in memory is joined in place, so that it is not there twice; one in a file is read.
///
/// # Errors
/// When its file cannot be read: nobody can judge, or deliver, what is not there. When there is no room in time.
pub(super) async fn whole(
    body: &mut ReceivedBody,
    memory: &BodyRoom,
    time_max: Duration,
) -> Result<Whole, StoreError> {
    let lent = std::mem::replace(&mut body.body, NewBody::Memory(Vec::new()));
    let (bytes, room) = match lent {
        NewBody::Memory(chunks) => {
            let bytes = joined(chunks);
            body.body = NewBody::Memory(vec![bytes.clone()]);
            body.head = vec![bytes.clone()];
            (bytes, None)
        }
        NewBody::File(file) => {
            // The room covers it, or is all there is: then one such message is read at a time.
            let wanted = memory.take(usize::try_from(file.size()).unwrap_or(usize::MAX));
            let Ok(room) = tokio::time::timeout(time_max, wanted).await else {
                let why = "there was no room to judge it: see [antispam] judging_memory_bytes_max";
                return Err(StoreError::NotApplied(why.to_owned()));
            };
            let read = tokio::task::spawn_blocking(move || {
                let mut all = BytesMut::with_capacity(usize::try_from(file.size()).unwrap_or_default());
                let read =
                    file.pieces().try_for_each(|piece| piece.map(|piece| all.extend_from_slice(&piece)));
                (file, read.map(|()| all.freeze()))
            });
            let (file, read) = read.await.map_err(|panic| StoreError::NotApplied(panic.to_string()))?;
            body.body = NewBody::File(file);
            (read.map_err(|error| StoreError::NotApplied(error.to_string()))?, room)
        }
    };
    let header = bytes.slice(..mail::header::body_offset(&bytes).min(bytes.len()));
    Ok(Whole { octets: bytes, header, room })
}

fn joined(mut chunks: Vec<Bytes>) -> Bytes {
    if chunks.len() == 1 {
        return chunks.pop().unwrap_or_default();
    }
    let mut all = BytesMut::with_capacity(chunks.iter().map(Bytes::len).sum());
    for chunk in &chunks {
        all.extend_from_slice(chunk);
    }
    all.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_in_pieces_becomes_one_and_is_still_there_to_be_stored() {
        let chunks = vec![Bytes::from_static(b"Subject: a\r\n\r"), Bytes::from_static(b"\ntext\r\n")];
        let mut body =
            ReceivedBody { body: NewBody::Memory(chunks), head: Vec::new(), bytes: 20, room: None };
        let whole = whole(&mut body, &BodyRoom::new(1 << 20), Duration::ZERO).await.unwrap();
        assert_eq!(whole.header, "Subject: a\r\n\r\n");
        assert_eq!(whole.octets, "Subject: a\r\n\r\ntext\r\n");
        assert!(matches!(&body.body, NewBody::Memory(all) if all.concat() == b"Subject: a\r\n\r\ntext\r\n"));
    }
}
