//! A second store, declared as a Dataset: it is mounted, its edit becomes one operation although nobody is there when it
//! comes, and its deletion unmounts it.

use super::look;
use super::stage::CLUSTER;
use super::{Demo, DemoError, error::claim};
use crate::api::{DataOperation, Dataset};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use ratchet_state_machine::effect::{Answer, Query};
use ratchet_state_machine::mounts::MountView;
use serde_json::json;
use std::fs;

/// Name of the Dataset, and its place in the cache.
const MORE: (&str, &str) = ("more", "/more");
/// Files of its store, and bytes of each.
const FILES: (i64, usize) = (12, 1_000);

impl Demo {
    /// From the declaration to the deletion.
    pub(super) async fn dataset(&mut self) -> Result<(), DemoError> {
        self.say.step(
            "A dataset",
            "Mounts are declared. Each edit becomes one operation, with a lock, a history and an end.",
        )?;
        let store = self.home.join("second");
        fs::create_dir_all(&store).map_err(DemoError::scratch(&store))?;
        for n in 0..FILES.0 {
            let file = store.join(format!("{n:02}.bin"));
            fs::write(&file, vec![7; FILES.1]).map_err(DemoError::scratch(&file))?;
        }
        let mounts = json!([{"path": MORE.1, "uri": store.display().to_string()}]);
        let spec = json!({"cluster": CLUSTER, "mounts": mounts});
        self.apply::<Dataset>("Dataset", MORE.0, spec).await?;
        let bound = |d: &Dataset| d.status.as_ref().is_some_and(|s| s.phase == "Bound" && s.files == FILES.0);
        self.dataset_that("is Bound, with its files counted", bound).await?;
        self.show("datasets", &[MORE.0]).await?;
        claim(self.mounted()?.is_some_and(|m| !m.read_only), || "the store is not mounted".into())?;
        self.say
            .holds(format_args!("Bound: {} files of a second store are in the cache's namespace", FILES.0))?;

        self.say.line("An edit, while no controller is there to see it:")?;
        self.kill().await?;
        let edit = json!({"spec": {"mounts": [{"path": MORE.1, "uri": store.display().to_string(), "readOnly": true}]}});
        self.say.command(format_args!(
            "kubectl patch dset {} --type merge -p '{{... readOnly: true}}'",
            MORE.0
        ))?;
        let api: Api<Dataset> = Api::namespaced(self.stage.client.clone(), "default");
        api.patch(MORE.0, &PatchParams::default(), &Patch::Merge(&edit)).await?;
        self.successor().await?;
        let seen = |d: &Dataset| {
            let seen = d.status.as_ref().filter(|s| Some(s.observed_generation) == d.metadata.generation);
            seen.is_some_and(|s| s.phase == "Bound")
        };
        self.dataset_that("is Bound again", seen).await?;
        claim(self.mounted()?.is_some_and(|m| m.read_only), || "the mount is not read-only".into())?;
        let names = self.mount_operations().await?;
        self.show("dataoperations", &names.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        claim(names.len() == 2, || format!("two edits became {} operations", names.len()))?;
        self.say.holds("two edits, two operations; the mount was changed and never removed")?;

        self.say.command(format_args!("kubectl delete dset {}", MORE.0))?;
        api.delete(MORE.0, &DeleteParams::default()).await?;
        look::until("that the Dataset is gone", || async {
            Ok(api.get_opt(MORE.0).await?.is_none().then_some(()))
        })
        .await?;
        claim(self.mounted()?.is_none(), || "the store is still mounted".into())?;
        let left = fs::read_dir(&store).map_err(DemoError::scratch(&store))?.count();
        claim(i64::try_from(left) == Ok(FILES.0), || format!("{left} files are left in the store"))?;
        Ok(self
            .say
            .holds(format_args!("it is unmounted before it is gone; the store has its {left} files"))?)
    }

    async fn dataset_that(&self, what: &str, is: impl Fn(&Dataset) -> bool) -> Result<Dataset, DemoError> {
        let api: Api<Dataset> = Api::namespaced(self.stage.client.clone(), "default");
        look::until(&format!("\"{} {what}\"", MORE.0), || async {
            Ok(api.get_opt(MORE.0).await?.filter(&is))
        })
        .await
    }

    /// What is mounted there, as the cache has it.
    fn mounted(&self) -> Result<Option<MountView>, DemoError> {
        match self.stage.cache()?.inspect(&Query::Mounts { count: None, secrets: false }) {
            Ok(Answer::Mounts(table)) => Ok(table.at(MORE.1).cloned()),
            Ok(other) => Err(DemoError::NotSo(format!("the cache answers {other:?}"))),
            Err(trouble) => Err(DemoError::NotSo(format!("the cache does not answer: {}", trouble.message))),
        }
    }

    /// Names of the operations that edits of the Dataset became.
    async fn mount_operations(&self) -> Result<Vec<String>, DemoError> {
        let api: Api<DataOperation> = Api::namespaced(self.stage.client.clone(), "default");
        let all = api.list(&ListParams::default()).await?.items;
        let kind = |o: &DataOperation| o.status.as_ref().is_some_and(|s| s.kind == "mount");
        Ok(all.into_iter().filter(kind).filter_map(|o| o.metadata.name).collect())
    }
}
