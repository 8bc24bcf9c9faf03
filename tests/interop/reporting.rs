//! What an operator calls spam is told to others: `--report` of `staffetta learn` and `staffetta quarantine learn`, with a
//! real pyzord.

use support::{Client, Daemon, Pyzord, wait_until};

use crate::USER;

const TEXT: &str = "Buy this wonderful thing now\r\nor write to sales@far.test\r\nsee http://far.test/offer for more of it\r\n";

fn daemon(port: u16) -> Daemon {
    let rest = format!(
        "[antispam]\nmode = \"enforce\"\nexempt_networks = []\ndnsbl = []\nthresholds = {{ quarantine = 8.0, reject = 30.0, reject_early = 30.0 }}\n[antispam.greylist]\nmode = \"off\"\n\
         [[antispam.access]]\nstage = \"mail\"\ntable = \"inline:{{{{jim@far.test = SCORE 10}}}}\"\n\
         [[antispam.scanner]]\nkind = \"pyzor\"\naddress = \"127.0.0.1:{port}\"\n"
    );
    crate::daemon("", &rest)
}

fn letter(words: &str) -> String {
    format!("From: jim@far.test\r\nTo: {USER}\r\nSubject: {words}\r\n\r\n{words} {words} {words}\r\n{TEXT}")
}

/// What the package's own client says: how often reported, how often cleared.
fn counts(pyzord: &Pyzord, letter: &str) -> Vec<String> {
    let said = pyzord.client(&["check"], letter.as_bytes()).1;
    said.trim().split('\t').skip(2).map(str::to_owned).collect()
}

#[test]
fn what_is_learnt_is_told_to_others() {
    let Some(pyzord) = Pyzord::start(&["check", "report", "whitelist"]) else { return };
    let daemon = daemon(pyzord.port);
    for (number, words) in ["first", "second"].into_iter().enumerate() {
        daemon.write(&format!("{number}.eml"), &letter(words));
    }
    // The same text twice is told once.
    let output = daemon.tool(&["learn", "--spam", "--report", "0.eml", "1.eml", "0.eml"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.ends_with("\n2 reported\n"), "{output:?}");
    assert_eq!(counts(&pyzord, &letter("first")), ["1", "0"]);
    let output = daemon.tool(&["learn", "--ham", "--report", "--json", "1.eml"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"reported\":1"), "{output:?}");
    assert_eq!(counts(&pyzord, &letter("second")), ["1", "1"]);
}

#[test]
fn what_is_in_quarantine_is_told_to_others() {
    let Some(pyzord) = Pyzord::start(&["check", "report"]) else { return };
    let daemon = daemon(pyzord.port);
    assert_eq!(Client::hello(daemon.mx).mail("jim@far.test", &[USER], &letter("third")).code, 250);
    let mut id = String::new();
    let kept = || {
        let output = daemon.tool(&["quarantine", "list", "--json"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        id = text.split("\"id\":\"").nth(1).and_then(|rest| rest.get(..13)).unwrap_or_default().to_owned();
        !id.is_empty()
    };
    assert!(wait_until(kept), "{}", daemon.log());
    let output = daemon.tool(&["quarantine", "learn", "--spam", "--report", &id]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(counts(&pyzord, &letter("third")), ["1", "0"], "by the same digest as the letter itself");
    // This server lets nobody in particular clear a text.
    let output = daemon.tool(&["quarantine", "learn", "--ham", "--report", &id]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && errors.contains("it says: 403"), "{output:?}");
}

#[test]
fn without_a_server_to_tell_it_is_an_error_before_anything_is_learnt() {
    let daemon = crate::daemon("", "");
    daemon.write("0.eml", &letter("fourth"));
    let output = daemon.tool(&["learn", "--spam", "--report", "0.eml"]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && errors.contains("kind = \"pyzor\""), "{output:?}");
    let status = daemon.tool(&["bayes", "status", "--json"]);
    assert!(String::from_utf8_lossy(&status.stdout).contains("\"spam\": 0"), "{status:?}");
}
