//! Start and stop order, in one place.
//!
//! As root: ports, then privileges. Then, as the user for good: data folder and its lock, log, counters, queue, state, services,
//! runner, doors; then ready. Stopping goes the other way: doors, sessions (the message in hand may be finished), runner
//! (what is in flight may be finished), queue, log. What is not finished by the deadline is in the queue, or was never
//! answered 250: nothing is lost.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use antispam::backscatter::status;
use antispam::connect::rates::Rates;
use antispam::correspondents;
use antispam::hashes::Hashes;
use antispam::reputation::Memory;
use config::Loaded;
use net::ListenerSettings;
use nix::fcntl::{Flock, FlockArg};
use queue::Scheduler;
use store::disk::RealDisk;
use store::{EmbeddedStore, QueueStore};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::accounts::Failures;
use crate::admin::QueueControl;
use crate::assemble;
use crate::clock::{self, IdMaker};
use crate::control::Daemon;
use crate::error::Error;
use crate::health::{self, Health};
use crate::judge::{History, Registrar};
use crate::learning::teacher::Teacher;
use crate::limits::{BodyRoom, SessionCounts};
use crate::maillog::{self, Level, MailLog};
use crate::metrics::Metrics;
use crate::privileges::{self, Keep, Standing};
use crate::quarantine::digest;
use crate::reload::{ReloadHandle, Reloader};
use crate::runner::{Message, Runner, RunnerHandle};
use crate::services::{Current, Shared};
use crate::signals::Signals;
use crate::steward::{self, StewardHandle};
use crate::{accounts, aliases, chores, hashes, learning, local, memory, rates, reputation};

/// How long the state store may take to write down what it has, at the end: no mail waits for it.
const STATE_PATIENCE: Duration = Duration::from_secs(3);
/// How long a stop waits for a reload that is under way before it tells sessions.
const DOORS_PATIENCE: Duration = Duration::from_secs(1);

/// Listening sockets with the settings of their door.
pub type Doors = Vec<(ListenerSettings, Vec<TcpListener>)>;

/// Runs the daemon until it is told to stop, or can no longer go on.
///
/// # Errors
/// [`Error`].
pub fn run(loaded: Loaded) -> Result<(), Error> {
    let mut inherited = net::listener::Inherited::from_environment()?;
    let doors = bind(&loaded.config.listener, &mut inherited)?;
    let observe = bind_observe(&loaded)?;
    let standing = drop_privileges(&loaded)?;
    let descriptors = privileges::raise_descriptor_limit();
    let data = loaded.data_dir();
    let lock = lock(&data)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("staffetta")
        .max_blocking_threads(64)
        .build()
        .map_err(Error::system("the runtime"))?;
    let outcome = runtime.block_on(Box::pin(serve(loaded, doors, observe, (standing, descriptors))));
    // Blocking work that hangs (a dead disk) must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(2));
    drop(lock);
    outcome
}

/// Binds all doors; sockets that systemd passed are taken first.
fn bind(listeners: &[ListenerSettings], inherited: &mut net::listener::Inherited) -> Result<Doors, Error> {
    let mut doors = Vec::new();
    for listener in listeners {
        let mut sockets = inherited.for_listener(listener.kind);
        if sockets.is_empty() {
            sockets = net::listener::bind(&listener.bind)?;
        }
        doors.push((listener.clone(), sockets));
    }
    Ok(doors)
}

fn bind_observe(loaded: &Loaded) -> Result<Option<TcpListener>, Error> {
    let Some(address) = loaded.config.observe.http else { return Ok(None) };
    let bound = TcpListener::bind(address).and_then(|l| l.set_nonblocking(true).map(|()| l));
    bound.map(Some).map_err(|error| Error::Observe { address, error })
}

fn drop_privileges(loaded: &Loaded) -> Result<Standing, Error> {
    let users = privileges::Users::of_the_system();
    let identity = assemble::identity(&loaded.config, &users)?;
    let owner = assemble::mailbox_owner(&loaded.config, &users)?;
    let keep = Keep { bind: true, chown: owner.is_some_and(|owner| owner.uid != identity.uid) };
    let data = loaded.data_dir();
    make_folder(&data)?;
    if nix::unistd::geteuid().is_root() && identity.uid != 0 {
        let (uid, gid) = (nix::unistd::Uid::from_raw(identity.uid), nix::unistd::Gid::from_raw(identity.gid));
        nix::unistd::chown(&data, Some(uid), Some(gid))
            .map_err(|error| Error::Path { path: data.clone(), error: error.into() })?;
    }
    Ok(privileges::drop_root(&identity, keep)?)
}

