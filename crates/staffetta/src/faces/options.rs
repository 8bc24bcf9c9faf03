//! The command line of `sendmail`, as Postfix reads it: sendmail(1).
//!
//! Options and recipients may stand in any order, `--` ends the options, options without a value may be joined. What
//! Postfix accepts and ignores is accepted and ignored here; what it cannot do is `EX_USAGE`, with the reason.

use std::path::{Path, PathBuf};

use mail::{Notify, QueueId, Ret};
use server::admin::{Filter, Select};
use server::submit::addresses;
use server::submit::client::Envelope;

use super::exit::Exit;

/// Options that take a value, joined or as the next word.
const WITH_VALUE: &str = "ABCFLNOPRVXbefhopr";
/// Options that take none.
const WITHOUT_VALUE: &str = "GIUimntvxE";

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Mode {
    /// `-bm`: a message on standard input.
    #[default]
    Deliver,
    /// `-bs`: SMTP on standard input and output.
    Dialogue,
    /// `-bp`: print the queue.
    List,
    /// `-q`, `-qR`, `-qI`: try messages now.
    Flush(Select),
    /// `-bi`, `-I`: look at the aliases.
    Newaliases,
}

/// All that the command line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) mode: Mode,
    /// Without `-i`: a line with a single dot ends the message.
    pub(super) dot_ends: bool,
    /// `-t`: recipients are in the header.
    pub(super) recipients_in_header: bool,
    /// Sender, recipients and wishes; recipients are those of the command line.
    pub(super) envelope: Envelope,
    /// `-F`.
    pub(super) full_name: Option<String>,
    /// `-C`.
    pub(super) config: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mode: Mode::Deliver,
            dot_ends: true,
            recipients_in_header: false,
            envelope: Envelope::default(),
            full_name: None,
            config: None,
        }
    }
}

