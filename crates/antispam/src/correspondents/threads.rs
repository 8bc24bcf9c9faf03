//! How letters name each other: a letter's own Message-ID, and those that it answers (RFC 5322 §3.6.4).
//!
//! Pure: reads octets. Nothing a peer writes makes it fail, and all is bounded. What is remembered of letters is in
//! [`super::letters`].

use mail::header;

/// Message-IDs of one message that are looked up, and of one that leaves that are remembered.
pub const REFERENCES_MAX: usize = 8;
/// Octets of the longest Message-ID: a line of RFC 5322 §2.1.1.
const ID_BYTES_MAX: usize = 998;
/// Octets of a field that are read; of a longer one the end is, where the latest letters are named.
const FIELD_BYTES_MAX: usize = 16 << 10;
/// A letter that leaves, as its answers will name it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sent {
    /// Its own Message-ID and those that it answers, without brackets.
    pub ids: Vec<String>,
}

impl Sent {
    /// The letter with this header, as it leaves.
    #[must_use]
    pub fn of(head: &[u8]) -> Self {
        let mut ids = named(head, "Message-ID");
        ids.truncate(1);
        for id in answered(head) {
            if ids.len() < REFERENCES_MAX && !ids.contains(&id) {
                ids.push(id);
            }
        }
        Self { ids }
    }
}

/// The letters that this one answers, without brackets, the nearest first: `In-Reply-To`, then the end of `References`.
#[must_use]
pub fn answered(head: &[u8]) -> Vec<String> {
    let mut ids = named(head, "In-Reply-To");
    for id in named(head, "References").into_iter().rev() {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids.truncate(REFERENCES_MAX);
    ids
}

/// The Message-IDs in a field, none twice.
fn named(head: &[u8], name: &str) -> Vec<String> {
    let Some(field) = header::find(head, name) else { return Vec::new() };
    let value = field.unfolded();
    let start = value.len().saturating_sub(FIELD_BYTES_MAX);
    let mut ids: Vec<String> = Vec::new();
    for piece in value.get(start..).unwrap_or_default().split(|octet| *octet == b'<').skip(1) {
        let mut parts = piece.splitn(2, |octet| *octet == b'>');
        let (Some(id), Some(_)) = (parts.next(), parts.next()) else { continue };
        let Ok(id) = std::str::from_utf8(id) else { continue };
        let id = id.trim();
        if id.len() <= ID_BYTES_MAX && id.contains('@') && !ids.iter().any(|known| known == id) {
            ids.push(id.to_owned());
        }
    }
    ids
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_nearest_letters_are_named_first_and_each_once() {
        let head = b"Message-ID: <own@a.test>\r\nIn-Reply-To: (his) <3@b.test>\r\n\
                     References: <1@b.test>\r\n <2@a.test>\r\n\t<3@b.test> <none> <open@b.test\r\n\r\n";
        assert_eq!(answered(head), ["3@b.test", "2@a.test", "1@b.test"]);
        assert_eq!(Sent::of(head).ids, ["own@a.test", "3@b.test", "2@a.test", "1@b.test"]);
        assert!(answered(b"Message-ID: <own@a.test>\r\n\r\n").is_empty());
        let long: String = (0..5000).map(|n| format!(" <{n}@b.test>\r\n")).collect();
        let ids = answered(format!("References:{long}\r\n").as_bytes());
        assert_eq!((ids.len(), ids[0].as_str()), (REFERENCES_MAX, "4999@b.test"));
    }

    proptest! {
        #[test]
        fn no_header_makes_it_fail(head in prop::collection::vec(any::<u8>(), 0..400)) {
            let head = [b"References: <a@b> ".as_slice(), &head, b"\r\n\r\n"].concat();
            prop_assert!(Sent::of(&head).ids.len() <= REFERENCES_MAX);
        }
    }
}
