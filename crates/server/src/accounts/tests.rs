//! Logins, ownership and the file, with hashes that cost little.

use super::manage::{Credential, add, list, remove, set_credential};
use super::*;

fn cheap() -> Cost {
    Cost { argon2_memory_kib: 64, argon2_passes: 1, scram_iterations: NonZeroU32::new(4096).unwrap() }
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn secret_word(text: &str) -> Credential {
    Credential::Password(Zeroizing::new(text.as_bytes().to_vec()))
}

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let this = Self { folder: tempfile::tempdir().unwrap() };
        let send_as = ["sales@b.test".to_owned(), "@c.test".to_owned()];
        add(&this.file(), &address("Anna@b.test"), &secret_word("pencil"), &send_as, cheap(), None).unwrap();
        let shadow = "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5";
        add(&this.file(), &address("old@b.test"), &Credential::Imported(shadow.into()), &[], cheap(), None)
            .unwrap();
        add(&this.file(), &address("drop@b.test"), &Credential::None, &[], cheap(), None).unwrap();
        this
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("accounts.toml")
    }

    fn parameters(&self) -> Parameters {
        let failures = Limits {
            delay_min: Duration::from_millis(1),
            delay_max: Duration::from_millis(2),
            ..Limits::default()
        };
        Parameters {
            cost: cheap(),
            failures,
            login_domain: Some(Domain::parse("b.test").unwrap()),
            ..Parameters::new(self.file(), self.folder.path().join("secret"))
        }
    }

    fn open(&self) -> Accounts {
        Accounts::open(self.parameters()).unwrap()
    }
}

#[tokio::test]
async fn passwords_open_their_own_account_only() {
    let accounts = Fixture::new().open();
    let good = |name: &str| Login::Good(name.into());
    for (login, password, want) in [
        ("anna@b.test", "pencil", good("anna@b.test")),
        ("ANNA@B.test", "pencil", good("anna@b.test")),
        ("anna", "pencil", good("anna@b.test")),
        ("old@b.test", "Hello world!", good("old@b.test")),
        ("anna@b.test", "Pencil", Login::Wrong),
        ("anna@b.test", "", Login::Wrong),
        ("old@b.test", "pencil", Login::Wrong),
        ("drop@b.test", "", Login::Wrong),
        ("nobody@b.test", "pencil", Login::Wrong),
        ("", "", Login::Wrong),
    ] {
        assert_eq!(
            accounts.check_password(CLIENT, login, password.as_bytes()).await,
            want,
            "{login} {password}"
        );
    }
}

#[tokio::test]
async fn the_decoy_opens_nothing_and_costs_what_a_real_hash_costs() {
    let fixture = Fixture::new();
    let accounts = fixture.open();
    assert_eq!(accounts.check_password(CLIENT, "nobody@b.test", b"\0").await, Login::Wrong);
    let StoredHash::Argon2(decoy) = &*accounts.decoy else { panic!("not argon2") };
    let real = accounts.named("anna").unwrap();
    let Some(StoredHash::Argon2(real)) = &real.hash else { panic!("not argon2") };
    assert_eq!(decoy.params, real.params);
    assert_eq!(decoy.algorithm, real.algorithm);
}

#[tokio::test]
async fn unknown_users_have_a_salt_that_survives_a_restart() {
    let fixture = Fixture::new();
    let salt = |login: &str| fixture.open().scram_keys(CLIENT, login).unwrap();
    let (first, second) = (salt("nobody@b.test"), salt("NOBODY@b.test"));
    assert_eq!(first, second);
    assert_ne!(first.salt, salt("nobody2@b.test").salt);
    let real = salt("anna@b.test");
    assert_eq!((first.salt.len(), first.iterations), (real.salt.len(), real.iterations));
    // An account with an imported hash cannot do SCRAM, which must not show.
    assert_eq!(salt("old@b.test").salt.len(), real.salt.len());
    assert_eq!(fixture.open().scram_done(CLIENT, "old@b.test", true).await, Login::Wrong);
}

