//! The MIME walk: every octet sequence is a letter, within its bounds, and parts lie within the message.
#![no_main]

use antispam::letter::{Letter, PARTS_MAX, TEXT_BYTES_MAX};
use bytes::Bytes;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    let octets = Bytes::copy_from_slice(octets);
    let letter = Letter::read(&octets);
    assert!((1..=PARTS_MAX).contains(&letter.parts.len()), "{} parts", letter.parts.len());
    let mut text = 0;
    for part in &letter.parts {
        assert!(part.body.start <= part.body.end && part.body.end <= octets.len(), "a body outside");
        assert!(part.header.start <= part.header.end && part.header.end <= octets.len(), "a header outside");
        assert!(letter.decoded(part, 1_000).len() <= 1_000);
        text += part.text.as_ref().map_or(0, |text| text.source().len());
    }
    // A character in another charset may become three octets; the bound is looked at before each text.
    assert!(text <= 4 * TEXT_BYTES_MAX, "{text} octets of text");
});
