//! Aliases, followed before mail comes: those that loop, lead to nobody or to too many are told with file and line.
//!
//! Asks the router, so that what is told is what a sender would hear. Looks only at tables whose keys can be listed (text,
//! inline, the system's aliases), and at no more of them than [`ALIASES_MAX`], for no longer than [`TIME_MAX`]. Changes
//! nothing: mail for such an alias is refused, or waits, as the reply at RCPT says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use config::{Finding, Loaded, Setting, Severity};
use delivery::{Directory, Maildir, Resolution, Router};
use mail::{Address, Domain, ForwardPath, LocalPart};
use tables::{Answer, Row, Spec};

use crate::accounts::{Accounts, AccountsError, manage};
use crate::assemble;
use crate::error::Error;
use crate::maillog::Level;
use crate::services::Services;

/// Aliases that are followed at most, of all tables together.
pub const ALIASES_MAX: usize = 50_000;
/// How long they are followed at most.
pub const TIME_MAX: Duration = Duration::from_secs(10);
/// Findings that are told at most; one more says that there are others.
pub const FINDINGS_MAX: usize = 50;
/// After so many, sessions have their turn.
const TURN: usize = 100;
/// Who is asked about to see where a catch-all leads: a name that no table is likely to have.
const CAUGHT: &str = "somebody-whom-no-table-has";

/// Checks the accounts file and the aliases of a configuration whose server does not run; makes no file.
///
/// # Errors
/// What else would keep the server from starting.
pub async fn check(loaded: &Loaded) -> Result<Vec<Finding>, Error> {
    let file = loaded.path(&loaded.config.accounts.file);
    if !file.exists() {
        // The configuration has been warned of it, or needs none.
        return Ok(Vec::new());
    }
    let accounts = match manage::list(&file) {
        Ok(accounts) => accounts,
        Err(error) => return Ok(vec![broken_accounts(&error)]),
    };
    let router = router_over(loaded, accounts.into_iter().map(|account| account.address))?;
    Ok(follow_all(listings(loaded), &router).await)
}

/// A router as the server would have it, over accounts of these addresses; makes no file.
///
/// # Errors
/// What a table, or a setting that names one, has wrong.
pub(crate) fn router_over(loaded: &Loaded, accounts: impl Iterator<Item = String>) -> Result<Router, Error> {
    let config = &loaded.config;
    let maildir = Maildir::new(&config.delivery.maildir, None, config.hostname.as_str())?;
    let directory = Arc::new(Listed(accounts.collect()));
    assemble::router(loaded, directory, maildir, &assemble::postmaster(config))
}

/// Follows the aliases of a running server, and tells the log.
pub async fn tell(loaded: Arc<Loaded>, services: Arc<Services>) {
    let Ok(listings) = tokio::task::spawn_blocking(move || listings(&loaded)).await else { return };
    for finding in follow_all(listings, &services.router).await {
        services.shared.log.notice(Level::Warning, &format!("{}; {}", finding.message, finding.help));
    }
}

/// Addresses that have an account.
struct Listed(std::collections::HashSet<String>);

impl Directory for Listed {
    fn find(&self, address: &Address) -> Answer {
        if self.0.contains(&address.lookup_key()) { Accounts::mailbox_of(address) } else { Answer::Absent }
    }
}

fn broken_accounts(error: &AccountsError) -> Finding {
    Finding {
        severity: Severity::Error,
        setting: Setting::AccountsFile,
        message: error.to_string(),
        label: "in this file".to_owned(),
        help: "mend that line; `staffetta account` writes the file for you".to_owned(),
    }
}

/// A table's aliases, and the setting that names it.
struct Listing {
    setting: Setting,
    file: Option<std::path::PathBuf>,
    aliases: Vec<(Row, Address)>,
}

async fn follow_all(listings: Vec<Listing>, router: &Router) -> Vec<Finding> {
    let begun = Instant::now();
    let (mut findings, mut followed) = (Vec::new(), 0);
    for listing in listings {
        for (row, address) in &listing.aliases {
            if findings.len() >= FINDINGS_MAX || followed >= ALIASES_MAX || begun.elapsed() > TIME_MAX {
                findings.push(not_all(listing.setting));
                return findings;
            }
            followed += 1;
            if followed.is_multiple_of(TURN) {
                tokio::task::yield_now().await;
            }
            let end = router.follow(&ForwardPath::Mailbox(address.clone())).await;
            findings.extend(finding(&listing, row, address, &end));
        }
    }
    findings
}

