//! The archive reader: the octets are a file of a letter, under a name that the first of them chooses.
#![no_main]

use antispam::end_of_data::attachments::inspect::{FILES_MAX, Inspected};
use antispam::letter::Letter;

const NAMES: [&str; 5] = ["a.zip", "a.tar.gz", "a.tar", "a.doc", "a"];

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    let Some((first, file)) = octets.split_first() else { return };
    let name = NAMES[usize::from(*first) % NAMES.len()];
    let mut letter = format!(
        "Content-Type: application/octet-stream; name=\"{name}\"\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    )
    .into_bytes();
    letter.extend_from_slice(file);
    let seen = Inspected::of(&Letter::read(&letter.into()));
    assert!(!seen.files.is_empty() && seen.files.len() <= FILES_MAX, "{} files", seen.files.len());
});
