//! What is not in dev, said clearly; and the rules of [`crate::api::admission`], kept natively: only the controller
//! writes status, locks and journals, and whoever approves, forces or skips does it in his own name. There is no
//! RBAC here, so what those policies ask an authorizer is always allowed.

use crate::api::{CONTROLLER_USER, GROUP};
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

/// A write that is about to be made.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// Who makes it.
    pub user: &'a str,
    /// The group of the kind.
    pub group: &'a str,
    /// The kind, plural.
    pub plural: &'a str,
    /// `status`, or nothing.
    pub subresource: &'a str,
    /// The object after it; `None` for a deletion.
    pub new: Option<&'a Value>,
    /// The object before it; `None` for a creation.
    pub old: Option<&'a Value>,
}

/// The rules.
///
/// # Errors
/// Which policy says no, and why.
pub fn rules(attempt: &Attempt<'_>) -> Result<(), String> {
    if attempt.group != GROUP || attempt.user == CONTROLLER_USER {
        return Ok(());
    }
    let denied = |policy: &str, why: &str| {
        Err(format!("ValidatingAdmissionPolicy '{policy}' with binding '{policy}' denied request: {why}"))
    };
    match (attempt.plural, attempt.subresource) {
        ("dataoperations" | "dataloads" | "cacheclusters", "status") => denied(
            "ratchet-status",
            "only the Ratchet controller writes status; use spec.control to steer an operation",
        ),
        ("targetlocks" | "operationjournals", _) if !cleaning(attempt) => {
            denied("ratchet-records", "only the Ratchet controller writes locks and journals")
        }
        ("dataoperations", "") => {
            for verb in ["approve", "force", "skip"] {
                let of =
                    |o: Option<&Value>| o.map(|o| o["spec"]["control"][verb].clone()).unwrap_or_default();
                let (new, old) = (of(attempt.new), of(attempt.old));
                if !new.is_null() && new != old && new["by"] != attempt.user {
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
fn cleaning(attempt: &Attempt<'_>) -> bool {
    attempt.new.is_none() && super::users::system().name == attempt.user
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn attempt<'a>(
        user: &'a str,
        plural: &'a str,
        new: Option<&'a Value>,
        old: Option<&'a Value>,
    ) -> Attempt<'a> {
        Attempt { user, group: GROUP, plural, subresource: "", new, old }
    }

    #[test]
    fn only_the_controller_writes_status_locks_and_journals() {
        let object = json!({});
        for plural in ["targetlocks", "operationjournals"] {
            assert!(rules(&attempt("dev", plural, Some(&object), None)).is_err());
            assert!(rules(&attempt("dev", plural, None, Some(&object))).is_err());
            assert!(rules(&attempt(CONTROLLER_USER, plural, Some(&object), None)).is_ok());
        }
        let status =
            Attempt { subresource: "status", ..attempt("dev", "dataloads", Some(&object), Some(&object)) };
        assert!(rules(&status).is_err());
        assert!(rules(&Attempt { user: CONTROLLER_USER, ..status }).is_ok());
    }

    #[test]
    fn whoever_approves_does_it_in_his_own_name() {
        let plain = json!({"spec": {}});
        let own = json!({"spec": {"control": {"approve": {"by": "dev"}}}});
        let other = json!({"spec": {"control": {"approve": {"by": "boss"}}}});
        let on = "dataoperations";
        assert!(rules(&attempt("dev", on, Some(&own), Some(&plain))).is_ok());
        assert!(rules(&attempt("dev", on, Some(&other), Some(&plain))).is_err());
        assert!(rules(&attempt("dev", on, Some(&other), Some(&other))).is_ok(), "it was there before");
        assert!(rules(&attempt("dev", on, Some(&plain), Some(&other))).is_ok(), "taking it back is free");
    }

    #[test]
    fn what_is_not_there_is_said() {
        let message = served("/api/v1/namespaces/default/pods/p/log", "").unwrap_err();
        assert!(message.starts_with("not in dev: logs"), "{message}");
        assert!(served("/api/v1/namespaces/default/configmaps/log", "application/json").is_ok());
        assert!(served("/api/v1/namespaces/default/configmaps/c", "application/apply-patch+yaml").is_err());
    }
}
