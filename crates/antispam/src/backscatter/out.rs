//! May a report be sent to this sender? Decided when a message is taken in, and kept with it.
//!
//! Pure. A report to whom the message does not come from is backscatter, and we would be its source.

use policy::AuthFacts;
use store::SenderProof;

use crate::rcpt::greylist::organisation;

/// What is known of a sender after DATA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sender {
    /// It has logged in, or is on this host.
    pub authenticated: bool,
    /// It is in a network that may relay.
    pub trusted: bool,
    /// The domain of the reverse-path is ours: a report stays in the house.
    pub domain_is_ours: bool,
    /// SPF passes for the reverse-path, or a signature of its domain does: see [`Sender::vouched`].
    pub vouched: bool,
    /// The score has not reached the threshold from which mail is tagged.
    pub below_tag: bool,
}

impl Sender {
    /// True when SPF passes for the reverse-path's domain, or DKIM for it or a domain above it. SPF for HELO says nothing
    /// of the reverse-path.
    #[must_use]
    pub fn vouched(auth: &AuthFacts, reverse_path: &mail::ReversePath) -> bool {
        let Some(address) = reverse_path.mailbox() else { return false };
        let domain = address.domain.as_str();
        let spf = auth.spf.as_ref().is_some_and(|spf| {
            spf.result.is_pass() && spf.domain.as_ref().is_some_and(|passing| *passing == address.domain)
        });
        let aligned = |signer: &mail::Domain| {
            let above = domain.strip_suffix(signer.as_str());
            let within = above.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
            // A signature of a whole public suffix vouches for nobody under it.
            within && organisation(signer).is_some()
        };
        spf || auth.dkim_domains().any(aligned)
    }

    /// The proof to keep with the message.
    #[must_use]
    pub fn proof(self) -> SenderProof {
        let known = self.authenticated || self.trusted || self.domain_is_ours;
        if known || (self.vouched && self.below_tag) { SenderProof::Proven } else { SenderProof::Unproven }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mail::{Address, Domain, ReversePath};
    use policy::{AuthResult, DkimFact, SpfFact, SpfIdentity};

    use super::*;

    #[test]
    fn reports_go_to_the_known_and_to_the_vouched_for_that_are_not_suspect() {
        let none = Sender::default();
        assert_eq!(none.proof(), SenderProof::Unproven);
        assert_eq!(Sender { vouched: true, ..none }.proof(), SenderProof::Unproven, "tagged");
        assert_eq!(Sender { below_tag: true, ..none }.proof(), SenderProof::Unproven, "nobody vouches");
        for proven in [
            Sender { authenticated: true, ..none },
            Sender { trusted: true, ..none },
            Sender { domain_is_ours: true, ..none },
            Sender { vouched: true, below_tag: true, ..none },
        ] {
            assert_eq!(proven.proof(), SenderProof::Proven, "{proven:?}");
        }
    }

    #[test]
    fn spf_and_dkim_vouch_for_their_own_domain_only() {
        let path = |text: &str| ReversePath::Mailbox(Address::parse(text).unwrap());
        let spf = |result, domain: &str| AuthFacts {
            spf: Some(Arc::new(SpfFact {
                result,
                identity: SpfIdentity::MailFrom,
                domain: Some(Domain::parse(domain).unwrap()),
                explanation: None,
                mechanism: None,
            })),
            ..AuthFacts::default()
        };
        assert!(Sender::vouched(&spf(AuthResult::Pass, "a.test"), &path("joe@a.test")));
        assert!(!Sender::vouched(&spf(AuthResult::SoftFail, "a.test"), &path("joe@a.test")));
        assert!(!Sender::vouched(&spf(AuthResult::Pass, "b.test"), &path("joe@a.test")));
        assert!(!Sender::vouched(&spf(AuthResult::Pass, "a.test"), &ReversePath::Null));
        let dkim = |domain: &str| {
            let fact = DkimFact {
                result: AuthResult::Pass,
                domain: Some(Domain::parse(domain).unwrap()),
                selector: "s".into(),
                algorithm: "ed25519-sha256".into(),
                reason: None,
            };
            AuthFacts { dkim: Some(Arc::from([fact])), ..AuthFacts::default() }
        };
        assert!(Sender::vouched(&dkim("a.test"), &path("joe@mail.a.test")));
        assert!(!Sender::vouched(&dkim("a.test"), &path("joe@nota.test")));
        assert!(!Sender::vouched(&dkim("co.uk"), &path("joe@a.co.uk")));
        assert!(!Sender::vouched(&dkim("test"), &path("joe@a.test")));
        assert!(!Sender::vouched(&dkim("mail.a.test"), &path("joe@a.test")));
    }
}
