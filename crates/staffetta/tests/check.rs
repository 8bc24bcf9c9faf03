//! `staffetta check`: the first word on standard output is the result in the words of RFC 8601, against a name server
//! on loopback.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what is wrong by failing")]

use std::process::Command;

use support::{Dns, Trouble};

const ZONE: &str = r#"
$ORIGIN sender.test.
@ 300 IN SOA ns hostmaster 1 3600 600 86400 60
@ 300 IN TXT "v=spf1 ip4:192.0.2.9 ?ip4:192.0.2.10 ~ip4:192.0.2.11 exp=why.sender.test -all"
why 300 IN TXT "%{i} does not send for %{d}"
_dmarc 300 IN TXT "v=DMARC1; p=reject"
broken 300 IN TXT "v=spf1 ip4:nonsense -all"
dead 300 IN A 192.0.2.1
"#;

const LETTER: &str = "From: Joe <joe@sender.test>\r\nTo: ann@example.test\r\nSubject: Hello\r\n\r\nText.\r\n";

struct House {
    folder: tempfile::TempDir,
    dns: Dns,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("letter.eml"), LETTER).unwrap();
        Self { folder, dns: Dns::start(ZONE) }
    }

    /// Standard output of `staffetta check` with these arguments.
    fn check(&self, arguments: &[&str]) -> String {
        let resolver = self.dns.addr.to_string();
        let output = Command::new(env!("CARGO_BIN_EXE_staffetta"))
            .arg("check")
            .args(arguments)
            .args(["--resolver", &resolver])
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn spf(&self, ip: &str, sender: &str, more: &[&str]) -> String {
        let asked = ["spf", "--ip", ip, "--helo", "mail.sender.test", "--mail-from", sender];
        self.check(&[&asked, more].concat())
    }
}

fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default()
}

#[test]
fn spf_says_its_result_first_and_the_explanation_on_a_line() {
    let house = House::new();
    let results = [
        ("192.0.2.9", "joe@sender.test", "pass"),
        ("192.0.2.10", "joe@sender.test", "neutral"),
        ("192.0.2.11", "joe@sender.test", "softfail"),
        ("192.0.2.12", "joe@sender.test", "fail"),
        ("192.0.2.9", "joe@dead.sender.test", "none"),
        ("192.0.2.9", "joe@broken.sender.test", "permerror"),
    ];
    for (ip, sender, result) in results {
        assert_eq!(first_word(&house.spf(ip, sender, &[])), result, "{ip} {sender}");
    }
    house.dns.trouble("sender.test", Trouble::ServFail);
    assert_eq!(first_word(&house.spf("192.0.2.9", "joe@sender.test", &[])), "temperror");
    house.dns.recover("sender.test");

    let text = house.spf("192.0.2.12", "joe@sender.test", &[]);
    let explained = text.lines().find_map(|line| line.strip_prefix("explanation: "));
    assert_eq!(explained, Some("192.0.2.12 does not send for sender.test"), "{text}");

    let json = house.spf("192.0.2.12", "joe@sender.test", &["--json"]);
    let found: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(found["result"], "fail", "{json}");
    assert_eq!(found["explanation"], "192.0.2.12 does not send for sender.test", "{json}");
}

#[test]
fn messages_are_told_by_result_too() {
    let house = House::new();
    assert_eq!(first_word(&house.check(&["dkim", "--message", "letter.eml"])), "none");
    assert_eq!(first_word(&house.check(&["arc", "--message", "letter.eml"])), "none");
    let dmarc = |ip: &str, more: &[&str]| {
        let asked = ["dmarc", "--message", "letter.eml", "--ip", ip, "--mail-from", "joe@sender.test"];
        house.check(&[&asked, more].concat())
    };
    assert_eq!(first_word(&dmarc("192.0.2.9", &[])), "pass");
    assert_eq!(first_word(&dmarc("192.0.2.12", &[])), "fail");
    for command in ["dkim", "arc"] {
        let json = house.check(&[command, "--message", "letter.eml", "--json"]);
        let found: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(found["result"], "none", "{json}");
    }
    let found: serde_json::Value = serde_json::from_str(&dmarc("192.0.2.12", &["--json"])).unwrap();
    assert_eq!(found["result"], "fail", "{found}");
}
