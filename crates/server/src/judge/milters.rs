//! Milters beside the judge: what they are told of a session, and where their answers go.
//!
//! A milter hears of a client with its first MAIL. What it says before DATA is heard by the client at RCPT, as with all other
//! checks; what it says of the message counts with everything else after DATA. Never changes an envelope or a message: that
//! is for who takes the message in, by [`Changes`].

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use antispam::remote::milter::{Changes, Draught, Greeting, Macros, Session};
use mail::{Address, QueueId, Reply};
use policy::{AuthResult, Facts, MailFacts, StageReport};
use smtp::{MailParameters, RecipientParameters};
use store::Edit;

use crate::limits::{BodyRoom, Room};
use crate::session::facts::ClientFacts;

use super::Judge;
use super::case::Case;
use super::content::Whole;

/// What another body has at least, octets.
const FIRST_ROOM: usize = 64 * 1024;

/// Milters of one session.
#[derive(Default)]
pub(super) struct Told {
    pub(super) session: Session,
    macros: Macros,
}

impl Told {
    pub(super) fn new(session: Session) -> Self {
        Self { session, macros: Macros::default() }
    }
}

impl Case {
    /// MAIL was accepted so far, and the message will have this name: milters hear of it.
    pub async fn milters_hear(&mut self, id: QueueId, params: &MailParameters, client: &ClientFacts) {
        let Some(mail) = self.mail.clone() else { return };
        if self.milters.session.is_empty() {
            return;
        }
        let greeting = greeting(&mail, client);
        self.milters.macros = macros(&mail, client, &greeting, (id, self.judge.us.hostname.as_str()));
        let words = mail_words(&mail, params);
        let time = self.waits.left(self.judge.command_time(), self.judge.waiting_time());
        let Told { session, macros } = &mut self.milters;
        let report = session.mail(&greeting, (&words, macros), time).await;
        self.waits.in_transaction(report.took);
        self.clerk.checked(&report);
        self.dossier.add(report);
    }

    /// RCPT, accepted so far; none when no milter has anything to say of it.
    pub(super) async fn milters_recipient(
        &mut self,
        (recipient, is_ours): (&Address, bool),
        params: &RecipientParameters,
    ) -> Option<StageReport> {
        let report = self.rcpt(recipient, params, (is_ours, None)).await?;
        let is_something = !report.findings.is_empty();
        self.clerk.checked(&report);
        is_something.then_some(report)
    }

    /// RCPT, refused: for milters that want to know.
    pub async fn milters_hear_refused(
        &mut self,
        recipient: &Address,
        params: &RecipientParameters,
        reply: &Reply,
    ) {
        if let Some(report) = self.rcpt(recipient, params, (false, Some(reply))).await {
            self.clerk.checked(&report);
        }
    }

    async fn rcpt(
        &mut self,
        recipient: &Address,
        params: &RecipientParameters,
        (is_ours, refused): (bool, Option<&Reply>),
    ) -> Option<StageReport> {
        if self.milters.session.is_empty() {
            return None;
        }
        let time = self.judge.command_time();
        let Told { session, macros } = &mut self.milters;
        match refused {
            // As Postfix tells them: the reply in the place of a next hop.
            Some(reply) => {
                macros.set("rcpt_mailer", "error");
                macros.set("rcpt_host", reply.enhanced.map(|status| status.to_string()).unwrap_or_default());
                macros.set("rcpt_addr", reply.text.clone());
            }
            None => {
                macros.set("rcpt_mailer", mailer(is_ours));
                macros.set("rcpt_host", recipient.domain.as_str());
                macros.set("rcpt_addr", recipient.to_string());
            }
        }
        let words = rcpt_words(recipient, params);
        Some(session.rcpt((&words, macros), refused.is_some(), time).await)
    }

    /// A command that is not known. A reply that asks to come back takes the place of ours.
    pub async fn milters_hear_unknown(&mut self, line: &str) -> Reply {
        let (report, reply) = self.milters.session.unknown(line, self.judge.command_time()).await;
        self.clerk.checked(&report);
        self.dossier.add(report);
        reply.unwrap_or_else(|| Reply::new(500, (5, 5, 1), "Command not recognised"))
    }

    /// DATA. What milters say to it is answered with the message.
    pub async fn data(&mut self) {
        if self.milters.session.is_empty() || self.mail.is_none() {
            return;
        }
        let time = self.judge.command_time();
        let Told { session, macros } = &mut self.milters;
        let report = session.data(macros, time).await;
        self.clerk.checked(&report);
        self.dossier.add(report);
    }

    /// The session is over.
    pub async fn end(&mut self) {
        self.milters.session.quit().await;
    }
}

impl Told {
    /// Shows them the message, with these edits made.
    pub(super) async fn shown(
        &mut self,
        judge: &Judge,
        message: &mut Whole,
        edits: &[Edit],
        time: Duration,
    ) -> (StageReport, Changes) {
        let until = Instant::now() + time;
        let draught = Draught::new(&message.octets, message.header.len(), edits);
        let held = (message.room.take(), message.octets.len());
        let mut allowance = Allowance::new(held, &judge.memory, judge.message_bytes_max, time).await;
        let left = until.saturating_duration_since(Instant::now());
        let room = &mut |octets| allowance.more(octets);
        let shown = self.session.message(draught, &self.macros, room, left).await;
        message.room = allowance.room;
        shown
    }
}

/// Room for a body that a milter puts in the place of another.
struct Allowance {
    room: Option<Room>,
    /// What the room is for besides.
    taken: usize,
    used: usize,
    bytes_max: u64,
}

