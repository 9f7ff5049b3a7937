//! The commands of the binary, which `kubectl ratchet` reaches too.

pub mod controller;
#[cfg(feature = "dev")]
pub mod demo;
#[cfg(feature = "dev")]
pub mod dev;
pub mod history;

use clap::{Parser, Subcommand};

/// Data-lifecycle operations of a distributed cache, as durable state machines on Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "ratchet", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the controller.
    Controller(Box<controller::Args>),
    /// See it work on real files, in a minute, with nothing but this binary.
    #[cfg(feature = "dev")]
    Demo(demo::Args),
    /// Serve a Kubernetes API on loopback with the controller inside: no cluster needed.
    #[cfg(feature = "dev")]
    Dev(dev::Args),
    /// Print the CustomResourceDefinitions and admission policies as YAML.
    Crds,
    /// Show what happened in an operation: who, when, what, because.
    History(history::Args),
    /// Fold an operation's journal from nothing, prove it, and print each state.
    Replay(history::Args),
    /// Print the version.
    Version,
}

/// Why a command failed, in a sentence for the user.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The cluster cannot be reached, or its configuration cannot be read.
    #[error("the cluster cannot be used: {0}; check --kubeconfig, KUBECONFIG and --context")]
    Cluster(String),
    /// A call to the API server failed.
    #[error("the API server refused: {0}")]
    Api(#[from] kube::Error),
    /// Something that was named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The journal does not hold together.
    #[error("the journal is not sound: {0}")]
    Journal(String),
    /// The controller could not start.
    #[error("the controller could not start: {0}")]
    Start(String),
    /// `ratchet dev` could not start.
    #[cfg(feature = "dev")]
    #[error(transparent)]
    Dev(#[from] crate::dev::DevError),
    /// The demo was not as told.
    #[cfg(feature = "dev")]
    #[error("{0}")]
    Demo(Box<crate::demo::DemoError>),
    /// Output failed.
    #[error("the output cannot be written: {0}")]
    Output(#[from] std::io::Error),
    /// A generated document is broken: a bug.
    #[error("a generated document is broken: {0}")]
    Generate(String),
}

#[cfg(feature = "dev")]
impl From<crate::demo::DemoError> for CliError {
    fn from(error: crate::demo::DemoError) -> Self {
        Self::Demo(Box::new(error))
    }
}

/// Runs the command that the arguments name.
///
/// # Errors
/// [`CliError`].
pub async fn run(cli: Cli) -> Result<(), CliError> {
    match cli.command {
        Command::Controller(args) => controller::run(*args).await,
        #[cfg(feature = "dev")]
        Command::Demo(args) => demo::run(args).await,
        #[cfg(feature = "dev")]
        Command::Dev(args) => dev::run(args).await,
        Command::Crds => crds(),
        Command::History(args) => history::history(args).await,
        Command::Replay(args) => history::replay(args).await,
        Command::Version => {
            println!(
                "ratchet {} (machine version {})",
                env!("CARGO_PKG_VERSION"),
                ratchet_state_machine::MACHINE_VERSION
            );
            Ok(())
        }
    }
}

fn crds() -> Result<(), CliError> {
    let broken = |e: &dyn std::fmt::Display| CliError::Generate(e.to_string());
    let mut all: Vec<_> =
        crate::api::crd::all().map_err(|e| broken(&e))?.into_iter().map(|(_, d)| d).collect();
    all.extend(crate::api::admission::all());
    print!("{}", crate::api::crd::yaml(&all).map_err(|e| broken(&e))?);
    Ok(())
}
