//! What is to be learnt soon: messages that were read, and wait in a small file beside a filter until somebody learns them
//! all together.
//!
//! To put one there takes a moment, while a filter that knows much takes long to open and longer to fit. Numbers are
//! kept, as in the filter, and not the messages. What is put there is on disk before it is said to be; a crash while it is
//! taken in leaves it there, and what is learnt twice is learnt once. Bounded: when [`WAITING_MAX`] wait, no more are taken.
//! A file that is no such file, because of a damage or another version, is set aside and not in the way any more.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::files;
use super::filter::{Filter, LearnError};
use super::samples::{Class, Samples};
use super::tokens::Read;

/// Messages that wait at most.
pub const WAITING_MAX: u64 = 2_000;

/// Gives a file that cannot be read as what waits another name, so that learning goes on; gives that name when there was
/// one. Whoever calls it tells of it. What is there by that name already gives way: it was told of.
///
/// # Errors
/// When the disk does not do it.
pub fn set_aside(folder: &Path) -> Result<Option<PathBuf>, LearnError> {
    if is_empty(folder) {
        return Ok(None);
    }
    let _lock = lock(folder)?;
    set_aside_locked(folder)
}

fn set_aside_locked(folder: &Path) -> Result<Option<PathBuf>, LearnError> {
    let (path, aside) = (place(folder), folder.join("waiting.damaged"));
    match Samples::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            fs::rename(&path, &aside).map_err(at(&path))?;
            Ok(Some(aside))
        }
        // What else is wrong may pass.
        _ => Ok(None),
    }
}

/// Lets messages wait to be learnt. False, and none of them waits, when there is no room for all of them.
///
/// # Errors
/// When the disk does not take them.
pub fn put(folder: &Path, messages: impl IntoIterator<Item = (Read, Class)>) -> Result<bool, LearnError> {
    files::make_folder(folder).map_err(at(folder))?;
    let _lock = lock(folder)?;
    set_aside_locked(folder)?;
    let path = place(folder);
    let mut waiting = Samples::open(&path).map_err(at(&path))?;
    for (message, class) in messages {
        waiting.add(message, class);
    }
    if waiting.counts().all() > WAITING_MAX {
        return Ok(false);
    }
    waiting.save().map_err(at(&path))?;
    Ok(true)
}

/// True when nothing waits.
#[must_use]
pub fn is_empty(folder: &Path) -> bool {
    !place(folder).exists()
}

/// How many wait.
///
/// # Errors
/// When that cannot be read.
pub fn count(folder: &Path) -> Result<u64, LearnError> {
    let path = place(folder);
    Samples::open(&path).map(|waiting| waiting.counts().all()).map_err(at(&path))
}

/// Learns what waits beside a filter; gives how many were new to it or changed sides.
///
/// # Errors
/// When the disk does not do it; then it still waits.
pub fn take_in(folder: &Path, filter: &mut Filter, samples_max: u64) -> Result<u64, LearnError> {
    if is_empty(folder) {
        return Ok(0);
    }
    let _lock = lock(folder)?;
    set_aside_locked(folder)?;
    let path = place(folder);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(at(&path)(error)),
    };
    let (new, _) = filter.import(&bytes, samples_max)?;
    fs::remove_file(&path).map_err(at(&path))?;
    Ok(new)
}

fn place(folder: &Path) -> PathBuf {
    folder.join("waiting")
}

/// One at a time; others wait, for as long as a file is read and written.
fn lock(folder: &Path) -> Result<File, LearnError> {
    let path = folder.join("waiting.lock");
    let file = files::for_writing(&path).map_err(at(&path))?;
    file.lock().map_err(at(&path))?;
    Ok(file)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> LearnError {
    let path = path.to_owned();
    move |error| LearnError::File { path, error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::SAMPLES_MAX;
    use crate::learn::tests::letter;
    use crate::learn::tokens::read;

    fn letters(class: Class, numbers: std::ops::Range<usize>) -> Vec<(Read, Class)> {
        numbers.map(|n| (read(letter(class, n).as_bytes()), class)).collect()
    }

    #[test]
    fn what_waits_is_learnt_together_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("bayes");
        assert!(is_empty(&folder));
        assert!(put(&folder, letters(Class::Spam, 0..3)).unwrap());
        assert!(put(&folder, letters(Class::Ham, 0..2)).unwrap());
        // Somebody has changed his mind.
        let (first, _) = letters(Class::Spam, 0..1).remove(0);
        assert!(put(&folder, [(first, Class::Ham)]).unwrap());
        assert_eq!(count(&folder).unwrap(), 5);
        let mut filter = Filter::open(&folder, false).unwrap();
        assert_eq!(take_in(&folder, &mut filter, SAMPLES_MAX).unwrap(), 5);
        let counts = filter.samples().counts();
        assert_eq!((counts.ham, counts.spam), (3, 2));
        assert!(is_empty(&folder) && count(&folder).unwrap() == 0);
        assert_eq!(take_in(&folder, &mut filter, SAMPLES_MAX).unwrap(), 0);
        assert!(put(&folder, letters(Class::Spam, 1..3)).unwrap());
        assert_eq!(take_in(&folder, &mut filter, SAMPLES_MAX).unwrap(), 0, "they were known");
    }

    #[test]
    fn what_is_no_such_file_is_set_aside_and_learning_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert_eq!(set_aside(folder).unwrap(), None);
        let aside = folder.join("waiting.damaged");
        for foreign in
            ["staffetta samples 9\nmore than we know", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"]
        {
            fs::write(place(folder), foreign).unwrap();
            assert!(count(folder).is_err());
            assert_eq!(set_aside(folder).unwrap(), Some(aside.clone()));
            assert_eq!(fs::read(&aside).unwrap(), foreign.as_bytes(), "nothing of it is lost");
            assert_eq!(set_aside(folder).unwrap(), None, "told once");
            // Whoever did not look before is not stopped by it either.
            fs::write(place(folder), foreign).unwrap();
            assert!(put(folder, letters(Class::Spam, 0..2)).unwrap());
            assert_eq!(set_aside(folder).unwrap(), None);
            let mut filter = Filter::open(folder, false).unwrap();
            take_in(folder, &mut filter, SAMPLES_MAX).unwrap();
            fs::write(place(folder), foreign).unwrap();
            assert_eq!(take_in(folder, &mut filter, SAMPLES_MAX).unwrap(), 0);
            assert!(is_empty(folder));
        }
    }

    #[test]
    fn no_more_wait_than_there_is_room_for() {
        let folder = tempfile::tempdir().unwrap();
        assert!(put(folder.path(), letters(Class::Spam, 0..usize::try_from(WAITING_MAX).unwrap())).unwrap());
        assert!(!put(folder.path(), letters(Class::Ham, 0..1)).unwrap());
        let mut filter = Filter::open(folder.path(), false).unwrap();
        assert_eq!(take_in(folder.path(), &mut filter, SAMPLES_MAX).unwrap(), WAITING_MAX);
    }
}
