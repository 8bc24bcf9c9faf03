//! A blocking SMTP client that says exactly what a test wants it to say, in the clear or under TLS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::tls::Wire;

/// One connection.
pub struct Client {
    stream: Wire,
    unread: Vec<u8>,
}

/// One reply, all its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Three digits.
    pub code: u16,
    /// What stands behind them, line by line.
    pub lines: Vec<String>,
}

impl Reply {
    /// All lines in one.
    #[must_use]
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }
}

impl Client {
    /// Connects; the greeting is not read.
    ///
    /// # Panics
    /// When nobody listens.
    #[must_use]
    pub fn raw(address: SocketAddr) -> Self {
        Self::try_raw(address).expect("the server listens")
    }

    /// Connects; the greeting is not read. None when nobody listens.
    #[must_use]
    pub fn try_raw(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
        stream.set_nodelay(true).ok()?;
        Some(Self { stream: Wire::Plain(stream), unread: Vec::new() })
    }

    /// Connects and says EHLO; none when the server is not there, or says no.
    #[must_use]
    pub fn try_hello(address: SocketAddr) -> Option<Self> {
        let mut client = Self::try_raw(address)?;
        client.try_reply().filter(|reply| reply.code == 220)?;
        client.try_send(b"EHLO client.test\r\n");
        client.try_reply().filter(|reply| reply.code == 250)?;
        Some(client)
    }

    /// Connects with TLS from the start; the greeting is not read.
    ///
    /// # Panics
    /// When nobody listens, or the handshake fails.
    #[must_use]
    pub fn raw_tls(address: SocketAddr) -> Self {
        let mut client = Self::raw(address);
        client.stream.encrypt();
        client
    }

    /// Connects with TLS from the start, reads the greeting and says EHLO.
    ///
    /// # Panics
    /// When the server does not greet with 220, or refuses EHLO.
    #[must_use]
    pub fn hello_tls(address: SocketAddr) -> Self {
        let mut client = Self::raw_tls(address);
        assert_eq!(client.reply().code, 220);
        assert_eq!(client.command("EHLO client.test").code, 250);
        client
    }

    /// STARTTLS, and EHLO once more. Any certificate will do.
    ///
    /// # Panics
    /// When the server refuses, or the handshake fails.
    pub fn start_tls(&mut self) -> Reply {
        assert_eq!(self.command("STARTTLS").code, 220);
        self.stream.encrypt();
        self.command("EHLO client.test")
    }

    /// AUTH PLAIN.
    pub fn log_in(&mut self, user: &str, password: &str) -> Reply {
        self.command(&format!("AUTH PLAIN {}", crate::base64(format!("\0{user}\0{password}").as_bytes())))
    }

    /// The certificate of the server, in DER.
    #[must_use]
    pub fn certificate(&self) -> Vec<u8> {
        self.stream.certificate()
    }

    /// What SCRAM binds to, `tls-exporter` (RFC 9266).
    #[must_use]
    pub fn channel_binding(&self) -> [u8; 32] {
        self.stream.channel_binding()
    }

    /// Connects, reads the greeting and says EHLO.
    ///
    /// # Panics
    /// When the server does not greet with 220, or refuses EHLO.
    #[must_use]
    pub fn hello(address: SocketAddr) -> Self {
        let mut client = Self::raw(address);
        assert_eq!(client.reply().code, 220);
        assert_eq!(client.command("EHLO client.test").code, 250);
        client
    }

    /// Sends octets as they are.
    ///
    /// # Panics
    /// When the connection is gone.
    pub fn send(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).expect("the connection stands");
    }

    /// Sends octets; false when the connection is gone.
    pub fn try_send(&mut self, octets: &[u8]) -> bool {
        self.stream.write_all(octets).is_ok()
    }

    /// Sends a line and reads its reply.
    pub fn command(&mut self, line: &str) -> Reply {
        self.send(format!("{line}\r\n").as_bytes());
        self.reply()
    }

    /// Reads one reply.
    ///
    /// # Panics
    /// When the connection ends or what comes is no reply.
    pub fn reply(&mut self) -> Reply {
        self.try_reply().expect("a reply")
    }

    /// Reads one reply; none when the connection ends first.
    pub fn try_reply(&mut self) -> Option<Reply> {
        let mut lines = Vec::new();
        loop {
            let line = self.line()?;
            let code = line.get(..3)?.parse().ok()?;
            lines.push(line.get(4..).unwrap_or_default().to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Some(Reply { code, lines });
            }
        }
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let rest = self.unread.split_off(end + 2);
                let mut line = std::mem::replace(&mut self.unread, rest);
                line.truncate(end);
                return String::from_utf8(line).ok();
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.unread.extend(buffer.iter().take(count)),
            }
        }
    }

    /// One transaction with a message whose lines end in CRLF already, the last one too. The reply is the last one: to the end of data, or the
    /// first refusal.
    pub fn mail(&mut self, from: &str, to: &[&str], message: &str) -> Reply {
        let reply = self.command(&format!("MAIL FROM:<{from}>"));
        if reply.code != 250 {
            return reply;
        }
        for recipient in to {
            let reply = self.command(&format!("RCPT TO:<{recipient}>"));
            if reply.code != 250 {
                return reply;
            }
        }
        let reply = self.command("DATA");
        if reply.code != 354 {
            return reply;
        }
        self.send(message.replace("\r\n.", "\r\n..").as_bytes());
        let end: &[u8] = if message.ends_with("\r\n") { b".\r\n" } else { b"\r\n.\r\n" };
        self.send(end);
        self.reply()
    }
}
