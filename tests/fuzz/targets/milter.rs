//! What a milter answers: in one piece or octet by octet, it is the same, and no more is kept than has come.
#![no_main]

use antispam::remote::milter::codec::{Garbled, Replies, Reply};

/// All replies that are there, up to the first that cannot be read.
fn poll(replies: &mut Replies, found: &mut Vec<Reply>) -> Result<(), Garbled> {
    while let Some(reply) = replies.poll()? {
        found.push(reply);
    }
    Ok(())
}

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    let (mut whole, mut at_once) = (Replies::default(), Vec::new());
    whole.feed(octets);
    let end = poll(&mut whole, &mut at_once);
    assert!(whole.waiting() <= octets.len());

    let (mut parts, mut one_by_one) = (Replies::default(), Vec::new());
    for octet in octets {
        parts.feed(std::slice::from_ref(octet));
        if let Err(error) = poll(&mut parts, &mut one_by_one) {
            assert_eq!(Err(error), end, "it breaks elsewhere when it comes in pieces");
            break;
        }
    }
    assert_eq!(at_once, one_by_one, "other replies when they come in pieces");
});