impl Options {
    /// Reads the command line, without the program's name.
    pub(super) fn parse(arguments: &[String]) -> Result<Self, Exit> {
        let mut options = Self::default();
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            if word == "--" {
                words.by_ref().for_each(|recipient| options.recipient(recipient));
            } else if word.len() > 1 && word.starts_with('-') {
                options.cluster(word.get(1..).unwrap_or_default(), &mut words)?;
            } else {
                options.recipient(word);
            }
        }
        Ok(options)
    }

    /// One word of options: `-tif`, `-fanna@a.test`, `-oi`.
    fn cluster<'a>(
        &mut self,
        cluster: &str,
        words: &mut impl Iterator<Item = &'a String>,
    ) -> Result<(), Exit> {
        let mut rest = cluster;
        while let Some(option) = rest.chars().next() {
            rest = rest.get(option.len_utf8()..).unwrap_or_default();
            // The value of -q is always joined, and may be missing.
            if option == 'q' {
                return self.flush(rest);
            }
            if WITH_VALUE.contains(option) {
                let value = if rest.is_empty() { words.next().map(String::as_str) } else { Some(rest) };
                let value = value.ok_or_else(|| Exit::usage(format!("-{option} needs a value")))?;
                return self.with_value(option, value);
            }
            if !WITHOUT_VALUE.contains(option) {
                return Err(Exit::usage(format!("unknown option -{option}")));
            }
            self.without_value(option)?;
        }
        Ok(())
    }

    fn without_value(&mut self, option: char) -> Result<(), Exit> {
        match option {
            'i' => self.dot_ends = false,
            't' => self.recipients_in_header = true,
            'I' => self.mode = Mode::Newaliases,
            'n' => return Err(Exit::usage("-n is not supported: aliases always apply")),
            // Known and without a meaning here: -G, -U, -m, -v, -x, -E.
            _ => {}
        }
        Ok(())
    }

    fn with_value(&mut self, option: char, value: &str) -> Result<(), Exit> {
        match option {
            'f' | 'r' => self.envelope.sender = Some(sender(value)),
            'F' => self.full_name = Some(value.to_owned()),
            'C' => self.configuration(Path::new(value)),
            'N' => self.envelope.notify = Some(notify(value)?),
            'R' => self.envelope.ret = Some(ret(value)?),
            'V' => self.envelope.envid = Some(value.to_owned()),
            'B' if !["7bit", "8bitmime"].contains(&value.to_lowercase().as_str()) => {
                return Err(Exit::usage("-B needs 7BIT or 8BITMIME"));
            }
            'X' => return Err(Exit::usage("-X is not supported: the server's log has every dialogue")),
            'b' => self.mode(value)?,
            // -oi; all other -o settings of old are accepted, as are -A, -L, -O, -P, -e, -h, -p and -B.
            'o' if value == "i" => self.dot_ends = false,
            _ => {}
        }
        Ok(())
    }

    fn mode(&mut self, value: &str) -> Result<(), Exit> {
        self.mode = match value {
            "m" => Mode::Deliver,
            "s" => Mode::Dialogue,
            "p" => Mode::List,
            "i" => Mode::Newaliases,
            "d" | "D" | "l" => {
                return Err(Exit::usage(format!("-b{value} is not done here: staffetta serve")));
            }
            _ => return Err(Exit::usage(format!("-b{value} is not supported"))),
        };
        Ok(())
    }

    /// `-q`, `-qRsite`, `-qIid`; an interval (`-q30m`) is for daemons, and ignored.
    fn flush(&mut self, value: &str) -> Result<(), Exit> {
        let select = match value.split_at_checked(1) {
            None => Select::Filter(Filter::default()),
            Some(("R", site)) if !site.is_empty() => {
                Select::Filter(Filter { domain: Some(site.to_owned()), ..Filter::default() })
            }
            Some(("I", id)) => {
                let id: QueueId = id.parse().map_err(|e| Exit::usage(format!("-qI{id}: {e}")))?;
                Select::Ids(vec![id])
            }
            Some((first, _)) if first.starts_with(|c: char| c.is_ascii_digit()) => return Ok(()),
            Some(_) => {
                return Err(Exit::usage(format!("-q{value} is not supported; -q, -qRdomain and -qIid are")));
            }
        };
        self.mode = Mode::Flush(select);
        Ok(())
    }

    /// A configuration of ours; scripts that were written for another mail server name its own, which is passed over.
    fn configuration(&mut self, path: &Path) {
        if path.extension().is_some_and(|extension| extension == "toml") {
            self.config = Some(path.to_owned());
        }
    }

    /// A recipient, or several with commas, in any dress.
    fn recipient(&mut self, word: &str) {
        self.envelope.recipients.extend(addresses::find(word).into_iter().map(|found| found.text));
    }
}

/// The address of `-f`: `anna@a.test`, `<anna@a.test>`, `Anna <anna@a.test>`; nothing, or `<>`, is the null reverse-path.
fn sender(value: &str) -> String {
    addresses::find(value).into_iter().next().map(|found| found.text).unwrap_or_default()
}

/// `never`, or any of `success,failure,delay` (RFC 3461 §4.1).
fn notify(value: &str) -> Result<Notify, Exit> {
    let mut notify = Notify { explicit: true, success: false, failure: false, delay: false };
    for word in value.split(',').map(|word| word.trim().to_lowercase()) {
        match word.as_str() {
            "never" if value.trim().eq_ignore_ascii_case("never") => {}
            "success" => notify.success = true,
            "failure" => notify.failure = true,
            "delay" => notify.delay = true,
            _ => return Err(Exit::usage(format!("-N {value}: never, or any of success,failure,delay"))),
        }
    }
    Ok(notify)
}

