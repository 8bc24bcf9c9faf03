//! Accounts: who may log in, how their passwords are verified, and which addresses are theirs.
//!
//! The accounts file is read at start and again whenever it changes (looked at most once a second); a broken new file
//! leaves the accounts as they were and is told by [`Accounts::trouble`]. At most two passwords are hashed at once, and
//! the wait for a turn is bounded. Someone who does not exist costs a guesser the same time, and has the same stable
//! salt, as someone who does. Failures are counted per client network, slow the answer down, and in the end stop it.
//! Never logs, never keeps a password. RFC 4954, RFC 5802, RFC 7677.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use mail::{Address, ClientNetwork, Domain, Reply};
use zeroize::Zeroizing;

mod failures;
mod file;
mod gate;
mod imported;
pub mod manage;
mod password;

pub use failures::{Failures, Limits};
pub use file::Account;
pub use password::{Cost, NewPassword, PasswordError, ScramKeys, StoredHash};

use file::SendAs;
use gate::Gate;

/// The file is looked at for changes at most so often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is wrong with the accounts file, or with what was asked of it. All of it is the operator's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountsError {
    /// It cannot be read.
    #[error("{}: {message}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why, and what to do.
        message: String,
    },
    /// It is no TOML, or has keys that are not known.
    #[error("{}:{line}: {message}", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// Why.
        message: String,
    },
    /// One account is wrong.
    #[error("{}:{line}: {address}: {message}", path.display())]
    Entry {
        /// Which file.
        path: PathBuf,
        /// The line of its address.
        line: usize,
        /// Which account.
        address: String,
        /// Why.
        message: String,
    },
    /// The same address twice.
    #[error("{}: {address} is there twice; remove one of the two", path.display())]
    Twice {
        /// Which file.
        path: PathBuf,
        /// Which account.
        address: String,
    },
    /// It cannot be written.
    #[error("{}: cannot be written: {message}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// The account is there already.
    #[error("{0} is there already; to give it another password: staffetta account passwd {0}")]
    Exists(String),
    /// There is no such account.
    #[error("there is no account {0}; staffetta account list shows those there are")]
    Absent(String),
    /// The name is not one that a mailbox can have.
    #[error("{0}: a mailbox name has 1 to 64 of a-z 0-9 . _ + = -, and begins with a letter, digit or _")]
    Name(String),
    /// `send_as` is neither an address nor `@domain`.
    #[error("send_as: {text}: {message}; write user@domain or @domain")]
    SendAs {
        /// What was written.
        text: String,
        /// Why not.
        message: String,
    },
    /// The password or hash cannot be used.
    #[error("{0}")]
    Password(#[from] PasswordError),
}

impl AccountsError {
    fn read(path: &Path, error: &std::io::Error) -> Self {
        let mut message = error.to_string();
        if error.kind() == std::io::ErrorKind::NotFound {
            message.push_str("; the first `staffetta account add ADDRESS` makes it");
        }
        Self::Read { path: path.to_owned(), message }
    }
}

/// How accounts are kept and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    /// The accounts file.
    pub file: PathBuf,
    /// Where the secret is kept from which salts of unknown users are made; created when it is not there.
    pub secret_file: PathBuf,
    /// A login without `@` gets this domain.
    pub login_domain: Option<Domain>,
    /// What separates a tag from a mailbox name, such as `+`; a tagged address belongs to its account.
    pub recipient_delimiter: Option<char>,
    /// Cost of new passwords, and of those that do not exist.
    pub cost: Cost,
    /// Passwords that are hashed at the same time: each takes `cost.argon2_memory_kib`.
    pub hashes_at_once: usize,
    /// Logins that may wait for their turn; further ones are told to come back (454).
    pub hashes_waiting_max: usize,
    /// How failures are answered.
    pub failures: Limits,
}

impl Parameters {
    /// The defaults: two hashes at once, sixty-four waiting.
    #[must_use]
    pub fn new(file: PathBuf, secret_file: PathBuf) -> Self {
        Self {
            file,
            secret_file,
            login_domain: None,
            recipient_delimiter: Some('+'),
            cost: Cost::default(),
            hashes_at_once: 2,
            hashes_waiting_max: 64,
            failures: Limits::default(),
        }
    }
}

