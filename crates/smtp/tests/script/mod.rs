//! Reads a dialogue and plays it against a session. `tests/dialogue/README.md` tells the form.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mail::{EnhancedStatus, Reply};
use smtp::{Answer, AuthPolicy, Output, PeerInfo, Question, Role, Session, Settings, TlsInfo};

/// How the client's bytes arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feed {
    /// Adjacent `C:` lines at once, as a pipelining client sends them.
    Lines,
    /// A byte at a time.
    Bytes,
}

#[derive(Debug, Clone)]
enum Step {
    Client(Vec<u8>),
    Server(String),
    Event(String),
    Body(Vec<u8>),
    Action(String),
}

/// One dialogue.
#[derive(Debug)]
pub(crate) struct Script {
    settings: Settings,
    role: Role,
    peer: PeerInfo,
    answers: Vec<(String, Vec<Reply>)>,
    /// With the number of its line.
    steps: Vec<(usize, Step)>,
}

impl Script {
    pub(crate) fn parse(text: &str) -> Self {
        let ip = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let local = SocketAddr::new(ip, 25);
        let mut script = Self {
            settings: Settings { hostname: Arc::from("mx.example.test"), ..Settings::default() },
            role: Role::Mx,
            peer: PeerInfo {
                ip,
                port: 4321,
                local,
                trusted: false,
                tls: None,
                starttls: false,
                auth: AuthPolicy::Off,
                tells_unknown: false,
            },
            answers: Vec::new(),
            steps: Vec::new(),
        };
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) =
                line.split_once(':').unwrap_or_else(|| panic!("line {number}: no colon: {line}"));
            let value = value.strip_prefix(' ').unwrap_or(value);
            script.line(number, key, value);
        }
        script
    }

    fn line(&mut self, number: usize, key: &str, value: &str) {
        let step = match key {
            "C" => Step::Client([unescape(value), b"\r\n".to_vec()].concat()),
            "C+" => Step::Client(unescape(value)),
            "S" => Step::Server(value.to_owned()),
            "E" => Step::Event(value.to_owned()),
            "B" => Step::Body([unescape(value), b"\r\n".to_vec()].concat()),
            "A" => Step::Action(value.to_owned()),
            key => return self.header(number, key, value),
        };
        self.steps.push((number, step));
    }

    fn header(&mut self, number: usize, key: &str, value: &str) {
        match (key, value) {
            ("role", "mx") => self.role = Role::Mx,
            ("role", "submission") => self.role = Role::Submission,
            ("role", "submissions") => self.role = Role::Submissions,
            ("role", "lmtp") => self.role = Role::Lmtp,
            ("role", "local") => self.role = Role::Local,
            ("auth", "optional") => self.peer.auth = AuthPolicy::Optional,
            ("auth", "required") => self.peer.auth = AuthPolicy::Required,
            ("tls", "offered") => self.peer.starttls = true,
            ("tls", "up") => self.peer.tls = Some(tls(false)),
            ("trusted", "yes") => self.peer.trusted = true,
            ("set", value) => set(&mut self.settings, value),
            _ => {
                let question = key.strip_prefix("answer ").unwrap_or_else(|| panic!("line {number}: {key}"));
                self.answers.push((question.to_owned(), value.split(" | ").map(reply).collect()));
            }
        }
    }

    /// Plays it; says where it went otherwise than written.
    pub(crate) fn run(&self, feed: Feed) -> Result<(), String> {
        let now = Instant::now();
        let session = Session::new(Arc::new(self.settings.clone()), self.role, self.peer.clone(), now);
        let mut stage = Stage {
            script: self,
            session,
            now,
            lines: VecDeque::new(),
            events: VecDeque::new(),
            body: vec![],
        };
        stage.drain();
        let mut steps = self.steps.iter().peekable();
        while let Some((number, step)) = steps.next() {
            let at = |problem: String| format!("line {number}: {problem}");
            match step {
                Step::Client(bytes) => {
                    let mut group = bytes.clone();
                    while let Some((_, Step::Client(more))) = steps.peek() {
                        group.extend_from_slice(more);
                        steps.next();
                    }
                    stage.quiet().map_err(at)?;
                    stage.feed(&group, feed);
                }
                Step::Server(want) => same(stage.lines.pop_front().as_deref(), want).map_err(at)?,
                Step::Event(want) => same(stage.events.pop_front().as_deref(), want).map_err(at)?,
                Step::Body(line) => {
                    let mut want = line.clone();
                    while let Some((_, Step::Body(more))) = steps.peek() {
                        want.extend_from_slice(more);
                        steps.next();
                    }
                    let got = std::mem::take(&mut stage.body);
                    same(Some(&String::from_utf8_lossy(&got)), &String::from_utf8_lossy(&want))
                        .map_err(at)?;
                }
                Step::Action(action) => {
                    stage.quiet().map_err(at)?;
                    stage.act(action);
                }
            }
        }
        stage.quiet()?;
        match stage.events.front() {
            None => Ok(()),
            Some(event) => Err(format!("at the end: unexpected event {event}")),
        }
    }
}

