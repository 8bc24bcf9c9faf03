//! Where a recipient goes: asked at RCPT whether it exists and whom it leads to, and at delivery which agent takes it.
//!
//! Follows aliases, catch-alls, tags and postmaster for domains of ours; finds routes for all others. Decides nothing about
//! who may send: "elsewhere" is an answer, relaying is the asker's question. A table or directory that fails is
//! [`Resolution::Unavailable`] and [`RouteTrouble::Unavailable`], never an absence.

mod expand;
mod mailbox;
mod outbound;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use mail::{Address, Disposition, Domain, ForwardPath, LocalPart, Reply};
use queue::{DeliveryResult, Outcome, Trouble};
use tables::{Answer, Table};

use crate::agents::{Agent, Route};
use crate::maildir::Maildir;
use crate::settings::{AliasSettings, TlsPolicy};
use expand::{Stop, is_postmaster};
use mail::next_hop::NextHop;
use mailbox::Mailbox;
pub use outbound::Routes;

/// Who has a mailbox: the accounts file.
pub trait Directory: Send + Sync {
    /// The canonical mailbox name of an address, tag already stripped by the asker where the address as such is absent.
    fn find(&self, address: &Address) -> Answer;
}

/// What the router is built from.
pub struct RouterParts {
    /// Our name. Its own addresses, and those at `localhost`, are those of the first domain, unless it is a domain of ours.
    pub hostname: Domain,
    /// Where the bare `<postmaster>` goes, and that of domains without one.
    pub postmaster: Address,
    /// What parts a tag from a mailbox's name.
    pub recipient_delimiter: Option<char>,
    /// The domains of ours; the first one is the primary.
    pub domains: Vec<LocalDomain>,
    /// The system's aliases, for names in domains with accounts.
    pub system_aliases: Option<Arc<dyn Table>>,
    /// The accounts.
    pub directory: Arc<dyn Directory>,
    /// The transport table.
    pub routes: Routes,
    /// TLS towards servers that domains of ours are delivered to.
    pub tls: TlsPolicy,
    /// How far aliases are followed.
    pub alias: AliasSettings,
    /// Asked at RCPT whether a mailbox is full.
    pub maildir: Maildir,
}

/// Domains of ours that share their settings.
#[derive(Clone)]
pub struct LocalDomain {
    /// Their names.
    pub names: Vec<Domain>,
    /// Who exists there.
    pub recipients: Recipients,
    /// Where their mail goes.
    pub deliver: NextHop,
    /// Whole addresses that stand for others.
    pub aliases: Option<Arc<dyn Table>>,
}

/// Who exists in a domain.
#[derive(Clone)]
pub enum Recipients {
    /// The accounts.
    Accounts,
    /// A table's keys.
    Table(Arc<dyn Table>),
}

/// What an address at RCPT is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// A recipient of ours, aliases followed to their ends, which may lie elsewhere. Never an empty list.
    Local {
        /// The final recipients.
        recipients: Vec<Address>,
    },
    /// Not a domain of ours: whether it is relayed is not decided here.
    Elsewhere(Address),
    /// No such recipient: 550 5.1.1.
    Unknown,
    /// It exists, but no folder can be named after it: 550 5.1.3.
    BadMailbox,
    /// An alias that leads back to itself, or on for too long, by way of this address: 550 5.4.6.
    AliasLoop(Address),
    /// An alias that leads to this address of ours, which does not exist: 550 5.1.1.
    Dangling(Address),
    /// An alias that leads to more recipients than `delivery.alias.recipients_max`: 550 5.5.3.
    TooMany,
    /// The mailbox is full: 452 4.2.2.
    Full,
    /// A table or directory failed, with its words for the log: 451 4.3.0.
    Unavailable(String),
}

/// Why a recipient has no route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteTrouble {
    /// It does not exist any more.
    #[error("no such recipient")]
    Unknown,
    /// No folder can be named after it.
    #[error("the mailbox name is not permitted")]
    BadMailbox,
    /// A table or directory failed.
    #[error("a look-up failed: {0}")]
    Unavailable(String),
}

