//! A Staffetta of its own for a test: a folder, a configuration, a process; all gone when it is dropped.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::free_port;

/// How long starting and stopping may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running Staffetta.
pub struct Daemon {
    program: PathBuf,
    folder: tempfile::TempDir,
    child: Option<Child>,
    /// Where the mx listener is.
    pub mx: SocketAddr,
    /// Where the submission listener is (STARTTLS).
    pub submission: SocketAddr,
    /// Where the submissions listener is (implicit TLS).
    pub submissions: SocketAddr,
    /// Where /metrics is.
    pub http: SocketAddr,
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Serves `example.test` with Maildirs for the accounts in it; further text can be added.
const CONFIGURATION: &str = r#"
hostname = "mx.example.test"
data_dir = "data"
@TOP@

[[listener]]
kind = "mx"
bind = ["@MX@"]

[[listener]]
kind = "submission"
bind = ["@SUBMISSION@"]

[[listener]]
kind = "submissions"
bind = ["@SUBMISSIONS@"]

[tls]
certificate = "cert.pem"
key = "key.pem"

[[domain]]
name = "example.test"
recipients = "accounts"
deliver = "maildir:mail/{domain}/{local}/"

[accounts]
file = "accounts.toml"

[observe]
http = "@HTTP@"

@REST@
"#;

impl Daemon {
    /// Prepares a folder with a configuration: `top` goes among the first keys, `rest` behind all sections.
    ///
    /// # Panics
    /// When the folder cannot be made.
    #[must_use]
    pub fn prepare(program: &str, top: &str, rest: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let ports: [SocketAddr; 4] = std::array::from_fn(|_| local(free_port()));
        let text = CONFIGURATION
            .replace("@TOP@", top)
            .replace("@REST@", rest)
            .replace("@MX@", &ports[0].to_string())
            .replace("@SUBMISSION@", &ports[1].to_string())
            .replace("@SUBMISSIONS@", &ports[2].to_string())
            .replace("@HTTP@", &ports[3].to_string());
        std::fs::write(folder.path().join("staffetta.toml"), text).expect("the configuration is written");
        std::fs::write(folder.path().join("accounts.toml"), "").expect("the accounts are written");
        let daemon = Self {
            program: PathBuf::from(program),
            folder,
            child: None,
            mx: ports[0],
            submission: ports[1],
            submissions: ports[2],
            http: ports[3],
        };
        daemon.new_certificate();
        daemon
    }

    /// Makes another key and certificate in place of those that it has.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn new_certificate(&self) {
        self.new_certificate_until(2100);
    }

