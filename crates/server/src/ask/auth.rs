//! AUTH: who is it? Passwords and SCRAM keys are [`crate::accounts::Accounts`]' business; here the answers are put in words, logged
//! and counted. No secret gets into either.

use std::net::{IpAddr, Ipv6Addr};

use antispam::connect::rates::Event;
use mail::Reply;
use smtp::{Answer, Mechanism, Secret};

use crate::accounts::Login;
use crate::maillog::AuthLine;
use crate::metrics;

use super::Asker;

impl Asker {
    fn client_ip(&self) -> IpAddr {
        self.facts.client.unwrap_or(IpAddr::V6(Ipv6Addr::LOCALHOST))
    }

    pub(super) async fn password(
        &mut self,
        mechanism: Mechanism,
        who: &str,
        acts_as: &str,
        secret: Secret,
    ) -> Answer {
        let check = self.services.accounts.check_password(self.client_ip(), who, secret.reveal());
        let login = self.in_time(check).await.unwrap_or(Login::Busy);
        drop(secret);
        self.logged_in(mechanism, acts_as, &login)
    }

    pub(super) fn scram_keys(&mut self, who: &str) -> Answer {
        match self.services.accounts.scram_keys(self.client_ip(), who) {
            Ok(keys) => Answer::ScramKeys {
                iterations: keys.iterations.get(),
                salt: keys.salt,
                stored_key: keys.stored_key.to_vec(),
                server_key: keys.server_key.to_vec(),
            },
            Err(login) => Answer::Reply(login.reply()),
        }
    }

    pub(super) async fn scram_done(
        &mut self,
        mechanism: Mechanism,
        who: &str,
        acts_as: &str,
        proved: bool,
    ) -> Answer {
        let check = self.services.accounts.scram_done(self.client_ip(), who, proved);
        let login = self.in_time(check).await.unwrap_or(Login::Busy);
        self.logged_in(mechanism, acts_as, &login)
    }

    fn logged_in(&mut self, mechanism: Mechanism, acts_as: &str, login: &Login) -> Answer {
        let account = match login {
            Login::Good(account) => Some(account.to_string()),
            _ => None,
        };
        let rates = &self.services.shared.rates;
        let is_locked = account.as_deref().is_some_and(|account| rates.locks().of(account).is_some());
        self.log_auth(mechanism, account.as_deref(), if is_locked { &Login::Locked } else { login });
        let Some(account) = account else {
            if matches!(login, Login::Wrong) {
                self.count(Event::Failure, 1);
            }
            return Answer::Reply(login.reply());
        };
        if is_locked {
            return Answer::Reply(Login::Locked.reply());
        }
        // RFC 4616 §2: acting as another needs a right that nobody has here.
        let other = !acts_as.is_empty()
            && self.services.accounts.named(acts_as).is_none_or(|named| *named.name != *account);
        if other {
            return Answer::Reply(Reply::new(535, (5, 7, 8), "This account may not act as another"));
        }
        self.facts.account = Some(account.clone());
        self.facts.mechanism = Some(mechanism.name());
        Answer::Authenticated { account, reply: login.reply() }
    }

    fn log_auth(&self, mechanism: Mechanism, account: Option<&str>, login: &Login) {
        let shared = &self.services.shared;
        let result = login.metric();
        shared.metrics.auth(label(mechanism), result);
        shared.log.auth(&AuthLine {
            client: self.facts.for_log(),
            listener: self.facts.door_name(),
            mechanism: mechanism.name(),
            account,
            result: metrics::Label::name(result),
        });
    }
}

fn label(mechanism: Mechanism) -> metrics::Mechanism {
    match mechanism {
        Mechanism::Plain => metrics::Mechanism::Plain,
        Mechanism::Login => metrics::Mechanism::Login,
        Mechanism::ScramSha256 => metrics::Mechanism::ScramSha256,
        Mechanism::ScramSha256Plus => metrics::Mechanism::ScramSha256Plus,
    }
}
