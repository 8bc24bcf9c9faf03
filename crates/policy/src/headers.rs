//! The header fields that tell a recipient's mail program what was thought of a message.
//!
//! Pure. Each recipient's copy has its own, since thresholds differ. Authentication-Results and Received-SPF are not made
//! here: they tell facts, these tell an opinion. What they tell can be read back: a copy that is kept back carries its
//! verdict in them for as long as it is kept.

use mail::header::write_field;

use crate::judge::Decision;
use crate::mode::Mode;
use crate::score::Score;
use crate::tally::Note;
use crate::thresholds::{Rules, Threshold};
use crate::verdict::Action;

/// Symbols that are named in `X-Spam-Status`, the heaviest first.
pub const HEADER_SYMBOLS_MAX: usize = 100;
/// The fields that are ours to write: any that a message brings are a stranger's and go.
pub const OURS: [&str; 2] = ["X-Spam-Flag", "X-Spam-Status"];

/// `X-Spam-Flag` and `X-Spam-Status` for one recipient's copy, with line ends. Empty in mode `observe`, which only records.
#[must_use]
pub fn spam_fields(decision: &Decision, rules: &Rules) -> Vec<u8> {
    let mut out = Vec::new();
    if rules.mode.value == Mode::Observe {
        return out;
    }
    let spam = decision.action >= Action::Junk && decision.action != Action::Hold;
    write_field(&mut out, "X-Spam-Flag", &[if spam { "YES" } else { "NO" }]);
    let mut clauses = vec![
        if spam { "Yes," } else { "No," }.to_owned(),
        format!("score={}", decision.tally.total),
        format!("required={}", rules.limit(Threshold::Tag).map_or(Score::ZERO, |limit| limit.value)),
    ];
    let counting = decision.tally.lines.iter().filter(|line| line.note != Note::Observed);
    let mut tests: Vec<String> =
        counting.take(HEADER_SYMBOLS_MAX).map(|line| format!("{}={},", line.symbol, line.points)).collect();
    match tests.last_mut() {
        Some(last) => {
            last.pop();
            last.push(']');
        }
        None => tests.push("]".to_owned()),
    }
    if let Some(first) = tests.first_mut() {
        first.insert_str(0, "tests=[");
    }
    clauses.extend(tests);
    let clauses: Vec<&str> = clauses.iter().map(String::as_str).collect();
    write_field(&mut out, "X-Spam-Status", &clauses);
    out
}

/// The fields of a copy that was kept back and is let through after all: filters of the recipient's own shall not take it
/// for spam, but the score and what it was made of stay.
#[must_use]
pub fn released(fields: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(fields);
    let lines = text.split_inclusive("\r\n").map(|line| match line.split_once(": ") {
        Some(("X-Spam-Flag", _)) => "X-Spam-Flag: NO\r\n".to_owned(),
        Some(("X-Spam-Status", rest)) => match rest.strip_prefix("Yes,") {
            Some(rest) => format!("X-Spam-Status: No,{rest}"),
            None => line.to_owned(),
        },
        _ => line.to_owned(),
    });
    lines.collect::<String>().into_bytes()
}

/// What `X-Spam-Status` tells, of those that [`spam_fields`] writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The score.
    pub score: Score,
    /// From which score on the message is marked.
    pub required: Score,
    /// Symbols and their points, the heaviest first; at most [`HEADER_SYMBOLS_MAX`].
    pub symbols: Vec<(String, Score)>,
}

impl Told {
    /// Reads the fields of one copy; none when no verdict is in them.
    #[must_use]
    pub fn of(fields: &[u8]) -> Option<Self> {
        let field = mail::header::find(fields, "X-Spam-Status")?;
        let text = field.text();
        let (before, tests) = text.split_once("tests=[")?;
        let figure = |name: &str| before.split_whitespace().find_map(|word| points(word.strip_prefix(name)?));
        let tests = tests.split(']').next().unwrap_or_default();
        let symbols = tests.split(',').take(HEADER_SYMBOLS_MAX).filter_map(|test| {
            let (symbol, worth) = test.trim().split_once('=')?;
            Some((symbol.to_owned(), points(worth)?))
        });
        Some(Self { score: figure("score=")?, required: figure("required=")?, symbols: symbols.collect() })
    }
}

