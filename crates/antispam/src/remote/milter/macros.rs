//! Macros: facts by name that go with each step. Which are sent is what Postfix sends, unless a milter asks for others.

use std::collections::BTreeMap;

use super::codec::{Command, Step, Terms};

/// Postfix's `milter_connect_macros`.
const CONNECT: &[&str] = &["j", "daemon_name", "daemon_addr", "v", "_"];
/// `milter_helo_macros`.
const HELO: &[&str] = &["tls_version", "cipher", "cipher_bits", "cert_subject", "cert_issuer"];
/// `milter_mail_macros`.
const MAIL: &[&str] =
    &["i", "auth_type", "auth_authen", "auth_author", "mail_addr", "mail_host", "mail_mailer"];
/// `milter_rcpt_macros`.
const RCPT: &[&str] = &["i", "rcpt_addr", "rcpt_host", "rcpt_mailer"];
/// `milter_data_macros`, `milter_end_of_header_macros`, `milter_end_of_data_macros`.
const MESSAGE: &[&str] = &["i"];

/// What is known, by names without braces.
#[derive(Debug, Clone, Default)]
pub struct Macros(BTreeMap<&'static str, String>);

impl Macros {
    /// A macro has this value now; an empty one is none.
    pub fn set(&mut self, name: &'static str, value: impl Into<String>) {
        let value = value.into();
        if value.is_empty() {
            self.0.remove(name);
        } else {
            self.0.insert(name, value);
        }
    }

    /// Writes those that go with a step. None at all are told too: the milter forgets those of the last message then.
    pub(super) fn write_to(&self, step: Step, terms: &Terms, out: &mut Vec<u8>) {
        let usual = match step {
            Step::Connect => CONNECT,
            Step::Helo => HELO,
            Step::Mail => MAIL,
            Step::Rcpt => RCPT,
            Step::Unknown => &[],
            Step::Data | Step::Header | Step::EndOfHeader | Step::Body | Step::EndOfMessage => MESSAGE,
        };
        let pair = |name: &str| self.0.get_key_value(name).map(|(name, value)| (*name, value.as_str()));
        let pairs: Vec<(&str, &str)> = match terms.list(step) {
            Some(wanted) => wanted.iter().filter_map(|name| pair(name)).collect(),
            None => usual.iter().filter_map(|name| pair(name)).collect(),
        };
        Command::Macros(step, &pairs).write_to(out);
    }
}