fn make_folder(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    if path.is_dir() {
        return Ok(());
    }
    // Passable for local users, who reach submit.sock and maildrop/ in it; everything else in it is closed to them.
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(path)
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o711)));
    made.map_err(|error| Error::Path { path: path.to_owned(), error })
}

/// One daemon to a data folder: two would write over one another.
fn lock(data: &Path) -> Result<Flock<std::fs::File>, Error> {
    let path: PathBuf = data.join("lock");
    let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|error| Error::Path { path: path.clone(), error })?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| Error::Locked(data.to_owned()))
}

/// Everything after the privileges are gone.
async fn serve(
    loaded: Loaded,
    doors: Doors,
    observe: Option<TcpListener>,
    (standing, descriptors): (Standing, u64),
) -> Result<(), Error> {
    let signals = Signals::catch()?;
    let loaded = Arc::new(loaded);
    let (handle, letters) = RunnerHandle::new();
    let (steward, orders) = StewardHandle::new();
    let (teller, wishes) = digest::Teller::new();
    let shared = Arc::new(shared(&loaded, (handle.clone(), steward, teller))?);
    warn(&shared, &loaded, &standing);
    // Two for each session (its socket, a body in a file) and some for ourselves.
    let wanted = loaded.config.server.sessions_max as u64 * 2 + 200;
    if descriptors < wanted {
        let text = format!(
            "{descriptors} files may be open, {wanted} may be needed: raise the limit (LimitNOFILE=)"
        );
        shared.log.notice(Level::Warning, &text);
    }
    rates::load(&shared).await;
    reputation::load(&shared).await;
    hashes::load(&shared).await;
    let current = Current::new(assemble::services(&loaded, Arc::clone(&shared)).await?);
    current.get().show_certificates();
    current.get().show_checks();
    rates::queued::hold_at_start(&shared).await;
    let scheduler = Scheduler::new(loaded.config.queue.clone(), clock::now().0);
    let runner = tokio::spawn(Runner::new(scheduler, current.clone(), handle.clone(), letters).run());

    let mut reloader = Reloader::new(Arc::clone(&loaded), current.clone());
    for (settings, sockets) in doors {
        reloader.open(settings, sockets)?;
    }
    let (reload, wishes_to_reload) = ReloadHandle::new();
    let daemon = Arc::new(Daemon::new(current.clone(), reload.clone()));
    let mut tasks = JoinSet::new();
    tasks.spawn(reloader.run(wishes_to_reload));
    let control: Arc<dyn QueueControl> = Arc::clone(&daemon) as _;
    local::start(&mut tasks, &loaded, &current, control)?;
    if let Some(observe) = observe {
        let listener = tokio::net::TcpListener::from_std(observe).map_err(Error::system("[observe] http"))?;
        let health: Arc<dyn Health> = Arc::clone(&daemon) as _;
        tasks.spawn(async move { drop(health::serve(listener, health).await) });
    }
    tasks.spawn(aliases::tell(Arc::clone(&loaded), current.get()));
    chores::start(&mut tasks, &loaded, &current, &daemon);
    tasks.spawn(steward::run(current.clone(), orders));
    tasks.spawn(digest::rounds(current.clone(), wishes));
    drop(sd_notify::notify(false, &[sd_notify::NotifyState::Ready]));
    shared
        .log
        .notice(Level::Info, &format!("ready: {} {}", loaded.config.hostname, env!("CARGO_PKG_VERSION")));

    let outcome = signals.wait(&reload, &shared).await;
    drop(sd_notify::notify(false, &[sd_notify::NotifyState::Stopping]));
    stop(&loaded, &shared, &reload, &handle, runner).await;
    tasks.shutdown().await;
    current.get().agents.close().await;
    rates::save(&current.get(), false).await;
    reputation::finish(&current.get()).await;
    hashes::finish(&shared).await;
    learning::rounds::put_down(&shared, &assemble::learnt_folder(&loaded));
    close_state(&shared, &loaded.data_dir().join("state.export")).await;
    let _ = shared.store.close().await;
    shared.log.notice(Level::Info, "stopped");
    shared.log.flush();
    outcome
}

