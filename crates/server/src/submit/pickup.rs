//! Takes what lies in the maildrop folder into the queue.
//!
//! Each file becomes an SMTP dialogue with the session driver, in the name of the file's owner: the rules are those of
//! the submit socket. A file goes only when the server has said 250, or when its owner has been told why not. What is
//! refused for now stays, and is tried again after [`Pickup::retry`]; what cannot be read is put aside and told.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mail::Reply;

use super::client::{Dialogue, DialogueError, Envelope, Sent};
use super::maildrop::{self, DropError, Dropped};
use super::{Caller, LocalSession, compose};
use crate::maillog::{Level, MailLog};
use crate::privileges::Users;

/// Octets in flight between the pick-up and the session.
const PIPE_BYTES: usize = 64 << 10;
/// Files that were put off are remembered up to this number; beyond it they are simply tried at the next round.
const PUT_OFF_MAX: usize = 10_000;

/// How the folder is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pickup {
    /// The folder.
    pub folder: PathBuf,
    /// It is looked at this often.
    pub interval: Duration,
    /// What was refused for now is tried again after this time.
    pub retry: Duration,
    /// A longer message is put aside.
    pub message_bytes_max: u64,
}

impl Pickup {
    /// The defaults: every two seconds, again after five minutes.
    #[must_use]
    pub fn new(folder: PathBuf, message_bytes_max: u64) -> Self {
        Self { folder, interval: Duration::from_secs(2), retry: Duration::from_secs(300), message_bytes_max }
    }

    /// Serves the folder until the future is dropped.
    pub async fn run(self, sessions: Arc<dyn LocalSession>, log: MailLog) {
        let mut round = Round { pickup: self, sessions, log, put_off: HashMap::new(), last_trouble: None };
        loop {
            round.go(Instant::now()).await;
            tokio::time::sleep(round.pickup.interval).await;
        }
    }
}

/// What is kept between two looks at the folder.
pub(super) struct Round {
    pub(super) pickup: Pickup,
    pub(super) sessions: Arc<dyn LocalSession>,
    pub(super) log: MailLog,
    pub(super) put_off: HashMap<PathBuf, Instant>,
    pub(super) last_trouble: Option<String>,
}

/// What becomes of a file.
enum Fate {
    Done,
    Later,
    /// Its owner must be told why it was not sent.
    Returned(Vec<(String, Reply)>),
}

impl Round {
    /// Looks at the folder once.
    pub(super) async fn go(&mut self, now: Instant) {
        let folder = self.pickup.folder.clone();
        let listed = tokio::task::spawn_blocking(move || maildrop::waiting(&folder)).await;
        let paths = match listed.unwrap_or_else(|e| Err(std::io::Error::other(e))) {
            Ok(paths) => paths,
            Err(error) => return self.tell_once(format!("{}: {error}", self.pickup.folder.display())),
        };
        self.last_trouble = None;
        self.put_off.retain(|path, until| *until > now && paths.contains(path));
        for path in paths {
            if !self.put_off.contains_key(&path) {
                self.file(path, now).await;
            }
        }
    }

    async fn file(&mut self, path: PathBuf, now: Instant) {
        let (file, most) = (path.clone(), self.pickup.message_bytes_max);
        let taken = tokio::task::spawn_blocking(move || maildrop::take(&file, most)).await;
        let dropped = match taken {
            Ok(Ok(dropped)) => dropped,
            Ok(Err(DropError::Bad(why))) => {
                self.log.notice(Level::Warning, &format!("{}: {why}; put aside", path.display()));
                let _ = maildrop::put_aside(&path);
                return;
            }
            Ok(Err(DropError::Io(error))) => {
                self.log.notice(Level::Warning, &format!("{}: {error}", path.display()));
                return self.put_off(path, now);
            }
            Err(_) => return,
        };
        let caller = Caller::of(dropped.uid, &Users::of_the_system());
        match self.submit(&dropped, &caller).await {
            Ok(Fate::Done) => self.remove(path),
            Ok(Fate::Returned(refused)) => match self.tell_owner(&dropped, &caller, &refused).await {
                Ok(true) => self.remove(path),
                _ => {
                    let words = refused.first().map(|(_, reply)| reply.to_string()).unwrap_or_default();
                    let text = format!(
                        "{}: refused ({words}), and its owner cannot be told; put aside",
                        path.display()
                    );
                    self.log.notice(Level::Warning, &text);
                    let _ = maildrop::put_aside(&path);
                }
            },
            Ok(Fate::Later) | Err(_) => self.put_off(path, now),
        }
    }

