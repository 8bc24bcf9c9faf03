//! Both disks keep the same promises where a test can see them, and the simulated one breaks the others when
//! told to.

use std::io::ErrorKind;

use super::*;

/// What holds for every disk.
fn conforms(disk: &dyn Disk, root: &Path) {
    let folder = root.join("a/b");
    disk.create_folder(&folder).expect("made with its parents");
    disk.create_folder(&folder).expect("may exist");
    let path = folder.join("one");
    assert_eq!(disk.open(&path, Open::Write).expect_err("absent").kind(), ErrorKind::NotFound);
    let file = disk.open(&path, Open::Create).expect("created");
    assert_eq!(disk.open(&path, Open::Create).expect_err("exists").kind(), ErrorKind::AlreadyExists);
    file.allocate(10_000).expect("allocated");
    assert_eq!(file.size().expect("size"), 10_000);
    let slices = [IoSlice::new(b"con"), IoSlice::new(b""), IoSlice::new(b"tent")];
    file.write_at(9_000, &slices).expect("written");
    file.write_at(0, &[]).expect("nothing is fine");
    file.sync().expect("synced");
    let mut buffer = [1; 12];
    let reader = disk.open(&path, Open::Read).expect("opened");
    assert_eq!(reader.read_at(8_998, &mut buffer).expect("read"), 12);
    assert_eq!(&buffer, b"\0\0content\0\0\0");
    assert_eq!(reader.read_at(9_995, &mut buffer).expect("read"), 5, "up to the end");
    assert_eq!(reader.read_at(20_000, &mut buffer).expect("read"), 0, "behind it");

    let other = folder.join("two");
    disk.rename(&path, &other).expect("renamed");
    disk.sync_folder(&folder).expect("synced");
    let entries = disk.list(&folder).expect("listed");
    assert_eq!(entries, [Entry { name: "two".into(), bytes: 10_000 }]);
    assert_eq!(disk.rename(&path, &other).expect_err("absent").kind(), ErrorKind::NotFound);
    disk.remove(&other).expect("removed");
    assert_eq!(disk.list(&folder).expect("listed"), []);
    assert_eq!(disk.remove(&other).expect_err("absent").kind(), ErrorKind::NotFound);

    let lock = disk.lock_folder(&folder).expect("locked");
    assert_eq!(disk.lock_folder(&folder).expect_err("taken").kind(), ErrorKind::WouldBlock);
    drop(lock);
    disk.lock_folder(&folder).expect("free again");
    let space = disk.space(&folder).expect("space");
    assert!(space.free <= space.total && space.total > 0);
    assert_ne!((disk.random(), disk.random()), (disk.random(), disk.random()));
}

#[test]
fn the_real_disk_conforms() {
    let place = tempfile::tempdir().expect("a folder");
    conforms(&RealDisk, place.path());
}

#[test]
fn the_simulated_disk_conforms() {
    conforms(&SimDisk::new(), Path::new("/"));
}

#[test]
fn long_vectors_and_large_ones_are_written_whole() {
    let place = tempfile::tempdir().expect("a folder");
    let file = RealDisk.open(&place.path().join("file"), Open::Create).expect("created");
    for (count, size) in [(3000, 7), (3000, 100), (2, 500_000)] {
        let parts: Vec<Vec<u8>> =
            (0..count).map(|n: usize| vec![u8::try_from(n % 251).unwrap_or_default(); size]).collect();
        let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        file.write_at(13, &slices).expect("written");
        let mut back = vec![0; count * size];
        assert_eq!(file.read_at(13, &mut back).expect("read"), back.len());
        assert_eq!(back, parts.concat(), "{count} slices of {size}");
    }
}

#[test]
fn files_and_folders_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path().join("queue");
    RealDisk.create_folder(&folder).expect("made");
    RealDisk.open(&folder.join("file"), Open::Create).expect("created");
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&folder.join("file"))), (0o700, 0o600));
}