    /// As [`Self::new_certificate`]; it expires as this year begins.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn new_certificate_until(&self, year: i32) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params =
            rcgen::CertificateParams::new(vec!["mx.example.test".to_owned()]).expect("a host name");
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        self.write("cert.pem", &params.self_signed(&key).expect("a certificate").pem());
        self.write("key.pem", &key.serialize_pem());
    }

    /// Prepares, adds the account `user@example.test` with the password `secret`, and starts.
    #[must_use]
    pub fn start(program: &str, top: &str, rest: &str) -> Self {
        let mut daemon = Self::prepare(program, top, rest);
        daemon.add_account("user@example.test", "secret");
        daemon.run();
        daemon
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration file.
    #[must_use]
    pub fn configuration(&self) -> PathBuf {
        self.folder.path().join("staffetta.toml")
    }

    /// Changes a piece of the configuration; takes effect at the next start or reload.
    ///
    /// # Panics
    /// When the piece is not there.
    pub fn edit(&self, piece: &str, replacement: &str) {
        let text = std::fs::read_to_string(self.configuration()).expect("the configuration");
        assert!(text.contains(piece), "{piece} does not stand in the configuration:\n{text}");
        std::fs::write(self.configuration(), text.replacen(piece, replacement, 1)).expect("it is written");
    }

    /// Writes a file in its folder, whole at once: a server that looks at it never sees half of it.
    ///
    /// # Panics
    /// When it cannot.
    pub fn write(&self, name: &str, text: &str) {
        let (file, new) = (self.folder.path().join(name), self.folder.path().join(format!("{name}.new")));
        std::fs::write(&new, text).expect("a file is written");
        std::fs::rename(new, file).expect("a file is put in its place");
    }

    /// `staffetta queue ARGUMENTS`, and what it printed.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn queue(&self, arguments: &[&str]) -> String {
        let output = self.tool(&[&["queue"], arguments].concat());
        assert!(output.status.success(), "queue {arguments:?}: {output:?}");
        lossy(&output.stdout)
    }

    /// Adds an account by the command that administrators use.
    ///
    /// # Panics
    /// When the command fails.
    pub fn add_account(&self, address: &str, password: &str) {
        self.add_account_with(address, password, &[]);
    }

    /// As [`Self::add_account`], with more options of the command, such as `--send-as`.
    ///
    /// # Panics
    /// When the command fails.
    pub fn add_account_with(&self, address: &str, password: &str, options: &[&str]) {
        let mut child = self
            .command(&["account", "add", address, "--password-stdin"])
            .args(options)
            .arg("--config")
            .arg(self.configuration())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the command starts");
        let mut input = child.stdin.take().expect("its input");
        writeln!(input, "{password}").expect("the password is read");
        drop(input);
        assert!(child.wait().expect("it ends").success(), "account add {address}");
    }

    /// A command of the program, not started.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(self.folder.path());
        command
    }

    /// Runs a command with `--config` at its end and gives what it printed.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn tool(&self, arguments: &[&str]) -> Output {
        self.command(arguments).arg("--config").arg(self.configuration()).output().expect("the command runs")
    }

    /// Starts it (again), and waits until it greets.
    ///
    /// # Panics
    /// When it does not come up; its log is printed.
    pub fn run(&mut self) {
        let mut serve = self.command(&["serve", "--config"]);
        serve.arg(self.configuration());
        self.run_by(serve);
    }

    /// As [`Self::run`], by a command of the test's own that becomes `staffetta serve`.
    ///
    /// # Panics
    /// When it does not come up; its log is printed.
    pub fn run_by(&mut self, mut serve: Command) {
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()).expect("a log file");
        let errors = log.try_clone().expect("a second handle");
        let child = serve.stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        self.child = Some(child.expect("the server starts"));
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if self.greets() {
                return;
            }
            if let Some(Ok(Some(status))) = self.child.as_mut().map(Child::try_wait) {
                panic!("the server ended with {status}:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the server does not greet:\n{}", self.log());
    }

    fn greets(&self) -> bool {
        std::net::TcpStream::connect_timeout(&self.mx, Duration::from_secs(1)).is_ok()
            && Client::raw(self.mx).try_reply().is_some_and(|reply| reply.code == 220)
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Its process id.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Sends it a signal by name, such as `TERM` or `HUP`.
    ///
    /// # Panics
    /// When it does not run.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(status.is_ok_and(|s| s.success()), "kill -{name}");
    }

    /// SIGTERM, and waits for its end. The exit code.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.exit_code()
    }

    /// True while it has not ended, or its end was not asked for yet.
    #[must_use]
    pub fn is_running(&self) -> bool {
        // A process that has ended, but was not waited for, is a zombie: its state stands behind its name in brackets.
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
    }

    /// Waits for its end. The exit code.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn exit_code(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("it runs");
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = child.try_wait().expect("its state") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(child.kill());
        drop(child.wait());
        panic!("the server did not stop:\n{}", self.log());
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Resident memory in octets.
    #[must_use]
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or_default() * 1024
    }

    /// The messages of a mailbox's `new` folder, in no order.
    #[must_use]
    pub fn mailbox(&self, address: &str) -> Vec<String> {
        let (user, domain) = address.split_once('@').unwrap_or((address, ""));
        self.messages_in(&format!("mail/{domain}/{user}/new"))
    }

    /// The files of a folder below the daemon's own.
    #[must_use]
    pub fn messages_in(&self, folder: &str) -> Vec<String> {
        let Ok(files) = std::fs::read_dir(self.folder.path().join(folder)) else { return Vec::new() };
        files.flatten().filter_map(|file| std::fs::read(file.path()).ok()).map(|b| lossy(&b)).collect()
    }

    /// Waits until a mailbox holds `count` messages, and gives them.
    ///
    /// # Panics
    /// When they do not arrive.
    #[must_use]
    pub fn wait_for_mail(&self, address: &str, count: usize) -> Vec<String> {
        let mut found = Vec::new();
        let there = crate::wait_until(|| {
            found = self.mailbox(address);
            found.len() >= count
        });
        assert!(there, "{} of {count} messages for {address}; log:\n{}", found.len(), self.log());
        found
    }

    /// The value of a metric's series as it stands in the exposition, such as `x_total{door="mx"}`.
    #[must_use]
    pub fn metric(&self, series: &str) -> Option<f64> {
        let text = self.http_get("/metrics").1;
        text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    /// GET of a page of the observe listener: status and body.
    ///
    /// # Panics
    /// When nobody listens there.
    #[must_use]
    pub fn http_get(&self, path: &str) -> (u16, String) {
        use std::io::Read as _;
        let mut stream = std::net::TcpStream::connect(self.http).expect("the observe listener");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .expect("a request");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        let text = lossy(&answer);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        (status, body.to_owned())
    }
}

fn lossy(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}