/// What came of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// It is this account: its address in lower case.
    Good(Arc<str>),
    /// Wrong password, or nobody of that name: the two cannot be told apart.
    Wrong,
    /// Too many logins wait.
    Busy,
    /// Too many failures from this network.
    Blocked,
    /// The account is locked, because it looks broken into. Told to nobody who does not have its password.
    Locked,
}

impl Login {
    /// What the client is told (RFC 4954 §6).
    #[must_use]
    pub fn reply(&self) -> Reply {
        match self {
            Self::Good(_) => Reply::new(235, (2, 7, 0), "Authentication succeeded"),
            Self::Wrong => Reply::new(535, (5, 7, 8), "Authentication failed: wrong user name or password"),
            Self::Busy => Reply::new(454, (4, 7, 0), "Too many logins at the moment, try again in a minute"),
            Self::Blocked => {
                Reply::new(454, (4, 7, 0), "Too many failed logins from your network, try again later")
            }
            // RFC 5248: X.7.13 is an account that an administrator, or what acts for one, has disabled.
            Self::Locked => {
                let text = "This account is locked because it looks broken into; ask your postmaster";
                Reply::new(525, (5, 7, 13), text)
            }
        }
    }

    /// What is counted.
    #[must_use]
    pub fn metric(&self) -> crate::metrics::AuthResult {
        use crate::metrics::AuthResult;
        match self {
            Self::Good(_) => AuthResult::Success,
            Self::Wrong => AuthResult::Failure,
            Self::Busy => AuthResult::Busy,
            Self::Blocked => AuthResult::Blocked,
            Self::Locked => AuthResult::Locked,
        }
    }
}

/// What a file looked like when it was read: another stamp means that it must be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let m = std::fs::metadata(path).ok()?;
        Some(Self { inode: m.ino(), bytes: m.len(), modified: (m.mtime(), m.mtime_nsec()) })
    }
}

type Table = HashMap<Arc<str>, Arc<Account>>;

#[derive(Debug)]
struct Current {
    table: Arc<Table>,
    stamp: Option<Stamp>,
    looked: Instant,
    trouble: Option<String>,
}

/// The accounts of one server.
#[derive(Debug)]
pub struct Accounts {
    parameters: Parameters,
    current: RwLock<Current>,
    gate: Gate,
    failures: Arc<Failures>,
    /// Makes the salts and keys of those who do not exist.
    secret: hmac::Key,
    /// What the password of someone who does not exist is compared with: the same cost as a real one.
    decoy: Arc<StoredHash>,
}

impl Accounts {
    /// Reads the accounts file, and the secret, which is made when it is not there.
    ///
    /// # Errors
    /// [`AccountsError`] when the file cannot be read or has a mistake.
    pub fn open(parameters: Parameters) -> Result<Self, AccountsError> {
        let table = load(&parameters.file)?;
        Self::with(parameters, table)
    }

    /// For a server without accounts of its own: nobody can log in. A file that appears later is read.
    ///
    /// # Errors
    /// [`AccountsError`] when the secret cannot be made.
    pub fn none(parameters: Parameters) -> Result<Self, AccountsError> {
        Self::with(parameters, Table::new())
    }

    fn with(parameters: Parameters, table: Table) -> Result<Self, AccountsError> {
        let stamp = Stamp::of(&parameters.file);
        let secret = hmac::Key::new(hmac::HMAC_SHA256, &secret(&parameters.secret_file)?);
        let decoy = decoy(parameters.cost)?;
        let current = Current { table: Arc::new(table), stamp, looked: Instant::now(), trouble: None };
        Ok(Self {
            gate: Gate::new(parameters.hashes_at_once, parameters.hashes_waiting_max),
            failures: Arc::new(Failures::new(parameters.failures)),
            current: RwLock::new(current),
            secret,
            decoy: Arc::new(decoy),
            parameters,
        })
    }

    /// The same accounts, going on from the failures that were counted so far: whoever guesses passwords must gain
    /// nothing when the configuration is read again.
    #[must_use]
    pub fn counting_in(self, failures: Arc<Failures>) -> Self {
        Self { failures, ..self }
    }

    /// The account with exactly this address, in any case.
    #[must_use]
    pub fn get(&self, address: &Address) -> Option<Arc<Account>> {
        self.table().get(address.lookup_key().as_str()).cloned()
    }

