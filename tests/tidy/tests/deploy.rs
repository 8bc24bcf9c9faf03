//! What the systemd unit must not have, whatever else it forbids. Its exposure is measured in `tests/deploy`.

#![allow(clippy::expect_used, reason = "a test says what is wrong by failing")]

/// In a user namespace the kernel calls every local user who hands in mail `nobody`: they could not send as themselves.
#[test]
fn the_unit_sees_who_calls() {
    let unit =
        std::fs::read_to_string(tidy::root().join("deploy/systemd/staffetta.service")).expect("the unit");
    assert!(!unit.lines().any(|line| line.trim() == "PrivateUsers=yes"));
}
