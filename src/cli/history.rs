//! `ratchet history` and `ratchet replay`: what happened, also when the object is gone.

use super::CliError;
use super::controller::client;
use crate::api::{DataOperation, OperationJournal, TargetLock};
use kube::api::ListParams;
use kube::{Api, Client};
use ratchet_state_machine::ids::{Digest, Seq};
use ratchet_state_machine::journal::{self, Entry, Replayed};
use ratchet_state_machine::spec::OperationSpec;
use std::collections::BTreeMap;

/// Arguments of `history` and `replay`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the DataOperation.
    name: String,
    /// Namespace (default: that of the kubeconfig's context).
    #[arg(short, long)]
    namespace: Option<String>,
    /// Uid of the run, when several runs had this name.
    #[arg(long)]
    uid: Option<String>,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// Lines for people.
    Table,
    /// One JSON document.
    Json,
}

/// The whole journal of one run.
#[derive(Debug, Clone)]
pub struct Journal {
    /// Uid of the run.
    pub uid: String,
    /// What was asked for.
    pub spec: OperationSpec,
    /// The entries, oldest first.
    pub entries: Vec<Entry>,
    /// What the object says, if it is still there.
    pub stored: Option<(Seq, Digest)>,
    /// What the lock kept.
    pub kept: Option<(Seq, Digest)>,
}

/// Reads the object (if it is there), the segments, and the lock. `uid` chooses between runs of one name.
///
/// # Errors
/// [`CliError`].
pub async fn read(
    client: &Client,
    namespace: &str,
    name: &str,
    uid: Option<&str>,
) -> Result<Journal, CliError> {
    let operations: Api<DataOperation> = Api::namespaced(client.clone(), namespace);
    let object = operations.get_opt(name).await?.filter(|o| uid.is_none_or(|u| u == o.uid()));
    let uid = object.as_ref().map(|o| o.uid().to_owned()).or_else(|| uid.map(ToOwned::to_owned));
    let journals: Api<OperationJournal> = Api::namespaced(client.clone(), namespace);
    let mut segments = Vec::new();
    let mut params = ListParams::default().limit(200);
    if let Some(uid) = &uid {
        params = params.labels(&format!("{}={uid}", crate::api::LABEL_OPERATION));
    }
    loop {
        let page = journals.list(&params).await?;
        segments.extend(page.items.into_iter().filter(|j| j.spec.operation == name));
        match page.metadata.continue_.filter(|c| !c.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => break,
        }
    }
    let uid = match uid {
        Some(uid) => uid,
        None => only_uid(&segments, namespace, name)?,
    };
    segments.retain(|s| s.spec.uid == uid);
    assemble(client, uid, object, segments, name).await
}

/// The one uid that the segments of a name have.
fn only_uid(segments: &[OperationJournal], namespace: &str, name: &str) -> Result<String, CliError> {
    let mut uids: Vec<&str> = segments.iter().map(|s| s.spec.uid.as_str()).collect();
    uids.sort_unstable();
    uids.dedup();
    match uids.as_slice() {
        [] => Err(CliError::NotFound(format!(
            "there is no DataOperation {name} in namespace {namespace} and no journal of one; \
             see: kubectl get dop,operationjournals -n {namespace}"
        ))),
        [one] => Ok((*one).to_owned()),
        many => Err(CliError::NotFound(format!(
            "several runs were called {name}; choose one with --uid: {}",
            many.join(", ")
        ))),
    }
}

async fn assemble(
    client: &Client,
    uid: String,
    object: Option<DataOperation>,
    segments: Vec<OperationJournal>,
    name: &str,
) -> Result<Journal, CliError> {
    let mut entries: BTreeMap<i64, Entry> = BTreeMap::new();
    let mut spec = object.as_ref().map(|o| o.spec.clone());
    for segment in &segments {
        if let (None, Some(text)) = (&spec, &segment.spec.spec) {
            spec = Some(
                serde_json::from_str(text)
                    .map_err(|e| CliError::Journal(format!("its spec cannot be read: {e}")))?,
            );
        }
        entries.extend(segment.spec.entries.iter().map(|e| (e.seq.0, e.clone())));
    }
    let status = object.and_then(|o| o.status);
    if let Some(status) = &status {
        entries.extend(status.tail.iter().map(|e| (e.seq.0, e.clone())));
    }
    let Some(spec) = spec else {
        return Err(CliError::NotFound(format!(
            "the first segment of {name} is missing; without it nothing can be replayed"
        )));
    };
    if entries.is_empty() {
        return Err(CliError::NotFound(format!("{name} has no history yet; is the controller running?")));
    }
    let locks: Api<TargetLock> = Api::all(client.clone());
    // Reading locks may not be allowed to everybody; the digest that they keep is an extra check.
    let locks = locks.list(&ListParams::default()).await.map(|l| l.items).unwrap_or_default();
    let kept = locks.iter().flat_map(|l| &l.spec.lock.finals).find(|f| f.uid == uid);
    Ok(Journal {
        uid,
        spec,
        entries: entries.into_values().collect(),
        stored: status.map(|s| (s.seq, s.digest)),
        kept: kept.map(|f| (f.seq, f.digest.clone())),
    })
}

