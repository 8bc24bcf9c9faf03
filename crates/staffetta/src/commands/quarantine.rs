//! `staffetta quarantine`: what was taken and kept back, why, and what to do about it. Speaks to the running server over
//! `admin.sock`.
//!
//! Messages in quarantine are messages of the queue; here only those are listed and touched. Learning is done by this
//! command itself, as `staffetta learn` does it. What strangers have written is never sent to the terminal as it is.

mod safe;

use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mail::{Address, QueueId};
use server::admin::protocol::State;
use server::admin::{Client, Filter, KeptView, Order, Request, Response, Select};
use server::learning::{Class, READ_BYTES_MAX, Read, read};
use tables::address::without_tag;

use super::asking::{self, About, Failed, ListArgs, Listing, Nouns, Place, not_understood, short_age};
use super::learn::report::{self, Report};
use super::{Outcome, learn, print_all};

/// Symbols named in a line of the table.
const SYMBOLS_SHOWN: usize = 4;
/// Octets of a message that are shown.
const SHOWN_BYTES_MAX: usize = 1 << 20;

/// What was taken and kept back: why, and what to do about it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  staffetta quarantine list                            what is kept back, and why
  staffetta quarantine show 00JX4M8ZQ0001              the verdict in plain words, and the header
  staffetta quarantine release 00JX4M8ZQ0001           into the inbox, as it was sent

Kept for [antispam.quarantine] days. With digest_times_utc there, recipients hear of it by mail.")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Print what is kept back, oldest first
    #[command(after_help = "\
Examples:
  staffetta quarantine list
  staffetta quarantine list --recipient joe@example.test --younger 1d
  staffetta quarantine list --sender '@example.net'
  staffetta quarantine list --json | jq -r 'select(.score < 10) | .id'")]
    List {
        #[command(flatten)]
        about: About,
        #[command(flatten)]
        how: ListArgs,
    },
    /// Print the verdict in plain words, and the header
    #[command(after_help = "\
Examples:
  staffetta quarantine show 00JX4M8ZQ0001
  staffetta quarantine show 00JX4M8ZQ0001 --body | less

Control characters are written out, such as \\u{1b}. As it is: staffetta queue cat.")]
    Show {
        /// Its queue id
        id: QueueId,
        /// Print the body too, its first 1 MiB
        #[arg(long)]
        body: bool,
        /// Print an object instead, for programs
        #[arg(long, conflicts_with = "body")]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Deliver messages after all: into the inbox, as they were sent
    #[command(after_help = "\
Examples:
  staffetta quarantine release 00JX4M8ZQ0001
  staffetta quarantine release 00JX4M8ZQ0001 --also-learn-ham
  staffetta quarantine release 00JX4M8ZQ0001 --recipient joe@example.test
  staffetta quarantine release --sender '@example.net' --recipient joe@example.test

With queue ids, --recipient says to whom, an address as the list shows it: the copies of others
stay. Without, it says which messages, and they are released to all.")]
    Release {
        #[command(flatten)]
        which: Which,
        /// Teach the classifier that they are no spam
        #[arg(long)]
        also_learn_ham: bool,
    },
    /// Throw messages away, without telling anybody
    #[command(after_help = "\
Examples:
  staffetta quarantine delete 00JX4M8ZQ0001
  staffetta quarantine delete --older 7d --also-learn-spam")]
    Delete {
        #[command(flatten)]
        which: Which,
        /// Teach the classifier that they are spam
        #[arg(long)]
        also_learn_spam: bool,
    },
    /// Teach the classifier what they are; they stay where they are
    #[command(after_help = "\
Examples:
  staffetta quarantine learn --spam 00JX4M8ZQ0001 00JX4M8ZQ0002
  staffetta quarantine learn --spam --report 00JX4M8ZQ0001
  staffetta quarantine learn --spam --older 3d")]
    #[command(group = clap::ArgGroup::new("class").required(true).args(["spam", "ham"]))]
    Learn {
        /// They are spam
        #[arg(long)]
        spam: bool,
        /// They are not spam
        #[arg(long)]
        ham: bool,
        /// Report them to the Pyzor servers of [[antispam.scanner]] too, spam as spam and ham as none: a digest, no word
        #[arg(long)]
        report: bool,
        #[command(flatten)]
        which: Which,
    },
    /// Write to recipients now about what is new for them, whatever the time
    #[command(after_help = "\
Examples:
  staffetta quarantine digest")]
    Digest {
        #[command(flatten)]
        place: Place,
    },
}