impl RouteTrouble {
    /// What it means for the recipient.
    #[must_use]
    pub fn outcome(&self, recipient: u32) -> Outcome {
        let (result, code, enhanced) = match self {
            Self::Unknown => (DeliveryResult::Failed, 550, (5, 1, 1)),
            Self::BadMailbox => (DeliveryResult::Failed, 550, (5, 1, 3)),
            Self::Unavailable(_) => (DeliveryResult::Deferred(Trouble::Local), 451, (4, 3, 0)),
        };
        Outcome { recipient, result, peer: None, reply: Reply::new(code, enhanced, self.to_string()) }
    }
}

/// The router.
pub struct Router {
    primary: Option<Domain>,
    hostname: Domain,
    postmaster: Address,
    delimiter: Option<char>,
    domains: Vec<LocalDomain>,
    by_name: HashMap<Domain, usize>,
    /// Where each of `domains` goes; the mailbox is still to be filled in.
    deliver: Vec<Route>,
    system_aliases: Option<Arc<dyn Table>>,
    directory: Arc<dyn Directory>,
    routes: Routes,
    alias: AliasSettings,
    maildir: Maildir,
    tls: TlsPolicy,
}

impl Router {
    /// Builds a router. Asks nothing yet.
    #[must_use]
    pub fn new(parts: RouterParts) -> Self {
        let mut by_name = HashMap::new();
        for (index, domain) in parts.domains.iter().enumerate() {
            for name in &domain.names {
                by_name.entry(name.clone()).or_insert(index);
            }
        }
        Self {
            primary: parts.domains.first().and_then(|domain| domain.names.first()).cloned(),
            hostname: parts.hostname,
            postmaster: parts.postmaster,
            delimiter: parts.recipient_delimiter,
            deliver: parts.domains.iter().map(|d| outbound::fixed(&d.deliver, parts.tls, false)).collect(),
            domains: parts.domains,
            by_name,
            system_aliases: parts.system_aliases,
            directory: parts.directory,
            routes: parts.routes,
            alias: parts.alias,
            maildir: parts.maildir,
            tls: parts.tls,
        }
    }

    /// Is this a domain of ours?
    #[must_use]
    pub fn is_ours(&self, domain: &Domain) -> bool {
        self.by_name.contains_key(domain) || self.is_own_name(domain)
    }

    /// What is wrong with tables that answer from older contents, each told once.
    #[must_use]
    pub fn troubles(&self) -> BTreeSet<String> {
        let of_domain = |domain: &LocalDomain| {
            let recipients = match &domain.recipients {
                Recipients::Accounts => None,
                Recipients::Table(table) => table.trouble(),
            };
            [recipients, domain.aliases.as_ref().and_then(|table| table.trouble())]
        };
        let system = self.system_aliases.as_ref().and_then(|table| table.trouble());
        self.domains.iter().flat_map(of_domain).flatten().chain(system).collect()
    }

    /// RCPT: is this recipient ours, does it exist, whom does it lead to, and has it room?
    pub async fn resolve(&self, path: &ForwardPath) -> Resolution {
        match self.follow(path).await {
            Resolution::Local { recipients } => match recipients.as_slice() {
                [only] if self.is_full(only).await => Resolution::Full,
                _ => Resolution::Local { recipients },
            },
            other => other,
        }
    }

    /// Whom an address leads to, whether or not there is room: for what is not mail from outside (may this account send as
    /// that address, where does a report go). Never [`Resolution::Full`].
    pub async fn follow(&self, path: &ForwardPath) -> Resolution {
        let address = match path {
            ForwardPath::Postmaster => &self.postmaster,
            ForwardPath::Mailbox(address) => address,
        };
        let Some((_, ours)) = self.our_domain(address) else {
            return match path {
                ForwardPath::Postmaster => Resolution::Local { recipients: vec![address.clone()] },
                ForwardPath::Mailbox(_) => Resolution::Elsewhere(address.clone()),
            };
        };
        match self.expand(&ours).await {
            Ok(recipients) => Resolution::Local { recipients },
            Err(Stop::Unknown(end)) if end == *ours => Resolution::Unknown,
            Err(Stop::Unknown(end)) => Resolution::Dangling(end),
            Err(Stop::BadMailbox(_)) => Resolution::BadMailbox,
            Err(Stop::Loop(end)) => Resolution::AliasLoop(end),
            Err(Stop::TooMany) => Resolution::TooMany,
            Err(Stop::Unavailable(why)) => Resolution::Unavailable(why),
        }
    }

