//! What is shipped works where it is shipped to: the binary in an empty root, the systemd unit within its exposure, the
//! container's recipe with paths that exist.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by failing"
)]

mod booted;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{Client, Running, free_port, need_program, wait_until};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

#[test]
fn the_binary_runs_in_a_root_with_nothing_else_in_it() {
    let Some(chroot) = need_program("chroot") else { return };
    if !Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n") {
        return support::skip("chroot needs root");
    }
    let folder = tempfile::tempdir().unwrap();
    // Copied by another process, so that no child of another test holds it open for writing.
    let copied =
        Command::new("cp").arg(env!("CARGO_BIN_EXE_staffetta")).arg(folder.path().join("staffetta")).status();
    assert!(copied.unwrap().success());
    let ports = [free_port(), free_port(), free_port()];
    let listed = ports.map(|port| port.to_string()).join(",");
    let inside = |arguments: &[&str]| {
        let mut command = Command::new(&chroot);
        command.arg(folder.path()).arg("/staffetta").args(arguments).env_clear().stdin(Stdio::null());
        command
    };
    let made =
        inside(&["quickstart", "example.test", "--dir", "/mail", "--ports", &listed]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let file = folder.path().join("mail/staffetta.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    // No name server is in an empty root either.
    std::fs::write(&file, format!("{text}\n[dns]\nservers = [\"127.0.0.1:9\"]\n")).unwrap();

    let serve = inside(&["serve", "--config", "/mail/staffetta.toml"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _running = Running(serve.unwrap());
    let address = SocketAddr::from(([127, 0, 0, 1], ports[0]));
    assert!(wait_until(|| std::net::TcpStream::connect(address).is_ok()), "it does not listen");
    let reply = Client::hello(address).mail(
        "a@sender.test",
        &["postmaster@example.test"],
        "Subject: hello\r\n\r\nThere.",
    );
    assert_eq!(reply.code, 250, "{}", reply.text());
}

#[test]
fn the_systemd_unit_exposes_next_to_nothing() {
    let Some(analyze) = need_program("systemd-analyze") else { return };
    let unit = root().join("deploy/systemd/staffetta.service");
    let output = Command::new(analyze).args(["security", "--offline=true"]).arg(unit).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line =
        text.lines().find(|line| line.contains("Overall exposure level")).unwrap_or_else(|| panic!("{text}"));
    let level: f64 = line.split(':').nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap();
    assert!(level <= 1.5, "{line}");
}

#[test]
fn the_units_and_the_container_call_what_the_program_has() {
    let program = env!("CARGO_BIN_EXE_staffetta");
    let help = Command::new(program).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let recipe = std::fs::read_to_string(root().join("deploy/container/Containerfile")).unwrap();
    let unit = std::fs::read_to_string(root().join("deploy/systemd/staffetta.service")).unwrap();
    for (text, command) in [(&recipe, "quickstart"), (&recipe, "health"), (&unit, "serve")] {
        assert!(text.contains(command) && help.contains(command), "{command}");
    }
    let kinds = ["mx", "submission", "submissions"];
    for (name, kind) in ["staffetta", "staffetta-submission", "staffetta-submissions"].into_iter().zip(kinds)
    {
        let socket = std::fs::read_to_string(root().join(format!("deploy/systemd/{name}.socket"))).unwrap();
        assert!(socket.contains(&format!("FileDescriptorName={kind}\n")), "{name}");
        assert!(unit.contains(&format!("{name}.socket")), "{name}");
    }
}
