//! Under systemd: sockets that it passes, and what it is told (sd_listen_fds(3), sd_notify(3)).

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::{Client, Daemon, need_program};

use crate::{PROGRAM, letter, queue_id};

/// What the server says next.
fn told(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 512];
    let count = socket.recv(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..count]).trim_end().to_owned()
}

fn notifications(folder: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(folder.join("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    socket
}

#[test]
fn a_passed_socket_is_served_in_place_of_the_configured_address() {
    let Some(activate) = need_program("systemd-socket-activate") else { return };
    let mut daemon = Daemon::prepare(PROGRAM, "", "");
    daemon.add_account("user@example.test", "secret");
    let notify = notifications(daemon.folder());
    let configured = daemon.mx;
    daemon.mx.set_port(support::free_port());
    let mut serve = Command::new(activate);
    serve.arg("--listen").arg(daemon.mx.to_string()).arg("--fdname=mx");
    serve.arg(format!("--setenv=NOTIFY_SOCKET={}", daemon.folder().join("notify").display()));
    serve.arg(PROGRAM).args(["serve", "--config"]).arg(daemon.configuration()).current_dir(daemon.folder());
    daemon.run_by(serve);

    let mut client = Client::hello(daemon.mx);
    queue_id(&client.mail("joe@far.test", &["user@example.test"], &letter("activated")));
    assert!(daemon.wait_for_mail("user@example.test", 1)[0].contains("Subject: activated"));
    assert!(std::net::TcpStream::connect(configured).is_err(), "not bound beside the socket that was passed");
    // Doors without a socket of their own are opened as configured.
    assert_eq!(Client::hello_tls(daemon.submissions).command("NOOP").code, 250);
    assert_eq!(told(&notify), "READY=1");

    // The socket survives a reload.
    daemon.signal("HUP");
    assert_eq!([told(&notify), told(&notify)], ["RELOADING=1", "READY=1"]);
    queue_id(&client.mail("joe@far.test", &["user@example.test"], &letter("reloaded")));
    assert_eq!(Client::hello(daemon.mx).command("NOOP").code, 250);
    drop(client);
    assert_eq!(daemon.stop(), Some(0));
    assert_eq!(told(&notify), "STOPPING=1");
}

#[test]
fn start_and_stop_are_told() {
    let mut daemon = Daemon::prepare(PROGRAM, "", "");
    let notify = notifications(daemon.folder());
    let mut serve = daemon.command(&["serve", "--config"]);
    serve.arg(daemon.configuration()).env("NOTIFY_SOCKET", daemon.folder().join("notify"));
    daemon.run_by(serve);
    assert_eq!(told(&notify), "READY=1");
    assert_eq!(daemon.stop(), Some(0));
    assert_eq!(told(&notify), "STOPPING=1");
}