impl Allowance {
    /// `held`: the room that the message itself takes, and its octets.
    async fn new(held: (Option<Room>, usize), memory: &BodyRoom, bytes_max: u64, time_max: Duration) -> Self {
        let (room, taken) = match held {
            (Some(room), octets) => (Some(room), octets),
            (None, _) => {
                let first = tokio::time::timeout(time_max, memory.take(FIRST_ROOM)).await;
                (first.ok().flatten(), 0)
            }
        };
        Self { room, taken, used: 0, bytes_max }
    }

    fn more(&mut self, octets: usize) -> bool {
        self.used += octets;
        let Some(room) = self.room.as_mut().filter(|_| self.used as u64 <= self.bytes_max) else {
            return false;
        };
        let over = (self.taken + self.used).saturating_sub(room.bytes());
        over == 0 || room.grow(over.max(FIRST_ROOM))
    }
}

fn greeting(mail: &MailFacts, client: &ClientFacts) -> Greeting {
    let helo = mail.helo.name.to_string();
    let tls = client.tls.is_some();
    // As Postfix has it for mail that came over no network.
    let Some(ip) = client.client else {
        let address = Some((IpAddr::V4(Ipv4Addr::LOCALHOST), 0));
        return Greeting { name: "localhost".to_owned(), address, helo, tls };
    };
    let name = verified(mail).map_or_else(|| format!("[{ip}]"), str::to_owned);
    Greeting { name, address: Some((ip, client.port)), helo, tls }
}

fn verified(mail: &MailFacts) -> Option<&str> {
    let iprev = mail.auth.iprev.as_ref().filter(|iprev| iprev.result == AuthResult::Pass)?;
    Some(iprev.name.as_ref()?.as_str())
}

fn macros(
    mail: &MailFacts,
    client: &ClientFacts,
    greeting: &Greeting,
    (id, hostname): (QueueId, &str),
) -> Macros {
    let mut all = Macros::default();
    all.set("i", id.to_string());
    all.set("j", hostname);
    all.set("v", concat!("Staffetta ", env!("CARGO_PKG_VERSION")));
    all.set("daemon_name", hostname);
    all.set("daemon_addr", mail.connect().local.map(|ip| ip.to_string()).unwrap_or_default());
    if let Some((ip, port)) = greeting.address {
        let name = if greeting.name.starts_with('[') { "unknown" } else { &greeting.name };
        let reverse = mail.auth.iprev.as_ref().and_then(|iprev| iprev.name.as_ref());
        all.set("_", format!("{name} [{ip}]"));
        all.set("client_name", name);
        all.set("client_ptr", reverse.map_or("unknown", mail::Domain::as_str));
        all.set("client_addr", ip.to_string());
        all.set("client_port", port.to_string());
    }
    if let Some(tls) = &client.tls {
        all.set("tls_version", tls.version.clone());
        all.set("cipher", tls.cipher.clone());
        all.set("cipher_bits", cipher_bits(&tls.cipher));
    }
    if let Some(account) = &mail.account {
        all.set("auth_type", client.mechanism.unwrap_or_default());
        all.set("auth_authen", &**account);
    }
    if let Some(sender) = mail.reverse_path.mailbox() {
        all.set("mail_mailer", mailer(mail.sender_is_ours));
        all.set("mail_host", sender.domain.as_str());
        all.set("mail_addr", sender.to_string());
    }
    all
}

/// Mailboxes of ours are local, whatever agent they have; all else leaves by SMTP.
fn mailer(is_ours: bool) -> &'static str {
    if is_ours { "local" } else { "smtp" }
}

fn cipher_bits(cipher: &str) -> &'static str {
    let short = cipher.contains("AES_128") || cipher.contains("AES128");
    if short { "128" } else { "256" }
}

/// MAIL as it was said: the path, and the parameters.
fn mail_words(mail: &MailFacts, params: &MailParameters) -> Vec<String> {
    let sender = mail.reverse_path.mailbox().map(ToString::to_string).unwrap_or_default();
    let mut words = vec![format!("<{sender}>")];
    words.extend(params.size.map(|size| format!("SIZE={size}")));
    words.extend((params.body == mail::BodyType::EightBitMime).then(|| "BODY=8BITMIME".to_owned()));
    words.extend(params.smtputf8.then(|| "SMTPUTF8".to_owned()));
    words.extend(params.ret.map(|ret| match ret {
        mail::Ret::Full => "RET=FULL".to_owned(),
        mail::Ret::Headers => "RET=HDRS".to_owned(),
    }));
    words.extend(params.envid.as_ref().map(|envid| format!("ENVID={envid}")));
    words
}

fn rcpt_words(recipient: &Address, params: &RecipientParameters) -> Vec<String> {
    let mut words = vec![format!("<{recipient}>")];
    words.extend(params.notify.explicit.then(|| format!("NOTIFY={}", params.notify)));
    words.extend(
        params.orcpt.as_ref().map(|original| format!("ORCPT={};{}", original.kind, original.address)),
    );
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn another_body_has_the_room_there_is_and_no_more_than_a_message_may_have() {
        let memory = BodyRoom::new(1 << 20);
        let mut small = Allowance::new((None, 0), &memory, 100, Duration::ZERO).await;
        assert!(small.more(60) && small.more(40) && !small.more(1));
        let mut large = Allowance::new((None, 0), &memory, 1 << 30, Duration::ZERO).await;
        let pieces = (0..).take_while(|_| large.more(1000)).count();
        assert!((300..600).contains(&pieces), "half of the room stays free: {pieces}");
        drop((small, large));
        let held = memory.take(200_000).await;
        let mut beside = Allowance::new((held, 200_000), &memory, 1 << 30, Duration::ZERO).await;
        assert!(beside.more(100_000) && memory.taken() >= 300_000);
        drop(beside);
        assert_eq!(memory.taken(), 0);
    }
}
