//! Root is given up in processes of their own: the test runner's must keep it.

use super::*;
use std::process::Command;

/// Set in the process that is to give up its privileges: the test runner's own must keep them.
const CHILD: &str = "STAFFETTA_TEST_DROP";

/// Runs one test of this file in a process of its own, with the environment that makes it act. `None`: not root.
fn in_another_process(test: &str, keep: &str) -> Option<String> {
    if !geteuid().is_root() {
        eprintln!("SKIPPED: {test} needs root");
        return None;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("privileges::tests::{test}"), "--nocapture", "--test-threads=1"])
        .env(CHILD, keep)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    Some(text)
}

fn status_line(name: &str) -> String {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    status.lines().find_map(|l| l.strip_prefix(name)).unwrap().trim().to_owned()
}

fn nobody() -> Identity {
    Identity { name: "nobody".into(), uid: 65534, gid: 65534, groups: vec![65534] }
}

#[test]
fn root_is_given_up_for_good_and_the_named_capabilities_stay() {
    let test = "root_is_given_up_for_good_and_the_named_capabilities_stay";
    let Ok(keep) = std::env::var(CHILD) else {
        for (keep, mask) in [("none", 0_u64), ("bind", 1 << 10), ("bind+chown", 1 << 10 | 1)] {
            let Some(said) = in_another_process(test, keep) else { return };
            assert!(
                said.contains(&format!("permitted {mask:016x} {mask:016x} {mask:016x}")),
                "{keep}: {said}"
            );
        }
        return;
    };
    let keep = Keep { bind: keep.contains("bind"), chown: keep.contains("chown") };
    assert_eq!(drop_root(&nobody(), keep), Ok(Standing::Dropped));
    assert_eq!(status_line("Uid:").split_whitespace().collect::<Vec<_>>(), ["65534"; 4]);
    assert_eq!(status_line("Gid:").split_whitespace().collect::<Vec<_>>(), ["65534"; 4]);
    assert_eq!(status_line("Groups:"), "65534");
    assert_eq!(status_line("NoNewPrivs:"), "1");
    assert_eq!(status_line("Umask:"), "0077");
    assert_eq!(may_bind_low_ports(), keep.bind);
    let bound = std::net::TcpListener::bind("127.0.0.1:0").is_ok();
    assert!(bound && std::fs::read("/etc/shadow").is_err());
    println!("permitted {} {} {}", status_line("CapPrm:"), status_line("CapEff:"), status_line("CapBnd:"));
}

#[test]
fn who_is_not_root_stays_and_who_wants_to_be_root_is_told() {
    let test = "who_is_not_root_stays_and_who_wants_to_be_root_is_told";
    if std::env::var(CHILD).is_err() {
        in_another_process(test, "x");
        return;
    }
    let root = Identity { name: "root".into(), uid: 0, gid: 0, groups: vec![0] };
    assert_eq!(drop_root(&root, Keep::default()), Ok(Standing::Root));
    assert_eq!(drop_root(&nobody(), Keep::default()), Ok(Standing::Dropped));
    assert_eq!(drop_root(&nobody(), Keep::default()), Ok(Standing::Unprivileged));
    assert_eq!(drop_root(&root, Keep::default()), Ok(Standing::OtherUser { uid: 65534 }));
}

#[test]
fn the_descriptor_limit_is_the_hard_one() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert_eq!(raise_descriptor_limit(), hard);
    assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap().0, hard);
}
