//! Our `Received:` line: who handed us a message, how, under which name and when.
//!
//! RFC 5321 §4.4 for the grammar, RFC 3848 and RFC 6531 §4.3 for the keywords after `with`, RFC 5322 §3.6.7 for the rest.
//! What the peer said stands in it cleaned: nothing in a greeting can close a comment or forge a field. Never fails.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::address::Address;
use crate::domain::Domain;
use crate::header::write_field;
use crate::queue_id::QueueId;
use crate::time::Timestamp;

/// Longest greeting that is shown, in octets (RFC 5321 §4.5.3.1.2).
const HELO_BYTES_MAX: usize = 255;

/// How the message was handed to us: it chooses the keyword after `with`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "the IANA registry is a product of independent letters")]
pub struct With {
    /// LHLO rather than EHLO or HELO (RFC 2033).
    pub lmtp: bool,
    /// EHLO rather than HELO. LMTP is always extended.
    pub extended: bool,
    /// SMTPUTF8 was asked for (RFC 6531 §4.3).
    pub smtputf8: bool,
    /// TLS was in use, by STARTTLS or from the start.
    pub tls: bool,
    /// The client authenticated.
    pub authenticated: bool,
}

impl With {
    /// The keyword, such as `ESMTPSA` (RFC 3848, RFC 6531 §4.3).
    #[must_use]
    pub fn keyword(&self) -> String {
        let base = match (self.smtputf8, self.lmtp, self.extended) {
            (true, true, _) => "UTF8LMTP",
            (true, false, _) => "UTF8SMTP",
            (false, true, _) => "LMTP",
            (false, false, true) => "ESMTP",
            // RFC 3848 has no letters for plain SMTP: without EHLO there is neither STARTTLS nor AUTH. TLS from the
            // first byte with HELO is the exception, and says ESMTPS for want of a word of its own.
            (false, false, false) if self.tls => "ESMTP",
            (false, false, false) => "SMTP",
        };
        let mut keyword = base.to_owned();
        if base != "SMTP" {
            keyword.push_str(if self.tls { "S" } else { "" });
            keyword.push_str(if self.authenticated { "A" } else { "" });
        }
        keyword
    }
}

/// The client, as a `from` clause shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FromClause<'a> {
    /// What it called itself in HELO, EHLO or LHLO; shown cleaned.
    pub helo: &'a str,
    /// Its canonical address.
    pub client: IpAddr,
    /// Its name in DNS, only when address and name confirm each other.
    pub verified_name: Option<&'a str>,
}

/// Where the message came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source<'a> {
    /// A client over the network, shown.
    Client(FromClause<'a>),
    /// A client over the network whose name and address are kept from the readers: submission by default. The line then
    /// has no `from` clause.
    Hidden,
    /// A user of this machine, by `sendmail` or the maildrop folder. There is no `with` clause: no protocol was spoken.
    Local {
        /// The user's login name or number.
        user: &'a str,
    },
}

/// Protocol and cipher of the session, as the TLS library names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsClause<'a> {
    /// Such as `TLSv1.3`.
    pub version: &'a str,
    /// Such as `TLS_AES_256_GCM_SHA384`.
    pub cipher: &'a str,
}

/// All that the line says.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// From whom.
    pub source: Source<'a>,
    /// Our own host name.
    pub by: &'a str,
    /// By which protocol.
    pub with: With,
    /// TLS, where it was used.
    pub tls: Option<TlsClause<'a>>,
    /// The message's name with us.
    pub id: QueueId,
    /// The recipients of the transaction; named only when there is one, so that no reader learns of another.
    pub recipients: &'a [Address],
    /// When the message was accepted.
    pub at: Timestamp,
}

impl Received<'_> {
    /// The field with its CRLF, folded at 78.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(320);
        let from = self.source_clause();
        let tls = self.tls.map(|t| format!("(using {} with cipher {})", clean(t.version), clean(t.cipher)));
        let by = self.by_clause();
        let mut clauses = vec![from.as_str(), tls.as_deref().unwrap_or_default(), by.as_str()];
        let with = self.with_clause();
        let recipient = self.for_clause();
        let id = format!("id {}{}", self.id, if recipient.is_some() { "" } else { ";" });
        clauses.extend([with.as_str(), id.as_str()]);
        clauses.extend(recipient.as_deref());
        let date = self.at.rfc5322();
        clauses.push(&date);
        write_field(&mut out, "Received", &clauses);
        out
    }

    /// RFC 5321 §4.4: the source must name the client and its address as a literal.
    fn source_clause(&self) -> String {
        let Source::Client(from) = self.source else { return String::new() };
        let mut text = format!("from {} (", clean(from.helo));
        if let Some(name) = from.verified_name {
            text.push_str(&clean(name));
            text.push(' ');
        }
        // A String takes all that is written to it.
        let _ = write!(text, "{})", Domain::from_ip(from.client));
        text
    }

    fn by_clause(&self) -> String {
        let by = clean(self.by);
        match self.source {
            Source::Local { user } => format!("by {by} (Staffetta, from user {})", clean(user)),
            Source::Client(_) | Source::Hidden => format!("by {by} (Staffetta)"),
        }
    }

    fn with_clause(&self) -> String {
        match self.source {
            Source::Local { .. } => String::new(),
            Source::Client(_) | Source::Hidden => format!("with {}", self.with.keyword()),
        }
    }

    /// RFC 5321 §4.4 permits one recipient; RFC 6531 §3.7.3 permits UTF-8 only in a message that asked for it.
    fn for_clause(&self) -> Option<String> {
        match self.recipients {
            [one] if one.is_ascii() || self.with.smtputf8 => Some(format!("for <{one}>;")),
            _ => None,
        }
    }
}

