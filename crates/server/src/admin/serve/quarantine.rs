//! Requests about quarantine: what is kept back, and why.
//!
//! The verdict about a copy stands in the header lines that it is kept with; where there are none, because the mode only
//! records, the history is asked. Subjects are read from the message for whoever may read it anyway, and are kept nowhere.

use mail::{Address, QueueId};
use store::{Hold, QueueEntry};

use super::{
    Answered, ControlError, Filter, PAGE, Pages, QueueControl, Response, State, meant, not_in, view,
};
use crate::admin::protocol::{KeptView, MessageView};
use crate::judge::Wanted;
use crate::quarantine::shown;

/// Verdicts that are told of one message.
const VERDICTS_MAX: usize = 5;

pub(super) async fn list(
    filter: Filter,
    limit: u64,
    control: &dyn QueueControl,
    out: &mut super::Out,
) -> Answered {
    let filter = Filter { state: Some(State::Quarantine), ..filter };
    let (mut pages, mut count) = (Pages::of(control), 0);
    loop {
        let page = match pages.next().await {
            Ok(Some(page)) => page,
            Ok(None) => return Ok(Ok(Response::Done { count, more: false })),
            Err(error) => return Ok(Err(error)),
        };
        for (entry, view) in page.into_iter().filter(|(_, view)| filter.lets_through(view)) {
            if limit != 0 && count >= limit {
                return Ok(Ok(Response::Done { count, more: true }));
            }
            out.put(&Response::Kept(Box::new(kept(&entry, view, control).await))).await?;
            count += 1;
        }
    }
}

pub(super) async fn show(id: QueueId, control: &dyn QueueControl, out: &mut super::Out) -> Answered {
    let entry = match control.store().get(id).await {
        Ok(entry) if entry.state.hold == Some(Hold::Quarantine) => entry,
        Ok(_) => return Ok(Err(not_in(State::Quarantine))),
        Err(error) => return Ok(Err(ControlError::from(error))),
    };
    let kept = kept(&entry, view(&entry, control), control).await;
    out.put(&Response::Kept(Box::new(kept))).await?;
    match control.verdicts(Wanted::Id(id.to_string()), VERDICTS_MAX).await {
        Ok((verdicts, _)) => {
            for (record, text) in verdicts {
                out.put(&Response::Verdict { record: Box::new(record), text }).await?;
            }
            Ok(Ok(Response::Done { count: 1, more: false }))
        }
        Err(error) => Ok(Err(error)),
    }
}

/// Releases the copies of one recipient; of messages that are not kept back for it that is said.
pub(super) async fn release(
    ids: &[QueueId],
    recipient: &Address,
    control: &dyn QueueControl,
    out: &mut super::Out,
) -> Answered {
    let mut count = 0;
    for ids in ids.chunks(PAGE) {
        let meant = match meant(ids, Some(State::Quarantine), control, out).await? {
            Ok(meant) => meant,
            Err(error) => return Ok(Err(error)),
        };
        for id in meant {
            match control.release_to(id, recipient.clone()).await {
                Ok(()) => count += 1,
                Err(error) => out.put(&Response::Refused { id, why: error.to_string() }).await?,
            }
        }
    }
    Ok(Ok(Response::Done { count, more: false }))
}

/// A message that cannot be read is shown without what it says.
async fn kept(entry: &QueueEntry, message: MessageView, control: &dyn QueueControl) -> KeptView {
    let id = entry.record.id;
    let said = shown::said(control.store(), id).await.unwrap_or_default();
    let (score, symbols) = match shown::told(entry) {
        Some(told) => (Some(told.score), told.symbols),
        None => match control.verdicts(Wanted::Id(id.to_string()), 1).await {
            Ok((verdicts, _)) => {
                let points = verdicts.into_iter().next().map(|(record, _)| record.points);
                let lines = points.iter().flat_map(|points| &points.lines);
                let symbols = lines.map(|line| (line.symbol.to_string(), line.points)).collect();
                (points.map(|points| points.total), symbols)
            }
            Err(_) => (None, Vec::new()),
        },
    };
    let kept_until = control.quarantine().ends(entry.record.arrived).map(Into::into);
    KeptView { message, from: said.from, subject: said.subject, score, symbols, kept_until }
}
