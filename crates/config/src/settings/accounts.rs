//! `[accounts]`: mailboxes with passwords, and how local names are read.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Principal;

/// Mailboxes with passwords, and how local names are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccountsSettings {
    /// The file with the mailboxes and their password hashes. `staffetta account` manages it; it holds hashes (argon2id,
    /// SCRAM-SHA-256), never passwords.
    pub file: PathBuf,
    /// The system's aliases file (aliases(5)), such as `root: joe@example.test`: for names without a domain, and for those
    /// in domains whose `recipients` are the accounts. None when not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"aliases")]
    pub aliases: Option<PathBuf>,
    /// The user whom every Maildir belongs to, a name or a number. The server's own `user` when not set; another one
    /// makes the server keep the right to give files away (CAP_CHOWN).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"vmail")]
    pub mailbox_user: Option<Principal>,
    /// What separates a mailbox's name from a tag: with `+`, `joe+news@` is `joe@`. Empty: no tags.
    pub recipient_delimiter: String,
}

impl Default for AccountsSettings {
    fn default() -> Self {
        Self {
            file: PathBuf::from("accounts.toml"),
            aliases: None,
            mailbox_user: None,
            recipient_delimiter: "+".to_owned(),
        }
    }
}
