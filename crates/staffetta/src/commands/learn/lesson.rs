//! Filters that learn the same together, somebody's own before the shared one, and what is told of it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use server::learning::{Class, Filter, Learnt, Pupil, Read, School, called, waiting};

use super::Failure;

/// Filters, open to learn.
#[derive(Debug)]
pub(in crate::commands) struct Lesson {
    all: Vec<Learning>,
    /// Whose filters these are is told.
    is_named: bool,
}

/// One of them, and what it has done so far.
#[derive(Debug)]
struct Learning {
    pupil: Pupil,
    filter: Filter,
    learnt: Learnt,
    forgotten: u64,
    is_fitted: bool,
}

impl Lesson {
    /// Opens these, and lets them learn what waits: in the order in which it was said. Without a school there is room for all.
    pub(in crate::commands) fn begin(
        school: Option<&School>,
        pupils: Vec<Pupil>,
        is_named: bool,
    ) -> Result<Self, Failure> {
        let mut all = Vec::with_capacity(pupils.len());
        for pupil in pupils {
            school.map_or(Ok(()), |school| school.admit(&pupil))?;
            let mut filter = pupil.open(true)?;
            super::set_aside(&pupil.folder)?;
            waiting::take_in(&pupil.folder, &mut filter, pupil.samples_max)?;
            let learnt = Learnt::default();
            all.push(Learning { pupil, filter, learnt, forgotten: 0, is_fitted: false });
        }
        Ok(Self { all, is_named })
    }

    /// All learn these.
    pub(in crate::commands) fn learn(
        &mut self,
        mut messages: Vec<Read>,
        class: Class,
    ) -> Result<(), Failure> {
        let last = self.all.len().saturating_sub(1);
        for (at, one) in self.all.iter_mut().enumerate() {
            // Most often there is one filter, which keeps them: their features are twice what is written down.
            let these = if at == last { std::mem::take(&mut messages) } else { messages.clone() };
            let learnt = one.filter.learn(these, class, one.pupil.samples_max)?;
            one.learnt.new += learnt.new;
            one.learnt.known += learnt.known;
            one.learnt.changed += learnt.changed;
            one.learnt.forgotten += learnt.forgotten;
        }
        Ok(())
    }

    /// All forget these; the shared filter only what it knows as somebody has said it: others may have said the opposite.
    pub(in crate::commands) fn forget(&mut self, mut messages: Vec<Read>) -> Result<(), Failure> {
        let mut before = BTreeMap::new();
        for one in &mut self.all {
            let known = one.filter.samples();
            let said: BTreeMap<_, _> =
                messages.iter().filter_map(|m| Some((m.digest, known.class(&m.digest)?))).collect();
            messages.retain(|message| match said.get(&message.digest) {
                Some(class) => *before.entry(message.digest).or_insert(*class) == *class,
                None => false,
            });
            one.forgotten += one.filter.forget(&messages)?;
        }
        Ok(())
    }

    /// Fits those that have learnt enough for it; the shared one first, as somebody's own is fitted to what that says.
    pub(in crate::commands) fn end(&mut self) -> Result<(), Failure> {
        for one in self.all.iter_mut().rev() {
            one.is_fitted = one.pupil.keep_up(&one.filter)?;
        }
        Ok(())
    }

    /// What was done, for programs: of somebody's own filter, with what the shared one did within.
    pub(in crate::commands) fn object(&self, failed: usize) -> Value {
        let mut objects = self.all.iter().map(|one| one.object(failed));
        let mut first = objects.next().unwrap_or_default();
        if let (Some(first), true) = (first.as_object_mut(), self.is_named) {
            let owner = self.all.first().and_then(|one| one.pupil.owner.as_ref());
            first.insert("for".to_owned(), json!(owner.map(ToString::to_string)));
            if let Some(shared) = objects.next() {
                first.insert("shared".to_owned(), shared);
            }
        }
        first
    }

    /// What was done, in words.
    pub(in crate::commands) fn text(&self, has_forgotten: bool) -> String {
        let line = |one: &Learning| {
            let whose =
                if self.is_named { format!("{}: ", called(one.pupil.owner.as_ref())) } else { String::new() };
            format!("{whose}{}", one.text(has_forgotten))
        };
        self.all.iter().map(line).collect()
    }
}

impl Learning {
    fn object(&self, failed: usize) -> Value {
        let (Learnt { new, known, changed, forgotten }, counts) =
            (self.learnt, self.filter.samples().counts());
        json!({
            "learnt": new, "known": known, "changed": changed, "given_way": forgotten,
            "forgotten": self.forgotten, "failed": failed,
            "ham": counts.ham, "spam": counts.spam, "fitted": self.is_fitted,
        })
    }

    fn text(&self, has_forgotten: bool) -> String {
        let (Learnt { new, known, changed, .. }, counts) = (self.learnt, self.filter.samples().counts());
        let mut text = if has_forgotten {
            format!("{} forgotten", self.forgotten)
        } else {
            format!("{new} learnt, {known} known before, {changed} changed sides")
        };
        text.push_str(&format!("; {} ham and {} spam altogether\n", counts.ham, counts.spam));
        let least = self.pupil.learnt_min();
        if counts.ham.min(counts.spam) < least {
            let silent = if self.pupil.owner.is_some() { "it says nothing" } else { "nothing is judged" };
            text.push_str(&format!("{silent} before there are {least} of each\n"));
        }
        text
    }
}