/// A peer's words as one harmless atom: letters, digits and what domains and literals are made of; the rest becomes `?`.
fn clean(text: &str) -> String {
    let fine = |c: char| c.is_ascii_alphanumeric() || "-._:[]+=/@".contains(c);
    let cleaned: String = text.chars().take(HELO_BYTES_MAX).map(|c| if fine(c) { c } else { '?' }).collect();
    if cleaned.is_empty() { "unknown".to_owned() } else { cleaned }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header;
    use proptest::prelude::*;

    fn base<'a>() -> Received<'a> {
        Received {
            source: Source::Client(FromClause {
                helo: "client.test",
                client: "192.0.2.1".parse().unwrap(),
                verified_name: Some("mail.client.test"),
            }),
            by: "mx.example.test",
            with: With { extended: true, tls: true, ..With::default() },
            tls: Some(TlsClause { version: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384" }),
            id: QueueId(1),
            recipients: &[],
            at: Timestamp::from_seconds(1_795_309_323),
        }
    }

    fn text(received: Received<'_>) -> String {
        String::from_utf8(received.to_bytes()).unwrap()
    }

    fn client(helo: &str) -> Source<'_> {
        Source::Client(FromClause { helo, client: "2001:db8::1".parse().unwrap(), verified_name: None })
    }

    #[test]
    fn a_line_names_client_protocol_id_recipient_and_date() {
        let recipients = [Address::parse("joe@example.test").unwrap()];
        assert_eq!(
            text(Received { recipients: &recipients, ..base() }),
            "Received: from client.test (mail.client.test [192.0.2.1])\r\n\
             \t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384)\r\n\
             \tby mx.example.test (Staffetta) with ESMTPS id 0000000000001\r\n\
             \tfor <joe@example.test>; Sun, 22 Nov 2026 01:02:03 +0000\r\n"
        );
    }

    #[test]
    fn a_hidden_client_and_a_local_user_leave_no_address() {
        let hidden = text(Received { source: Source::Hidden, ..base() });
        assert!(hidden.starts_with("Received: (using TLSv1.3"), "{hidden}");
        assert!(
            !hidden.contains("192.0.2.1") && !hidden.contains("client.test") && !hidden.contains("from "),
            "{hidden}"
        );
        assert_eq!(
            text(Received { source: Source::Local { user: "joe" }, tls: None, ..base() }),
            "Received: by mx.example.test (Staffetta, from user joe) id 0000000000001;\r\n\
             \tSun, 22 Nov 2026 01:02:03 +0000\r\n"
        );
    }

    #[test]
    fn one_recipient_is_named_several_are_not() {
        let two = [Address::parse("a@b.test").unwrap(), Address::parse("c@b.test").unwrap()];
        assert!(!text(Received { recipients: &two, ..base() }).contains("for <"));
        assert!(!text(base()).contains("for <"));
        let unicode = [Address::parse("jörg@b.test").unwrap()];
        assert!(!text(Received { recipients: &unicode, ..base() }).contains("for <"));
        let with = With { smtputf8: true, ..With::default() };
        assert!(text(Received { recipients: &unicode, with, ..base() }).contains("for <jörg@b.test>;"));
    }

    #[test]
    fn keywords_are_those_of_the_registry() {
        let word = |letters: &str| {
            With {
                lmtp: letters.contains('l'),
                extended: letters.contains('e'),
                smtputf8: letters.contains('u'),
                tls: letters.contains('s'),
                authenticated: letters.contains('a'),
            }
            .keyword()
        };
        for (letters, keyword) in [
            ("", "SMTP"),
            ("s", "ESMTPS"),
            ("e", "ESMTP"),
            ("ea", "ESMTPA"),
            ("es", "ESMTPS"),
            ("esa", "ESMTPSA"),
            ("l", "LMTP"),
            ("lsa", "LMTPSA"),
            ("eu", "UTF8SMTP"),
            ("eusa", "UTF8SMTPSA"),
            ("lu", "UTF8LMTP"),
            ("lus", "UTF8LMTPS"),
        ] {
            assert_eq!(word(letters), keyword, "{letters}");
        }
    }

    #[test]
    fn a_greeting_cannot_forge_anything() {
        let forged = text(Received { source: client("x) by evil (\r\nSubject: y; ü"), ..base() });
        assert!(
            forged.starts_with("Received: from x??by?evil????Subject:?y??? ([IPv6:2001:db8::1])\r\n"),
            "{forged}"
        );
        assert!(
            text(Received { source: client(""), ..base() }).contains("from unknown ([IPv6:2001:db8::1])")
        );
    }

    proptest! {
        #[test]
        fn any_greeting_gives_one_field_that_is_folded(name in "\\PC{0,300}", local: bool) {
            let source = if local { Source::Local { user: &name } } else { client(&name) };
            let text = text(Received { source, ..base() });
            prop_assert_eq!(header::fields_end(text.as_bytes()), text.len());
            prop_assert_eq!(header::fields(text.as_bytes()).count(), 1);
            for line in text.split("\r\n") {
                // Only a single word may pass the limit; the first line has its name beside it.
                let words = line.trim_start_matches("Received: ").split_whitespace().count();
                prop_assert!(line.len() <= header::FOLD_BYTES || words == 1, "{}", line);
            }
        }
    }
}
