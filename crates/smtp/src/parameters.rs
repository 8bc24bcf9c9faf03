//! The parameters of MAIL and RCPT: SIZE, BODY, SMTPUTF8, RET, ENVID, AUTH, NOTIFY, ORCPT.
//!
//! Syntax and bounds only; each at most once. What a parameter asks for is granted or not by whoever answers.
//! RFC 5321 §4.1.1.11 (form), 1870, 6152, 6531, 3461, 6533, 4954 §5.

use mail::{Address, BodyType, Notify, OriginalRecipient, Ret, ReversePath, xtext};

/// RFC 3461 §4.4: ENVID is at most 100 characters.
const ENVID_CHARACTERS_MAX: usize = 100;

/// What MAIL asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MailParameters {
    /// SIZE=, in bytes (RFC 1870 §5); within the limit.
    pub size: Option<u64>,
    /// BODY= (RFC 6152 §2).
    pub body: BodyType,
    /// SMTPUTF8: header and addresses may be UTF-8 (RFC 6531 §3.4).
    pub smtputf8: bool,
    /// RET= (RFC 3461 §4.3).
    pub ret: Option<Ret>,
    /// ENVID=, decoded (RFC 3461 §4.4).
    pub envid: Option<String>,
    /// AUTH=: who submitted it, in the client's words (RFC 4954 §5); to be believed from trusted peers only.
    pub auth: Option<ReversePath>,
}

/// What RCPT asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecipientParameters {
    /// NOTIFY= (RFC 3461 §4.1).
    pub notify: Notify,
    /// ORCPT= (RFC 3461 §4.2).
    pub orcpt: Option<OriginalRecipient>,
}

/// What is wrong with a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ParameterError {
    /// RFC 5321 §4.1.1.11: 555 for what we do not know.
    Unknown,
    /// Known, but with a value that it cannot have, given twice, or garbled: 501.
    Malformed(&'static str),
}

use ParameterError::{Malformed, Unknown};

/// One `KEYWORD` or `KEYWORD=value`.
struct Parameter<'a> {
    keyword: String,
    value: Option<&'a [u8]>,
}

impl<'a> Parameter<'a> {
    fn value(&self, complaint: &'static str) -> Result<&'a [u8], ParameterError> {
        self.value.filter(|value| !value.is_empty()).ok_or(Malformed(complaint))
    }
}

/// Splits what follows a path. The first byte, if any, must be a space.
fn split(text: &[u8]) -> Result<Vec<Parameter<'_>>, ParameterError> {
    if text.first().is_some_and(|byte| *byte != b' ') {
        return Err(Malformed("a space must follow the address"));
    }
    let mut parameters: Vec<Parameter<'_>> = Vec::new();
    for word in text.split(|byte| *byte == b' ').filter(|word| !word.is_empty()) {
        let mut parts = word.splitn(2, |byte| *byte == b'=');
        let keyword = parts.next().unwrap_or_default();
        // RFC 5321 §4.1.2: esmtp-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-").
        if !keyword.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-') {
            return Err(Malformed("a parameter's name is malformed"));
        }
        let keyword = String::from_utf8_lossy(keyword).to_ascii_uppercase();
        if parameters.iter().any(|earlier| earlier.keyword == keyword) {
            return Err(Malformed("a parameter is given twice"));
        }
        parameters.push(Parameter { keyword, value: parts.next() });
    }
    Ok(parameters)
}

/// Reads what follows the path of MAIL.
pub(crate) fn mail(text: &[u8]) -> Result<MailParameters, ParameterError> {
    let mut read = MailParameters::default();
    for parameter in split(text)? {
        match parameter.keyword.as_str() {
            "SIZE" => read.size = Some(size(parameter.value(SIZE)?)?),
            "BODY" => read.body = body(parameter.value(BODY)?)?,
            "SMTPUTF8" if parameter.value.is_none() => read.smtputf8 = true,
            "SMTPUTF8" => return Err(Malformed("SMTPUTF8 has no value")),
            "RET" => read.ret = Some(ret(parameter.value(RET)?)?),
            "ENVID" => read.envid = Some(envid(parameter.value(ENVID)?)?),
            "AUTH" => read.auth = Some(auth(parameter.value(AUTH)?)?),
            _ => return Err(Unknown),
        }
    }
    Ok(read)
}

/// Reads what follows the path of RCPT.
pub(crate) fn recipient(text: &[u8]) -> Result<RecipientParameters, ParameterError> {
    let mut read = RecipientParameters::default();
    for parameter in split(text)? {
        match parameter.keyword.as_str() {
            "NOTIFY" => read.notify = Notify::read(parameter.value(NOTIFY)?).ok_or(Malformed(NOTIFY))?,
            "ORCPT" => {
                let value = parameter.value(ORCPT)?;
                read.orcpt = Some(OriginalRecipient::read(value).ok_or(Malformed(ORCPT))?);
            }
            _ => return Err(Unknown),
        }
    }
    Ok(read)
}

const SIZE: &str = "SIZE= takes a number of bytes";
const BODY: &str = "BODY= takes 7BIT or 8BITMIME";
const RET: &str = "RET= takes FULL or HDRS";
const ENVID: &str = "ENVID= takes up to 100 characters in xtext";
const AUTH: &str = "AUTH= takes <> or an address in xtext";
const NOTIFY: &str = "NOTIFY= takes NEVER, or SUCCESS, FAILURE, DELAY with commas";
const ORCPT: &str = "ORCPT= takes a type, a semicolon and an address in xtext";