/// What can be listed. A file that cannot be read is told by others.
fn listings(loaded: &Loaded) -> Vec<Listing> {
    let config = &loaded.config;
    let mut all = Vec::new();
    for (index, domain) in config.domain.iter().enumerate() {
        let Some(spec) = domain.aliases.as_deref().and_then(|text| Spec::parse(text).ok()) else { continue };
        let Ok(rows) = tables::rows(&spec, &loaded.base_dir) else { continue };
        let ours: Vec<&Domain> = domain.domains().collect();
        let aliases = rows.into_iter().filter_map(|row| {
            let address = asked(&row)?;
            ours.contains(&&address.domain).then_some((row, address))
        });
        let file = match &spec {
            Spec::Text(path) => Some(loaded.path(path)),
            _ => None,
        };
        all.push(Listing { setting: Setting::DomainAliases(index), file, aliases: aliases.collect() });
    }
    all.extend(system_aliases(loaded));
    all
}

/// The system's aliases, as names in the first domain with accounts.
fn system_aliases(loaded: &Loaded) -> Option<Listing> {
    let config = &loaded.config;
    let file = loaded.path(config.accounts.aliases.as_ref()?);
    let domain = config.domain.iter().find(|domain| domain.recipients == "accounts")?.domains().next()?;
    let rows = tables::aliases::rows(&file).ok()?;
    let aliases = rows.into_iter().filter_map(|row| {
        let local = LocalPart::from_unquoted(&row.key).ok()?;
        Some((row, Address { local, domain: domain.clone() }))
    });
    Some(Listing { setting: Setting::SystemAliases, file: Some(file.clone()), aliases: aliases.collect() })
}

/// Whom to ask about to follow an row: its address, or for a catch-all somebody whom it catches. None where that
/// proves nothing: a catch-all that keeps the name leads as many ways as there are names.
fn asked(row: &Row) -> Option<Address> {
    match row.key.strip_prefix('@') {
        Some(_) if row.value.split(',').any(|target| target.trim().starts_with('@')) => None,
        Some(domain) => Address::new(CAUGHT, Domain::parse(domain).ok()?).ok(),
        None => Address::parse(&row.key).ok(),
    }
}

fn finding(listing: &Listing, row: &Row, address: &Address, end: &Resolution) -> Option<Finding> {
    let (what, reply) = match end {
        Resolution::Local { .. } | Resolution::Elsewhere(_) | Resolution::Full => return None,
        Resolution::AliasLoop(at) => {
            (format!("goes round in a circle by way of {at}"), "refused (550 5.4.6)")
        }
        Resolution::Dangling(at) => (format!("leads to {at}, which does not exist"), "refused (550 5.1.1)"),
        Resolution::Unknown => (format!("leads to {address}, which has no mailbox"), "refused (550 5.1.1)"),
        Resolution::TooMany => ("leads to too many recipients".to_owned(), "refused (550 5.5.3)"),
        Resolution::BadMailbox => {
            ("leads to a name that no mailbox can have".to_owned(), "refused (550 5.1.3)")
        }
        Resolution::Unavailable(why) => (format!("cannot be followed: {why}"), "not accepted for now (451)"),
    };
    let place = match (&listing.file, row.line) {
        (Some(file), Some(line)) => format!("{}:{line}: ", file.display()),
        _ => String::new(),
    };
    Some(Finding {
        severity: Severity::Warning,
        setting: listing.setting,
        message: format!("{place}the alias `{}` {what}", row.key),
        label: "in this table".to_owned(),
        help: format!("mail for it is {reply}; correct the alias, or make the mailbox"),
    })
}

fn not_all(setting: Setting) -> Finding {
    Finding {
        severity: Severity::Warning,
        setting,
        message: "not all aliases were looked at".to_owned(),
        label: "from this table on".to_owned(),
        help: "mend those that were told, and check again".to_owned(),
    }
}
