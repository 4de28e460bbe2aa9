//! Programs of others in Python, from the environment that `scripts/setup.sh test` makes.

use std::path::PathBuf;
use std::process::Command;

/// A program of the Python packages that tests need.
pub fn python_tool(name: &str) -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home).expect("there is a home folder");
    let path = cache.join("millrace/python/bin").join(name);
    assert!(path.exists(), "there is no {}: run `scripts/setup.sh test` first", path.display());
    path
}

/// Runs Python at the root of the repository; it must succeed. Gives what it printed.
pub fn python(arguments: &[&str], environment: &[(String, String)]) -> String {
    let mut command = Command::new(python_tool("python"));
    command.args(arguments).current_dir(crate::root()).env("PYTHONDONTWRITEBYTECODE", "1");
    // Whatever this machine has for AWS itself stays out of it.
    command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    let output =
        command.envs(environment.iter().map(|(name, value)| (name, value))).output().expect("Python can be run");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