    /// The account that `login` names: its address, or the part before the `@` where there is a login domain.
    #[must_use]
    pub fn named(&self, login: &str) -> Option<Arc<Account>> {
        self.get(&self.login_address(login)?)
    }

    /// The mailbox of an account with this address: its local part in lower case.
    #[must_use]
    pub fn mailbox_of(address: &Address) -> tables::Answer {
        tables::Answer::Found(address.local.as_str().to_lowercase())
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.table().len()
    }

    /// Why the file, changed since, could not be read again; the accounts are those of before.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        drop(self.table());
        self.current.read().unwrap_or_else(PoisonError::into_inner).trouble.clone()
    }

    /// Verifies a password (PLAIN, LOGIN). A failure is answered after a delay, during which this future waits.
    pub async fn check_password(&self, client: IpAddr, login: &str, password: &[u8]) -> Login {
        let asked = Instant::now();
        if self.is_blocked(client) {
            return Login::Blocked;
        }
        let account = self.named(login);
        let hash = account.as_ref().and_then(|a| a.hash.clone());
        let is_real = hash.is_some();
        let (decoy, password) = (Arc::clone(&self.decoy), Zeroizing::new(password.to_vec()));
        let verified = self.gate.run(move || match hash {
            Some(hash) => hash.verify(&password),
            None => decoy.verify(&password),
        });
        match (verified.await, account) {
            (Err(gate::Full), _) => Login::Busy,
            (Ok(true), Some(account)) if is_real => Login::Good(Arc::clone(&account.name)),
            _ => {
                self.fail(client, asked).await;
                Login::Wrong
            }
        }
    }

    /// Keys for a SCRAM exchange. For someone who does not exist, or has none, they are made up, the same every time,
    /// and no proof fits them (RFC 5802 §9 warns of telling the two apart).
    ///
    /// # Errors
    /// [`Login::Blocked`] when this network has failed too often.
    pub fn scram_keys(&self, client: IpAddr, login: &str) -> Result<ScramKeys, Login> {
        if self.is_blocked(client) {
            return Err(Login::Blocked);
        }
        let real = self.named(login).and_then(|account| account.scram.clone());
        Ok(real.unwrap_or_else(|| self.made_up_keys(login)))
    }

    /// A SCRAM exchange has ended with a proof that was good, or was not. A failure waits here, as in
    /// [`Accounts::check_password`].
    pub async fn scram_done(&self, client: IpAddr, login: &str, proved: bool) -> Login {
        let asked = Instant::now();
        match self.named(login) {
            Some(account) if proved && account.scram.is_some() => Login::Good(Arc::clone(&account.name)),
            _ => {
                self.fail(client, asked).await;
                Login::Wrong
            }
        }
    }

    /// True when `account` may use `address` as a sender: it is its own (a tag included), `send_as` grants it, or it is
    /// an alias that leads to the account: `leads_to` is what aliases make of the address, empty when it is not ours.
    #[must_use]
    pub fn may_send_as(&self, account: &str, address: &Address, leads_to: &[Address]) -> bool {
        let Some(account) = self.table().get(account).cloned() else { return false };
        let key = address.lookup_key();
        let own = *account.name == *key
            || self.without_tag(address).is_some_and(|a| a.lookup_key() == *account.name);
        own || leads_to.iter().any(|a| a.lookup_key() == *account.name)
            || account.send_as.iter().any(|grant| match grant {
                SendAs::Address(granted) => granted.lookup_key() == key,
                SendAs::Domain(domain) => *domain == address.domain,
            })
    }

    /// The address without its tag, when it has one.
    fn without_tag(&self, address: &Address) -> Option<Address> {
        let (local, _) = address.local.as_str().split_once(self.parameters.recipient_delimiter?)?;
        Address::new(local, address.domain.clone()).ok()
    }

    fn login_address(&self, login: &str) -> Option<Address> {
        if login.contains('@') {
            return Address::parse(login).ok();
        }
        Address::new(login, self.parameters.login_domain.clone()?).ok()
    }

    fn is_blocked(&self, client: IpAddr) -> bool {
        self.failures.is_blocked(ClientNetwork::of(client), Instant::now())
    }

    /// Counts a failure, and waits until its answer may be spoken: counted from the question, so that the time that
    /// hashing took cannot be seen.
    async fn fail(&self, client: IpAddr, asked: Instant) {
        let delay = self.failures.failed(ClientNetwork::of(client), Instant::now());
        tokio::time::sleep_until((asked + delay).into()).await;
    }

    fn made_up_keys(&self, login: &str) -> ScramKeys {
        let name = self.login_address(login).map_or_else(|| login.to_lowercase(), |a| a.lookup_key());
        let make = |what: &str| {
            let tag = hmac::sign(&self.secret, format!("{what}\0{name}").as_bytes());
            let mut bytes = [0_u8; 32];
            bytes.copy_from_slice(tag.as_ref().get(..32).unwrap_or(&[0; 32]));
            bytes
        };
        let salt = make("salt").into_iter().take(password::SCRAM_SALT_BYTES).collect();
        let iterations: NonZeroU32 = self.parameters.cost.scram_iterations;
        ScramKeys { iterations, salt, stored_key: make("stored"), server_key: make("server") }
    }

    /// The accounts as the file has them now, or had them when it could last be read.
    fn table(&self) -> Arc<Table> {
        let now = Instant::now();
        {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            if now.saturating_duration_since(current.looked) < LOOK_EVERY {
                return Arc::clone(&current.table);
            }
        }
        self.look_again(now)
    }

    fn look_again(&self, now: Instant) -> Arc<Table> {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(current.looked) < LOOK_EVERY {
            return Arc::clone(&current.table);
        }
        current.looked = now;
        let stamp = Stamp::of(&self.parameters.file);
        if stamp != current.stamp {
            current.stamp = stamp;
            match load(&self.parameters.file) {
                Ok(table) => (current.table, current.trouble) = (Arc::new(table), None),
                Err(error) => current.trouble = Some(error.to_string()),
            }
        }
        Arc::clone(&current.table)
    }

    /// Reads the file at once, for a reload.
    ///
    /// # Errors
    /// What is wrong with it; the accounts stay as they were.
    pub fn reload(&self) -> Result<(), AccountsError> {
        let stamp = Stamp::of(&self.parameters.file);
        let result = load(&self.parameters.file);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        current.stamp = stamp;
        match result {
            Ok(table) => (current.table, current.trouble) = (Arc::new(table), None),
            Err(error) => {
                current.trouble = Some(error.to_string());
                return Err(error);
            }
        }
        Ok(())
    }
}

