//! Mailboxes in a real folder: modes, links that are planted, quotas, what a failed write leaves.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::*;
use crate::content::{Source, Top};
use crate::testing::{address, record};

const NOW: Timestamp = Timestamp(1_795_309_323_000);

fn agent(change: impl FnOnce(&mut MaildirSettings)) -> Maildir {
    let mut settings = MaildirSettings::default();
    change(&mut settings);
    Maildir::new(&settings, None, "mx.test").unwrap()
}

fn content(text: &str) -> Content {
    let body = store::StoredBody::Memory(vec![bytes::Bytes::copy_from_slice(text.as_bytes())]);
    let (record, to) = (record(&["joe@a.test"]), address("joe@a.test"));
    let top = Top { return_path: Some(&record.reverse_path), delivered_to: Some(&to), header_lines: b"" };
    Source::open(&body).unwrap().assemble(&record, &top)
}

fn delivery(root: &Path, text: &str) -> MaildirDelivery {
    let path = MaildirPath { root: root.to_owned(), below: vec!["a.test".into(), "joe".into()] };
    MaildirDelivery { path, junk: false, content: content(text), now: NOW }
}

fn files(folder: impl AsRef<Path>) -> Vec<PathBuf> {
    let mut all: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

#[tokio::test]
async fn a_message_arrives_in_new_with_its_mode_and_unix_lines() {
    let root = tempfile::tempdir().unwrap();
    agent(|_| {}).deliver(delivery(root.path(), "A: b\r\n\r\nhello\r\n")).await.unwrap();
    let mailbox = root.path().join("a.test/joe");
    let [file] = files(mailbox.join("new")).try_into().unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, "Return-Path: <sender@from.test>\nDelivered-To: joe@a.test\nA: b\n\nhello\n");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(mailbox.metadata().unwrap().permissions().mode() & 0o7777, 0o700);
    let name = file.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(name.ends_with(&format!(".mx.test,S={},W={}", text.len(), text.len() + 5)), "{name}");
    assert!(files(mailbox.join("tmp")).is_empty());
    assert!(mailbox.join("cur").is_dir());
}

