//! RCPT: is this recipient ours and real, or may this client send elsewhere? (invariants I4 and I9)

use antispam::connect::rates::Event;
use config::Config;
use delivery::Resolution;
use mail::{Address, ForwardPath, Reply};
use policy::Addressed;
use smtp::RecipientParameters;

use crate::clock;
use crate::metrics::RecipientRefusal;
use crate::quarantine::release::{self, Asked, Release};
use crate::session::transaction::AcceptedRecipient;

use super::Asker;
use super::tag::{self, Said};

impl Asker {
    /// The reply to RCPT; a positive one adds the recipient.
    pub(super) async fn recipient(
        &mut self,
        path: ForwardPath,
        params: RecipientParameters,
        bare: &str,
    ) -> Reply {
        if let Some(reply) = self.recipient_limited().await {
            return self.refuse_recipient(RecipientRefusal::Limit, bare, reply);
        }
        let marks = self.services.judge.marks();
        let Said { path, with_tag, addressed } =
            tag::recipient(marks, &self.services.router, path, clock::now());
        let resolution = self.in_time(self.services.router.resolve(&path)).await;
        let resolution =
            resolution.unwrap_or_else(|| Resolution::Unavailable("the look-up took too long".to_owned()));
        let accepted_as = match &path {
            ForwardPath::Postmaster => self.services.postmaster.clone(),
            ForwardPath::Mailbox(address) => address.clone(),
        };
        let verdict = match release::asked(&self.services, &accepted_as, clock::now()).await {
            None => accepted(&path, resolution, self.facts.may_relay()).map(|finals| (finals, None)),
            Some(asked) => released(asked).map(|release| (Vec::new(), Some(release))),
        };
        match verdict {
            Ok((finals, releases)) => {
                let is_ours = self.services.router.is_ours(&accepted_as.domain);
                let more = (is_ours, &params);
                if let Err(reply) = self.case.recipient(&accepted_as, with_tag.as_ref(), more).await {
                    if reply.is_permanent() {
                        self.count(Event::Failure, 1);
                    }
                    self.case.milters_hear_refused(&accepted_as, &params, &reply).await;
                    return self.refuse_recipient(RecipientRefusal::Policy, bare, *reply);
                }
                self.add(accepted_as, (finals, addressed, releases), params)
            }
            Err((reason, (code, enhanced, words))) => {
                if matches!(reason, RecipientRefusal::Unknown) {
                    self.case.unknown_recipient();
                    self.count(Event::Failure, 1);
                    self.slow_guessing().await;
                }
                let reply = Reply::new(code, enhanced, words);
                let key = key(&self.services.config, reason, &accepted_as);
                self.case.turned_away(&accepted_as, (source(reason), &key), &reply);
                self.case.milters_hear_refused(&accepted_as, &params, &reply).await;
                self.refuse_recipient(reason, bare, reply)
            }
        }
    }

    fn refuse_recipient(&self, reason: RecipientRefusal, bare: &str, reply: Reply) -> Reply {
        self.services.shared.metrics.recipient_refused(reason);
        self.log_refusal("rcpt", Some(bare.trim_matches(['<', '>'])), &reply);
        reply
    }

    fn add(
        &mut self,
        accepted_as: Address,
        (finals, addressed, releases): (Vec<Address>, Addressed, Option<Release>),
        params: RecipientParameters,
    ) -> Reply {
        let Some(transaction) = &mut self.transaction else {
            return Reply::new(503, (5, 5, 1), "MAIL first");
        };
        transaction.recipients.push(AcceptedRecipient {
            accepted_as,
            addressed,
            finals,
            notify: params.notify,
            original: params.orcpt,
            releases,
        });
        self.services.shared.metrics.recipient_accepted();
        self.count(Event::Recipient, 1);
        Reply::new(250, (2, 1, 5), "Ok")
    }
}