    /// Delivery: which agent takes a final recipient, and which destination it belongs to.
    ///
    /// # Errors
    /// [`RouteTrouble`]; [`RouteTrouble::outcome`] says what it means.
    pub async fn route(&self, address: &Address, _disposition: Disposition) -> Result<Route, RouteTrouble> {
        let Some((domain, ours)) = self.our_domain(address) else {
            return Ok(self.routes.find(&address.domain));
        };
        let name = match self.mailbox(domain, &ours).await {
            Mailbox::Found(name) => name,
            Mailbox::Absent if is_postmaster(&ours) => "postmaster".to_owned(),
            Mailbox::Absent => return Err(RouteTrouble::Unknown),
            Mailbox::Bad => return Err(RouteTrouble::BadMailbox),
            Mailbox::Unavailable(why) => return Err(RouteTrouble::Unavailable(why)),
        };
        let fixed = self.by_name.get(&ours.domain).and_then(|index| self.deliver.get(*index));
        let agent = match (&domain.deliver, fixed) {
            (NextHop::Maildir(template), _) => {
                Agent::Maildir(template.fill(&name, &ours.domain).ok_or(RouteTrouble::BadMailbox)?)
            }
            (NextHop::Mx, _) | (_, None) => return Ok(outbound::by_mx(&ours.domain, self.tls)),
            (_, Some(route)) => route.agent.clone(),
        };
        let key = fixed.map_or_else(|| Arc::from("discard"), |route| Arc::clone(&route.key));
        Ok(Route { agent, key, mailbox: Some(name) })
    }

    /// The mailbox that a final recipient has here, by its own name: without a tag, in lower case. None when it is not ours,
    /// or nobody can tell now.
    pub async fn mailbox_of(&self, address: &Address) -> Option<Address> {
        let (domain, ours) = self.our_domain(address)?;
        match self.mailbox(domain, &ours).await {
            Mailbox::Found(name) => Address::new(&name.to_lowercase(), ours.domain.clone()).ok(),
            _ => None,
        }
    }

    /// Delivery: the route of a message that a rule hands to a content filter, for all its recipients alike.
    ///
    /// # Errors
    /// [`RouteTrouble::Unavailable`] for what is no server: such an order is not read from a table, but may have been
    /// written by another version.
    pub fn filter(&self, hop: &NextHop) -> Result<Route, RouteTrouble> {
        self.routes.server(hop).ok_or_else(|| RouteTrouble::Unavailable(format!("no filter can be {hop}")))
    }

    /// True when final delivery of this address is ours to make, so that no relaying is involved.
    #[must_use]
    pub fn is_final(&self, domain: &Domain) -> bool {
        let found = self.by_name.get(domain).and_then(|index| self.domains.get(*index));
        found.is_some_and(|domain| domain.deliver.is_final())
    }

    /// The domain of ours that an address belongs to, and the address in it.
    fn our_domain<'a>(&self, address: &'a Address) -> Option<(&LocalDomain, Cow<'a, Address>)> {
        if let Some(domain) = self.by_name.get(&address.domain).and_then(|index| self.domains.get(*index)) {
            return Some((domain, Cow::Borrowed(address)));
        }
        let primary = self.primary.as_ref().filter(|_| self.is_own_name(&address.domain))?;
        let domain = self.by_name.get(primary).and_then(|index| self.domains.get(*index))?;
        Some((domain, Cow::Owned(Address { local: address.local.clone(), domain: primary.clone() })))
    }

    fn is_own_name(&self, domain: &Domain) -> bool {
        self.primary.is_some() && (*domain == self.hostname || domain.as_str() == "localhost")
    }

    /// A mailbox whose fullness cannot be known takes mail: it is seen again at delivery.
    async fn is_full(&self, address: &Address) -> bool {
        match self.route(address, Disposition::Inbox).await {
            Ok(Route { agent: Agent::Maildir(path), .. }) => {
                self.maildir.is_full(&path).await.unwrap_or(false)
            }
            _ => false,
        }
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router")
            .field("domains", &self.by_name)
            .field("routes", &self.routes)
            .finish_non_exhaustive()
    }
}

/// True for a local part that old mail systems read as an address behind this host: `user%host`, `host!user`, or with a
/// second `@`. From a stranger that is an attempt at relaying (550 5.7.1), whatever the domain (RFC 5321 §7.9).
#[must_use]
pub fn names_another_host(local: &LocalPart) -> bool {
    local.as_str().contains(['%', '!', '@'])
}

#[cfg(test)]
mod tests;
