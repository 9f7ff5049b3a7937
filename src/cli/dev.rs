//! `ratchet dev`.

use super::CliError;
use crate::dev::{self, Options, PORT, Running};
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};

/// Arguments of `ratchet dev`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory of the state (default: ~/.ratchet-dev).
    #[arg(long, env = "RATCHET_DEV_DATA")]
    data: Option<PathBuf>,
    /// Port on 127.0.0.1; 0 for any that is free.
    #[arg(long, default_value_t = PORT)]
    port: u16,
    /// Directory whose files the cache may hold (default: `ufs` in the data directory, with a few samples).
    #[arg(long)]
    ufs: Option<PathBuf>,
    /// Forget everything first; the files of the under-storage stay.
    #[arg(long)]
    reset: bool,
    /// Serve the API only: nothing reconciles.
    #[arg(long)]
    no_controller: bool,
}

/// Runs until SIGINT or SIGTERM, then drains.
///
/// # Errors
/// [`CliError`].
pub async fn run(args: Args) -> Result<(), CliError> {
    super::controller::log("warn", false);
    let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let options = Options {
        data: args.data.map_or_else(home, Ok)?,
        port: args.port,
        ufs: args.ufs,
        reset: args.reset,
        controller: !args.no_controller,
    };
    let running = dev::start(options).await?;
    greet(&running);
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
    }
    println!("\nStopping: running work is finished, the state is kept.");
    running.stop().await;
    Ok(())
}

fn home() -> Result<PathBuf, CliError> {
    let none =
        || CliError::Start("there is no home directory; say where the state may lie with --data".into());
    std::env::home_dir().map(|home| home.join(".ratchet-dev")).ok_or_else(none)
}

fn greet(running: &Running) {
    println!("Ratchet dev serves https://{}", running.address());
    println!("  state  {}", running.data().display());
    println!("  files  {}", running.ufs().display());
    println!();
    println!("In another terminal:");
    println!("  export KUBECONFIG={}", running.kubeconfig().display());
    println!("  kubectl get ratchet");
    println!("  kubectl apply -f {}", running.example().display());
    println!("  kubectl get dataoperations -w");
    println!();
    println!("Ctrl-C stops it; started again, it goes on where it was.");
}
