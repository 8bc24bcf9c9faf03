//! Is the message put together as MIME wants it? RFC 2045, RFC 2046.
//!
//! What is broken makes mail programs and scanners see different things, and spam is often broken; so are the letters of
//! some honest programs. All of it is few points, in one group with a cap. What is there is told by [`crate::letter`].

use std::time::Duration;

use policy::{Check, EndOfData, Findings, MessageFacts, SymbolDef, Work};

use crate::groups::{MIME, symbols};
use crate::letter::{self, Fault, Letter, Text};

symbols! { MIME:
    MIME_TOO_DEEP, 30, "parts are nested deeper than anybody writes";
    MIME_TOO_MANY_PARTS, 20, "there are more parts than anybody writes";
    MIME_NO_BOUNDARY, 15, "a multipart names no boundary, or one that never comes";
    MIME_UNCLOSED, 5, "a multipart does not end";
    MIME_FIELD_TWICE, 20, "a part says twice what it is: programs differ in which they believe";
    MIME_ENCODED_PARTS, 15, "parts are encoded as a whole, which hides them from some";
    MIME_BAD_BASE64, 10, "a text is said to be base64 and is not";
    MIME_UNKNOWN_ENCODING, 10, "a part is in an encoding that there is none of";
    MIME_NUL, 10, "there are NUL octets in a text";
    MIME_BASE64_ASCII, 5, "plain text without a special character is hidden in base64";
    MIME_HTML_ONLY, 2, "there is HTML and no text";
    MIME_EMPTY_TEXT, 5, "there is nothing to read";
    HTML_HIDDEN_TEXT, 10, "more text is hidden than shown";
    LETTER_TEXT_CUT, 0, "there is more text, or links, than is looked at";
}

/// Shortest hidden text that counts, in octets: previews of some honest programs are shorter.
const HIDDEN_BYTES_MIN: usize = 400;

/// See above.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mime;

impl Check<EndOfData> for Mime {
    fn name(&self) -> &'static str {
        "mime"
    }

    fn symbols(&self) -> Vec<SymbolDef> {
        vec![
            MIME_TOO_DEEP,
            MIME_TOO_MANY_PARTS,
            MIME_NO_BOUNDARY,
            MIME_UNCLOSED,
            MIME_FIELD_TWICE,
            MIME_ENCODED_PARTS,
            MIME_BAD_BASE64,
            MIME_UNKNOWN_ENCODING,
            MIME_NUL,
            MIME_BASE64_ASCII,
            MIME_HTML_ONLY,
            MIME_EMPTY_TEXT,
            HTML_HIDDEN_TEXT,
            LETTER_TEXT_CUT,
        ]
    }

    fn budget(&self) -> Duration {
        Duration::from_secs(10)
    }

    fn run<'a>(&'a self, facts: &'a MessageFacts, found: &'a mut Findings) -> Work<'a> {
        Box::pin(async move {
            match letter::of(facts).await {
                Ok(letter) => look(&letter, found),
                Err(why) => found.unfinished(&why),
            }
        })
    }
}

fn look(letter: &Letter, found: &mut Findings) {
    for fault in &letter.faults {
        let (symbol, evidence) = match fault {
            Fault::TooDeep => (MIME_TOO_DEEP, "the rest was not looked at"),
            Fault::TooManyParts => (MIME_TOO_MANY_PARTS, "the rest was not looked at"),
            Fault::NoBoundary => (MIME_NO_BOUNDARY, "no boundary"),
            Fault::NoParts => (MIME_NO_BOUNDARY, "no parts"),
            Fault::Unclosed => (MIME_UNCLOSED, ""),
            Fault::FieldTwice => (MIME_FIELD_TWICE, ""),
            Fault::EncodedParts => (MIME_ENCODED_PARTS, ""),
            Fault::BadBase64 => (MIME_BAD_BASE64, ""),
            Fault::UnknownEncoding => (MIME_UNKNOWN_ENCODING, ""),
            Fault::Nul => (MIME_NUL, ""),
            Fault::TextCut => (LETTER_TEXT_CUT, "text"),
            Fault::LinksCut => (LETTER_TEXT_CUT, "links"),
        };
        if !found.has(symbol.symbol.as_str()) {
            found.saw(symbol.symbol, evidence);
        }
    }
    texts(letter, found);
}

fn texts(letter: &Letter, found: &mut Findings) {
    let texts = || {
        letter
            .parts
            .iter()
            .filter(|part| !part.is_attachment)
            .filter_map(|part| Some((part, part.text.as_ref()?)))
    };
    let is_html = |text: &Text| matches!(text, Text::Html(..));
    let plain = texts().any(|(_, text)| !is_html(text));
    if !plain && texts().any(|(_, text)| is_html(text)) {
        found.saw(MIME_HTML_ONLY.symbol, "");
    }
    let has_files = letter.parts.iter().any(|part| part.text.is_none() && !part.is_container());
    let nothing = texts().all(|(_, text)| text.shown().trim().is_empty() && !text.source().contains("<img"));
    if nothing && !has_files {
        found.saw(MIME_EMPTY_TEXT.symbol, "");
    }
    let hidden_in_base64 = texts().any(|(part, text)| {
        part.encoding == letter::Encoding::Base64 && !text.source().is_empty() && text.source().is_ascii()
    });
    if hidden_in_base64 {
        found.saw(MIME_BASE64_ASCII.symbol, "");
    }
    let hidden = texts().find_map(|(_, text)| match text {
        Text::Html(_, html)
            if html.hidden.len() >= HIDDEN_BYTES_MIN && html.hidden.len() > html.text.len() =>
        {
            Some(html)
        }
        _ => None,
    });
    if let Some(html) = hidden {
        found.saw(
            HTML_HIDDEN_TEXT.symbol,
            &format!("{} octets of {}", html.hidden.len(), html.hidden.len() + html.text.len()),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{message, run, symbols};

    async fn seen(letter: &str) -> Vec<String> {
        let found = run(&Mime, &message("joe@far.test", letter)).await;
        symbols(&found).into_iter().map(ToOwned::to_owned).collect()
    }

    #[tokio::test]
    async fn what_is_well_made_has_no_symbols() {
        let letter = "Content-Type: multipart/alternative; boundary=b\n\n--b\n\nhello\n--b\nContent-Type: text/html\n\n<p>hello</p>\n--b--\n";
        assert!(seen(letter).await.is_empty());
        assert!(seen("Subject: x\n\nhello\n").await.is_empty());
    }

    #[tokio::test]
    async fn what_is_broken_or_hidden_is_told() {
        assert_eq!(
            seen("Content-Type: multipart/mixed; boundary=b\n\nhello\n").await,
            ["MIME_NO_BOUNDARY", "MIME_EMPTY_TEXT"]
        );
        assert_eq!(seen("Subject: x\n\n \n").await, ["MIME_EMPTY_TEXT"]);
        assert_eq!(seen("Content-Transfer-Encoding: base64\n\naGVsbG8=\n").await, ["MIME_BASE64_ASCII"]);
        let html = format!("Content-Type: text/html\n\n<p>x</p><p hidden>{}</p>\n", "word ".repeat(100));
        assert_eq!(seen(&html).await, ["MIME_HTML_ONLY", "HTML_HIDDEN_TEXT"]);
    }
}
