//! One scanner's place: how it is reached, what an asking may take, whether it is asked at all, and how it has done.
//!
//! Every kind of scanner is asked through `Station::ask`: a time limit over all, a fresh connection for a retry, the
//! circuit breaker, the figures. Knows no protocol and decides nothing about a message.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mail::Domain;
use net::{DialSettings, DnsAnswer, Resolver};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};

use super::address::Address;
use super::breaker::{Breaker, Change, Limits};
use super::line::Line;
use super::{End, Failure, Notice, Status};

/// Seconds until an address of a scanner counts as dead.
const CONNECT_SECONDS_MAX: u64 = 5;
/// Time between two attempts: a scanner that is being restarted is back soon.
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// A scanner that has not answered for so long when the client's patience ends has failed; before that, it is not to blame.
const PATIENCE: Duration = Duration::from_secs(5);
/// Notices that are kept until somebody reads them.
const NOTICES_MAX: usize = 16;

/// What a station goes by.
#[derive(Debug, Clone)]
pub struct Contact {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: Address,
    /// Seconds that an asking may take.
    pub seconds_max: u64,
    /// How often it is asked again.
    pub retries: u32,
    /// Failures in a row that open the breaker; 0 never does.
    pub breaker_failures: u32,
    /// Seconds for which it is left alone then.
    pub breaker_seconds: u64,
}

/// See above.
#[derive(Debug)]
pub struct Station {
    contact: Contact,
    resolver: Resolver,
    breaker: Mutex<Breaker>,
    figures: [AtomicU64; End::ALL.len()],
    notices: Mutex<Vec<Notice>>,
}

