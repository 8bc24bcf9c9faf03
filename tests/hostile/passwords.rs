//! Guessers of passwords, over TLS: each tries on a connection until it is hung up on, then on the next one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use net::tls::{ClientTls, Verify};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// `AUTH PLAIN` for user@example.test with the password `wrong`.
const GUESS: &[u8] = b"AUTH PLAIN AHVzZXJAZXhhbXBsZS50ZXN0AHdyb25n\r\n";

/// So many guess at once, for so long.
///
/// # Panics
/// When nobody was refused: then the flood was none. Or when somebody got in.
pub(crate) fn guess(server: SocketAddr, guessers: usize, time: Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let tls = Arc::new(ClientTls::new(Verify::None));
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..guessers {
            let tls = Arc::clone(&tls);
            tasks.spawn(async move {
                loop {
                    if connection(&tls, server).await.is_none() {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            });
        }
        tokio::time::sleep(time).await;
        let first = connection(&tls, server).await;
        println!("a guesser hears: {first:?}");
        assert!(first.is_none_or(|reply| !reply.starts_with('2')), "a wrong password opened the door");
        tasks.shutdown().await;
    });
}

/// Guesses on one connection; the last reply.
async fn connection(tls: &ClientTls, server: SocketAddr) -> Option<String> {
    let stream = TcpStream::connect(server).await.ok()?;
    let name = "mx.example.test".try_into().ok()?;
    let mut stream = BufReader::new(tls.connector().connect(name, stream).await.ok()?);
    stream.write_all(b"EHLO guesser.test\r\n").await.ok()?;
    let mut last = None;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return last;
        }
        // The last line of a reply.
        if line.as_bytes().get(3) == Some(&b' ') && !line.starts_with("220") {
            stream.write_all(GUESS).await.ok()?;
        }
        last = Some(line);
    }
}
