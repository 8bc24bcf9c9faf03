//! What a peer offered in its reply to EHLO or LHLO (RFC 5321 §4.1.1.1).

use mail::Reply;
use smtp_proto::{AUTH_LOGIN, AUTH_PLAIN, EhloResponse};

/// A peer's extensions. All absent: it spoke HELO, or none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "extensions are independent of one another")]
pub(crate) struct Capabilities {
    /// RFC 2920.
    pub(crate) pipelining: bool,
    /// RFC 6152.
    pub(crate) eight_bit_mime: bool,
    /// RFC 6531.
    pub(crate) smtputf8: bool,
    /// RFC 3461.
    pub(crate) dsn: bool,
    /// RFC 3030.
    pub(crate) chunking: bool,
    /// RFC 3207.
    pub(crate) starttls: bool,
    /// RFC 1870: `Some(0)` is no fixed limit.
    pub(crate) size: Option<u64>,
    /// RFC 9422.
    pub(crate) limits: Limits,
    /// RFC 4954: those of PLAIN and LOGIN that are offered, in smtp-proto's bits.
    pub(crate) auth_mechanisms: u64,
}

/// RFC 9422 §4: the limits a peer asks clients to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Limits {
    /// Messages per connection.
    pub(crate) mail_max: Option<u32>,
    /// Recipients per message.
    pub(crate) rcpt_max: Option<usize>,
    /// Domains of recipients per message.
    pub(crate) rcpt_domain_max: Option<usize>,
}

impl Capabilities {
    /// Reads the lines after the first.
    pub(crate) fn read(reply: &Reply) -> Self {
        let mut all = Self::default();
        for line in reply.text.split('\n').skip(1) {
            // Old servers write `AUTH=LOGIN`.
            let mut words = line.split([' ', '=']).filter(|word| !word.is_empty());
            let Some(keyword) = words.next() else { continue };
            match keyword.to_ascii_uppercase().as_str() {
                "PIPELINING" => all.pipelining = true,
                "8BITMIME" => all.eight_bit_mime = true,
                "SMTPUTF8" => all.smtputf8 = true,
                "DSN" => all.dsn = true,
                "CHUNKING" => all.chunking = true,
                "STARTTLS" => all.starttls = true,
                "SIZE" => all.size = Some(words.next().and_then(|n| n.parse().ok()).unwrap_or(0)),
                "AUTH" => words.for_each(|word| all.auth_mechanisms |= mechanism(word)),
                "LIMITS" => all.limits.read(line),
                _ => {}
            }
        }
        all
    }

    /// The form in which mail-send wants to know the mechanisms.
    pub(crate) fn for_login(&self) -> EhloResponse<String> {
        let mut response = EhloResponse::new(String::new());
        response.auth_mechanisms = self.auth_mechanisms;
        response
    }
}

/// Those mechanisms that a password is enough for and that need no hash function of the last century.
fn mechanism(word: &str) -> u64 {
    match word.to_ascii_uppercase().as_str() {
        "PLAIN" => AUTH_PLAIN,
        "LOGIN" => AUTH_LOGIN,
        _ => 0,
    }
}

impl Limits {
    /// `LIMITS RCPTMAX=20 MAILMAX=5`: unknown names and zeros are ignored (RFC 9422 §3).
    fn read(&mut self, line: &str) {
        for word in line.split_ascii_whitespace().skip(1) {
            let Some((name, value)) = word.split_once('=') else { continue };
            let Some(number) = value.parse::<u32>().ok().filter(|n| *n > 0) else { continue };
            let count = usize::try_from(number).ok();
            match name.to_ascii_uppercase().as_str() {
                "MAILMAX" => self.mail_max = Some(number),
                "RCPTMAX" => self.rcpt_max = count,
                "RCPTDOMAINMAX" => self.rcpt_domain_max = count,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_read_in_any_case() {
        let text = "mx.test PIPELINING\npipelining\n8BITMIME\nSIZE 1000\nSmtpUtf8\nDSN\nCHUNKING\nSTARTTLS\n\
                    AUTH PLAIN cram-md5\nAUTH=LOGIN\nLIMITS RCPTMAX=20 MAILMAX=5 RCPTDOMAINMAX=1 X=Y MAILMAX=x\nXFUTURE 7";
        let all = Capabilities::read(&Reply::plain(250, text));
        assert!(
            all.pipelining && all.eight_bit_mime && all.smtputf8 && all.dsn && all.chunking && all.starttls
        );
        assert_eq!((all.size, all.auth_mechanisms), (Some(1000), AUTH_PLAIN | AUTH_LOGIN));
        assert_eq!(all.limits, Limits { mail_max: Some(5), rcpt_max: Some(20), rcpt_domain_max: Some(1) });
    }

    #[test]
    fn the_greeting_line_offers_nothing() {
        assert_eq!(Capabilities::read(&Reply::plain(250, "PIPELINING")), Capabilities::default());
        assert_eq!(Capabilities::read(&Reply::plain(250, "mx\nSIZE")).size, Some(0));
    }
}
