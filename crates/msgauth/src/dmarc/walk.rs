//! The walk up the tree of names (RFC 9989 §4.10): which records there are, and whose organization a domain is of.

use mail::Domain;
use net::{DnsAnswer, DnsName};

use super::Problem;
use super::record::Record;
use crate::Lookups;

/// Questions of one walk at most (RFC 9989 §4.10): a longer name skips to its last seven labels.
const QUESTIONS_MAX: usize = 8;

/// What was found on the way.
#[derive(Debug)]
pub(super) struct Walk {
    /// Longest name first.
    found: Vec<(Domain, Record)>,
    /// Names whose look-up failed, and why.
    failed: Vec<(Domain, String)>,
    /// Look-ups that found no record.
    pub(super) void_lookups: usize,
}

impl Walk {
    /// Asks for the records of a domain and of those above it.
    pub(super) async fn up(domain: &Domain, lookups: &Lookups) -> Self {
        let mut walk = Self { found: Vec::new(), failed: Vec::new(), void_lookups: 0 };
        let mut at = Some(domain.clone());
        while let Some(name) = at {
            if walk.ask(&name, lookups).await {
                break;
            }
            at = above(&name);
        }
        walk
    }

    /// Asks for one name; true when its record says that the walk ends here.
    async fn ask(&mut self, domain: &Domain, lookups: &Lookups) -> bool {
        let Some(name) = DnsName::parse(&format!("_dmarc.{domain}")) else { return false };
        let texts = match lookups.txt(&name).await {
            DnsAnswer::Found(texts) => texts,
            DnsAnswer::NoName | DnsAnswer::NoData => Vec::new(),
            DnsAnswer::Failed(why) => {
                self.failed.push((domain.clone(), why));
                return false;
            }
        };
        let mut records = texts.iter().filter_map(|text| Record::parse(text));
        // §4.10: where there are several, none counts.
        match (records.next(), records.next()) {
            (Some(record), None) => {
                let ends = record.public_suffix.is_some();
                self.found.push((domain.clone(), record));
                ends
            }
            _ => {
                self.void_lookups += 1;
                false
            }
        }
    }

    /// The record that applies to the domain from which the walk went up: its own, its organization's, a suffix's.
    pub(super) fn policy(&self, start: &Domain) -> Result<Option<(&Domain, &Record)>, Problem> {
        if let Some((name, why)) = self.failed.iter().find(|(name, _)| name == start) {
            return Err(Problem::AuthorLookup(format!("{name}: {why}")));
        }
        let of = |domain: &str| self.found.iter().find(|(name, _)| name.as_str() == domain);
        if let Some((name, record)) = of(start.as_str()) {
            return Ok(Some((name, record)));
        }
        let organization = self.organization(start).map_err(Problem::ParentLookup)?;
        Ok(of(&organization).or(self.found.last()).map(|(name, record)| (name, record)))
    }

    /// The organization of the domain from which the walk went up (§4.10.2).
    ///
    /// # Errors
    /// The look-up that failed, where its answer could change this one. A failure for a top-level domain does not, when
    /// there is a record below it.
    pub(super) fn organization(&self, start: &Domain) -> Result<String, String> {
        let matters = |name: &Domain| self.found.is_empty() || name.parent().is_some();
        if let Some((name, why)) = self.failed.iter().find(|(name, _)| matters(name)) {
            return Err(format!("{name}: {why}"));
        }
        for (name, record) in &self.found {
            match record.public_suffix {
                Some(false) => return Ok(name.as_str().to_owned()),
                Some(true) if name != start => return Ok(one_below(name, start)),
                _ => {}
            }
        }
        Ok(self.found.last().map_or(start, |(name, _)| name).as_str().to_owned())
    }
}

/// The name that is asked for next.
fn above(domain: &Domain) -> Option<Domain> {
    let labels = domain.as_str().split('.').count();
    let skip = if labels > QUESTIONS_MAX { labels + 1 - QUESTIONS_MAX } else { 1 };
    let mut name = domain.as_str();
    for _ in 0..skip {
        name = name.split_once('.')?.1;
    }
    Domain::parse(name).ok()
}

/// The part of `start` that has one label more than `suffix`.
fn one_below(suffix: &Domain, start: &Domain) -> String {
    let labels = suffix.as_str().split('.').count() + 1;
    let all: Vec<&str> = start.as_str().split('.').collect();
    all.get(all.len().saturating_sub(labels)..).unwrap_or_default().join(".")
}

/// Whether a name is another, or lies below it.
pub(super) fn is_within(name: &str, other: &str) -> bool {
    name.strip_suffix(other).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// An organization has at least two labels: names that differ in these have not the same one.
pub(super) fn may_share_organization(one: &Domain, other: &Domain) -> bool {
    let last = |domain: &Domain| {
        let mut labels = domain.as_str().rsplit('.');
        (labels.next().map(str::to_owned), labels.next().map(str::to_owned))
    };
    last(one) == last(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    #[test]
    fn a_walk_takes_at_most_eight_questions() {
        let mut names = vec![domain("a.b.c.d.e.f.g.h.i.j.example.test")];
        while let Some(next) = above(names.last().unwrap()) {
            names.push(next);
        }
        let names: Vec<&str> = names.iter().map(Domain::as_str).collect();
        assert_eq!(names.len(), QUESTIONS_MAX);
        assert_eq!(names[1..3], ["f.g.h.i.j.example.test", "g.h.i.j.example.test"]);
        assert_eq!(names[7], "test");
        assert_eq!(above(&domain("a.b.c.d.e.f.g.h")).unwrap().as_str(), "b.c.d.e.f.g.h");
    }

    #[test]
    fn names_and_their_parts() {
        assert_eq!(one_below(&domain("co.test"), &domain("a.b.co.test")), "b.co.test");
        assert!(is_within("a.b", "b") && is_within("b", "b") && !is_within("ab", "b"));
        assert!(may_share_organization(&domain("a.b.test"), &domain("b.test")));
        assert!(!may_share_organization(&domain("a.test"), &domain("b.test")));
    }
}
