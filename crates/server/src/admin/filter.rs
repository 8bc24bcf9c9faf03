//! Which messages a command is for: by sender, recipient, domain, age, state, words.
//!
//! All that is given must hold. Recipients that are done do not count: a filter is about what still waits.

use serde::{Deserialize, Serialize};

use super::protocol::{MessageView, State};

/// Conditions; an empty one lets everything through.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// The sender: an address, `@domain`, a pattern with `*`, or `<>` for the null reverse-path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// A waiting recipient: an address, `@domain`, or a pattern with `*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// The domain of a waiting recipient; `.domain` for its subdomains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// At least this old.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_than_seconds: Option<u64>,
    /// At most this old.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub younger_than_seconds: Option<u64>,
    /// In this state; `held` includes quarantine and damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// These words in what was last said about a waiting recipient, in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Handed in by this account, or local user; a pattern with `*` too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

impl Filter {
    /// True when the message passes.
    #[must_use]
    pub fn lets_through(&self, message: &MessageView) -> bool {
        let given =
            |condition: &Option<String>, holds: &dyn Fn(&str) -> bool| condition.as_deref().is_none_or(holds);
        given(&self.sender, &|pattern| matches_address(pattern, &message.sender))
            && given(&self.recipient, &|pattern| {
                message.pending().any(|r| matches_address(pattern, &r.address))
            })
            && given(&self.domain, &|domain| message.pending().any(|r| is_in_domain(domain, &r.address)))
            && given(&self.account, &|pattern| {
                message.account.as_deref().is_some_and(|account| matches_address(pattern, account))
            })
            && given(&self.reason, &|words| message.pending().any(|r| says(words, r.reason())))
            && self.older_than_seconds.is_none_or(|age| message.age_seconds >= age)
            && self.younger_than_seconds.is_none_or(|age| message.age_seconds <= age)
            && self.state.is_none_or(|state| is_in_state(state, message.state))
    }
}

fn is_in_state(wanted: State, actual: State) -> bool {
    let held = matches!(actual, State::Held | State::Quarantine | State::Damaged);
    wanted == actual || (wanted == State::Held && held)
}

fn says(words: &str, reason: Option<String>) -> bool {
    reason.is_some_and(|reason| reason.to_lowercase().contains(&words.to_lowercase()))
}

fn is_in_domain(domain: &str, address: &str) -> bool {
    let actual = address.rsplit_once('@').map_or("", |(_, d)| d).to_lowercase();
    let wanted = domain.trim_start_matches('@').to_lowercase();
    if wanted.starts_with('.') { actual.ends_with(&wanted) } else { actual == wanted }
}

fn matches_address(pattern: &str, address: &str) -> bool {
    let (pattern, address) = (pattern.to_lowercase(), address.to_lowercase());
    match pattern.as_str() {
        "<>" | "" => address.is_empty(),
        p if p.contains('*') => matches_glob(p, &address),
        p if p.starts_with('@') => address.ends_with(p),
        p => address == p,
    }
}

/// `*` stands for any run of characters. Linear: what lies between two stars is looked for once, leftmost.
fn matches_glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::super::protocol::{Moment, RecipientView};
    use super::*;
    use mail::{QueueId, Timestamp};

    fn message() -> MessageView {
        let recipient = |address: &str, state: &str, reply: Option<&str>| RecipientView {
            address: address.into(),
            accepted_as: None,
            state: state.into(),
            tried: None,
            peer: None,
            reply: reply.map(ToOwned::to_owned),
        };
        MessageView {
            id: QueueId(1),
            state: State::Quarantine,
            arrived: Moment::from(Timestamp(0)),
            age_seconds: 100,
            size: 1,
            sender: "Anna.Rossi@A.test".into(),
            origin: "mx".into(),
            client: None,
            account: Some("anna@a.test".into()),
            attempts: 1,
            next_attempt: Moment::from(Timestamp(0)),
            filter: None,
            recipients: vec![
                recipient("done@done.test", "delivered", Some("250 ok")),
                recipient("b@mx.b.test", "pending", Some("451 4.7.1 Greylisted")),
            ],
        }
    }

    #[allow(clippy::needless_pass_by_value, reason = "reads better in the tables below")]
    fn passes(filter: Filter) -> bool {
        filter.lets_through(&message())
    }

    #[test]
    fn each_condition_holds_or_does_not() {
        let text = |t: &str| Some(t.to_owned());
        for (sender, want) in [
            ("anna.rossi@a.test", true),
            ("@a.test", true),
            ("*rossi@*", true),
            ("a*i@a.test", true),
            ("anna@a.test", false),
            ("<>", false),
            ("rossi*", false),
            ("@test", false),
            ("*", true),
            ("a*x*t", false),
        ] {
            assert_eq!(passes(Filter { sender: text(sender), ..Filter::default() }), want, "{sender}");
        }
        for (domain, want) in
            [("mx.b.test", true), (".b.test", true), ("b.test", false), ("done.test", false)]
        {
            assert_eq!(passes(Filter { domain: text(domain), ..Filter::default() }), want, "{domain}");
        }
        for (recipient, want) in [("b@mx.b.test", true), ("done@done.test", false), ("*.test", true)] {
            assert_eq!(
                passes(Filter { recipient: text(recipient), ..Filter::default() }),
                want,
                "{recipient}"
            );
        }
        for (account, want) in [("Anna@a.test", true), ("@a.test", true), ("anna.rossi@a.test", false)] {
            assert_eq!(passes(Filter { account: text(account), ..Filter::default() }), want, "{account}");
        }
        for (words, want) in [("greylist", true), ("250 ok", false)] {
            assert_eq!(passes(Filter { reason: text(words), ..Filter::default() }), want, "{words}");
        }
        for (state, want) in
            [(State::Held, true), (State::Quarantine, true), (State::Damaged, false), (State::Active, false)]
        {
            assert_eq!(passes(Filter { state: Some(state), ..Filter::default() }), want, "{state:?}");
        }
    }

    #[test]
    fn all_conditions_must_hold() {
        assert!(passes(Filter::default()));
        assert!(passes(Filter {
            older_than_seconds: Some(100),
            younger_than_seconds: Some(100),
            ..Filter::default()
        }));
        assert!(!passes(Filter { older_than_seconds: Some(101), ..Filter::default() }));
        assert!(!passes(Filter {
            younger_than_seconds: Some(99),
            sender: Some("*".into()),
            ..Filter::default()
        }));
    }
}
