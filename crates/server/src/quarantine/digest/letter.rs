//! The text of a letter about quarantine: plain, one entry a message, with what to do about it. RFC 5322, RFC 3834 §5.
//!
//! Pure. Words of strangers are in it only as [`crate::quarantine::shown`] leaves them.

use mail::header::write_field;
use mail::{Address, QueueId, Timestamp};
use policy::Score;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Its name.
    pub(super) id: QueueId,
    /// When it came.
    pub(super) arrived: Timestamp,
    /// Who has written it, by its own account.
    pub(super) from: String,
    /// Its subject.
    pub(super) subject: String,
    /// Its score, and from which score on messages are marked.
    pub(super) score: Option<(Score, Score)>,
    /// Where its recipient writes to have it; none when only an operator releases it.
    pub(super) release: Option<String>,
}

/// What a letter about a release is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Released<'a> {
    /// The postmaster.
    pub(super) from: &'a Address,
    /// The recipient.
    pub(super) to: &'a Address,
    /// Our name.
    pub(super) hostname: &'a str,
    /// Without brackets.
    pub(super) message_id: &'a str,
    /// When.
    pub(super) now: Timestamp,
    /// The message that is released.
    pub(super) id: QueueId,
}

impl Released<'_> {
    /// Header and body, lines ending in CRLF.
    pub(super) fn text(&self) -> String {
        let subject = format!("{} is released", self.id);
        let coding = if self.to.is_ascii() { "7bit" } else { "8bit" };
        let head = header((self.from, self.to), &subject, self.message_id, self.now, coding);
        let body = format!(
            "The message {} that {} kept back for\n{} is on its way to your inbox, as it was sent: somebody who has\nthe \
             letter that we wrote to you about it has asked for that.\n\nIf it was not you, tell your postmaster, and do not follow links in it.\n",
            self.id, self.hostname, self.to
        );
        head + &body.replace('\n', "\r\n")
    }
}

/// A header with the empty line at its end.
fn header(
    (from, to): (&Address, &Address),
    subject: &str,
    message_id: &str,
    now: Timestamp,
    coding: &str,
) -> String {
    let mut out = Vec::new();
    write_field(&mut out, "Date", &[&now.rfc5322()]);
    write_field(&mut out, "From", &["Mail quarantine", &format!("<{from}>")]);
    write_field(&mut out, "To", &[&format!("<{to}>")]);
    write_field(&mut out, "Subject", &[subject]);
    write_field(&mut out, "Message-ID", &[&format!("<{message_id}>")]);
    // RFC 3834 §5: no program shall answer this.
    write_field(&mut out, "Auto-Submitted", &["auto-generated"]);
    write_field(&mut out, "MIME-Version", &["1.0"]);
    write_field(&mut out, "Content-Type", &["text/plain;", "charset=utf-8"]);
    write_field(&mut out, "Content-Transfer-Encoding", &[coding]);
    String::from_utf8_lossy(&out).into_owned() + "\r\n"
}

/// What a letter is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Letter<'a> {
    /// The postmaster.
    pub(super) from: &'a Address,
    /// The recipient.
    pub(super) to: &'a Address,
    /// Our name.
    pub(super) hostname: &'a str,
    /// Without brackets.
    pub(super) message_id: &'a str,
    /// When.
    pub(super) now: Timestamp,
    /// For how many days messages are kept; 0 for ever.
    pub(super) days: u32,
    /// The newest messages, oldest first.
    pub(super) lines: &'a [Line],
    /// How many older ones there are.
    pub(super) left_out: usize,
}

impl Letter<'_> {
    /// Header and body, lines ending in CRLF.
    pub(super) fn text(&self) -> String {
        let count = self.lines.len() + self.left_out;
        let what = if count == 1 { "1 message was".to_owned() } else { format!("{count} messages were") };
        let subject = format!("{what} kept back for you");
        let coding =
            if self.lines.iter().all(Line::is_ascii) && self.to.is_ascii() { "7bit" } else { "8bit" };
        let head = header((self.from, self.to), &subject, self.message_id, self.now, coding);
        head + &self.body(&what).replace('\n', "\r\n")
    }

    fn body(&self, what: &str) -> String {
        let mut text = format!(
            "{what} kept back for {}\nby {}: for a score that says spam, or by a rule there.\n",
            self.to, self.hostname
        );
        if self.left_out > 0 {
            text.push_str(&format!("\n({} older ones are not shown.)\n", self.left_out));
        }
        for line in self.lines {
            text.push_str(&line.text());
        }
        let end = match self.days {
            0 => "What you do not want needs no answer.".to_owned(),
            1 => "What you do not want needs no answer: it is thrown away after a day.".to_owned(),
            days => format!("What you do not want needs no answer: it is thrown away after {days} days."),
        };
        text.push_str(self.how());
        text.push_str(&format!(
            "It arrives in your inbox as it was sent. Do not follow links in, or answer, a\n\
             message that you did not expect.\n\n{end}\n"
        ));
        text
    }

    /// How the recipient comes by a message.
    fn how(&self) -> &'static str {
        let own = self.lines.iter().filter(|line| line.release.is_some()).count();
        match own {
            0 => {
                "\nIf you want one of them, answer this letter and name its id. Your postmaster\nreleases it with\n\n  \
                 staffetta quarantine release ID\n\n"
            }
            all if all == self.lines.len() => {
                "\nIf you want one of them, write to the address behind \"Release\"; the letter may be\nempty. These \
                 addresses are for you alone: do not pass this letter on.\n"
            }
            _ => {
                "\nIf you want one of them, write to the address behind \"Release\"; the letter may be\nempty. These \
                 addresses are for you alone: do not pass this letter on. For one that has\nno such address answer this \
                 letter and name its id: your postmaster looks at it,\nand releases it with\n\n  staffetta quarantine release \
                 ID\n\n"
            }
        }
    }
}

