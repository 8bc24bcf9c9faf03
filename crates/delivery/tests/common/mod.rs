//! A mail server that does what a script says, and what the tests of the agents share.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test helper fails its test"
)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use delivery::{
    Agent, AgentParts, Agents, DeliverySettings, Endpoint, Hop, Host, Job, OutboundSettings, Route,
    TlsPolicy, TlsStart,
};
use mail::{Address, Domain, QueueId, ReversePath, Timestamp};
use queue::Outcome;
use store::{MessageRecord, MessageState, QueueEntry, RecipientRecord, RecipientStatus, StoredBody};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

/// What the server says. A reply `CLOSE` closes, `HANG` says nothing for ever; `\r\n` within makes several lines.
#[derive(Clone)]
pub struct Script {
    pub greeting: &'static str,
    /// In reply to EHLO or LHLO, after the first line.
    pub extensions: Vec<&'static str>,
    /// By the start of the command, the longest one first; `.` is the end of data. The last reply of a list repeats.
    pub rules: Vec<(&'static str, Vec<&'static str>)>,
    pub lmtp: bool,
    pub tls: Option<Arc<net::ServerTls>>,
    /// TLS with the first octet.
    pub implicit_tls: bool,
    /// Says 220 to STARTTLS and then talks nonsense.
    pub broken_tls: bool,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            greeting: "220 peer.test ESMTP",
            extensions: vec!["PIPELINING", "8BITMIME", "SIZE 10000000", "ENHANCEDSTATUSCODES"],
            rules: Vec::new(),
            lmtp: false,
            tls: None,
            implicit_tls: false,
            broken_tls: false,
        }
    }
}

/// What the server saw.
#[derive(Default, Debug)]
pub struct Log {
    pub connections: usize,
    /// Each command with the number of its connection.
    pub commands: Vec<(usize, String)>,
    /// Messages whose end was seen, dots undone.
    pub messages: Vec<Vec<u8>>,
    /// Commands that came together with others before they were answered.
    pub pipelined: usize,
    /// How often anything was read.
    pub reads: usize,
    said: HashMap<&'static str, usize>,
}

pub struct Peer {
    pub address: SocketAddr,
    pub log: Arc<Mutex<Log>>,
}

impl Peer {
    pub async fn start(script: Script) -> Self {
        Self::start_at("127.0.0.1:0", script).await
    }

    pub async fn start_at(bind: &str, script: Script) -> Self {
        let listener = TcpListener::bind(bind).await.unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::<Mutex<Log>>::default();
        let shared = Arc::clone(&log);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, script.clone(), Arc::clone(&shared)));
            }
        });
        Self { address, log }
    }

    pub fn start_unix(path: &std::path::Path, script: Script) -> Arc<Mutex<Log>> {
        let listener = UnixListener::bind(path).unwrap();
        let log = Arc::<Mutex<Log>>::default();
        let shared = Arc::clone(&log);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, script.clone(), Arc::clone(&shared)));
            }
        });
        log
    }

    pub fn commands(&self) -> Vec<String> {
        self.log.lock().unwrap().commands.iter().map(|(_, command)| command.clone()).collect()
    }

    pub fn messages(&self) -> Vec<String> {
        self.log.lock().unwrap().messages.iter().map(|m| String::from_utf8_lossy(m).into_owned()).collect()
    }

    pub fn connections(&self) -> usize {
        self.log.lock().unwrap().connections
    }

    /// Waits until the server has seen so many commands of this kind.
    pub async fn saw(&self, command: &str, count: usize) {
        let seen = async {
            while self.commands().iter().filter(|c| c.starts_with(command)).count() < count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), seen).await.expect("the server never saw it");
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

async fn serve(stream: impl Stream + 'static, script: Script, log: Arc<Mutex<Log>>) {
    let number = {
        let mut log = log.lock().unwrap();
        log.connections += 1;
        log.connections
    };
    let mut stream: Box<dyn Stream> = Box::new(stream);
    if script.implicit_tls {
        let Ok((secure, _)) = script.tls.clone().unwrap().accept(stream).await else { return };
        stream = Box::new(secure);
    }
    let session = Session { stream, script, log, number, buffer: Vec::new(), accepted: 0 };
    session.run().await;
}

struct Session {
    stream: Box<dyn Stream>,
    script: Script,
    log: Arc<Mutex<Log>>,
    number: usize,
    buffer: Vec<u8>,
    accepted: usize,
}