impl Station {
    /// A scanner that is reached so.
    #[must_use]
    pub fn new(contact: Contact, resolver: Resolver) -> Self {
        let limits = Limits {
            failures: contact.breaker_failures,
            pause: Duration::from_secs(contact.breaker_seconds),
        };
        Self {
            contact,
            resolver,
            breaker: Mutex::new(Breaker::new(limits)),
            figures: Default::default(),
            notices: Mutex::default(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.contact.name
    }

    /// How long an asking may take.
    #[must_use]
    pub fn time_max(&self) -> Duration {
        Duration::from_secs(self.contact.seconds_max)
    }

    /// How it does.
    #[must_use]
    pub fn status(&self) -> Status {
        let is_asked = self.breaker.lock().unwrap_or_else(PoisonError::into_inner).is_closed();
        let ends = End::ALL.iter().zip(&self.figures);
        Status {
            scanner: self.contact.name.clone(),
            is_asked,
            ends: ends.map(|(end, count)| (*end, count.load(Ordering::Relaxed))).collect(),
        }
    }

    /// What an operator should hear of, once.
    #[must_use]
    pub fn notices(&self) -> Vec<Notice> {
        std::mem::take(&mut *self.notices.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Something that was not worth asking, or could not be.
    pub(crate) fn count(&self, end: End) {
        if let Some(figure) = self.figures.get(end as usize) {
            figure.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Asks. `attempt` makes a connection, with `Station::connect`, and holds the whole dialogue on it.
    pub(crate) async fn ask<A, Fut>(&self, attempt: impl Fn() -> Fut) -> Result<A, Failure>
    where
        Fut: Future<Output = Result<A, Failure>>,
    {
        self.admit()?;
        let asking = Asking { station: self, begun: Instant::now(), ended: false };
        let asked = timeout(self.time_max(), self.attempts(attempt)).await;
        let asked = asked.unwrap_or(Err(Failure::TimedOut { seconds: self.contact.seconds_max }));
        asking.ended(asked.as_ref().err());
        if asked.is_ok() {
            self.count(End::Answered);
        }
        asked
    }

    /// May it be asked at all? For dialogues of several parts, before the first.
    pub(crate) fn admit(&self) -> Result<(), Failure> {
        let now = Instant::now().into_std();
        if self.breaker.lock().unwrap_or_else(PoisonError::into_inner).admit(now) {
            return Ok(());
        }
        self.count(End::NotAsked);
        Err(Failure::NotAsked)
    }

    /// One part of a dialogue, which may take `limit`, and no longer than the `left` that the client has for it. A failure is
    /// counted; whether the whole has come to an answer is for the caller to count.
    pub(crate) async fn part<A>(
        &self,
        (limit, left): (Duration, Duration),
        work: impl Future<Output = Result<A, Failure>>,
    ) -> Result<A, Failure> {
        let asking = Asking { station: self, begun: Instant::now(), ended: false };
        match timeout(limit.min(left), work).await {
            Ok(done) => {
                asking.ended(done.as_ref().err());
                done
            }
            Err(_) => {
                let failure = Failure::TimedOut { seconds: limit.min(left).as_secs() };
                // Cut short, it has not had its time: then it was given up, and is not to blame.
                if limit <= left {
                    asking.ended(Some(&failure));
                }
                Err(failure)
            }
        }
    }

    /// Attempts at something that may go better when it is tried again.
    pub(crate) async fn attempts<A, Fut>(&self, attempt: impl Fn() -> Fut) -> Result<A, Failure>
    where
        Fut: Future<Output = Result<A, Failure>>,
    {
        let mut left = self.contact.retries;
        loop {
            match attempt().await {
                Err(failure) if failure.is_worth_another() && left > 0 => {
                    left -= 1;
                    sleep(RETRY_AFTER).await;
                }
                ended => return ended,
            }
        }
    }

    /// How long one attempt of several may take, where silence is all there is to hear of a failure.
    pub(crate) fn attempt_time_max(&self) -> Duration {
        self.time_max() / self.contact.retries.saturating_add(1)
    }

    /// Where datagrams are to go: the first address of its host.
    pub(crate) async fn datagrams_to(&self) -> Result<SocketAddr, Failure> {
        let Address::Inet(host, port) = &self.contact.address else {
            return Err(Failure::Unreachable("no datagrams are sent to files".to_owned()));
        };
        let first = self.addresses(host).await?.first().copied();
        let first = first.ok_or_else(|| Failure::Unreachable(format!("{host} has no address")))?;
        Ok(SocketAddr::new(first, *port))
    }

    async fn addresses(&self, host: &Domain) -> Result<Vec<IpAddr>, Failure> {
        match self.resolver.addresses(host).await {
            DnsAnswer::Found(addresses) => Ok(addresses),
            DnsAnswer::NoName | DnsAnswer::NoData => {
                Err(Failure::Unreachable(format!("{host} has no address")))
            }
            DnsAnswer::Failed(why) => Err(Failure::Unreachable(format!("{host}: {why}"))),
        }
    }

    /// A fresh connection.
    pub(crate) async fn connect(&self) -> Result<Line, Failure> {
        let unreachable = |why: String| Failure::Unreachable(why);
        match &self.contact.address {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await;
                let named = |error| unreachable(format!("{}: {error}", path.display()));
                stream.map(Line::unix).map_err(named)
            }
            Address::Inet(host, port) => {
                let addresses = self.addresses(host).await?;
                let settings =
                    DialSettings { connect_seconds_max: CONNECT_SECONDS_MAX, ..DialSettings::default() };
                let stream = net::dial(&addresses, *port, &settings).await;
                stream.map(Line::tcp).map_err(|error| unreachable(error.to_string()))
            }
        }
    }

    fn told(&self, change: Option<Change>, why: &str) {
        let Some(change) = change else { return };
        let scanner = self.contact.name.clone();
        let notice = match change {
            Change::Opened => Notice::Opened {
                scanner,
                why: why.to_owned(),
                failures: self.contact.breaker_failures,
                seconds: self.contact.breaker_seconds,
            },
            Change::Closed => Notice::Closed { scanner },
        };
        let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        if notices.len() < NOTICES_MAX {
            notices.push(notice);
        }
    }
}

/// An asking on its way. Dropped, because the client's time was over or the client is gone, it tells that it was given up.
struct Asking<'a> {
    station: &'a Station,
    begun: Instant,
    ended: bool,
}

impl Asking<'_> {
    fn ended(mut self, failure: Option<&Failure>) {
        self.ended = true;
        if let Some(failure) = failure {
            self.station.count(failure.end());
        }
        let mut breaker = self.station.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let failure = failure.filter(|failure| failure.is_the_scanners());
        let change = match failure {
            Some(_) => breaker.failed(Instant::now().into_std()),
            None => breaker.answered(),
        };
        drop(breaker);
        self.station.told(change, &failure.map(ToString::to_string).unwrap_or_default());
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let (now, waited) = (Instant::now(), self.begun.elapsed());
        let mut breaker = self.station.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let change = if waited >= PATIENCE {
            breaker.failed(now.into_std())
        } else {
            breaker.abandoned(now.into_std());
            None
        };
        drop(breaker);
        self.station.count(if waited >= PATIENCE { End::TimedOut } else { End::GivenUp });
        self.station.told(change, &format!("no answer in {} seconds", waited.as_secs()));
    }
}
