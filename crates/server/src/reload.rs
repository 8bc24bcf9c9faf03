//! Reload: a new configuration replaces the old one whole, or not at all (invariant I8).
//!
//! Everything that can fail is made first: services, new sockets. Then the set is swapped; sessions and deliveries that
//! run keep the old one. Listeners that stay are not touched; new ones open, dropped ones close. One task does it, one order
//! after the other: whoever asks waits for the answer, and may go away meanwhile: what was begun is done.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, PoisonError, RwLock};

use config::Loaded;
use net::ListenerSettings;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::Error;
use crate::listeners::{self, DoorSettings};
use crate::maillog::Level;
use crate::metrics::Success;
use crate::runner::Message;
use crate::services::Current;
use crate::{aliases, assemble};

/// Orders that wait; whoever has more waits with them.
const ORDERS_WAITING_MAX: usize = 16;

/// Tells the reloader. Clones share it.
#[derive(Debug, Clone)]
pub struct ReloadHandle(mpsc::Sender<Order>);

/// What the reloader is told.
#[derive(Debug)]
pub enum Order {
    /// Read the configuration again; whoever waits for the answer hears it.
    Reload(Option<oneshot::Sender<Result<Vec<String>, String>>>),
    /// Close all doors, and take no more orders.
    Close(oneshot::Sender<()>),
}

impl ReloadHandle {
    /// A handle, and what [`Reloader::run`] wants.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Order>) {
        let (sender, receiver) = mpsc::channel(ORDERS_WAITING_MAX);
        (Self(sender), receiver)
    }

    /// Has the configuration read again, and waits for that; gives its warnings. `Err` tells what is wrong with it; the old one
    /// stays.
    ///
    /// # Errors
    /// What is wrong, a line for each mistake: file, line, key, the fix.
    pub async fn reload(&self) -> Result<Vec<String>, String> {
        let (done, answer) = oneshot::channel();
        let stopping = || "the server is stopping".to_owned();
        self.0.send(Order::Reload(Some(done))).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }

    /// Has the configuration read again, and waits for nothing.
    pub fn wish(&self) {
        // Without room others wait who want the same.
        let _ = self.0.try_send(Order::Reload(None));
    }

    /// Has all doors closed for good, after what was asked for before; sessions go on.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.0.send(Order::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

/// Keeps what a reload needs to know, and the open doors.
pub struct Reloader {
    loaded: Arc<Loaded>,
    current: Current,
    doors: Vec<OpenDoor>,
}

struct OpenDoor {
    settings: Arc<DoorSettings>,
    /// What it was bound to: a door is known by this.
    bind: Vec<SocketAddr>,
    close: watch::Sender<bool>,
}

impl Reloader {
    /// With no doors open yet.
    #[must_use]
    pub fn new(loaded: Arc<Loaded>, current: Current) -> Self {
        Self { loaded, current, doors: Vec::new() }
    }

    /// Carries out orders until the doors are closed, every handle is gone or the future is dropped. Who asks for a reload after
    /// doors were closed for good hears that the server is stopping: it would open them again.
    pub async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        while let Some(order) = orders.recv().await {
            // Nobody may be waiting for the answer any more.
            match order {
                Order::Reload(done) => {
                    let result = self.reload().await;
                    drop(done.map(|done| done.send(result)));
                }
                Order::Close(done) => {
                    self.close();
                    let _ = done.send(());
                    return;
                }
            }
        }
    }

    /// Opens a door.
    ///
    /// # Errors
    /// When a socket cannot be used.
    pub fn open(&mut self, settings: ListenerSettings, sockets: Vec<TcpListener>) -> Result<(), Error> {
        let (close, closed) = watch::channel(false);
        let bind = settings.bind.clone();
        let door = Arc::new(DoorSettings { listener: RwLock::new(Arc::new(settings)) });
        for socket in sockets {
            let listener =
                tokio::net::TcpListener::from_std(socket).map_err(Error::system("a listening socket"))?;
            tokio::spawn(listeners::accept(
                Arc::clone(&door),
                listener,
                self.current.clone(),
                closed.clone(),
            ));
        }
        self.doors.push(OpenDoor { settings: door, bind, close });
        Ok(())
    }

    fn close(&mut self) {
        for door in self.doors.drain(..) {
            door.close.send_replace(true);
        }
    }

    async fn reload(&mut self) -> Result<Vec<String>, String> {
        let shared = Arc::clone(&self.current.get().shared);
        drop(sd_notify::notify(false, &[sd_notify::NotifyState::Reloading]));
        let result = self.try_reload().await;
        match &result {
            Ok(_) => {
                shared.metrics.reloaded(Success::Ok);
                shared.log.notice(Level::Info, "the configuration was read again and is in force");
            }
            Err(why) => {
                shared.metrics.reloaded(Success::Failed);
                for line in why.lines() {
                    shared.log.notice(Level::Error, &format!("the configuration stays as it was: {line}"));
                }
            }
        }
        drop(sd_notify::notify(false, &[sd_notify::NotifyState::Ready]));
        result
    }

    async fn try_reload(&mut self) -> Result<Vec<String>, String> {
        let file = self.loaded.file.clone();
        let (loaded, fresh) = {
            let current = self.current.clone();
            let open: Vec<Vec<SocketAddr>> = self.doors.iter().map(|door| door.bind.clone()).collect();
            tokio::task::spawn_blocking(move || prepare(&file, &current, &open))
                .await
                .map_err(|e| e.to_string())??
        };
        let Prepared { services, sockets } = fresh;
        tokio::spawn(aliases::tell(Arc::clone(&loaded), Arc::clone(&services)));
        let settings = services.config.queue.clone();
        let runner = services.shared.runner.clone();
        services.show_certificates();
        services.show_checks();
        self.current.set(services);
        runner.send(Message::Reconfigure(Box::new(settings))).await;
        self.doors.retain(|door| {
            let wanted = loaded.config.listener.iter().find(|listener| listener.bind == door.bind);
            match wanted {
                Some(settings) => {
                    let mut held = door.settings.listener.write().unwrap_or_else(PoisonError::into_inner);
                    *held = Arc::new(settings.clone());
                }
                None => {
                    door.close.send_replace(true);
                }
            }
            wanted.is_some()
        });
        for (settings, sockets) in sockets {
            self.open(settings, sockets).map_err(|e| e.to_string())?;
        }
        let warnings = loaded.warnings.lines();
        self.loaded = loaded;
        Ok(warnings)
    }
}

/// What a reload will put in force.
struct Prepared {
    services: Arc<crate::services::Services>,
    sockets: Vec<(ListenerSettings, Vec<TcpListener>)>,
}

/// All that can fail.
fn prepare(
    file: &std::path::Path,
    current: &Current,
    open: &[Vec<SocketAddr>],
) -> Result<(Arc<Loaded>, Prepared), String> {
    let loaded = Arc::new(config::load(file).map_err(|report| report.lines().join("\n"))?);
    let shared = Arc::clone(&current.get().shared);
    // This runs on the blocking pool, where waiting is permitted.
    let services = Handle::current().block_on(assemble::services(&loaded, shared));
    let services = services.map_err(|error| error.to_string())?;
    let mut sockets = Vec::new();
    for settings in loaded.config.listener.iter().filter(|settings| !open.contains(&settings.bind)) {
        sockets.push((settings.clone(), net::listener::bind(&settings.bind).map_err(|e| e.to_string())?));
    }
    Ok((loaded, Prepared { services, sockets }))
}

#[cfg(test)]
mod tests;
