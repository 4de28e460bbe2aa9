//! The calendar of a process, which a test sets while it runs: by libfaketime. The monotonic clock goes on as it is.

use std::fs;
use std::path::{Path, PathBuf};

/// What one process takes for the time of day.
#[derive(Clone, Debug)]
pub struct Calendar {
    file: PathBuf,
    library: String,
}

impl Calendar {
    /// One that says `says` to processes with its environment; it lies in `folder`.
    pub fn new(folder: &Path, says: &str) -> Calendar {
        let calendar = Calendar { file: folder.join("calendar"), library: faketime() };
        calendar.set(says);
        calendar
    }

    /// Sets it, in the words of faketime(1): `@1970-01-01 00:00:10` counts from the process's start on, `+1d` is a day
    /// ahead.
    pub fn set(&self, says: &str) {
        let beside = self.file.with_extension("new");
        fs::write(&beside, says).expect("the calendar can be written");
        fs::rename(beside, &self.file).expect("the calendar can be replaced");
    }

    /// What a process needs to have this calendar.
    pub fn environment(&self) -> [(&str, &str); 4] {
        [
            ("LD_PRELOAD", &self.library),
            ("FAKETIME_TIMESTAMP_FILE", self.file.to_str().expect("a path in UTF-8")),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]
    }
}

/// The library that shows a process another time.
fn faketime() -> String {
    let machine = std::env::consts::ARCH;
    let library = format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketimeMT.so.1");
    assert!(Path::new(&library).exists(), "{library} is missing: install the package faketime");
    library
}
