//! The groups that correlated symbols of the checks are in, and the most that each adds.
//!
//! Correlated means: seen together because of one cause. A host without a name of its own also cannot greet by it; that
//! is one reason for doubt and not four.

use policy::Score;
use policy::book::GroupDef;

/// Reverse DNS.
pub const RDNS: &str = "rdns";
/// The name given in HELO.
pub const HELO: &str = "helo";
/// Haste and carelessness in the protocol.
pub const PROTOCOL: &str = "protocol";
/// SPF, DKIM, DMARC and ARC: a forwarder breaks them all at once, and forwarded mail is good mail. Together they mark a
/// letter; something else has to speak against it before it is refused.
pub const AUTHENTICATION: &str = "authentication";
/// The domain of the reverse-path.
pub const SENDER: &str = "sender";
/// Fields of the header that no mail program writes so.
pub const HEADER: &str = "header";
/// Whom our users write to, and who answers them: a bounded favour.
pub const CORRESPONDENCE: &str = "correspondence";
/// What the sender and its network have sent before: alone it marks nothing.
pub const REPUTATION: &str = "reputation";
/// What programs besides us think of a letter.
pub const SCANNERS: &str = "scanners";
/// What was learnt from mail of before.
pub const BAYES: &str = "bayes";

/// What a letter holds, all together: content alone marks a letter and never refuses it. Every group of content is within.
pub const CONTENT: &str = "content";
/// How a message is put together.
pub const MIME: &str = "mime";
/// Attached files.
pub const ATTACHMENTS: &str = "attachments";
/// Where links lead, by what they look like; what DNS lists know of them is in the group of those.
pub const LINKS: &str = "links";
/// Rules about words and patterns.
pub const RULES: &str = "rules";

/// The groups and their caps; those of DNS lists are in [`crate::connect::dnsbl::settings::groups`].
#[must_use]
pub fn all() -> Vec<GroupDef> {
    let caps = [
        (RDNS, 30),
        (HELO, 40),
        (PROTOCOL, 40),
        (SENDER, 60),
        (AUTHENTICATION, 80),
        (HEADER, 60),
        (CONTENT, 90),
    ];
    let content = [(BAYES, 52), (MIME, 40), (ATTACHMENTS, 70), (LINKS, 50), (RULES, 50)];
    let group = |(name, tenths): (&'static str, i32)| GroupDef::new(name, Score::tenths(tenths));
    let outer = caps.into_iter().map(group);
    // Its favours alone weigh less than anything that marks a letter.
    let favour = uncapped(CORRESPONDENCE, Some(Score::tenths(-15)));
    let before = GroupDef { floor: Some(Score::tenths(-15)), ..GroupDef::new(REPUTATION, Score::points(2)) };
    outer
        .chain([favour, before, uncapped(SCANNERS, None)])
        .chain(content.into_iter().map(|row| group(row).within(CONTENT)))
        .collect()
}

fn uncapped(name: &'static str, floor: Option<Score>) -> GroupDef {
    GroupDef { name: name.into(), cap: None, floor, within: None }
}

/// Declares symbols of one group as constants: name, tenths of a point, meaning.
macro_rules! symbols {
    ($group:ident: $($name:ident, $tenths:literal, $meaning:literal;)+) => {
        $(const $name: policy::SymbolDef =
            policy::SymbolDef::grouped(stringify!($name), policy::Score::tenths($tenths), $group, $meaning);)+
    };
}

pub(crate) use symbols;
