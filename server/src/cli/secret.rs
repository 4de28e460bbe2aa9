//! `millrace secret …`: its arguments, and what it prints.

use std::io::{self, Read as _, Write as _};

use anyhow::{Context as _, bail};
use clap::Subcommand;

use crate::limits;
use crate::media_secrets::{self, SecretCommand};
use crate::office::Answer;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Keep the address of a camera, from standard input: rtsp://user:password@host/path, or JSON with the key MediaURI as for AWS.
    /// Prints the ARN by which edge configurations name it.
    Put {
        /// Its name.
        name: String,
    },
    /// List the names of all secrets.
    List,
    /// Forget a secret. Devices that have its address keep it.
    Delete {
        /// Its name.
        name: String,
    },
}

impl Verb {
    /// What to ask for.
    pub(super) fn command(self) -> anyhow::Result<SecretCommand> {
        Ok(match self {
            Self::Put { name } => {
                let most = 4 * limits::SECRET_URI_CHARS_MAX as u64;
                let mut text = String::new();
                io::stdin().lock().take(most).read_to_string(&mut text).context("the address can't be read")?;
                SecretCommand::Put { name, uri: uri_in(text.trim())? }
            }
            Self::List => SecretCommand::List,
            Self::Delete { name } => SecretCommand::Delete { name },
        })
    }
}

/// The address in a secret of AWS's edge agent, or the text itself.
fn uri_in(text: &str) -> anyhow::Result<String> {
    if !text.starts_with('{') {
        return Ok(text.to_owned());
    }
    let secret: serde_json::Value = serde_json::from_str(text).context("the secret is no JSON")?;
    let uri = secret.get("MediaURI").and_then(serde_json::Value::as_str);
    Ok(uri.context("the secret has no key MediaURI")?.to_owned())
}

/// Prints an answer.
pub(super) fn print(command: &SecretCommand, answer: Answer) -> anyhow::Result<()> {
    let out = &mut io::stdout().lock();
    match (command, answer) {
        (SecretCommand::Put { name, .. }, Answer::Done) => writeln!(out, "{}", media_secrets::arn(name))?,
        (_, Answer::Done) => {}
        (_, Answer::Secrets(names)) => {
            for name in names {
                writeln!(out, "{name:32} {}", media_secrets::arn(&name))?;
            }
        }
        (_, Answer::Failed(why)) => bail!(why),
        (_, other) => bail!("an answer to another command: {other:?}"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_comes_alone_or_as_in_a_secret_of_aws() {
        for text in ["rtsp://a/b", "{\"MediaURI\": \"rtsp://a/b\"}"] {
            assert_eq!(uri_in(text).unwrap(), "rtsp://a/b");
        }
        assert!(uri_in("{\"uri\": \"rtsp://a/b\"}").is_err() && uri_in("{").is_err());
    }
}
