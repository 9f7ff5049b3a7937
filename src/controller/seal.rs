//! Segments of the journal: created before the entries leave the status, under a deterministic name, so that a
//! crash in between loses nothing and writes nothing twice.

use super::reply::Reply;
use super::{Ctx, write};
use crate::api::journal::{OperationJournal, OperationJournalSpec, segment_name};
use crate::api::{DataOperation, LABEL_OPERATION};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use ratchet_state_machine::canonical;
use ratchet_state_machine::ids::Seq;
use ratchet_state_machine::journal::{Entry, Record};
use std::collections::BTreeMap;
use std::time::Duration;

/// What became of a segment.
#[derive(Debug)]
pub enum Sealed {
    /// Entries up to here are kept; false: they are given up, because the namespace is terminating.
    Through(Seq, bool),
    /// Try again.
    Later(Duration),
}

/// Writes what is unsealed into the next segment. A segment that exists already is adopted.
pub async fn segment(ctx: &Ctx, op: &DataOperation, record: &Record) -> Sealed {
    let entries: Vec<Entry> = record.unsealed().cloned().collect();
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
        return Sealed::Through(record.folded.sealed_through, true);
    };
    let namespace = op.metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<OperationJournal> = Api::namespaced(ctx.client.clone(), namespace);
    let name = segment_name(op.uid(), first.seq);
    let wanted = last.seq;
    let Some(segment) = build(op, record, &name, entries) else {
        return Sealed::Later(ctx.config.parked_retry);
    };
    match write::create(ctx, &api, &segment).await {
        Ok(_) => {
            ctx.metrics.segment();
            Sealed::Through(wanted, true)
        }
        Err(Reply::Conflict | Reply::Ambiguous(_)) => adopt(ctx, &api, &name, record).await,
        // A namespace that is terminating takes nothing. (A 404 may mean that the kind is missing for a moment.)
        Err(Reply::Terminating) => Sealed::Through(wanted, false),
        Err(other) => {
            tracing::warn!(operation = %name, reply = other.name(), "a journal segment could not be written; again later");
            Sealed::Later(Duration::from_secs(5))
        }
    }
}

/// Writes everything that is unsealed, up to the last entry. A segment that a crash left behind may end before it; then
/// another follows.
pub async fn rest(ctx: &Ctx, op: &DataOperation, record: &Record) -> Sealed {
    let mut left = record.clone();
    loop {
        match segment(ctx, op, &left).await {
            Sealed::Through(through, _)
                if through < record.folded.seq && through > left.folded.sealed_through =>
            {
                left.folded.sealed_through = through;
            }
            Sealed::Through(through, _) if through < record.folded.seq => {
                return Sealed::Later(Duration::from_secs(1));
            }
            done @ (Sealed::Through(..) | Sealed::Later(_)) => return done,
        }
    }
}

/// A segment of that name exists: it holds the same entries up to its own end.
async fn adopt(ctx: &Ctx, api: &Api<OperationJournal>, name: &str, record: &Record) -> Sealed {
    match write::get(ctx, api, name).await {
        Ok(Some(found)) if found.spec.last_seq <= record.folded.seq => {
            Sealed::Through(found.spec.last_seq, true)
        }
        Ok(Some(_)) => Sealed::Later(Duration::from_millis(200)),
        Ok(None) | Err(_) => Sealed::Later(Duration::from_secs(1)),
    }
}

fn build(op: &DataOperation, record: &Record, name: &str, entries: Vec<Entry>) -> Option<OperationJournal> {
    let (first, last) = (entries.first()?.seq, entries.last()?.seq);
    let spec = if first == Seq(1) { Some(canonical::to_string(&op.spec.frozen()).ok()?) } else { None };
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: op.metadata.namespace.clone(),
        labels: Some(BTreeMap::from([(LABEL_OPERATION.to_owned(), op.uid().to_owned())])),
        ..ObjectMeta::default()
    };
    let segment = OperationJournalSpec {
        operation: op.metadata.name.clone().unwrap_or_default(),
        uid: op.uid().to_owned(),
        kind: record.folded.state.kind().to_owned(),
        target: op.spec.target.clone(),
        first_seq: first,
        last_seq: last,
        digest: record.folded.digest.clone(),
        phase: record.folded.state.phase().name().to_owned(),
        spec,
        entries,
    };
    Some(OperationJournal::new(metadata, segment))
}
