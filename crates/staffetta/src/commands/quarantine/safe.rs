//! A stranger's octets, made fit for a terminal: what steers it, or turns the direction of writing, is written out.

/// As text in which lines still end, and nothing else acts.
pub(super) fn text(octets: &[u8]) -> String {
    let mut out = String::with_capacity(octets.len());
    for chunk in octets.utf8_chunks() {
        let mut characters = chunk.valid().chars().peekable();
        while let Some(c) = characters.next() {
            match c {
                '\r' if characters.peek() == Some(&'\n') => {}
                '\n' | '\t' => out.push(c),
                c if acts(c) => out.extend(c.escape_unicode()),
                c => out.push(c),
            }
        }
        for octet in chunk.invalid() {
            out.push_str(&format!("\\x{octet:02x}"));
        }
    }
    out
}

/// Control characters, those of writing direction, and those that take no place.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_act_is_written_out() {
        for (octets, want) in [
            (&b"Subject: a\r\n\tb\r\n"[..], "Subject: a\n\tb\n"),
            (b"\x1b]0;title\x07\x9b", "\\u{1b}]0;title\\u{7}\\x9b"),
            ("Jörg \u{9b}31m \u{202e}exe.cod".as_bytes(), "Jörg \\u{9b}31m \\u{202e}exe.cod"),
            (b"over\rwritten\x08\x7f\0", "over\\u{d}written\\u{8}\\u{7f}\\u{0}"),
        ] {
            assert_eq!(text(octets), want);
        }
    }
}
