//! Tables that are written in the configuration itself: `static:` and `inline:`.

use std::collections::HashMap;

use crate::{Answer, Lookup, Table};

/// One value for every key.
#[derive(Debug)]
pub(crate) struct Static(pub(crate) String);

impl Table for Static {
    fn lookup<'a>(&'a self, _key: &'a str) -> Lookup<'a> {
        Box::pin(std::future::ready(Answer::Found(self.0.clone())))
    }
}

/// Keys, found in any case, and their values. The last of equal keys counts, as in Postfix.
#[derive(Debug)]
pub(crate) struct Inline(HashMap<String, String>);

impl Inline {
    pub(crate) fn new(pairs: &[(String, String)]) -> Self {
        let folded = pairs.iter().map(|(key, value)| (key.to_lowercase(), value.clone()));
        Self(folded.collect())
    }
}

impl Table for Inline {
    fn lookup<'a>(&'a self, key: &'a str) -> Lookup<'a> {
        let value = self.0.get(&key.to_lowercase()).cloned();
        Box::pin(std::future::ready(value.map_or(Answer::Absent, Answer::Found)))
    }
}
