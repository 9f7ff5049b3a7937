//! The `ratchet` binary: arguments in, exit code out.

use clap::Parser as _;
use ratchet::cli::{Cli, run};
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("ratchet: {why}");
            ExitCode::FAILURE
        }
    }
}
