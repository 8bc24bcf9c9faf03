//! The systemd unit stays hardened: `systemd-analyze security` judges it, and what it must not have is absent.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what is wrong by failing")]

use std::process::Command;

/// The exposure that `systemd-analyze security` may find, from 0 (none) to 10.
const EXPOSURE_MAX: f64 = 1.5;

#[test]
fn the_unit_is_little_exposed() {
    let unit = tidy::root().join("deploy/systemd/staffetta.service");
    let output = Command::new("systemd-analyze").args(["security", "--offline=true"]).arg(unit).output();
    let Ok(output) = output else {
        let words = "SKIPPED: systemd-analyze is not there (Debian: systemd)";
        assert!(std::env::var_os("STAFFETTA_TESTS_ALL").is_none(), "{words}");
        eprintln!("{words}");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let level =
        text.lines().find_map(|line| line.split_once("Overall exposure level for staffetta.service: "));
    let exposure: Option<f64> = level.and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    let exposure = exposure.unwrap_or_else(|| panic!("systemd-analyze did not judge the unit: {output:?}"));
    assert!(exposure <= EXPOSURE_MAX, "{exposure} is more than {EXPOSURE_MAX}:\n{text}");
}

/// In a user namespace the kernel calls every local user who hands in mail `nobody`: they could not send as themselves.
#[test]
fn the_unit_sees_who_calls() {
    let unit =
        std::fs::read_to_string(tidy::root().join("deploy/systemd/staffetta.service")).expect("the unit");
    assert!(!unit.lines().any(|line| line.trim() == "PrivateUsers=yes"));
}
