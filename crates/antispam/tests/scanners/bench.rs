//! What the tests here share: a scanner as a child process, the stage that asks it, a message.

use std::fs::{File, Permissions};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use antispam::remote::Scanners;
use antispam::remote::settings::{Kind, ScannerSettings};
use bytes::Bytes;
use mail::{Address, BodyType, QueueId, ReversePath, Timestamp};
use net::{DnsSettings, NameServer, Resolver};
use policy::{
    Addressed, AuthFacts, BeforeGreeting, CheckSettings, ConnectFacts, Content, Door, HeloFacts, MailFacts,
    MessageFacts, Pipeline, RcptFacts, StageReport,
};
use support::Running;
use tempfile::TempDir;

/// A scanner as a child process; ends with the test.
pub(crate) struct Program {
    running: Running,
    _dir: TempDir,
}

impl Drop for Program {
    /// Asked to end, it ends its workers too; killed, it would leave them behind.
    fn drop(&mut self) {
        let child = &mut self.running.0;
        let told = Command::new("sh").args(["-c", &format!("kill {}", child.id())]).status();
        if told.is_ok_and(|status| status.success()) {
            support::wait_until(|| !matches!(child.try_wait(), Ok(None)));
        }
    }
}

/// A folder that others can read: scanners give up root.
pub(crate) fn folder() -> TempDir {
    let dir = TempDir::new().unwrap();
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    dir
}

pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

/// Whom a program that gives up root is to become: nobody, or who we are.
pub(crate) fn user() -> (String, String) {
    let name = |option: &str| {
        let output = Command::new("id").arg(option).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    if is_root() { ("nobody".to_owned(), "nogroup".to_owned()) } else { (name("-un"), name("-gn")) }
}

/// Starts it, and waits until it takes connections.
pub(crate) fn start(command: &mut Command, port: u16, dir: TempDir) -> Program {
    let log = dir.path().join("log");
    let file = File::create(&log).unwrap();
    command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
    let program = Program { running: Running(command.spawn().unwrap()), _dir: dir };
    let up = support::wait_until(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
    assert!(up, "{command:?}\n{}", std::fs::read_to_string(log).unwrap_or_default());
    program
}

/// A scanner of this kind at this address, as the stage after DATA asks it.
pub(crate) struct Stage(Pipeline);

impl Stage {
    pub(crate) fn new(settings: &ScannerSettings) -> Self {
        let nobody = DnsSettings {
            servers: vec![NameServer("127.0.0.1:9".parse().unwrap())],
            ..DnsSettings::default()
        };
        let resolver = Resolver::from_settings(&nobody).unwrap();
        let hostname = "mx.example.test".parse().unwrap();
        let mut pipeline = Pipeline::default();
        let all = std::slice::from_ref(settings);
        Scanners::set_up(all, &resolver, &hostname, &mut pipeline, |_| CheckSettings::default()).unwrap();
        Self(pipeline)
    }

    pub(crate) async fn of(&self, message: &[u8]) -> StageReport {
        self.of_facts(&facts(message)).await
    }

    pub(crate) async fn of_facts(&self, facts: &MessageFacts) -> StageReport {
        self.0.end_of_data.run(facts, Duration::from_secs(60)).await
    }

    pub(crate) async fn at_rcpt(&self, facts: &RcptFacts) -> StageReport {
        self.0.rcpt.run(facts, Duration::from_secs(60)).await
    }
}

/// With time enough for a machine that is busy with other tests.
pub(crate) fn settings(kind: Kind, address: &str) -> ScannerSettings {
    let mut settings = ScannerSettings::new(kind, address.parse().unwrap());
    settings.seconds_max = 50;
    settings
}

/// The settings of a scanner on a port of this host.
pub(crate) fn at(kind: Kind, port: u16) -> ScannerSettings {
    settings(kind, &format!("127.0.0.1:{port}"))
}

/// What copies files of a folder whose names end so.
pub(crate) fn copy_all(from: &Path, ending: &str, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let file = entry.unwrap();
        if file.file_name().to_string_lossy().ends_with(ending) {
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
}

/// A stranger's message to joe@example.test.
pub(crate) fn facts(message: &[u8]) -> MessageFacts {
    let now = Timestamp(1_795_000_000_000);
    let connect = ConnectFacts {
        session: "S1".into(),
        at: now,
        client: "192.0.2.9".parse().unwrap(),
        port: 40_000,
        local: None,
        door: Door::Mx,
        trusted: false,
        known: false,
        before_greeting: BeforeGreeting::NotWatched,
        auth: AuthFacts::default(),
    };
    let helo = HeloFacts {
        connect: Arc::new(connect),
        name: "mail.far.test".into(),
        esmtp: true,
        tls: false,
        pipelined_early: false,
        auth: AuthFacts::default(),
    };
    let mail = MailFacts {
        helo: Arc::new(helo),
        at: now,
        account: None,
        reverse_path: ReversePath::Mailbox(Address::parse("ann@far.test").unwrap()),
        size: None,
        body_type: BodyType::SevenBit,
        smtputf8: false,
        sender_is_ours: false,
        earlier_transactions: 0,
        auth: AuthFacts::default(),
    };
    let octets = Bytes::copy_from_slice(message);
    MessageFacts {
        mail: Arc::new(mail),
        at: now,
        queue_id: QueueId(7),
        recipients: Arc::from([Address::parse("joe@example.test").unwrap()]),
        addressed: Addressed::Plainly,
        header: octets.slice(..mail::header::body_offset(&octets).min(octets.len())),
        content: Content::Memory(octets),
        received: Bytes::new(),
        auth: AuthFacts::default(),
        shared: policy::Shared::default(),
    }
}
