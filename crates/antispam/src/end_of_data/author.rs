//! Who a letter is from, and whether that is proven: what DMARC, DKIM and SPF say of the mailboxes in From.
//!
//! Pure; asks and decides nothing. A name is proven by DMARC, or where a domain publishes none by what DMARC would go by
//! (RFC 7489 §3.1): a signature, or SPF for the reverse-path, of the same organisation.

use mail::{Address, Domain, header};
use mail_parser::MessageParser;
use policy::{AuthResult, MessageFacts, SpfIdentity};

use crate::rcpt::greylist::organisation;

/// Addresses of From that are looked at; a letter has one.
const AUTHORS_MAX: usize = 4;
/// Longest From that is read, in octets.
const FROM_BYTES_MAX: usize = 16 << 10;

/// The mailboxes of From, when there is one From.
pub(crate) fn authors(head: &[u8]) -> Vec<Address> {
    let mut fields = header::fields(head).filter(|field| field.is("From"));
    let (Some(from), None) = (fields.next(), fields.next()) else { return Vec::new() };
    let mut text = from.raw().get(..FROM_BYTES_MAX).unwrap_or(from.raw()).to_vec();
    text.extend_from_slice(b"\r\n\r\n");
    let Some(parsed) = MessageParser::new().parse_headers(&text) else { return Vec::new() };
    let mailboxes = parsed.from().into_iter().flat_map(|list| list.iter());
    mailboxes.take(AUTHORS_MAX).filter_map(|mailbox| Address::parse(mailbox.address()?).ok()).collect()
}

/// True when the letter is proven to be from an author in this domain.
pub(crate) fn is_proven(facts: &MessageFacts, domain: &Domain) -> bool {
    let dmarc = facts.auth.dmarc.as_deref();
    if dmarc.is_some_and(|dmarc| dmarc.result == AuthResult::Fail) {
        return false;
    }
    let spf = sender_domain(facts).filter(|sender| sender_is_proven(facts, sender));
    dmarc.is_some_and(|dmarc| dmarc.result.is_pass() && dmarc.from.as_ref() == Some(domain))
        || facts.auth.dkim_domains().any(|signer| same_organisation(signer, domain))
        || spf.is_some_and(|sender| same_organisation(sender, domain))
}

/// True when SPF passes for the reverse-path, and that is in this domain.
pub(crate) fn sender_is_proven(facts: &MessageFacts, domain: &Domain) -> bool {
    let spf = facts.auth.spf.as_ref().filter(|spf| spf.result.is_pass());
    spf.is_some_and(|spf| spf.identity == SpfIdentity::MailFrom && spf.domain.as_ref() == Some(domain))
}

fn sender_domain(facts: &MessageFacts) -> Option<&Domain> {
    facts.mail.reverse_path.mailbox().map(|address| &address.domain)
}

/// A public suffix is nobody's organisation.
fn same_organisation(one: &Domain, other: &Domain) -> bool {
    one == other || organisation(one).is_some_and(|one| organisation(other) == Some(one))
}
