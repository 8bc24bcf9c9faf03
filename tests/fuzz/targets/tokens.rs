//! The tokeniser of the classifier: the same letter is the same features and the same digest.
#![no_main]

use antispam::learn::tokens;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    let read = tokens::read(octets);
    assert_eq!(read, tokens::read(octets), "not the same twice");
    let (features, _) = tokens::named(octets);
    assert_eq!(features, read.features, "names change what is read");
});
