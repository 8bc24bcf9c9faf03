//! The byte stream of the test client: TCP, or TLS over it with whatever certificate the server has.

use std::io::{Read, Write};
use std::net::TcpStream;

use net::Verify;
use net::tls::client_config;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

/// One connection.
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    Gone,
}

impl Wire {
    /// The client's side of a handshake, to its end.
    pub(crate) fn encrypt(&mut self) {
        let Self::Plain(mut stream) = std::mem::replace(self, Self::Gone) else { panic!("no plain stream") };
        let name = ServerName::try_from("mx.example.test").expect("a name");
        let mut connection = ClientConnection::new(client_config(Verify::None), name).expect("a TLS client");
        while connection.is_handshaking() {
            connection.complete_io(&mut stream).expect("a TLS handshake");
        }
        *self = Self::Tls(Box::new(StreamOwned::new(connection, stream)));
    }

    fn connection(&self) -> &ClientConnection {
        let Self::Tls(stream) = self else { panic!("no TLS") };
        &stream.conn
    }

    /// The server's, in DER.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        let chain = self.connection().peer_certificates().expect("a certificate");
        chain.first().expect("one at least").to_vec()
    }

    /// RFC 9266 §2.
    pub(crate) fn channel_binding(&self) -> [u8; 32] {
        let label = b"EXPORTER-Channel-Binding";
        self.connection().export_keying_material([0; 32], label, Some(b"")).expect("keying material")
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
            Self::Gone => Ok(0),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(octets),
            Self::Tls(stream) => stream.write(octets),
            Self::Gone => Err(std::io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
            Self::Gone => Ok(()),
        }
    }
}
