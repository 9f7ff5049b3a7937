//! `ratchet demo`.

use super::CliError;
use crate::demo::{self, FILES, Options};
use std::path::PathBuf;

/// Arguments of `ratchet demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files to make.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(FILES.0..=FILES.1), conflicts_with = "path")]
    files: u64,
    /// A directory of your own whose files are loaded instead; it is only read.
    #[arg(long)]
    path: Option<PathBuf>,
    /// Keep the temporary directory, and say how to go on with it.
    #[arg(long)]
    keep: bool,
    /// Plain lines, without colour and without a moving bar (also with NO_COLOR, and when piped).
    #[arg(long)]
    plain: bool,
}

/// Runs the demo; an error when anything was not as told.
///
/// # Errors
/// [`CliError`].
pub async fn run(args: Args) -> Result<(), CliError> {
    super::controller::log("error", false);
    let Args { files, path, keep, plain } = args;
    Ok(demo::run(Options { files, path, keep, plain }).await?)
}