impl delivery::router::Directory for Accounts {
    /// The mailbox of an account is its local part in lower case. A file that cannot be read again leaves the accounts
    /// as they were: nobody becomes unknown by it (I9).
    fn find(&self, address: &Address) -> tables::Answer {
        match self.get(address) {
            Some(account) => Self::mailbox_of(&account.address),
            None => tables::Answer::Absent,
        }
    }
}

fn load(path: &Path) -> Result<Table, AccountsError> {
    let (_, accounts) = file::read(path)?;
    let mut table = Table::with_capacity(accounts.len());
    for account in accounts {
        let address = account.address.to_string();
        if table.insert(Arc::clone(&account.name), Arc::new(account)).is_some() {
            return Err(AccountsError::Twice { path: path.to_owned(), address });
        }
    }
    Ok(table)
}

/// A hash of nothing in particular, as costly to verify as a new one.
fn decoy(cost: Cost) -> Result<StoredHash, PasswordError> {
    let (memory, passes) = (cost.argon2_memory_kib, cost.argon2_passes);
    StoredHash::parse(&format!(
        "$argon2id$v=19$m={memory},t={passes},p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    ))
}

/// Reads the secret, or makes it: 32 random octets, for nobody else to read.
fn secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, AccountsError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let failed = |e: std::io::Error| AccountsError::Write { path: path.to_owned(), message: e.to_string() };
    match std::fs::read(path) {
        Ok(bytes) if bytes.len() >= 32 => return Ok(Zeroizing::new(bytes)),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(AccountsError::read(path, &error)),
    }
    let fresh: Zeroizing<[u8; 32]> = Zeroizing::new(password::random()?);
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(&*fresh).and_then(|()| file.sync_all()).map_err(failed)?;
    Ok(Zeroizing::new(fresh.to_vec()))
}

#[cfg(test)]
mod tests;
