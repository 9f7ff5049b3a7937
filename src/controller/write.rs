//! Calls to the API server: each with a time-out of its own, each reply classified.

use super::Ctx;
use super::reply::{Reply, classify};
use crate::api::DataOperation;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, EvictParams, PostParams, Preconditions, PropagationPolicy};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

/// Which part of an object a patch changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Metadata and spec.
    Main,
    /// The status.
    Status,
}

/// Sends a JSON patch, once.
///
/// # Errors
/// What the reply means.
pub async fn patch<K, O>(ctx: &Ctx, api: &Api<K>, part: Part, name: &str, ops: &O) -> Result<K, Reply>
where
    K: kube::Resource + Clone + DeserializeOwned + std::fmt::Debug,
    O: Serialize + ?Sized,
{
    let sub = match part {
        Part::Main => "",
        Part::Status => "/status",
    };
    // kube's own call wants the operations as a type of its own, out of which it makes the same text again.
    let request = http::Request::patch(format!("{}/{name}{sub}", api.resource_url()));
    send(ctx, request, "application/json-patch+json", ops).await
}

/// Sends a request with this body, once.
async fn send<K, O>(ctx: &Ctx, request: http::request::Builder, kind: &str, body: &O) -> Result<K, Reply>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
    O: Serialize + ?Sized,
{
    let body =
        serde_json::to_vec(body).map_err(|e| Reply::Rule(format!("what is sent does not serialise: {e}")))?;
    let request = request
        .header(http::header::ACCEPT, "application/json")
        .header(http::header::CONTENT_TYPE, kind)
        .body(body)
        .map_err(|e| Reply::Rule(format!("there is no such request: {e}")))?;
    let reply = tokio::time::timeout(ctx.config.api_timeout, ctx.client.request(request));
    judge(ctx, reply.await)
}

/// Creates an object, once.
///
/// # Errors
/// What the reply means.
pub async fn create<K>(ctx: &Ctx, api: &Api<K>, object: &K) -> Result<K, Reply>
where
    K: Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    let params = PostParams::default();
    judge(ctx, tokio::time::timeout(ctx.config.api_timeout, api.create(&params, object)).await)
}

/// Creates an object from what is written here, once; a field that the API server does not know is an error. `dry`: it is
/// checked and not created.
///
/// # Errors
/// What the reply means.
pub async fn create_raw<K>(ctx: &Ctx, api: &Api<K>, body: &serde_json::Value, dry: bool) -> Result<K, Reply>
where
    K: kube::Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let dry = if dry { "&dryRun=All" } else { "" };
    let request = http::Request::post(format!("{}?fieldValidation=Strict{dry}", api.resource_url()));
    send(ctx, request, "application/json", body).await
}

/// Asks an operation to end: something newer takes its place, or its cache goes. Where that cannot be written, whoever asks
/// looks again.
pub async fn cancel(ctx: &Ctx, op: &DataOperation) {
    let api: Api<DataOperation> =
        Api::namespaced(ctx.client.clone(), op.metadata.namespace.as_deref().unwrap_or_default());
    let name = op.metadata.name.as_deref().unwrap_or_default();
    let ops = json!([
        {"op": "test", "path": "/metadata/uid", "value": op.uid()},
        {"op": "add", "path": "/spec/control/cancel", "value": true},
    ]);
    match patch(ctx, &api, Part::Main, name, &ops).await {
        Ok(op) => ctx.changed_operation(&ctx.operations.replace(op)),
        Err(reply) => tracing::info!(operation = name, ?reply, "it could not be cancelled yet"),
    }
}

/// Deletes an object if it is the one with this uid, once; what it owns goes after it. `version`: only if it is still as it
/// was then.
///
/// # Errors
/// What the reply means; that it is gone already is none.
pub async fn delete<K>(
    ctx: &Ctx,
    api: &Api<K>,
    name: &str,
    uid: &str,
    version: Option<String>,
) -> Result<(), Reply>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: version }),
        ..DeleteParams::default()
    };
    match judge(ctx, tokio::time::timeout(ctx.config.api_timeout, api.delete(name, &params)).await) {
        Ok(_) | Err(Reply::Gone) => Ok(()),
        Err(reply) => Err(reply),
    }
}

/// Asks for a pod's end, if it is the one with this uid, once; disruption budgets may say no for now.
///
/// # Errors
/// What the reply means: [`Reply::Busy`] where a budget says no, [`Reply::Conflict`] where it is another pod by now.
pub async fn evict(ctx: &Ctx, api: &Api<Pod>, name: &str, uid: &str) -> Result<(), Reply> {
    let preconditions = Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None });
    let params = EvictParams {
        delete_options: Some(DeleteParams { preconditions, ..DeleteParams::default() }),
        post_options: PostParams::default(),
    };
    judge(ctx, tokio::time::timeout(ctx.config.api_timeout, api.evict(name, &params)).await).map(|_| ())
}

/// A consistent read.
///
/// # Errors
/// What the reply means; never [`Reply::Gone`].
pub async fn get<K>(ctx: &Ctx, api: &Api<K>, name: &str) -> Result<Option<K>, Reply>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    ctx.metrics.consistent_read();
    judge(ctx, tokio::time::timeout(ctx.config.api_timeout, api.get_opt(name)).await)
}

fn judge<T>(
    ctx: &Ctx,
    reply: Result<Result<T, kube::Error>, tokio::time::error::Elapsed>,
) -> Result<T, Reply> {
    let reply = match reply {
        Ok(Ok(object)) => return Ok(object),
        Ok(Err(error)) => classify(Some(&error)),
        Err(_) => classify(None),
    };
    ctx.metrics.write_failed(reply.name());
    Err(reply)
}
