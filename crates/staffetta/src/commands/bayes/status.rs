//! `staffetta bayes status`: what a filter has learnt, whether it judges by that, and what is still missing.

use std::process::ExitCode;

use serde_json::{Value, json};
use server::learning::{Counts, Expert, LearnError, Pupil, called, load, load_correction, waiting};

use crate::commands::learn::{FilterPlace, configured};
use crate::commands::{Outcome, print_all, with_causes};

type Failure = Box<dyn std::error::Error>;

pub(super) fn run(as_json: bool, all: bool, place: &FilterPlace) -> Outcome {
    let pupils = if all {
        let school = configured(&place.config)?;
        let own = school.owners()?.into_iter().map(|owner| school.own(owner));
        std::iter::once(school.shared()).chain(own).collect()
    } else {
        vec![place.pupil()?]
    };
    let mut sound = true;
    for pupil in pupils {
        let status = Status::of(pupil)?;
        sound &= status.trouble.is_none();
        let text = match (as_json, all) {
            (true, true) => format!("{}\n", status.object()),
            (true, false) => format!("{:#}\n", status.object()),
            (false, true) => status.line(),
            (false, false) => status.text(),
        };
        print_all(text.as_bytes())?;
    }
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a filter judges by.
struct Fitted {
    counts: Counts,
    state: u64,
    features: usize,
}

fn fitted(pupil: &Pupil) -> Result<Option<Fitted>, LearnError> {
    if pupil.owner.is_some() {
        return Ok(load_correction(&pupil.folder)?.map(|model| Fitted {
            counts: model.counts,
            state: model.state,
            features: model.len(),
        }));
    }
    Ok(load(&pupil.folder)?.map(|model| Fitted {
        counts: model.counts,
        state: model.state,
        features: model.experts.all.iter().map(Expert::len).sum(),
    }))
}

/// What there is to tell of one filter.
struct Status {
    pupil: Pupil,
    ham: u64,
    spam: u64,
    missing: [u64; 2],
    /// Octets of what was learnt.
    bytes: u64,
    /// Messages that the model was fitted to; none without one.
    fitted: Option<[u64; 2]>,
    features: usize,
    waits: bool,
    to_be_learnt: u64,
    damaged_records: u64,
    torn_bytes: u64,
    trouble: Option<String>,
}

impl Status {
    fn of(pupil: Pupil) -> Result<Self, Failure> {
        if pupil.owner.is_some() && !pupil.has_learnt() {
            // To look is no reason to make a folder.
            return Ok(Self::nothing(pupil));
        }
        let filter = pupil.open(true)?;
        let (counts, damage) = (filter.samples().counts(), filter.samples().damage());
        let (model, trouble) = match fitted(&pupil) {
            Ok(model) => (model, None),
            Err(error) => (None, Some(with_causes(&error))),
        };
        Ok(Self {
            ham: counts.ham,
            spam: counts.spam,
            missing: [counts.ham, counts.spam].map(|count| pupil.learnt_min().saturating_sub(count)),
            bytes: filter.samples().bytes(),
            fitted: model.as_ref().map(|model| [model.counts.ham, model.counts.spam]),
            features: model.as_ref().map_or(0, |model| model.features),
            waits: model.as_ref().is_some_and(|model| model.state != filter.samples().state()),
            to_be_learnt: waiting::count(&pupil.folder)?,
            damaged_records: damage.records,
            torn_bytes: damage.torn_bytes,
            trouble,
            pupil,
        })
    }

    fn nothing(pupil: Pupil) -> Self {
        Self {
            ham: 0,
            spam: 0,
            missing: [pupil.learnt_min(); 2],
            bytes: 0,
            fitted: None,
            features: 0,
            waits: false,
            to_be_learnt: 0,
            damaged_records: 0,
            torn_bytes: 0,
            trouble: None,
            pupil,
        }
    }

    fn object(&self) -> Value {
        let [missing_ham, missing_spam] = self.missing;
        let mut object = json!({
            "ham": self.ham, "spam": self.spam, "samples_max": self.pupil.samples_max, "bytes": self.bytes,
            "missing_ham": missing_ham, "missing_spam": missing_spam, "judges": self.fitted.is_some(),
            "features": self.features, "fitted_ham": self.fitted.map(|[ham, _]| ham),
            "fitted_spam": self.fitted.map(|[_, spam]| spam), "changes_wait": self.waits,
            "to_be_learnt": self.to_be_learnt, "damaged_records": self.damaged_records, "trouble": self.trouble,
        });
        if let (Some(object), Some(owner)) = (object.as_object_mut(), &self.pupil.owner) {
            object.insert("for".to_owned(), json!(owner.to_string()));
        }
        object
    }

    /// For a list of filters.
    fn line(&self) -> String {
        let state = match (&self.trouble, self.fitted, self.missing) {
            (Some(trouble), ..) => trouble.clone(),
            (None, Some(_), _) => "judges".to_owned(),
            (None, None, missing) => said(missing),
        };
        format!("{}\t{} ham\t{} spam\t{state}\n", called(self.pupil.owner.as_ref()), self.ham, self.spam)
    }

    fn text(&self) -> String {
        let (ham, spam, kept) = (self.ham, self.spam, self.pupil.samples_max);
        let mut text = format!("{ham} ham and {spam} spam are learnt, of {kept} that are kept\n");
        match self.missing {
            [0, 0] => {}
            missing if self.pupil.owner.is_some() => text
                .push_str(&format!("it says nothing yet, and the shared filter judges: {}\n", said(missing))),
            missing => text.push_str(&format!("nothing is judged yet: {}\n", said(missing))),
        }
        if let Some([ham, spam]) = self.fitted {
            text.push_str(&format!("judged by {} features of {ham} ham and {spam} spam\n", self.features));
        }
        if self.waits {
            text.push_str(
                "what was learnt since waits until there is more: staffetta bayes fit takes it in now\n",
            );
        }
        if self.to_be_learnt > 0 {
            text.push_str(&format!(
                "{} more wait to be learnt: by the server within a minute, or by staffetta learn\n",
                self.to_be_learnt
            ));
        }
        if self.damaged_records > 0 || self.torn_bytes > 0 {
            text.push_str(&format!(
                "damaged: {} records of {} are left out, and {} octets at the end\n",
                self.damaged_records,
                self.pupil.folder.join("samples").display(),
                self.torn_bytes
            ));
        }
        if let Some(trouble) = &self.trouble {
            text.push_str(&format!("{trouble}\n"));
        }
        text
    }
}

/// What is missing, of ham and of spam; of something there is.
fn said(missing: [u64; 2]) -> String {
    match missing {
        [ham, 0] => format!("{ham} ham are missing"),
        [0, spam] => format!("{spam} spam are missing"),
        [ham, spam] => format!("{ham} ham and {spam} spam are missing"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_said_to_be() {
        assert_eq!(said([200, 0]), "200 ham are missing");
        assert_eq!(said([0, 3]), "3 spam are missing");
        assert_eq!(said([7, 3]), "7 ham and 3 spam are missing");
    }
}