#[tokio::test]
async fn modes_are_as_set_whatever_the_umask() {
    let root = tempfile::tempdir().unwrap();
    let agent = agent(|s| {
        s.file_mode = "0664".into();
        s.folder_mode = "02775".into();
    });
    agent.deliver(delivery(root.path(), "A: b\r\n")).await.unwrap();
    let mailbox = root.path().join("a.test/joe");
    assert_eq!(mailbox.metadata().unwrap().permissions().mode() & 0o7777, 0o2775);
    assert_eq!(files(mailbox.join("new"))[0].metadata().unwrap().permissions().mode() & 0o7777, 0o664);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_all_arrive_once() {
    let root = tempfile::tempdir().unwrap();
    let agent = agent(|s| s.batch_max = 3);
    let tasks: Vec<_> = (0..200)
        .map(|n| {
            let (agent, delivery) = (agent.clone(), delivery(root.path(), &format!("N: {n}\r\n")));
            tokio::spawn(async move { agent.deliver(delivery).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let mut seen: Vec<String> = files(root.path().join("a.test/joe/new"))
        .iter()
        .map(|f| std::fs::read_to_string(f).unwrap())
        .collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 200);
}

#[tokio::test]
async fn what_comes_together_goes_apart_and_fails_alone() {
    let (root, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::create_dir(root.path().join("a.test")).unwrap();
    symlink(elsewhere.path(), root.path().join("a.test/planted")).unwrap();
    let agent = agent(|_| {});
    // All are begun before the first is waited for, so that they share batches.
    let begun: Vec<_> = (0..30)
        .map(|n| {
            let mut delivery = delivery(root.path(), &format!("N: {n}\r\n"));
            delivery.path.below[1] = ["joe", "planted", "jim"][n % 3].into();
            delivery.junk = n % 2 == 1;
            (n, agent.begin(delivery))
        })
        .collect();
    for (n, begun) in begun {
        assert_eq!(begun.done().await.is_ok(), n % 3 != 1, "{n}");
    }
    for folder in ["joe", "joe/.Junk", "jim", "jim/.Junk"] {
        let folder = root.path().join("a.test").join(folder);
        assert_eq!((files(folder.join("new")).len(), files(folder.join("tmp")).len()), (5, 0));
    }
    assert!(files(elsewhere.path()).is_empty());
}

#[tokio::test]
async fn junk_goes_into_its_own_folder() {
    let root = tempfile::tempdir().unwrap();
    let agent = agent(|_| {});
    for _ in 0..2 {
        let mut delivery = delivery(root.path(), "A: b\r\n");
        delivery.junk = true;
        agent.deliver(delivery).await.unwrap();
    }
    let junk = root.path().join("a.test/joe/.Junk");
    assert_eq!(files(junk.join("new")).len(), 2);
    assert!(junk.join("maildirfolder").is_file());
}

#[tokio::test]
async fn links_beneath_the_root_are_not_followed() {
    for planted in ["a.test", "a.test/joe", "a.test/joe/new", "a.test/joe/tmp"] {
        let root = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        for sub in ["joe", "new", "tmp", "cur"] {
            std::fs::create_dir(elsewhere.path().join(sub)).unwrap();
        }
        let link = root.path().join(planted);
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(elsewhere.path(), &link).unwrap();
        let error = agent(|_| {}).deliver(delivery(root.path(), "A: b\r\n")).await.unwrap_err();
        assert!(matches!(error, MaildirError::Link(_)), "{planted}: {error}");
        assert_eq!(files(elsewhere.path()).len(), 4, "{planted}");
        assert!(files(elsewhere.path().join("new")).is_empty(), "{planted}");
    }
}

#[tokio::test]
async fn the_root_itself_may_be_a_link() {
    let (real, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let link = root.path().join("mail");
    symlink(real.path(), &link).unwrap();
    agent(|_| {}).deliver(delivery(&link, "A: b\r\n")).await.unwrap();
    assert_eq!(files(real.path().join("a.test/joe/new")).len(), 1);
}

#[tokio::test]
async fn a_full_mailbox_is_refused_and_recovers() {
    let root = tempfile::tempdir().unwrap();
    let agent = agent(|s| {
        s.quota_bytes_max = 1000;
        s.quota_messages_max = 5;
    });
    let first = delivery(root.path(), &format!("A: b\r\n\r\n{}\r\n", "x".repeat(500)));
    let path = first.path.clone();
    assert!(!agent.is_full(&path).await.unwrap());
    agent.deliver(first).await.unwrap();
    let big = delivery(root.path(), &format!("A: b\r\n\r\n{}\r\n", "x".repeat(500)));
    assert!(matches!(agent.deliver(big).await, Err(MaildirError::Full)));
    assert!(!agent.is_full(&path).await.unwrap(), "a smaller one still fits");
    for _ in 0..4 {
        agent.deliver(delivery(root.path(), "A: b\r\n")).await.unwrap();
    }
    assert!(agent.is_full(&path).await.unwrap(), "five messages are the limit");
    // The file is believed for 15 minutes; whoever deletes mail writes it down there, or removes it.
    let mailbox = root.path().join("a.test/joe");
    for file in files(mailbox.join("new")) {
        std::fs::remove_file(file).unwrap();
    }
    assert!(agent.is_full(&path).await.unwrap());
    std::fs::remove_file(mailbox.join("maildirsize")).unwrap();
    assert!(!agent.is_full(&path).await.unwrap());
}

#[tokio::test]
async fn usage_is_counted_in_all_folders_but_trash() {
    let root = tempfile::tempdir().unwrap();
    let mailbox = root.path().join("a.test/joe");
    for (folder, name, size) in
        [("cur", "1.x,S=70:2,S", 9), ("new", "2.x", 30), (".Sub/cur", "3.x", 40), (".Trash/cur", "4.x", 900)]
    {
        std::fs::create_dir_all(mailbox.join(folder)).unwrap();
        std::fs::write(mailbox.join(folder).join(name), "x".repeat(size)).unwrap();
    }
    let agent = agent(|s| s.quota_bytes_max = 10_000);
    agent.deliver(delivery(root.path(), "A: b\r\n")).await.unwrap();
    let text = std::fs::read_to_string(mailbox.join("maildirsize")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["10000S", "140 3"], "{text}");
    assert!(lines[2].ends_with(" 1"), "{text}");
}

#[tokio::test]
async fn an_old_full_is_counted_again() {
    let root = tempfile::tempdir().unwrap();
    let mailbox = root.path().join("a.test/joe");
    std::fs::create_dir_all(&mailbox).unwrap();
    let file = mailbox.join("maildirsize");
    std::fs::write(&file, "1000S\n5000 1\n").unwrap();
    let agent = agent(|s| s.quota_bytes_max = 1000);
    let path = delivery(root.path(), "").path;
    assert!(agent.is_full(&path).await.unwrap());
    let old = SystemTime::now() - Duration::from_secs(16 * 60);
    File::options().write(true).open(&file).unwrap().set_modified(old).unwrap();
    assert!(!agent.is_full(&path).await.unwrap());
}

#[tokio::test]
async fn mailboxes_of_another_user_are_given_to_them() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: mailboxes_of_another_user_are_given_to_them needs root");
        assert!(std::env::var_os("STAFFETTA_TESTS_ALL").is_none(), "this test may not be skipped");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let owner = Owner { uid: 4321, gid: 8765 };
    let agent = Maildir::new(&MaildirSettings::default(), Some(owner), "mx.test").unwrap();
    agent.deliver(delivery(root.path(), "A: b\r\n")).await.unwrap();
    let mailbox = root.path().join("a.test/joe").metadata().unwrap();
    assert_eq!((mailbox.uid(), mailbox.permissions().mode() & 0o7777), (4321, 0o770));
    assert_ne!(mailbox.gid(), 8765, "the group stays the server's, or it is locked out");
    let file = files(root.path().join("a.test/joe/new"))[0].metadata().unwrap();
    assert_eq!((file.uid(), file.gid()), (4321, 8765));
}

#[tokio::test]
async fn what_cannot_be_written_says_where_and_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("a.test"), "a file").unwrap();
    let error = agent(|_| {}).deliver(delivery(root.path(), "A: b\r\n")).await.unwrap_err();
    assert!(error.to_string().contains("a.test"), "{error}");
    let mut late = tempfile::NamedTempFile::new().unwrap();
    io::Write::write_all(&mut late, b"A: b\r\n\r\n").unwrap();
    let body = store::StoredBody::File { path: late.path().to_owned(), size: 900 };
    let top = Top { return_path: None, delivered_to: None, header_lines: b"" };
    let other = tempfile::tempdir().unwrap();
    let mut broken = delivery(other.path(), "");
    broken.content = Source::open(&body).unwrap().assemble(&record(&["joe@a.test"]), &top);
    assert!(agent(|_| {}).deliver(broken).await.is_err());
    assert!(files(other.path().join("a.test/joe/tmp")).is_empty());
    assert!(files(other.path().join("a.test/joe/new")).is_empty());
}

#[test]
fn settings_that_make_no_sense_name_their_key() {
    for (change, key) in [
        (MaildirSettings { file_mode: "rw".into(), ..Default::default() }, "delivery.maildir.file_mode"),
        (MaildirSettings { folder_mode: "99".into(), ..Default::default() }, "delivery.maildir.folder_mode"),
        (
            MaildirSettings { junk_folder: "Junk".into(), ..Default::default() },
            "delivery.maildir.junk_folder",
        ),
        (
            MaildirSettings { junk_folder: ".a/b".into(), ..Default::default() },
            "delivery.maildir.junk_folder",
        ),
    ] {
        let error = Maildir::new(&change, None, "mx.test").unwrap_err().to_string();
        assert!(error.starts_with(key), "{error}");
    }
}