#[tokio::test]
async fn too_many_failures_block_one_network_and_no_other() {
    let fixture = Fixture::new();
    let mut parameters = fixture.parameters();
    parameters.failures.failures_max = 3;
    let accounts = Accounts::open(parameters).unwrap();
    for _ in 0..3 {
        assert_eq!(accounts.check_password(CLIENT, "anna", b"x").await, Login::Wrong);
    }
    assert_eq!(accounts.check_password(CLIENT, "anna", b"pencil").await, Login::Blocked);
    assert_eq!(accounts.scram_keys(CLIENT, "anna"), Err(Login::Blocked));
    let other = "198.51.100.1".parse().unwrap();
    assert_eq!(accounts.check_password(other, "anna", b"pencil").await, Login::Good("anna@b.test".into()));
}

#[test]
fn an_address_belongs_to_its_account_its_grants_and_its_aliases() {
    let accounts = Fixture::new().open();
    let may = |from: &str, leads_to: &[&str]| {
        let leads_to: Vec<Address> = leads_to.iter().map(|a| address(a)).collect();
        accounts.may_send_as("anna@b.test", &address(from), &leads_to)
    };
    assert!(may("anna@b.test", &[]) && may("Anna@b.test", &[]) && may("anna+tag@b.test", &[]));
    assert!(may("sales@b.test", &[]) && may("anyone@c.test", &[]));
    assert!(may("info@b.test", &["old@b.test", "anna@b.test"]));
    assert!(!may("info@b.test", &["old@b.test"]) && !may("old@b.test", &[]) && !may("anna@d.test", &[]));
    assert!(!may("anyone@sub.c.test", &[]) && !may("annab@b.test", &[]));
    assert!(!accounts.may_send_as("nobody@b.test", &address("nobody@b.test"), &[]));
}

#[test]
fn mailboxes_are_found_by_their_address_in_any_case() {
    use delivery::router::Directory as _;
    let fixture = Fixture::new();
    let accounts = fixture.open();
    assert_eq!(accounts.find(&address("Anna@B.test")), tables::Answer::Found("anna".into()));
    assert_eq!(accounts.find(&address("anna+tag@b.test")), tables::Answer::Absent);
    std::fs::remove_file(fixture.file()).unwrap();
    assert!(accounts.reload().is_err());
    assert_eq!(accounts.find(&address("anna@b.test")), tables::Answer::Found("anna".into()));
}

#[test]
fn a_changed_file_is_seen_and_a_broken_one_changes_nothing() {
    let fixture = Fixture::new();
    let accounts = fixture.open();
    add(&fixture.file(), &address("new@b.test"), &Credential::None, &[], cheap(), None).unwrap();
    let later = Instant::now() + LOOK_EVERY;
    assert_eq!(accounts.look_again(later).len(), 4);
    std::fs::write(fixture.file(), "[[account]]\nadress = 1\n").unwrap();
    assert_eq!(accounts.look_again(later + LOOK_EVERY).len(), 4);
    assert!(accounts.trouble().unwrap().contains("adress"));
    assert!(accounts.reload().is_err());
    std::fs::write(fixture.file(), "[[account]]\naddress = \"x@b.test\"\n").unwrap();
    accounts.reload().unwrap();
    assert_eq!((accounts.count(), accounts.trouble()), (1, None));
}

#[tokio::test]
async fn passwd_sets_both_forms_and_remove_removes() {
    let fixture = Fixture::new();
    let path = fixture.file();
    let old = address("old@b.test");
    assert_eq!(list(&path).unwrap()[1].login, "imported");
    set_credential(&path, &old, &secret_word("new"), cheap()).unwrap();
    assert_eq!(list(&path).unwrap()[1].login, "argon2id+scram");
    let accounts = fixture.open();
    assert_eq!(accounts.check_password(CLIENT, "old@b.test", b"new").await, Login::Good("old@b.test".into()));
    let keys = accounts.scram_keys(CLIENT, "old@b.test").unwrap();
    assert_eq!(ScramKeys::derive(b"new", &keys.salt, keys.iterations), keys);
    remove(&path, &old).unwrap();
    assert_eq!(remove(&path, &old), Err(AccountsError::Absent("old@b.test".into())));
    let twice = add(&path, &address("ANNA@b.test"), &Credential::None, &[], cheap(), None);
    assert_eq!(twice, Err(AccountsError::Exists("ANNA@b.test".into())));
    assert!(set_credential(&path, &old, &Credential::None, cheap()).is_err());
}

