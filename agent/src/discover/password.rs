//! A password from the terminal, which does not show it.

use std::io::{self, BufRead as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

/// Asks for a password. Without a terminal, takes the first line of standard input.
pub fn ask(prompt: &str) -> io::Result<String> {
    let input = io::stdin();
    let before = tcgetattr(&input).ok();
    if let Some(before) = &before {
        eprint!("{prompt}");
        io::stderr().flush()?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&input, OptionalActions::Flush, &hidden)?;
    }
    let mut line = String::new();
    let read = input.lock().read_line(&mut line);
    if let Some(before) = &before {
        tcsetattr(&input, OptionalActions::Flush, before)?;
        eprintln!();
    }
    read?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
