//! The signs by which automatic messages are known that declare themselves by no MIME type: who they are from, what their
//! subject and first lines say.
//!
//! Each sign has points, and several must come together: no phrase alone makes a bounce of a letter. Texts are compared in
//! lower case with white space made one. RFC 3834 §5 for the fields of automatic replies.

use mail::header;
use mail_parser::{Message, PartType};

use super::Kind;
use crate::normalised::positions;

/// Points that make a bounce.
const BOUNCE_POINTS: u32 = 4;
/// Octets of the first texts in which phrases are looked for.
const TEXT_BYTES_MAX: usize = 8 << 10;
/// Octets of a subject or sender that are looked at.
const FIELD_BYTES_MAX: usize = 512;

/// Local parts and names of programs that report.
const DAEMONS: &[&str] = &["mailer-daemon", "mail delivery s", "mail deliver system"];
/// Names that report, but write letters too.
const MASTERS: &[&str] = &["postmaster", "ndr administrator", "system administrator"];

/// What subjects of bounces say.
const SUBJECTS: &[&str] = &[
    "delivery status notification",
    "delivery failure",
    "delivery failed",
    "delivery has failed",
    "delivery report",
    "delivery delayed",
    "failure notice",
    "failure delivery",
    "mail failure",
    "mail system error",
    "returned mail",
    "returned to sender",
    "undeliverable",
    "undelivered",
    "non delivery",
    "non-delivery",
    "nondeliverable",
    "not be delivered",
    "error sending your mail",
    "could not send m",
    "message delayed",
    "errors from ",
    "delayed 24 hours",
    "unzustellbar",
    "non remis",
    "no se puede entregar",
    "mancato recapito",
];

/// What bounces say of themselves in their first lines.
const PHRASES: &[&str] = &[
    "this message was created automatically by mail delivery software",
    "message that you sent could not be delivered",
    "message that you sent has not yet been delivered",
    "could not be delivered",
    "couldn't be delivered",
    "was unable to deliver your message",
    "wasn't able to deliver your message",
    "unable to deliver message",
    "i'm afraid i wasn't able to deliver",
    "we had trouble delivering your message",
    "delivery to the following recipient",
    "did not reach the following recipient",
    "failed to deliver",
    "the following addresses had permanent fatal errors",
    "following addresses had transient",
    "has not been delivered",
    "had the following delivery problem",
    "is not known at this site",
    "undeliverable message",
    "undelivered message",
    "user unknown",
    "mailbox unknown",
    "no such user",
    "mail delivery failed",
    "the message was not delivered",
    "was not delivered to",
    "permanent failure for one or more recipients",
    "sorry, we were unable to deliver your message",
    "unable to deliver your message",
    "transcript of session follows",
    "your message cannot be delivered",
    "your message was undeliverable",
    "error following rcpt",
    "there was an error delivering your mail",
    "was rejected by a remote mail server",
    "had permanent delivery errors",
    "delivery failed ",
    "you are not a member of this mailing list",
];

/// What a service says that tells of mail in JSON.
const NOTICES: &[&str] = &["{\"notificationtype\":\"bounce\"", "{\"notificationtype\":\"delivery\""];
/// The same of complaints.
const COMPLAINT: &str = "{\"notificationtype\":\"complaint\"";

/// How a refusal by SMTP looks in a text: `550 5.1.1`, `<<< 550`, `said: 550`.
const REFUSALS: &[&str] =
    &[" 550 ", " 554 ", " 552 ", " 5.1.", " 5.2.", " 5.7.", " 4.4.", "<<< 5", "said: 5"];

/// What subjects of automatic replies begin with.
const REPLIES: &[&str] = &[
    "auto:",
    "auto-reply",
    "auto reply",
    "autoreply",
    "automatic reply",
    "automatische antwort",
    "abwesenheit",
    "out of office",
    "out of the office",
    "réponse automatique",
    "respuesta automática",
    "risposta automatica",
    "vacation",
    "away until",
];

/// The kind by these signs.
pub(super) fn kind(parsed: &Message<'_>, octets: &[u8], null_sender: bool) -> Kind {
    let seen = Seen::of(parsed, octets);
    if seen.is_list_post(octets) {
        return Kind::Ordinary;
    }
    if seen.bounce_points(octets, null_sender) >= BOUNCE_POINTS {
        return Kind::Bounce;
    }
    if seen.is_complaint(octets) {
        return Kind::Feedback;
    }
    if seen.is_reply(octets, null_sender) { Kind::AutoReply } else { Kind::Ordinary }
}

/// The texts that are looked at.
struct Seen {
    from: String,
    subject: String,
    text: String,
}