#[test]
fn a_file_that_is_not_there_says_how_to_make_it() {
    let folder = tempfile::tempdir().unwrap();
    let error =
        Accounts::open(Parameters::new(folder.path().join("a.toml"), folder.path().join("s"))).unwrap_err();
    assert!(error.to_string().contains("staffetta account add"), "{error}");
}

#[test]
fn the_secret_is_for_nobody_else() {
    use std::os::unix::fs::MetadataExt as _;
    let fixture = Fixture::new();
    drop(fixture.open());
    let metadata = std::fs::metadata(fixture.folder.path().join("secret")).unwrap();
    assert_eq!((metadata.mode() & 0o777, metadata.len()), (0o600, 32));
}

/// The client and the server side of another implementation, with our keys on the server.
mod exchange {
    use std::io::Cursor;
    use std::sync::Arc;

    use rsasl::callback::{Context, Request, SessionCallback, SessionData};
    use rsasl::mechanisms::scram::properties::ScramStoredPassword;
    use rsasl::prelude::{Mechname, SASLClient, SASLConfig, SASLServer, SessionError, Validation};
    use rsasl::property::{AuthId, Password};
    use rsasl::validate::{Validate, ValidationError};

    use super::*;

    struct Client(&'static str, &'static str);

    impl SessionCallback for Client {
        fn callback(
            &self,
            _: &SessionData,
            _: &Context<'_>,
            request: &mut Request<'_>,
        ) -> Result<(), SessionError> {
            request.satisfy::<AuthId>(self.0)?.satisfy::<Password>(self.1.as_bytes())?;
            Ok(())
        }
    }

    struct Server(Accounts);

    struct Who;
    impl Validation for Who {
        type Value = String;
    }

    impl SessionCallback for Server {
        fn callback(
            &self,
            _: &SessionData,
            context: &Context<'_>,
            request: &mut Request<'_>,
        ) -> Result<(), SessionError> {
            if let Some(login) = context.get_ref::<AuthId>() {
                let keys = self.0.scram_keys(CLIENT, login).unwrap();
                request.satisfy::<ScramStoredPassword<'_>>(&ScramStoredPassword::new(
                    keys.iterations.get(),
                    &keys.salt,
                    &keys.stored_key,
                    &keys.server_key,
                ))?;
            }
            Ok(())
        }

        fn validate(
            &self,
            _: &SessionData,
            context: &Context<'_>,
            validate: &mut Validate<'_>,
        ) -> Result<(), ValidationError> {
            validate.with::<Who, _>(|| Ok(context.get_ref::<AuthId>().unwrap_or_default().to_owned()))?;
            Ok(())
        }
    }

    fn exchange(login: &'static str, password: &'static str) -> Result<String, String> {
        let name = Mechname::parse(b"SCRAM-SHA-256").unwrap();
        let client =
            SASLConfig::builder().with_default_mechanisms().with_callback(Client(login, password)).unwrap();
        let mut client = SASLClient::new(client).start_suggested(&[name]).unwrap();
        let server = Server(Fixture::new().open());
        let server = SASLConfig::builder().with_default_mechanisms().with_callback(server).unwrap();
        let mut server = SASLServer::<Who>::new(Arc::clone(&server)).start_suggested(name).unwrap();
        let mut to_client: Option<Vec<u8>> = None;
        for _ in 0..4 {
            let mut to_server = Cursor::new(Vec::new());
            let state = client.step(to_client.as_deref(), &mut to_server).map_err(|e| e.to_string())?;
            if !state.has_sent_message() {
                break;
            }
            let mut out = Cursor::new(Vec::new());
            let state = server.step(Some(to_server.get_ref()), &mut out).map_err(|e| e.to_string())?;
            to_client = state.has_sent_message().then(|| out.into_inner());
        }
        server.validation().ok_or_else(|| "not validated".to_owned())
    }

    #[test]
    fn scram_succeeds_with_the_password_and_with_no_other() {
        assert_eq!(exchange("anna@b.test", "pencil"), Ok("anna@b.test".into()));
        assert!(exchange("anna@b.test", "pencils").is_err());
        assert!(exchange("nobody@b.test", "pencil").is_err());
        assert!(exchange("old@b.test", "Hello world!").is_err());
    }
}