/// Which messages, and where the server is.
#[derive(Debug, clap::Args)]
struct Which {
    /// Queue ids
    #[arg(conflicts_with_all = ["sender", "domain", "older", "younger"])]
    ids: Vec<QueueId>,
    #[command(flatten)]
    about: About,
    /// Every message in quarantine
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    #[command(flatten)]
    place: Place,
}

impl Which {
    /// True when it names messages, and one of those for whom they are kept back.
    fn names_copies(&self) -> bool {
        !self.ids.is_empty() && self.about.recipient.is_some()
    }

    /// The messages, each for everybody for whom it is kept back.
    fn whole(self) -> Result<(Select, Place), &'static str> {
        if self.names_copies() {
            return Err(
                "queue ids name messages with all their copies: --recipient with them is for release alone",
            );
        }
        let Self { ids, about, all, place } = self;
        Ok((asking::select(ids, about.into_filter(), all)?, place))
    }
}

pub(crate) fn run(args: Args) -> Outcome {
    match args.what {
        What::List { about, how } => list(about.into_filter(), &how),
        What::Show { id, body, json, place } => show(id, body, json, &place),
        What::Release { which, also_learn_ham } if which.names_copies() => {
            release_copies(which, also_learn_ham.then_some(Class::Ham))
        }
        What::Release { which, also_learn_ham } => {
            steer(Order::Release, which, also_learn_ham.then_some(Class::Ham), "released")
        }
        What::Delete { which, also_learn_spam } => {
            steer(Order::Delete, which, also_learn_spam.then_some(Class::Spam), "deleted")
        }
        What::Learn { spam, report, which, .. } => {
            let (select, place) = which.whole()?;
            let class = if spam { Class::Spam } else { Class::Ham };
            let report = report.then(|| Report::prepare(&place.config)).transpose()?;
            let (_, failed) = teach(select, None, class, &place, report)?;
            Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
        What::Digest { place } => {
            let (count, _) = place.connect()?.ask(&Request::QuarantineDigest, |_| Ok::<(), Failed>(()))?;
            println!("{count} letter{} sent", if count == 1 { "" } else { "s" });
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn list(filter: Filter, ListArgs { json, limit, place }: &ListArgs) -> Outcome {
    let heading = ["Queue id", "Age", "Score", "Recipients", "From", "Subject", "Symbols"];
    let nouns = Nouns { none: "nothing is in quarantine", one: "message", many: "messages" };
    let mut listing = Listing::new(*json, heading, nouns);
    let asked =
        place.connect()?.ask(&Request::QuarantineList { filter, limit: *limit }, |item| match item {
            Response::Kept(kept) => listing.take(&kept, || row(&kept)),
            _ => Ok(()),
        })?;
    listing.end(asked)
}

fn row(kept: &KeptView) -> [String; 7] {
    let mut waiting = kept.message.pending().map(|recipient| recipient.address.clone());
    let first = waiting.next().unwrap_or_default();
    let others = waiting.count();
    let mut symbols: Vec<String> =
        kept.symbols.iter().take(SYMBOLS_SHOWN).map(|(symbol, _)| symbol.clone()).collect();
    if kept.symbols.len() > SYMBOLS_SHOWN {
        symbols.push(format!("and {} more", kept.symbols.len() - SYMBOLS_SHOWN));
    }
    [
        kept.message.id.to_string(),
        short_age(kept.message.age_seconds),
        kept.score.map_or_else(|| "-".to_owned(), |score| score.to_string()),
        if others == 0 { first } else { format!("{first} and {others} more") },
        if kept.from.is_empty() { sender(kept) } else { kept.from.clone() },
        kept.subject.clone(),
        symbols.join(" "),
    ]
}

fn sender(kept: &KeptView) -> String {
    if kept.message.sender.is_empty() { "<>".to_owned() } else { kept.message.sender.clone() }
}

fn show(id: QueueId, with_body: bool, json: bool, place: &Place) -> Outcome {
    let mut client = place.connect()?;
    let (mut kept, mut verdicts) = (None, Vec::new());
    client.ask(&Request::QuarantineShow { id }, |item| {
        match item {
            Response::Kept(view) => kept = Some(view),
            Response::Verdict { record, text } => verdicts.push((record, text)),
            _ => {}
        }
        Ok::<(), Failed>(())
    })?;
    let kept = kept.ok_or_else(|| not_understood("it tells nothing"))?;
    // They come newest first.
    verdicts.reverse();
    if json {
        let records: Vec<_> = verdicts.iter().map(|(record, _)| record).collect();
        let object = serde_json::json!({ "message": kept, "verdicts": records });
        print_all(format!("{object:#}\n").as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = described(&kept);
    match verdicts.is_empty() {
        true => text.push_str(&format!("\n{}", known(&kept))),
        false => verdicts.iter().for_each(|(_, words)| text.push_str(&format!("\n{words}"))),
    }
    let octets = octets_of(&mut client, id, SHOWN_BYTES_MAX)?;
    let end = if with_body { octets.len() } else { mail::header::body_offset(&octets) };
    let said = safe::text(octets.get(..end).unwrap_or(&octets));
    text.push_str(&format!("\n{}\n", said.trim_end()));
    print_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// A message in words.
fn described(kept: &KeptView) -> String {
    let message = &kept.message;
    let mut text = format!("{}  in quarantine\n  from:       {}\n", message.id, kept.from);
    text.push_str(&format!("  subject:    {}\n  sender:     {}\n", kept.subject, sender(kept)));
    for recipient in message.pending() {
        text.push_str(&format!("  for:        {}\n", recipient.address));
    }
    text.push_str(&format!(
        "  came in:    {} ({} ago)\n",
        message.arrived.time,
        short_age(message.age_seconds)
    ));
    let until = kept.kept_until.as_ref().map_or("released or deleted", |moment| &moment.time);
    text.push_str(&format!("  kept until: {until}\n"));
    text
}

/// What is left of a verdict that history has forgotten: it came with the message.
fn known(kept: &KeptView) -> String {
    let Some(score) = kept.score else {
        return "No verdict about it is kept: [antispam] history_days are over, or it was kept back for another reason, such as \
                a report that nobody could be sent.\n"
            .to_owned();
    };
    let symbols: Vec<String> =
        kept.symbols.iter().map(|(symbol, points)| format!("  {points:>+8}  {symbol}\n")).collect();
    format!(
        "Its score was {score}; more is not kept, as [antispam] history_days are over.\n{}",
        symbols.concat()
    )
}

/// The first octets of a message, as they are stored and with our lines on top.
fn octets_of(client: &mut Client, id: QueueId, bytes_max: usize) -> Result<Vec<u8>, Failed> {
    let mut octets = Vec::new();
    client.ask(&Request::Cat { id }, |item| {
        if let Response::Bytes(text) = item {
            let piece = BASE64.decode(text).map_err(not_understood)?;
            octets.extend(piece.into_iter().take(bytes_max.saturating_sub(octets.len())));
        }
        Ok::<(), Failed>(())
    })?;
    Ok(octets)
}

fn steer(order: Order, which: Which, class: Option<Class>, done: &str) -> Outcome {
    let (mut select, place) = which.whole()?;
    if let Some(class) = class {
        // Before they go; and only those that were read.
        let (ids, failed) = teach(select, None, class, &place, None)?;
        if failed {
            return Ok(ExitCode::FAILURE);
        }
        select = Select::Ids(ids);
    }
    asking::steer(&Request::Steer { order, select, only: Some(State::Quarantine) }, &place, done)
}

/// Releases to one recipient what is kept back for others too.
fn release_copies(which: Which, class: Option<Class>) -> Outcome {
    let Which { mut ids, about, place, .. } = which;
    let text = about.recipient.unwrap_or_default();
    let recipient = Address::parse(&text).map_err(|error| {
        format!("`{text}`: {error}: with queue ids, --recipient is one address, as the list shows it")
    })?;
    if let Some(class) = class {
        let (read, failed) = teach(Select::Ids(ids), Some(&recipient), class, &place, None)?;
        if failed {
            return Ok(ExitCode::FAILURE);
        }
        ids = read;
    }
    asking::steer(&Request::QuarantineRelease { ids, recipient }, &place, "released")
}

/// Teaches the classifier, and who is to be told besides; of somebody's copies, when one is named, that one's filter alone
/// besides the shared one. Gives which messages were meant, and whether some of them could not
/// be read or reported.
fn teach(
    select: Select,
    whose: Option<&Address>,
    class: Class,
    place: &Place,
    mut report: Option<Report>,
) -> Result<(Vec<QueueId>, bool), Box<dyn std::error::Error>> {
    let (school, delimiter) = learn::configured_with_delimiter(&place.config)?;
    let mut client = place.connect()?;
    let ids = match select {
        Select::Ids(ids) => ids,
        Select::Filter(filter) => {
            let mut ids = Vec::new();
            client.ask(&Request::QuarantineList { filter, limit: 0 }, |item| {
                if let Response::Kept(kept) = item {
                    ids.push(kept.message.id);
                }
                Ok::<(), Failed>(())
            })?;
            ids
        }
    };
    let (mut messages, mut failed) = (Vec::new(), false);
    for id in &ids {
        match read_one(&mut client, *id, &mut report) {
            Ok((mut recipients, message)) => {
                if let Some(whose) = whose {
                    recipients.retain(|one| one.lookup_key() == whose.lookup_key());
                    if recipients.is_empty() {
                        eprintln!("staffetta: {id}: it is not for <{whose}>");
                        failed = true;
                        continue;
                    }
                }
                let mailboxes =
                    recipients.iter().map(|one| without_tag(one, delimiter).unwrap_or(one.clone()));
                messages.push((mailboxes.collect(), message));
            }
            Err(Failed::Client(server::admin::ClientError::Refused(why))) => {
                eprintln!("staffetta: {id}: {why}");
                failed = true;
            }
            Err(error) => return Err(error.into()),
        }
    }
    if !messages.is_empty() {
        print_all(learn::teach(&school, messages, class)?.as_bytes())?;
    }
    if let Some(report) = report {
        let reported = report.send(class);
        print_all(reported.text().as_bytes())?;
        failed |= reported.failed > 0;
    }
    Ok((ids, failed))
}

/// Only what is in quarantine is read; with those to whom it was to go.
fn read_one(
    client: &mut Client,
    id: QueueId,
    report: &mut Option<Report>,
) -> Result<(Vec<Address>, Read), Failed> {
    let mut recipients = Vec::new();
    client.ask(&Request::QuarantineShow { id }, |item| {
        if let Response::Kept(kept) = item {
            let addresses =
                kept.message.recipients.iter().map(|recipient| Address::parse(&recipient.address));
            recipients.extend(addresses.flatten());
        }
        Ok::<(), Failed>(())
    })?;
    let bytes_max = if report.is_some() { report::READ_BYTES_MAX } else { READ_BYTES_MAX };
    let octets = octets_of(client, id, bytes_max)?;
    if let Some(report) = report {
        report.take(&octets);
    }
    Ok((recipients, read(octets.get(..READ_BYTES_MAX).unwrap_or(&octets))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> KeptView {
        serde_json::from_str(
            r#"{"id":"0000000000007","state":"quarantine","arrived":{"time":"2026-11-22T01:48:02.000Z","seconds":1795312082},
            "age_seconds":7260,"size":4096,"sender":"x@far.test","origin":"mx","attempts":0,
            "next_attempt":{"time":"2026-11-22T01:48:02.000Z","seconds":1795312082},
            "recipients":[{"address":"a@b.test","state":"pending"},{"address":"c@b.test","state":"pending"}],
            "from":"Joe <joe@far.test>","subject":"Buy","score":9.5,
            "symbols":[["A",4.0],["B",3.0],["C",1.5],["D",0.5],["E",0.5]],
            "kept_until":{"time":"2026-12-22T01:48:02.000Z","seconds":1797904082}}"#,
        )
        .unwrap()
    }

    #[test]
    fn a_row_shows_what_it_is_and_why() {
        assert_eq!(
            row(&kept()),
            [
                "0000000000007",
                "2h 1m",
                "9.5",
                "a@b.test and 1 more",
                "Joe <joe@far.test>",
                "Buy",
                "A B C D and 1 more"
            ]
        );
        let bare = KeptView { from: String::new(), score: None, symbols: Vec::new(), ..kept() };
        assert_eq!(row(&bare)[2..5], ["-", "a@b.test and 1 more", "x@far.test"]);
    }

    #[test]
    fn a_message_is_described_whole() {
        let want = "\
0000000000007  in quarantine
  from:       Joe <joe@far.test>
  subject:    Buy
  sender:     x@far.test
  for:        a@b.test
  for:        c@b.test
  came in:    2026-11-22T01:48:02.000Z (2h 1m ago)
  kept until: 2026-12-22T01:48:02.000Z
";
        assert_eq!(described(&kept()), want);
        let for_ever = KeptView { kept_until: None, ..kept() };
        assert!(described(&for_ever).ends_with("kept until: released or deleted\n"));
    }

    #[test]
    fn without_a_verdict_it_says_what_it_knows() {
        assert!(known(&kept()).starts_with("Its score was 9.5;"));
        assert!(known(&kept()).contains("\n      +4.0  A\n"), "{}", known(&kept()));
        assert!(known(&KeptView { score: None, ..kept() }).starts_with("No verdict"));
    }
}
