//! What is there from the first start: the kinds, a namespace for the controller's account, a CacheCluster `local`,
//! a few files to load, and documents to try. What somebody deleted later stays deleted; kinds are brought to this version at each start.

use super::{DevError, users};
use crate::api::{GROUP, VERSION};
use ::http::Method;
use bytes::Bytes;
use ratchet_simulator::api::{Reply, Request, Server};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// The under-storage: the given directory, or one with samples in the data directory.
///
/// # Errors
/// [`DevError::Data`].
pub fn under_storage(data: &Path, given: Option<&Path>) -> Result<PathBuf, DevError> {
    if let Some(path) = given {
        return fs::canonicalize(path).map_err(DevError::data(path));
    }
    let ufs = data.join("ufs");
    if !ufs.exists() {
        // Made aside and renamed, so that a crash leaves no half of it.
        let aside = data.join("ufs.new");
        samples(&aside).and_then(|()| fs::rename(&aside, &ufs)).map_err(DevError::data(&ufs))?;
    }
    Ok(ufs)
}

/// A dozen files in three folders, about 12 MiB.
fn samples(directory: &Path) -> std::io::Result<()> {
    const FOLDERS: [(&str, usize, usize); 3] =
        [("data/images", 6, 1 << 20), ("data/tables", 4, 1 << 20), ("data/old", 3, 256 << 10)];
    for (folder, files, bytes) in FOLDERS {
        let folder = directory.join(folder);
        fs::create_dir_all(&folder)?;
        for n in 0..files {
            // Every file is different from its first byte on.
            let line = format!("{} part {n} of {files}\n", folder.file_name().unwrap_or_default().display());
            let text: Vec<u8> = line.bytes().cycle().take(bytes).collect();
            fs::write(folder.join(format!("part-{n}.bin")), text)?;
        }
    }
    Ok(())
}

/// Documents to try, for the cache and the files that are there from the start.
const EXAMPLES: [(&str, &str); 2] = [
    (
        "load.yaml",
        "# Brings every file into the cache: kubectl apply -f this\n\
         apiVersion: ratchet.dev/v1alpha1\nkind: DataLoad\nmetadata:\n  name: warm\n\
         spec:\n  target: local\n  paths:\n    - /\n",
    ),
    (
        "free.yaml",
        "# Drops a part of them from the cache; the files themselves stay.\n\
         apiVersion: ratchet.dev/v1alpha1\nkind: DataOperation\nmetadata:\n  name: free-old\n\
         spec:\n  target: local\n  operation:\n    free:\n      paths:\n        - /data/old\n",
    ),
];

/// Writes documents to try into `examples` of the data directory; gives back the first one.
///
/// # Errors
/// [`DevError::Data`].
pub fn examples(data: &Path) -> Result<PathBuf, DevError> {
    let folder = data.join("examples");
    fs::create_dir_all(&folder).map_err(DevError::data(&folder))?;
    for (name, text) in EXAMPLES {
        fs::write(folder.join(name), text).map_err(DevError::data(&folder))?;
    }
    // A second store, to be mounted.
    let more = data.join("more");
    fs::create_dir_all(&more).map_err(DevError::data(&more))?;
    fs::write(more.join("note.txt"), "This file is in the second store.\n").map_err(DevError::data(&more))?;
    let more = fs::canonicalize(&more).map_err(DevError::data(&more))?;
    fs::write(folder.join("mount.yaml"), mount_example(&more)).map_err(DevError::data(&folder))?;
    fs::write(folder.join("dataset.yaml"), dataset_example(&more)).map_err(DevError::data(&folder))?;
    Ok(folder.join(EXAMPLES[0].0))
}

fn mount_example(store: &Path) -> String {
    // JSON is YAML, whatever characters the path has.
    let uri = json!(store.display().to_string());
    format!(
        "# Lets another directory of this machine appear in the cache at /more.\n\
         apiVersion: ratchet.dev/v1alpha1\nkind: DataOperation\nmetadata:\n  name: mount-more\n\
         spec:\n  target: local\n  operation:\n    mount:\n      path: /more\n      uri: {uri}\n      readOnly: true\n"
    )
}

fn dataset_example(store: &Path) -> String {
    let uri = json!(store.display().to_string());
    format!(
        "# The same as a Dataset: edit it, and each edit becomes one operation. Delete it, and it is unmounted.\n\
         apiVersion: ratchet.dev/v1alpha1\nkind: Dataset\nmetadata:\n  name: more\n\
         spec:\n  cluster: local\n  mounts:\n    - path: /more\n      uri: {uri}\n      readOnly: true\n"
    )
}

/// Creates what is missing.
///
/// # Errors
/// [`DevError::Install`].
pub fn install(server: &Server) -> Result<(), DevError> {
    const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let broken =
        |e: &dyn std::fmt::Display| DevError::Install { object: "the kinds".into(), why: e.to_string() };
    let crds = crate::api::crd::dev().map_err(|e| broken(&e))?;
    let first = server.objects("customresourcedefinitions").is_empty();
    for (_, crd) in crds {
        ensure(server, CRDS, crd, true)?;
    }
    if first {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ratchet-system"}});
        ensure(server, "/api/v1/namespaces", namespace, false)?;
        let clusters = format!("/apis/{GROUP}/{VERSION}/namespaces/default/cacheclusters");
        ensure(server, &clusters, cache_cluster(), false)?;
    }
    Ok(())
}

/// Slow enough that one can watch a load of the samples, which takes some seconds.
fn cache_cluster() -> Value {
    json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": "CacheCluster",
        "metadata": {"name": "local", "namespace": "default"},
        "spec": {"engine": "Local", "local": {"workers": 2, "bytesPerSecond": 2 << 20}},
    })
}

/// Creates an object; or, when asked to, brings the spec of the one that is there to what it should be.
fn ensure(server: &Server, path: &str, object: Value, update: bool) -> Result<(), DevError> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let refused = |why: String| DevError::Install { object: format!("{} {name}", object["kind"]), why };
    let one = format!("{path}/{name}");
    let (code, stored) = call(server, Method::GET, &one, None);
    let (method, uri, body) = match code {
        404 => (Method::POST, path, object.clone()),
        200 if update && stored["spec"] != object["spec"] => {
            let mut body = stored;
            body["spec"] = object["spec"].clone();
            (Method::PUT, one.as_str(), body)
        }
        200 => return Ok(()),
        _ => return Err(refused(message(&stored))),
    };
    match call(server, method, uri, Some(&body)) {
        (200..=299, _) => Ok(()),
        (_, answer) => Err(refused(message(&answer))),
    }
}

fn message(status: &Value) -> String {
    status["message"].as_str().unwrap_or("no reason was given").to_owned()
}

fn call(server: &Server, method: Method, uri: &str, body: Option<&Value>) -> (u16, Value) {
    let request = Request {
        method,
        uri: uri.to_owned(),
        content_type: "application/json".into(),
        accept: "application/json".into(),
        body: body.map_or_else(Bytes::new, |b| Bytes::from(b.to_string())),
        user: users::system(),
    };
    match server.call(&request) {
        Reply::Whole(answer) => (answer.code, serde_json::from_slice(&answer.body).unwrap_or_default()),
        Reply::Watch(_) => (500, Value::Null),
    }
}
