//! `[antispam.attachments]`: entries that say two things of one kind of file.

use super::Findings;
use crate::document::Place;

/// A letter that is refused is neither kept back nor changed nor counted: whoever wrote both wanted one of them.
pub(super) fn check(findings: &mut Findings<'_, '_>) {
    let section = Place::of("antispam").key("attachments");
    for (key, index, entry, refused) in findings.config.antispam.attachments.refused_anyway() {
        let place = section.key(key).item(index);
        let first = findings.document.value_span(&section.key("reject").item(refused));
        let problem = findings
            .error(&place, format!("`{entry}` is in `reject` and in `{key}`"))
            .label(format!("letters with it are refused: `{key}` never comes to them"))
            .also(first, "refused here")
            .help(format!(
                "leave it in `reject` or in `{key}`; capitals, and a dot or star in front, make no difference"
            ));
        findings.push(problem);
    }
}
