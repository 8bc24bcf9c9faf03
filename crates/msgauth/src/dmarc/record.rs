//! DMARC policy records (RFC 9989 §4.7): what a domain asks for. Pure.
//!
//! Only the version must be right; a tag that cannot be understood is as if it were not there.

/// What a domain wants done with messages that fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// Nothing.
    None,
    /// To be suspicious.
    Quarantine,
    /// To refuse.
    Reject,
}

/// The tags that matter for judging.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// `p`.
    pub(super) policy: Option<Policy>,
    /// `sp`, for domains below.
    pub(super) subdomains: Option<Policy>,
    /// `np`, for domains below that do not exist.
    pub(super) missing: Option<Policy>,
    /// `adkim=s`.
    pub(super) strict_dkim: bool,
    /// `aspf=s`.
    pub(super) strict_spf: bool,
    /// `psd=y` or `psd=n`.
    pub(super) public_suffix: Option<bool>,
    /// `t=y`.
    pub(super) testing: bool,
    /// `rua` names somebody.
    pub(super) reports: bool,
}

impl Policy {
    /// The word in a record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }

    /// One step down (RFC 9989 §4.7, `t`).
    pub(super) fn milder(self) -> Self {
        match self {
            Self::Reject => Self::Quarantine,
            _ => Self::None,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::None, Self::Quarantine, Self::Reject]
            .into_iter()
            .find(|policy| policy.as_str().eq_ignore_ascii_case(text))
    }
}

impl Record {
    /// Reads a TXT record; `None` when it is no DMARC record of this version.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(text);
        let mut tags = text.split(';').map(|tag| {
            let (name, value) = tag.split_once('=').unwrap_or((tag, ""));
            (name.trim(), value.trim())
        });
        if tags.next() != Some(("v", "DMARC1")) {
            return None;
        }
        let mut record = Self::default();
        for (name, value) in tags {
            let is = |word: &str| value.eq_ignore_ascii_case(word);
            match name.to_ascii_lowercase().as_str() {
                "p" => record.policy = record.policy.or(Policy::parse(value)),
                "sp" => record.subdomains = record.subdomains.or(Policy::parse(value)),
                "np" => record.missing = record.missing.or(Policy::parse(value)),
                "adkim" => record.strict_dkim = is("s"),
                "aspf" => record.strict_spf = is("s"),
                "psd" => record.public_suffix = if is("y") { Some(true) } else { is("n").then_some(false) },
                "t" => record.testing = is("y"),
                "rua" => record.reports = value.contains(':'),
                _ => {}
            }
        }
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_understood_counts_and_the_rest_does_not() {
        let record = Record::parse(
            b"v=DMARC1; p=Reject ;sp = none; np=odd; adkim=s; aspf=x; psd=n; pct=5; rua=mailto:a@b; t=y;;",
        )
        .unwrap();
        assert_eq!(record.policy, Some(Policy::Reject));
        assert_eq!((record.subdomains, record.missing), (Some(Policy::None), None));
        assert!(record.strict_dkim && !record.strict_spf && record.testing && record.reports);
        assert_eq!(record.public_suffix, Some(false));
        assert_eq!(Record::parse(b"v=DMARC1").unwrap(), Record::default());
        assert_eq!(Record::parse(b"v = DMARC1 ; p=quarantine").unwrap().policy, Some(Policy::Quarantine));
        for bad in
            ["", "v=DMARC2; p=none", "p=none; v=DMARC1", "v=dmarc1; p=none", "v=spf1 -all", "v=DMARC1 p=none"]
        {
            assert_eq!(Record::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
