//! Local submission over a real socket and a real folder, with the real SMTP session behind.

use std::collections::HashMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::time::Instant;

use mail::{Notify, Ret};
use tokio::net::UnixStream;

use super::client::{Dialogue, Envelope, Sent};
use super::pickup::{Pickup, Round};
use super::testing::{Driver, Taken};
use super::*;
use crate::maillog::{self, MailLog};

fn envelope(recipients: &[&str]) -> Envelope {
    Envelope { recipients: recipients.iter().map(|r| (*r).to_owned()).collect(), ..Envelope::default() }
}

struct Server {
    folder: tempfile::TempDir,
    driver: Arc<Driver>,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let driver = Arc::new(Driver::default());
        let listener = crate::admin::socket::bind(&folder.path().join(SOCKET_NAME), 0o666).unwrap();
        tokio::spawn(serve(listener, Arc::<Driver>::clone(&driver), 4));
        Self { folder, driver }
    }

    async fn send(&self, envelope: &Envelope, message: &[u8]) -> Sent {
        let stream = UnixStream::connect(self.folder.path().join(SOCKET_NAME)).await.unwrap();
        let mut dialogue = Dialogue::begin(stream, "anna").await.unwrap().ok().unwrap();
        let sent = dialogue.send(envelope, message).await.unwrap();
        dialogue.quit().await;
        sent
    }

    fn taken(&self) -> Vec<Taken> {
        self.driver.taken.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn a_message_goes_through_the_socket_as_it_is_and_the_kernel_says_who_sends() {
    let server = Server::start();
    let body = b"Subject: x\r\n\r\n.\r\n..two\r\nlast".to_vec();
    let sent = server.send(&envelope(&["bob", "c@d.test"]), &body).await;
    assert_eq!(sent.accepted.unwrap().code, 250);
    let taken = server.taken();
    assert_eq!(taken[0].message, "Subject: x\r\n\r\n.\r\n..two\r\nlast\r\n");
    assert_eq!(
        taken[0].recipients,
        ["bob@localhost", "c@d.test"].map(|r| r.replace("localhost", host(&taken[0])))
    );
    assert_eq!(taken[0].caller.uid, nix::unistd::geteuid().as_raw());
}

/// The host that names without a domain got.
fn host(taken: &Taken) -> &str {
    taken.sender.rsplit_once('@').map_or("", |(_, host)| host)
}

#[tokio::test]
async fn one_recipient_refused_does_not_stop_the_others() {
    let server = Server::start();
    let sent = server.send(&envelope(&["nobody@x.test", "c@d.test", "later@x.test"]), b"\r\n").await;
    let refused: Vec<(&str, u16)> = sent.refused.iter().map(|(r, reply)| (r.as_str(), reply.code)).collect();
    assert_eq!(refused, [("nobody@x.test", 550), ("later@x.test", 451)]);
    assert!(sent.accepted.is_some());
    let sent = server.send(&envelope(&["nobody@x.test"]), b"\r\n").await;
    assert!(sent.accepted.is_none() && sent.refusal.is_none() && sent.refused.len() == 1);
    let evil = Envelope { sender: Some("evil@x.test".into()), ..envelope(&["c@d.test"]) };
    assert_eq!(server.send(&evil, b"\r\n").await.refusal.map(|r| r.code), Some(550));
    assert_eq!(server.taken().len(), 1);
}

#[tokio::test]
async fn what_the_sender_wants_to_know_is_passed_on() {
    let server = Server::start();
    let wishes = Envelope {
        sender: Some(String::new()),
        notify: Some(Notify { explicit: true, success: true, failure: true, delay: false }),
        ret: Some(Ret::Headers),
        envid: Some("a+b=1".into()),
        ..envelope(&["c@d.test"])
    };
    server.send(&wishes, "Subject: ä\r\n\r\nö\r\n".as_bytes()).await;
    let taken = &server.taken()[0];
    assert_eq!(taken.sender, "");
    for words in ["EightBitMime", "smtputf8: true", "Headers", "a+b=1", "success: true", "delay: false"] {
        assert!(taken.parameters.contains(words), "{words}: {}", taken.parameters);
    }
}

#[tokio::test]
async fn no_address_can_smuggle_a_command_in() {
    let server = Server::start();
    let evil = envelope(&["a@b.test>\r\nRCPT TO:<c@d.test", "e@f.test"]);
    let sent = server.send(&evil, b"\r\n").await;
    assert_eq!(sent.refused.len(), 1);
    assert_eq!(server.taken()[0].recipients, ["e@f.test"]);
}

#[test]
fn callers_send_from_their_own_addresses_and_the_trusted_from_any() {
    let senders = Senders {
        own_domains: vec!["mx.test".parse().unwrap(), "b.test".parse().unwrap()],
        trusted: BTreeSet::from([33]),
    };
    let caller = |uid, user: &str| Caller { uid, user: user.into() };
    let may = |caller: &Caller, address: &str| senders.may_send_as(caller, &address.parse().unwrap());
    let anna = caller(1000, "anna");
    assert!(may(&anna, "anna@mx.test") && may(&anna, "Anna+list@b.test"));
    assert!(!may(&anna, "bob@mx.test") && !may(&anna, "anna@other.test") && !may(&anna, "annab@mx.test"));
    assert!(may(&caller(0, "root"), "bob@other.test") && may(&caller(33, "www-data"), "bob@other.test"));
}

fn round(folder: PathBuf, driver: &Arc<Driver>) -> Round {
    maildrop::prepare(&folder).unwrap();
    Round {
        pickup: Pickup::new(folder, 1000),
        sessions: Arc::<Driver>::clone(driver),
        log: MailLog::start(maillog::Settings::default(), || mail::Timestamp(0), Box::new(std::io::sink()))
            .unwrap(),
        put_off: HashMap::new(),
        last_trouble: None,
    }
}

fn names(folder: &std::path::Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_is_dropped_is_sent_in_its_owners_name_and_goes() {
    let folder = tempfile::tempdir().unwrap();
    let drop = folder.path().join("maildrop");
    let driver = Arc::new(Driver::default());
    let mut round = round(drop.clone(), &driver);
    assert_eq!(std::fs::metadata(&drop).unwrap().mode() & 0o7777, 0o1733);
    // Whatever the file says of the caller: nothing in it can.
    maildrop::put(&drop, &envelope(&["bob"]), Some("J. Q. Public"), b"To: bob\r\n\r\nx\r\n").unwrap();
    std::fs::write(drop.join(".partial"), "x").unwrap();
    round.go(Instant::now()).await;
    let taken = driver.taken.lock().unwrap().clone();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].caller.uid, nix::unistd::geteuid().as_raw());
    let host = host(&taken[0]);
    assert_eq!(taken[0].recipients, [format!("bob@{host}")]);
    let want = format!("To: bob@{host}\r\nFrom: \"J. Q. Public\" <{}>\r\n\r\nx\r\n", taken[0].sender);
    assert_eq!(taken[0].message, want);
    assert_eq!(names(&drop), [".partial"]);
}

