//! A server under attack, and an honest session that is served meanwhile: how long it takes, how much memory there is.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use support::{Client, Daemon};

/// The server may take so much memory, octets.
const RESIDENT_MAX: u64 = 200 << 20;
/// An honest session is served within a second; machines that run tests are slow, and busy with other tests.
const SERVED_MAX: Duration = Duration::from_secs(10);
/// Honest sessions during each siege, at least.
const HONEST_MIN: u32 = 3;

/// One siege at a time: they measure memory and time.
static ALONE: Mutex<()> = Mutex::new(());

/// A server with an account, and the measuring of it.
pub(crate) struct Siege {
    pub(crate) daemon: Daemon,
    _alone: MutexGuard<'static, ()>,
}

impl Siege {
    pub(crate) fn new() -> Self {
        Self::with("", &[])
    }

    /// With more sections of its configuration, and files that they name.
    pub(crate) fn with(rest: &str, files: &[(&str, &str)]) -> Self {
        Self::with_top("", rest, files)
    }

    /// With more settings at the top of it, too.
    pub(crate) fn with_top(top: &str, rest: &str, files: &[(&str, &str)]) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut daemon = Daemon::prepare(env!("CARGO_BIN_EXE_staffetta"), top, rest);
        for (name, text) in files {
            daemon.write(name, text);
        }
        daemon.add_account("user@example.test", "secret");
        daemon.run();
        Self { daemon, _alone: alone }
    }

    /// Runs the attack while an honest session after the other is served. It ends when the attack does.
    pub(crate) fn under(&self, what: &str, attack: impl FnOnce() + Send) {
        let (highest, attacked, watched) = (AtomicU64::new(0), AtomicBool::new(true), AtomicBool::new(true));
        let (mut greeted, mut slowest, mut served) = (Duration::ZERO, Duration::ZERO, 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _over = Over(&attacked);
                attack();
            });
            scope.spawn(|| {
                while watched.load(Ordering::SeqCst) {
                    highest.fetch_max(self.daemon.resident(), Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
            let _over = Over(&watched);
            while attacked.load(Ordering::SeqCst) || served < HONEST_MIN {
                let (greeting, whole) = self.honest_session();
                (greeted, slowest) = (greeted.max(greeting), slowest.max(whole));
                served += 1;
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let highest = highest.into_inner();
        println!(
            "{what}: {served} honest sessions, the slowest took {slowest:.0?}, and {greeted:.0?} to be greeted; {} MiB resident at most",
            highest >> 20
        );
        assert!(slowest < SERVED_MAX, "{what}: a session waited {slowest:.0?}");
        assert!(highest < RESIDENT_MAX, "{what}: {} MiB resident", highest >> 20);
    }

    /// Greeting, one message, its acknowledgement: how long until the first, and until the last.
    fn honest_session(&self) -> (Duration, Duration) {
        let began = Instant::now();
        let mut client = Client::raw(self.daemon.mx);
        assert_eq!(client.reply().code, 220);
        let greeting = began.elapsed();
        assert_eq!(client.command("EHLO client.test").code, 250);
        let reply = client.mail("honest@peer.test", &["user@example.test"], "Subject: honest\r\n\r\ntext");
        assert_eq!(reply.code, 250, "{}\n{}", reply.text(), self.daemon.log());
        (greeting, began.elapsed())
    }
}

/// Says that something is over, however it ended.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// A connection of an attacker, who does not mind when it breaks.
pub(crate) struct Attacker(TcpStream);

impl Attacker {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(20)).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time limit");
        stream.set_write_timeout(Some(Duration::from_secs(2))).expect("a time limit");
        Self(stream)
    }

    /// Sends all of it; false when the server has hung up, or does not read for two seconds.
    pub(crate) fn send(&mut self, octets: &[u8]) -> bool {
        self.0.write_all(octets).is_ok()
    }

    /// Sends a piece again and again; octets that were taken.
    pub(crate) fn flood(&mut self, piece: &[u8], octets: usize) -> usize {
        (0..octets / piece.len()).take_while(|_| self.send(piece)).count() * piece.len()
    }

    /// Up to DATA and its 354, in one go.
    pub(crate) fn data(address: SocketAddr) -> Self {
        let mut attacker = Self::connect(address);
        attacker.send(
            b"EHLO attacker.test\r\nMAIL FROM:<a@attacker.test>\r\nRCPT TO:<user@example.test>\r\nDATA\r\n",
        );
        assert!(attacker.read_until(b"354 ").is_some(), "no 354");
        attacker
    }

    /// What came up to these octets; none when the server hung up before.
    pub(crate) fn read_until(&mut self, what: &[u8]) -> Option<Vec<u8>> {
        let (mut all, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            match self.0.read(&mut piece) {
                Ok(0) | Err(_) => return None,
                Ok(count) => all.extend_from_slice(&piece[..count]),
            }
            if all.windows(what.len()).any(|part| part == what) {
                return Some(all);
            }
        }
    }

    /// No more from this side; what comes from the other is read to its end.
    pub(crate) fn half_close(&mut self) -> Vec<u8> {
        drop(self.0.shutdown(std::net::Shutdown::Write));
        let mut all = Vec::new();
        drop(self.0.read_to_end(&mut all));
        all
    }
}
