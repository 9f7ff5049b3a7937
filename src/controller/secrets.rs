//! The Secrets that an operation names: looked for when its question asks for it, read right before the call that needs
//! them, kept nowhere. There is no watch on Secrets: the controller may get the ones it is told of, and list none.

use super::Ctx;
use crate::api::DataOperation;
use crate::api::dataset::DatasetSpec;
use crate::cache::Key;
use crate::engine::Secrets;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use ratchet_state_machine::effect::{Effect, Outcome, Query, Trouble, TroubleKind};
use ratchet_state_machine::spec::SecretKey;
use std::collections::BTreeMap;

/// What is wrong with the Secrets of an operation, where its question asks for them.
pub async fn missing(ctx: &Ctx, op: &DataOperation, question: &Query) -> Option<Trouble> {
    match question {
        Query::Mounts { secrets: true, .. } => read(ctx, op).await.err(),
        Query::Mounts { secrets: false, .. }
        | Query::Health
        | Query::Metadata { .. }
        | Query::LoadJob { .. }
        | Query::Members
        | Query::Leaving { .. }
        | Query::Rollout { .. }
        | Query::Drain { .. }
        | Query::Backups { .. }
        | Query::Tree { .. } => None,
    }
}

/// What goes with an effect.
///
/// # Errors
/// The outcome of an effect that cannot be sent without: nothing was.
pub async fn of(ctx: &Ctx, op: &DataOperation, effect: &Effect) -> Result<Secrets, Outcome> {
    match effect {
        Effect::Mount { .. } | Effect::UpdateMount { .. } => {
            read(ctx, op).await.map_err(|t| Outcome::Refused {
                reason: t.kind.reason().into(),
                message: t.message,
                retryable: t.kind.passes(),
            })
        }
        Effect::LoadMetadata { .. }
        | Effect::SubmitLoad { .. }
        | Effect::StopLoad { .. }
        | Effect::CancelMetadata { .. }
        | Effect::Free { .. }
        | Effect::AddWorkers { .. }
        | Effect::RemoveWorkers { .. }
        | Effect::MarkWorkers { .. }
        | Effect::ReplaceWorker { .. }
        | Effect::SetRelease { .. }
        | Effect::ReplaceMember { .. }
        | Effect::OnWorkers { .. }
        | Effect::FenceMembers {}
        | Effect::TransferLeadership { .. }
        | Effect::ResetPriorities {}
        | Effect::Backup { .. }
        | Effect::PruneBackups { .. }
        | Effect::Unmount { .. } => Ok(Secrets::default()),
    }
}

/// Reads every key that the operation names.
async fn read(ctx: &Ctx, op: &DataOperation) -> Result<Secrets, Trouble> {
    let namespace = op.metadata.namespace.as_deref().unwrap_or_default();
    let named = op.spec.operation.secrets();
    let keys: Vec<&SecretKey> = named.iter().map(|(_, from)| *from).collect();
    let secrets = fetch(ctx, namespace, &keys).await?;
    let mut values = BTreeMap::new();
    for (option, from) in named {
        values.insert(option.to_owned(), value(secrets.get(&from.name), namespace, from)?);
    }
    Ok(Secrets::new(values))
}

/// The version of each Secret that a dataset names: its uid and resourceVersion. What is in it is not looked at, except
/// that the keys are there.
///
/// # Errors
/// What is wrong with the first that cannot be used.
pub async fn versions(ctx: &Ctx, key: &Key, spec: &DatasetSpec) -> Result<BTreeMap<String, String>, Trouble> {
    let mounts: Vec<_> = spec.mounts.iter().map(|m| spec.mount(m, false)).collect();
    let keys: Vec<&SecretKey> = mounts.iter().flat_map(|m| m.secrets().map(|(_, from)| from)).collect();
    let secrets = fetch(ctx, &key.namespace, &keys).await?;
    let version = |secret: Secret| {
        let m = secret.metadata;
        format!("{}@{}", m.uid.unwrap_or_default(), m.resource_version.unwrap_or_default())
    };
    Ok(secrets.into_iter().map(|(name, secret)| (name, version(secret))).collect())
}

/// The Secrets that these keys are of, each read once, once all keys are seen to be there.
async fn fetch(ctx: &Ctx, namespace: &str, keys: &[&SecretKey]) -> Result<BTreeMap<String, Secret>, Trouble> {
    let mut seen: BTreeMap<String, Secret> = BTreeMap::new();
    for from in keys {
        if !seen.contains_key(&from.name) {
            seen.insert(from.name.clone(), get(ctx, namespace, &from.name).await?);
        }
        value(seen.get(&from.name), namespace, from)?;
    }
    Ok(seen)
}

async fn get(ctx: &Ctx, namespace: &str, name: &str) -> Result<Secret, Trouble> {
    let api: Api<Secret> = Api::namespaced(ctx.client.clone(), namespace);
    let reply = tokio::time::timeout(ctx.config.api_timeout, api.get_opt(name)).await;
    let trouble = |kind, message: String| Err(Trouble { kind, message });
    match reply {
        Ok(Ok(Some(secret))) => Ok(secret),
        Ok(Ok(None)) => trouble(
            TroubleKind::NoSecret,
            format!("there is no Secret {name} in namespace {namespace}; create it"),
        ),
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => trouble(
            TroubleKind::Refused,
            format!("the controller may not get Secret {name} in namespace {namespace}; allow it"),
        ),
        // Neither text shows anything of a Secret: none was received.
        Ok(Err(error)) => trouble(
            TroubleKind::Unknown,
            ratchet_state_machine::lifecycle::cut(&format!("Secret {name} cannot be read: {error}"), 300),
        ),
        Err(_) => trouble(TroubleKind::Unknown, format!("Secret {name} could not be read in time")),
    }
}

fn value(secret: Option<&Secret>, namespace: &str, from: &SecretKey) -> Result<String, Trouble> {
    let SecretKey { name, key } = from;
    let found = secret.and_then(|s| s.data.as_ref()).and_then(|d| d.get(key));
    let trouble = |message: String| Err(Trouble { kind: TroubleKind::NoSecret, message });
    match found.map(|bytes| String::from_utf8(bytes.0.clone())) {
        Some(Ok(text)) => Ok(text),
        Some(Err(_)) => trouble(format!("key {key} of Secret {name} in namespace {namespace} is not text")),
        None => trouble(format!("Secret {name} in namespace {namespace} has no key {key}; add it")),
    }
}