async fn load(args: &Args) -> Result<Journal, CliError> {
    let (client, config) = client().await?;
    let namespace = args.namespace.clone().unwrap_or(config.default_namespace);
    read(&client, &namespace, &args.name, args.uid.as_deref()).await
}

/// Prints who, when, what, because.
///
/// # Errors
/// [`CliError`].
pub async fn history(args: Args) -> Result<(), CliError> {
    let journal = load(&args).await?;
    if args.output == Output::Json {
        return print_json(&journal.entries);
    }
    for line in told(&journal)? {
        println!("{line}");
    }
    Ok(())
}

/// The lines of `ratchet history`, one an entry.
///
/// # Errors
/// [`CliError::Journal`] when an entry cannot be read.
pub fn told(journal: &Journal) -> Result<Vec<String>, CliError> {
    let line = |entry: &Entry| {
        let body = entry.open().map_err(|e| CliError::Journal(e.to_string()))?;
        Ok(format!("{:>5}  {}  {}", entry.seq, entry.at, journal::explain(entry, &body)))
    };
    journal.entries.iter().map(line).collect()
}

/// Folds the journal from nothing, proves it, and prints each state.
///
/// # Errors
/// [`CliError`].
pub async fn replay(args: Args) -> Result<(), CliError> {
    let journal = load(&args).await?;
    let steps = prove(&journal)?;
    if args.output == Output::Json {
        let states: Vec<_> = steps
            .iter()
            .map(|s| serde_json::json!({"seq": s.entry.seq, "event": s.entry.event, "after": s.after}))
            .collect();
        return print_json(&states);
    }
    for line in proved(&journal, &steps)? {
        println!("{line}");
    }
    Ok(())
}

/// The lines of `ratchet replay`: one a step, and the verdict.
///
/// # Errors
/// [`CliError::Journal`] when a state cannot be written as JSON.
pub fn proved(journal: &Journal, steps: &[Replayed]) -> Result<Vec<String>, CliError> {
    let mut lines = Vec::with_capacity(steps.len() + 1);
    for s in steps {
        let state = serde_json::to_string(&s.after.state).map_err(|e| CliError::Journal(e.to_string()))?;
        lines.push(format!(
            "{:>5}  {:<18} {:<12} fence {:<6} {}",
            s.entry.seq,
            s.entry.event,
            s.after.state.phase(),
            s.after.fence.to_string(),
            state
        ));
    }
    lines.push(format!(
        "sound: {} entries, digest {}{}",
        steps.len(),
        steps.last().map(|s| s.after.digest.0.as_str()).unwrap_or_default(),
        witnesses(journal)
    ));
    Ok(lines)
}

/// Replays, and compares with what the object and the lock say.
///
/// # Errors
/// [`CliError::Journal`], naming the entry that does not hold or the witness that contradicts.
pub fn prove(journal: &Journal) -> Result<Vec<Replayed>, CliError> {
    let steps = journal::replay(&journal.uid, &journal.spec, &journal.entries)
        .map_err(|e| CliError::Journal(e.to_string()))?;
    let digest_at = |seq| steps.iter().find(|s| s.entry.seq == seq).map(|s| &s.after.digest);
    for (who, claim) in [("the object", &journal.stored), ("the lock", &journal.kept)] {
        if let Some((seq, digest)) = claim
            && digest_at(*seq) != Some(digest)
        {
            return Err(CliError::Journal(format!(
                "{who} has another digest for entry {seq}: the history was rewritten"
            )));
        }
    }
    Ok(steps)
}

fn witnesses(journal: &Journal) -> &'static str {
    match (&journal.stored, &journal.kept) {
        (Some(_), Some(_)) => ", confirmed by the object and the lock",
        (Some(_), None) => ", confirmed by the object",
        (None, Some(_)) => ", confirmed by the lock",
        (None, None) => "",
    }
}

fn print_json<T: serde::Serialize>(value: &T) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(value).map_err(|e| CliError::Journal(e.to_string()))?;
    println!("{text}");
    Ok(())
}