/// A session with its script.
struct Stage<'a> {
    script: &'a Script,
    session: Session,
    now: Instant,
    lines: VecDeque<String>,
    events: VecDeque<String>,
    body: Vec<u8>,
}

impl Stage<'_> {
    fn feed(&mut self, bytes: &[u8], feed: Feed) {
        let step = if feed == Feed::Bytes { 1 } else { bytes.len().max(1) };
        for piece in bytes.chunks(step) {
            self.session.receive(piece, self.now);
            self.drain();
        }
    }

    fn act(&mut self, action: &str) {
        match action.split_once(' ').unwrap_or((action, "")) {
            ("wait", seconds) => {
                self.now += Duration::from_secs(seconds.parse().expect("seconds"));
                self.session.wake(self.now);
            }
            ("eof", _) => self.session.eof(self.now),
            ("shutdown", _) => self.session.shut_down(self.now),
            ("tls", kind) => self.session.tls_established(tls(kind == "bound"), self.now),
            ("tls-failed", _) => self.session.tls_failed(self.now),
            (other, _) => panic!("no such action: {other}"),
        }
        self.drain();
    }

    /// The server has said no more than was written.
    fn quiet(&self) -> Result<(), String> {
        match self.lines.front() {
            None => Ok(()),
            Some(line) => Err(format!("unexpected: S: {line}")),
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Send(bytes) => {
                    let text = String::from_utf8(bytes).expect("replies are UTF-8");
                    assert!(text.ends_with("\r\n"), "{text:?}");
                    self.lines.extend(text.split_terminator("\r\n").map(str::to_owned));
                }
                Output::Body(bytes) => self.body.extend_from_slice(&bytes),
                Output::BodyAborted(why) => {
                    self.body.clear();
                    self.events.push_back(format!("aborted {why:?}"));
                }
                Output::StartTls => self.events.push_back("starttls".to_owned()),
                Output::Close(why) => self.events.push_back(format!("closed {why:?}")),
                Output::Ask(question) => {
                    assert!(!self.session.wants_input(), "no input while a question is open");
                    let answer = self.answer(&question);
                    self.session.answer(answer, self.now);
                }
            }
        }
    }

    fn answer(&self, question: &Question) -> Answer {
        let key = key(question);
        let scripted = self.script.answers.iter().find(|(wanted, _)| {
            key == *wanted || key.split_once(' ').is_some_and(|(verb, _)| verb == wanted)
        });
        if let Some((_, replies)) = scripted {
            return match replies.as_slice() {
                [one] => Answer::Reply(one.clone()),
                more => Answer::Replies(more.to_vec()),
            };
        }
        match question {
            Question::Mail { .. } => Answer::Reply(Reply::new(250, (2, 1, 0), "Sender ok")),
            Question::Recipient { .. } => Answer::Reply(Reply::new(250, (2, 1, 5), "Recipient ok")),
            Question::EndOfData { .. } => Answer::Reply(Reply::new(250, (2, 0, 0), "Queued")),
            Question::Password { authcid, password, .. }
                if authcid == "alice" && password.reveal() == b"secret" =>
            {
                let reply = Reply::new(235, (2, 7, 0), "Authentication successful");
                Answer::Authenticated { account: "alice@example.test".to_owned(), reply }
            }
            Question::Password { .. } | Question::ScramDone { .. } => {
                Answer::Reply(Reply::new(535, (5, 7, 8), "Authentication failed"))
            }
            Question::ScramKeys { .. } => Answer::ScramKeys {
                iterations: 4096,
                salt: vec![1; 16],
                stored_key: vec![2; 32],
                server_key: vec![3; 32],
            },
            _ => Answer::Reply(Reply::plain(250, "")),
        }
    }
}

