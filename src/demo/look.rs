//! Looking at objects as a person does: `kubectl get` by the server's own tables, and waiting until something is so.

use super::{Demo, DemoError};
use crate::api::{DataOperation, GROUP, VERSION};
use kube::{Api, Client};
use serde_json::Value;
use std::time::Duration;

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(40);
/// After this, what was waited for does not happen any more.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What `kubectl get` prints for objects of a kind of Ratchet: for these names, or for all without names. The columns
/// come from the server.
///
/// # Errors
/// [`DemoError::Api`].
pub async fn table(client: &Client, plural: &str, names: &[&str]) -> Result<Vec<String>, DemoError> {
    let request = http::Request::get(format!("/apis/{GROUP}/{VERSION}/namespaces/default/{plural}"))
        .header("Accept", "application/json;as=Table;g=meta.k8s.io;v=v1")
        .body(Vec::new())
        .map_err(|e| DemoError::Document(e.to_string()))?;
    let table: Value = client.request(request).await?;
    Ok(rendered(&table, names))
}

fn rendered(table: &Value, names: &[&str]) -> Vec<String> {
    let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
    let columns = list(&table["columnDefinitions"]);
    let shown: Vec<usize> = (0..columns.len()).filter(|&i| columns[i]["priority"] == 0).collect();
    let title = |i: &usize| columns[*i]["name"].as_str().unwrap_or_default().to_uppercase();
    let mut lines: Vec<Vec<String>> = vec![shown.iter().map(title).collect()];
    let mut rows: Vec<Vec<Value>> = list(&table["rows"]).iter().map(|row| list(&row["cells"])).collect();
    if !names.is_empty() {
        let place = |row: &Vec<Value>| names.iter().position(|n| row.first().is_some_and(|c| c == n));
        rows.retain(|row| place(row).is_some());
        rows.sort_by_key(place);
    }
    lines.extend(rows.iter().map(|row| shown.iter().map(|&i| cell(row.get(i))).collect()));
    let width = |i: usize| lines.iter().map(|l| l[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..shown.len()).map(width).collect();
    let line = |cells: &Vec<String>| {
        let padded = cells.iter().zip(&widths).map(|(c, &w)| format!("{c:<w$}   "));
        padded.collect::<String>().trim_end().to_owned()
    };
    lines.iter().map(line).collect()
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Waits until `look` gives something.
///
/// # Errors
/// [`DemoError::Slow`], or what `look` gives.
pub async fn until<T, F>(what: &str, mut look: impl FnMut() -> F) -> Result<T, DemoError>
where
    F: Future<Output = Result<Option<T>, DemoError>>,
{
    let looking = async {
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let slow = |_| DemoError::Slow { what: what.into(), seconds: PATIENCE.as_secs() };
    tokio::time::timeout(PATIENCE, looking).await.map_err(slow)?
}

impl Demo {
    /// An operation as it is now, if it is there.
    ///
    /// # Errors
    /// [`DemoError::Api`].
    pub async fn operation(&self, name: &str) -> Result<Option<DataOperation>, DemoError> {
        Ok(Api::<DataOperation>::namespaced(self.stage.client.clone(), "default").get_opt(name).await?)
    }

    /// The operation, as soon as `is` says so.
    ///
    /// # Errors
    /// [`DemoError`].
    pub async fn operation_that(
        &self,
        name: &str,
        what: &str,
        is: impl Fn(&DataOperation) -> bool,
    ) -> Result<DataOperation, DemoError> {
        until(&format!("\"{name} {what}\""), || async { Ok(self.operation(name).await?.filter(&is)) }).await
    }

    /// Shows what `kubectl get` shows of these objects.
    ///
    /// # Errors
    /// [`DemoError`].
    pub async fn show(&self, plural: &str, names: &[&str]) -> Result<(), DemoError> {
        self.say.command(format_args!("kubectl get {plural}.{GROUP} {}", names.join(" ")))?;
        self.say.printed(table(&self.stage.client, plural, names).await?)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_is_written_as_kubectl_writes_it() {
        let table = json!({
            "columnDefinitions": [
                {"name": "Name", "priority": 0}, {"name": "Wide", "priority": 1}, {"name": "Phase", "priority": 0},
            ],
            "rows": [{"cells": ["a", "x", "Queued"]}, {"cells": ["longer", "x", null]}],
        });
        assert_eq!(rendered(&table, &[]), ["NAME     PHASE", "a        Queued", "longer"]);
        assert_eq!(rendered(&table, &["a"]), ["NAME   PHASE", "a      Queued"]);
        let turned = rendered(&table, &["longer", "a"]);
        assert_eq!(turned[1..], ["longer", "a        Queued"], "in the order of the names");
    }
}
