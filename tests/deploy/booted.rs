//! The systemd units under a systemd that has booted: installed as the README says, in a container whose root is this
//! machine's, with all changes kept in memory.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use support::need_program;

use super::root;

/// Boots, runs [`PROOF`], powers off: a few seconds. Longer than this it hangs.
const SECONDS_MAX: &str = "120";

/// What runs inside, as root, once the server is up. It leaves its findings, a line each, in `/proof`.
const PROOF: &str = r#"#!/bin/bash
exec >/proof 2>/proof.errors
letter() {
  printf 'From: a@sender.test\r\nTo: postmaster@example.test\r\nSubject: %s\r\n\r\nText.\r\n' "$1" |
    curl -sS --max-time 30 --url smtp://127.0.0.1:25/c.test --mail-from a@sender.test \
      --mail-rcpt postmaster@example.test --upload-file - && echo "$1: accepted"
}
delivered() {
  for _ in $(seq 300); do
    [ "$(find /var/lib/staffetta/mail -path '*/new/*' -type f | wc -l)" = "$1" ] && echo "$1 delivered" && return
    sleep 0.1
  done
}
echo "unit: $(systemctl is-active staffetta.service)"
letter first
delivered 1
pid=$(systemctl show staffetta -p MainPID --value)
echo "user: $(stat -c %U /proc/"$pid")"
sed -n 's/^CapEff:\t/capabilities: /p; s/^NoNewPrivs:\t/no new privileges: /p' /proc/"$pid"/status
systemctl reload staffetta.service && echo "reload: $(systemctl is-active staffetta.service)"
[ "$pid" = "$(systemctl show staffetta -p MainPID --value)" ] && echo 'reload: same process'
systemctl stop staffetta.service 2>/dev/null && echo 'stopped'
letter woken
echo "unit: $(systemctl is-active staffetta.service)"
delivered 2
journalctl --no-pager -u staffetta.service >&2
systemctl poweroff
"#;

const FOUND: &str = "unit: active
first: accepted
1 delivered
user: staffetta
capabilities: 0000000000000000
no new privileges: 1
reload: active
reload: same process
stopped
woken: accepted
unit: active
2 delivered
";

const PROOF_UNIT: &str = "[Unit]
Requires=staffetta.socket
After=staffetta.service
[Service]
ExecStart=/proof.sh
";

const TARGET: &str = "[Unit]
Wants=staffetta.socket staffetta-submission.socket staffetta-submissions.socket staffetta.service proof.service
";

/// This machine's root with a layer in memory over it. Dropped, it is unmounted.
struct Layered {
    layer: PathBuf,
    root: PathBuf,
    mounted: Vec<PathBuf>,
}

impl Layered {
    /// # Errors
    /// What `mount` said: not every sandbox lets root mount.
    fn over_this_machine(folder: &Path) -> Result<Self, String> {
        let mut this = Self { layer: folder.join("layer"), root: folder.join("root"), mounted: Vec::new() };
        for place in [&this.layer, &this.root] {
            std::fs::create_dir(place).map_err(|error| error.to_string())?;
        }
        run("mount", &["-t", "tmpfs", "tmpfs", text(&this.layer)])?;
        this.mounted.push(this.layer.clone());
        let (upper, work) = (this.layer.join("upper"), this.layer.join("work"));
        for place in [&upper, &work] {
            std::fs::create_dir(place).map_err(|error| error.to_string())?;
        }
        let layers = format!("lowerdir=/,upperdir={},workdir={}", text(&upper), text(&work));
        run("mount", &["-t", "overlay", "overlay", "-o", &layers, text(&this.root)])?;
        this.mounted.push(this.root.clone());
        Ok(this)
    }

