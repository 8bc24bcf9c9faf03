//! A milter that answers as its test says, octet for octet, and remembers what it was told.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// Answers to frames, by their letter and data; none hangs up.
type Answers = dyn Fn(u8, &[u8]) -> Option<Vec<u8>> + Send + Sync;

/// A listening milter; its threads end with the test's process.
pub struct Milter {
    /// Where it listens.
    pub address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Milter {
    /// Listens on a port of 127.0.0.1 and answers so.
    ///
    /// # Panics
    /// When it cannot listen.
    #[must_use]
    pub fn start(answers: impl Fn(u8, &[u8]) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port for the milter");
        let address = listener.local_addr().expect("its address");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (answers, all): (Arc<Answers>, _) = (Arc::new(answers), Arc::clone(&heard));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answers, all) = (Arc::clone(&answers), Arc::clone(&all));
                std::thread::spawn(move || serve(stream, &*answers, &all));
            }
        });
        Self { address, heard }
    }

    /// Content with everything; these frames come before the answer to the end of a message.
    #[must_use]
    pub fn content(letter: u8, changes: &[u8]) -> Option<Vec<u8>> {
        match letter {
            b'O' => Some(Self::frame(b'O', &[0, 0, 0, 6, 0, 0, 1, 0xff, 0, 0, 0, 0])),
            b'D' | b'A' | b'Q' => Some(Vec::new()),
            b'E' => Some([changes, &Self::frame(b'c', b"")].concat()),
            _ => Some(Self::frame(b'c', b"")),
        }
    }

    /// A frame.
    ///
    /// # Panics
    /// When it is longer than any can be.
    #[must_use]
    pub fn frame(letter: u8, data: &[u8]) -> Vec<u8> {
        let length = u32::try_from(data.len() + 1).expect("a short frame");
        [&length.to_be_bytes()[..], &[letter], data].concat()
    }

    /// What it was told so far: frames as text, `|` where a string ends.
    #[must_use]
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(mut stream: TcpStream, answers: &Answers, heard: &Mutex<Vec<String>>) {
    let mut length = [0; 4];
    while stream.read_exact(&mut length).is_ok() {
        let mut frame = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap_or_default()];
        if stream.read_exact(&mut frame).is_err() {
            return;
        }
        let Some((letter, data)) = frame.split_first() else { return };
        let text = String::from_utf8_lossy(&frame).replace('\0', "|");
        heard.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        match answers(*letter, data) {
            Some(answer) if stream.write_all(&answer).is_ok() => {}
            _ => return,
        }
    }
}
