//! Whether the name servers answer anybody at all, so that nobody waits for what cannot come.
//!
//! A look-up that has waited for a while has the servers probed: they are asked for the name servers of the root, which
//! every resolver knows, and the same question once more. An answer of any kind, a refusal too, means that it is that one name's servers that are slow:
//! whoever asked goes on waiting, so that no stranger's domain can make us deaf to others. No answer means that ours are
//! silent: then look-ups of those who do not wait come to nothing at once, which is a failure and never an absence (I9).
//! The first of them after a pause has the servers probed again, without waiting for it; an answer ends the silence, also
//! where a firewall lets nobody ask for the root. What the cache holds is found meanwhile.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// Shortest time without an answer that means anything.
const TIME_MIN: Duration = Duration::from_millis(100);

/// See above.
#[derive(Debug)]
pub(super) struct Silence {
    /// Without a cache.
    prober: TokioResolver,
    /// How long a look-up waits before the servers are probed, how long a probe waits, and the pause between two probes.
    time: Duration,
    probes: Mutex<Probes>,
    silent: watch::Sender<bool>,
}

#[derive(Debug)]
struct Probes {
    running: bool,
    next: Instant,
}

impl Silence {
    pub(super) fn new(prober: TokioResolver, time: Duration) -> Self {
        let probes = Mutex::new(Probes { running: false, next: Instant::now() });
        Self { prober, time: time.max(TIME_MIN), probes, silent: watch::Sender::new(false) }
    }

    /// What a look-up of this question comes to; none when the name servers are silent.
    pub(super) async fn unless<T>(
        self: &Arc<Self>,
        question: (&Name, RecordType),
        lookup: impl Future<Output = T>,
    ) -> Option<T> {
        let mut lookup = pin!(lookup);
        let mut silent = self.silent.subscribe();
        if *silent.borrow_and_update() {
            self.probe(question);
            // Once: the cache may have it.
            let once = poll_fn(|context| Poll::Ready(lookup.as_mut().poll(context)));
            return match once.await {
                Poll::Ready(answer) => Some(answer),
                Poll::Pending => None,
            };
        }
        tokio::select! {
            biased;
            answer = &mut lookup => return Some(answer),
            () = sleep(self.time) => self.probe(question),
        }
        tokio::select! {
            biased;
            answer = &mut lookup => Some(answer),
            _ = silent.wait_for(|silent| *silent) => None,
        }
    }

    /// Has the servers probed, unless that is being done or was done just now. Does not wait.
    fn probe(self: &Arc<Self>, (name, kind): (&Name, RecordType)) {
        {
            let mut probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
            if probes.running || Instant::now() < probes.next {
                return;
            }
            probes.running = true;
        }
        let (this, name) = (Arc::clone(self), name.clone());
        tokio::spawn(async move {
            let mut root = pin!(this.answers(Name::root(), RecordType::NS));
            let mut own = pin!(this.answers(name, kind));
            let alive = tokio::select! {
                answered = &mut root => answered || own.await,
                answered = &mut own => answered || root.await,
            };
            this.silent.send_replace(!alive);
            let mut probes = this.probes.lock().unwrap_or_else(PoisonError::into_inner);
            *probes = Probes { running: false, next: Instant::now() + this.time };
        });
    }

    /// Whether anything at all is said to a question in time.
    async fn answers(&self, name: Name, kind: RecordType) -> bool {
        let asked = timeout(self.time, self.prober.lookup(name, kind)).await;
        matches!(asked, Ok(Ok(_) | Err(NetError::Dns(_))))
    }
}
