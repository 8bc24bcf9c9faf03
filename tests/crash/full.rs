//! A full disk: refused before MAIL while there is still room for what is here, and service returns by itself.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use support::{Client, Daemon, wait_until};

use crate::disk::Disk;
use crate::ledger::{Ledger, Said};
use crate::sink::{FIELD, Sink};
use crate::{ALONE, PATIENCE, relay};

/// A file that takes up space until it is removed.
struct Ballast(PathBuf);

impl Ballast {
    /// Fills the file system up to `left` octets.
    fn fill(folder: &Path, left: u64) -> Self {
        let path = folder.join("ballast");
        let file = std::fs::File::create(&path).expect("a file");
        let (mut size, piece) = (0, vec![0; 256 * 1024]);
        while free(folder) > left {
            use std::os::unix::fs::FileExt as _;
            match file.write_at(&piece, size) {
                Ok(count) => size += count as u64,
                Err(_) => break,
            }
        }
        Self(path)
    }

    fn remove(self) {
        std::fs::remove_file(self.0).expect("the ballast goes");
    }
}

/// Octets free on the file system of `folder`.
fn free(folder: &Path) -> u64 {
    let output =
        std::process::Command::new("df").args(["--output=avail", "-B1"]).arg(folder).output().expect("df");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().nth(1).and_then(|line| line.trim().parse().ok()).expect("a number of octets")
}

fn try_mail(daemon: &Daemon, name: &str) -> support::Reply {
    let sum = crate::ledger::checksum(b"text\r\n");
    let text = format!("From: <a@crash.test>\r\n{FIELD}{name} {sum}\r\n\r\ntext");
    Client::hello(daemon.mx).mail("a@crash.test", &["u1@crash.test"], &text)
}

const STORE: &str = "[store]\ndisk_free_bytes_min = 8388608\njournal = { segment_bytes = 4194304 }\n";

#[test]
fn a_nearly_full_disk_refuses_before_mail_and_recovers() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let sink = Sink::start();
    sink.set_down(true);
    let mut daemon = relay(&sink, STORE);
    let place = daemon.folder().join("data");
    let Some(_disk) = Disk::memory(&place, 64) else { return };
    daemon.run();
    assert_eq!(try_mail(&daemon, "before").code, 250, "{}", daemon.log());

    let ballast = Ballast::fill(&place, 4 << 20);
    let refused = wait_until(|| {
        let reply = Client::hello(daemon.mx).command("MAIL FROM:<a@crash.test>");
        reply.code == 452 && reply.text().starts_with("4.3.1")
    });
    assert!(refused, "MAIL is not refused; log:\n{}", daemon.log());
    // What was accepted is delivered all the same.
    sink.set_down(false);
    let before = "before".to_owned();
    assert!(wait_until(|| sink.has([&before].into_iter())), "accepted mail is stuck; log:\n{}", daemon.log());

    ballast.remove();
    assert!(wait_until(|| try_mail(&daemon, "after").code == 250), "no recovery; log:\n{}", daemon.log());
    let after = "after".to_owned();
    assert!(wait_until(|| sink.has([&after].into_iter())), "the new mail is stuck; log:\n{}", daemon.log());
    assert!(sink.arrivals().corrupt.is_empty());
    daemon.kill();
}

/// Without the guard before MAIL the disk fills up to its last block in the middle of a commit.
#[test]
fn a_disk_that_is_full_to_the_last_block_loses_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (sink, ledger) = (Sink::start(), Ledger::default());
    sink.set_down(true);
    let store =
        "[store]\ndisk_free_bytes_min = 0\njournal = { segment_bytes = 1048576, spare_segments_max = 1 }\n";
    let mut daemon = relay(&sink, store);
    let place = daemon.folder().join("data");
    let Some(_disk) = Disk::memory(&place, 32) else { return };
    daemon.run();

    let ballast = Ballast::fill(&place, 2 << 20);
    let end = Instant::now() + Duration::from_secs(30);
    ledger.load(daemon.mx, 2, || {
        while ledger.count(Said::Deferred) < 20 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    assert!(ledger.count(Said::Deferred) >= 20, "the disk was never full; log:\n{}", daemon.log());
    // Killed with a full disk, it comes up again, and refuses still.
    daemon.kill();
    daemon.run();
    ballast.remove();
    assert!(wait_until(|| try_mail(&daemon, "after").code == 250), "no recovery; log:\n{}", daemon.log());
    sink.set_down(false);
    ledger.settle("full disk", &sink, PATIENCE);
    daemon.kill();
}
