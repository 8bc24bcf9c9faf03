//! Asking a table about an address, in the order of virtual(5): the whole address, without its extension, its domain.

use mail::{Address, LocalPart};

use crate::{Answer, Table};

/// Looks an address up: `user+tag@domain`, then `user@domain`, then `@domain`.
///
/// The address is asked for as it prints, in lower case; `delimiter` is what separates a tag from a user, if anything.
/// A failure ends the search: a later key must not answer for an earlier one that could not be asked (I9).
pub async fn find(table: &dyn Table, address: &Address, delimiter: Option<char>) -> Answer {
    let bare = without_tag(address, delimiter);
    let keys =
        [Some(address.to_string()), bare.map(|bare| bare.to_string()), Some(format!("@{}", address.domain))];
    for key in keys.into_iter().flatten() {
        match table.lookup(&key.to_lowercase()).await {
            Answer::Absent => {}
            answer => return answer,
        }
    }
    Answer::Absent
}

/// The address without its tag; `None` when it has none, or nothing but one.
#[must_use]
pub fn without_tag(address: &Address, delimiter: Option<char>) -> Option<Address> {
    let (user, _) = address.local.as_str().split_once(delimiter?)?;
    let local = LocalPart::from_unquoted(user).ok()?;
    Some(Address { local, domain: address.domain.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Lookup;

    /// Has one key, and cannot be asked about another.
    #[derive(Debug)]
    struct Only(&'static str, &'static str);

    impl Table for Only {
        fn lookup<'a>(&'a self, key: &'a str) -> Lookup<'a> {
            let answer = match key {
                key if key == self.0 => Answer::Found(format!("<{key}>")),
                key if key == self.1 => Answer::Unavailable("down".to_owned()),
                _ => Answer::Absent,
            };
            Box::pin(std::future::ready(answer))
        }
    }

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[tokio::test]
    async fn the_whole_address_comes_first_then_without_tag_then_the_domain() {
        for (has, asked, found) in [
            ("joe+x@a.test", "Joe+X@A.test", true),
            ("joe@a.test", "joe+x@a.test", true),
            ("@a.test", "joe+x@a.test", true),
            ("joe@a.test", "jim@a.test", false),
            ("+x@a.test", "+x@a.test", true),
            ("\"joe smith\"@a.test", "\"Joe Smith\"@a.test", true),
        ] {
            let expected = if found { Answer::Found(format!("<{has}>")) } else { Answer::Absent };
            assert_eq!(find(&Only(has, "-"), &address(asked), Some('+')).await, expected, "{has} {asked}");
        }
        assert_eq!(find(&Only("joe@a.test", "-"), &address("joe+x@a.test"), None).await, Answer::Absent);
    }

    #[tokio::test]
    async fn a_failure_ends_the_search() {
        let table = Only("@a.test", "joe@a.test");
        let answer = find(&table, &address("joe+x@a.test"), Some('+')).await;
        assert_eq!(answer, Answer::Unavailable("down".to_owned()));
    }
}
