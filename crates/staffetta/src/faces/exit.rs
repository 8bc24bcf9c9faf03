//! How a face ends: a code of sysexits.h and a sentence.

use std::process::ExitCode;

use mail::Reply;
use server::admin::ClientError;

/// The command line was not understood (`EX_USAGE`).
const USAGE: u8 = 64;
/// The message is not good (`EX_DATAERR`).
const DATA: u8 = 65;
/// No such recipient (`EX_NOUSER`).
const NO_USER: u8 = 67;
/// Refused for another reason, or the server does not run (`EX_UNAVAILABLE`).
const UNAVAILABLE: u8 = 69;
/// Reading or writing failed (`EX_IOERR`).
const IO: u8 = 74;
/// Not now: try again (`EX_TEMPFAIL`).
const TEMPORARY: u8 = 75;
/// This user may not (`EX_NOPERM`).
const NO_PERMISSION: u8 = 77;
/// The configuration is wrong (`EX_CONFIG`).
const CONFIG: u8 = 78;

/// An end other than success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exit {
    pub(super) code: u8,
    pub(super) words: String,
}

impl Exit {
    fn new(code: u8, words: impl Into<String>) -> Self {
        Self { code, words: words.into() }
    }

    pub(super) fn usage(words: impl Into<String>) -> Self {
        Self::new(USAGE, words)
    }

    pub(super) fn data(words: impl Into<String>) -> Self {
        Self::new(DATA, words)
    }

    pub(super) fn io(error: &std::io::Error) -> Self {
        Self::new(IO, error.to_string())
    }

    pub(super) fn temporary(words: impl Into<String>) -> Self {
        Self::new(TEMPORARY, words)
    }

    pub(super) fn config(words: impl Into<String>) -> Self {
        Self::new(CONFIG, words)
    }

    pub(super) fn unavailable(words: impl Into<String>) -> Self {
        Self::new(UNAVAILABLE, words)
    }

    pub(super) fn no_permission(words: impl Into<String>) -> Self {
        Self::new(NO_PERMISSION, words)
    }

    /// For a refusal by the server: who is not there, who may not, or anything else (RFC 3463 §3.2, §3.8).
    pub(super) fn refused(reply: &Reply, words: impl Into<String>) -> Self {
        let code = match reply.enhanced {
            _ if reply.is_transient() => TEMPORARY,
            Some(status) if status.1 == 1 => NO_USER,
            Some(status) if status.1 == 7 => NO_PERMISSION,
            _ => UNAVAILABLE,
        };
        Self::new(code, words)
    }

    /// Prints the words, and gives the code.
    pub(super) fn tell(&self, face: &str) -> ExitCode {
        for line in self.words.lines() {
            eprintln!("{face}: {line}");
        }
        ExitCode::from(self.code)
    }
}

impl From<ClientError> for Exit {
    fn from(error: ClientError) -> Self {
        match &error {
            ClientError::NotRunning(_) => Self::unavailable(error.to_string()),
            ClientError::Denied(_) => Self::no_permission(error.to_string()),
            ClientError::Io { .. } => Self::new(IO, error.to_string()),
            ClientError::Protocol(_) | ClientError::Refused(_) => Self::unavailable(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_the_codes_that_programs_know() {
        for (reply, code) in [
            (Reply::new(550, (5, 1, 1), "x"), 67),
            (Reply::new(550, (5, 7, 1), "x"), 77),
            (Reply::new(552, (5, 3, 4), "x"), 69),
            (Reply::new(451, (4, 3, 0), "x"), 75),
            (Reply::plain(554, "x"), 69),
        ] {
            assert_eq!(Exit::refused(&reply, "").code, code, "{reply}");
        }
    }
}
