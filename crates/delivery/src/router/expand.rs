//! Aliases, followed to their ends: mailboxes of ours and addresses elsewhere.
//!
//! One address leads, in this order, to what the domain's `aliases` table says of it, what the system's aliases say of its
//! name (domains with accounts only), its own mailbox, the domain's catch-all, and for postmaster to the configured
//! postmaster. An alias that names itself among its targets means its own mailbox. Chains, circles and numbers are bounded.

use std::collections::HashSet;
use std::sync::Arc;

use mail::{Address, Domain};
use tables::aliases::{Target, Targets, targets};
use tables::{Answer, address};

use super::mailbox::Mailbox;
use super::{LocalDomain, Recipients, Router};

/// Where following an address ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stop {
    /// There is no such recipient.
    Unknown(Address),
    /// No folder can be named after it.
    BadMailbox(Address),
    /// It leads back to itself, or on for too long.
    Loop(Address),
    /// It leads to too many.
    TooMany,
    /// A table cannot be asked.
    Unavailable(String),
}

/// One step on from an address.
enum Step {
    /// It ends here.
    Ends(Address),
    /// An alias.
    Leads(Vec<Address>),
}

/// An address still to be followed, and how it was come to.
struct Open {
    address: Address,
    /// Its own mailbox is meant: an alias named itself.
    own: bool,
    trail: Option<Arc<Trail>>,
    depth: usize,
}

struct Trail {
    address: Address,
    before: Option<Arc<Trail>>,
}

impl Router {
    /// Follows an address of ours. Never gives an empty list; each end once.
    pub(super) async fn expand(&self, start: &Address) -> Result<Vec<Address>, Stop> {
        let mut ends = Vec::new();
        let mut seen: HashSet<Address> = HashSet::new();
        // Aliases that were followed: where several lead to the same one, its targets are taken once. Without this, twenty
        // that each name the next one twice would be a million look-ups.
        let mut followed: HashSet<Address> = HashSet::new();
        let mut open = vec![Open { address: start.clone(), own: false, trail: None, depth: 0 }];
        while let Some(next) = open.pop() {
            let step = self.step(&next).await?;
            let targets = match step {
                Step::Ends(address) => {
                    if seen.insert(address.clone()) {
                        ends.push(address);
                    }
                    if ends.len() > self.alias.recipients_max {
                        return Err(Stop::TooMany);
                    }
                    continue;
                }
                Step::Leads(targets) => targets,
            };
            if next.depth >= self.alias.depth_max {
                return Err(Stop::Loop(next.address));
            }
            if !followed.insert(next.address.clone()) {
                continue;
            }
            if open.len() + targets.len() > self.alias.recipients_max {
                return Err(Stop::TooMany);
            }
            let trail = Some(Arc::new(Trail { address: next.address.clone(), before: next.trail }));
            for address in targets.into_iter().rev() {
                let own = same_mailbox(&address, &next.address, self.delimiter);
                if !own && on_trail(trail.as_ref(), &address) {
                    return Err(Stop::Loop(address));
                }
                open.push(Open { address, own, trail: trail.clone(), depth: next.depth + 1 });
            }
        }
        if ends.is_empty() { Err(Stop::Unknown(start.clone())) } else { Ok(ends) }
    }

    async fn step(&self, open: &Open) -> Result<Step, Stop> {
        let Some((domain, address)) = self.our_domain(&open.address) else {
            return Ok(Step::Ends(open.address.clone()));
        };
        if !open.own
            && let Some(found) = self.alias_of(domain, &address).await?
        {
            return Ok(Step::Leads(found));
        }
        match self.mailbox(domain, &address).await {
            Mailbox::Found(_) => return Ok(Step::Ends(address.into_owned())),
            Mailbox::Bad => return Err(Stop::BadMailbox(address.into_owned())),
            Mailbox::Unavailable(why) => return Err(Stop::Unavailable(why)),
            Mailbox::Absent => {}
        }
        let catch_all = format!("@{}", address.domain);
        if let Some(found) = self.in_table(domain, &catch_all, &address).await?
            && !open.own
        {
            return Ok(Step::Leads(found));
        }
        if !is_postmaster(&address) {
            return Err(Stop::Unknown(address.into_owned()));
        }
        // RFC 5321 §4.5.1: postmaster is always there; where nobody was named, as a mailbox of that name.
        if self.postmaster == *address || open.own {
            return Ok(Step::Ends(address.into_owned()));
        }
        Ok(Step::Leads(vec![self.postmaster.clone()]))
    }

    /// The alias for this very address, or its name, without the catch-all.
    async fn alias_of(&self, domain: &LocalDomain, address: &Address) -> Result<Option<Vec<Address>>, Stop> {
        let bare = address::without_tag(address, self.delimiter);
        let both = [Some(address), bare.as_ref()];
        for candidate in both.into_iter().flatten() {
            if let Some(found) = self.in_table(domain, &candidate.to_string().to_lowercase(), address).await?
            {
                return Ok(Some(found));
            }
        }
        let (Recipients::Accounts, Some(table)) = (&domain.recipients, &self.system_aliases) else {
            return Ok(None);
        };
        for candidate in both.into_iter().flatten() {
            let name = candidate.local.as_str().to_lowercase();
            if let Some(found) = list(table.lookup(&name).await, address).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    async fn in_table(
        &self,
        domain: &LocalDomain,
        key: &str,
        address: &Address,
    ) -> Result<Option<Vec<Address>>, Stop> {
        match &domain.aliases {
            Some(table) => list(table.lookup(key).await, address).await,
            None => Ok(None),
        }
    }
}

/// The addresses in an alias's value. Names without a domain are of the same domain as the alias.
async fn list(answer: Answer, alias: &Address) -> Result<Option<Vec<Address>>, Stop> {
    let value = match answer {
        Answer::Found(value) => value,
        Answer::Absent => return Ok(None),
        Answer::Unavailable(why) => return Err(Stop::Unavailable(why)),
    };
    let found = match targets(&value).await {
        Targets::Found(found) => found,
        Targets::Absent => return Err(Stop::Unknown(alias.clone())),
        Targets::Unavailable(why) => return Err(Stop::Unavailable(why)),
    };
    let unreadable =
        |name: &str| Stop::Unavailable(format!("the alias {alias} leads to `{name}`, which is no address"));
    let at = |name: &str, domain: &Domain| Address::new(name, domain.clone()).map_err(|_| unreadable(name));
    let address = |target: &Target| match target {
        Target::Address(address) => Ok(address.clone()),
        Target::Name(name) => at(name, &alias.domain),
        Target::SameNameAt(domain) => at(alias.local.as_str(), domain),
        Target::Include(path) => Err(unreadable(&path.display().to_string())),
    };
    found.iter().map(address).collect::<Result<Vec<_>, _>>().map(Some)
}

/// RFC 5321 §4.5.1: in any case.
pub(super) fn is_postmaster(address: &Address) -> bool {
    address.local.as_str().eq_ignore_ascii_case("postmaster")
}

/// True when an alias's target is the alias itself, its tag apart.
fn same_mailbox(target: &Address, alias: &Address, delimiter: Option<char>) -> bool {
    let key = alias.lookup_key();
    target.lookup_key() == key
        || address::without_tag(alias, delimiter).is_some_and(|bare| bare.lookup_key() == target.lookup_key())
}

fn on_trail(trail: Option<&Arc<Trail>>, address: &Address) -> bool {
    let key = address.lookup_key();
    std::iter::successors(trail, |step| step.before.as_ref()).any(|step| step.address.lookup_key() == key)
}
