//! Requests about what senders and networks have sent: what is remembered, and that it be forgotten.
//!
//! Names are all understood before anything is forgotten.

use antispam::reputation::Subject;

use super::{Answered, ControlError, Out, QueueControl, Response};

/// Of these; without names of all, the worst first.
pub(super) async fn list(
    names: &[String],
    limit: u64,
    control: &dyn QueueControl,
    out: &mut Out,
) -> Answered {
    let subjects = match meant(names) {
        Ok(subjects) => subjects,
        Err(error) => return Ok(Err(error)),
    };
    let lines = control.reputation().lines(&subjects, control.now());
    let all = lines.len() as u64;
    let count = if limit == 0 { all } else { all.min(limit) };
    for line in lines.into_iter().take(usize::try_from(count).unwrap_or(usize::MAX)) {
        out.put(&Response::Reputation(line)).await?;
    }
    Ok(Ok(Response::Done { count, more: all > count }))
}

pub(super) async fn delete(names: &[String], control: &dyn QueueControl) -> Answered {
    let subjects = match meant(names) {
        Ok(subjects) => subjects,
        Err(error) => return Ok(Err(error)),
    };
    let (reputation, mut count) = (control.reputation(), 0);
    for subject in &subjects {
        match reputation.forget(subject, control.now()).await {
            Ok(known) => count += u64::from(known),
            Err(error) => return Ok(Err(error.into())),
        }
    }
    Ok(Ok(Response::Done { count, more: false }))
}

fn meant(names: &[String]) -> Result<Vec<Subject>, ControlError> {
    let subject = |name: &String| {
        let words =
            "an address, a domain, a client's address, or a network (/24, or /64 of IPv6) is expected";
        Subject::named(name).ok_or_else(|| ControlError::Refused(format!("{name}: {words}")))
    };
    names.iter().map(subject).collect()
}
