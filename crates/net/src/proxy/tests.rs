//! Headers as load balancers send them, and what else may come through that door.

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::*;

const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Sends octets, reads the header, and gives it with what is left for the session.
async fn read_from(octets: &[u8]) -> (Result<ProxyHeader, ProxyError>, Vec<u8>) {
    let (mut near, mut far) = duplex(octets.len().max(1));
    far.write_all(octets).await.unwrap();
    drop(far);
    let header = read_header(&mut near, ProxyLimits::default()).await;
    let mut rest = Vec::new();
    near.read_to_end(&mut rest).await.unwrap();
    (header, rest)
}

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut header = V2_START.to_vec();
    header.extend([command, family]);
    header.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    header.extend(body);
    header
}

fn v2_ipv4() -> Vec<u8> {
    v2(0x21, 0x11, &[192, 0, 2, 7, 198, 51, 100, 1, 0xdd, 0xd5, 0, 25])
}

#[tokio::test]
async fn both_versions_give_the_client_and_leave_the_session_its_octets() {
    let mut mapped = vec![0; 10];
    mapped.extend([0xff, 0xff, 192, 0, 2, 7]);
    mapped.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    mapped.extend([0xdd, 0xd5, 0, 25]);
    let with_extension = v2(0x21, 0x11, &[192, 0, 2, 7, 198, 51, 100, 1, 0xdd, 0xd5, 0, 25, 5, 0, 2, 1, 2]);
    for (header, source) in [
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 56789 25\r\n".to_vec(), "192.0.2.7:56789"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 56789 25\r\n".to_vec(), "[2001:db8::7]:56789"),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 56789 25\r\n".to_vec(), "192.0.2.7:56789"),
        (v2_ipv4(), "192.0.2.7:56789"),
        (v2(0x21, 0x21, &mapped), "192.0.2.7:56789"),
        (with_extension, "192.0.2.7:56789"),
    ] {
        let mut octets = header.clone();
        octets.extend(b"EHLO x\r\n");
        let (read, rest) = read_from(&octets).await;
        assert_eq!(read.unwrap().source, Some(source.parse().unwrap()), "{}", header.escape_ascii());
        assert_eq!(rest, b"EHLO x\r\n", "{}", header.escape_ascii());
    }
}

#[tokio::test]
async fn a_proxy_that_speaks_for_itself_gives_no_source() {
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n".to_vec(),
        v2(0x20, 0x00, &[]),
        // LOCAL with addresses: they are to be ignored (specification §2.2).
        v2(0x20, 0x11, &[192, 0, 2, 7, 198, 51, 100, 1, 0xdd, 0xd5, 0, 25]),
        v2(0x21, 0x00, &[]),
        // UDP and Unix sockets are no clients of ours.
        v2(0x21, 0x12, &[192, 0, 2, 7, 198, 51, 100, 1, 0xdd, 0xd5, 0, 25]),
        v2(0x21, 0x31, &[0; 216]),
    ] {
        let (read, rest) = read_from(&header).await;
        assert_eq!(
            read.unwrap(),
            ProxyHeader { source: None, destination: None },
            "{}",
            header.escape_ascii()
        );
        assert!(rest.is_empty());
    }
}

#[tokio::test]
async fn what_is_no_header_is_refused() {
    for octets in [
        b"EHLO example.org\r\nMAIL FROM:<>\r\n".to_vec(),
        b"PROXY TCP5 192.0.2.7 198.51.100.1 56789 25\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.777 198.51.100.1 56789 25\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 198.51.100.1 56789 99999\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 198.51.100.1 56789 25\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 198.51.100.1 56789\r\n".to_vec(),
        b"PROXY  TCP4 192.0.2.7 198.51.100.1 56789 25\r\n".to_vec(),
        v2(0x11, 0x11, &[0; 12]),
        v2(0x22, 0x11, &[0; 12]),
        v2(0x21, 0x11, &[0; 11]),
        v2(0x21, 0x41, &[0; 12]),
        vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0, 0, 0, 0, 0],
    ] {
        let (read, _) = read_from(&octets).await;
        assert!(matches!(read, Err(ProxyError::Malformed)), "{}: {read:?}", octets.escape_ascii());
    }
}

#[tokio::test]
async fn the_length_is_bounded() {
    let mut line = b"PROXY UNKNOWN ".to_vec();
    line.resize(200, b'x');
    assert!(matches!(read_from(&line).await.0, Err(ProxyError::TooLong(LINE_V1_MAX))));
    let huge = v2(0x21, 0x11, &vec![0; 60_000]);
    assert!(matches!(read_from(&huge).await.0, Err(ProxyError::TooLong(2_048))));
}

#[tokio::test]
async fn an_end_in_the_middle_is_an_end() {
    for whole in [b"PROXY TCP4 192.0.2.7 198.51.100.1 56789 25\r\n".to_vec(), v2_ipv4()] {
        for cut in 0..whole.len() {
            let (read, _) = read_from(&whole[..cut]).await;
            assert!(matches!(read, Err(ProxyError::Io(_))), "{}: {read:?}", whole[..cut].escape_ascii());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_header_runs_out_of_time() {
    let (mut near, mut far) = duplex(1_024);
    far.write_all(b"PROXY TCP4 192.0.2.7 ").await.unwrap();
    let read = read_header(&mut near, ProxyLimits::default()).await;
    assert!(matches!(read, Err(ProxyError::TimedOut)), "{read:?}");
}

#[test]
fn a_header_from_the_wrong_place_is_recognised() {
    assert!(begins_like_header(b"PROXY TCP4 192.0.2.7"));
    assert!(begins_like_header(&v2_ipv4()));
    assert!(!begins_like_header(b"EHLO PROXY"));
    assert!(!begins_like_header(b"PROXYING"));
}

proptest::proptest! {
    #[test]
    fn no_octets_make_the_parser_fail_otherwise_than_by_saying_so(
        start in 0_usize..3, mut octets in proptest::collection::vec(proptest::num::u8::ANY, 0..300)
    ) {
        let mut whole = [b"".as_slice(), b"PROXY TCP4 ", V2_START][start].to_vec();
        if start == 1 {
            octets.extend(b"\r\n");
        }
        whole.extend(octets);
        // Either answer will do; a panic would not.
        let _ = interpret(&whole);
    }
}