impl Line {
    fn is_ascii(&self) -> bool {
        let release = self.release.as_ref().is_none_or(|address| address.is_ascii());
        self.from.is_ascii() && self.subject.is_ascii() && release
    }

    fn text(&self) -> String {
        let subject = if self.subject.is_empty() { "(none)" } else { &self.subject };
        let from = if self.from.is_empty() { "(nobody)" } else { &self.from };
        let mut text = format!(
            "\n  Id:      {}\n  From:    {from}\n  Subject: {subject}\n  Came:    {}\n",
            self.id,
            self.arrived.rfc5322()
        );
        if let Some((score, required)) = self.score {
            text.push_str(&format!("  Score:   {score} ({required} is marked as spam)\n"));
        }
        if let Some(address) = &self.release {
            // RFC 6068.
            text.push_str(&format!("  Release: <mailto:{address}?subject=release>\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(n: u64, subject: &str) -> Line {
        Line {
            id: QueueId(n),
            arrived: Timestamp(1_795_309_323_456),
            from: "Joe <joe@far.test>".into(),
            subject: subject.into(),
            score: Some((Score::tenths(95), Score::points(5))),
            release: None,
        }
    }

    fn text(lines: &[Line], left_out: usize, days: u32) -> String {
        let [from, to]: [Address; 2] = ["postmaster@a.test", "ann@a.test"].map(|text| text.parse().unwrap());
        Letter {
            from: &from,
            to: &to,
            hostname: "mx.a.test",
            message_id: "1@mx.a.test",
            now: Timestamp(1_795_309_323_456),
            days,
            lines,
            left_out,
        }
        .text()
    }

    #[test]
    fn a_letter_is_this() {
        let want = "\
Date: Sun, 22 Nov 2026 01:02:03 +0000
From: Mail quarantine <postmaster@a.test>
To: <ann@a.test>
Subject: 1 message was kept back for you
Message-ID: <1@mx.a.test>
Auto-Submitted: auto-generated
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 7bit

1 message was kept back for ann@a.test
by mx.a.test: for a score that says spam, or by a rule there.

  Id:      0000000000007
  From:    Joe <joe@far.test>
  Subject: Buy
  Came:    Sun, 22 Nov 2026 01:02:03 +0000
  Score:   9.5 (5.0 is marked as spam)

If you want one of them, answer this letter and name its id. Your postmaster
releases it with

  staffetta quarantine release ID

It arrives in your inbox as it was sent. Do not follow links in, or answer, a
message that you did not expect.

What you do not want needs no answer: it is thrown away after 30 days.
";
        assert_eq!(text(&[line(7, "Buy")], 0, 30), want.replace('\n', "\r\n"));
    }

    #[test]
    fn what_a_recipient_may_release_has_an_address() {
        let own = Line { release: Some("release-x@a.test".into()), ..line(7, "Buy") };
        let text_of = |lines: &[Line]| text(lines, 0, 30).replace("\r\n", "\n");
        let all = text_of(std::slice::from_ref(&own));
        assert!(all.contains("  Release: <mailto:release-x@a.test?subject=release>\n"), "{all}");
        assert!(all.contains("for you alone") && !all.contains("postmaster\nreleases"), "{all}");
        assert!(!all.contains("staffetta quarantine"), "nobody else is needed: {all}");
        let some = text_of(&[own, line(8, "Macro")]);
        assert!(some.contains("for you alone") && some.contains("staffetta quarantine release ID"), "{some}");
        assert!(all.lines().chain(some.lines()).all(|line| line.len() <= 100), "{all}{some}");
    }

    #[test]
    fn a_letter_about_a_release_is_this() {
        let [from, to]: [Address; 2] = ["postmaster@a.test", "ann@a.test"].map(|text| text.parse().unwrap());
        let now = Timestamp(1_795_309_323_456);
        let letter = Released {
            from: &from,
            to: &to,
            hostname: "mx.a.test",
            message_id: "1@mx.a.test",
            now,
            id: QueueId(7),
        };
        let want = "\
Date: Sun, 22 Nov 2026 01:02:03 +0000
From: Mail quarantine <postmaster@a.test>
To: <ann@a.test>
Subject: 0000000000007 is released
Message-ID: <1@mx.a.test>
Auto-Submitted: auto-generated
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 7bit

The message 0000000000007 that mx.a.test kept back for
ann@a.test is on its way to your inbox, as it was sent: somebody who has
the letter that we wrote to you about it has asked for that.

If it was not you, tell your postmaster, and do not follow links in it.
";
        assert_eq!(letter.text(), want.replace('\n', "\r\n"));
    }

    #[test]
    fn what_is_not_shown_is_counted_and_what_is_not_ascii_is_told_so() {
        let text = text(&[line(7, ""), Line { score: None, ..line(8, "Jörg") }], 3, 0);
        for words in [
            "Subject: 5 messages were kept back for you\r\n",
            "Content-Transfer-Encoding: 8bit\r\n",
            "(3 older ones are not shown.)",
            "  Subject: (none)\r\n",
            "  Subject: Jörg\r\n  Came:    Sun, 22 Nov 2026 01:02:03 +0000\r\n\r\n",
            "needs no answer.\r\n",
        ] {
            assert!(text.contains(words), "{words}:\n{text}");
        }
    }
}
