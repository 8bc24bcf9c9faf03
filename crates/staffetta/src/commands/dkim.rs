//! `staffetta dkim`: keys to sign with, and the DNS records that go with them (RFC 6376).
//!
//! Works on the key files in the data folder, whether the server runs or not; a running one takes new keys at its next
//! reload (SIGHUP). No key is ever overwritten or printed.

use std::path::PathBuf;
use std::process::ExitCode;

use mail::Domain;
use msgauth::dkim::{Algorithm, KeyStore, Publication, Record};

use super::{ConfigFile, Outcome};

/// The selector of the first key of a domain.
pub(crate) const SELECTOR: &str = "s1";

/// DKIM keys: make them, and see whether DNS has what belongs to them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  staffetta dkim new example.test             a key, and the record to publish
  staffetta dkim check example.test           is the record in DNS?")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Make a key for a domain, and print the DNS record to publish
    #[command(after_help = "\
Examples:
  staffetta dkim new example.test
  staffetta dkim new example.test --selector s2
  staffetta dkim new example.test --selector e1 --algorithm ed25519

The server signs with every key that a domain has. To change keys: make one under a new selector,
publish its record, reload the server, and after a week rename the old key's file (to s1.pem.old)
and reload again.")]
    New {
        /// The domain to sign for
        domain: Domain,
        /// The key's name in DNS: SELECTOR._domainkey.DOMAIN
        #[arg(long, default_value = SELECTOR)]
        selector: String,
        /// rsa is understood everywhere; ed25519 is short, and not yet known to all
        #[arg(long, value_enum, default_value = "rsa")]
        algorithm: Kind,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Print the DNS records of all keys, or of one domain's
    #[command(after_help = "\
Examples:
  staffetta dkim list
  staffetta dkim list example.test --config staffetta.toml")]
    List {
        /// Only this domain's
        domain: Option<Domain>,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Ask DNS whether the records are published; exit code 1 when one is missing or different
    #[command(after_help = "\
Examples:
  staffetta dkim check
  staffetta dkim check example.test --config staffetta.toml")]
    Check {
        /// Only this domain's
        domain: Option<Domain>,
        #[command(flatten)]
        config: ConfigFile,
    },
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    Rsa,
    Ed25519,
}

/// Reads the configuration, which knows the data folder, and does what is asked.
pub(crate) fn run(args: Args) -> Outcome {
    match args.what {
        What::New { domain, selector, algorithm, config } => {
            let Some(loaded) = config.load() else { return Ok(ExitCode::FAILURE) };
            let algorithm = match algorithm {
                Kind::Rsa => Algorithm::Rsa2048,
                Kind::Ed25519 => Algorithm::Ed25519,
            };
            new(&loaded, &domain, &selector, algorithm)
        }
        What::List { domain, config } => {
            let Some(loaded) = config.load() else { return Ok(ExitCode::FAILURE) };
            for record in records(&loaded, domain.as_ref())? {
                println!("{record}");
            }
            Ok(ExitCode::SUCCESS)
        }
        What::Check { domain, config } => {
            let Some(loaded) = config.load() else { return Ok(ExitCode::FAILURE) };
            check(&loaded, domain.as_ref())
        }
    }
}

/// Where a data folder keeps its keys.
pub(crate) fn folder(loaded: &::config::Loaded) -> PathBuf {
    loaded.data_dir().join("dkim")
}

/// Makes a key; the record goes to standard output, so that it can be sent on, the advice to standard error.
fn new(loaded: &::config::Loaded, domain: &Domain, selector: &str, algorithm: Algorithm) -> Outcome {
    let record = KeyStore::open(&folder(loaded))?.create(domain, selector, algorithm)?;
    println!("{record}");
    eprintln!(
        "Publish this record, then reload the server (SIGHUP, `systemctl reload staffetta`): it signs from then on."
    );
    if !loaded.config.domains().any(|ours| ours == domain) {
        eprintln!("Note: {domain} is no [[domain]] of {}; the key waits until it is.", loaded.file.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// The records of one domain, or of all in the order of their names.
fn records(
    loaded: &::config::Loaded,
    only: Option<&Domain>,
) -> Result<Vec<Record>, Box<dyn std::error::Error>> {
    let keys = KeyStore::open(&folder(loaded))?;
    let mut domains = keys.domains();
    domains.retain(|domain| only.is_none_or(|only| only == domain));
    domains.sort();
    if let (Some(domain), true) = (only, domains.is_empty()) {
        return Err(format!("{domain} has no key; make one with `staffetta dkim new {domain}`").into());
    }
    Ok(domains.iter().flat_map(|domain| keys.dns_records(domain)).collect())
}

/// Asks DNS for each record through the resolver that the server uses, in the order in which they are listed.
fn check(loaded: &::config::Loaded, only: Option<&Domain>) -> Outcome {
    let records = records(loaded, only)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answers: Vec<(Record, Publication)> = runtime.block_on(async {
        let resolver = net::Resolver::from_settings(&loaded.config.dns)?;
        let mut answers = Vec::new();
        for record in records {
            let answer = record.check(&resolver).await;
            answers.push((record, answer));
        }
        Ok::<_, net::ResolverError>(answers)
    })?;
    let mut all_well = true;
    for (record, answer) in &answers {
        let words = match answer {
            Publication::Published => "published".to_owned(),
            Publication::Different => "another key is published: verification fails".to_owned(),
            Publication::Missing => "not published: verification fails".to_owned(),
            Publication::Unknown(why) => format!("unknown: {why}"),
        };
        println!("{}: {words}", record.name);
        if *answer != Publication::Published {
            all_well = false;
            println!("{record}");
        }
    }
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
