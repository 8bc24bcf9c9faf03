//! Sockets that systemd passes, and connections through them. The shell stands in for systemd: it puts the socket on
//! descriptor 3 and sets the variables of sd_listen_fds(3), then becomes this test again.

#![allow(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use net::listener::{Inherited, accept};
use net::{ListenError, ListenerKind};

const CHILD: &str = "STAFFETTA_TEST_ACTIVATED";

/// Runs one test of this program again, with a socket on descriptor 3 under a name.
fn run_again(test: &str, names: &str, socket: OwnedFd) -> std::process::Child {
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\"";
    Command::new("/bin/sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "1")
        .env("LISTEN_FDNAMES", names)
        .stdin(Stdio::from(socket))
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

#[test]
fn a_socket_is_taken_under_its_name() {
    if is_child() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(serve_one());
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut child = run_again("a_socket_is_taken_under_its_name", "submission", listener.into());
    let mut text = String::new();
    TcpStream::connect(address).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "220 hello");
    assert!(child.wait().unwrap().success());
}

async fn serve_one() {
    let mut inherited = Inherited::from_environment().unwrap();
    assert!(inherited.for_listener(ListenerKind::Mx).is_empty());
    assert_eq!(inherited.unused().collect::<Vec<_>>(), ["submission"]);
    let mut sockets = inherited.for_listener(ListenerKind::Submission);
    assert_eq!((sockets.len(), inherited.unused().count()), (1, 0));
    let listener = tokio::net::TcpListener::from_std(sockets.remove(0)).unwrap();
    let mut accepted = accept(&listener).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut accepted.stream, b"220 hello").await.unwrap();
}

#[test]
fn what_is_no_listening_socket_is_refused_by_name() {
    if is_child() {
        let error = Inherited::from_environment().unwrap_err();
        assert!(matches!(&error, ListenError::Inherited { name, .. } if name == "mx"), "{error}");
        return;
    }
    let file = tempfile::tempfile().unwrap();
    let mut child = run_again("what_is_no_listening_socket_is_refused_by_name", "mx", file.into());
    assert!(child.wait().unwrap().success());
}

#[test]
fn without_systemd_there_are_none() {
    let inherited = Inherited::from_environment().unwrap();
    assert_eq!(inherited.unused().count(), 0);
}
