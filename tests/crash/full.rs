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

/// The disk fills up to its last block in the middle of the work.
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

    let end = Instant::now() + Duration::from_secs(30);
    let mut ballast = None;
    ledger.load(daemon.mx, 2, || {
        while ledger.count(Said::Accepted) < 20 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        ballast = Some(Ballast::fill(&place, 0));
        while ledger.count(Said::Deferred) < 20 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    assert!(ledger.count(Said::Deferred) >= 20, "the disk was never full; log:\n{}", daemon.log());
    // Killed with a full disk, it comes up again, and refuses still.
    daemon.kill();
    daemon.run();
    assert_eq!(Client::hello(daemon.mx).command("MAIL FROM:<a@crash.test>").code, 452);
    ballast.expect("it was filled").remove();
    assert!(wait_until(|| try_mail(&daemon, "after").code == 250), "no recovery; log:\n{}", daemon.log());
    sink.set_down(false);
    ledger.settle("full disk", &sink, PATIENCE);
    daemon.kill();
}

/// The queue is in the index, and every change of its state comes while there is no room for it.
fn full_while_mail_is_delivered(title: &str, mount: impl FnOnce(&Path, &Path) -> Option<Disk>) {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (sink, ledger) = (Sink::start(), Ledger::default());
    sink.set_down(true);
    let store =
        "[store]\ndisk_free_bytes_min = 0\njournal = { segment_bytes = 1048576, spare_segments_max = 1 }\n";
    let mut daemon = relay(&sink, store);
    let place = daemon.folder().join("data");
    let Some(_disk) = mount(&daemon.folder().join("disk.img"), &place) else { return };
    daemon.run();
    let pid = daemon.pid();
    ledger.load(daemon.mx, 2, || {
        assert!(wait_until(|| ledger.count(Said::Accepted) >= 200), "log:\n{}", daemon.log());
    });

    let ballast = Ballast::fill(&place, 0);
    let refused = wait_until(|| Client::hello(daemon.mx).command("MAIL FROM:<a@crash.test>").code == 452);
    assert!(refused, "MAIL is not refused; log:\n{}", daemon.log());
    // Until even the reserve of the journal is used up, or nearly.
    let (end, before) = (Instant::now() + Duration::from_secs(20), attempts(&daemon));
    while attempts(&daemon) < before + 2_000 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(100));
    }
    sink.set_down(false);
    let some = wait_until(|| sink.arrivals().times.len() >= 10 || !daemon.is_running());
    println!("{title}: {} arrived while the disk was full: {some}", sink.arrivals().times.len());
    assert!(daemon.is_running() && daemon.pid() == pid, "it ended; log:\n{}", daemon.log());

    ballast.remove();
    assert!(wait_until(|| try_mail(&daemon, "after").code == 250), "no recovery; log:\n{}", daemon.log());
    ledger.settle(title, &sink, PATIENCE);
    assert_eq!(daemon.pid(), pid);
    // All that was noted in memory alone is on the disk now: another start delivers nothing again.
    assert!(wait_until(|| daemon.metric("staffetta_queue_messages{state=\"deferred\"}") == Some(0.0)));
    assert_eq!(daemon.stop(), Some(0));
    daemon.run();
    assert!(wait_until(|| try_mail(&daemon, "last").code == 250), "log:\n{}", daemon.log());
    assert!(wait_until(|| sink.has([&"last".to_owned()].into_iter())), "log:\n{}", daemon.log());
    let twice: Vec<_> = sink.arrivals().times.into_iter().filter(|(_, times)| *times > 1).collect();
    assert!(twice.is_empty(), "nothing crashed, and these came twice: {twice:?}");
    daemon.kill();
}

/// Attempts that were put off so far.
fn attempts(daemon: &Daemon) -> usize {
    daemon.log().matches("deferred").count()
}

#[test]
fn a_full_disk_does_not_end_it_while_mail_is_delivered() {
    full_while_mail_is_delivered("full ext4", |image, place| Disk::ext4(image, place, 48));
    full_while_mail_is_delivered("full memory", |_, place| Disk::memory(place, 32));
}
