//! The client's side of SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677, RFC 9266).

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use support::{Client, Reply};

fn sign(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec()
}

fn base64(octets: &[u8]) -> String {
    support::base64(octets)
}

fn field<'a>(text: &'a str, name: &str) -> &'a str {
    text.split(',').find_map(|field| field.strip_prefix(name)).unwrap()
}

/// Logs in; checks that the server knows the password too. The last reply.
pub(crate) fn log_in(client: &mut Client, user: &str, password: &str, bound: bool) -> Reply {
    let (mechanism, flag, binding) = if bound {
        ("SCRAM-SHA-256-PLUS", "p=tls-exporter,,", client.channel_binding().to_vec())
    } else {
        ("SCRAM-SHA-256", "n,,", Vec::new())
    };
    let first = format!("n={user},r=ThisIsTheClientsNonce");
    let reply = client.command(&format!("AUTH {mechanism} {}", base64(format!("{flag}{first}").as_bytes())));
    if reply.code != 334 {
        return reply;
    }
    let server_first = String::from_utf8(support::from_base64(&reply.lines[0])).unwrap();
    let rounds: NonZeroU32 = field(&server_first, "i=").parse().unwrap();
    let salt = support::from_base64(field(&server_first, "s="));
    let mut salted = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password.as_bytes(), &mut salted);

    let header = base64(&[flag.as_bytes(), &binding].concat());
    let without_proof = format!("c={header},r={}", field(&server_first, "r="));
    let all = format!("{first},{server_first},{without_proof}");
    let key = sign(&salted, b"Client Key");
    let signature = sign(digest::digest(&digest::SHA256, &key).as_ref(), all.as_bytes());
    let proof: Vec<u8> = key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
    let reply = client.command(&base64(format!("{without_proof},p={}", base64(&proof)).as_bytes()));
    if reply.code != 334 {
        return reply;
    }
    let verifier = format!("v={}", base64(&sign(&sign(&salted, b"Server Key"), all.as_bytes())));
    assert_eq!(String::from_utf8(support::from_base64(&reply.lines[0])).unwrap(), verifier);
    client.command("")
}
