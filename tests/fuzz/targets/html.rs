//! HTML as readers see it: never more shown or hidden than was there, entities and all.
#![no_main]

use antispam::letter::html;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    let source = String::from_utf8_lossy(octets);
    let read = html::read(&source);
    // An entity is never shorter than what it stands for; what stands for a space or an end of line comes with a tag.
    assert!(read.text.len() + read.hidden.len() <= 2 * source.len() + 2, "more text than there was");
    assert!(read.tags.len() + read.links.len() <= 2 * source.len() + 2);
    assert_eq!(read, html::read(&source), "not the same twice");
});
