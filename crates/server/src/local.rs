//! The doors for this machine: `submit.sock` and the maildrop folder for mail, `admin.sock` for operators.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use config::Loaded;
use tokio::task::JoinSet;

use crate::admin::{self, QueueControl};
use crate::error::Error;
use crate::services::Current;
use crate::session;
use crate::submit::pickup::Pickup;
use crate::submit::{self, Caller, LocalSession, MAILDROP_NAME, SOCKET_NAME, Stream};

/// Name of the operators' socket in the data folder.
pub const ADMIN_SOCKET_NAME: &str = "admin.sock";

/// Programs on this machine at once.
const LOCAL_SESSIONS_MAX: usize = 100;

/// Sessions for programs on this machine.
struct LocalDoor(Current);

impl LocalSession for LocalDoor {
    fn talk(&self, stream: Box<dyn Stream>, caller: Caller) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let services = self.0.get();
        Box::pin(async move {
            // Local programs count among all sessions, so that a stop waits for them; none of them is turned away.
            let place = services.shared.places.enter(None, usize::MAX, usize::MAX);
            session::serve_local(Arc::clone(&services), stream, caller).await;
            drop(place);
        })
    }
}

/// Opens all three.
///
/// # Errors
/// [`Error::Path`] when a socket or folder cannot be made.
pub fn start(
    tasks: &mut JoinSet<()>,
    loaded: &Loaded,
    current: &Current,
    control: Arc<dyn QueueControl>,
) -> Result<(), Error> {
    let data = loaded.data_dir();
    let at = |name: &str| -> PathBuf { data.join(name) };
    let bind = |name: &str, mode| {
        admin::socket::bind(&at(name), mode).map_err(|error| Error::Path { path: at(name), error })
    };
    let door: Arc<dyn LocalSession> = Arc::new(LocalDoor(current.clone()));
    tasks.spawn(submit::serve(bind(SOCKET_NAME, 0o666)?, Arc::clone(&door), LOCAL_SESSIONS_MAX));
    let folder = at(MAILDROP_NAME);
    submit::maildrop::prepare(&folder).map_err(|error| Error::Path { path: folder.clone(), error })?;
    let log = current.get().shared.log.clone();
    tasks.spawn(Pickup::new(folder, loaded.config.message_bytes_max).run(door, log));
    tasks.spawn(admin::serve(bind(ADMIN_SOCKET_NAME, 0o600)?, control));
    Ok(())
}
