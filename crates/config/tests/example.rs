//! `etc/staffetta.toml`, the annotated example, is right: every line of it, those that are commented out included.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop where it is")]

use std::fs;
use std::path::Path;

/// A copy of `etc/` with what a fresh host has not got: a certificate, and the user, who becomes a number.
fn installed() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let etc = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../etc");
    let text = fs::read_to_string(etc.join("staffetta.toml")).unwrap();
    fs::write(folder.path().join("staffetta.toml"), text.replace("user = \"staffetta\"", "user = 990"))
        .unwrap();
    fs::copy(etc.join("aliases"), folder.path().join("aliases")).unwrap();
    let (certificate, key) = net::tls::self_signed(&["mx.example.test"]).unwrap();
    fs::create_dir_all(folder.path().join("tls/example.net")).unwrap();
    for place in ["tls", "tls/example.net"] {
        write_secret(&folder.path().join(place).join("fullchain.pem"), &certificate);
        write_secret(&folder.path().join(place).join("key.pem"), &key);
    }
    write_secret(&folder.path().join("accounts.toml"), "");
    write_secret(&folder.path().join("smart_host.password"), "secret");
    write_secret(&folder.path().join("virtual"), "sales@example.test  joe@example.test\n");
    folder
}

fn write_secret(file: &Path, text: &str) {
    fs::write(file, text).unwrap();
    fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

fn loaded(file: &Path) -> config::Loaded {
    config::load(file).unwrap_or_else(|report| panic!("{report}"))
}

#[test]
fn the_example_loads_without_a_warning() {
    let folder = installed();
    let loaded = loaded(&folder.path().join("staffetta.toml"));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    assert_eq!(loaded.config.listener.len(), 3);
    assert_eq!(loaded.config.domains().map(mail::Domain::as_str).collect::<Vec<_>>(), ["example.test"]);
}

/// A setting that is commented out is one that somebody will switch on.
#[test]
fn the_example_loads_with_all_that_is_commented_out() {
    let folder = installed();
    let file = folder.path().join("staffetta.toml");
    let text = fs::read_to_string(&file).unwrap();
    let full: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => {
                format!("{rest}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    fs::write(&file, full.replace("\"vmail\"", "991")).unwrap();
    let loaded = loaded(&file);
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    assert!(loaded.config.outbound.route.len() == 1 && loaded.config.domain[0].aliases.is_some());
}

/// What the words above a commented line call a default is one.
#[test]
fn what_is_commented_out_as_default_is_the_default() {
    let plain = loaded(&installed().path().join("staffetta.toml")).config;
    assert_eq!(plain.message_bytes_max, 52_428_800);
    assert_eq!(plain.accounts.recipient_delimiter, "+");
    let queue = &plain.queue;
    assert_eq!((queue.retry_seconds_min, queue.retry_seconds_max), (300, 14_400));
    assert_eq!((queue.warn_seconds, queue.lifetime_seconds), (14_400, 432_000));
}

/// The shortest configuration that the speed tests use: no user, no accounts, trusted loopback, a smart host.
#[test]
fn a_short_relay_loads() {
    let folder = installed();
    let base = folder.path().display();
    let text = format!(
        "hostname = \"ours.test\"\ndata_dir = \"{base}/data\"\ntrusted_networks = [\"127.0.0.0/8\"]\n\
         [[listener]]\nkind = \"mx\"\nbind = [\"127.0.0.1:2525\"]\n\
         [tls]\ncertificate = \"{base}/tls/fullchain.pem\"\nkey = \"{base}/tls/key.pem\"\n\
         [[domain]]\nname = \"local.test\"\nrecipients = \"static:ok\"\ndeliver = \"maildir:{base}/vmail/{{local}}/\"\n\
         [outbound]\nsmart_host = \"smtp:[127.0.0.1]:2526\"\n"
    );
    let file = folder.path().join("relay.toml");
    fs::write(&file, text).unwrap();
    assert!(loaded(&file).warnings.is_empty());
}
