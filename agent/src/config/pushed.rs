//! The device's own file, and what a pushed configuration puts on top of it.
//!
//! The rule: a section that a pushed configuration has replaces that section of the file, whole; the file counts for all
//! others. So a change of the file takes effect where nothing is pushed, and has none where something is.

use std::path::{Path, PathBuf};

use super::{Camera, Config, ConfigError, Fleet, Problems, raw};
use crate::limits;

/// Sections that may be pushed. Not the state folder, which holds what is pushed; not `[fleet]`, by which the owner of
/// the device says whether anything is.
const SECTIONS: [&str; 4] = ["server", "spool", "uplink", "camera"];

/// Of `[server]`: a token would replace the device's identity, which no rolling back brings back.
const SERVER_KEYS: [&str; 1] = ["address"];

/// The device's own file.
#[derive(Clone, Debug)]
pub struct Local {
    table: toml::Table,
    folder: PathBuf,
    config: Config,
    fleet: Fleet,
    /// What keeps some of its cameras out of `config`.
    missing: Problems,
}

impl Local {
    /// Reads and checks a file. Paths in it, and in what is pushed, are relative to it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::load_with_what_can_be_read(path)?.without_missing()
    }

    /// The same, without the cameras that name a file which can't be read now: for one of those the others are not given up.
    pub fn load_with_what_can_be_read(path: &Path) -> Result<Self, ConfigError> {
        let text = super::read(path)?;
        Self::parse_what_can_be_read(&text, path.parent().unwrap_or(Path::new(".")))
    }

    /// Checks a text. Paths in it are relative to `folder`.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, ConfigError> {
        Self::parse_what_can_be_read(text, folder)?.without_missing()
    }

    /// The same, without the cameras that name a file which can't be read now.
    pub fn parse_what_can_be_read(text: &str, folder: &Path) -> Result<Self, ConfigError> {
        let syntax = |error: toml::de::Error| ConfigError::Syntax(error.to_string());
        let raw: raw::Config = toml::from_str(text).map_err(syntax)?;
        let table = toml::from_str(text).map_err(syntax)?;
        // Its problems are told with all others.
        let fleet = raw.fleet.resolve(&mut Problems::default());
        let mut missing = Problems::default();
        match raw.resolve(folder, &mut missing) {
            Some(config) if missing.is_empty() || missing.only_leave_out() => {
                Ok(Self { table, folder: folder.to_owned(), config, fleet, missing })
            }
            _ => Err(ConfigError::Wrong(missing)),
        }
    }

    fn without_missing(self) -> Result<Self, ConfigError> {
        if self.missing.is_empty() { Ok(self) } else { Err(ConfigError::Wrong(self.missing)) }
    }

    /// Looks again for files that could not be read.
    pub fn look_again(&mut self) {
        let raw = self.table.clone().try_into::<raw::Config>();
        let mut missing = Problems::default();
        if let Some(config) = raw.ok().and_then(|raw| raw.resolve(&self.folder, &mut missing))
            && (missing.is_empty() || missing.only_leave_out())
        {
            (self.config, self.missing) = (config, missing);
        }
    }

    /// Why some of its cameras are not there.
    pub fn missing(&self) -> &Problems {
        &self.missing
    }

    /// What the file says by itself.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What the server may change.
    pub fn fleet(&self) -> Fleet {
        self.fleet
    }

    /// The configuration with a pushed one on top, or everything that is wrong with that.
    pub fn with(&self, pushed: &str) -> Result<Config, Problems> {
        match self.resolve_with(pushed)? {
            (Some(config), problems) if problems.is_empty() => Ok(config),
            (_, problems) => Err(problems),
        }
    }

    /// The same while files that it names can't be read: a camera of which one can't is as the device's own file has it, or is
    /// not there.
    pub fn with_what_can_be_read(&self, pushed: &str) -> Option<Config> {
        let (config, problems) = self.resolve_with(pushed).ok()?;
        let mut config = config.filter(|_| problems.is_empty() || problems.may_pass())?;
        if problems.may_pass() {
            let is_there = |own: &Camera| config.cameras.iter().any(|camera| camera.stream == own.stream);
            let own: Vec<_> = self.config().cameras.iter().filter(|own| !is_there(own)).cloned().collect();
            config.cameras.extend(own);
            config.cameras.truncate(limits::CAMERAS_MAX);
        }
        Some(config)
    }

    fn resolve_with(&self, pushed: &str) -> Result<(Option<Config>, Problems), Problems> {
        if pushed.len() as u64 > limits::CONFIG_BYTES_MAX {
            return Err("it is far too large to be a configuration".to_owned().into());
        }
        // As a text of its own first: only so are lines and columns told.
        toml::from_str::<raw::Config>(pushed).map_err(|error| without_values(pushed, &error))?;
        let pushed: toml::Table = toml::from_str(pushed).map_err(|error| without_values(pushed, &error))?;
        let mut problems = Problems::default();
        let mut merged = self.table.clone();
        for (section, value) in pushed {
            if !SECTIONS.contains(&section.as_str()) {
                problems.push(format!("{section} can't be pushed: it counts in the device's own file; remove it"));
            } else if let ("server", toml::Value::Table(keys)) = (section.as_str(), &value) {
                merge_server(&mut merged, keys, &mut problems);
            } else {
                merged.insert(section, value);
            }
        }
        let raw = merged.try_into::<raw::Config>().map_err(|error| without_values("", &error))?;
        Ok((raw.resolve(&self.folder, &mut problems), problems))
    }
}

/// What is wrong and in which line, without the line itself and the value in it, which may be a password: this goes to
/// the server and to the log.
fn without_values(text: &str, error: &toml::de::Error) -> String {
    let message = error.message();
    let value = ["invalid type: ", "invalid value: "].iter().find_map(|kind| message.strip_prefix(kind));
    let message = match value.and_then(|rest| rest.rsplit_once(", expected ")) {
        Some((found, expected)) => {
            let kind = found.split(['`', '"']).next().unwrap_or_default().trim();
            format!("there is a value of the kind {kind}, where {expected} is expected")
        }
        None => message.to_owned(),
    };
    match error.span() {
        Some(span) => {
            let before = text.as_bytes().iter().take(span.start);
            format!("line {}: {message}", before.filter(|byte| **byte == b'\n').count() + 1)
        }
        None => message,
    }
}

/// Key by key, because the device's own token stays.
fn merge_server(merged: &mut toml::Table, keys: &toml::Table, problems: &mut Problems) {
    let server = merged.entry("server").or_insert_with(|| toml::Table::new().into());
    let Some(server) = server.as_table_mut() else { return };
    for (key, value) in keys {
        if SERVER_KEYS.contains(&key.as_str()) {
            server.insert(key.clone(), value.clone());
        } else {
            problems.push(format!("server.{key} can't be pushed: it would change who the device is; remove it"));
        }
    }
}