    fn write(&self, path: &str, content: &str, mode: u32) {
        let path = self.root.join(path);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Runs a command inside, as root.
    fn inside(&self, arguments: &[&str]) -> Output {
        Command::new("chroot").arg(&self.root).args(arguments).stdin(Stdio::null()).output().unwrap()
    }
}

impl Drop for Layered {
    fn drop(&mut self) {
        for place in self.mounted.iter().rev() {
            drop(run("umount", &["-l", text(place)]));
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn run<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// As the README's "Running it" has it, with the configuration that `quickstart` writes.
fn install(machine: &Layered) {
    let program = env!("CARGO_BIN_EXE_staffetta");
    run("install", &["-m", "755", program, text(&machine.root.join("usr/bin/staffetta"))]).unwrap();
    let user = [
        "useradd",
        "--system",
        "--home-dir",
        "/var/lib/staffetta",
        "--shell",
        "/usr/sbin/nologin",
        "staffetta",
    ];
    machine.inside(&user);
    let folder = "/etc/staffetta";
    let made = machine.inside(&[
        "staffetta",
        "quickstart",
        "example.test",
        "--dir",
        folder,
        "--ports",
        "25,587,465",
    ]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let file = machine.root.join("etc/staffetta/staffetta.toml");
    let written = std::fs::read_to_string(&file).unwrap();
    let settled = written
        .replace("data_dir = \"data\"", "data_dir = \"/var/lib/staffetta\"")
        .replace("maildir:mail/", "maildir:/var/lib/staffetta/mail/");
    // No name server is reachable from inside, and none is needed for what is tried here.
    std::fs::write(&file, format!("{settled}\n[dns]\nservers = [\"127.0.0.1:9\"]\n")).unwrap();
    for owner in [["chown", "-R", "root:staffetta", folder], ["chmod", "-R", "u=rwX,g=rX,o=", folder]] {
        assert!(machine.inside(&owner).status.success(), "{owner:?}");
    }
    for unit in std::fs::read_dir(root().join("deploy/systemd")).unwrap() {
        let unit = unit.unwrap();
        let name = unit.file_name().into_string().unwrap();
        let content = std::fs::read_to_string(unit.path()).unwrap();
        machine.write(&format!("etc/systemd/system/{name}"), &content, 0o644);
    }
    machine.write("proof.sh", PROOF, 0o755);
    machine.write("etc/systemd/system/proof.service", PROOF_UNIT, 0o644);
    machine.write("etc/systemd/system/proof.target", TARGET, 0o644);
}

fn contained(nspawn: &Path, machine: &Layered) -> Command {
    let mut command = Command::new("timeout");
    command.arg(SECONDS_MAX).arg(nspawn).arg("--directory").arg(&machine.root).args([
        "--private-network",
        "--register=no",
        "--keep-unit",
        "--resolv-conf=off",
        "--timezone=off",
        "--quiet",
    ]);
    command.stdin(Stdio::null());
    command
}

#[test]
fn the_units_serve_under_a_systemd_that_has_booted() {
    let (Some(nspawn), Some(_), Some(_)) =
        (need_program("systemd-nspawn"), need_program("chroot"), need_program("curl"))
    else {
        return;
    };
    if !Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n") {
        return support::skip("a container needs root");
    }
    let folder = tempfile::tempdir().unwrap();
    let machine = match Layered::over_this_machine(folder.path()) {
        Ok(machine) => machine,
        Err(why) => return not_permitted(&why),
    };
    let probe = contained(&nspawn, &machine).arg("/bin/true").output().unwrap();
    if !probe.status.success() {
        return not_permitted(&String::from_utf8_lossy(&probe.stderr));
    }
    install(&machine);
    let boot = contained(&nspawn, &machine).args(["--boot", "systemd.unit=proof.target"]).output().unwrap();
    let read = |name: &str| std::fs::read_to_string(machine.root.join(name)).unwrap_or_default();
    let found = read("proof");
    assert_eq!(found, FOUND, "{}\n{}", read("proof.errors"), String::from_utf8_lossy(&boot.stdout));
}

/// Where containers may not be made, that is said loudly: no package mends it.
fn not_permitted(why: &str) {
    println!("\n=== SKIPPED: making a container is not permitted here ({why}) ===\n");
    eprintln!("\n=== SKIPPED: making a container is not permitted here ({why}) ===\n");
}