fn written(disk: &SimDisk, path: &Path, octets: &[u8]) -> Arc<dyn DiskFile> {
    let file = disk.open(path, Open::Create).expect("created");
    file.write_at(0, &[IoSlice::new(octets)]).expect("written");
    file
}

#[test]
fn a_crash_loses_the_content_that_was_not_synced_and_the_name_that_was_not() {
    let disk = SimDisk::new();
    let (one, two, three) = (Path::new("/one"), Path::new("/two"), Path::new("/three"));
    written(&disk, one, b"synced").sync().expect("synced");
    written(&disk, two, b"not synced");
    disk.sync_folder(Path::new("/")).expect("synced");
    written(&disk, three, b"synced, without a name").sync().expect("synced");
    let cut = disk.crash(disk.changes(), Crash::Synced);
    assert_eq!(cut.content(one), Some(b"synced".to_vec()));
    assert_eq!(cut.content(two), Some(vec![]));
    assert_eq!(cut.content(three), None);
    let killed = disk.crash(disk.changes(), Crash::All);
    assert_eq!(killed.content(two), Some(b"not synced".to_vec()));
    assert_eq!(killed.content(three), Some(b"synced, without a name".to_vec()));
}

#[test]
fn the_sectors_of_a_write_are_lost_or_kept_one_by_one_in_any_order() {
    let disk = SimDisk::new();
    let path = Path::new("/file");
    let file = written(&disk, path, &[b'.'; 1536]);
    file.sync().expect("synced");
    disk.sync_folder(Path::new("/")).expect("synced");
    file.write_at(500, &[IoSlice::new(&[b'x'; 1000])]).expect("written");
    // Octets 500 to 511, 512 to 1023, 1024 to 1499.
    assert_eq!(disk.loose(disk.changes()), 3);
    let kept = |how| {
        let content = disk.crash(disk.changes(), how).content(path).expect("there");
        [505, 600, 1100].map(|at: usize| content[at] == b'x')
    };
    assert_eq!(kept(Crash::Mask(0b101)), [true, false, true]);
    assert_eq!(kept(Crash::Mask(0b010)), [false, true, false]);
    assert_eq!(kept(Crash::Prefix(2)), [true, true, false]);
    file.sync().expect("synced");
    assert_eq!(disk.loose(disk.changes()), 0);
    assert_eq!(kept(Crash::Synced), [true; 3]);
}

#[test]
fn after_a_failed_sync_a_second_one_does_not_bring_the_first_writes_back() {
    let disk = SimDisk::new();
    let path = Path::new("/file");
    let file = written(&disk, path, b"before");
    disk.sync_folder(Path::new("/")).expect("synced");
    disk.fail(Fault { at: disk.operations(), error: ErrorKind::Other, lasting: false });
    file.sync().expect_err("told to fail");
    file.write_at(6, &[IoSlice::new(b"after")]).expect("written");
    file.sync().expect("the second one succeeds");
    let content = disk.crash(disk.changes(), Crash::Synced).content(path).expect("there");
    assert_eq!(content, b"\0\0\0\0\0\0after");
}

#[test]
fn faults_come_once_or_stay_and_a_full_disk_can_still_be_read() {
    let disk = SimDisk::new();
    let path = Path::new("/file");
    let file = written(&disk, path, b"here");
    disk.fail(Fault { at: disk.operations(), error: ErrorKind::Other, lasting: false });
    assert!(file.sync().is_err());
    assert!(file.sync().is_ok());
    disk.fail(Fault { at: disk.operations(), error: ErrorKind::StorageFull, lasting: true });
    let error = file.write_at(4, &[IoSlice::new(b"more")]).expect_err("full");
    assert!(is_full(&error));
    assert_eq!(file.read_at(0, &mut [0; 4]).expect("reads"), 4);
    disk.heal();
    disk.set_capacity(Some(10));
    assert!(is_full(&file.allocate(11).expect_err("too much")));
    file.write_at(0, &[IoSlice::new(b"over")]).expect("rewriting needs no room");
}
