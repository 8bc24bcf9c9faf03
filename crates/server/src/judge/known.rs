//! Clients whose mail was welcome lately: they are greeted at once, and the checks of their addresses go on while they speak.
//!
//! Remembered in memory, up to a bound, and forgotten by a restart: who is forgotten waits for the checks once more. It
//! vouches for nothing: the same checks count as for everybody else, and nothing is decided before they are done.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mail::Timestamp;
use policy::{ConnectFacts, StageReport};
use tokio::task::JoinHandle;

use super::Judge;
use super::case::Case;

/// Clients that are remembered at most; the ones not seen for longest give way.
const CLIENTS_MAX: usize = 20_000;

/// Who was welcome, and when.
#[derive(Debug)]
pub(super) struct KnownClients {
    seconds: u64,
    /// Those of late, and those of before: the latter are dropped when there are too many of the former.
    seen: Mutex<[HashMap<IpAddr, u64>; 2]>,
}

impl KnownClients {
    /// Each is known for so many seconds; 0: nobody is.
    pub(super) fn new(seconds: u64) -> Self {
        Self { seconds, seen: Mutex::default() }
    }

    /// True when mail of this client was welcome in the last time.
    pub(super) fn knows(&self, client: IpAddr, now: Timestamp) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let at = seen.iter().find_map(|some| some.get(&client).copied());
        at.is_some_and(|at| now.seconds().saturating_sub(at) < self.seconds)
    }

    /// Mail of this client was welcome.
    pub(super) fn welcome(&self, client: IpAddr, now: Timestamp) {
        if self.seconds == 0 {
            return;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let [late, before] = &mut *seen;
        if late.len() >= CLIENTS_MAX / 2 && !late.contains_key(&client) {
            *before = std::mem::take(late);
        }
        late.insert(client, now.seconds());
    }
}

/// The checks of a client's address, at work while it is being greeted.
pub(super) struct Asking(JoinHandle<StageReport>);

impl Asking {
    pub(super) fn about(judge: &Arc<Judge>, facts: &Arc<ConnectFacts>) -> Self {
        let (judge, facts) = (Arc::clone(judge), Arc::clone(facts));
        // It ends with its time, when the client is gone too.
        Self(tokio::spawn(async move { judge.pipeline.connect.run(&facts, judge.greeting_time()).await }))
    }
}

impl Case {
    /// The checks of the address have to be done from here on. Only who was greeted before they were waits now.
    pub(super) async fn know_address(&mut self) {
        let Some(Asking(task)) = self.asking.take() else { return };
        let began = Instant::now();
        // A check that panics is seen to within the pipeline.
        if let Ok(report) = task.await {
            self.address_checked(report, began.elapsed());
        }
        if let Some(connect) = self.connect.as_mut().map(Arc::make_mut) {
            connect.auth = self.auth.clone();
        }
    }

    /// What was found about the client's address, for which it has waited so long.
    pub(super) fn address_checked(&mut self, report: StageReport, waited: Duration) {
        self.waits.in_session(waited);
        self.clerk.checked(&report);
        self.auth.learn(report.learnt.clone());
        self.dossier.add(report);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    #[test]
    fn who_was_welcome_is_known_for_a_while_and_the_memory_is_bounded() {
        let (known, now, later) = (KnownClients::new(60), Timestamp(1_000_000), Timestamp(1_060_000));
        assert!(!known.knows(ip(1), now));
        known.welcome(ip(1), now);
        assert!(known.knows(ip(1), now) && !known.knows(ip(2), now) && !known.knows(ip(1), later));
        let many = u32::try_from(CLIENTS_MAX).unwrap();
        (0..many * 2).for_each(|n| known.welcome(ip(n), now));
        let held: usize = known.seen.lock().unwrap().iter().map(HashMap::len).sum();
        assert!(held <= CLIENTS_MAX && known.knows(ip(many * 2 - 1), now) && !known.knows(ip(1), now));
        let off = KnownClients::new(0);
        off.welcome(ip(1), now);
        assert!(!off.knows(ip(1), now));
    }
}