impl Session {
    async fn run(mut self) {
        let greeting = self.script.greeting;
        if !self.say(greeting).await {
            return;
        }
        while let Some(line) = self.line().await {
            self.log.lock().unwrap().commands.push((self.number, line.clone()));
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            let go_on = match verb.as_str() {
                "EHLO" | "LHLO" => self.hello(&line).await,
                "STARTTLS" => match self.start_tls().await {
                    Some(session) => {
                        self = session;
                        true
                    }
                    None => return,
                },
                "DATA" => self.data(&line).await,
                "BDAT" => self.bdat(&line).await,
                "QUIT" => {
                    self.say("221 bye").await;
                    false
                }
                _ => self.ordinary(&verb, &line).await,
            };
            if !go_on {
                return;
            }
        }
    }

    async fn ordinary(&mut self, verb: &str, line: &str) -> bool {
        let default = if verb == "AUTH" { "235 2.7.0 welcome" } else { "250 2.0.0 ok" };
        let reply = self.reply_to(line, default);
        match verb {
            "MAIL" | "RSET" => self.accepted = 0,
            "RCPT" if reply.starts_with('2') => self.accepted += 1,
            _ => {}
        }
        self.say(reply).await
    }

    async fn hello(&mut self, line: &str) -> bool {
        let mut reply = "250-peer.test".to_owned();
        for extension in &self.script.extensions {
            reply.push_str(&format!("\r\n250-{extension}"));
        }
        reply.push_str("\r\n250 HELP");
        match self.reply_to(line, "") {
            "" => self.say(&reply).await,
            other => self.say(other).await,
        }
    }

    async fn start_tls(mut self) -> Option<Self> {
        if !self.say("220 go").await {
            return None;
        }
        if self.script.broken_tls {
            self.stream.write_all(b"no, I have changed my mind, this is not TLS\r\n").await.ok()?;
            return None;
        }
        let (secure, _) = self.script.tls.clone()?.accept(self.stream).await.ok()?;
        self.script.extensions.retain(|extension| *extension != "STARTTLS");
        Some(Self { stream: Box::new(secure), buffer: Vec::new(), ..self })
    }

