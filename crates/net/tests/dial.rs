//! Dialling hosts whose addresses refuse, stay silent, or are of two families.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what is wrong by failing")]

use std::net::IpAddr;

use net::{DialSettings, dial};
use tokio::net::TcpListener;

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[tokio::test]
async fn the_next_address_is_taken_when_one_refuses() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let stream =
        dial(&ips(&["::1", "127.0.0.3", "127.0.0.1"]), port, &DialSettings::default()).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
    assert!(stream.nodelay().unwrap());
}

#[tokio::test]
async fn a_silent_address_does_not_hold_up_the_next() {
    // A full backlog drops further SYNs, as a dead host does.
    let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let address: std::net::SocketAddr = format!("127.0.0.9:{port}").parse().unwrap();
    silent.bind(&address.into()).unwrap();
    silent.listen(0).unwrap();
    let _first = std::net::TcpStream::connect(address).unwrap();
    let settings = DialSettings { next_address_milliseconds: 20, ..DialSettings::default() };
    let stream = dial(&ips(&["127.0.0.9", "127.0.0.1"]), port, &settings).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap().ip(), ips(&["127.0.0.1"])[0]);
}

#[tokio::test]
async fn when_all_fail_each_is_named() {
    let port = support::free_port();
    let error = dial(&ips(&["127.0.0.1", "127.0.0.2"]), port, &DialSettings::default()).await.unwrap_err();
    assert!(error.is_refused());
    let text = error.to_string();
    assert!(
        text.contains(&format!("127.0.0.1:{port}")) && text.contains(&format!("127.0.0.2:{port}")),
        "{text}"
    );
    assert!(dial(&[], 25, &DialSettings::default()).await.unwrap_err().tried.is_empty());
}

#[tokio::test]
async fn our_own_address_can_be_chosen() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let settings = DialSettings { bind_ipv4: Some("127.0.0.5".parse().unwrap()), ..DialSettings::default() };
    let _stream = dial(&ips(&["127.0.0.1"]), port, &settings).await.unwrap();
    assert_eq!(listener.accept().await.unwrap().1.ip(), ips(&["127.0.0.5"])[0]);
}