/// RFC 1870 §5: up to twenty digits. What is too large for any machine is as large as can be.
fn size(value: &[u8]) -> Result<u64, ParameterError> {
    if value.len() > 20 || !value.iter().all(u8::is_ascii_digit) {
        return Err(Malformed(SIZE));
    }
    Ok(value.iter().fold(0u64, |n, digit| n.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
}

/// RFC 6152 §2. BINARYMIME (RFC 3030 §3) is not offered.
fn body(value: &[u8]) -> Result<BodyType, ParameterError> {
    match value.to_ascii_uppercase().as_slice() {
        b"7BIT" => Ok(BodyType::SevenBit),
        b"8BITMIME" => Ok(BodyType::EightBitMime),
        _ => Err(Malformed(BODY)),
    }
}

/// RFC 3461 §4.3.
fn ret(value: &[u8]) -> Result<Ret, ParameterError> {
    match value.to_ascii_uppercase().as_slice() {
        b"FULL" => Ok(Ret::Full),
        b"HDRS" => Ok(Ret::Headers),
        _ => Err(Malformed(RET)),
    }
}

/// RFC 3461 §4.4: xtext that decodes to printable ASCII.
fn envid(value: &[u8]) -> Result<String, ParameterError> {
    let fine = |text: &String| text.len() <= ENVID_CHARACTERS_MAX && text.is_ascii();
    xtext::decode(value).filter(fine).ok_or(Malformed(ENVID))
}

/// RFC 4954 §5: `<>`, or an address in xtext.
fn auth(value: &[u8]) -> Result<ReversePath, ParameterError> {
    let text = xtext::decode(value).ok_or(Malformed(AUTH))?;
    if text == "<>" {
        return Ok(ReversePath::Null);
    }
    Address::parse(&text).map(ReversePath::Mailbox).map_err(|_| Malformed(AUTH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_parameters_are_read() {
        let read = mail(b" SIZE=1000 body=8bitmime SMTPUTF8  RET=hdrs ENVID=a+20b AUTH=<> ").unwrap();
        assert_eq!(read.size, Some(1000));
        assert_eq!(read.body, BodyType::EightBitMime);
        assert!(read.smtputf8);
        assert_eq!(read.ret, Some(Ret::Headers));
        assert_eq!(read.envid.as_deref(), Some("a b"));
        assert_eq!(read.auth, Some(ReversePath::Null));
        assert_eq!(mail(b"").unwrap(), MailParameters::default());
        let auth = mail(b" AUTH=e+3Dmc2@a.test").unwrap().auth.unwrap();
        assert_eq!(auth.to_string(), "e=mc2@a.test");
        assert_eq!(mail(b" SIZE=99999999999999999999").unwrap().size, Some(u64::MAX));
    }

    #[test]
    fn recipient_parameters_are_read() {
        let read = recipient(b" NOTIFY=success,DELAY ORCPT=rfc822;Bob+40b.test").unwrap();
        assert_eq!(read.notify.to_string(), "SUCCESS,DELAY");
        assert!(!read.notify.failure && read.notify.explicit);
        assert_eq!(
            read.orcpt.unwrap(),
            OriginalRecipient { kind: "rfc822".into(), address: "Bob@b.test".into() }
        );
        assert_eq!(recipient(b" NOTIFY=NEVER").unwrap().notify, Notify::NEVER);
        let utf8 = recipient("\u{20}ORCPT=utf-8;\\x{FC}ser@b.test".as_bytes()).unwrap().orcpt.unwrap();
        assert_eq!(utf8.address, "üser@b.test");
    }

    #[test]
    fn what_is_unknown_is_told_from_what_is_malformed() {
        for text in [" HOLDFOR=5", " BINARYMIME", " X"] {
            assert_eq!(mail(text.as_bytes()), Err(Unknown), "{text}");
        }
        for text in [
            "SIZE=1",
            " SIZE",
            " SIZE=",
            " SIZE=-1",
            " SIZE=1x",
            " SIZE=123456789012345678901",
            " SIZE=1 SIZE=1",
            " BODY=BINARYMIME",
            " SMTPUTF8=1",
            " RET=ALL",
            " ENVID=a=b",
            " AUTH=bob",
            " =",
            " a_b=c",
        ] {
            let read = mail(text.as_bytes());
            assert!(matches!(read, Err(Malformed(_))) || text == " =" && read.is_err(), "{text}: {read:?}");
        }
        let long = format!(" ENVID={}", "a".repeat(101));
        assert_eq!(mail(long.as_bytes()), Err(Malformed(ENVID)));
        for text in [
            " NOTIFY=NEVER,DELAY",
            " NOTIFY=",
            " NOTIFY=SUCCESS,,DELAY",
            " ORCPT=a@b",
            " ORCPT=;a",
            " ORCPT=rfc822;",
        ] {
            assert!(matches!(recipient(text.as_bytes()), Err(Malformed(_))), "{text}");
        }
        assert_eq!(recipient(b" SIZE=1"), Err(Unknown));
    }
}
