//! What stands here in place of a setting of SpamAssassin's: its `local.cf` holds more settings than rules, and whoever moves wants
//! to know where each has gone. Pure; it takes nothing over.

/// Words for who looks for this setting; none when there is nothing like it.
pub(super) fn instead(keyword: &str) -> Option<&'static str> {
    let beginning = |all: &[&str]| all.iter().any(|start| keyword.starts_with(start));
    Some(match keyword {
        "required_score" | "required_hits" => {
            "here: [antispam] thresholds.tag, and .reject, .quarantine beside it"
        }
        "rewrite_header" | "subject_tag" => {
            "no subject is changed here: X-Spam-Flag tells, and a Maildir's Junk folder"
        }
        "report_safe" | "report_safe_copy_headers" => {
            "no letter is wrapped here: it is marked, kept in quarantine or refused, by [antispam] thresholds"
        }
        "trusted_networks" | "internal_networks" | "msa_networks" => {
            "here: [antispam] exempt_networks, for hosts whose mail is not judged"
        }
        "bayes_auto_learn" | "bayes_auto_learn_threshold_spam" | "bayes_auto_learn_threshold_nonspam" => {
            "here: [antispam.learn] automatic, automatic_spam_score, automatic_ham_score"
        }
        "ok_locales" | "ok_languages" => {
            "no language is judged here: the classifier learns which ones your users read"
        }
        "dns_server" | "dns_available" | "dns_options" => "here: [dns] servers",
        "skip_rbl_checks" | "skip_uribl_checks" => "here: [antispam] dnsbl = [] asks no list",
        "loadplugin" | "tryplugin" => "there are no plugins here",
        "shortcircuit" | "shortcircuit_spam_score" | "shortcircuit_ham_score" => {
            "here a line of an access table decides alone: OK, REJECT"
        }
        "add_header" | "remove_header" | "clear_headers" => {
            "X-Spam-Status and X-Spam-Flag have one form here; [antispam] header_checks change fields of mail"
        }
        "report" | "clear_report_template" | "unsafe_report" | "report_contact" | "report_hostname" => {
            "no report is put into letters here: staffetta explain ID tells"
        }
        _ if beginning(&["whitelist_to", "welcomelist_to", "more_spam_to", "all_spam_to"]) => {
            "here: [[antispam.recipient]] with a mode or thresholds of its own"
        }
        _ if beginning(&["blacklist_to", "blocklist_to"]) => {
            "here: [antispam] spam_traps, or [[antispam.access]] with stage = \"rcpt\""
        }
        _ if beginning(&["whitelist", "welcomelist", "def_whitelist", "def_welcomelist", "unwhitelist"]) => {
            "here: [[antispam.access]] with OK or SCORE -5; a name in From alone proves nothing, whom your users know is known"
        }
        _ if beginning(&["blacklist", "blocklist", "unblacklist"]) => {
            "here: [[antispam.access]] with REJECT or SCORE 5"
        }
        _ if beginning(&["use_bayes", "bayes_"]) => {
            "the classifier is built in, and silent until it has learnt: staffetta learn, [antispam.bayes]"
        }
        _ if beginning(&["use_pyzor", "pyzor_"]) => "here: [[antispam.scanner]] with kind = \"pyzor\"",
        _ if beginning(&["use_razor", "razor_", "use_dcc", "dcc_"]) => {
            "not asked from here: a spamd that asks it can be, [[antispam.scanner]] with kind = \"spamd\""
        }
        _ if beginning(&["use_auto_wh", "auto_wh", "use_txrep", "txrep_", "use_auto_wel", "auto_wel"]) => {
            "here: [antispam.reputation]"
        }
        _ if beginning(&["uridnsbl", "urirhs", "urinsrhs", "urifullnsrhs", "askdns"]) => {
            "here: [[antispam.dnsbl]], with about = \"domains\" for those of links"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_administrators_write_have_a_place_or_a_word_here() {
        for (keyword, words) in [
            ("required_score", "thresholds.tag"),
            ("trusted_networks", "exempt_networks"),
            ("whitelist_from", "antispam.access"),
            ("welcomelist_from_rcvd", "antispam.access"),
            ("blocklist_from", "REJECT"),
            ("all_spam_to", "antispam.recipient"),
            ("bayes_auto_learn_threshold_spam", "automatic_spam_score"),
            ("bayes_path", "staffetta learn"),
            ("use_razor2", "spamd"),
            ("urirhssub", "about"),
            ("txrep_factor", "reputation"),
        ] {
            assert!(instead(keyword).is_some_and(|told| told.contains(words)), "{keyword}");
        }
        assert_eq!(instead("fold_headers"), None);
    }
}