impl Seen {
    fn of(parsed: &Message<'_>, octets: &[u8]) -> Self {
        let from = ["From", "Sender"].iter().filter_map(|name| header::find(octets, name));
        let from = from.fold(String::new(), |all, field| all + " " + &plain(&field.text(), FIELD_BYTES_MAX));
        let subject = plain(parsed.subject().unwrap_or_default(), FIELD_BYTES_MAX);
        Self { from, subject, text: first_text(parsed) }
    }

    /// Points for who it is from and, when that is no person, for what it says.
    fn bounce_points(&self, octets: &[u8], null_sender: bool) -> u32 {
        let mut from = 2 * u32::from(null_sender);
        // A reporting program names itself, or nobody.
        from += if self.from.contains("<>") || any(&self.from, DAEMONS) {
            2
        } else {
            u32::from(any(&self.from, MASTERS))
        };
        from += 3 * u32::from(header::find(octets, "X-Failed-Recipients").is_some());
        from += 4 * u32::from(any(&self.text, NOTICES));
        from += u32::from(auto_submitted(octets).is_some());
        let says = 2 * u32::from(any(&self.subject, SUBJECTS))
            + 2 * u32::from(any(&self.text, PHRASES))
            + u32::from(any(&self.text, REFUSALS))
            + u32::from(returns_a_message(octets));
        // Nobody as the sender is a sign of every automatic message (RFC 3834 §3.3), in the envelope as in From: an answer is
        // no bounce for that alone. What reports names itself, or says something of the mail that did not arrive.
        let is_named = any(&self.from, DAEMONS) || any(&self.text, NOTICES);
        if from == 0 || (says == 0 && !is_named) { 0 } else { from + says }
    }

    /// What a list sends on is a letter, whatever is in it; but not what a list's own program answers.
    fn is_list_post(&self, octets: &[u8]) -> bool {
        let listed = ["List-Id", "List-Post"].iter().any(|name| header::find(octets, name).is_some());
        listed && !any(&self.from, DAEMONS)
    }

    /// Complaints of one large provider come as a bare attached message.
    fn is_complaint(&self, octets: &[u8]) -> bool {
        self.subject.starts_with("complaint about message from ")
            || self.text.contains(COMPLAINT)
            || positions(octets, b"\nx-hmxmroriginalrecipient:").next().is_some()
            || (auto_submitted(octets).is_some() && header::find(octets, "X-Apple-Unsubscribe").is_some())
    }

    fn is_reply(&self, octets: &[u8], null_sender: bool) -> bool {
        let replied = auto_submitted(octets).is_some_and(|value| value.starts_with("auto-replied"));
        let named = ["X-Autoreply", "X-Autorespond", "X-AutoReply-From", "X-Mail-Autoreply"];
        let precedence = header::find(octets, "Precedence")
            .is_some_and(|field| matches!(&*field.text().to_ascii_lowercase(), "auto_reply" | "auto-reply"));
        let subject = REPLIES.iter().any(|start| self.subject.starts_with(start));
        replied
            || precedence
            || named.iter().any(|name| header::find(octets, name).is_some())
            // Subjects alone can be anybody's; programs that reply have no sender or answer something.
            || (subject && (null_sender || header::find(octets, "In-Reply-To").is_some()))
    }
}

/// The value of Auto-Submitted (RFC 3834 §5), in lower case, unless it is `no`.
fn auto_submitted(octets: &[u8]) -> Option<String> {
    let field = header::find(octets, "Auto-Submitted")?;
    let value = field.text().to_ascii_lowercase();
    (!value.starts_with("no")).then_some(value)
}

/// True when a header stands in the body: the returned message.
fn returns_a_message(octets: &[u8]) -> bool {
    let body = octets.get(header::body_offset(octets)..).unwrap_or_default();
    let names: [&[u8]; 3] = [b"\nreceived:", b"\nmessage-id:", b"\nreturn-path:"];
    names.iter().filter(|name| positions(body, name).next().is_some()).count() >= 2
}

/// The first texts of the message, as [`plain`] has them.
fn first_text(parsed: &Message<'_>) -> String {
    let mut text = String::new();
    for part in &parsed.parts {
        let left = TEXT_BYTES_MAX.saturating_sub(text.len());
        match &part.body {
            PartType::Text(part) | PartType::Html(part) if left > 0 => {
                text.push(' ');
                text.push_str(&plain(part, left));
            }
            _ => {}
        }
    }
    text
}

/// In lower case, white space made one, at most so many octets of the original.
fn plain(text: &str, bytes_max: usize) -> String {
    let end = (0..=bytes_max.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    let cut = text.get(..end.unwrap_or_default()).unwrap_or_default();
    let words = cut.split_whitespace().map(str::to_lowercase);
    words.fold(String::with_capacity(cut.len()), |mut all, word| {
        if !all.is_empty() {
            all.push(' ');
        }
        all.push_str(&word);
        all
    })
}

fn any(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| text.contains(word))
}
