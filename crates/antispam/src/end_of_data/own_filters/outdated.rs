//! Whose corrections have spoken after the shared filter became another, until they are fitted anew. Bounded: when there are
//! too many, those that spoke longest ago give way, and wait again when they speak again. Lost at a restart for the same
//! reason.

use std::collections::HashMap;

use crate::learn::Owner;

/// Corrections that wait to be fitted anew: more than a round fits.
const WAITING_MAX: usize = 1_000;

/// Those that wait, each with when it spoke last.
#[derive(Debug, Default)]
pub(super) struct Outdated {
    spoke: HashMap<Owner, u64>,
    /// Counts up with each that speaks.
    now: u64,
}

impl Outdated {
    /// It has spoken.
    pub(super) fn put(&mut self, owner: &Owner) {
        self.now += 1;
        self.spoke.insert(owner.clone(), self.now);
        if self.spoke.len() > WAITING_MAX {
            let longest_ago = self.spoke.iter().min_by_key(|(_, spoke)| **spoke);
            let owner = longest_ago.map(|(owner, _)| owner.clone());
            owner.and_then(|owner| self.spoke.remove(&owner));
        }
    }

    /// Takes the one that spoke last.
    pub(super) fn pop(&mut self) -> Option<Owner> {
        let owner = self.spoke.iter().max_by_key(|(_, spoke)| **spoke).map(|(owner, _)| owner.clone())?;
        self.spoke.remove(&owner);
        Some(owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(number: usize) -> Owner {
        Owner::parse(&format!("u{number}@a.test")).unwrap()
    }

    #[test]
    fn who_spoke_last_is_first_and_there_are_only_so_many() {
        let mut outdated = Outdated::default();
        (0..WAITING_MAX).for_each(|number| outdated.put(&owner(number)));
        outdated.put(&owner(0));
        outdated.put(&owner(WAITING_MAX));
        assert_eq!(outdated.pop(), Some(owner(WAITING_MAX)));
        assert_eq!(outdated.pop(), Some(owner(0)));
        let left: Vec<Owner> = std::iter::from_fn(|| outdated.pop()).collect();
        assert_eq!((left.len(), left.last()), (WAITING_MAX - 2, Some(&owner(2))), "1 gave way");
    }
}
