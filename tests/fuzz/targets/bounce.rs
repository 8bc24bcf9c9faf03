//! What is recognised as a report, of whose mail, and which messages it refers to.
#![no_main]

use antispam::end_of_data::bounce::{self, RECIPIENTS_MAX, REFERENCES_MAX};

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    for null_sender in [true, false] {
        let found = bounce::recognise(octets, null_sender);
        assert!(found.recipients.len() <= RECIPIENTS_MAX && found.references.len() <= REFERENCES_MAX);
        assert!(found.follows_rfc3464 || found.recipients.is_empty(), "recipients from nowhere");
        for recipient in &found.recipients {
            let _ = recipient.addressed();
        }
    }
});
