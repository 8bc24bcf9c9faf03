//! Policy delegation as Postfix has it (its SMTPD_POLICY_README): attributes of a recipient or a message in, an action out,
//! which is read as one of an access table. What it orders is an operator's order, and acts in every mode.
//!
//! A kind of scanner for its time limit, retries and breaker; never shown a message.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use mail::Address;
use policy::{
    AuthResult, Check, EndOfData, Facts, Finding, Findings, MailFacts, MessageFacts, OnUnknown, Order, Rcpt,
    RcptFacts, Ruling, Score, Source, SymbolDef, SymbolError, Work,
};

use super::settings::ScannerSettings;
use super::station::Station;
use super::{Failure, MARGIN, plain, shown};
use crate::action::{Action, Place};

/// Lines of an answer.
const ANSWER_LINES_MAX: usize = 32;

/// A policy server, at its stage.
pub(crate) struct Delegate {
    settings: ScannerSettings,
    station: Arc<Station>,
    points: SymbolDef,
    key: String,
}

impl Delegate {
    /// The `number`th scanner, from 0.
    pub(crate) fn new(
        number: usize,
        settings: &ScannerSettings,
        station: Arc<Station>,
    ) -> Result<Self, SymbolError> {
        let meaning = "SCORE of a policy server, times its points";
        let points = SymbolDef::configured(&settings.symbol("SCORE"), Score::points(1), None, meaning)?;
        Ok(Self { settings: settings.clone(), station, points, key: format!("antispam.scanner[{number}]") })
    }

    async fn ask(&self, request: &str, found: &mut Findings) {
        match self.station.ask(|| dialogue(&self.station, request)).await {
            Ok(action) => self.act(&action, found),
            Err(failure) => found.unfinished(&failure.to_string()),
        }
    }

    fn act(&self, action: &str, found: &mut Findings) {
        let finding = || Finding::new(self.points.symbol.clone()).evidence(action);
        let order = match Action::parse(action, Place::Recipient) {
            Ok(Action::Dunno) => return,
            Ok(Action::Score(score)) => return found.add(finding().times(score.thousandths())),
            Ok(Action::Note(_)) => return found.add(finding().times(0)),
            Ok(Action::Ok) => Order::Accept,
            Ok(Action::Reject(reply)) => Order::Reject(reply),
            Ok(Action::Defer(reply) | Action::DeferIfPermit(reply)) => Order::Defer(reply),
            Ok(Action::Discard(_)) => Order::Discard,
            Ok(Action::Hold(_)) => Order::Hold,
            Ok(Action::Prepend(line)) => Order::Prepend(line),
            Ok(Action::Redirect(address)) => Order::Redirect(address),
            Ok(Action::Bcc(address)) => Order::Bcc(address),
            Ok(Action::Filter(hop)) => Order::Filter(hop),
            Ok(Action::Replace(_) | Action::Remove(_) | Action::Pass(_)) => return,
            Err(error) => return found.unfinished(&error.to_string()),
        };
        found.rule(Ruling::new(Source::Operator, order, &self.key, action));
    }
}

/// One request, one answer: attributes, a line each, up to an empty line.
async fn dialogue(station: &Station, request: &str) -> Result<String, Failure> {
    let mut line = station.connect().await?;
    line.send(&[request.as_bytes()]).await?;
    let mut action = None;
    for _ in 0..ANSWER_LINES_MAX {
        let said = line.line().await?;
        match said.split_once('=') {
            _ if said.is_empty() => return action.ok_or_else(|| Failure::garbled("there is no action")),
            Some(("action", value)) => action = Some(value.to_owned()),
            Some(_) => {}
            None => return Err(Failure::garbled(shown(&said))),
        }
    }
    Err(Failure::garbled("the answer has too many lines"))
}

/// What is asked about.
struct About<'a> {
    state: &'static str,
    mail: &'a MailFacts,
    recipient: Option<&'a Address>,
    recipient_count: usize,
    queue_id: String,
    size: u64,
}

impl About<'_> {
    /// The request, with the empty line that ends it. Attributes that are not known are there and empty.
    fn request(&self) -> String {
        let (mail, helo, connect) = (self.mail, &self.mail.helo, self.mail.connect());
        let iprev = mail.auth.iprev.as_ref();
        let verified =
            iprev.filter(|iprev| iprev.result == AuthResult::Pass).and_then(|iprev| iprev.name.as_ref());
        let reverse = iprev.and_then(|iprev| iprev.name.as_ref());
        let name = |name: Option<&mail::Domain>| name.map_or("unknown", mail::Domain::as_str).to_owned();
        let address = |address: Option<&Address>| address.map(ToString::to_string).unwrap_or_default();
        let account = mail.account.as_deref().unwrap_or_default();
        let protocol = match (connect.door, helo.esmtp) {
            (policy::Door::Lmtp, _) => "LMTP",
            (_, true) => "ESMTP",
            (_, false) => "SMTP",
        };
        let attributes = [
            ("request", "smtpd_access_policy".to_owned()),
            ("protocol_state", self.state.to_owned()),
            ("protocol_name", protocol.to_owned()),
            ("client_address", connect.client.to_string()),
            ("client_name", name(verified)),
            ("client_port", connect.port.to_string()),
            ("reverse_client_name", name(reverse)),
            ("server_address", connect.local.map(|ip| ip.to_string()).unwrap_or_default()),
            ("helo_name", helo.name.to_string()),
            ("sender", address(mail.reverse_path.mailbox())),
            ("recipient", address(self.recipient)),
            ("recipient_count", self.recipient_count.to_string()),
            ("queue_id", self.queue_id.clone()),
            // The same for all recipients of a transaction, and for no other.
            ("instance", format!("{}.{}", connect.session, mail.earlier_transactions)),
            ("size", self.size.to_string()),
            ("etrn_domain", String::new()),
            ("stress", String::new()),
            ("sasl_method", String::new()),
            ("sasl_username", account.to_owned()),
            ("sasl_sender", String::new()),
            ("ccert_subject", String::new()),
            ("ccert_issuer", String::new()),
            ("ccert_fingerprint", String::new()),
            ("ccert_pubkey_fingerprint", String::new()),
            ("encryption_protocol", String::new()),
            ("encryption_cipher", String::new()),
            ("encryption_keysize", "0".to_owned()),
            ("policy_context", String::new()),
        ];
        let mut request = String::with_capacity(1024);
        for (name, value) in attributes {
            // A String takes all that is written to it.
            let _ = writeln!(request, "{name}={}", plain(&value));
        }
        request.push('\n');
        request
    }
}

