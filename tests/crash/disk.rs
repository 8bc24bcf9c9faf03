//! File systems of the test's own: an ext4 in a file that can lose its power, and a small one that can be filled.
//!
//! Both need the right to mount. Where that is not given, `None` and a loud line: this is the one thing that may be
//! skipped even when nothing else may.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A mounted file system; dropped, it is unmounted.
pub(crate) struct Disk {
    place: PathBuf,
    image: Option<PathBuf>,
}

/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`: the running transaction and all dirty pages are lost, and the
/// file system answers EIO from then on. Done only to a place that something is mounted on.
const CUT: &str = r#"
import fcntl, os, struct, sys
place = sys.argv[1]
assert os.path.ismount(place) and os.stat(place).st_dev != os.stat("/").st_dev, place + " is no mount of its own"
fcntl.ioctl(os.open(place, os.O_RDONLY), 0x8004587D, struct.pack("I", 2))
"#;

fn run<I: AsRef<OsStr>>(program: &str, arguments: &[I]) -> Result<(), String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    let Output { status, stderr, .. } = output;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{program}: {}", String::from_utf8_lossy(&stderr).trim()))
    }
}

fn skipped(why: &str) {
    println!("\n=== SKIPPED: mounting is not permitted here ({why}); run this test as root ===\n");
    eprintln!("\n=== SKIPPED: mounting is not permitted here ({why}); run this test as root ===\n");
}

impl Disk {
    /// An ext4 in `image`, mounted on `place`.
    pub(crate) fn ext4(image: &Path, place: &Path, megabytes: u64) -> Option<Self> {
        std::fs::create_dir_all(place).expect("a place to mount on");
        let file = std::fs::File::create(image).expect("an image");
        file.set_len(megabytes << 20).expect("its size");
        let disk = Self { place: place.to_owned(), image: Some(image.to_owned()) };
        let made = run("mkfs.ext4", &[OsStr::new("-q"), OsStr::new("-F"), image.as_os_str()]);
        let made = made.and_then(|()| disk.mount());
        disk.mounted(made)
    }

    /// A file system in memory, mounted on `place`.
    pub(crate) fn memory(place: &Path, megabytes: u64) -> Option<Self> {
        std::fs::create_dir_all(place).expect("a place to mount on");
        let disk = Self { place: place.to_owned(), image: None };
        let size = format!("size={megabytes}m");
        let options = ["-t", "tmpfs", "-o", &size, "tmpfs"].map(OsStr::new);
        let made = run("mount", &[&options[..], &[place.as_os_str()]].concat());
        disk.mounted(made)
    }

    fn mounted(self, made: Result<(), String>) -> Option<Self> {
        made.inspect_err(|why| skipped(why)).is_ok().then_some(self)
    }

    fn mount(&self) -> Result<(), String> {
        let image = self.image.as_deref().expect("an image").as_os_str();
        run("mount", &[OsStr::new("-o"), OsStr::new("loop"), image, self.place.as_os_str()])
    }

    /// The power is gone: what was not synced is lost.
    pub(crate) fn cut_power(&self) {
        run("python3", &[OsStr::new("-c"), OsStr::new(CUT), self.place.as_os_str()])
            .expect("the power is cut");
    }

    /// The power is back. Nothing may have a file open.
    pub(crate) fn restore_power(&self) {
        assert!(support::wait_until(|| run("umount", &[&self.place]).is_ok()), "{:?} is busy", self.place);
        self.mount().expect("the file system is mounted again");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(run("umount", &[OsStr::new("-l"), self.place.as_os_str()]));
    }
}
