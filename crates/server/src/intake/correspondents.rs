//! Remembers whom our users write to, and in which threads, so that answers are known for such.
//!
//! Who may relay and writes in the name of a domain of ours is a user of it. What programs send by themselves (RFC 3834)
//! asks for no answer, and nor does the null reverse-path. Letters are remembered at once; a memory that does not answer in time
//! remembers no people: mail does not wait for it.

use std::time::Duration;

use antispam::correspondents::Writer;
use antispam::correspondents::threads::Sent;
use bytes::Bytes;
use mail::{Address, header};
use store::Edit;

use crate::clock;
use crate::services::Services;
use crate::session::facts::ClientFacts;
use crate::session::transaction::Transaction;

/// How long a message waits for its recipients to be remembered.
const REMEMBER_TIME: Duration = Duration::from_secs(1);

/// Remembers the recipients elsewhere of a message that is going to be taken. `head` is its header as received, `edits` its
/// changes. Gives the number of those to whom the account
/// has not written before; none when that is not known.
pub async fn remember(
    services: &Services,
    facts: &ClientFacts,
    transaction: &Transaction,
    (head, edits): (&Bytes, &[Edit]),
) -> Option<u64> {
    let is_ours = |address: &&Address| services.router.is_ours(&address.domain);
    let sender = transaction.reverse_path.mailbox().filter(is_ours).filter(|_| !is_automatic(head));
    let writer = Writer { domain: sender.map(|sender| &sender.domain), account: facts.account.as_deref() };
    if writer.domain.is_none() && writer.account.is_none() {
        return Some(0);
    }
    let finals = transaction.recipients.iter().flat_map(|recipient| &recipient.finals);
    let elsewhere = finals.filter(|address| !is_ours(address));
    let sent = Sent::of(&store::edited(head, edits).concat());
    let remembered = services.judge.correspondents().remember(writer, elsewhere, &sent, clock::now());
    tokio::time::timeout(REMEMBER_TIME, remembered).await.ok()?.ok()
}

/// RFC 3834 §5: anything but `no` says that no person has written it.
fn is_automatic(head: &[u8]) -> bool {
    header::find(head, "Auto-Submitted").is_some_and(|field| {
        let text = field.text();
        let word = text.split([';', '(']).next().unwrap_or_default().trim();
        !word.eq_ignore_ascii_case("no")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_write_by_themselves_says_so() {
        for (head, automatic) in [
            ("Subject: x\r\n\r\n", false),
            ("Auto-Submitted: no\r\n\r\n", false),
            ("auto-submitted: No (a person)\r\n\r\n", false),
            ("Auto-Submitted: auto-replied; owner=a@b.test\r\n\r\n", true),
            ("Auto-Submitted: auto-generated\r\n\r\n", true),
        ] {
            assert_eq!(is_automatic(head.as_bytes()), automatic, "{head}");
        }
    }
}
