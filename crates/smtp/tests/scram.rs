//! SCRAM over a whole session, against a client that computes its side with another library (RFC 5802 §3).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mail::Reply;
use smtp::{Answer, AuthPolicy, Mechanism, Output, PeerInfo, Question, Role, Session, Settings, TlsInfo};

const SALT: &[u8] = b"0123456789abcdef";
const ITERATIONS: u32 = 4096;
const EXPORTER: [u8; 32] = [7; 32];

fn sign(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec()
}

fn hash(text: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, text).as_ref().to_vec()
}

fn salted(password: &str) -> [u8; 32] {
    let mut out = [0; 32];
    let rounds = NonZeroU32::new(ITERATIONS).unwrap();
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, SALT, password.as_bytes(), &mut out);
    out
}

/// What the server keeps about a password (RFC 5802 §3).
fn keys(password: &str) -> Answer {
    let salted = salted(password);
    Answer::ScramKeys {
        iterations: ITERATIONS,
        salt: SALT.to_vec(),
        stored_key: hash(&sign(&salted, b"Client Key")),
        server_key: sign(&salted, b"Server Key"),
    }
}

/// A server session that is past EHLO, under TLS.
struct Server {
    session: Session,
    now: Instant,
    asked: Vec<Question>,
}

impl Server {
    fn new(bound: bool) -> Self {
        let tls = TlsInfo {
            version: "TLSv1.3".into(),
            cipher: "x".into(),
            sni: None,
            channel_binding: bound.then_some(EXPORTER),
        };
        let peer = PeerInfo {
            trusted: false,
            auth: AuthPolicy::Required,
            tls: Some(tls),
            ..PeerInfo::on_this_machine()
        };
        let now = Instant::now();
        let session = Session::new(Arc::new(Settings::default()), Role::Submissions, peer, now);
        let mut server = Self { session, now, asked: Vec::new() };
        let ehlo = server.say("EHLO c.test");
        assert_eq!(ehlo.contains("SCRAM-SHA-256-PLUS"), bound);
        server
    }

    fn say(&mut self, line: &str) -> String {
        self.session.receive(format!("{line}\r\n").as_bytes(), self.now);
        let mut said = String::new();
        while let Some(output) = self.session.poll() {
            match output {
                Output::Send(bytes) => said.push_str(&String::from_utf8(bytes).unwrap()),
                Output::Ask(question) => {
                    let answer = answer(&question);
                    self.asked.push(question);
                    self.session.answer(answer, self.now);
                }
                other => panic!("unexpected {other:?}"),
            }
        }
        said
    }

    /// Says a message of the exchange; gives the server's challenge decoded, or its reply.
    fn exchange(&mut self, prefix: &str, message: &str) -> Result<String, String> {
        let said = self.say(&format!("{prefix}{}", BASE64.encode(message)));
        match said.strip_prefix("334 ") {
            Some(challenge) => Ok(String::from_utf8(BASE64.decode(challenge.trim_end()).unwrap()).unwrap()),
            None => Err(said),
        }
    }
}

fn answer(question: &Question) -> Answer {
    match question {
        Question::ScramKeys { authcid } if authcid == "alice" => keys("secret"),
        Question::ScramKeys { .. } => keys("nobody knows this"),
        // Whatever is answered to a wrong proof, it must not log in.
        Question::ScramDone { .. } => Answer::Authenticated {
            account: "alice@example.test".into(),
            reply: Reply::new(235, (2, 7, 0), "Authentication successful"),
        },
        _ => Answer::Reply(Reply::plain(250, "")),
    }
}

/// A client, which may lie.
struct Client {
    mechanism: &'static str,
    flag: &'static str,
    name: &'static str,
    password: &'static str,
    exporter: Option<[u8; 32]>,
    foreign_nonce: bool,
}

const HONEST: Client = Client {
    mechanism: "SCRAM-SHA-256",
    flag: "n",
    name: "alice",
    password: "secret",
    exporter: None,
    foreign_nonce: false,
};

const BOUND: Client =
    Client { mechanism: "SCRAM-SHA-256-PLUS", flag: "p=tls-exporter", exporter: Some(EXPORTER), ..HONEST };

