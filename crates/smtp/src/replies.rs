//! Every reply that the protocol itself gives, in one place: code, enhanced code, words.
//!
//! The words say what is wrong and, where it can be said in a line, what to do. Policy's replies come from whoever answers.

use mail::Reply;

use crate::dialogue::BodyAbort;
use crate::parameters::ParameterError;
use crate::peer::Role;
use crate::settings::Settings;

/// RFC 5321 §3.1: the greeting begins with our name.
pub(crate) fn greeting(settings: &Settings, role: Role) -> Reply {
    let protocol = if role == Role::Lmtp { "LMTP" } else { "ESMTP" };
    Reply::plain(220, format!("{} {protocol} {}", settings.hostname, settings.banner).trim_end().to_owned())
}

pub(crate) fn fine() -> Reply {
    Reply::new(250, (2, 0, 0), "Ok")
}

pub(crate) fn goodbye(settings: &Settings) -> Reply {
    Reply::new(221, (2, 0, 0), format!("{} closing", settings.hostname))
}

/// RFC 5321 §3.5.3: we do not verify, but will take mail.
pub(crate) fn cannot_verify() -> Reply {
    Reply::new(252, (2, 0, 0), "Not verified here; send the message, and RCPT will tell")
}

pub(crate) fn start_mail() -> Reply {
    Reply::plain(354, "End data with <CRLF>.<CRLF>")
}

pub(crate) fn ready_for_tls() -> Reply {
    Reply::new(220, (2, 0, 0), "Ready to start TLS")
}

/// RFC 3030 §2: every chunk has its reply.
pub(crate) fn chunk(bytes: u64) -> Reply {
    Reply::new(250, (2, 0, 0), format!("{bytes} octets received"))
}

pub(crate) fn unknown_verb() -> Reply {
    Reply::new(500, (5, 5, 1), "Command not recognised; HELP lists what is")
}

pub(crate) fn not_implemented() -> Reply {
    Reply::new(502, (5, 5, 1), "Command not implemented")
}

pub(crate) fn line_too_long(max: usize) -> Reply {
    Reply::new(500, (5, 5, 2), format!("A command line has at most {max} bytes"))
}

pub(crate) fn control_character() -> Reply {
    Reply::new(500, (5, 5, 2), "A command has no control characters, and ends with CR LF")
}

pub(crate) fn bare_line_feed() -> Reply {
    Reply::new(500, (5, 5, 2), "A command ends with CR LF, not with LF alone; closing")
}

pub(crate) fn http() -> Reply {
    Reply::new(554, (5, 7, 0), "This is a mail server, not a web server; closing")
}

pub(crate) fn tls_without_starttls() -> Reply {
    Reply::new(554, (5, 7, 0), "TLS starts with STARTTLS on this port; closing")
}

/// RFC 5321 §4.3.2, 503: bad sequence of commands.
pub(crate) fn bad_sequence(words: &'static str) -> Reply {
    Reply::new(503, (5, 5, 1), words)
}

/// RFC 5321 §4.2.2, 501: syntax error in parameters.
pub(crate) fn bad_argument(words: &'static str) -> Reply {
    Reply::new(501, (5, 5, 4), words)
}

pub(crate) fn bad_syntax(words: &'static str) -> Reply {
    Reply::new(501, (5, 5, 2), words)
}

pub(crate) fn bad_parameter(error: ParameterError) -> Reply {
    match error {
        // RFC 5321 §4.1.1.11.
        ParameterError::Unknown => Reply::new(555, (5, 5, 4), "Parameter not recognised"),
        ParameterError::Malformed(words) => bad_argument(words),
    }
}

/// RFC 1870 §6.1.
pub(crate) fn too_large(settings: &Settings) -> Reply {
    Reply::new(552, (5, 3, 4), format!("A message has at most {} bytes here", settings.message_bytes_max))
}

/// RFC 6531 §3.5: 553 with 5.6.7 where an address needs SMTPUTF8.
pub(crate) fn needs_smtputf8() -> Reply {
    Reply::new(553, (5, 6, 7), "An address that is not ASCII needs SMTPUTF8 on MAIL")
}

