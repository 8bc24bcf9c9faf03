//! `staffetta account`: who may log in and has a mailbox.
//!
//! Works on the accounts file, whether the server runs or not; a running one sees the change within a second. Which accounts are
//! locked, because they look broken into, the running server knows, and is asked over `admin.sock`. A
//! password is asked for twice without being shown, or read from standard input; it is never an argument, where every
//! user of the machine could read it, and never printed unless it was made here.

use std::collections::BTreeMap;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use mail::Address;
use nix::sys::termios::{self, LocalFlags, SetArg};
use server::accounts::Cost;
use server::accounts::manage::{self, Credential, Summary};
use server::admin::{Client, Lock, Request, Response};
use server::privileges::Users;
use zeroize::Zeroizing;

use super::asking::{self, Failed};
use super::{ConfigFile, Outcome};

/// Mailboxes with passwords: add, change, list, remove
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  staffetta account add joe@example.test               asks for the password
  staffetta account list                               who there is
  staffetta account passwd joe@example.test            another password")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Add an account: an address with a mailbox and a password
    #[command(after_help = "\
Examples:
  staffetta account add joe@example.test
  staffetta account add joe@example.test --generate
  echo \"$PASSWORD\" | staffetta account add joe@example.test --password-stdin
  staffetta account add joe@example.test --send-as info@example.test --send-as @example.org
  staffetta account add old@example.test --hash '$6$...'")]
    Add {
        /// The address
        address: Address,
        /// A further address that it may send from, or @DOMAIN for all of a domain; may be repeated
        #[arg(long, value_name = "ADDRESS")]
        send_as: Vec<String>,
        #[command(flatten)]
        password: Password,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Give an account another password
    #[command(after_help = "\
Examples:
  staffetta account passwd joe@example.test
  staffetta account passwd joe@example.test --generate
  staffetta account passwd joe@example.test --no-password     may receive and no longer log in")]
    Passwd {
        /// The address
        address: Address,
        #[command(flatten)]
        password: Password,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Print all accounts
    #[command(after_help = "\
Examples:
  staffetta account list
  staffetta account list --json | jq -r '.[].address'")]
    List {
        /// Print a list of objects instead, for programs
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Let an account log in again that was locked because it looked broken into
    #[command(after_help = "\
Examples:
  staffetta account unlock joe@example.test

Give it another password first. What counted against it is forgotten. Its mail stays on hold until
staffetta queue release --state held --account joe@example.test. See [antispam.rates].")]
    Unlock {
        /// The address
        address: Address,
        #[command(flatten)]
        place: asking::Place,
    },
    /// Remove an account; its mail stays where it is
    #[command(after_help = "\
Examples:
  staffetta account remove joe@example.test")]
    Remove {
        /// The address
        address: Address,
        #[command(flatten)]
        config: ConfigFile,
    },
}

/// Where the password comes from; asked for on the terminal when none of these is given.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Password {
    /// Read the password from the first line of standard input
    #[arg(long)]
    password_stdin: bool,
    /// Make a password and print it
    #[arg(long)]
    generate: bool,
    /// Take over a hash from another system ($argon2id$, $5$, $6$, $2b$, {SSHA}); serves PLAIN and LOGIN only
    #[arg(long, value_name = "HASH")]
    hash: Option<String>,
    /// None: the account receives and cannot log in
    #[arg(long)]
    no_password: bool,
}

/// Letters and digits that cannot be mistaken for one another.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Letters of a password that is made here: 5 bits each.
const GENERATED_LETTERS: usize = 20;

pub(crate) fn run(args: Args) -> Outcome {
    match args.what {
        What::Add { address, send_as, password, config } => add(&address, &send_as, &password, &config),
        What::Passwd { address, password, config } => passwd(&address, &password, &config),
        What::List { json, config } => list(json, &config),
        What::Unlock { address, place } => unlock(&address, &place),
        What::Remove { address, config } => {
            let Some(place) = Place::find(&config) else { return Ok(ExitCode::FAILURE) };
            manage::remove(&place.file, &address)?;
            println!("{address}: removed; its mail stays where it is");
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The accounts file, and what else is known of it.
struct Place {
    file: PathBuf,
    owner: Option<(u32, u32)>,
    domains: Vec<String>,
    socket: PathBuf,
}

impl Place {
    fn find(config: &ConfigFile) -> Option<Self> {
        let loaded = config.load()?;
        let user = loaded.config.user.as_ref().map(|user| match &loaded.config.group {
            Some(group) => format!("{user}:{group}"),
            None => user.to_string(),
        });
        let identity = user.and_then(|user| Users::of_the_system().identity(&user).ok());
        let is_root = nix::unistd::geteuid().is_root();
        let with_accounts = loaded.config.domain.iter().filter(|domain| domain.recipients == "accounts");
        Some(Self {
            file: loaded.path(&loaded.config.accounts.file),
            owner: identity.filter(|_| is_root).map(|identity| (identity.uid, identity.gid)),
            domains: with_accounts
                .flat_map(config::DomainSettings::domains)
                .map(ToString::to_string)
                .collect(),
            socket: loaded.data_dir().join("admin.sock"),
        })
    }
}

fn add(address: &Address, send_as: &[String], password: &Password, config: &ConfigFile) -> Outcome {
    let Some(place) = Place::find(config) else { return Ok(ExitCode::FAILURE) };
    let credential = password.obtain()?;
    manage::add(&place.file, address, &credential, send_as, Cost::default(), place.owner)?;
    println!("{address}: added");
    if !place.domains.iter().any(|domain| domain == address.domain.as_str()) {
        eprintln!(
            "staffetta: warning: no [[domain]] named {} has recipients = \"accounts\": {address} can log in, and \
             gets no mail",
            address.domain
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn passwd(address: &Address, password: &Password, config: &ConfigFile) -> Outcome {
    let Some(place) = Place::find(config) else { return Ok(ExitCode::FAILURE) };
    let credential = password.obtain()?;
    manage::set_credential(&place.file, address, &credential, Cost::default())?;
    println!("{address}: changed");
    Ok(ExitCode::SUCCESS)
}

fn list(json: bool, config: &ConfigFile) -> Outcome {
    let Some(place) = Place::find(config) else { return Ok(ExitCode::FAILURE) };
    let mut accounts = if place.file.exists() { manage::list(&place.file)? } else { Vec::new() };
    let locks = locks(&place).unwrap_or_else(|error| {
        eprintln!("staffetta: which accounts are locked is not known: {error}");
        BTreeMap::new()
    });
    for account in &mut accounts {
        account.locked = locks.get(&account.address).copied();
    }
    let text = if json { serde_json::to_string_pretty(&accounts)? + "\n" } else { table(&accounts) };
    super::print_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn locks(place: &Place) -> Result<BTreeMap<String, Lock>, Failed> {
    let mut locks = BTreeMap::new();
    Client::connect(&place.socket)?.ask(&Request::Locks, |item| {
        if let Response::Locked { account, lock } = item {
            locks.insert(account, lock);
        }
        Ok::<(), Failed>(())
    })?;
    Ok(locks)
}

fn unlock(address: &Address, place: &asking::Place) -> Outcome {
    let request = Request::Unlock { account: address.lookup_key() };
    let (count, _) = place.connect()?.ask(&request, |_| Ok::<(), Failed>(()))?;
    if count == 0 {
        eprintln!("{address} is not locked");
        return Ok(ExitCode::FAILURE);
    }
    println!("{address}: may log in again");
    Ok(ExitCode::SUCCESS)
}

fn table(accounts: &[Summary]) -> String {
    let mut table = super::table::new(["Address", "Login", "May also send as"]);
    for account in accounts {
        let state = if account.locked.is_some() { ", locked" } else { "" };
        let login = format!("{}{state}", account.login);
        table.add_row([account.address.clone(), login, account.send_as.join(", ")]);
    }
    format!(
        "{}\n{} account{}\n",
        table.trim_fmt(),
        accounts.len(),
        if accounts.len() == 1 { "" } else { "s" }
    )
}

impl Password {
    fn obtain(&self) -> Result<Credential, Box<dyn std::error::Error>> {
        if let Some(hash) = &self.hash {
            return Ok(Credential::Imported(hash.clone()));
        }
        if self.no_password {
            return Ok(Credential::None);
        }
        let password = if self.generate {
            let password = generated()?;
            println!("password: {}", *password);
            password
        } else if self.password_stdin {
            first_line()?
        } else if std::io::stdin().is_terminal() {
            asked()?
        } else {
            return Err(
                "standard input is no terminal: use --password-stdin to read the password from it, or \
                        --generate to have one made"
                    .into(),
            );
        };
        Ok(Credential::Password(Zeroizing::new(password.as_bytes().to_vec())))
    }
}

/// A random password that can be read out and typed.
pub(super) fn generated() -> Result<Zeroizing<String>, Box<dyn std::error::Error>> {
    let mut random = Zeroizing::new([0_u8; GENERATED_LETTERS]);
    getrandom::fill(&mut *random).map_err(|e| e.to_string())?;
    // 32 letters divide 256: no letter is more likely than another.
    let letters = random.iter().filter_map(|b| ALPHABET.get(usize::from(*b) % ALPHABET.len()));
    let letters: Zeroizing<Vec<char>> = Zeroizing::new(letters.map(|b| char::from(*b)).collect());
    Ok(Zeroizing::new(letters.chunks(5).map(String::from_iter).collect::<Vec<_>>().join("-")))
}

fn first_line() -> std::io::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::new());
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(Zeroizing::new(line.trim_end_matches(['\n', '\r']).to_owned()))
}

/// Asks twice, without showing what is typed.
fn asked() -> Result<Zeroizing<String>, Box<dyn std::error::Error>> {
    let first = hidden("Password: ")?;
    if *first != *hidden("Again: ")? {
        return Err("the two are not the same".into());
    }
    Ok(first)
}

fn hidden(prompt: &str) -> Result<Zeroizing<String>, Box<dyn std::error::Error>> {
    let stdin = std::io::stdin();
    eprint!("{prompt}");
    std::io::stderr().flush()?;
    let before = termios::tcgetattr(&stdin)?;
    let mut silent = before.clone();
    silent.local_flags.remove(LocalFlags::ECHO);
    termios::tcsetattr(&stdin, SetArg::TCSAFLUSH, &silent)?;
    let line = first_line();
    termios::tcsetattr(&stdin, SetArg::TCSAFLUSH, &before)?;
    eprintln!();
    Ok(line?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_passwords_are_long_and_differ() {
        let (a, b) = (generated().unwrap(), generated().unwrap());
        assert_ne!(*a, *b);
        assert_eq!(a.len(), GENERATED_LETTERS + 3);
        assert!(a.bytes().all(|b| ALPHABET.contains(&b) || b == b'-'), "{}", *a);
    }

    #[test]
    fn a_list_shows_who_may_log_in_how() {
        let lock = Lock { since_seconds: 0, event: server::admin::RateEvent::Bounce, count: 9, limit: 2 };
        let accounts = [
            Summary {
                address: "a@b.test".into(),
                login: "argon2id+scram",
                send_as: vec!["@c.test".into()],
                locked: Some(lock),
            },
            Summary { address: "d@b.test".into(), login: "none", send_as: Vec::new(), locked: None },
        ];
        let want = "Address   Login                   May also send as\n\
                    a@b.test  argon2id+scram, locked  @c.test\n\
                    d@b.test  none\n\
                    2 accounts\n";
        assert_eq!(table(&accounts), want);
    }
}
