//! What a watch reads: an object, or why it is none that this controller knows. One object that cannot be read must not
//! stop the others.
//!
//! ```text
//!   text of the object --K--> Ok(object)
//!                     '-----> Err(why, metadata)
//! ```
//!
//! kube's own guard reads every object into a tree and the object out of a copy of the tree; here the text is kept and
//! read once, and a second time only when that fails. It has to come from `serde_json`, and an event has to name its
//! type before its object, as the API server's do.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// An object of a kind, or what can be said of one that cannot be read.
#[derive(Debug, Clone)]
pub struct Guarded<K>(pub Result<K, Unreadable>);

/// An object that cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{error}")]
pub struct Unreadable {
    /// Why.
    pub error: String,
    /// Which object it is.
    pub metadata: Box<ObjectMeta>,
}

#[derive(Deserialize)]
struct Partial {
    #[serde(default)]
    metadata: Box<ObjectMeta>,
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let unreadable = |error: serde_json::Error| {
            let Partial { metadata } = serde_json::from_str(text.get()).map_err(D::Error::custom)?;
            Ok(Err(Unreadable { error: error.to_string(), metadata }))
        };
        serde_json::from_str(text.get()).map(Ok).or_else(unreadable).map(Self)
    }
}

impl<K: kube::Resource> kube::Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(of: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(of)
    }

    fn group(of: &Self::DynamicType) -> Cow<'_, str> {
        K::group(of)
    }

    fn version(of: &Self::DynamicType) -> Cow<'_, str> {
        K::version(of)
    }

    fn plural(of: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(of)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|unreadable| &*unreadable.metadata, K::meta)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.as_mut().map_or_else(|unreadable| &mut *unreadable.metadata, K::meta_mut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::CacheCluster;
    use kube::ResourceExt as _;
    use kube::core::{ObjectList, WatchEvent};

    const GOOD: &str = r#"{"metadata": {"name": "good"}, "spec": {"attached": {"masters": ["m:1"]}}}"#;
    const ODD: &str = r#"{"metadata": {"name": "odd", "namespace": "ns"}, "spec": 7}"#;

    #[test]
    fn an_object_that_cannot_be_read_keeps_its_name_and_does_not_harm_its_list() {
        let list =
            format!(r#"{{"kind": "List", "apiVersion": "v1", "metadata": {{}}, "items": [{ODD}, {GOOD}]}}"#);
        let list: ObjectList<Guarded<CacheCluster>> = serde_json::from_str(&list).unwrap();
        let [odd, good] = &list.items[..] else { panic!("two objects") };
        assert_eq!((odd.name_any(), odd.namespace()), ("odd".into(), Some("ns".into())));
        assert!(odd.0.as_ref().is_err_and(|why| why.error.contains("invalid type: integer `7`")));
        assert_eq!(good.0.as_ref().unwrap().name_any(), "good");
    }

    #[test]
    fn events_are_read_like_lists() {
        for (text, readable) in [(GOOD, true), (ODD, false)] {
            let event = format!(r#"{{"type": "ADDED", "object": {text}}}"#);
            let event: WatchEvent<Guarded<CacheCluster>> = serde_json::from_str(&event).unwrap();
            assert!(matches!(event, WatchEvent::Added(o) if o.0.is_ok() == readable));
        }
    }

    #[test]
    fn what_is_no_object_at_all_is_an_error() {
        assert!(serde_json::from_str::<Guarded<CacheCluster>>(r#"{"metadata": 1}"#).is_err());
    }
}
