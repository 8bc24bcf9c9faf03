//! How much a message resembles what was learnt as spam and as ham: the check `bayes`, after DATA.
//!
//! Gives one symbol for how likely it is, from BAYES_00 to BAYES_99, and BAYES_999 beside the last where it is nearly
//! certain. Within a level points change steadily towards the next one's, by factors that fit the points as they are by
//! default. It says nothing at all until enough of both classes is learnt. The names are those that SpamAssassin has made known;
//! the classifier is another ([`crate::learn`]). The model is a file that whoever learns replaces: it is looked at for
//! each message, and read again when it has changed. One that cannot be read leaves the last good one in use; without one
//! the check is unfinished. A model is read, and all but short messages are judged, on threads of the pool; evidence is
//! figures, never words of the message.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use policy::{Check, EndOfData, Finding, Findings, MessageFacts, Symbol, SymbolDef, Work};

use super::own_filters;
use crate::groups::{BAYES, symbols};
use crate::learn::kept::Kept;
use crate::learn::tokens::features_below;
use crate::learn::{Model, Opinion};
use crate::letter::{self, Letter};
use crate::work;

symbols! { BAYES:
    BAYES_00, -14, "by what was learnt, spam with less than 1 %";
    BAYES_05, -10, "by what was learnt, spam with 1 to 5 %";
    BAYES_20, -5, "by what was learnt, spam with 5 to 20 %";
    BAYES_40, -1, "by what was learnt, spam with 20 to 40 %";
    BAYES_50, 0, "by what was learnt, spam with 40 to 60 %";
    BAYES_60, 5, "by what was learnt, spam with 60 to 80 %";
    BAYES_80, 15, "by what was learnt, spam with 80 to 95 %";
    BAYES_95, 30, "by what was learnt, spam with 95 to 99 %";
    BAYES_99, 45, "by what was learnt, spam with 99 % or more";
    BAYES_999, 2, "by what was learnt, spam with 99.9 % or more";
}

/// A symbol for probabilities below a bound, from where the row before ends, and how many times its points it is worth where
/// it begins and where it ends: points have next to no steps.
struct Level {
    below: f64,
    def: SymbolDef,
    begins: f64,
    ends: f64,
}

const fn level_of(below: f64, def: SymbolDef, begins: f64, ends: f64) -> Level {
    Level { below, def, begins, ends }
}

const LEVELS: [Level; 11] = [
    level_of(0.0001, BAYES_00, 1.357, 1.357),
    level_of(0.01, BAYES_00, 1.357, 1.0),
    level_of(0.05, BAYES_05, 1.4, 1.0),
    level_of(0.2, BAYES_20, 2.0, 1.0),
    level_of(0.4, BAYES_40, 5.0, 1.0),
    level_of(0.6, BAYES_50, 1.0, 1.0),
    level_of(0.8, BAYES_60, 1.0, 3.0),
    level_of(0.95, BAYES_80, 1.0, 2.0),
    level_of(0.99, BAYES_95, 1.0, 1.5),
    level_of(0.995, BAYES_99, 1.0, 1.112),
    level_of(f64::INFINITY, BAYES_99, 1.112, 1.112),
];
/// The name of this check.
pub const NAME: &str = "bayes";
/// How much longer it takes to judge a letter than to hash it.
const HASHING_TIMES: usize = 4;
/// From here on [`BAYES_999`] too.
const NEARLY_CERTAIN: f64 = 0.999;

/// See above.
#[derive(Debug)]
pub struct Bayes {
    kept: Arc<Kept<Model>>,
}

impl Bayes {
    /// With the model in the filter's folder `folder`, once there is one.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { kept: Arc::new(Kept::shared(folder)) }
    }
}

impl Check<EndOfData> for Bayes {
    fn name(&self) -> &'static str {
        NAME
    }

    fn symbols(&self) -> Vec<SymbolDef> {
        levels().chain(own_filters::marks()).collect()
    }

    fn budget(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn run<'a>(&'a self, facts: &'a MessageFacts, found: &'a mut Findings) -> Work<'a> {
        Box::pin(async move {
            let kept = Arc::clone(&self.kept);
            let known = kept.at_hand();
            // The usual thing where nobody has taught it: nothing to be handed to another thread.
            if matches!(known, Some(None)) {
                return;
            }
            let letter = match letter::of(facts).await {
                Ok(letter) => letter,
                Err(why) => return found.unfinished(&why),
            };
            let received = facts.received.clone();
            let judged = match known {
                Some(_) => {
                    let work = letter.octets().len().saturating_mul(HASHING_TIMES);
                    work::hashing(work, move || judge(&kept, &received, &letter)).await
                }
                None => work::heavy(move || judge(&kept, &received, &letter)).await,
            };
            match judged {
                Ok(Ok(None)) => {}
                Ok(Ok(Some(opinion))) => tell(&opinion, found),
                Ok(Err(why)) => found.unfinished(&why),
                Err(broken) => found.unfinished(&broken.to_string()),
            }
        })
    }
}

/// What the model says of a message; none when there is none, or why it cannot be told.
fn judge(kept: &Kept<Model>, received: &[u8], letter: &Letter) -> Result<Option<Opinion>, String> {
    let Some(model) = kept.current().map_err(|error| error.to_string())? else { return Ok(None) };
    Ok(Some(model.judge(&features_below(received, letter))))
}

