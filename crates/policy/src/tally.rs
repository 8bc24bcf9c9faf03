//! From what was seen to points that add up: each symbol once, then composites, then the caps of groups.
//!
//! Pure. The same findings in any order give the same tally (invariant I5), and the points of its lines add up to its
//! total exactly. Never decides what the total means.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::book::{Bound, Members, ScoreBook};
use crate::check::Finding;
use crate::mode::Mode;
use crate::ruling::bounded;
use crate::score::Score;
use crate::symbol::Symbol;

/// What was seen, in points.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// Every symbol that was seen and every composite that holds; the heaviest first, equals by name.
    pub lines: Vec<Line>,
    /// Groups whose caps took points away, by name.
    pub capped: Vec<Capped>,
    /// The sum of the lines' points: what marking goes by.
    pub total: Score,
    /// What refusing and greylisting go by: `total`, or less when checks may only mark.
    pub refusing: Score,
    /// What `total` would be if checks that only record counted too.
    pub observed: Score,
}

/// One symbol's part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Which.
    pub symbol: Symbol,
    /// What was seen; of several sightings all, in alphabetical order, bounded.
    pub evidence: String,
    /// The points it would have by itself.
    pub full: Score,
    /// The points it has.
    pub points: Score,
    /// Why that differs.
    pub note: Note,
}

/// Why a symbol has the points that it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// All of its own.
    Whole,
    /// This group's cap was reached.
    Capped(String),
    /// This composite stands in its place.
    Replaced(Symbol),
    /// Its check only records.
    Observed,
    /// There is no such symbol in the book: a mistake of its check.
    Undefined,
    /// This composite lets such symbols add only so much.
    Bounded(Symbol),
}

/// A group whose cap or floor took points away, or a composite that bounds others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capped {
    /// Its name; a composite's is its symbol.
    pub group: String,
    /// Its cap or floor.
    pub bound: Score,
    /// What its symbols would have come to.
    pub before: Score,
}

impl Tally {
    /// Adds up what was seen.
    #[must_use]
    pub fn of<'a>(book: &ScoreBook, findings: impl IntoIterator<Item = &'a Finding>) -> Self {
        let seen = sightings(book, findings);
        let (lines, capped) = add_up(book, &seen, Mode::Tag);
        let total = lines.iter().map(|line| line.points).sum();
        let sum = |mode: Mode| -> Score { add_up(book, &seen, mode).0.iter().map(|line| line.points).sum() };
        let any = |mode: Mode| seen.values().any(|sighting| sighting.mode == mode);
        // Leaving out what speaks for a message must not make it worse: the milder of the two counts.
        let refusing = if any(Mode::Tag) { sum(Mode::Enforce).min(total) } else { total };
        let observed = if any(Mode::Observe) { sum(Mode::Observe) } else { total };
        let mut tally = Self { lines, capped, total, refusing, observed };
        tally.lines.extend(seen.iter().filter(|(_, sighting)| sighting.mode == Mode::Observe).map(
            |(symbol, sighting)| Line {
                symbol: (*symbol).clone(),
                evidence: sighting.evidence(),
                full: sighting.points,
                points: Score::ZERO,
                note: Note::Observed,
            },
        ));
        tally.lines.sort_by(|a, b| {
            let weight = |line: &Line| (line.points.abs(), line.full.abs());
            weight(b).cmp(&weight(a)).then_with(|| a.symbol.cmp(&b.symbol))
        });
        tally
    }

    /// The line of this symbol.
    #[must_use]
    pub fn line(&self, symbol: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.symbol == *symbol)
    }
}

/// All sightings of one symbol.
struct Sighting<'a> {
    points: Score,
    mode: Mode,
    evidence: BTreeSet<&'a str>,
    defined: bool,
}

impl Sighting<'_> {
    fn evidence(&self) -> String {
        let parts: Vec<&str> = self.evidence.iter().copied().filter(|text| !text.is_empty()).collect();
        bounded(&parts.join("; "))
    }
}

/// Each symbol once: of several sightings the one that may do most, then the heaviest, then the worse, decides.
fn sightings<'a>(
    book: &ScoreBook,
    findings: impl IntoIterator<Item = &'a Finding>,
) -> BTreeMap<&'a Symbol, Sighting<'a>> {
    let mut seen: BTreeMap<&Symbol, Sighting<'_>> = BTreeMap::new();
    for finding in findings {
        let worth = book.worth(&finding.symbol);
        let points = worth.map_or(Score::ZERO, |worth| worth.score.times(finding.factor));
        // Bounded like a score in a file, so that no sum overflows: SYMBOLS_MAX of these fit.
        let points = points.clamp(-Score::WRITTEN_MAX, Score::WRITTEN_MAX);
        let sighting = seen.entry(&finding.symbol).or_insert_with(|| Sighting {
            points,
            mode: finding.mode,
            evidence: BTreeSet::new(),
            defined: worth.is_some(),
        });
        sighting.evidence.insert(&finding.evidence);
        let rank = |mode: Mode, points: Score| (mode, points.abs(), points);
        if rank(finding.mode, points) > rank(sighting.mode, sighting.points) {
            (sighting.points, sighting.mode) = (points, finding.mode);
        }
    }
    seen
}