#[tokio::test]
async fn what_is_refused_for_good_is_told_to_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let drop = folder.path().join("maildrop");
    let driver = Arc::new(Driver::default());
    let mut round = round(drop.clone(), &driver);
    maildrop::put(&drop, &envelope(&["nobody@x.test", "c@d.test"]), None, b"Subject: s\r\n\r\nx\r\n")
        .unwrap();
    round.go(Instant::now()).await;
    let taken = driver.taken.lock().unwrap().clone();
    assert_eq!(taken.len(), 2);
    assert_eq!(taken[0].recipients, ["c@d.test"]);
    assert_eq!(taken[1].sender, "");
    assert!(
        taken[1].message.contains("nobody@x.test\r\n      550 5.1.1 no such user"),
        "{}",
        taken[1].message
    );
    assert!(
        taken[1].message.contains("Subject: s\r\n")
            && taken[1].message.contains("Auto-Submitted: auto-replied")
    );
    assert!(names(&drop).is_empty());
}

#[tokio::test]
async fn what_is_refused_for_now_stays_and_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let drop = folder.path().join("maildrop");
    let driver = Arc::new(Driver::default());
    let mut round = round(drop.clone(), &driver);
    maildrop::put(&drop, &envelope(&["later@x.test"]), None, b"\r\n").unwrap();
    let now = Instant::now();
    round.go(now).await;
    assert_eq!((names(&drop).len(), round.put_off.len()), (1, 1));
    round.go(now).await;
    assert_eq!(round.put_off.len(), 1, "not tried before its time");
    round.go(now + round.pickup.retry).await;
    assert_eq!(names(&drop).len(), 1);
}

#[tokio::test]
async fn what_is_not_whole_is_put_aside_and_links_are_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let drop = folder.path().join("maildrop");
    let driver = Arc::new(Driver::default());
    let mut round = round(drop.clone(), &driver);
    std::fs::write(drop.join("a.mail"), "no envelope\n").unwrap();
    std::fs::write(
        drop.join("b.mail"),
        "{\"version\":1,\"bytes\":5,\"envelope\":{\"recipients\":[\"x\"]}}\nabc",
    )
    .unwrap();
    maildrop::put(&drop, &envelope(&["c@d.test"]), None, &[b'x'; 1001]).unwrap();
    maildrop::put(&drop, &envelope(&["c@d.test"]), None, b"\r\n").unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "{\"version\":1,\"bytes\":0,\"envelope\":{\"recipients\":[\"x\"]}}\n").unwrap();
    std::fs::hard_link(&secret, drop.join("hard.mail")).unwrap();
    std::os::unix::fs::symlink(&secret, drop.join("soft.mail")).unwrap();
    round.go(Instant::now()).await;
    assert_eq!(driver.taken.lock().unwrap().len(), 1);
    let left = names(&drop);
    assert_eq!(left.iter().filter(|n| n.ends_with(".bad")).count(), 4, "{left:?}");
    assert_eq!(left.iter().filter(|n| n.ends_with(".mail")).collect::<Vec<_>>(), ["soft.mail"]);
}

#[test]
fn a_dropped_file_can_be_read_by_the_server_whatever_the_umask() {
    let folder = tempfile::tempdir().unwrap();
    maildrop::put(folder.path(), &envelope(&["a"]), None, b"x").unwrap();
    let path = maildrop::waiting(folder.path()).unwrap().remove(0);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    let dropped = maildrop::take(&path, 10).unwrap();
    assert_eq!((dropped.message.as_slice(), dropped.envelope), (&b"x"[..], envelope(&["a"])));
}
