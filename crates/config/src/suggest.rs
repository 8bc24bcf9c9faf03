//! "Did you mean …?": the known word that a misspelt one most likely stands for.

/// The nearest of `known` to `word`, when it is near enough to be more than chance.
///
/// One slip in short words, one in three letters in long ones; a swap of neighbours counts as one slip.
/// Dashes and case are forgiven: other programs' settings are written with them.
pub(crate) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let plain = word.to_lowercase().replace('-', "_");
    let slips_max = (plain.chars().count() / 3).clamp(1, 4);
    known
        .map(|candidate| (strsim::damerau_levenshtein(&plain, candidate), candidate))
        .filter(|(slips, candidate)| *slips <= slips_max && *slips < candidate.len())
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

/// `a, b and c` in backquotes.
pub(crate) fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        None => "no settings".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = ["hostname", "data_dir", "user", "trusted_networks"];

    #[test]
    fn slips_are_guessed() {
        for (word, meant) in [
            ("hostnmae", "hostname"),
            ("Hostname", "hostname"),
            ("data-dir", "data_dir"),
            ("usr", "user"),
            ("trusted_network", "trusted_networks"),
        ] {
            assert_eq!(nearest(word, KNOWN.into_iter()), Some(meant), "{word}");
        }
    }

    #[test]
    fn what_is_far_from_everything_is_not_guessed() {
        for word in ["relayhost", "x", "mydestination", ""] {
            assert_eq!(nearest(word, KNOWN.into_iter()), None, "{word}");
        }
    }

    #[test]
    fn lists_read_well() {
        assert_eq!(listed(&[]), "no settings");
        assert_eq!(listed(&["a"]), "`a`");
        assert_eq!(listed(&["a", "b", "c"]), "`a`, `b` and `c`");
    }
}
