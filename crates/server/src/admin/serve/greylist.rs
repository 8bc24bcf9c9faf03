//! Requests about greylisting: what it remembers, and an operator's word on whom it never asks to come back.
//!
//! Read a page at a time. Names are all understood before anything is changed. When the memory does not answer, that is
//! said: nothing is shown as absent for it (I9).

use antispam::rcpt::greylist::{Origin, manage};

use super::{Answered, ControlError, Gone, Out, PAGE, QueueControl, Response};

pub(super) async fn list(limit: u64, control: &dyn QueueControl, out: &mut Out) -> Answered {
    let (mut after, mut count) = (None::<String>, 0);
    loop {
        let page = match manage::list(control.state(), after.as_deref(), PAGE, control.now()).await {
            Ok(page) => page,
            Err(error) => return Ok(Err(error.into())),
        };
        for line in page.lines {
            if limit != 0 && count >= limit {
                return Ok(Ok(Response::Done { count, more: true }));
            }
            out.put(&Response::Greylisted(line)).await?;
            count += 1;
        }
        after = page.next;
        if after.is_none() {
            return Ok(Ok(Response::Done { count, more: false }));
        }
    }
}

pub(super) async fn allow(names: &[String], control: &dyn QueueControl, out: &mut Out) -> Answered {
    let origins = match meant(names) {
        Ok(origins) => origins,
        Err(error) => return Ok(Err(error)),
    };
    if let Err(error) = manage::allow(control.state(), &origins, control.now()).await {
        return Ok(Err(error.into()));
    }
    tell(&origins, out).await?;
    Ok(Ok(Response::Done { count: origins.len() as u64, more: false }))
}

pub(super) async fn delete(names: &[String], control: &dyn QueueControl, out: &mut Out) -> Answered {
    let origins = match meant(names) {
        Ok(origins) => origins,
        Err(error) => return Ok(Err(error)),
    };
    match manage::delete(control.state(), &origins, control.now()).await {
        Ok(deleted) => {
            tell(&origins, out).await?;
            Ok(Ok(Response::Done { count: deleted as u64, more: false }))
        }
        Err(error) => Ok(Err(error.into())),
    }
}

async fn tell(origins: &[Origin], out: &mut Out) -> Result<(), Gone> {
    for origin in origins {
        out.put(&Response::Origin(origin.to_string())).await?;
    }
    Ok(())
}

fn meant(names: &[String]) -> Result<Vec<Origin>, ControlError> {
    let mut origins = Vec::new();
    for name in names {
        origins.extend(Origin::named(name).ok_or_else(|| {
            ControlError::Refused(format!(
                "{name}: a domain, an address, or a network is expected; greylisting knows networks as a /24 (IPv4) or a \
                 /64 (IPv6)"
            ))
        })?);
    }
    Ok(origins)
}
