//! Lays a user's partial pod template over the one that Ratchet makes, as `kubectl patch` would by the names of things:
//! objects are merged, lists of what has a name are merged by it, other lists are replaced, null takes away.

use serde_json::Value;

/// What tells the items of a list apart, by the list's name; lists that are not here are replaced.
fn key_of(list: &str) -> Option<&'static str> {
    match list {
        "containers" | "initContainers" | "volumes" | "env" | "imagePullSecrets" => Some("name"),
        "volumeMounts" => Some("mountPath"),
        "ports" => Some("containerPort"),
        "topologySpreadConstraints" => Some("topologyKey"),
        "hostAliases" => Some("ip"),
        _ => None,
    }
}

/// `over` laid over `base`.
pub fn lay_over(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (name, value) in over {
                if value.is_null() {
                    base.remove(name);
                    continue;
                }
                match (base.get_mut(name), key_of(name)) {
                    (Some(Value::Array(old)), Some(key)) if value.is_array() => {
                        for item in value.as_array().into_iter().flatten() {
                            match old.iter_mut().find(|o| o[key] == item[key] && !item[key].is_null()) {
                                Some(same) => lay_over(same, item),
                                None => old.push(item.clone()),
                            }
                        }
                    }
                    (Some(old), _) => lay_over(old, value),
                    (None, _) => {
                        base.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        (_, Value::Null) => {}
        (base, over) => *base = over.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn things_with_names_are_merged_and_other_lists_replaced() {
        let mut base = json!({"spec": {
            "containers": [{"name": "alluxio", "env": [{"name": "A", "value": "1"}], "args": ["x", "y"]}],
            "tolerations": [{"key": "a"}],
            "securityContext": {"runAsUser": 1000, "fsGroup": 1000},
            "volumes": [{"name": "config"}],
        }});
        lay_over(
            &mut base,
            &json!({"metadata": {"labels": {"team": "ml"}}, "spec": {
                "containers": [
                    {"name": "alluxio", "env": [{"name": "A", "value": "2"}, {"name": "B", "value": "3"}]},
                    {"name": "side"},
                ],
                "tolerations": [{"key": "b"}],
                "securityContext": {"runAsUser": 0, "fsGroup": null},
                "volumes": [{"name": "data", "hostPath": {"path": "/data"}}],
            }}),
        );
        let wanted = json!({"metadata": {"labels": {"team": "ml"}}, "spec": {
            "containers": [
                {"name": "alluxio", "args": ["x", "y"],
                    "env": [{"name": "A", "value": "2"}, {"name": "B", "value": "3"}]},
                {"name": "side"},
            ],
            "tolerations": [{"key": "b"}],
            "securityContext": {"runAsUser": 0},
            "volumes": [{"name": "config"}, {"name": "data", "hostPath": {"path": "/data"}}],
        }});
        assert_eq!(base, wanted);
    }
}
