//! The daemon's side of the state store: opens it, tends it every second, exports every hour what cannot be learnt again.
//!
//! It never keeps mail from flowing: what goes wrong here is logged, and the judges go on without. After the store had to
//! begin anew the last export is imported. The clock is read here and passed on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use store::state::{export, import};
use store::{EmbeddedState, StateKey, StateNotice, StateSettings, StateStore};
use tokio::time::Instant;

use crate::clock;
use crate::error::Error;
use crate::maillog::{Level, MailLog};
use crate::services::Shared;

/// Time between two looks.
const TEND_EVERY: Duration = Duration::from_secs(1);
/// Time between two exports.
const EXPORT_EVERY: Duration = Duration::from_secs(3_600);
/// What cannot be learnt again: how words count, who our users write to, what we sent, which accounts are locked, who was
/// told of what is in quarantine, what senders have sent.
const EXPORTED: [&str; 6] = [
    "tokens",
    antispam::correspondents::NAMESPACE,
    "backscatter",
    antispam::connect::rates::locks::NAMESPACE,
    crate::quarantine::digest::NAMESPACE,
    antispam::reputation::NAMESPACE,
];

/// Opens the store in the data folder.
///
/// # Errors
/// [`Error::Path`] when its folder cannot be made.
pub fn open(data: &Path, settings: StateSettings) -> Result<Arc<dyn StateStore>, Error> {
    let path = data.join("state");
    match EmbeddedState::open(&path, settings) {
        Ok(state) => Ok(Arc::new(state)),
        Err(error) => Err(Error::Path { path, error }),
    }
}

/// Sees to the store until the future is dropped.
pub async fn tend(shared: Arc<Shared>, data: PathBuf) {
    let path = data.join("state.export");
    let mut ticks = tokio::time::interval(TEND_EVERY);
    let mut next_export = Instant::now() + EXPORT_EVERY;
    loop {
        ticks.tick().await;
        let due = Instant::now() >= next_export;
        if due {
            next_export = Instant::now() + EXPORT_EVERY;
        }
        let (at_work, path) = (Arc::clone(&shared), path.clone());
        // It moves folders and reads files, and waits for the store.
        let looked = tokio::task::spawn_blocking(move || {
            let came_back = look(&*at_work.state, &at_work.log, &path);
            if due {
                write(&*at_work.state, &at_work.log, &path);
            }
            came_back
        });
        if looked.await.is_ok_and(|came_back| came_back) {
            shared.threads.read_again().await;
            shared.sent.read_again().await;
        }
    }
}

/// One look: logs what there is to know, and brings back what was exported. True when something came back.
fn look(state: &dyn StateStore, log: &MailLog, path: &Path) -> bool {
    let mut came_back = false;
    for notice in state.tend(clock::now()) {
        log.notice(Level::Error, &notice.to_string());
        if matches!(notice, StateNotice::Anew(_)) && path.exists() {
            match import(state, path, clock::now()) {
                Ok(taken) => {
                    came_back |= taken.entries > 0;
                    log.notice(Level::Info, &format!("{} entries were brought back", taken.entries));
                }
                Err(error) => log.notice(Level::Error, &format!("nothing was brought back: {error}")),
            }
        }
    }
    came_back
}

/// To be done before the store closes: brings back what has to be brought back, and exports.
pub fn finish(state: &dyn StateStore, log: &MailLog, path: &Path) {
    // A beginning of which nobody has heard yet must not be exported over what is there.
    let _ = look(state, log, path);
    write(state, log, path);
}

/// Exports what cannot be learnt again.
fn write(state: &dyn StateStore, log: &MailLog, path: &Path) {
    let prefixes = EXPORTED.map(|namespace| StateKey::new(namespace, ""));
    if let Err(error) = export(state, &prefixes, path, clock::now()) {
        log.notice(Level::Warning, &format!("what antispam learnt was not exported: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use store::{MemoryState, Op, Write, Written};

    use super::*;
    use crate::maillog;

    /// A store that has just begun anew.
    struct Anew(MemoryState);

    impl StateStore for Anew {
        fn get(
            &self,
            keys: Vec<StateKey>,
            now: mail::Timestamp,
        ) -> store::Pending<store::state::Each<Option<store::StateEntry>>> {
            self.0.get(keys, now)
        }
        fn write(
            &self,
            writes: Vec<Write>,
            now: mail::Timestamp,
        ) -> store::Pending<store::state::Each<Written>> {
            self.0.write(writes, now)
        }
        fn scan(
            &self,
            prefix: StateKey,
            after: Option<StateKey>,
            limit: usize,
            now: mail::Timestamp,
        ) -> store::Pending<store::StatePage> {
            self.0.scan(prefix, after, limit, now)
        }
        fn tend(&self, _: mail::Timestamp) -> Vec<StateNotice> {
            vec![StateNotice::Anew("a test".into())]
        }
        fn usage(&self) -> Vec<(String, store::StateUsage)> {
            self.0.usage()
        }
        fn health(&self) -> Result<(), String> {
            self.0.health()
        }
        fn close(&self) -> store::Pending<()> {
            self.0.close()
        }
    }

    #[test]
    fn what_was_exported_comes_back_after_a_new_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.export");
        let log =
            MailLog::start(maillog::Settings::default(), clock::now, Box::new(std::io::sink())).unwrap();
        let old = MemoryState::default();
        let keep = |namespace| Write {
            key: StateKey::new(namespace, "a"),
            op: Op::Put("x".into()),
            ttl_seconds: None,
        };
        old.write(vec![keep("correspondents"), keep("greylist")], clock::now()).wait().unwrap();
        write(&old, &log, &path);

        let new = Anew(MemoryState::default());
        finish(&new, &log, &path);
        let names: Vec<String> = new.usage().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["correspondents"]);
        let again = MemoryState::default();
        assert_eq!(import(&again, &path, clock::now()).unwrap().entries, 1);
    }
}
