//! Tests about the repository itself: arrows between crates, banned words, documents.
//!
//! The library only finds the files; each rule is a test in `tests/`, named after what it holds.
//! Rules that a person would otherwise have to repeat in review belong here.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders that hold no source of ours: built, installed or recorded things.
const SKIPPED: &[&str] = &[".git", "target", "node_modules", "millrace-data", "millrace-demo-data", "dist", "cache"];

/// The root of the repository.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("tidy lies one folder below the root").to_owned()
}

/// A file of the repository.
pub struct File {
    /// Its path from the root, with `/` between the parts.
    pub path: String,
    /// Where it lies on this machine.
    pub absolute: PathBuf,
}

impl File {
    /// The file as text, or `None` where it is not UTF-8.
    pub fn text(&self) -> Option<String> {
        String::from_utf8(fs::read(&self.absolute).ok()?).ok()
    }

    /// Whether the name ends in `.extension`.
    pub fn has_extension(&self, extension: &str) -> bool {
        self.absolute.extension().is_some_and(|e| e == extension)
    }
}

/// Every file of the repository that people write, in order of path.
pub fn files() -> Vec<File> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository is readable") {
            let entry = entry.expect("an entry of the repository is readable");
            let name = entry.file_name();
            let absolute = entry.path();
            // `symlink_metadata` in effect: a link is not followed, so there is no loop.
            let kind = entry.file_type().expect("an entry has a type");
            if kind.is_dir() {
                if !SKIPPED.iter().any(|skipped| name == *skipped) {
                    folders.push(absolute);
                }
            } else if kind.is_file() {
                let below = absolute.strip_prefix(&root).expect("the walk began at the root");
                found.push(File { path: below.to_string_lossy().replace('\\', "/"), absolute });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}