/// What is the same at both stages.
macro_rules! check {
    ($stage:ident, $facts:ident, |$given:ident| $about:expr) => {
        impl Check<$stage> for Delegate {
            fn name(&self) -> &str {
                self.settings.name()
            }

            fn symbols(&self) -> Vec<SymbolDef> {
                vec![self.points.clone()]
            }

            fn budget(&self) -> Duration {
                self.station.time_max() + MARGIN
            }

            fn on_unknown(&self) -> OnUnknown {
                self.settings.on_unknown()
            }

            fn is_certain(&self) -> bool {
                true
            }

            fn applies(&self, facts: &$facts) -> bool {
                self.settings.everyone() || facts.is_stranger()
            }

            fn run<'a>(&'a self, $given: &'a $facts, found: &'a mut Findings) -> Work<'a> {
                Box::pin(async move {
                    let request = $about.request();
                    self.ask(&request, found).await;
                })
            }
        }
    };
}

check!(Rcpt, RcptFacts, |facts| About {
    state: "RCPT",
    mail: &facts.mail,
    recipient: Some(&facts.recipient),
    recipient_count: 0,
    queue_id: String::new(),
    size: facts.mail.size.unwrap_or_default(),
});

check!(EndOfData, MessageFacts, |facts| About {
    state: "END-OF-MESSAGE",
    mail: &facts.mail,
    // Named only when there is one.
    recipient: if let [one] = &facts.recipients[..] { Some(one) } else { None },
    recipient_count: facts.recipients.len(),
    queue_id: facts.queue_id.to_string(),
    size: facts.content.len(),
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn about(mail: &MailFacts) -> String {
        let recipient = testing::address("joe@example.test");
        let about = About {
            state: "RCPT",
            mail,
            recipient: Some(&recipient),
            recipient_count: 0,
            queue_id: String::new(),
            size: 1234,
        };
        about.request()
    }

    #[test]
    fn a_request_has_all_attributes_and_ends_once() {
        let mut mail = testing::mail_from("192.0.2.9", "ann@far.test");
        mail.auth = testing::iprev(AuthResult::Pass, &["mail.far.test"]);
        let request = about(&mail);
        assert!(
            request.starts_with("request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\n")
        );
        for line in [
            "client_address=192.0.2.9",
            "client_name=mail.far.test",
            "sender=ann@far.test",
            "recipient=joe@example.test",
            "instance=S1.0",
            "size=1234",
            "sasl_username=",
        ] {
            assert!(request.lines().any(|have| have == line), "{line}: {request}");
        }
        assert!(request.ends_with("\n\n") && request.matches("\n\n").count() == 1);
    }

    #[test]
    fn what_peers_say_forges_no_attribute() {
        let mut mail = testing::mail_from("192.0.2.9", "");
        let helo = policy::HeloFacts { name: "x\nsasl_username=joe\n\n".into(), ..(*mail.helo).clone() };
        mail.helo = Arc::new(helo);
        let request = about(&mail);
        assert_eq!(request.lines().filter(|line| line.starts_with("sasl_username=")).count(), 1);
        assert!(request.contains("\nsender=\n") && request.contains("\nclient_name=unknown\n"), "{request}");
    }

    #[tokio::test]
    async fn actions_are_those_of_access_tables() {
        let settings =
            ScannerSettings::new(super::super::settings::Kind::Policy, "127.0.0.1:1".parse().unwrap());
        let resolver = super::super::tests::resolver();
        let station = Arc::new(Station::new(settings.contact(), resolver));
        let delegate = Delegate::new(0, &settings, station).unwrap();
        let act = |action: &str| {
            let mut found = Findings::default();
            delegate.act(action, &mut found);
            found
        };
        assert!(act("DUNNO").rulings().is_empty());
        let found = act("DEFER_IF_PERMIT Greylisted, see http://postgrey.example.test/");
        let Order::Defer(reply) = &found.rulings()[0].order else { panic!("{found:?}") };
        assert_eq!(reply.to_string(), "450 4.7.1 Greylisted, see http://postgrey.example.test/");
        let found = act("PREPEND X-Greylist: delayed 300 seconds");
        assert_eq!(found.rulings()[0].order, Order::Prepend("X-Greylist: delayed 300 seconds".to_owned()));
        assert_eq!(act("SCORE 2.5").findings()[0].factor, 2500);
        assert!(act("FILTER scan:elsewhere").why_unfinished().is_some(), "what is not done is no absence");
    }
}
