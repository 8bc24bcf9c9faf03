//! `[[antispam.scanner]]`: programs that look at messages besides us, and how they are asked.

use policy::{OnUnknown, Symbol};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::address::Address;
use super::station::Contact;

/// Longest time that an operator may let a scanner take, in seconds: who sends waits for all of it.
pub const SECONDS_MAX: u64 = 120;
/// Most retries.
pub const RETRIES_MAX: u32 = 5;
/// Longest name, in octets.
const NAME_BYTES_MAX: usize = 40;

/// What is spoken with a scanner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `ClamAV`'s clamd: INSTREAM. What it finds refuses the message, in every mode.
    Clamd,
    /// `SpamAssassin`'s spamd: the SPAMC protocol. Its score is one symbol.
    Spamd,
    /// rspamd: `/checkv2`, at its normal worker. Its score is one symbol.
    Rspamd,
    /// A Pyzor server: is the text known as spam? Only a digest is sent, as a datagram.
    Pyzor,
    /// Postfix's policy delegation (`check_policy_service`), as postgrey speaks it. What it orders is done.
    Policy,
}

/// When a policy server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PolicyStage {
    /// At each RCPT.
    #[default]
    Rcpt,
    /// Once, after DATA, when the message is there.
    EndOfData,
}

impl Kind {
    /// What a scanner of this kind is called unless it has a name.
    #[must_use]
    pub const fn default_name(self) -> &'static str {
        match self {
            Self::Clamd => "clamav",
            Self::Spamd => "spamassassin",
            Self::Rspamd => "rspamd",
            Self::Pyzor => "pyzor",
            Self::Policy => "policy",
        }
    }

    /// True when its answers are orders or facts and not opinions: they act in every mode.
    #[must_use]
    pub const fn is_certain(self) -> bool {
        match self {
            Self::Clamd | Self::Policy => true,
            Self::Spamd | Self::Rspamd | Self::Pyzor => false,
        }
    }

    const fn message_bytes_max(self) -> u64 {
        match self {
            Self::Clamd => 100 << 20,
            // What spamc(1) shows it at most.
            Self::Spamd => 512_000,
            Self::Rspamd => 50 << 20,
            Self::Pyzor => 1 << 20,
            // It is not shown any.
            Self::Policy => u64::MAX,
        }
    }
}

/// A scanner. All of them are asked at once after DATA, within `verdict_seconds_max`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScannerSettings {
    /// What is spoken with it.
    pub kind: Kind,
    /// Its name in records, metrics, `[antispam.check.NAME]` and, in upper case, its symbols. Needed only when there are
    /// several of a kind. Not set: `clamav`, `spamassassin`, `rspamd`, `pyzor`, `policy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"clamav")]
    pub name: Option<String>,
    /// Where it listens: `unix:/absolute/path`, `192.0.2.7:port`, `[2001:db8::7]:port` or `host:port`.
    #[schemars(example = &"unix:/run/clamav/clamd.ctl")]
    pub address: Address,
    /// Seconds that it may take, retries among them. 10.
    #[serde(default = "seconds_max")]
    pub seconds_max: u64,
    /// How often it is asked again, on a fresh connection, when it cannot be reached or goes away before it has answered. 1.
    #[serde(default = "retries")]
    pub retries: u32,
    /// What is done when it does not answer: `ignore`, its symbol `NAME_TIMEOUT` says so and the rest decides; `tempfail`,
    /// the client is asked to come back (451). Not set: `tempfail` for clamd and policy, so that nothing passes unseen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_unknown: Option<OnUnknown>,
    /// Shows it everybody's mail; false only strangers'. Not set: true for clamd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub everyone: Option<bool>,
    /// Longest message in bytes that is shown to it. A longer one is not known to be clean: for clamd `on_unknown` holds,
    /// the others are not asked. Not set: 104,857,600 (100 MiB) for clamd, which has a limit of its own, `StreamMaxLength`;
    /// 512,000 for spamd; 52,428,800 (50 MiB) for rspamd; 1,048,576 (1 MiB) for pyzor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_bytes_max: Option<u64>,
    /// Failures in a row after which it is left alone, so that nobody waits for it; 0: never. 5. Each counts as not
    /// answered; one message at a time tries whether it is back.
    #[serde(default = "breaker_failures")]
    pub breaker_failures: u32,
    /// Seconds for which it is left alone then, before one message tries again. 30.
    #[serde(default = "breaker_seconds")]
    pub breaker_seconds: u64,
    /// Does what rspamd says: its `reject` refuses (550), its `soft reject` and `greylist` ask to come back (451), whatever
    /// the score and the mode here. false: its score is one witness among others. For rspamd only.
    #[serde(default)]
    pub honour_actions: bool,
    /// When a policy server is asked: `rcpt` or `end_of_data`. Not set: `rcpt`. For policy only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<PolicyStage>,
}

/// A scanner that cannot be: what an operator wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("antispam.scanner[{number}].{key}: {why}")]
pub struct ScannerError {
    /// Which, from 0.
    pub number: usize,
    /// Which setting.
    pub key: &'static str,
    /// What is wrong, and what to write.
    pub why: String,
}

impl ScannerSettings {
    /// One of this kind at this address, all else as it is by default.
    #[must_use]
    pub fn new(kind: Kind, address: Address) -> Self {
        Self {
            kind,
            name: None,
            address,
            seconds_max: seconds_max(),
            retries: retries(),
            on_unknown: None,
            everyone: None,
            message_bytes_max: None,
            breaker_failures: breaker_failures(),
            breaker_seconds: breaker_seconds(),
            honour_actions: false,
            stage: None,
        }
    }