/// Each symbol once.
fn levels() -> impl Iterator<Item = SymbolDef> {
    let (mut defs, mut last) = (LEVELS.into_iter().map(|level| level.def), None);
    std::iter::from_fn(move || {
        last = defs.find(|def| last.as_ref().is_none_or(|last: &SymbolDef| last.symbol != def.symbol));
        last.clone()
    })
    .chain([BAYES_999])
}

/// True for the symbols that tell an opinion.
#[must_use]
pub fn is_told(symbol: &Symbol) -> bool {
    levels().any(|def| def.symbol == *symbol)
}

/// Writes down the symbols of an opinion.
pub(super) fn tell(opinion: &Opinion, found: &mut Findings) {
    let likely = opinion.cautious;
    let evidence = format!("{:.2} %; {:.0} % of the text is known", likely * 100.0, opinion.coverage * 100.0);
    let (symbol, times) = level(likely);
    found.add(Finding::new(symbol).evidence(&evidence).times(times));
    if likely >= NEARLY_CERTAIN {
        found.saw(BAYES_999.symbol, &evidence);
    }
}

/// The symbol for a probability, and how many thousandths of its points it is worth: between the ends of a level they
/// change as the logarithm of the odds does.
#[allow(clippy::cast_possible_truncation)] // A few thousand.
fn level(likely: f64) -> (Symbol, i32) {
    let odds = |probability: f64| (probability / (1.0 - probability)).ln();
    let mut from = 0.0;
    for Level { below, def, begins, ends } in LEVELS {
        if likely < below {
            // Where nothing changes the ends may be infinite.
            let part = if (ends - begins).abs() < f64::EPSILON {
                0.0
            } else {
                (odds(likely) - odds(from)) / (odds(below) - odds(from))
            };
            return (def.symbol, (1000.0 * (begins + (ends - begins) * part)).round() as i32);
        }
        from = below;
    }
    (BAYES_99.symbol, 1000)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::learn::tests::{filled, letter};
    use crate::learn::{Class, Filter, SAMPLES_MAX};
    use crate::testing::{self, message, run};

    #[tokio::test]
    async fn it_is_silent_until_enough_is_learnt_and_then_tells_spam_from_ham() {
        let folder = tempfile::tempdir().unwrap();
        let check = Bayes::new(folder.path().join("bayes"));
        let spam = message("a@far.test", &letter(Class::Spam, 9001));
        assert_eq!(testing::symbols(&run(&check, &spam).await), Vec::<&str>::new());
        assert!(matches!(check.kept.at_hand(), Some(None)), "no other thread is needed to know that");

        filled(&folder.path().join("bayes"), 220).fit().unwrap().unwrap();
        let seen = run(&check, &spam).await;
        assert!(seen.has("BAYES_99") || seen.has("BAYES_95"), "{:?}", seen.findings());
        let ham = message("a@far.test", &letter(Class::Ham, 9001));
        let seen = run(&check, &ham).await;
        assert!(seen.has("BAYES_00") || seen.has("BAYES_05"), "{:?}", seen.findings());
        assert!(matches!(check.kept.at_hand(), Some(Some(_))), "it was read once");
        assert!(seen.findings().iter().all(|finding| !finding.evidence.contains("meeting")), "no words");
    }

    #[test]
    fn points_change_steadily_with_the_odds() {
        let points = |likely: f64| {
            let (symbol, times) = level(likely);
            let own = levels().find(|def| def.symbol == symbol).unwrap().score.as_f64();
            own * f64::from(times) / 1000.0
        };
        for (likely, want) in [(0.0, -1.9), (0.0001, -1.9), (0.5, 0.0), (1.0, 5.0)] {
            assert!((points(likely) - want).abs() < 0.01, "{likely}: {}", points(likely));
        }
        for (at, want) in
            [(0.01, -1.4), (0.05, -1.0), (0.2, -0.5), (0.8, 1.5), (0.95, 3.0), (0.99, 4.5), (0.995, 5.0)]
        {
            assert!((points(at) - want).abs() < 0.01 && (points(at - 1e-6) - want).abs() < 0.01, "{at}");
        }
        let all: Vec<f64> = (0..1000).map(|part| points(f64::from(part) / 1000.0)).collect();
        assert!(all.windows(2).all(|two| two[0] <= two[1] && two[1] - two[0] < 0.51));
        assert_eq!(levels().count(), 10, "each symbol once");
    }

    #[tokio::test]
    async fn a_damaged_model_is_told_or_the_last_good_one_used() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path(), 220).fit().unwrap().unwrap();
        let used = Bayes::new(folder.path().to_owned());
        let spam = message("a@far.test", &letter(Class::Spam, 9001));
        assert!(!run(&used, &spam).await.findings().is_empty());
        fs::write(folder.path().join("model"), b"staffetta bayes model 2\nbroken").unwrap();
        assert!(!run(&used, &spam).await.findings().is_empty(), "the last good one");
        let fresh = run(&Bayes::new(folder.path().to_owned()), &spam).await;
        assert!(fresh.why_unfinished().is_some_and(|why| why.contains("damaged")), "{fresh:?}");
        // Learning writes it anew.
        let filter = Filter::open(folder.path(), false).unwrap();
        assert!(filter.is_stale() && filter.samples().counts().all() <= SAMPLES_MAX);
        filter.fit().unwrap();
        assert!(!run(&Bayes::new(folder.path().to_owned()), &spam).await.findings().is_empty());
    }
}
