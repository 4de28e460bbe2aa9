//! A disk of a few hundred megabytes: a file system in memory, mounted where a process has its data. Needs root.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted disk. Dropping it unmounts it.
#[derive(Debug)]
pub struct SmallDisk {
    place: PathBuf,
}

impl SmallDisk {
    /// Mounts one on `place`, which it makes. `None`, and a word on standard error, where that can't be done; but
    /// where MILLRACE_ROOT=1 promises that it can, that is a failure.
    pub fn try_new(place: &Path, bytes: u64) -> Option<SmallDisk> {
        fs::create_dir_all(place).expect("a folder can be made");
        let size = format!("size={bytes},mode=700");
        let mut mount = Command::new("mount");
        let output = mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(place).output();
        let why = match output {
            Ok(output) if output.status.success() => return Some(SmallDisk { place: place.to_owned() }),
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => format!("mount: {error}"),
        };
        let promised = std::env::var("MILLRACE_ROOT").is_ok_and(|promised| promised == "1");
        assert!(!promised, "{why}");
        eprintln!("skipped: no disk can be mounted here: {why}");
        None
    }

    /// The bytes that can yet be written.
    pub fn free(&self) -> u64 {
        let disk = rustix::fs::statvfs(&self.place).expect("the disk is mounted");
        disk.f_bavail * disk.f_frsize
    }

    /// Somebody else's file takes all but `left` bytes of what is free now; with 0, also of what becomes free meanwhile.
    pub fn fill(&self, left: u64) {
        let mut takes = if left == 0 { u64::MAX } else { self.free() - left };
        let block = vec![1; 64 << 10];
        let mut file = OpenOptions::new().create(true).append(true).open(self.filler()).expect("a file can be made");
        while takes > 0 {
            let bytes = usize::try_from(takes).unwrap_or(usize::MAX).min(block.len());
            match file.write(&block[..bytes]) {
                Ok(written) => takes -= written as u64,
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return,
                Err(error) => panic!("a disk in memory fails only when it is full: {error}"),
            }
        }
    }

    /// That file goes.
    pub fn give_back(&self) {
        fs::remove_file(self.filler()).expect("the disk was filled");
    }

    fn filler(&self) -> PathBuf {
        self.place.join("of-somebody-else")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: in a test that fails, a server still has files there.
        let _ = Command::new("umount").arg("--lazy").arg(&self.place).status();
    }
}
