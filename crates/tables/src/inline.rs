//! Tables that are written in the configuration itself: `static:` and `inline:`.

use std::collections::HashMap;
use std::sync::Arc;

use crate::{Answer, Contents, Entry, Lookup, Snapshot, Table};

/// One value for every key.
#[derive(Debug, Clone)]
pub(crate) struct Static(pub(crate) String);

impl Table for Static {
    fn lookup<'a>(&'a self, key: &'a str) -> Lookup<'a> {
        Box::pin(std::future::ready(self.find(key)))
    }

    fn snapshot(&self) -> Snapshot<'_> {
        Box::pin(std::future::ready(Some(Arc::new(self.clone()) as Arc<dyn Contents>)))
    }
}

impl Contents for Static {
    fn find(&self, _key: &str) -> Answer {
        Answer::Found(self.0.clone())
    }

    fn entries(&self) -> Vec<Entry> {
        vec![entry(&self.0)]
    }
}

fn entry(value: &str) -> Entry {
    Entry { line: None, value: value.to_owned(), has_groups: false }
}

/// Keys, found in any case, and their values. The last of equal keys counts, as in Postfix.
#[derive(Debug, Clone)]
pub(crate) struct Inline(HashMap<String, String>);

impl Inline {
    pub(crate) fn new(pairs: &[(String, String)]) -> Self {
        let folded = pairs.iter().map(|(key, value)| (key.to_lowercase(), value.clone()));
        Self(folded.collect())
    }
}

impl Table for Inline {
    fn lookup<'a>(&'a self, key: &'a str) -> Lookup<'a> {
        Box::pin(std::future::ready(self.find(key)))
    }

    fn snapshot(&self) -> Snapshot<'_> {
        Box::pin(std::future::ready(Some(Arc::new(self.clone()) as Arc<dyn Contents>)))
    }
}

impl Contents for Inline {
    fn find(&self, key: &str) -> Answer {
        self.0.get(&key.to_lowercase()).cloned().map_or(Answer::Absent, Answer::Found)
    }

    fn entries(&self) -> Vec<Entry> {
        self.0.values().map(|value| entry(value)).collect()
    }
}
