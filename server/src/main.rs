//! The `millrace` command. Reads the command line and hands it on.

use std::process::ExitCode;

use clap::Parser as _;
use millrace::cli::Arguments;

fn main() -> ExitCode {
    match Arguments::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("millrace: {error:#}");
            ExitCode::FAILURE
        }
    }
}
