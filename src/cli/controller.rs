//! `ratchet controller`.

use super::CliError;
use crate::cache::WatchOptions;
use crate::clock::{Clock, SystemClock};
use crate::controller::lease::Candidate;
use crate::controller::{Config, Ctx, run as run_controller, serve};
use crate::engine::{Registry, alluxio};
use kube::{Client, Config as KubeConfig};
use ratchet_state_machine::ids::WriterId;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Arguments of `ratchet controller`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Operations that are worked on at the same time.
    #[arg(long, default_value_t = 8, env = "RATCHET_CONCURRENCY", value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,
    /// Address of /healthz, /readyz and /metrics; empty for none.
    #[arg(long, default_value = "127.0.0.1:9480", env = "RATCHET_METRICS_ADDRESS")]
    metrics_address: String,
    /// Elect a leader by a Lease in this namespace; without it every replica works.
    #[arg(long, env = "RATCHET_LEASE_NAMESPACE")]
    lease_namespace: Option<String>,
    /// How long the Lease lasts, in seconds.
    #[arg(long, default_value_t = 15, env = "RATCHET_LEASE_SECONDS", value_parser = clap::value_parser!(u64).range(3..=300))]
    lease_seconds: u64,
    /// Name of this replica in journals (default: the host's name).
    #[arg(long, env = "RATCHET_REPLICA")]
    replica: Option<String>,
    /// Hard limit of one call to the cache, in milliseconds.
    #[arg(long, default_value_t = 10_000, env = "RATCHET_ENGINE_TIMEOUT_MS", value_parser = clap::value_parser!(u64).range(100..=600_000))]
    engine_timeout_ms: u64,
    /// How long an effect may still be sent after its intent was written, in milliseconds.
    #[arg(long, default_value_t = 5_000, env = "RATCHET_SEND_FOR_MS", value_parser = clap::value_parser!(u64).range(100..=600_000))]
    send_for_ms: u64,
    /// Hard limit of one call to the API server, in milliseconds.
    #[arg(long, default_value_t = 10_000, env = "RATCHET_API_TIMEOUT_MS", value_parser = clap::value_parser!(u64).range(100..=60_000))]
    api_timeout_ms: u64,
    /// Pause between two looks at a healthy cache, in seconds.
    #[arg(long, default_value_t = 15, env = "RATCHET_PROBE_SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    probe_seconds: u64,
    /// How long the clean-up of a deleted operation may take, in seconds.
    #[arg(long, default_value_t = 600, env = "RATCHET_CLEANUP_SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    cleanup_seconds: u64,
    /// How long running work may take after SIGTERM, in seconds.
    #[arg(long, default_value_t = 20, env = "RATCHET_DRAIN_SECONDS", value_parser = clap::value_parser!(u64).range(0..=600))]
    drain_seconds: u64,
    /// Look after the objects of this namespace only (default: all namespaces).
    #[arg(long, env = "RATCHET_WATCH_NAMESPACE")]
    watch_namespace: Option<String>,
    /// CSI drivers that Datasets may ask a volume of, separated by commas.
    #[arg(long, default_value = "alluxio", env = "RATCHET_CSI_DRIVERS", value_delimiter = ',')]
    csi_drivers: Vec<String>,
    /// Write logs as JSON lines.
    #[arg(long, env = "RATCHET_LOG_JSON")]
    log_json: bool,
}

/// A client whose own retries of writes are off: an ambiguous write is settled by a read, not by a repeat.
///
/// # Errors
/// [`CliError::Cluster`].
pub async fn client() -> Result<(Client, KubeConfig), CliError> {
    let mut config = KubeConfig::infer().await.map_err(|e| CliError::Cluster(e.to_string()))?;
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    // A watch says something at least once a minute, if only that it is over: a connection that is silent for longer is
    // dead, and nobody would tell.
    config.read_timeout = Some(Duration::from_secs(75));
    let client = Client::try_from(config.clone()).map_err(|e| CliError::Cluster(e.to_string()))?;
    Ok((client, config))
}