/// `full` or `hdrs` (RFC 3461 §4.3).
fn ret(value: &str) -> Result<Ret, Exit> {
    match value.to_lowercase().as_str() {
        "full" => Ok(Ret::Full),
        "hdrs" => Ok(Ret::Headers),
        _ => Err(Exit::usage(format!("-R {value}: full or hdrs"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, Exit> {
        let words: Vec<String> = line.split('|').filter(|w| !w.is_empty()).map(ToOwned::to_owned).collect();
        Options::parse(&words)
    }

    #[test]
    fn what_programs_say_is_understood() {
        // PHP's mail(), cron, Mailman, git send-email, and what people type.
        let php = parse("-t|-i|-fwww@a.test").unwrap();
        assert!(php.recipients_in_header && !php.dot_ends);
        assert_eq!(php.envelope.sender.as_deref(), Some("www@a.test"));
        let cron = parse("-FCronDaemon|-i|-B8BITMIME|-oem|root").unwrap();
        assert_eq!(
            (cron.full_name.as_deref(), cron.envelope.recipients.as_slice()),
            (Some("CronDaemon"), &["root".to_owned()][..])
        );
        let joined = parse("-tioi|-f|<a@b.test>").unwrap();
        assert!(joined.recipients_in_header && !joined.dot_ends);
        assert_eq!(joined.envelope.sender.as_deref(), Some("a@b.test"));
        let mixed = parse("a@b.test|-f|x@y.test|c@d.test, \"E\" <e@f.test>|--|-g@h.test").unwrap();
        assert_eq!(mixed.envelope.recipients, ["a@b.test", "c@d.test", "e@f.test", "-g@h.test"]);
        for null in ["-f|<>", "-f|", "-r|<>|x"] {
            // An empty word cannot be written in this test's notation: `-f` at the end wants a value.
            if let Ok(options) = parse(null) {
                assert_eq!(options.envelope.sender.as_deref(), Some(""), "{null}");
            }
        }
        assert_eq!(
            Options::parse(&["-f".into(), String::new()]).unwrap().envelope.sender.as_deref(),
            Some("")
        );
    }

    #[test]
    fn wishes_about_reports_are_read() {
        let options = parse("-N|success,DELAY|-R|hdrs|-V|id 7|a@b.test").unwrap().envelope;
        let notify = options.notify.unwrap();
        assert!(notify.explicit && notify.success && notify.delay && !notify.failure);
        assert_eq!((options.ret, options.envid.as_deref()), (Some(Ret::Headers), Some("id 7")));
        assert_eq!(parse("-Nnever|a").unwrap().envelope.notify, Some(Notify::NEVER));
    }

    #[test]
    fn modes_are_told_apart() {
        for (line, mode) in [
            ("-bm", Mode::Deliver),
            ("-bs", Mode::Dialogue),
            ("-b|p", Mode::List),
            ("-bi", Mode::Newaliases),
            ("-I", Mode::Newaliases),
            ("-q", Mode::Flush(Select::Filter(Filter::default()))),
            ("-q30m", Mode::Deliver),
            ("-qI0000000000007", Mode::Flush(Select::Ids(vec![QueueId(7)]))),
        ] {
            assert_eq!(parse(line).unwrap().mode, mode, "{line}");
        }
        let Mode::Flush(Select::Filter(filter)) = parse("-qRb.test").unwrap().mode else { panic!() };
        assert_eq!(filter.domain.as_deref(), Some("b.test"));
    }

    #[test]
    fn what_has_no_meaning_here_is_accepted() {
        let line =
            "-G|-U|-m|-v|-x|-A|c|-L|tag|-O|Timeout=3|-p|smtp|-h|3|-em|-om|-oA/etc/aliases|-oem|a@b.test";
        assert_eq!(parse(line).unwrap().envelope.recipients, ["a@b.test"]);
        assert_eq!(parse("-C|/etc/postfix/main.cf|a").unwrap().config, None);
        assert_eq!(parse("-C/srv/s.toml|a").unwrap().config.as_deref(), Some(Path::new("/srv/s.toml")));
    }

    #[test]
    fn what_cannot_be_done_is_a_mistake_of_usage() {
        for line in [
            "-Z",
            "-bt",
            "-bd",
            "-n",
            "-X|log",
            "-B|foo",
            "-f",
            "-Nbogus",
            "-Nnever,delay",
            "-Rfoo",
            "-qSx",
            "-qIx",
            "-aq",
        ] {
            assert_eq!(parse(line).unwrap_err().code, 64, "{line}");
        }
    }
}
