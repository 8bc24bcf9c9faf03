//! `xtext`, how ESMTP parameters carry arbitrary characters: `+3D` for `=` (RFC 3461 §4), and the form for Unicode,
//! `\x{20AC}` (RFC 6533 §3).

/// Decodes xtext; nothing when it is malformed, not UTF-8, or has control characters.
#[must_use]
pub fn decode(text: &[u8]) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        match byte {
            // RFC 3461 §4: hexchar = "+" and two upper-case hexadecimal digits; lower case is forgiven.
            b'+' => {
                let (high, low) = (hex(*rest.next()?)?, hex(*rest.next()?)?);
                out.push(high << 4 | low);
            }
            // RFC 3461 §4: xchar is "!" to "~" without "+" and "="; RFC 6531 §3.4 adds UTF-8.
            b'!'..=b'~' | 0x80.. if byte != b'=' => out.push(byte),
            _ => return None,
        }
    }
    let text = String::from_utf8(out).ok()?;
    (!text.chars().any(char::is_control)).then_some(text)
}

/// Decodes the `\x{HEX}` of `utf-8-addr-xtext` and `utf-8-addr-unitext` (RFC 6533 §3) in a text that is decoded else.
#[must_use]
pub fn decode_unicode(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x{") {
        let (digits, tail) = after.split_once('}')?;
        let fine = (1..=6).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let character = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
        let character = character.filter(|c| fine && !c.is_control())?;
        out.push_str(before);
        out.push(character);
        rest = tail;
    }
    out.push_str(rest);
    Some(out)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xtext_is_decoded_or_refused() {
        for (text, want) in [
            ("abc", Some("abc")),
            ("a+3Db+2Bc", Some("a=b+c")),
            ("+20", Some(" ")),
            ("a+3", None),
            ("a+zz", None),
            ("a=b", None),
            ("a b", None),
            ("+0D+0A", None),
            ("+FF", None),
            ("+C3+BC", Some("ü")),
            ("ü", Some("ü")),
        ] {
            assert_eq!(decode(text.as_bytes()).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn unicode_escapes_are_decoded_or_refused() {
        for (text, want) in [
            ("a\\x{20AC}b", Some("a€b")),
            ("\\x{1F600}", Some("😀")),
            ("\\x{D800}", None),
            ("\\x{0A}", None),
            ("\\x{+41}", None),
            ("\\x{41", None),
            ("plain", Some("plain")),
        ] {
            assert_eq!(decode_unicode(text).as_deref(), want, "{text}");
        }
    }
}