/// Sends logs to the standard error, from this level on unless `RUST_LOG` says otherwise.
pub fn log(level: &str, json: bool) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second subscriber in one process (a test) is no error.
    let _ = if json { builder.json().try_init() } else { builder.try_init() };
}

/// Runs until SIGTERM or SIGINT, then drains.
///
/// # Errors
/// [`CliError`].
pub async fn run(args: Args) -> Result<(), CliError> {
    log("info", args.log_json);
    let (client, kube_config) = client().await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let replica = args.replica.clone().unwrap_or_else(hostname);
    let process: String = uuid::Uuid::new_v4().simple().to_string().chars().take(8).collect();
    let short: String = replica.chars().take(50).collect();
    let writer = WriterId(format!("{short}-{process}"));
    let options = alluxio::Options {
        call_timeout: Duration::from_millis(args.engine_timeout_ms),
        ..alluxio::Options::default()
    };
    let config = Config {
        concurrency: usize::from(args.concurrency),
        api_timeout: Duration::from_millis(args.api_timeout_ms),
        send_for_ms: i64::try_from(args.send_for_ms).unwrap_or(i64::MAX),
        unknown_effect_ms: i64::try_from(args.engine_timeout_ms).unwrap_or(i64::MAX).saturating_add(5_000),
        cleanup_bound_ms: i64::try_from(args.cleanup_seconds).unwrap_or(600).saturating_mul(1000),
        probe_every: Duration::from_secs(args.probe_seconds),
        managed: true,
        csi_drivers: args.csi_drivers.clone(),
        drain: Duration::from_secs(args.drain_seconds),
        watch: WatchOptions {
            namespace: args.watch_namespace.clone(),
            spread: uuid::Uuid::new_v4().as_u64_pair().0,
            ..WatchOptions::default()
        },
        ..Config::default()
    };
    let ctx = Arc::new(Ctx::new(client, config, writer.clone(), Arc::clone(&clock), Registry::new(options)));
    let mut server = None;
    if !args.metrics_address.is_empty() {
        let address: SocketAddr = args.metrics_address.parse().map_err(|_| {
            CliError::Start(format!("--metrics-address {} is not ip:port", args.metrics_address))
        })?;
        server = Some(tokio::spawn(serve::serve(address, Arc::clone(&ctx))));
    }
    let mut candidate = None;
    if let Some(namespace) = &args.lease_namespace {
        let own = Client::try_from(kube_config).map_err(|e| CliError::Cluster(e.to_string()))?;
        let duration = Duration::from_secs(args.lease_seconds);
        candidate = Some(Candidate::new(own, namespace, writer.0.clone(), duration, clock));
    }
    let result = lead(ctx, candidate).await;
    if let Some(server) = server {
        if server.is_finished()
            && let Ok(Err(error)) = server.await
        {
            tracing::warn!(%error, "the metrics address could not be served");
        } else {
            tracing::debug!("the metrics address is closed");
        }
    }
    result
}

/// Runs as soon as the lease is held (at once without one), until a signal or the loss of the lease.
async fn lead(ctx: Arc<Ctx>, mut candidate: Option<Candidate>) -> Result<(), CliError> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    if let Some(candidate) = &mut candidate {
        tokio::select! {
            () = candidate.acquire() => tracing::info!("this replica leads"),
            _ = term.recv() => return Ok(()),
            _ = int.recv() => return Ok(()),
        }
    }
    let lost = async {
        match &mut candidate {
            Some(candidate) => candidate.keep().await,
            None => std::future::pending().await,
        }
    };
    let stop = async {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
            () = lost => tracing::warn!("the lease is lost; this replica stops"),
        }
    };
    let ended = run_controller(ctx, stop).await.map_err(|e| CliError::Start(e.to_string()));
    if let Some(candidate) = &candidate {
        candidate.release().await;
    }
    ended
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "ratchet".into(), |h| h.trim().to_owned())
}