    async fn data(&mut self, line: &str) -> bool {
        let reply = self.reply_to(line, if self.accepted > 0 { "354 go" } else { "554 5.5.1 no recipients" });
        if !self.say(reply).await {
            return false;
        }
        if !reply.starts_with('3') {
            return true;
        }
        let mut message = Vec::new();
        loop {
            let Some(line) = self.raw_line().await else { return false };
            assert!(line.ends_with(b"\r\n"), "a bare LF came over the wire");
            if line == b".\r\n" {
                break;
            }
            message.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
        self.ended(message).await
    }

    async fn bdat(&mut self, line: &str) -> bool {
        let size: usize = line.split(' ').nth(1).unwrap().parse().unwrap();
        while self.buffer.len() < size {
            if !self.fill().await {
                return false;
            }
        }
        let message: Vec<u8> = self.buffer.drain(..size).collect();
        if self.accepted == 0 {
            return self.say("503 5.5.1 no recipients").await;
        }
        self.ended(message).await
    }

    async fn ended(&mut self, message: Vec<u8>) -> bool {
        self.log.lock().unwrap().messages.push(message);
        let count = if self.script.lmtp { self.accepted } else { 1 };
        self.accepted = 0;
        for _ in 0..count {
            let reply = self.reply_to(".", "250 2.0.0 queued as 1");
            if !self.say(reply).await {
                return false;
            }
        }
        true
    }

    fn reply_to(&self, line: &str, default: &'static str) -> &'static str {
        let fitting = self.script.rules.iter().filter(|(start, _)| line.starts_with(start));
        let Some((start, replies)) = fitting.max_by_key(|(start, _)| start.len()) else { return default };
        let mut log = self.log.lock().unwrap();
        let said = log.said.entry(start).or_default();
        let reply = replies[(*said).min(replies.len() - 1)];
        *said += 1;
        reply
    }

    async fn say(&mut self, reply: &str) -> bool {
        match reply {
            "CLOSE" => false,
            "HANG" => {
                std::future::pending::<()>().await;
                false
            }
            _ => {
                let line = format!("{reply}\r\n");
                self.stream.write_all(line.as_bytes()).await.is_ok() && !reply.starts_with("421")
            }
        }
    }

    async fn line(&mut self) -> Option<String> {
        let together = !self.buffer.is_empty();
        let line = self.raw_line().await?;
        self.log.lock().unwrap().pipelined += usize::from(together);
        assert!(line.ends_with(b"\r\n"), "a command ended in a bare LF");
        Some(String::from_utf8(line[..line.len() - 2].to_vec()).unwrap())
    }

    async fn raw_line(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                return Some(self.buffer.drain(..=end).collect());
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    async fn fill(&mut self) -> bool {
        self.buffer.reserve(64 * 1024);
        let read = self.stream.read_buf(&mut self.buffer).await;
        self.log.lock().unwrap().reads += 1;
        matches!(read, Ok(n) if n > 0)
    }
}

/// Everything that the tests change now and then.
#[derive(Default)]
pub struct Setup {
    pub outbound: OutboundSettings,
    pub delivery: DeliverySettings,
    pub dns: Option<SocketAddr>,
    pub listening: Vec<SocketAddr>,
}

impl Setup {
    pub fn agents(&self) -> Agents {
        // Nothing answers on the discard port: a test that asks DNS without having one fails.
        let server = self.dns.unwrap_or(([127, 0, 0, 1], 9).into());
        let dns = net::DnsSettings { servers: vec![net::NameServer(server)], ..Default::default() };
        Agents::new(AgentParts {
            outbound: &self.outbound,
            delivery: &self.delivery,
            hostname: &Domain::parse("us.test").unwrap(),
            resolver: net::Resolver::from_settings(&dns).unwrap(),
            listening: self.listening.clone(),
            mailbox_owner: None,
        })
        .unwrap()
    }
}

pub const BODY: &str = "Subject: test\r\n\r\n.hello\r\n..\r\nworld\r\n";

pub fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

pub fn record(recipients: &[&str]) -> MessageRecord {
    let recipients = recipients.iter().map(|text| RecipientRecord::new(address(text))).collect();
    let sender = ReversePath::Mailbox(address("sender@from.test"));
    let id = QueueId::from_parts(1_795_309_323_000, 7);
    let record = MessageRecord::new(id, Timestamp(1_795_309_323_000), sender, recipients);
    MessageRecord { trace: b"Received: by us.test\r\n".to_vec(), ..record }
}

pub fn hop(endpoint: Endpoint) -> Hop {
    Hop {
        endpoint,
        lmtp: false,
        tls: TlsStart::IfOffered,
        policy: TlsPolicy::Opportunistic,
        login: false,
        is_configured: true,
    }
}

pub fn to(peer: &Peer) -> Hop {
    hop(Endpoint::Inet(Host::Address(peer.address.ip()), peer.address.port()))
}

/// A job for all recipients of a record, over one hop.
pub fn job(record: MessageRecord, hop: Hop, body: &str) -> Job {
    let chunks = vec![bytes::Bytes::copy_from_slice(body.as_bytes())];
    job_with(record, hop, StoredBody::Memory(chunks))
}

pub fn job_with(record: MessageRecord, hop: Hop, body: StoredBody) -> Job {
    let key: Arc<str> = format!("{hop:?}").into();
    let route = Route { agent: Agent::Peer(Arc::new(hop)), key, mailbox: None };
    let count = u32::try_from(record.recipients.len()).unwrap();
    let recipients = (0..count).map(|index| (index, route.clone())).collect();
    let status = vec![RecipientStatus::default(); record.recipients.len()];
    let now = record.arrived;
    let state = MessageState {
        hold: None,
        attempts: 0,
        next_attempt: now,
        warned: false,
        released: None,
        recipients: status,
    };
    Job { entry: Arc::new(QueueEntry { record, state }), recipients, body, now }
}

/// Delivers, and gives the outcomes in the order of the recipients.
pub async fn deliver(agents: &Agents, job: Job) -> Vec<Outcome> {
    let mut outcomes = tokio::time::timeout(Duration::from_secs(20), agents.deliver(job)).await.unwrap();
    outcomes.sort_by_key(|outcome| outcome.recipient);
    outcomes
}

/// A certificate for the peer, signed by nobody.
pub fn server_tls() -> Arc<net::ServerTls> {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = net::tls::self_signed(&["peer.test"]).unwrap();
    std::fs::write(folder.path().join("cert.pem"), certificate).unwrap();
    std::fs::write(folder.path().join("key.pem"), key).unwrap();
    let settings =
        net::TlsSettings { certificate: "cert.pem".into(), key: "key.pem".into(), ..Default::default() };
    net::ServerTls::load(&settings, folder.path()).unwrap()
}