/// RFC 5321 §4.5.3.1.10: 452, and the client sends to the rest in another transaction.
pub(crate) fn too_many_recipients(settings: &Settings) -> Reply {
    Reply::new(452, (4, 5, 3), format!("A message has at most {} recipients here", settings.recipients_max))
}

/// RFC 5321 §3.3: no valid recipients.
pub(crate) fn no_recipients() -> Reply {
    Reply::new(554, (5, 5, 1), "No valid recipients")
}

/// RFC 5321 §3.6.1: nobody is relayed through an address with two domains.
pub(crate) fn second_at() -> Reply {
    Reply::new(550, (5, 7, 1), "Relaying denied: the address has a second @")
}

/// RFC 3207 §4.
pub(crate) fn needs_tls() -> Reply {
    Reply::new(530, (5, 7, 0), "Must issue a STARTTLS command first")
}

/// RFC 4954 §6.
pub(crate) fn needs_auth() -> Reply {
    Reply::new(530, (5, 7, 0), "Authentication required")
}

/// RFC 4954 §6: TLS first.
pub(crate) fn auth_needs_tls() -> Reply {
    Reply::new(538, (5, 7, 11), "Encryption required: issue STARTTLS before AUTH")
}

/// RFC 4954 §4: 504 for a mechanism that is not offered.
pub(crate) fn unknown_mechanism() -> Reply {
    Reply::new(504, (5, 5, 4), "Mechanism not offered here; EHLO lists what is")
}

/// RFC 4954 §4: an aborted exchange is 501.
pub(crate) fn auth_aborted() -> Reply {
    Reply::new(501, (5, 7, 0), "Authentication aborted")
}

/// RFC 4954 §4: what is not base64 is 501.
pub(crate) fn bad_base64() -> Reply {
    bad_syntax("Not base64")
}

/// RFC 4954 §6.
pub(crate) fn auth_line_too_long() -> Reply {
    Reply::new(500, (5, 5, 6), "Authentication exchange line is too long")
}

/// RFC 4954 §6. The same words for a wrong name and a wrong password.
pub(crate) fn auth_failed() -> Reply {
    Reply::new(535, (5, 7, 8), "Authentication credentials invalid")
}

/// RFC 3207 §4: the reply of a server that has no TLS to offer.
pub(crate) fn tls_not_available() -> Reply {
    Reply::new(454, (4, 7, 0), "TLS not available")
}

pub(crate) fn closing(settings: &Settings, enhanced: (u8, u16, u16), words: &str) -> Reply {
    Reply::new(421, enhanced, format!("{} {words}", settings.hostname))
}

/// Whoever had to answer could not: nothing of the client's doing.
pub(crate) fn local_error() -> Reply {
    Reply::new(451, (4, 3, 0), "Local error, try again later")
}

/// Why a whole message was refused, spoken after its end.
pub(crate) fn message_refused(why: BodyAbort, settings: &Settings) -> Reply {
    match why {
        BodyAbort::TooLarge => too_large(settings),
        // RFC 5321 §2.3.8.
        BodyAbort::BareNewline => {
            Reply::new(550, (5, 5, 2), "The message has a CR or LF alone; lines end with CR LF")
        }
        // RFC 5321 §6.3.
        BodyAbort::Loop => Reply::new(
            554,
            (5, 4, 6),
            format!("Mail loop: more than {} Received fields", settings.received_lines_max),
        ),
        BodyAbort::HeaderTooLarge => Reply::new(
            552,
            (5, 3, 4),
            format!("A message header has at most {} bytes here", settings.header_bytes_max),
        ),
        BodyAbort::LineTooLong => Reply::new(
            554,
            (5, 6, 0),
            format!("A line of a message has at most {} bytes here", settings.text_line_bytes_max),
        ),
        BodyAbort::Reset | BodyAbort::Ended => local_error(),
    }
}