/// The lines of all that may do at least as much as `least`, with composites and caps.
fn add_up(book: &ScoreBook, seen: &BTreeMap<&Symbol, Sighting<'_>>, least: Mode) -> (Vec<Line>, Vec<Capped>) {
    let mut lines: BTreeMap<Symbol, Line> = BTreeMap::new();
    for (symbol, sighting) in seen.iter().filter(|(_, sighting)| sighting.mode >= least) {
        let note = if sighting.defined { Note::Whole } else { Note::Undefined };
        let line = Line {
            symbol: (*symbol).clone(),
            evidence: sighting.evidence(),
            full: sighting.points,
            points: sighting.points,
            note,
        };
        lines.insert((*symbol).clone(), line);
    }
    let bounds = compose(book, &mut lines);
    let mut lines: Vec<Line> = lines.into_values().collect();
    let mut capped = cap(book, &mut lines);
    capped.extend(bounds.into_iter().filter_map(|(symbol, by)| bound(book, &mut lines, symbol, by)));
    (lines, capped)
}

/// Adds the composites that hold, then takes away what they stand in place of. Gives those that bound others.
fn compose<'a>(book: &'a ScoreBook, lines: &mut BTreeMap<Symbol, Line>) -> Vec<(&'a Symbol, &'a Bound)> {
    let mut replaced: Vec<(Symbol, Symbol)> = Vec::new();
    let mut bounds = Vec::new();
    for composite in book.composites() {
        if !composite.when.holds(&|symbol| lines.contains_key(symbol)) {
            continue;
        }
        bounds.extend(composite.bound.as_ref().map(|bound| (&composite.symbol, bound)));
        let points = book.worth(&composite.symbol).map_or(Score::ZERO, |worth| worth.score);
        let present: Vec<&Symbol> =
            composite.when.members().into_iter().filter(|member| lines.contains_key(*member)).collect();
        if composite.members == Members::Replace {
            replaced.extend(present.iter().map(|member| ((*member).clone(), composite.symbol.clone())));
        }
        let evidence = bounded(&present.iter().map(|member| member.as_str()).collect::<Vec<_>>().join(", "));
        let symbol = composite.symbol.clone();
        lines.insert(symbol.clone(), Line { symbol, evidence, full: points, points, note: Note::Whole });
    }
    for (member, by) in replaced {
        if let Some(line) = lines.get_mut(&member).filter(|line| line.note == Note::Whole) {
            line.points = Score::ZERO;
            line.note = Note::Replaced(by);
        }
    }
    bounds
}

/// Bounds what each group adds, and what it takes away, inner groups before outer ones. The two sides are bounded apart:
/// what speaks for a client is not swallowed by a cap on what speaks against it.
fn cap(book: &ScoreBook, lines: &mut [Line]) -> Vec<Capped> {
    let mut capped = Vec::new();
    for (name, group) in book.groups() {
        for (bound, side) in [(group.cap, 1), (group.floor, -1)] {
            let Some(bound) = bound else { continue };
            let mut members: Vec<&mut Line> = lines
                .iter_mut()
                .filter(|line| line.points.thousandths().signum() == side && book.is_in(&line.symbol, name))
                .collect();
            if let Some(before) = shorten(&mut members, bound, &Note::Capped(name.to_owned())) {
                capped.push(Capped { group: name.to_owned(), bound, before });
            }
        }
    }
    capped.sort_by(|a, b| a.group.cmp(&b.group).then_with(|| a.bound.cmp(&b.bound)));
    capped
}

/// Bounds what the groups that a composite names add together, whatever each of them may add.
fn bound(book: &ScoreBook, lines: &mut [Line], symbol: &Symbol, by: &Bound) -> Option<Capped> {
    let is_meant = |line: &Line| by.groups.iter().any(|group| book.is_in(&line.symbol, group));
    let mut members: Vec<&mut Line> =
        lines.iter_mut().filter(|line| line.points.is_positive() && is_meant(line)).collect();
    let before = shorten(&mut members, by.cap, &Note::Bounded(symbol.clone()))?;
    Some(Capped { group: symbol.to_string(), bound: by.cap, before })
}

/// Takes points away until the lines, which are of one sign, come to no more than `bound` together. Gives what they came to
/// before; none when that is no more.
fn shorten(lines: &mut [&mut Line], bound: Score, why: &Note) -> Option<Score> {
    let before: Score = lines.iter().map(|line| line.points).sum();
    if before.abs() <= bound.abs() {
        return None;
    }
    // The heaviest keep theirs: whole figures are easier to follow than shares.
    lines.sort_by(|a, b| b.points.abs().cmp(&a.points.abs()).then_with(|| a.symbol.cmp(&b.symbol)));
    let mut left = bound.abs();
    for line in lines {
        let kept = line.points.abs().min(left);
        left = left - kept;
        let points = if line.points.is_negative() { -kept } else { kept };
        if points != line.points {
            line.points = points;
            line.note = why.clone();
        }
    }
    Some(before)
}

#[cfg(test)]
mod tests;
