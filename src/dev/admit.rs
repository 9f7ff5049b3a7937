//! What is not in dev, said clearly; and the rules of [`crate::api::admission`], kept natively: only the controller
//! writes status, locks and journals, and whoever approves, forces or skips does it in his own name. There is no
//! RBAC here, so what those policies ask an authorizer is always allowed.

use crate::api::{CONTROLLER_USER, GROUP};
use ratchet_simulator::api::Admission;
use serde_json::Value;

/// Whether this is something that dev offers at all.
///
/// # Errors
/// The sentence for the user.
pub fn served(path: &str, content_type: &str) -> Result<(), String> {
    const OF_PODS: [(&str, &str); 4] =
        [("/log", "logs"), ("/exec", "exec"), ("/attach", "attach"), ("/portforward", "port-forward")];
    if content_type.starts_with("application/apply-patch") {
        return Err("not in dev: server-side apply; leave out --server-side".into());
    }
    for (end, what) in OF_PODS {
        if path.contains("/pods/") && path.ends_with(end) {
            return Err(format!("not in dev: {what}; there are no containers"));
        }
    }
    Ok(())
}

/// The rules.
///
/// # Errors
/// Which policy says no, and why.
pub fn rules(write: &Admission<'_>) -> Result<(), String> {
    let user = write.user.name.as_str();
    if write.kind.group != GROUP || user == CONTROLLER_USER {
        return Ok(());
    }
    let denied = |policy: &str, why: &str| {
        Err(format!("ValidatingAdmissionPolicy '{policy}' with binding '{policy}' denied request: {why}"))
    };
    match (write.kind.plural.as_str(), write.subresource) {
        ("dataoperations" | "dataloads" | "upgrades" | "cacheclusters" | "datasets", "status") => denied(
            "ratchet-status",
            "only the Ratchet controller writes status; use spec.control to steer an operation",
        ),
        ("targetlocks" | "operationjournals", _) if !cleaning(write) => {
            denied("ratchet-records", "only the Ratchet controller writes locks and journals")
        }
        ("dataoperations", "") => {
            for verb in ["approve", "force", "skip"] {
                let of =
                    |o: Option<&Value>| o.map(|o| o["spec"]["control"][verb].clone()).unwrap_or_default();
                let (new, old) = (of(write.object), of(write.old));
                if !new.is_null() && new != old && new["by"] != user {
                    let why = format!("control.{verb}.by has to be your own user name");
                    return denied("ratchet-operations", &why);
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The control plane deletes what belongs to a vanished owner or namespace.
fn cleaning(write: &Admission<'_>) -> bool {
    write.object.is_none() && (write.namespace_terminating || write.user.name == super::users::system().name)
}

#[cfg(test)]
mod tests {
    use super::super::users;
    use super::*;
    use ratchet_simulator::api::{Kind, User};
    use serde_json::json;

    fn kind(plural: &str) -> Kind {
        Kind {
            group: GROUP.into(),
            version: "v1alpha1".into(),
            kind: String::new(),
            list_kind: String::new(),
            plural: plural.into(),
            singular: String::new(),
            short_names: Vec::new(),
            categories: Vec::new(),
            namespaced: true,
            status: true,
            columns: Vec::new(),
            selectable: Vec::new(),
            schema: None,
        }
    }

    fn write(user: &User, plural: &str, sub: &str, object: Option<&Value>, old: Option<&Value>) -> bool {
        let (kind, namespace_terminating) = (kind(plural), false);
        let operation = "UPDATE";
        rules(&Admission {
            operation,
            kind: &kind,
            subresource: sub,
            user,
            object,
            old,
            namespace_terminating,
        })
        .is_ok()
    }

    #[test]
    fn only_the_controller_writes_status_locks_and_journals() {
        let (dev, controller, object) = (users::dev(), users::controller(), json!({}));
        for plural in ["targetlocks", "operationjournals"] {
            assert!(!write(&dev, plural, "", Some(&object), None));
            assert!(!write(&dev, plural, "", None, Some(&object)));
            assert!(write(&users::system(), plural, "", None, Some(&object)), "the control plane cleans up");
            assert!(write(&controller, plural, "", Some(&object), None));
        }
        assert!(!write(&dev, "dataloads", "status", Some(&object), Some(&object)));
        assert!(write(&controller, "dataloads", "status", Some(&object), Some(&object)));
    }

    #[test]
    fn whoever_approves_does_it_in_his_own_name() {
        let plain = json!({"spec": {}});
        let own = json!({"spec": {"control": {"approve": {"by": "dev"}}}});
        let other = json!({"spec": {"control": {"approve": {"by": "boss"}}}});
        let edit = |new, old| write(&users::dev(), "dataoperations", "", Some(new), Some(old));
        assert!(edit(&own, &plain));
        assert!(!edit(&other, &plain));
        assert!(edit(&other, &other), "it was there before");
        assert!(edit(&plain, &other), "taking it back is free");
    }

    #[test]
    fn what_is_not_there_is_said() {
        let message = served("/api/v1/namespaces/default/pods/p/log", "").unwrap_err();
        assert!(message.starts_with("not in dev: logs"), "{message}");
        assert!(served("/api/v1/namespaces/default/configmaps/log", "application/json").is_ok());
        assert!(served("/api/v1/namespaces/default/configmaps/c", "application/apply-patch+yaml").is_err());
    }
}
