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
        let mut out = Vec::new();
        write_field(&mut out, "Date", &[&self.now.rfc5322()]);
        write_field(&mut out, "From", &["Mail quarantine", &format!("<{}>", self.from)]);
        write_field(&mut out, "To", &[&format!("<{}>", self.to)]);
        write_field(&mut out, "Subject", &[&format!("{what} kept back for you")]);
        write_field(&mut out, "Message-ID", &[&format!("<{}>", self.message_id)]);
        // RFC 3834 §5: no program shall answer this.
        write_field(&mut out, "Auto-Submitted", &["auto-generated"]);
        write_field(&mut out, "MIME-Version", &["1.0"]);
        write_field(&mut out, "Content-Type", &["text/plain;", "charset=utf-8"]);
        let coding =
            if self.lines.iter().all(Line::is_ascii) && self.to.is_ascii() { "7bit" } else { "8bit" };
        write_field(&mut out, "Content-Transfer-Encoding", &[coding]);
        let mut text = String::from_utf8_lossy(&out).into_owned();
        text.push_str("\r\n");
        text.push_str(&self.body(&what).replace('\n', "\r\n"));
        text
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
        text.push_str(&format!(
            "\nIf you want one of them, answer this letter and name its id. Your postmaster\nreleases it with\n\n  \
             staffetta quarantine release ID\n\nand it arrives in your inbox as it was sent. Do not follow links in, or answer, a\n\
             message that you did not expect.\n\n{end}\n"
        ));
        text
    }
}

impl Line {
    fn is_ascii(&self) -> bool {
        self.from.is_ascii() && self.subject.is_ascii()
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

and it arrives in your inbox as it was sent. Do not follow links in, or answer, a
message that you did not expect.

What you do not want needs no answer: it is thrown away after 30 days.
";
        assert_eq!(text(&[line(7, "Buy")], 0, 30), want.replace('\n', "\r\n"));
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
