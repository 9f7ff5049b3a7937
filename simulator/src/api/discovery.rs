//! What the server says of itself: version, groups, resources, health; schemas are in [`super::openapi`].
//!
//! ```text
//!   /version   /healthz   /api   /apis          /api/v1  /apis/G  /apis/G/V        /openapi/v3...
//!                         aggregated when the client can read it (kubectl asks for that first)
//! ```

use super::{Kind, Response, openapi};
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The version that is claimed: the one whose server this is held against.
const MINOR: &str = "36";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// The answer to `path` (without its query), if it is one of discovery.
pub(crate) fn answer(kinds: &[Arc<Kind>], path: &str, accept: &str) -> Option<Response> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let aggregated = accept.contains("as=APIGroupDiscoveryList") && accept.contains("v=v2;");
    let groups = groups(kinds);
    match parts.as_slice() {
        ["healthz" | "livez" | "readyz", ..] => Some(whole("text/plain", b"ok".to_vec())),
        ["version"] => Some(json(&version())),
        ["api"] if aggregated => Some(aggregate(&groups, |g| g.is_empty())),
        ["apis"] if aggregated => Some(aggregate(&groups, |g| !g.is_empty())),
        ["api"] => Some(json(&json!({
            "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [],
        }))),
        ["apis"] => {
            let named = groups.iter().filter(|(group, _)| !group.is_empty());
            let all: Vec<Value> = named.map(|(group, versions)| describe_group(group, versions)).collect();
            Some(json(&json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": all})))
        }
        ["api", version] => Some(json(&resources(groups.get("")?.get(version)?))),
        ["apis", group] => {
            let mut answer = describe_group(group, groups.get(group)?);
            answer["kind"] = json!("APIGroup");
            answer["apiVersion"] = json!("v1");
            Some(json(&answer))
        }
        ["apis", group, version] => Some(json(&resources(groups.get(group)?.get(version)?))),
        ["openapi", "v3"] => Some(json(&openapi::index(
            groups
                .iter()
                .flat_map(|(group, versions)| versions.keys().map(move |version| (*group, *version))),
        ))),
        ["openapi", "v3", "api", version] => Some(json(&openapi::document(groups.get("")?.get(version)?))),
        ["openapi", "v3", "apis", group, version] => {
            Some(json(&openapi::document(groups.get(group)?.get(version)?)))
        }
        _ => None,
    }
}

type Groups<'a> = BTreeMap<&'a str, BTreeMap<&'a str, Vec<&'a Kind>>>;

fn groups(kinds: &[Arc<Kind>]) -> Groups<'_> {
    let mut groups = Groups::new();
    for kind in kinds {
        groups.entry(&kind.group).or_default().entry(&kind.version).or_default().push(kind);
    }
    groups
}

fn version() -> Value {
    json!({
        "major": "1", "minor": MINOR, "gitVersion": format!("v1.{MINOR}.0+ratchet.dev"),
        "gitCommit": "", "gitTreeState": "", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "", "compiler": "rustc", "platform": std::env::consts::OS,
    })
}

fn gvk(kind: &Kind) -> Value {
    json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
}

fn aggregate(groups: &Groups<'_>, which: impl Fn(&str) -> bool) -> Response {
    let mut items = Vec::new();
    for (group, versions) in groups.iter().filter(|(group, _)| which(group)) {
        let versions: Vec<Value> = versions
            .iter()
            .map(|(version, kinds)| {
                let resources: Vec<Value> = kinds.iter().map(|k| aggregated_resource(k)).collect();
                json!({"version": version, "resources": resources, "freshness": "Current"})
            })
            .collect();
        items.push(json!({"metadata": {"name": group, "creationTimestamp": null}, "versions": versions}));
    }
    let list = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
    });
    whole(AGGREGATED, list.to_string().into_bytes())
}

fn aggregated_resource(kind: &Kind) -> Value {
    let mut resource = json!({
        "resource": kind.plural, "singularResource": kind.singular, "responseKind": gvk(kind),
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" }, "verbs": VERBS,
        "shortNames": kind.short_names, "categories": kind.categories,
    });
    if kind.status {
        resource["subresources"] = json!([{
            "subresource": "status", "responseKind": gvk(kind), "verbs": ["get", "patch", "update"],
        }]);
    }
    resource
}

fn describe_group(group: &str, versions: &BTreeMap<&str, Vec<&Kind>>) -> Value {
    let entry = |version: &&str| json!({"groupVersion": format!("{group}/{version}"), "version": version});
    let all: Vec<Value> = versions.keys().map(entry).collect();
    let preferred = all.last().cloned().unwrap_or_default();
    json!({"name": group, "versions": all, "preferredVersion": preferred})
}

fn resources(kinds: &[&Kind]) -> Value {
    let mut all = Vec::new();
    for kind in kinds {
        all.push(json!({
            "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced,
            "kind": kind.kind, "verbs": VERBS, "shortNames": kind.short_names, "categories": kind.categories,
        }));
        if kind.status {
            all.push(json!({
                "name": format!("{}/status", kind.plural), "singularName": "", "namespaced": kind.namespaced,
                "kind": kind.kind, "verbs": ["get", "patch", "update"],
            }));
        }
    }
    let version = kinds.first().map(|k| k.api_version()).unwrap_or_default();
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": all})
}

fn json(value: &Value) -> Response {
    whole("application/json", value.to_string().into_bytes())
}

fn whole(content_type: &'static str, body: Vec<u8>) -> Response {
    Response { code: 200, content_type, headers: Vec::new(), body: Bytes::from(body) }
}