    /// How it is reached.
    #[must_use]
    pub fn contact(&self) -> Contact {
        Contact {
            name: self.name().to_owned(),
            address: self.address.clone(),
            seconds_max: self.seconds_max,
            retries: self.retries,
            breaker_failures: self.breaker_failures,
            breaker_seconds: self.breaker_seconds,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_else(|| self.kind.default_name())
    }

    /// What is done when it does not answer.
    #[must_use]
    pub fn on_unknown(&self) -> OnUnknown {
        let default = if self.kind.is_certain() { OnUnknown::Tempfail } else { OnUnknown::Ignore };
        self.on_unknown.unwrap_or(default)
    }

    /// It looks at the mail of our own users too.
    #[must_use]
    pub fn everyone(&self) -> bool {
        self.everyone.unwrap_or(self.kind == Kind::Clamd)
    }

    /// It is asked after DATA.
    #[must_use]
    pub fn sees_messages(&self) -> bool {
        self.kind != Kind::Policy || self.stage == Some(PolicyStage::EndOfData)
    }

    /// Longest message that is shown to it.
    #[must_use]
    pub fn message_bytes_max(&self) -> u64 {
        self.message_bytes_max.unwrap_or_else(|| self.kind.message_bytes_max())
    }

    /// The symbol `NAME_what`.
    pub(crate) fn symbol(&self, what: &str) -> String {
        format!("{}_{what}", self.name().to_ascii_uppercase())
    }

    /// What is wrong, for the `number`th; its name apart from the others'.
    ///
    /// # Errors
    /// [`ScannerError`].
    pub fn check(&self, number: usize) -> Result<(), ScannerError> {
        let wrong = |key, why: String| Err(ScannerError { number, key, why });
        let name = self.name();
        if let Err(why) = named(name) {
            return wrong("name", why);
        }
        if !(1..=SECONDS_MAX).contains(&self.seconds_max) {
            return wrong("seconds_max", format!("write 1 to {SECONDS_MAX}"));
        }
        if self.honour_actions && self.kind != Kind::Rspamd {
            return wrong("honour_actions", "only rspamd has actions: leave it out".to_owned());
        }
        if self.stage.is_some() && self.kind != Kind::Policy {
            return wrong("stage", "only policy servers have a choice: leave it out".to_owned());
        }
        if self.kind == Kind::Pyzor && matches!(self.address, Address::Unix(_)) {
            return wrong(
                "address",
                "Pyzor speaks in datagrams: write host:port, usually port 24441".to_owned(),
            );
        }
        if self.retries > RETRIES_MAX {
            return wrong("retries", format!("write 0 to {RETRIES_MAX}"));
        }
        Ok(())
    }
}

/// A name that symbols can begin with, or what to write.
pub(crate) fn named(name: &str) -> Result<(), String> {
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if plain && name.len() <= NAME_BYTES_MAX && Symbol::parse(&name.to_ascii_uppercase()).is_ok() {
        return Ok(());
    }
    Err(format!("`{name}`: write lower-case letters, digits and _, a letter first, at most {NAME_BYTES_MAX}"))
}

/// All scanners are as they must be, and each has a name of its own.
///
/// # Errors
/// The first [`ScannerError`].
pub fn check_all(all: &[ScannerSettings]) -> Result<(), ScannerError> {
    for (number, scanner) in all.iter().enumerate() {
        scanner.check(number)?;
        if all.iter().take(number).any(|before| before.name() == scanner.name()) {
            let why = format!("there is another scanner `{}`: write a name for each", scanner.name());
            return Err(ScannerError { number, key: "name", why });
        }
    }
    Ok(())
}

pub(crate) const fn seconds_max() -> u64 {
    10
}

pub(crate) const fn retries() -> u32 {
    1
}

pub(crate) const fn breaker_failures() -> u32 {
    5
}

pub(crate) const fn breaker_seconds() -> u64 {
    30
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct File {
        scanner: Vec<ScannerSettings>,
    }

    fn read(text: &str) -> Vec<ScannerSettings> {
        toml::from_str::<File>(text).unwrap().scanner
    }

    #[test]
    fn a_kind_and_an_address_are_enough() {
        let all = read("[[scanner]]\nkind = \"clamd\"\naddress = \"unix:/run/clamav/clamd.ctl\"\n");
        let one = &all[0];
        assert_eq!(one, &ScannerSettings::new(Kind::Clamd, "unix:/run/clamav/clamd.ctl".parse().unwrap()));
        assert_eq!((one.name(), one.on_unknown(), one.everyone()), ("clamav", OnUnknown::Tempfail, true));
        assert_eq!(one.symbol("VIRUS"), "CLAMAV_VIRUS");
        assert_eq!(check_all(&all), Ok(()));
    }

    #[test]
    fn what_cannot_be_is_told_with_its_place() {
        let one = "[[scanner]]\nkind = \"clamd\"\naddress = \"127.0.0.1:3310\"\n";
        for (more, key) in [
            ("name = \"Clam AV\"\n", "name"),
            ("name = \"\"\n", "name"),
            ("seconds_max = 0\n", "seconds_max"),
            ("retries = 100\n", "retries"),
            ("honour_actions = true\n", "honour_actions"),
            ("stage = \"rcpt\"\n", "stage"),
            ("[[scanner]]\nkind = \"pyzor\"\naddress = \"unix:/run/pyzor\"\n", "address"),
            (one, "name"),
        ] {
            let error = check_all(&read(&format!("{one}{more}"))).unwrap_err();
            assert_eq!(error.key, key, "{error}");
        }
        assert_eq!(check_all(&read(&format!("{one}{one}name = \"other\"\n"))), Ok(()));
    }
}
