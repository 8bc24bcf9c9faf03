//! The SMTP and LMTP agents against Postfix's smtp-sink: a peer that was written by others.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use common::{BODY, Setup, deliver, hop, job, record};
use delivery::{Endpoint, Hop, Host, TlsPolicy};
use queue::DeliveryResult;

/// Ends the sink with the test.
struct Sink(Child, u16);

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn sink(options: &[&str]) -> Option<Sink> {
    let program = support::need_program("smtp-sink")?;
    let port = support::free_port();
    let child = Command::new(program)
        .args(["-u", "nobody"])
        .args(options)
        .arg(format!("127.0.0.1:{port}"))
        .arg("100")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let sink = Sink(child, port);
    let up = async { while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(10), up).await.unwrap();
    Some(sink)
}

fn to(sink: &Sink) -> Hop {
    hop(Endpoint::Inet(Host::Address([127, 0, 0, 1].into()), sink.1))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_messages_at_once_are_all_taken() {
    let Some(sink) = sink(&[]).await else { return };
    let agents = Arc::new(Setup::default().agents());
    let body =
        format!("Subject: x\r\n\r\n{}", "some text in a line of common length, more or less\r\n".repeat(80));
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (agents, hop, body) = (Arc::clone(&agents), to(&sink), body.clone());
            tokio::spawn(async move {
                for _ in 0..50 {
                    let outcomes = deliver(&agents, job(record(&["joe@a.test"]), hop.clone(), &body)).await;
                    assert_eq!(outcomes[0].result, DeliveryResult::RelayedWithDsn, "{outcomes:?}");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!((agents.figures().messages_sent.get(), agents.figures().connections.get()), (400, 8));
}

#[tokio::test]
async fn its_moods_are_understood() {
    for (options, want) in [
        (&["-p"][..], "relayed"),
        (&["-e"], "relayed"),
        (&["-q", "DATA"], "later"),
        (&["-r", "RCPT"], "later"),
        (&["-r", "."], "later"),
        (&["-f", "RCPT"], "never"),
        (&["-f", "."], "never"),
        (&["-Q", "MAIL"], "later"),
    ] {
        let Some(sink) = sink(options).await else { return };
        let outcomes =
            deliver(&Setup::default().agents(), job(record(&["joe@a.test"]), to(&sink), BODY)).await;
        let got = match outcomes[0].result {
            DeliveryResult::Relayed | DeliveryResult::RelayedWithDsn => "relayed",
            DeliveryResult::Deferred(_) => "later",
            DeliveryResult::Failed => "never",
            _ => "something else",
        };
        assert_eq!(got, want, "{options:?}: {outcomes:?}");
    }
}

#[tokio::test]
async fn it_speaks_lmtp_too() {
    let Some(sink) = sink(&["-L"]).await else { return };
    let lmtp = Hop { lmtp: true, policy: TlsPolicy::Off, ..to(&sink) };
    let outcomes =
        deliver(&Setup::default().agents(), job(record(&["joe@a.test", "jim@a.test"]), lmtp, BODY)).await;
    assert_eq!(outcomes.iter().filter(|o| o.result == DeliveryResult::Delivered).count(), 2, "{outcomes:?}");
}
