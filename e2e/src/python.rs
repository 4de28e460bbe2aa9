//! Programs of others in Python, from the environment that `scripts/setup.sh test` makes.

use std::path::PathBuf;

/// A program of the Python packages that tests need.
pub fn python_tool(name: &str) -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home).expect("there is a home folder");
    let path = cache.join("millrace/python/bin").join(name);
    assert!(path.exists(), "there is no {}: run `scripts/setup.sh test` first", path.display());
    path
}
