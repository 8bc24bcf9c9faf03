//! What stands between the angle brackets of MAIL and RCPT.
//!
//! Source routes are read and ignored (RFC 5321 §4.1.1.3, Appendix C). `<Postmaster>` without a domain is a
//! forward-path of its own (RFC 5321 §4.1.1.3). Never decides whether an address exists.

use crate::address::{Address, AddressError};
use crate::envelope::ReversePath;

/// Longest path that is read, in octets; RFC 5321 §4.5.3.1.3 requires 256.
pub const PATH_BYTES_MAX: usize = 1024;

/// The argument of RCPT (RFC 5321 §4.1.1.3).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ForwardPath {
    /// `<Postmaster>` without a domain, in any case.
    Postmaster,
    /// A mailbox.
    Mailbox(Address),
}

/// Why the text after `FROM:` or `TO:` is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The brackets are missing or do not close.
    #[error("the address must stand in angle brackets")]
    Brackets,
    /// Not valid UTF-8, or over [`PATH_BYTES_MAX`].
    #[error("the address is too long or not UTF-8")]
    Unreadable,
    /// A source route without its colon.
    #[error("the source route is malformed")]
    SourceRoute,
    /// The null path where a recipient must stand.
    #[error("a recipient cannot be empty")]
    Null,
    /// The mailbox itself.
    #[error("{0}")]
    Address(#[from] AddressError),
}

/// Reads a reverse-path from the start of `input`; gives it and what follows the closing bracket.
///
/// # Errors
/// [`PathError`].
pub fn reverse_path(input: &[u8]) -> Result<(ReversePath, &[u8]), PathError> {
    let (inner, rest) = bracketed(input)?;
    if inner.is_empty() {
        return Ok((ReversePath::Null, rest));
    }
    Ok((ReversePath::Mailbox(Address::parse(without_route(inner)?)?), rest))
}

/// Reads a forward-path from the start of `input`; gives it and what follows the closing bracket.
///
/// # Errors
/// [`PathError`].
pub fn forward_path(input: &[u8]) -> Result<(ForwardPath, &[u8]), PathError> {
    let (inner, rest) = bracketed(input)?;
    if inner.is_empty() {
        return Err(PathError::Null);
    }
    if inner.eq_ignore_ascii_case("postmaster") {
        return Ok((ForwardPath::Postmaster, rest));
    }
    Ok((ForwardPath::Mailbox(Address::parse(without_route(inner)?)?), rest))
}

/// The text inside `<...>`, quoted strings respected, and the rest of the input.
fn bracketed(input: &[u8]) -> Result<(&str, &[u8]), PathError> {
    let body = input.strip_prefix(b"<").ok_or(PathError::Brackets)?;
    let (mut quoted, mut escaped) = (false, false);
    for (i, &b) in body.iter().enumerate() {
        match b {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => {
                let (inner, rest) = body.split_at(i);
                if inner.len() > PATH_BYTES_MAX {
                    return Err(PathError::Unreadable);
                }
                let text = std::str::from_utf8(inner).map_err(|_| PathError::Unreadable)?;
                return Ok((text, rest.get(1..).unwrap_or_default()));
            }
            _ => {}
        }
    }
    Err(PathError::Brackets)
}

/// RFC 5321 Appendix C: `@a,@b:user@c` means `user@c`.
fn without_route(inner: &str) -> Result<&str, PathError> {
    if inner.starts_with('@') {
        inner.split_once(':').map(|(_, mailbox)| mailbox).ok_or(PathError::SourceRoute)
    } else {
        Ok(inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_rfc_5321_writes_them() {
        for (input, want, rest) in [
            ("<a@b.test> SIZE=1", "a@b.test", " SIZE=1"),
            ("<@x.test,@y.test:a@b.test>", "a@b.test", ""),
            (r#"<"a>b"@c.test>x"#, r#""a>b"@c.test"#, "x"),
            ("<a@[192.0.2.1]>", "a@[192.0.2.1]", ""),
        ] {
            let (path, left) = reverse_path(input.as_bytes()).unwrap();
            assert_eq!((path.to_string().as_str(), left), (want, rest.as_bytes()), "{input}");
        }
        assert_eq!(reverse_path(b"<>").unwrap().0, ReversePath::Null);
        assert_eq!(forward_path(b"<POSTmaster>").unwrap().0, ForwardPath::Postmaster);
    }

    #[test]
    fn malformed_paths_say_why() {
        for (input, why) in [
            ("a@b.test", PathError::Brackets),
            ("<a@b.test", PathError::Brackets),
            ("<@x.test>", PathError::SourceRoute),
            ("<>", PathError::Null),
            ("<a>", PathError::Address(AddressError::NoDomain)),
        ] {
            assert_eq!(forward_path(input.as_bytes()), Err(why), "{input}");
        }
        assert_eq!(forward_path(b"<\xff@b.test>"), Err(PathError::Unreadable));
    }
}
