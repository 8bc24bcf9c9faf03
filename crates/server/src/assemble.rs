//! From a configuration to a set of services: everything that can fail does so here, before anything is put in force.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use antispam::backscatter::{Keys, Marks};
use antispam::hashes::Hashes;
use antispam::learn::School;
use antispam::mail_from::own_sender::{Asking, Existence};
use antispam::reputation::Memory;
use config::{Config, DomainSettings, Loaded, Principal};
use delivery::{
    AgentParts, Agents, Directory, LocalDomain, Maildir, NextHop, Owner, Recipients, Resolution, Router,
    RouterParts, Routes,
};
use mail::{Address, Domain};
use msgauth::dkim::KeyStore;
use net::{Resolver, ServerTls};
use store::StateStore;
use tables::{Spec, Table};

use crate::accounts::{Accounts, Parameters};
use crate::clock;
use crate::error::Error;
use crate::judge::Judge;
use crate::privileges::{Identity, PrivilegeError, Users};
use crate::services::{Services, Shared};
use crate::submit::Senders;

/// Makes a set of services.
///
/// # Errors
/// What the configuration, or a file that it names, has wrong.
pub async fn services(loaded: &Loaded, shared: Arc<Shared>) -> Result<Arc<Services>, Error> {
    let config = Arc::new(loaded.config.clone());
    let users = Users::of_the_system();
    let resolver = Resolver::from_settings(&config.dns)?;
    let accounts = Arc::new(accounts(loaded)?.counting_in(Arc::clone(&shared.failures)));
    let agents = Arc::new(Agents::new(AgentParts {
        outbound: &outbound(loaded),
        delivery: &config.delivery,
        hostname: &config.hostname,
        resolver: resolver.clone(),
        listening: listening(&config),
        mailbox_owner: mailbox_owner(&config, &users)?,
    })?);
    let postmaster = postmaster(&config);
    let directory = Arc::clone(&accounts) as Arc<dyn Directory>;
    let router = Arc::new(router(loaded, directory, agents.maildir().clone(), &postmaster)?);
    let tls = match &config.tls {
        Some(settings) => Some(ServerTls::load(settings, &loaded.base_dir)?),
        None => None,
    };
    let marks = Keys::open(&marks_folder(loaded), clock::now())?;
    let judge = judge(loaded, (Remembered::of(&shared), marks), &resolver, &router)?;
    let keys = loaded.data_dir().join("dkim");
    Ok(Arc::new(Services {
        smtp: Arc::new(smtp_settings(&config)),
        router,
        judge: Arc::new(judge),
        agents,
        accounts,
        dkim: Some(Arc::new(KeyStore::open(&keys)?)),
        tls,
        trusted: config.trusted_networks.clone(),
        senders: senders(&config, &users)?,
        postmaster,
        inline_bytes_max: usize::try_from(config.store.inline_max()).unwrap_or(usize::MAX),
        resolver,
        shared,
        config,
    }))
}

/// Where the keys are by which bounces of our own mail are known.
pub(crate) fn marks_folder(loaded: &Loaded) -> PathBuf {
    let named = loaded.config.antispam.backscatter.keys.as_ref().map(|keys| loaded.path(keys));
    named.unwrap_or_else(|| loaded.data_dir().join("backscatter"))
}

/// Where the classifier keeps what it has learnt.
#[must_use]
pub fn learnt_folder(loaded: &Loaded) -> PathBuf {
    loaded.data_dir().join("bayes")
}

/// The classifier's filters: the shared one, and those of domains or accounts.
#[must_use]
pub fn school(loaded: &Loaded) -> School {
    let settings = &loaded.config.antispam;
    School::new(learnt_folder(loaded), &settings.learn, &settings.bayes)
}

/// What a judge remembers by.
pub(crate) struct Remembered {
    pub(crate) state: Arc<dyn StateStore>,
    pub(crate) threads: Hashes,
    pub(crate) sent: Hashes,
    pub(crate) reputation: Memory,
}

impl Remembered {
    fn of(shared: &Shared) -> Self {
        Self {
            state: Arc::clone(&shared.state),
            threads: shared.threads.clone(),
            sent: shared.sent.clone(),
            reputation: shared.reputation.clone(),
        }
    }
}

/// The judge, with all its checks, what it remembers by, and the keys of our marks.
pub(crate) fn judge(
    loaded: &Loaded,
    (remembered, keys): (Remembered, Keys),
    resolver: &Resolver,
    router: &Arc<Router>,
) -> Result<Judge, Error> {
    let config = &loaded.config;
    let settings = &config.antispam;
    // Mail is let through unjudged rather than kept waiting for name servers that are silent.
    let resolver = resolver.for_checks();
    let days = antispam::backscatter::validity_days(config.queue.lifetime_seconds);
    let mut addresses = delivery::interface_addresses();
    addresses.extend(&config.outbound.own_addresses);
    let made = antispam::set_up(&antispam::Parts {
        settings,
        resolver: resolver.clone(),
        dns: &config.dns,
        state: remembered.state,
        threads: remembered.threads,
        sent: remembered.sent,
        reputation: remembered.reputation,
        senders: Arc::new(OwnSenders(Arc::clone(router))),
        hostname: config.hostname.clone(),
        domains: config.domains().cloned().collect(),
        addresses,
        delimiter: delimiter(config),
        base: &loaded.base_dir,
        marks: Marks::new(keys, days, &settings.backscatter),
        learnt: learnt_folder(loaded),
    })?;
    Judge::new(config, made, resolver, &loaded.base_dir)
}

/// Our addresses, as the checks ask for them.
struct OwnSenders(Arc<Router>);