fn shared(
    loaded: &Loaded,
    (runner, steward, teller): (RunnerHandle, StewardHandle, digest::Teller),
) -> Result<Shared, Error> {
    let format = match loaded.config.observe.log {
        config::LogFormat::Text => maillog::Format::Text,
        config::LogFormat::Json => maillog::Format::Json,
    };
    let settings = maillog::Settings { format, ..maillog::Settings::default() };
    let log = MailLog::start(settings, clock::now, Box::new(std::io::stdout()))
        .map_err(Error::system("the log"))?;
    let folder = loaded.data_dir().join("queue");
    let disk = Arc::new(RealDisk);
    let store = EmbeddedStore::open(disk, &folder, loaded.config.store.clone());
    let store: Arc<dyn QueueStore> = Arc::new(store.map_err(|error| Error::Store(error.to_string()))?);
    let state = memory::open(&loaded.data_dir(), loaded.config.store.state.clone())?;
    let rates = Arc::new(Rates::new(Arc::clone(&state)));
    let threads = Hashes::new(correspondents::NAMESPACE, Arc::clone(&state));
    let sent = Hashes::new(status::NAMESPACE, Arc::clone(&state));
    let reputation = Memory::new(Arc::clone(&state));
    let metrics = Arc::new(Metrics::new()?);
    let history = Arc::new(History::start(Arc::clone(&state)));
    let teacher = Teacher::default();
    let clerk =
        Arc::new(Registrar::new(log.clone(), Arc::clone(&metrics), Arc::clone(&history), teacher.clone()));
    Ok(Shared {
        store,
        state,
        metrics,
        history,
        clerk,
        teacher,
        log,
        ids: IdMaker::default(),
        room: BodyRoom::new(loaded.config.server.body_memory_bytes_max),
        places: Arc::new(SessionCounts::default()),
        failures: Arc::new(Failures::new(accounts::Limits::default())),
        rates,
        threads,
        sent,
        reputation,
        runner,
        steward,
        teller,
        stopping: watch::channel(false).0,
    })
}

/// Exports what cannot be learnt again and closes the state store, unless that takes too long.
async fn close_state(shared: &Arc<Shared>, path: &Path) {
    shared.history.flush().await;
    let (at_work, path) = (Arc::clone(shared), path.to_owned());
    let export = tokio::task::spawn_blocking(move || memory::finish(&*at_work.state, &at_work.log, &path));
    drop(tokio::time::timeout(STATE_PATIENCE, export).await);
    drop(tokio::time::timeout(STATE_PATIENCE, shared.state.close()).await);
}

fn warn(shared: &Shared, loaded: &Loaded, standing: &Standing) {
    match standing {
        Standing::Root => shared.log.notice(
            Level::Warning,
            "RUNNING AS ROOT: a mistake in this process is a mistake of root. Set user = \"staffetta\" in the configuration",
        ),
        Standing::OtherUser { uid } => {
            let text = format!("running as user {uid}, not as the configured user: only root can change that");
            shared.log.notice(Level::Warning, &text);
        }
        Standing::Dropped | Standing::Unprivileged => {}
    }
    for warning in loaded.warnings.lines() {
        shared.log.notice(Level::Warning, &warning);
    }
}

/// Doors, sessions, runner: each has what is left of the time.
async fn stop(
    loaded: &Loaded,
    shared: &Shared,
    reload: &ReloadHandle,
    handle: &RunnerHandle,
    runner: tokio::task::JoinHandle<()>,
) {
    let deadline = Instant::now() + Duration::from_secs(loaded.config.server.stop_seconds_max);
    // First, so that few come in to be sent away. Of a reload that hangs, sessions that have to end in time know nothing; the
    // doors close after it, at the latest when the reloader goes.
    drop(tokio::time::timeout_at(deadline.min(Instant::now() + DOORS_PATIENCE), reload.close()).await);
    shared.stopping.send_replace(true);
    while shared.places.all() > 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    handle.send(Message::Stop { by: deadline }).await;
    drop(tokio::time::timeout_at(deadline + Duration::from_secs(1), runner).await);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::House;

    #[tokio::test(start_paused = true)]
    async fn a_reload_that_hangs_takes_no_time_from_sessions() {
        let house = House::new("").await;
        let shared = Arc::clone(&house.current.get().shared);
        let (reload, _orders) = ReloadHandle::new();
        let (handle, runner) = (shared.runner.clone(), tokio::spawn(async {}));
        let began = Instant::now();
        let mut stopping = shared.stopping.subscribe();
        let told = async { stopping.wait_for(|stopping| *stopping).await.map(|_| began.elapsed()) };
        let (told, ()) = tokio::join!(told, stop(&house.loaded, &shared, &reload, &handle, runner));
        assert!(told.unwrap() <= DOORS_PATIENCE + Duration::from_millis(10));
    }
}
