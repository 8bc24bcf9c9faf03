//! `[observe]`: metrics, health and the mail log.

use std::net::{Ipv4Addr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the server lets itself be watched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ObserveSettings {
    /// Where `/metrics` (Prometheus), `/healthz` (alive) and `/readyz` (ready for mail) are served over HTTP. They need
    /// no password: keep it on the loopback address or a private network. Empty: not served.
    #[serde(with = "optional_socket")]
    #[schemars(with = "String", example = &"127.0.0.1:9925")]
    pub http: Option<SocketAddr>,
    /// How the mail log is written, one line for each session, message and delivery, on standard output: `text` for
    /// people and for the tools that read mail logs, `json` for programs.
    pub log: LogFormat,
}

/// The form of the log's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Words that people read.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for ObserveSettings {
    fn default() -> Self {
        Self { http: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9925))), log: LogFormat::Text }
    }
}

/// An address and port, or an empty text for none.
mod optional_socket {
    use std::net::SocketAddr;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    #[expect(clippy::ref_option, reason = "serde hands a reference to the field")]
    pub(super) fn serialize<S: Serializer>(value: &Option<SocketAddr>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(address) => to.collect_str(address),
            None => to.serialize_str(""),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
        let text = String::deserialize(from)?;
        if text.is_empty() {
            return Ok(None);
        }
        let address = text.parse().map_err(|_| {
            D::Error::custom(format!(
                "`{text}` is not an address with a port: write one such as \"127.0.0.1:9925\" or \"[::1]:9925\""
            ))
        })?;
        Ok(Some(address))
    }
}