impl antispam::mail_from::own_sender::Senders for OwnSenders {
    fn exists<'a>(&'a self, address: &'a Address) -> Asking<'a> {
        Box::pin(async move {
            match self.0.follow(&mail::ForwardPath::Mailbox(address.clone())).await {
                Resolution::Unknown | Resolution::BadMailbox => Existence::Absent,
                Resolution::Unavailable(why) => Existence::Unavailable(why),
                _ => Existence::Present,
            }
        })
    }
}

fn smtp_settings(config: &Config) -> smtp::Settings {
    smtp::Settings {
        hostname: Arc::from(config.hostname.as_str()),
        message_bytes_max: config.message_bytes_max,
        ..config.limits.clone()
    }
}

/// `[outbound]` with its relative paths made absolute.
fn outbound(loaded: &Loaded) -> delivery::OutboundSettings {
    let mut outbound = loaded.config.outbound.clone();
    outbound.password_file = outbound.password_file.map(|file| loaded.path(&file));
    outbound
}

/// Where `<postmaster>` goes: as configured, or `postmaster@` the first domain, or at our host name.
#[must_use]
pub fn postmaster(config: &Config) -> Address {
    let origin = config.domains().next().unwrap_or(&config.hostname).clone();
    config.postmaster.clone().unwrap_or_else(|| Address {
        local: mail::LocalPart::from_unquoted("postmaster").unwrap_or_else(|_| unreachable!("a plain word")),
        domain: origin,
    })
}

fn listening(config: &Config) -> Vec<SocketAddr> {
    config.listener.iter().flat_map(|listener| listener.bind.iter().copied()).collect()
}

fn delimiter(config: &Config) -> Option<char> {
    config.accounts.recipient_delimiter.chars().next()
}

fn accounts(loaded: &Loaded) -> Result<Accounts, Error> {
    let config = &loaded.config;
    let file = loaded.path(&config.accounts.file);
    // A server without accounts of its own needs no file.
    let needed = file.exists() || config.domain.iter().any(|domain| domain.recipients == "accounts");
    let parameters = Parameters {
        login_domain: config.domains().next().cloned(),
        recipient_delimiter: delimiter(config),
        hashes_at_once: config.server.password_hashes_max,
        hashes_waiting_max: config.server.password_waiting_max,
        ..Parameters::new(file, loaded.data_dir().join("login.secret"))
    };
    Ok(if needed { Accounts::open(parameters)? } else { Accounts::none(parameters)? })
}

/// The router over a directory of accounts.
///
/// # Errors
/// What a table, or a setting that names one, has wrong.
pub fn router(
    loaded: &Loaded,
    directory: Arc<dyn Directory>,
    maildir: Maildir,
    postmaster: &Address,
) -> Result<Router, Error> {
    let config = &loaded.config;
    let base = loaded.base_dir.as_path();
    let domains = config.domain.iter().map(|domain| local_domain(domain, base)).collect::<Result<_, _>>()?;
    let system_aliases: Option<Arc<dyn Table>> = match &config.accounts.aliases {
        Some(file) => Some(Arc::new(tables::aliases::Aliases::open(&loaded.path(file))?)),
        None => None,
    };
    Ok(Router::new(RouterParts {
        hostname: config.hostname.clone(),
        postmaster: postmaster.clone(),
        recipient_delimiter: delimiter(config),
        domains,
        system_aliases,
        directory,
        routes: Routes::new(&config.outbound, base)?,
        tls: config.outbound.tls,
        alias: config.delivery.alias.clone(),
        maildir,
    }))
}

fn local_domain(domain: &DomainSettings, base: &Path) -> Result<LocalDomain, Error> {
    let open = |text: &str| -> Result<Arc<dyn Table>, Error> { Ok(tables::open(&Spec::parse(text)?, base)?) };
    let recipients = match domain.recipients.as_str() {
        "accounts" => Recipients::Accounts,
        table => Recipients::Table(open(table)?),
    };
    let deliver = NextHop::parse_beneath(&domain.deliver, base)
        .map_err(|error| delivery::DeliveryError::NextHop { key: "domain.deliver".to_owned(), error })?;
    let aliases = domain.aliases.as_deref().map(open).transpose()?;
    Ok(LocalDomain { names: domain.domains().cloned().collect(), recipients, deliver, aliases })
}

/// Whom local programs may send as.
fn senders(config: &Config, users: &Users) -> Result<Senders, Error> {
    let mut own_domains: Vec<Domain> = vec![config.hostname.clone()];
    own_domains.extend(config.domains().next().cloned());
    let trusted: Result<BTreeSet<u32>, PrivilegeError> = config
        .submission
        .trusted_users
        .iter()
        .map(|user| Ok(users.identity(&user.to_string())?.uid))
        .collect();
    Ok(Senders { own_domains, trusted: trusted? })
}

/// Who the daemon becomes: the configured user, or who it is already.
///
/// # Errors
/// When there is no such user or group.
pub fn identity(config: &Config, users: &Users) -> Result<Identity, PrivilegeError> {
    let user = config.user.clone().unwrap_or_else(|| Principal::Id(nix::unistd::geteuid().as_raw()));
    match &config.group {
        Some(group) => users.identity(&format!("{user}:{group}")),
        None => users.identity(&user.to_string()),
    }
}

/// Whose Maildirs are, when not the daemon's own.
///
/// # Errors
/// When there is no such user.
pub fn mailbox_owner(config: &Config, users: &Users) -> Result<Option<Owner>, PrivilegeError> {
    let Some(user) = &config.accounts.mailbox_user else { return Ok(None) };
    let owner = users.identity(&user.to_string())?;
    Ok(Some(Owner { uid: owner.uid, gid: owner.gid }))
}
