//! Dovecot takes our mail over LMTP, a reply for each recipient.

use support::Client;

use crate::peer::{NOBODY, Peer};
use crate::{USER, daemon, letter};

const LMTP: &str = "\
protocols = lmtp
mail_location = maildir:~/mail
service lmtp {
  unix_listener @DIR@/lmtp {
    mode = 0666
  }
}
";
const USERS: &str = "\
one@dove.test:{PLAIN}x:65534:65534::@DIR@/home/one::
two@dove.test:{PLAIN}x:65534:65534::@DIR@/home/two::
";

#[test]
fn dovecot_takes_our_lmtp() {
    let Some(program) = support::need_program("dovecot") else { return };
    let Some(mut dovecot) = Peer::prepare() else { return };
    for name in ["one", "two"] {
        dovecot.make_folder(&format!("home/{name}"), NOBODY);
    }
    dovecot.start_dovecot(&program, USERS, LMTP);
    let socket = dovecot.path("lmtp");
    assert!(
        support::wait_until(|| std::os::unix::net::UnixStream::connect(&socket).is_ok()),
        "{}",
        dovecot.log()
    );

    let rest = format!(
        "[[domain]]\nname = \"dove.test\"\nrecipients = \"static:yes\"\ndeliver = \"lmtp:unix:{}\"\n",
        socket.display()
    );
    let daemon = daemon("", &rest);
    let mut client = Client::hello(daemon.mx);
    let to = ["one@dove.test", "gone@dove.test", "two@dove.test"];
    assert_eq!(client.mail(USER, &to, &letter("doves")).code, 250);
    for name in ["one", "two"] {
        let arrived = || dovecot.files(&format!("home/{name}/mail/new"));
        assert!(support::wait_until(|| arrived().len() == 1), "{}\n{}", daemon.log(), dovecot.log());
        let mail = arrived().remove(0);
        assert!(mail.contains("Subject: doves") && mail.contains("by mx.example.test (Staffetta)"), "{mail}");
        assert!(mail.replace('\r', "").ends_with("\n\nHello.\n.dot\n"), "{mail}");
    }
    let report = daemon.wait_for_mail(USER, 1).remove(0);
    assert!(report.contains("Final-Recipient: rfc822; gone@dove.test"), "{report}");
    assert!(report.contains("550 5.1.1 <gone@dove.test> User doesn't exist"), "{report}");
    assert!(!report.contains("; one@dove.test") && !report.contains("; two@dove.test"), "{report}");
    assert!(support::wait_until(|| daemon.queue(&["list"]) == "no messages\n"));
}
