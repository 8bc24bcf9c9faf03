//! Cause and remedy in plain words, by enhanced status code.
//!
//! For people who never heard of SMTP: what went wrong and what they can do. The codes are those of RFC 3463 §3 and of the IANA
//! registry that RFC 5248 founded. Never replaces the remote host's words, which stand beside it.

use crate::reply::EnhancedStatus;

/// A sentence or two for the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    /// What went wrong.
    pub cause: &'static str,
    /// What the sender can do.
    pub remedy: &'static str,
}

/// The explanation of a status; where the status says nothing (`X.0.0`), of the reply code.
///
/// A detail that is not in the table falls back to its subject.
#[must_use]
pub fn explain(status: EnhancedStatus, code: u16) -> Explanation {
    let EnhancedStatus(class, subject, detail) = status;
    let (subject, detail) = if (subject, detail) == (0, 0) { of_code(code) } else { (subject, detail) };
    let wanted = |row: &&Row| row.0 == subject && row.1 == detail;
    let row = TABLE.iter().find(wanted).or_else(|| TABLE.iter().find(|row| row.0 == subject && row.1 == 0));
    match row {
        Some(Row(_, _, cause, remedy)) => Explanation { cause, remedy },
        None if class == 4 => {
            Explanation { cause: "The server there could not take the message.", remedy: AGAIN }
        }
        None => Explanation { cause: "The server there refused the message.", remedy: THEIR_WORDS },
    }
}

/// What a reply code means by itself (RFC 5321 §4.2.3), as subject and detail.
fn of_code(code: u16) -> (u16, u16) {
    match code {
        421 => (3, 2),
        450 => (2, 0),
        451 => (3, 0),
        452 => (3, 1),
        // RFC 7504 and RFC 7505: hosts and domains that take no mail.
        521 => (3, 2),
        556 => (1, 10),
        550 => (2, 1),
        551 => (1, 6),
        552 => (2, 2),
        553 => (1, 3),
        _ => (0, 0),
    }
}

/// Subject, detail (0 for the subject as a whole), cause, remedy.
struct Row(u16, u16, &'static str, &'static str);

const AGAIN: &str = "Send it again later; if that does not help, reach the recipient by another way.";
const CHECK: &str =
    "Check the address for typing errors, or ask the recipient by another way for the present one.";
const THEIR_WORDS: &str =
    "The words below may say more; the recipient, or the postmaster there, can have it changed.";
const OUR_POSTMASTER: &str =
    "Show this report to whoever looks after your own mail server: it is theirs to mend.";
const THEIR_POSTMASTER: &str =
    "Tell the recipient by another way: it is for whoever looks after the mail there to mend.";
const SMALLER: &str = "Send it smaller: leave attachments out, split them, or share them by a link.";