/// How `answer` lines name a question: its name, then what it is about.
fn key(question: &Question) -> String {
    match question {
        Question::Connect => "Connect".to_owned(),
        Question::Helo { name, .. } => format!("Helo {name}"),
        Question::Mail { reverse_path, .. } => format!("Mail <{reverse_path}>"),
        Question::Recipient { bare, .. } => format!("Recipient {bare}"),
        Question::Unknown { line } => format!("Unknown {line}"),
        Question::Data => "Data".to_owned(),
        Question::EndOfData { .. } => "EndOfData".to_owned(),
        Question::Password { authcid, authzid, .. } => format!("Password {authcid} {authzid}"),
        Question::ScramKeys { authcid } => format!("ScramKeys {authcid}"),
        Question::ScramDone { authcid, .. } => format!("ScramDone {authcid}"),
    }
}

fn tls(bound: bool) -> TlsInfo {
    TlsInfo {
        version: "TLSv1.3".to_owned(),
        cipher: "TLS13_AES_128_GCM_SHA256".to_owned(),
        sni: None,
        channel_binding: bound.then_some([7; 32]),
    }
}

/// `set: name value`, by way of the settings' own form.
fn set(settings: &mut Settings, text: &str) {
    let (name, value) = text.split_once(' ').expect("set: name value");
    let number: usize = value.parse().expect("a number");
    match name {
        "message_bytes_max" => settings.message_bytes_max = number as u64,
        "command_line_bytes_max" => settings.command_line_bytes_max = number,
        "auth_line_bytes_max" => settings.auth_line_bytes_max = number,
        "text_line_bytes_max" => settings.text_line_bytes_max = number,
        "header_bytes_max" => settings.header_bytes_max = number,
        "received_lines_max" => settings.received_lines_max = number,
        "recipients_max" => settings.recipients_max = number,
        "messages_max" => settings.messages_max = number,
        "errors_max" => settings.errors_max = number,
        "refused_recipients_max" => settings.refused_recipients_max = number,
        "idle_commands_max" => settings.idle_commands_max = number,
        "auth_failures_max" => settings.auth_failures_max = number,
        "refused_bytes_max" => settings.refused_bytes_max = number as u64,
        other => panic!("no such setting: {other}"),
    }
}

/// `250 2.0.0 words`, the enhanced code where there is one.
fn reply(text: &str) -> Reply {
    let (code, rest) = text.split_once(' ').expect("a code and words");
    let code = code.parse().expect("a code");
    match rest.split_once(' ').map(|(first, words)| (first.parse::<EnhancedStatus>(), words)) {
        Some((Ok(enhanced), words)) => {
            Reply { code, enhanced: Some(enhanced), text: words.to_owned().into() }
        }
        _ => Reply::plain(code, rest.to_owned()),
    }
}

/// `\r`, `\n`, `\\`, `\xNN`; all else as it stands.
fn unescape(text: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), text);
    while let Some((before, after)) = rest.split_once('\\') {
        out.extend_from_slice(before.as_bytes());
        let (byte, length) = match after.as_bytes().first() {
            Some(b'r') => (b'\r', 1),
            Some(b'n') => (b'\n', 1),
            Some(b'\\') => (b'\\', 1),
            Some(b'x') => (u8::from_str_radix(&after[1..3], 16).expect("two digits"), 3),
            other => panic!("unknown escape {other:?} in {text}"),
        };
        out.push(byte);
        rest = &after[length..];
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

fn same(got: Option<&str>, want: &str) -> Result<(), String> {
    if got == Some(want) { Ok(()) } else { Err(format!("\n  expected {want:?}\n  but got  {got:?}")) }
}