impl Client {
    /// Logs in; gives the last reply, after verifying the server's own proof.
    fn log_in(&self, server: &mut Server) -> Result<String, String> {
        let first_bare = format!("n={},r=clientnonce", self.name);
        let header = format!("{},,", self.flag);
        let command = format!("AUTH {} ", self.mechanism);
        let server_first = server.exchange(&command, &format!("{header}{first_bare}"))?;
        let mut parts = server_first.split(',');
        let nonce = parts.next().unwrap().strip_prefix("r=").unwrap().to_owned();
        assert!(nonce.starts_with("clientnonce") && nonce.len() >= "clientnonce".len() + 16);
        assert_eq!(parts.next().unwrap(), format!("s={}", BASE64.encode(SALT)));
        let nonce = if self.foreign_nonce { nonce + "x" } else { nonce };

        let mut binding = header.into_bytes();
        binding.extend(self.exporter.unwrap_or_default().iter().take(if self.exporter.is_some() {
            32
        } else {
            0
        }));
        let without_proof = format!("c={},r={nonce}", BASE64.encode(binding));
        let signed = format!("{first_bare},{server_first},{without_proof}");
        let salted = salted(self.password);
        let key = sign(&salted, b"Client Key");
        let proof: Vec<u8> =
            key.iter().zip(sign(&hash(&key), signed.as_bytes())).map(|(one, other)| one ^ other).collect();
        let server_final = server.exchange("", &format!("{without_proof},p={}", BASE64.encode(proof)))?;
        let want = sign(&sign(&salted, b"Server Key"), signed.as_bytes());
        assert_eq!(server_final, format!("v={}", BASE64.encode(want)), "the server knows the key too");
        // RFC 4954 §4: the server's last words are a challenge, answered with nothing.
        Ok(server.say(""))
    }
}

#[test]
fn the_right_password_logs_in() {
    for (client, bound, mechanism) in [
        (HONEST, false, Mechanism::ScramSha256),
        (HONEST, true, Mechanism::ScramSha256),
        (Client { flag: "y", ..HONEST }, false, Mechanism::ScramSha256),
        (BOUND, true, Mechanism::ScramSha256Plus),
    ] {
        let mut server = Server::new(bound);
        let said = client.log_in(&mut server).unwrap();
        assert_eq!(said, "235 2.7.0 Authentication successful\r\n");
        let summary = server.session.summary();
        assert_eq!(summary.account.as_deref(), Some("alice@example.test"));
        assert_eq!(summary.mechanism, Some(mechanism));
        assert!(matches!(server.asked.last(), Some(Question::ScramDone { ok: true, .. })));
    }
}

#[test]
fn nothing_else_does() {
    for (client, bound, asked) in [
        (Client { password: "wrong", ..HONEST }, false, true),
        (Client { name: "mallory", ..HONEST }, false, true),
        (Client { foreign_nonce: true, ..HONEST }, false, true),
        // The connection of someone in the middle has another exporter value.
        (Client { exporter: Some([8; 32]), ..BOUND }, true, true),
        (Client { exporter: None, ..BOUND }, true, true),
        // RFC 5802 §6: a client that was told we cannot bind, when we can.
        (Client { flag: "y", ..HONEST }, true, false),
        (Client { flag: "p=tls-unique", ..BOUND }, true, false),
        (Client { flag: "n", ..BOUND }, true, false),
        (Client { mechanism: "SCRAM-SHA-256", ..BOUND }, true, false),
    ] {
        let mut server = Server::new(bound);
        let said = client.log_in(&mut server).unwrap_err();
        assert_eq!(said, "535 5.7.8 Authentication credentials invalid\r\n");
        assert_eq!(
            (server.session.summary().account.as_deref(), server.session.summary().auth_failures),
            (None, 1)
        );
        let failure_told = matches!(server.asked.last(), Some(Question::ScramDone { ok: false, .. }));
        assert_eq!(failure_told, asked, "failures after the keys were given are told");
    }
}

#[test]
fn the_exchange_ends_only_with_the_clients_empty_message() {
    let mut server = Server::new(false);
    let said = HONEST.log_in(&mut server).unwrap();
    assert!(said.starts_with("235 "));
    let mut server = Server::new(false);
    assert_eq!(server.exchange("AUTH SCRAM-SHA-256 ", "n,,n=alice,r=x").map(|_| ()), Ok(()));
    assert!(server.say("*").starts_with("501 5.7.0"));
    assert!(
        server.say("MAIL FROM:<a@b.test>").starts_with("530 5.7.0"),
        "an aborted exchange logs nobody in"
    );
}
