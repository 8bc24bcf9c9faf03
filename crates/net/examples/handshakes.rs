//! How many full TLS handshakes a second one server thread makes, and what each costs it in CPU time.
//!
//! `cargo run --release -p net --example handshakes [count]`: a P-256 certificate, a TCP connection for each handshake,
//! no resumption, as mail from many strangers comes. The clients run on threads of their own and are not counted.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use net::tls::{client_config, self_signed};
use net::{ServerTls, TlsSettings, Verify};
use rustls::client::Resumption;
use rustls::{ClientConfig, ClientConnection, ServerConnection, Stream};
use rustls_pki_types::ServerName;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const CLIENTS: usize = 2;

fn main() -> Outcome<()> {
    let count: usize = std::env::args().nth(1).map_or(Ok(4_000), |text| text.parse())?;
    let tls = server()?;
    let mut client = client_config(Verify::None).as_ref().clone();
    client.resumption = Resumption::disabled();
    let (wall, cpu) = measure(&tls, count, &Arc::new(client))?;
    let (rate, each) = (count as f64 / wall.as_secs_f64(), cpu.as_secs_f64() * 1e6 / count as f64);
    println!("{rate:.0} handshakes/s with {CLIENTS} clients; {each:.0} µs CPU each on the server");
    Ok(())
}

fn server() -> Outcome<Arc<ServerTls>> {
    let folder = std::env::temp_dir().join(format!("handshakes-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let (certificate, key) = self_signed(&["mx.example.test"])?;
    std::fs::write(folder.join("c.pem"), certificate)?;
    std::fs::write(folder.join("k.pem"), key)?;
    let settings = TlsSettings { certificate: "c.pem".into(), key: "k.pem".into(), ..TlsSettings::default() };
    let tls = ServerTls::load(&settings, &folder)?;
    std::fs::remove_dir_all(&folder)?;
    Ok(tls)
}

fn measure(tls: &ServerTls, count: usize, client: &Arc<ClientConfig>) -> Outcome<(Duration, Duration)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let start = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let client = Arc::clone(client);
            std::thread::spawn(move || connect(address, count / CLIENTS, &client))
        })
        .collect();
    let before = thread_cpu()?;
    for _ in 0..count / CLIENTS * CLIENTS {
        serve(&listener, tls)?;
    }
    let cpu = thread_cpu()? - before;
    for client in clients {
        client.join().map_err(|_| "a client failed")??;
    }
    Ok((start.elapsed(), cpu))
}

fn serve(listener: &TcpListener, tls: &ServerTls) -> Outcome<()> {
    let (mut socket, _) = listener.accept()?;
    socket.set_nodelay(true)?;
    let mut connection = ServerConnection::new(Arc::clone(tls.config()))?;
    let mut stream = Stream::new(&mut connection, &mut socket);
    let mut octet = [0];
    stream.read_exact(&mut octet)?;
    stream.write_all(&octet)?;
    Ok(())
}

fn connect(address: SocketAddr, count: usize, config: &Arc<ClientConfig>) -> Outcome<()> {
    for _ in 0..count {
        let mut socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from("mx.example.test")?;
        let mut connection = ClientConnection::new(Arc::clone(config), name)?;
        let mut stream = Stream::new(&mut connection, &mut socket);
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0])?;
    }
    Ok(())
}

/// CPU time of this thread so far (proc(5), `schedstat`).
fn thread_cpu() -> Outcome<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = text.split_whitespace().next().ok_or("schedstat is empty")?.parse()?;
    Ok(Duration::from_nanos(nanos))
}
