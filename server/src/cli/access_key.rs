//! `millrace access-key …`: its arguments, and what it prints.

use std::io;

use anyhow::bail;
use clap::Subcommand;

use crate::access_keys::{AccessKeyCommand, AccessKeyView, Role, StreamPattern};
use crate::office::Answer;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Make an access key for programs that were written for AWS: prints its id and its secret, this once.
    Create {
        /// What it is for: admin does everything, producer sends video, viewer looks.
        #[arg(long, default_value = "admin")]
        role: Role,
        /// The streams that it is good for: a name, in which * stands for any characters; may be given several times.
        /// Without it: any.
        #[arg(long = "stream", value_name = "PATTERN")]
        streams: Vec<StreamPattern>,
    },
    /// List all access keys.
    List,
    /// Refuse an access key from now on.
    Disable {
        /// Its id, as the list shows it.
        id: String,
    },
    /// Take a disabled access key again.
    Enable {
        /// Its id, as the list shows it.
        id: String,
    },
    /// Forget an access key for good.
    Delete {
        /// Its id, as the list shows it.
        id: String,
    },
}

impl Verb {
    /// What to ask for.
    pub(super) fn command(self) -> AccessKeyCommand {
        match self {
            Self::Create { role, streams } => AccessKeyCommand::Create { role, streams },
            Self::List => AccessKeyCommand::List,
            Self::Disable { id } => AccessKeyCommand::Disable { id },
            Self::Enable { id } => AccessKeyCommand::Enable { id },
            Self::Delete { id } => AccessKeyCommand::Delete { id },
        }
    }
}

/// Prints an answer.
pub(super) fn print(answer: Answer) -> anyhow::Result<()> {
    let out = &mut io::stdout().lock();
    match answer {
        Answer::Done => {}
        Answer::AccessKey { id, secret } => print_created(out, &id, &secret)?,
        Answer::AccessKeys(keys) => print_list(out, &keys)?,
        Answer::Failed(why) => bail!(why),
        other => bail!("an answer to another command: {other:?}"),
    }
    Ok(())
}

/// In a form that a shell takes, and AWS's own tools with it.
fn print_created(out: &mut impl io::Write, id: &str, secret: &str) -> io::Result<()> {
    writeln!(out, "# The secret is shown this once.")?;
    writeln!(out, "export AWS_ACCESS_KEY_ID={id}")?;
    writeln!(out, "export AWS_SECRET_ACCESS_KEY={secret}")
}

fn print_list(out: &mut impl io::Write, keys: &[AccessKeyView]) -> io::Result<()> {
    writeln!(out, "{:20} {:8} {:8} {:20} STREAMS", "ACCESS KEY", "ROLE", "STATE", "CREATED")?;
    for key in keys {
        let state = if key.disabled_ns.is_some() { "disabled" } else { "enabled" };
        let streams: Vec<String> = key.streams.iter().map(StreamPattern::to_string).collect();
        let streams = if streams.is_empty() { "any".to_owned() } else { streams.join(",") };
        writeln!(out, "{:20} {:8} {state:8} {:20} {streams}", key.id, key.role, super::time(Some(key.created_ns)))?;
    }
    Ok(())
}
