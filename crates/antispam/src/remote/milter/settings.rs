//! `[[antispam.milter]]`: milters, and how they are asked.

use policy::OnUnknown;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::address::Address;
use super::super::settings::{
    RETRIES_MAX, SECONDS_MAX, breaker_failures, breaker_seconds, named, retries, seconds_max,
};
use super::super::station::Contact;

/// A milter. Several are asked in their order, and each sees what those before it have changed. Which listeners show it mail
/// is said at the listeners.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MilterSettings {
    /// Its name in `milters` of listeners, in records, metrics and, in upper case, its symbols `NAME_MILTER` and `NAME_TIMEOUT`.
    #[schemars(example = &"opendkim")]
    pub name: String,
    /// Where it listens: `unix:/absolute/path`, `192.0.2.7:port`, `[2001:db8::7]:port` or `host:port`.
    #[schemars(example = &"unix:/run/opendkim/opendkim.sock")]
    pub address: Address,
    /// Seconds until a connection must be there, retries among them. 5.
    #[serde(default = "connect_seconds_max")]
    pub connect_seconds_max: u64,
    /// Seconds that it may take for an answer to connection, HELO and MAIL together, to RCPT and to DATA, each. 10; never
    /// longer than `command_seconds_max` of `[antispam]`.
    #[serde(default = "seconds_max")]
    pub command_seconds_max: u64,
    /// Seconds that it may take for a message, from its header to the last answer. 30; all milters and checks together have
    /// `verdict_seconds_max`.
    #[serde(default = "content_seconds_max")]
    pub content_seconds_max: u64,
    /// How often a connection is tried again when it cannot be reached. 1.
    #[serde(default = "retries")]
    pub retries: u32,
    /// What is done when it does not answer: `tempfail`, the client is asked to come back (451), as with Postfix's
    /// `milter_default_action`; `ignore`, the message goes on without it.
    #[serde(default = "tempfail")]
    pub on_unknown: OnUnknown,
    /// Shows it mail of programs on this machine too (`sendmail`), as Postfix's `non_smtpd_milters`. false.
    #[serde(default)]
    pub local: bool,
    /// Failures in a row after which it is left alone, so that nobody waits for it; 0: never. 5.
    #[serde(default = "breaker_failures")]
    pub breaker_failures: u32,
    /// Seconds for which it is left alone then, before one message tries again. 30.
    #[serde(default = "breaker_seconds")]
    pub breaker_seconds: u64,
}

/// A milter that cannot be: what an operator wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("antispam.milter[{number}].{key}: {why}")]
pub struct MilterError {
    /// Which, from 0.
    pub number: usize,
    /// Which setting.
    pub key: &'static str,
    /// What is wrong, and what to write.
    pub why: String,
}

impl MilterSettings {
    /// One of this name at this address, all else as it is by default.
    #[must_use]
    pub fn new(name: &str, address: Address) -> Self {
        Self {
            name: name.to_owned(),
            address,
            connect_seconds_max: connect_seconds_max(),
            command_seconds_max: seconds_max(),
            content_seconds_max: content_seconds_max(),
            retries: retries(),
            on_unknown: tempfail(),
            local: false,
            breaker_failures: breaker_failures(),
            breaker_seconds: breaker_seconds(),
        }
    }

    /// How it is reached.
    pub(super) fn contact(&self) -> Contact {
        Contact {
            name: self.name.clone(),
            address: self.address.clone(),
            seconds_max: self.connect_seconds_max,
            retries: self.retries,
            breaker_failures: self.breaker_failures,
            breaker_seconds: self.breaker_seconds,
        }
    }

    /// What is wrong, for the `number`th.
    ///
    /// # Errors
    /// [`MilterError`].
    pub fn check(&self, number: usize) -> Result<(), MilterError> {
        let wrong = |key, why| Err(MilterError { number, key, why });
        if let Err(why) = named(&self.name) {
            return wrong("name", why);
        }
        for (key, seconds) in [
            ("connect_seconds_max", self.connect_seconds_max),
            ("command_seconds_max", self.command_seconds_max),
            ("content_seconds_max", self.content_seconds_max),
        ] {
            if !(1..=SECONDS_MAX).contains(&seconds) {
                return wrong(key, format!("write 1 to {SECONDS_MAX}"));
            }
        }
        if self.retries > RETRIES_MAX {
            return wrong("retries", format!("write 0 to {RETRIES_MAX}"));
        }
        Ok(())
    }
}

const fn connect_seconds_max() -> u64 {
    5
}

const fn content_seconds_max() -> u64 {
    30
}

const fn tempfail() -> OnUnknown {
    OnUnknown::Tempfail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_an_address_are_enough_and_what_cannot_be_is_told() {
        let one = "name = \"opendkim\"\naddress = \"127.0.0.1:8891\"\n";
        let read = |text: &str| toml::from_str::<MilterSettings>(text);
        assert_eq!(read(one).unwrap(), MilterSettings::new("opendkim", "127.0.0.1:8891".parse().unwrap()));
        assert_eq!(read(one).unwrap().on_unknown, OnUnknown::Tempfail);
        for (more, key) in [
            ("connect_seconds_max = 0\n", "connect_seconds_max"),
            ("command_seconds_max = 1000\n", "command_seconds_max"),
            ("content_seconds_max = 0\n", "content_seconds_max"),
            ("retries = 77\n", "retries"),
        ] {
            let error = read(&format!("{one}{more}")).unwrap().check(3).unwrap_err();
            assert_eq!((error.key, error.number), (key, 3), "{error}");
        }
        let odd = MilterSettings::new("Open DKIM", "127.0.0.1:8891".parse().unwrap());
        assert_eq!(odd.check(0).unwrap_err().key, "name");
    }
}
