//! The commands of a transaction, written out: MAIL and RCPT with the parameters that the peer understands.

use mail::{Address, BodyType, OriginalRecipient, Ret};
use store::{MessageRecord, RecipientRecord};

use super::capabilities::Capabilities;

/// What is known of a message's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Nature {
    /// Octets.
    pub(crate) size: u64,
    /// It has octets above 127, or said so.
    pub(crate) eight_bit: bool,
    /// Its header, or an address of this transaction, has them: it needs SMTPUTF8 (RFC 6531 §3.1).
    pub(crate) international: bool,
}

/// `MAIL FROM:<...>` and what goes with it; no sender is the null reverse-path.
pub(crate) fn mail(
    out: &mut Vec<u8>,
    (record, sender): (&MessageRecord, Option<&Address>),
    nature: Nature,
    peer: &Capabilities,
) {
    let sender = sender.map(ToString::to_string).unwrap_or_default();
    out.extend_from_slice(format!("MAIL FROM:<{sender}>").as_bytes());
    if peer.size.is_some() {
        // RFC 1870 §6.1.
        out.extend_from_slice(format!(" SIZE={}", nature.size).as_bytes());
    }
    if peer.eight_bit_mime && (nature.eight_bit || record.body_type == BodyType::EightBitMime) {
        // RFC 6152 §2.
        out.extend_from_slice(b" BODY=8BITMIME");
    }
    if peer.smtputf8 && (nature.international || record.smtputf8) {
        // RFC 6531 §3.4.
        out.extend_from_slice(b" SMTPUTF8");
    }
    if peer.dsn {
        // RFC 3461 §5.2.1: passed on as it came.
        match record.ret {
            Some(Ret::Full) => out.extend_from_slice(b" RET=FULL"),
            Some(Ret::Headers) => out.extend_from_slice(b" RET=HDRS"),
            None => {}
        }
        if let Some(envid) = &record.envid {
            out.extend_from_slice(b" ENVID=");
            xtext(out, envid);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// `RCPT TO:<...>` and what goes with it.
pub(crate) fn rcpt(out: &mut Vec<u8>, recipient: &RecipientRecord, peer: &Capabilities) {
    out.extend_from_slice(format!("RCPT TO:<{}>", recipient.address).as_bytes());
    if peer.dsn {
        if recipient.notify.explicit {
            out.extend_from_slice(format!(" NOTIFY={}", recipient.notify).as_bytes());
        }
        if let Some(original) = &recipient.original {
            out.extend_from_slice(b" ORCPT=");
            orcpt(out, original);
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn orcpt(out: &mut Vec<u8>, original: &OriginalRecipient) {
    out.extend(original.kind.bytes().filter(|b| b.is_ascii_graphic() && *b != b';'));
    out.push(b';');
    if original.kind.eq_ignore_ascii_case("utf-8") {
        utf8_address(out, &original.address);
    } else {
        xtext(out, &original.address);
    }
}

/// RFC 3461 §4: `xtext`; what is not printable ASCII, `+` and `=` become `+XX`.
fn xtext(out: &mut Vec<u8>, text: &str) {
    for b in text.bytes() {
        if b.is_ascii_graphic() && b != b'+' && b != b'=' {
            out.push(b);
        } else {
            out.extend_from_slice(format!("+{b:02X}").as_bytes());
        }
    }
}

/// RFC 6533 §3: `utf-8-addr-xtext`, which is ASCII throughout and passes every peer.
fn utf8_address(out: &mut Vec<u8>, text: &str) {
    for c in text.chars() {
        if c.is_ascii_graphic() && !matches!(c, '+' | '=' | '\\') {
            out.push(u8::try_from(c).unwrap_or(b'?'));
        } else {
            out.extend_from_slice(format!("\\x{{{:02X}}}", u32::from(c)).as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::record;
    use mail::Notify;

    const PLAIN: Nature = Nature { size: 1234, eight_bit: false, international: false };

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn from(record: &MessageRecord) -> (&MessageRecord, Option<&Address>) {
        (record, record.sender_for(&record.recipients[0]))
    }

    fn everything() -> Capabilities {
        Capabilities {
            size: Some(0),
            eight_bit_mime: true,
            smtputf8: true,
            dsn: true,
            ..Capabilities::default()
        }
    }

    #[test]
    fn a_peer_without_extensions_gets_none() {
        let mut record = record(&["joe@a.test"]);
        record.ret = Some(Ret::Full);
        record.recipients[0].notify = Notify::NEVER;
        let peer = Capabilities::default();
        assert_eq!(written(|out| mail(out, from(&record), PLAIN, &peer)), "MAIL FROM:<sender@from.test>\r\n");
        assert_eq!(written(|out| rcpt(out, &record.recipients[0], &peer)), "RCPT TO:<joe@a.test>\r\n");
    }

    #[test]
    fn parameters_are_passed_on_as_they_came() {
        let mut record = record(&["joe@a.test"]);
        record.ret = Some(Ret::Headers);
        record.envid = Some("a+b =c".into());
        record.recipients[0].notify = Notify { explicit: true, success: true, failure: true, delay: false };
        record.recipients[0].original =
            Some(OriginalRecipient { kind: "rfc822".into(), address: "j=o@x.test".into() });
        let nature = Nature { eight_bit: true, international: true, ..PLAIN };
        assert_eq!(
            written(|out| mail(out, from(&record), nature, &everything())),
            "MAIL FROM:<sender@from.test> SIZE=1234 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb+20+3Dc\r\n"
        );
        assert_eq!(
            written(|out| rcpt(out, &record.recipients[0], &everything())),
            "RCPT TO:<joe@a.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;j+3Do@x.test\r\n"
        );
    }

    #[test]
    fn the_tagged_sender_is_told_unless_the_recipient_wants_the_plain_one() {
        let mut record = record(&["joe@a.test"]);
        let told =
            |record: &MessageRecord| written(|out| mail(out, from(record), PLAIN, &Capabilities::default()));
        record.tagged_sender = Some(crate::testing::address("prvs=0791abcdef=sender@from.test"));
        assert_eq!(told(&record), "MAIL FROM:<prvs=0791abcdef=sender@from.test>\r\n");
        record.recipients[0].untagged_sender = true;
        assert_eq!(told(&record), "MAIL FROM:<sender@from.test>\r\n");
        (record.tagged_sender, record.reverse_path) = (None, mail::ReversePath::Null);
        assert_eq!(told(&record), "MAIL FROM:<>\r\n");
    }

    #[test]
    fn a_unicode_original_recipient_is_written_in_ascii() {
        let original = OriginalRecipient { kind: "utf-8".into(), address: "j\u{f6}@x.test".into() };
        assert_eq!(written(|out| orcpt(out, &original)), "utf-8;j\\x{F6}@x.test");
    }
}