#[rustfmt::skip]
const TABLE: &[Row] = &[
    // X.1: addresses (RFC 3463 §3.2).
    Row(1, 0, "The server there does not accept the address.", CHECK),
    Row(1, 1, "There is no mailbox of that name there.", CHECK),
    Row(1, 2, "There is no such domain, or it takes no mail.", CHECK),
    Row(1, 3, "The address is not written as an address must be.", CHECK),
    Row(1, 4, "The address could mean several mailboxes.", CHECK),
    Row(1, 6, "The mailbox has moved, and mail is not passed on.", "Ask the recipient by another way for the new address."),
    Row(1, 7, "Your own address is not written as an address must be.", "Correct the sender's address in your mail program."),
    Row(1, 8, "Your own address cannot be reached, so the server there takes nothing from it.", OUR_POSTMASTER),
    Row(1, 10, "The domain says that it takes no mail at all.", CHECK),
    // X.2: mailboxes (RFC 3463 §3.3).
    Row(2, 0, "Something is wrong with the mailbox there.", AGAIN),
    Row(2, 1, "The mailbox there takes no mail: it does not exist or is closed.", CHECK),
    Row(2, 2, "The mailbox there is full.", "Tell the recipient by another way to make room, then send it again."),
    Row(2, 3, "The message is larger than the mailbox there may take.", SMALLER),
    Row(2, 4, "The mailing list there could not be expanded.", THEIR_POSTMASTER),
    // X.3: mail systems (RFC 3463 §3.4).
    Row(3, 0, "The server there has troubles of its own.", AGAIN),
    Row(3, 1, "The server there has no room left.", AGAIN),
    Row(3, 2, "The server there takes no mail at present.", AGAIN),
    Row(3, 3, "The server there cannot do what the message needs.", THEIR_WORDS),
    Row(3, 4, "The message is larger than the server there accepts.", SMALLER),
    Row(3, 5, "A mail server on the way is not set up properly.", THEIR_POSTMASTER),
    // X.4: network and routing (RFC 3463 §3.5).
    Row(4, 0, "The server there could not be reached.", AGAIN),
    Row(4, 1, "The server there did not answer.", AGAIN),
    Row(4, 2, "The connection to the server there broke.", AGAIN),
    Row(4, 3, "Where the mail of that domain goes could not be looked up.", AGAIN),
    Row(4, 4, "There is no way to the server there: its name or address is wrong in DNS.", THEIR_POSTMASTER),
    Row(4, 5, "The server there is overloaded.", AGAIN),
    Row(4, 6, "The message went in a circle between servers.", THEIR_POSTMASTER),
    Row(4, 7, "The message became too old before it could be delivered.", AGAIN),
    // X.5: protocol (RFC 3463 §3.6).
    Row(5, 0, "The two mail servers did not understand each other.", OUR_POSTMASTER),
    Row(5, 3, "The message has more recipients than the server there takes at once.", "Send it to fewer recipients at a time."),
    Row(5, 6, "The server there wants its connections encrypted otherwise, or speaks another protocol.", OUR_POSTMASTER),
    // X.6: content (RFC 3463 §3.7, RFC 6531 §3.5).
    Row(6, 0, "The server there cannot take the message in this form.", "Send it as plain text, or without attachments."),
    Row(6, 3, "The message must be converted for the server there, and cannot be.", "Send it as plain text, or without attachments."),
    Row(6, 7, "The server there does not know addresses with letters beyond ASCII.", "Use an address in plain letters, for yourself and the recipient."),
    Row(6, 9, "The server there does not know headers with letters beyond ASCII.", "Use plain letters in addresses, names and subject."),
    Row(6, 10, "The server there does not know letters beyond ASCII in this place.", "Use plain letters in addresses, names and subject."),
    // X.7: security and policy (RFC 3463 §3.8, RFC 7372, RFC 7505, RFC 8689).
    Row(7, 0, "The rules of the server there forbid the message.", THEIR_WORDS),
    Row(7, 1, "The rules of the server there forbid the message, or mail from here.", THEIR_WORDS),
    Row(7, 2, "Not everybody may write to that mailing list.", "Ask the owner of the list."),
    Row(7, 8, "The next server did not accept our name and password.", OUR_POSTMASTER),
    Row(7, 20, "The server there found no valid signature of your domain.", OUR_POSTMASTER),
    Row(7, 23, "Your domain does not permit this server to send its mail (SPF).", OUR_POSTMASTER),
    Row(7, 24, "Your domain's list of permitted servers (SPF) could not be read.", OUR_POSTMASTER),
    Row(7, 25, "The sending server's address has no proper name in DNS.", OUR_POSTMASTER),
    Row(7, 26, "The message could not be shown to come from your domain (SPF, DKIM, DMARC).", OUR_POSTMASTER),
    Row(7, 27, "Your own address belongs to a domain that takes no mail, so nothing is taken from it.", OUR_POSTMASTER),
    Row(7, 28, "Too much mail came too fast for the server there.", AGAIN),
    Row(7, 30, "You wanted the message encrypted all the way, and the server there cannot do that.", "Send it without that demand, or not by mail."),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(class: u8, subject: u16, detail: u16, code: u16) -> &'static str {
        explain(EnhancedStatus(class, subject, detail), code).cause
    }

    #[test]
    fn detail_subject_and_code_are_asked_in_turn() {
        assert!(cause(5, 1, 1, 550).contains("no mailbox of that name"));
        assert!(cause(4, 2, 2, 452).contains("full"));
        // A detail nobody listed: its subject.
        assert_eq!(cause(5, 1, 99, 550), cause(5, 1, 0, 550));
        // No detail and no subject: the code.
        assert_eq!(cause(5, 0, 0, 552), cause(5, 2, 2, 552));
        assert_eq!(cause(4, 0, 0, 421), cause(4, 3, 2, 421));
        // Nothing known at all.
        assert!(cause(5, 0, 0, 554).contains("refused"));
        assert!(cause(4, 0, 0, 499).contains("could not take"));
        assert!(cause(5, 9, 9, 550).contains("refused"));
    }

    #[test]
    fn every_subject_has_a_fallback_and_no_row_stands_twice() {
        for subject in 1..=7 {
            assert!(TABLE.iter().any(|row| row.0 == subject && row.1 == 0), "{subject}");
        }
        for (i, row) in TABLE.iter().enumerate() {
            assert!(
                !TABLE[..i].iter().any(|other| (other.0, other.1) == (row.0, row.1)),
                "{}.{}",
                row.0,
                row.1
            );
            assert!(row.2.ends_with('.') && row.3.ends_with('.'), "{}.{} is not a sentence", row.0, row.1);
        }
    }
}
