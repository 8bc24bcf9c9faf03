//! Scanners behind a whole session: what clamd finds is never accepted, and a clamd that is away costs no message.

use support::{Clamd, Client, Daemon, attached, infected};

use crate::USER;

const OTHER: &str = "other@example.test";

/// A server with a clamd at this address, to which this machine is a stranger; `more` are lines of the scanner's section.
fn daemon(address: &str, mode: &str, more: &str) -> Daemon {
    let rest = format!(
        "[antispam]\nmode = \"{mode}\"\nexempt_networks = []\ndnsbl = []\nthresholds = {{ tag = 0.0 }}\n[antispam.greylist]\nmode = \"off\"\n\
         [[antispam.scanner]]\nkind = \"clamd\"\naddress = \"{address}\"\nseconds_max = 50\n{more}"
    );
    let mut daemon = Daemon::prepare(env!("CARGO_BIN_EXE_staffetta"), "", &rest);
    daemon.add_account(USER, "secret");
    daemon.add_account(OTHER, "secret");
    daemon.run();
    daemon
}

fn clean() -> String {
    String::from_utf8(attached(b"nothing at all", "nothing.txt")).unwrap()
}

#[test]
fn malware_is_refused_before_it_is_accepted_in_every_mode() {
    let Some(clamd) = Clamd::start() else { return };
    for mode in ["observe", "enforce"] {
        let daemon = daemon(&clamd.socket(), mode, "");
        for letter in infected() {
            let letter = String::from_utf8(letter).unwrap();
            let reply = Client::hello(daemon.mx).mail("ann@far.test", &[USER, OTHER], &letter);
            assert_eq!(reply.code, 550, "{reply:?}");
            assert!(reply.text().starts_with("5.7.1 This message contains malware: Own.Eicar."), "{reply:?}");
        }
        // Our own users' mail is looked at, too: a machine of theirs may be infected.
        let mut user = Client::hello_tls(daemon.submissions);
        assert_eq!(user.log_in(USER, "secret").code, 235);
        let own = String::from_utf8(infected()[2].clone()).unwrap().replace("ann@far.test", USER);
        let reply = user.mail(USER, &["joe@far.test"], &own);
        assert!(reply.code == 550 && reply.text().contains("malware: Own.Eicar."), "{reply:?}");
        assert_eq!(Client::hello(daemon.mx).mail("ann@far.test", &[USER], &clean()).code, 250);
        let mails = daemon.wait_for_mail(USER, 1);
        assert!(mails[0].contains("nothing.txt") && daemon.mailbox(OTHER).is_empty(), "{mails:?}");
        let answered = "staffetta_scanner_askings_total{result=\"answered\",scanner=\"clamav\"}";
        assert_eq!(daemon.metric(answered), Some(5.0));
    }
}

#[test]
fn a_scanner_that_is_away_is_unknown_and_told() {
    let closed = format!("127.0.0.1:{}", support::free_port());
    let strict = daemon(&closed, "observe", "breaker_failures = 2\n");
    for _ in 0..3 {
        let reply = Client::hello(strict.mx).mail("ann@far.test", &[USER], &clean());
        assert_eq!(reply.code, 451, "{reply:?}");
        assert!(reply.text().starts_with("4.7.0 "), "{reply:?}");
    }
    let told = "the scanner clamav has failed 2 times in a row";
    assert!(support::wait_until(|| strict.log().contains(told)), "{}", strict.log());
    assert_eq!(strict.metric("staffetta_scanner_asked{scanner=\"clamav\"}"), Some(0.0));

    let mild = daemon(&closed, "enforce", "on_unknown = \"ignore\"\n");
    assert_eq!(Client::hello(mild.mx).mail("ann@far.test", &[USER], &clean()).code, 250);
    assert_eq!(mild.wait_for_mail(USER, 1).len(), 1);
    assert!(mild.log().contains("CLAMAV_TIMEOUT(0.0)"), "{}", mild.log());
}
