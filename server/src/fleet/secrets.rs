//! A configuration without its passwords, to be shown.
//!
//! The text is read as TOML and written anew, since in the text itself a secret can stand in many ways. Comments are
//! lost on the way.

use toml::{Table, Value};

/// Keys whose values are not shown. Whatever has one of these words in its name is taken for a secret.
const WORDS: [&str; 5] = ["password", "token", "secret", "passphrase", "credential"];

/// What is shown instead.
const HIDDEN: &str = "***";

/// Why a text is no configuration.
#[derive(Debug, thiserror::Error)]
#[error("the configuration is not TOML: {0}")]
pub(crate) struct NotToml(String);

/// Whether a text is TOML at all. The parser's words quote the line, so they are for whoever sent it.
pub(super) fn check(text: &str) -> Result<(), NotToml> {
    parse(text).map(drop)
}

/// The configuration with its secrets hidden.
pub(crate) fn without_secrets(text: &str) -> Result<String, NotToml> {
    let mut table = parse(text)?;
    hide_in(&mut table);
    toml::to_string(&table).map_err(|error| NotToml(error.to_string()))
}

fn parse(text: &str) -> Result<Table, NotToml> {
    toml::from_str(text).map_err(|error| NotToml(error.to_string()))
}

fn hide_in(table: &mut Table) {
    for (key, value) in table.iter_mut() {
        let key = key.to_lowercase();
        if WORDS.iter().any(|word| key.contains(word)) {
            *value = HIDDEN.into();
        } else {
            hide(value);
        }
    }
}

fn hide(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some(hidden) = without_secret(text) {
                *text = hidden;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(hide),
        Value::Table(table) => hide_in(table),
        _ => {}
    }
}

/// An address without the user and the password in it, and without its query, where cheap cameras want passwords.
fn without_secret(address: &str) -> Option<String> {
    let (scheme, rest) = address.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host = rest[..end].rfind('@').map(|at| at + 1);
    let query = rest.find('?');
    if host.is_none() && query.is_none() {
        return None;
    }
    let user = if host.is_some() { format!("{HIDDEN}@") } else { String::new() };
    let shown = &rest[host.unwrap_or(0)..query.unwrap_or(rest.len())];
    let hidden = if query.is_some() { format!("?{HIDDEN}") } else { String::new() };
    Some(format!("{scheme}://{user}{shown}{hidden}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_hidden_wherever_they_stand() {
        let text = "[[camera]]\nurl = \"rtsp://me:hush@cam/1\"\npassword = 'hush'\n\
                    [[camera]]\nurl = \"rtsp://cam/2?password=hush\"\n\"pass\\u0077ord\" = \"hush\"\n\
                    [uplink]\ninner = { api_token = \"hush\", list = [\"http://a:hush@b\"] }\n";
        let shown = without_secrets(text).unwrap();
        assert!(!shown.contains("hush"), "{shown}");
        assert!(shown.contains("rtsp://***@cam/1") && shown.contains("rtsp://cam/2?***"), "{shown}");
        assert!(toml::from_str::<Table>(&shown).is_ok());
    }

    #[test]
    fn what_is_not_toml_is_told() {
        assert!(check("[[camera]\n").unwrap_err().to_string().contains("not TOML"));
    }
}
