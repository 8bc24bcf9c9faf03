//! The Received line that we put on top of what we accept (RFC 5321 §4.4).

use mail::received::{FromClause, Received, Source, TlsClause, With};
use mail::{Address, Timestamp};

use crate::services::Services;
use crate::session::facts::ClientFacts;
use crate::session::transaction::Transaction;

/// The line for one message that came at this time. The client is hidden for submissions, unless the settings show it.
#[must_use]
pub fn received(
    services: &Services,
    facts: &ClientFacts,
    transaction: &Transaction,
    at: Timestamp,
) -> Vec<u8> {
    let addresses: Vec<Address> = transaction.recipients.iter().map(|r| r.accepted_as.clone()).collect();
    let submitted = facts.account.is_some();
    let source = match (&facts.local_user, facts.client) {
        (Some(user), _) => Source::Local { user: &user.user },
        (None, Some(_)) if submitted && services.config.submission.hide_client => Source::Hidden,
        (None, Some(client)) => Source::Client(FromClause {
            helo: facts.helo.as_deref().unwrap_or("unknown"),
            client,
            verified_name: facts.verified_name.as_deref(),
        }),
        (None, None) => Source::Hidden,
    };
    Received {
        source,
        by: services.config.hostname.as_str(),
        with: With {
            lmtp: false,
            extended: facts.extended,
            smtputf8: transaction.smtputf8,
            tls: facts.tls.is_some(),
            authenticated: submitted,
        },
        tls: facts.tls.as_ref().map(|tls| TlsClause { version: &tls.version, cipher: &tls.cipher }),
        id: transaction.id,
        recipients: &addresses,
        at,
    }
    .to_bytes()
}