/// Whom a recipient leads to, or why it is refused.
pub(crate) fn accepted(
    path: &ForwardPath,
    resolution: Resolution,
    may_relay: bool,
) -> Result<Vec<Address>, Refusal> {
    match resolution {
        // RFC 5321 §7.9, and the tricks that predate it: a local part that is itself an address is a wish to relay.
        _ if is_route(path) && !may_relay => Err((
            RecipientRefusal::RelayDenied,
            (550, (5, 7, 1), "Relaying denied: write to the mailbox itself"),
        )),
        Resolution::Local { recipients } => Ok(recipients),
        Resolution::Elsewhere(address) if may_relay => Ok(vec![address]),
        other => Err(refusal(&other)),
    }
}

/// What somebody hears who writes to an address that releases something.
fn released(asked: Asked) -> Result<Release, Refusal> {
    match asked {
        Asked::For(release) => Ok(release),
        Asked::Nothing => Err((
            RecipientRefusal::Unknown,
            (550, (5, 1, 1), "Nothing is kept back by this name any more: it was released, or thrown away"),
        )),
        Asked::Unavailable => Err(refusal(&Resolution::Unavailable(String::new()))),
    }
}

/// Which line of the configuration stands behind a refusal.
pub(crate) fn key(config: &Config, reason: RecipientRefusal, recipient: &Address) -> String {
    let own = config.domain.iter().position(|own| own.domains().any(|name| *name == recipient.domain));
    match (reason, own) {
        (RecipientRefusal::RelayDenied, _) | (_, None) => "trusted_networks".to_owned(),
        (RecipientRefusal::BadAlias, Some(index)) => format!("domain[{index}].aliases"),
        (_, Some(index)) => format!("domain[{index}].recipients"),
    }
}

pub(crate) type Refusal = (RecipientRefusal, (u16, (u8, u16, u16), &'static str));

/// What is said when a recipient is not taken. A look-up that failed is 451, whatever it was about.
fn refusal(resolution: &Resolution) -> Refusal {
    use RecipientRefusal as R;
    match resolution {
        Resolution::Local { .. } | Resolution::Elsewhere(_) => {
            (R::RelayDenied, (550, (5, 7, 1), "Relaying denied: this domain is not served here"))
        }
        Resolution::Unknown => (R::Unknown, (550, (5, 1, 1), "No such recipient here")),
        Resolution::BadMailbox => {
            (R::BadMailbox, (550, (5, 1, 3), "This mailbox name cannot be delivered to"))
        }
        Resolution::AliasLoop(_) => (R::BadAlias, (550, (5, 4, 6), "The alias of this recipient loops")),
        Resolution::Dangling(_) => {
            (R::BadAlias, (550, (5, 1, 1), "The alias of this recipient leads to nobody"))
        }
        Resolution::TooMany => {
            (R::BadAlias, (550, (5, 5, 3), "The alias of this recipient has too many recipients"))
        }
        Resolution::Full => (R::MailboxFull, (452, (4, 2, 2), "The mailbox is full, try again later")),
        Resolution::Unavailable(_) => {
            (R::Unavailable, (451, (4, 3, 0), "The recipient could not be looked up, try again later"))
        }
    }
}

/// What the judge's records name it.
pub(crate) fn source(reason: RecipientRefusal) -> policy::Source {
    use policy::Source;
    match reason {
        RecipientRefusal::RelayDenied => Source::Relay,
        RecipientRefusal::Unavailable => Source::Unavailable,
        RecipientRefusal::MailboxFull | RecipientRefusal::TooMany | RecipientRefusal::Limit => Source::Limit,
        _ => Source::UnknownRecipient,
    }
}

/// The percent hack, a bang path, or a second `@` in the local part.
fn is_route(path: &ForwardPath) -> bool {
    match path {
        ForwardPath::Postmaster => false,
        ForwardPath::Mailbox(address) => delivery::names_another_host(&address.local),
    }
}