/// A score as it is written.
fn points(text: &str) -> Option<Score> {
    text.parse().ok().and_then(|points| Score::from_f64(points).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::{Definitions, ScoreBook};
    use crate::check::Finding;
    use crate::dossier::Evidence;
    use crate::judge::{AfterData, AfterDataRecipient, Client, Greylist, after_data};
    use crate::symbol::SymbolDef;
    use crate::thresholds::Thresholds;

    fn fields(symbols: &[&'static str], mode: Mode) -> String {
        let defs = [("ZEN_SBL", 40), ("SPF_FAIL", 25), ("A_RATHER_LONG_NAME_FOR_A_SYMBOL", 1)];
        let symbols_of = defs.map(|(name, tenths)| SymbolDef::new(name, Score::tenths(tenths), "x"));
        let book =
            ScoreBook::new(Definitions { symbols: symbols_of.to_vec(), ..Definitions::default() }).unwrap();
        let found: Vec<Finding> = symbols.iter().map(|name| Finding::new(*name)).collect();
        let rules = Rules::new("antispam", mode, &Thresholds::default());
        let evidence = Evidence { findings: found.iter().collect(), ..Evidence::default() };
        let decision = after_data(&AfterData {
            book: &book,
            recipients: &[AfterDataRecipient { evidence, rules: &rules }],
            client: Client::default(),
            greylist_after_data: false,
            greylist: Greylist::NotAsked,
        });
        String::from_utf8(spam_fields(&decision.recipients[0], &rules)).unwrap()
    }

    #[test]
    fn the_fields_say_what_was_seen_and_what_it_came_to() {
        assert_eq!(
            fields(&["ZEN_SBL", "SPF_FAIL", "A_RATHER_LONG_NAME_FOR_A_SYMBOL"], Mode::Tag),
            "X-Spam-Flag: YES\r\nX-Spam-Status: Yes, score=6.6 required=5.0 tests=[ZEN_SBL=4.0, SPF_FAIL=2.5,\r\n\
             \tA_RATHER_LONG_NAME_FOR_A_SYMBOL=0.1]\r\n"
        );
        assert_eq!(
            fields(&[], Mode::Enforce),
            "X-Spam-Flag: NO\r\nX-Spam-Status: No, score=0.0 required=5.0 tests=[]\r\n"
        );
    }

    #[test]
    fn a_copy_that_is_released_is_no_longer_called_spam_and_tells_its_score() {
        let fields = fields(&["ZEN_SBL", "SPF_FAIL", "A_RATHER_LONG_NAME_FOR_A_SYMBOL"], Mode::Tag);
        let released = String::from_utf8(released(fields.as_bytes())).unwrap();
        assert_eq!(
            released,
            "X-Spam-Flag: NO\r\nX-Spam-Status: No, score=6.6 required=5.0 tests=[ZEN_SBL=4.0, SPF_FAIL=2.5,\r\n\
             \tA_RATHER_LONG_NAME_FOR_A_SYMBOL=0.1]\r\n"
        );
        for fields in [fields, released] {
            let told = Told::of(fields.as_bytes()).unwrap();
            assert_eq!((told.score, told.required), (Score::tenths(66), Score::points(5)));
            let symbols: Vec<_> =
                told.symbols.iter().map(|(symbol, points)| format!("{symbol} {points}")).collect();
            assert_eq!(symbols, ["ZEN_SBL 4.0", "SPF_FAIL 2.5", "A_RATHER_LONG_NAME_FOR_A_SYMBOL 0.1"]);
        }
        assert_eq!(Told::of(b"X-Spam-Status: No, score=0.0 required=5.0 tests=[]\r\n").unwrap().symbols, []);
        for other in
            [&b""[..], b"X-Spam-Status: Yes\r\n", b"X-Spam-Status: Yes, score=x required=1 tests=[]\r\n"]
        {
            assert_eq!(Told::of(other), None);
        }
    }

    #[test]
    fn who_only_watches_changes_no_message() {
        assert_eq!(fields(&["ZEN_SBL", "SPF_FAIL"], Mode::Observe), "");
    }
}
