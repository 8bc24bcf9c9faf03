//! The verbs, and all facts about them in one table: where each may stand, and what it costs.

use crate::peer::Role;

/// A command verb that we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Verb {
    Helo,
    Ehlo,
    Lhlo,
    Mail,
    Rcpt,
    Data,
    Bdat,
    Rset,
    Noop,
    Quit,
    Help,
    Vrfy,
    StartTls,
    Auth,
}

/// What must have happened before a verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Nothing: any time after the greeting (RFC 5321 §4.1.4).
    Nothing,
    /// HELO, EHLO or LHLO.
    Hello,
    /// The same, and TLS and AUTH where the listener requires them.
    Leave,
}

/// The facts about one verb.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) verb: Verb,
    /// As it is written, in capitals.
    pub(crate) word: &'static str,
    /// What must come first.
    pub(crate) needs: Needs,
    /// Refused with 530 where TLS is required and not up (RFC 3207 §4).
    pub(crate) after_tls: bool,
    /// Must be the last of a pipelined group (RFC 2920 §3.1).
    pub(crate) ends_group: bool,
    /// Brings no message nearer, so it is counted.
    pub(crate) idle: bool,
    /// One line of help.
    pub(crate) help: &'static str,
}

const fn row(verb: Verb, word: &'static str, needs: Needs, flags: [bool; 3], help: &'static str) -> Facts {
    let [after_tls, ends_group, idle] = flags;
    Facts { verb, word, needs, after_tls, ends_group, idle, help }
}

/// RFC 5321 §4.1.1 and §4.5.1, RFC 2033 §4.1, RFC 3030 §2, RFC 3207 §4, RFC 4954 §4. Flags: after TLS where TLS is
/// required; last in a pipelined group; counted as idle.
#[rustfmt::skip]
pub(crate) const TABLE: [Facts; 14] = [
    row(Verb::Mail,     "MAIL",     Needs::Leave,   [true,  false, true],  "MAIL FROM:<address> [SIZE=n] [BODY=8BITMIME] [SMTPUTF8] [RET=FULL|HDRS] [ENVID=id]"),
    row(Verb::Rcpt,     "RCPT",     Needs::Leave,   [true,  false, false], "RCPT TO:<address> [NOTIFY=NEVER|SUCCESS,FAILURE,DELAY] [ORCPT=type;address]"),
    row(Verb::Data,     "DATA",     Needs::Leave,   [true,  true,  false], "DATA"),
    row(Verb::Bdat,     "BDAT",     Needs::Leave,   [true,  false, false], "BDAT bytes [LAST]"),
    row(Verb::Ehlo,     "EHLO",     Needs::Nothing, [false, true,  true],  "EHLO name"),
    row(Verb::Helo,     "HELO",     Needs::Nothing, [false, true,  true],  "HELO name"),
    row(Verb::Lhlo,     "LHLO",     Needs::Nothing, [false, true,  true],  "LHLO name"),
    row(Verb::Rset,     "RSET",     Needs::Nothing, [false, false, true],  "RSET"),
    row(Verb::Noop,     "NOOP",     Needs::Nothing, [false, true,  true],  "NOOP"),
    row(Verb::Quit,     "QUIT",     Needs::Nothing, [false, true,  false], "QUIT"),
    row(Verb::Help,     "HELP",     Needs::Nothing, [false, true,  true],  "HELP [verb]"),
    row(Verb::Vrfy,     "VRFY",     Needs::Nothing, [true,  true,  true],  "VRFY address"),
    row(Verb::StartTls, "STARTTLS", Needs::Hello,   [false, true,  true],  "STARTTLS"),
    row(Verb::Auth,     "AUTH",     Needs::Hello,   [true,  true,  true],  "AUTH mechanism [initial-response]"),
];

/// Verbs of the standards that we do not implement: 502 tells so, 500 would not (RFC 5321 §4.2.4).
const NOT_IMPLEMENTED: [&str; 9] =
    ["EXPN", "TURN", "ETRN", "ATRN", "SEND", "SOML", "SAML", "BURL", "XCLIENT"];

/// First words of HTTP requests: a browser, or a page that makes one talk to us.
const HTTP: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PRI"];

/// What the first word of a line is.
#[derive(Debug)]
pub(crate) enum Word {
    Known(&'static Facts),
    NotImplemented,
    Http,
    Unknown,
}

/// Looks the first word of a line up, in any case (RFC 5321 §2.4).
pub(crate) fn look_up(word: &[u8], role: Role) -> Word {
    let is = |name: &&str| name.as_bytes().eq_ignore_ascii_case(word);
    if let Some(facts) = TABLE.iter().find(|facts| is(&facts.word) && spoken_to(role, facts.verb)) {
        return Word::Known(facts);
    }
    match (NOT_IMPLEMENTED.iter().any(is), HTTP.iter().any(is)) {
        (true, _) => Word::NotImplemented,
        (_, true) => Word::Http,
        _ => Word::Unknown,
    }
}

/// RFC 2033 §4.1: LHLO in place of HELO and EHLO with LMTP, and nowhere else.
pub(crate) fn spoken_to(role: Role, verb: Verb) -> bool {
    match verb {
        Verb::Lhlo => role == Role::Lmtp,
        Verb::Helo | Verb::Ehlo => role != Role::Lmtp,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_any_case() {
        assert!(matches!(look_up(b"starttls", Role::Mx), Word::Known(f) if f.verb == Verb::StartTls));
        assert!(matches!(look_up(b"LHLO", Role::Mx), Word::Unknown));
        assert!(matches!(look_up(b"EHLO", Role::Lmtp), Word::Unknown));
        assert!(matches!(look_up(b"expn", Role::Mx), Word::NotImplemented));
        assert!(matches!(look_up(b"Post", Role::Mx), Word::Http));
        assert!(matches!(look_up(b"MAI", Role::Mx), Word::Unknown));
        assert!(matches!(look_up(b"", Role::Mx), Word::Unknown));
    }

    #[test]
    fn what_ends_a_group_is_as_rfc_2920_says() {
        let ends: Vec<&str> = TABLE.iter().filter(|facts| facts.ends_group).map(|facts| facts.word).collect();
        assert_eq!(
            ends,
            ["DATA", "EHLO", "HELO", "LHLO", "NOOP", "QUIT", "HELP", "VRFY", "STARTTLS", "AUTH"]
        );
    }
}
