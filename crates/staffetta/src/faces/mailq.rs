//! `mailq`, `sendmail -bp` and `sendmail -q`: the queue as Postfix prints it, letter by letter; monitoring greps it.
//!
//! Queue ids are longer than ten characters, so that the layout is the one that Postfix has for long ids.

use server::admin::protocol::State;
use server::admin::{Client, ClientError, Filter, MessageView, Order, Request, Response, Select};

use super::exit::Exit;
use super::local_time::arrival_time;
use super::place::Place;
use crate::commands::print_all;

/// The first line.
const HEADING: &str = "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------\n";
/// Where recipients begin.
const RECIPIENT_COLUMN: usize = 47;
/// Reasons end here, when they fit.
const REASON_COLUMNS: usize = 76;

/// Prints the queue.
pub(super) fn print(place: &Place) -> Result<(), Exit> {
    let mut client = Client::connect(&place.admin_socket())?;
    let mut totals = Totals::default();
    let request = Request::List { filter: Filter::default(), limit: 0 };
    client.ask(&request, |item| {
        if let Response::Message(message) = item {
            let text = totals.heading().to_owned() + &entry(&message, arrival_time);
            totals.add(&message);
            print_all(text.as_bytes()).map_err(|e| Exit::io(&e))?;
        }
        Ok::<(), Exit>(())
    })?;
    print_all(totals.trailer().as_bytes()).map_err(|e| Exit::io(&e))
}

/// Asks for attempts now.
pub(super) fn flush(place: &Place, select: Select) -> Result<(), Exit> {
    let mut client = Client::connect(&place.admin_socket())?;
    let request = Request::Steer { order: Order::Retry, select, only: None };
    client.ask(&request, |item| match item {
        Response::Refused { id, why } => Err(Exit::unavailable(format!("{id}: {why}"))),
        _ => Ok(()),
    })?;
    Ok(())
}

impl From<Exit> for ClientError {
    fn from(exit: Exit) -> Self {
        Self::Refused(exit.words)
    }
}

/// Sums for the last line.
#[derive(Debug, Default)]
struct Totals {
    messages: u64,
    bytes: u64,
}

impl Totals {
    /// The heading, before the first message.
    fn heading(&self) -> &'static str {
        if self.messages == 0 { HEADING } else { "" }
    }

    fn add(&mut self, message: &MessageView) {
        self.messages += 1;
        self.bytes += message.size;
    }

    fn trailer(&self) -> String {
        match self.messages {
            0 => "Mail queue is empty\n".to_owned(),
            n => {
                format!("-- {} Kbytes in {n} Request{}.\n", self.bytes / 1024, if n == 1 { "" } else { "s" })
            }
        }
    }
}

/// One message with its recipients, grouped by what was last said about them, and an empty line.
fn entry(message: &MessageView, time: impl Fn(u64) -> String) -> String {
    let mark = match message.state {
        State::Active => "*",
        State::Held | State::Quarantine | State::Damaged => "!",
        State::Deferred => "",
    };
    let sender = if message.sender.is_empty() { "MAILER-DAEMON" } else { &message.sender };
    let id = format!("{}{mark}", message.id);
    let mut text = format!("{id:<17} {:>8} {:>19} {sender}\n", message.size, time(message.arrived.seconds));
    let mut waiting: Vec<(Option<String>, &str)> =
        message.pending().map(|recipient| (recipient.reason(), recipient.address.as_str())).collect();
    waiting.sort_by(|a, b| a.0.cmp(&b.0));
    let mut last: Option<&str> = None;
    for (reason, address) in &waiting {
        if let Some(reason) = reason.as_deref().filter(|reason| last != Some(reason)) {
            let padding = REASON_COLUMNS.saturating_sub(reason.chars().count());
            text.push_str(&format!("{:padding$}({reason})\n", ""));
            last = Some(reason);
        }
        text.push_str(&format!("{:RECIPIENT_COLUMN$}{address}\n", ""));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail::{QueueId, Timestamp};
    use server::admin::RecipientView;

    fn recipient(address: &str, state: &str, reply: Option<&str>) -> RecipientView {
        RecipientView {
            address: address.into(),
            accepted_as: None,
            state: state.into(),
            tried: None,
            peer: None,
            reply: reply.map(ToOwned::to_owned),
        }
    }

    fn message(state: State, sender: &str, size: u64, recipients: Vec<RecipientView>) -> MessageView {
        MessageView {
            id: QueueId(0x0012_3456_789a_bcde),
            state,
            arrived: Timestamp::from_seconds(1_795_312_082).into(),
            age_seconds: 0,
            size,
            sender: sender.into(),
            origin: "mx".into(),
            client: None,
            account: None,
            attempts: 1,
            next_attempt: Timestamp(0).into(),
            filter: None,
            recipients,
        }
    }

    /// What Postfix 3.7 prints for the same queue, but for the ids.
    #[test]
    fn the_layout_is_that_of_postfix() {
        let refused = Some("connect to 127.0.0.1[127.0.0.1]:1: Connection refused");
        let messages = [
            message(State::Deferred, "", 308_811, vec![recipient("big@other.test", "pending", refused)]),
            message(
                State::Held,
                "sender@example.test",
                269,
                vec![
                    recipient("done@other.test", "delivered", None),
                    recipient("rcpt@other.test", "pending", refused),
                    recipient("second@other.test", "pending", refused),
                ],
            ),
            message(
                State::Active,
                "sender@example.test",
                264,
                vec![recipient("new@other.test", "pending", None)],
            ),
        ];
        let mut totals = Totals::default();
        let mut text = String::new();
        for message in &messages {
            text.push_str(totals.heading());
            text.push_str(&entry(message, |_| "Sun Nov 22 01:48:02".to_owned()));
            totals.add(message);
        }
        text.push_str(&totals.trailer());
        let want = "\
----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------
004HMASW9NF6Y       308811 Sun Nov 22 01:48:02 MAILER-DAEMON
                       (connect to 127.0.0.1[127.0.0.1]:1: Connection refused)
                                               big@other.test

004HMASW9NF6Y!         269 Sun Nov 22 01:48:02 sender@example.test
                       (connect to 127.0.0.1[127.0.0.1]:1: Connection refused)
                                               rcpt@other.test
                                               second@other.test

004HMASW9NF6Y*         264 Sun Nov 22 01:48:02 sender@example.test
                                               new@other.test

-- 302 Kbytes in 3 Requests.
";
        assert_eq!(text, want);
    }

    #[test]
    fn recipients_stand_under_their_own_reason() {
        let text = entry(
            &message(
                State::Deferred,
                "a@b.test",
                1,
                vec![
                    recipient("one@c.test", "pending", Some("451 x")),
                    recipient("two@c.test", "pending", Some("452 full")),
                    recipient("three@c.test", "pending", Some("451 x")),
                    recipient("four@c.test", "pending", None),
                ],
            ),
            |_| "Sun Nov 22 01:48:02".to_owned(),
        );
        let words: Vec<&str> = text.lines().skip(1).map(str::trim).collect();
        assert_eq!(
            words,
            ["four@c.test", "(451 x)", "one@c.test", "three@c.test", "(452 full)", "two@c.test", ""]
        );
    }

    #[test]
    fn an_empty_queue_and_one_message_have_their_words() {
        assert_eq!(Totals::default().trailer(), "Mail queue is empty\n");
        assert_eq!(Totals { messages: 1, bytes: 1023 }.trailer(), "-- 0 Kbytes in 1 Request.\n");
    }
}
