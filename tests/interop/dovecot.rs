//! Dovecot takes our mail over LMTP, a reply for each recipient.

use std::process::Command;

use support::Client;

use crate::peer::{NOBODY, Peer};
use crate::{USER, daemon, letter};

const CONFIGURATION: &str = "\
protocols = lmtp
base_dir = @DIR@/run
state_dir = @DIR@/state
log_path = @DIR@/log
ssl = no
mail_location = maildir:~/mail
first_valid_uid = 1
passdb {
  driver = passwd-file
  args = @DIR@/users
}
userdb {
  driver = passwd-file
  args = @DIR@/users
}
service lmtp {
  unix_listener @DIR@/lmtp {
    mode = 0666
  }
}
service stats {
  unix_listener stats-writer {
    mode = 0666
  }
}
";

#[test]
fn dovecot_takes_our_lmtp() {
    let Some(program) = support::need_program("dovecot") else { return };
    let Some(mut dovecot) = Peer::prepare() else { return };
    for folder in ["run", "state"] {
        dovecot.make_folder(folder, 0);
    }
    for name in ["one", "two"] {
        dovecot.make_folder(&format!("home/{name}"), NOBODY);
    }
    dovecot.write("dovecot.conf", CONFIGURATION);
    dovecot.write(
        "users",
        "one@dove.test:{PLAIN}x:65534:65534::@DIR@/home/one::\ntwo@dove.test:{PLAIN}x:65534:65534::@DIR@/home/two::\n",
    );
    dovecot.start(Command::new(program).arg("-F").arg("-c").arg(dovecot.path("dovecot.conf")));
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
