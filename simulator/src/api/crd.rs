//! CustomResourceDefinitions: creating one serves its kinds, changing one serves them in the new shape, deleting one
//! deletes their objects and ends their watches.

use super::failure::{Answer, Failure};
use super::store::State;
use super::{Column, Kind, builtin, meta, route};
use crate::schema::{Cause, Schema};
use serde_json::{Value, json};
use std::sync::Arc;

/// The table of the definitions.
pub(crate) const TABLE: &str = "customresourcedefinitions.apiextensions.k8s.io";

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

/// The kinds of a definition, one for each served version, with whether it is the one that is stored.
///
/// # Errors
/// What is wrong with a schema.
fn kinds(crd: &Value) -> Result<Vec<(Arc<Kind>, bool)>, Cause> {
    let spec = &crd["spec"];
    let names = &spec["names"];
    let mut out = Vec::new();
    for (i, version) in spec["versions"].as_array().into_iter().flatten().enumerate() {
        let invalid = |field: String, message: String| Cause {
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {message}"),
            field: format!("spec.versions[{i}].{field}"),
        };
        let schema = &version["schema"]["openAPIV3Schema"];
        let schema = Schema::compile(schema)
            .map_err(|e| invalid(format!("schema.openAPIV3Schema.{}", e.field), e.message))?;
        if version["served"] != true {
            continue;
        }
        let columns = version["additionalPrinterColumns"].as_array().into_iter().flatten();
        let selectable = version["selectableFields"].as_array().into_iter().flatten();
        let kind = Kind {
            group: text(&spec["group"]),
            version: text(&version["name"]),
            kind: text(&names["kind"]),
            list_kind: text(&names["listKind"]),
            plural: text(&names["plural"]),
            singular: text(&names["singular"]),
            short_names: texts(&names["shortNames"]),
            categories: texts(&names["categories"]),
            namespaced: spec["scope"] == "Namespaced",
            status: version["subresources"]["status"].is_object(),
            columns: columns.map(column).collect(),
            selectable: selectable.map(|f| text(&f["jsonPath"])).collect(),
            schema: Some(Arc::new(schema)),
        };
        out.push((Arc::new(kind), version["storage"] == true));
    }
    Ok(out)
}

fn column(column: &Value) -> Column {
    Column {
        name: text(&column["name"]),
        type_: text(&column["type"]),
        path: text(&column["jsonPath"]),
        description: text(&column["description"]),
        priority: column["priority"].as_i64().unwrap_or_default(),
    }
}

/// What is wrong with a definition.
pub(crate) fn check(kind: &Kind, crd: &Value) -> Vec<Cause> {
    if !builtin::is_crd(kind) {
        return Vec::new();
    }
    let mut causes = Vec::new();
    let spec = &crd["spec"];
    let expected = format!("{}.{}", text(&spec["names"]["plural"]), text(&spec["group"]));
    let name = meta::name(crd);
    if name != expected {
        let message = format!("Invalid value: \"{name}\": must be spec.names.plural+\".\"+spec.group");
        causes.push(Cause { reason: "FieldValueInvalid", message, field: "metadata.name".into() });
    }
    causes.extend(kinds(crd).err());
    causes
}

impl State {
    /// Serves the kinds of a stored definition, and says so in its status.
    pub(crate) fn establish(&mut self, key: &str) -> Answer<()> {
        let Some(entry) = self.get(TABLE, key).cloned() else { return Ok(()) };
        let mut crd = (*entry.value).clone();
        self.define(&crd)?;
        let at = meta::time((self.options.now)());
        let condition = |type_: &str, reason: &str, message: &str| {
            json!({
                "type": type_, "status": "True", "lastTransitionTime": at, "reason": reason, "message": message,
            })
        };
        if crd["status"]["conditions"].is_null() {
            crd["status"]["conditions"] = json!([
                condition("NamesAccepted", "NoConflicts", "no conflicts found"),
                condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
            ]);
        }
        crd["status"]["acceptedNames"] = crd["spec"]["names"].clone();
        if crd != *entry.value {
            self.put(TABLE, key, crd)?;
        }
        Ok(())
    }

    /// Serves the kinds of a definition.
    pub(crate) fn define(&mut self, crd: &Value) -> Answer<()> {
        let kinds = kinds(crd).map_err(|cause| Failure::internal(&cause.message))?;
        let table = meta::name(crd).to_owned();
        self.routes.retain(|_, (name, _)| *name != table);
        for (kind, storage) in &kinds {
            self.serve(&table, kind, *storage);
        }
        Ok(())
    }

    /// Stops to serve the kinds of a definition: their objects go, their watches end.
    pub(crate) fn unserve(&mut self, crd: &Value) -> Answer<()> {
        let table = meta::name(crd).to_owned();
        let Some(found) = self.tables.get(&table) else { return Ok(()) };
        let all: Vec<(String, Value)> =
            found.objects.iter().map(|(key, entry)| (key.clone(), (*entry.value).clone())).collect();
        for (key, last) in all {
            self.drop_object(&table, &key, last)?;
        }
        self.routes.retain(|_, (name, _)| *name != table);
        if let Some(gone) = self.tables.remove(&table) {
            gone.lines.iter().filter_map(std::sync::Weak::upgrade).for_each(|line| line.close());
        }
        Ok(())
    }

    /// The kinds that are served now.
    pub(crate) fn kinds(&self) -> Vec<Arc<Kind>> {
        self.routes.values().map(|(_, kind)| kind.clone()).collect()
    }

    /// The table and the kind of an apiVersion and a kind.
    pub(crate) fn find(&self, api_version: &str, kind: &str) -> Option<(&str, &Arc<Kind>)> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let begin = route::key(group, version, "");
        self.routes
            .range(begin.clone()..)
            .take_while(|(key, _)| key.starts_with(&begin))
            .find(|(_, (_, k))| k.kind == kind)
            .map(|(_, (table, k))| (table.as_str(), k))
    }
}
