//! What all sessions share and none may exhaust: places for sessions, and room for bodies in memory.
//!
//! Never waits by itself except for body room; a session that finds no place is told 421 by the caller.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use mail::ClientNetwork;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Counts sessions, in all and per client network (/24, /64).
#[derive(Debug, Default)]
pub struct SessionCounts {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_network: HashMap<ClientNetwork, usize>,
}

/// A place for one session; given back when dropped.
#[derive(Debug)]
pub struct SessionPlace {
    counts: Arc<SessionCounts>,
    network: Option<ClientNetwork>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPlace {
    /// The daemon serves as many sessions as it may.
    Full,
    /// This client network has as many as it may.
    Network,
}

impl SessionCounts {
    /// Takes a place for a client. Clients without an address (local sockets) are counted in all only.
    ///
    /// # Errors
    /// [`NoPlace`].
    pub fn enter(
        self: &Arc<Self>,
        client: Option<IpAddr>,
        all_max: usize,
        network_max: usize,
    ) -> Result<SessionPlace, NoPlace> {
        let network = client.map(ClientNetwork::of);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.all >= all_max {
            return Err(NoPlace::Full);
        }
        if let Some(network) = network {
            let used = counts.by_network.entry(network).or_default();
            if *used >= network_max {
                return Err(NoPlace::Network);
            }
            *used += 1;
        }
        counts.all += 1;
        Ok(SessionPlace { counts: Arc::clone(self), network })
    }

    /// Sessions that have a place now.
    #[must_use]
    pub fn all(&self) -> usize {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).all
    }
}

impl Drop for SessionPlace {
    fn drop(&mut self) {
        let mut counts = self.counts.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all = counts.all.saturating_sub(1);
        if let Some(network) = self.network {
            let left = counts.by_network.get_mut(&network).map(|used| {
                *used = used.saturating_sub(1);
                *used
            });
            if left == Some(0) {
                counts.by_network.remove(&network);
            }
        }
    }
}

/// Octets per permit: a semaphore counts in 32 bits, bodies in all may be larger.
const GRAIN: usize = 1024;

/// Room for bodies in memory, for all sessions together.
#[derive(Debug, Clone)]
pub struct BodyRoom {
    semaphore: Arc<Semaphore>,
    permits: usize,
}

/// Room that one body holds; given back when dropped.
#[derive(Debug)]
pub struct Room {
    permit: OwnedSemaphorePermit,
    /// Permits there are in all.
    of_all: usize,
}

impl BodyRoom {
    /// Room for `bytes` octets in all.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let permits = (bytes / GRAIN).clamp(1, Semaphore::MAX_PERMITS);
        Self { semaphore: Arc::new(Semaphore::new(permits)), permits }
    }

    /// Waits for room for `bytes` octets (never more than there is in all). Whoever holds no room yet may wait
    /// here; whoever holds some must use [`Room::grow`], so that two can never wait for each other.
    pub async fn take(&self, bytes: usize) -> Option<Room> {
        let permits = u32::try_from(bytes.div_ceil(GRAIN).clamp(1, self.permits)).ok()?;
        let permit = Arc::clone(&self.semaphore).acquire_many_owned(permits).await.ok()?;
        Some(Room { permit, of_all: self.permits })
    }

    /// True when most of the room is taken: then newcomers begin with little, so that many slow senders leave something.
    #[must_use]
    pub fn is_scarce(&self) -> bool {
        self.semaphore.available_permits() < self.permits / 2
    }

    /// Octets that are taken now.
    #[must_use]
    pub fn taken(&self) -> usize {
        (self.permits - self.semaphore.available_permits().min(self.permits)) * GRAIN
    }
}

impl Room {
    /// Octets that this room covers.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.permit.num_permits() * GRAIN
    }

    /// More room, if there is some at once and half of all stays free: what is left is for those who have none yet, so that
    /// large messages that trickle in cannot keep everybody else waiting.
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        let semaphore = self.permit.semaphore();
        let Ok(permits) = u32::try_from(bytes.div_ceil(GRAIN)) else { return false };
        if semaphore.available_permits() < self.of_all / 2 + permits as usize {
            return false;
        }
        match Arc::clone(semaphore).try_acquire_many_owned(permits) {
            Ok(more) => {
                self.permit.merge(more);
                true
            }
            Err(_) => false,
        }
    }

    /// Gives back what is beyond `bytes` octets.
    pub fn shrink(&mut self, bytes: usize) {
        let over = self.permit.num_permits().saturating_sub(bytes.div_ceil(GRAIN));
        drop(self.permit.split(over));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_in_all_and_per_network_and_come_back() {
        let counts = Arc::new(SessionCounts::default());
        let ip = |text: &str| Some(text.parse().unwrap());
        let a = counts.enter(ip("192.0.2.1"), 3, 2).unwrap();
        let _b = counts.enter(ip("192.0.2.200"), 3, 2).unwrap();
        assert_eq!(counts.enter(ip("192.0.2.9"), 3, 2).err(), Some(NoPlace::Network));
        let _c = counts.enter(ip("::ffff:198.51.100.1"), 3, 2).unwrap();
        assert_eq!(counts.enter(ip("203.0.113.1"), 3, 2).err(), Some(NoPlace::Full));
        drop(a);
        assert_eq!(counts.all(), 2);
        assert!(counts.enter(ip("192.0.2.9"), 3, 2).is_ok());
    }

    #[tokio::test]
    async fn body_room_is_bounded_and_growing_never_waits() {
        let room = BodyRoom::new(64 * 1024);
        let mut one = room.take(16 * 1024).await.unwrap();
        assert!(one.grow(16 * 1024));
        assert!(!room.is_scarce());
        assert!(!one.grow(1), "half is for those who have none");
        assert_eq!((one.bytes(), room.taken()), (32 * 1024, 32 * 1024));
        let two = room.take(1024).await.unwrap();
        assert!(room.is_scarce());
        one.shrink(16 * 1024);
        assert_eq!((one.bytes(), room.taken()), (16 * 1024, 17 * 1024));
        drop((one, two));
        assert_eq!(room.taken(), 0);
        // More than there is in all is cut to what there is, or it would wait for ever.
        assert_eq!(room.take(1 << 30).await.unwrap().bytes(), 64 * 1024);
    }
}
