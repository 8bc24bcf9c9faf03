//! A server that takes mail and keeps it in memory; recipients can be refused with words of the test's choice.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// One message that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// MAIL FROM, without angle brackets.
    pub from: String,
    /// The accepted recipients.
    pub to: Vec<String>,
    /// The message, with CRLF, dots unstuffed.
    pub text: String,
}

/// A listening server; dropped, it is gone.
pub struct Sink {
    /// Where it listens.
    pub address: SocketAddr,
    taken: Arc<Mutex<Vec<Taken>>>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sink {
    /// Listens on a port of 127.0.0.1, and answers RCPT for these recipients with these whole replies.
    ///
    /// # Panics
    /// When it cannot listen.
    #[must_use]
    pub fn start(port: u16, refusals: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a port for the sink");
        let address = listener.local_addr().expect("its address");
        let taken = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let refusals: Arc<Vec<(String, String)>> =
            Arc::new(refusals.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect());
        let streams = Arc::new(Mutex::new(Vec::new()));
        let (all, stopped, open) = (Arc::clone(&taken), Arc::clone(&stop), Arc::clone(&streams));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(copy) = stream.try_clone() else { continue };
                open.lock().unwrap_or_else(PoisonError::into_inner).push(copy);
                let (all, refusals) = (Arc::clone(&all), Arc::clone(&refusals));
                std::thread::spawn(move || drop(serve(&stream, &all, &refusals)));
            }
        });
        Self { address, taken, streams, stop, thread: Some(thread) }
    }

    /// What it has taken so far.
    #[must_use]
    pub fn taken(&self) -> Vec<Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has taken `count` messages, and gives them.
    ///
    /// # Panics
    /// When they do not come.
    #[must_use]
    pub fn wait_for(&self, count: usize) -> Vec<Taken> {
        let came = crate::wait_until(|| self.taken().len() >= count);
        assert!(came, "the sink has {} of {count} messages", self.taken().len());
        self.taken()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread; a connection that fails means that it is gone already.
        drop(TcpStream::connect(self.address));
        drop(self.thread.take().map(JoinHandle::join));
        for stream in self.streams.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            drop(stream.shutdown(std::net::Shutdown::Both));
        }
    }
}

/// One session.
fn serve(stream: &TcpStream, all: &Mutex<Vec<Taken>>, refusals: &[(String, String)]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = BufReader::new(stream);
    let mut output = stream;
    let (mut from, mut to) = (String::new(), Vec::new());
    output.write_all(b"220 sink.test ESMTP\r\n")?;
    let mut line = String::new();
    while {
        line.clear();
        input.read_line(&mut line)?
    } > 0
    {
        let path = || line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        let reply = match verb.as_str() {
            "EHLO" => "250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES".to_owned(),
            "MAIL" => {
                (from, to) = (path(), Vec::new());
                "250 2.1.0 Ok".to_owned()
            }
            "RCPT" => match refusals.iter().find(|(recipient, _)| *recipient == path()) {
                Some((_, reply)) => reply.clone(),
                None => {
                    to.push(path());
                    "250 2.1.5 Ok".to_owned()
                }
            },
            "DATA" if to.is_empty() => "554 5.5.1 No valid recipients".to_owned(),
            "DATA" => {
                output.write_all(b"354 Go on\r\n")?;
                let text = read_message(&mut input)?;
                let taken = Taken { from: std::mem::take(&mut from), to: std::mem::take(&mut to), text };
                all.lock().unwrap_or_else(PoisonError::into_inner).push(taken);
                "250 2.0.0 Taken by the sink".to_owned()
            }
            "QUIT" => {
                return output.write_all(b"221 2.0.0 Bye\r\n");
            }
            _ => "250 2.0.0 Ok".to_owned(),
        };
        output.write_all(format!("{reply}\r\n").as_bytes())?;
    }
    Ok(())
}

fn read_message(input: &mut BufReader<&TcpStream>) -> std::io::Result<String> {
    let mut text = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line == b".\r\n" {
            return Ok(String::from_utf8_lossy(&text).into_owned());
        }
        text.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