    fn remove(&mut self, path: PathBuf) {
        if let Err(error) = std::fs::remove_file(&path) {
            // It would be sent again and again: rather leave it out for now, and say so.
            self.tell_once(format!("{}: sent, and cannot be removed: {error}", path.display()));
            self.put_off(path, Instant::now());
        }
    }

    fn put_off(&mut self, path: PathBuf, now: Instant) {
        if self.put_off.len() < PUT_OFF_MAX {
            self.put_off.insert(path, now + self.pickup.retry);
        }
    }

    fn tell_once(&mut self, trouble: String) {
        if self.last_trouble.as_ref() != Some(&trouble) {
            self.log.notice(Level::Warning, &trouble);
            self.last_trouble = Some(trouble);
        }
    }

    async fn submit(&self, dropped: &Dropped, caller: &Caller) -> Result<Fate, DialogueError> {
        let sent = self.dialogue(caller, &dropped.envelope, |host, sender| {
            let author = compose::Author { address: sender, full_name: dropped.full_name.as_deref(), host };
            compose::finish(&dropped.message, &author)
        });
        Ok(fate(&dropped.envelope, sent.await?))
    }

    /// Sends the owner a message about what was refused. True when it was taken.
    async fn tell_owner(
        &self,
        dropped: &Dropped,
        caller: &Caller,
        refused: &[(String, Reply)],
    ) -> Result<bool, DialogueError> {
        if dropped.envelope.sender.as_deref() == Some("") {
            // RFC 5321 §4.5.5: nobody is told of what has no sender; it goes as a log line.
            self.log
                .notice(Level::Warning, &format!("{}: refused, no sender to tell", dropped.path.display()));
            return Ok(true);
        }
        let envelope = Envelope {
            sender: Some(String::new()),
            recipients: vec![caller.user.clone()],
            ..Envelope::default()
        };
        // Root may send with the null reverse-path; the server tells in its own name.
        let server = Caller { uid: 0, user: "MAILER-DAEMON".to_owned() };
        let sent =
            self.dialogue(&server, &envelope, |host, _| notice(dropped, caller, refused, host)).await?;
        Ok(sent.accepted.is_some())
    }

    /// One dialogue with the session driver.
    async fn dialogue(
        &self,
        caller: &Caller,
        envelope: &Envelope,
        message: impl FnOnce(&str, &str) -> Vec<u8>,
    ) -> Result<Sent, DialogueError> {
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        let (sessions, who) = (Arc::clone(&self.sessions), caller.clone());
        let session = tokio::spawn(async move { sessions.talk(Box::new(theirs), who).await });
        let result = match Dialogue::begin(ours, &caller.user).await? {
            Ok(mut dialogue) => {
                let message = message(dialogue.host(), &dialogue.sender(envelope));
                let sent = dialogue.send(envelope, &message).await;
                dialogue.quit().await;
                sent
            }
            Err(reply) => Ok(Sent { refusal: Some(reply), ..Sent::default() }),
        };
        let _ = session.await;
        result
    }
}

/// Accepted, with whatever recipients were refused for good; or to be tried again; or to be returned.
fn fate(envelope: &Envelope, sent: Sent) -> Fate {
    let all = |reply: Reply| envelope.recipients.iter().map(|r| (r.clone(), reply.clone())).collect();
    match sent.refusal {
        Some(reply) if reply.is_permanent() => return Fate::Returned(all(reply)),
        Some(_) => return Fate::Later,
        None => {}
    }
    // When some were taken the others must not wait in this file: it would be sent to the first ones again.
    if sent.refused.is_empty() && sent.accepted.is_some() {
        return Fate::Done;
    }
    if sent.accepted.is_none() && sent.refused.iter().any(|(_, reply)| !reply.is_permanent()) {
        return Fate::Later;
    }
    Fate::Returned(sent.refused)
}

/// What the owner is told.
fn notice(dropped: &Dropped, caller: &Caller, refused: &[(String, Reply)], host: &str) -> Vec<u8> {
    let mut text = format!(
        "From: Mail system <MAILER-DAEMON@{host}>\r\nTo: {}@{host}\r\nSubject: Your message could not be sent\r\n\
         Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: 8bit\r\n\r\n\
         A message that you gave to sendmail was not sent to these recipients:\r\n\r\n",
        caller.user
    );
    for (recipient, reply) in refused {
        text.push_str(&format!("  {recipient}\r\n      {reply}\r\n"));
    }
    text.push_str("\r\nIts header was:\r\n\r\n");
    let header = dropped.message.get(..mail::header::fields_end(&dropped.message)).unwrap_or_default();
    let mut bytes = text.into_bytes();
    bytes.extend(header.iter().take(16 << 10));
    bytes.extend_from_slice(b"\r\n");
    bytes
}
