//! What makes a struct a Kubernetes kind: `apiVersion` and `kind` on the wire, metadata, and its names.

/// Declares a kind: a struct with `metadata` and the given fields that serialises with its `apiVersion` and `kind`.
macro_rules! kind {
    (
        $(#[$doc:meta])*
        $name:ident, plural $plural:literal, scope $scope:ident,
        { $($(#[$field_doc:meta])* $field:ident: $ty:ty),* $(,)? }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(rename_all = "camelCase")]
        pub struct $name {
            #[serde(skip_deserializing, default = "self::type_meta::api_version")]
            #[schemars(skip)]
            api_version: &'static str,
            #[serde(skip_deserializing, default = "self::type_meta::kind")]
            #[schemars(skip)]
            kind: &'static str,
            /// Standard object metadata.
            #[schemars(skip)]
            #[serde(default)]
            pub metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
            $($(#[$field_doc])* pub $field: $ty,)*
        }

        mod type_meta {
            pub fn api_version() -> &'static str {
                $crate::api::API_VERSION
            }
            pub fn kind() -> &'static str {
                stringify!($name)
            }
        }

        impl $name {
            /// A new object of this kind.
            #[must_use]
            pub fn new(metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta, $($field: $ty),*) -> Self {
                Self { api_version: $crate::api::API_VERSION, kind: stringify!($name), metadata, $($field),* }
            }
        }

        impl kube::Resource for $name {
            type DynamicType = ();
            type Scope = kube::core::$scope;
            fn kind(_: &()) -> std::borrow::Cow<'_, str> {
                stringify!($name).into()
            }
            fn group(_: &()) -> std::borrow::Cow<'_, str> {
                $crate::api::GROUP.into()
            }
            fn version(_: &()) -> std::borrow::Cow<'_, str> {
                $crate::api::VERSION.into()
            }
            fn plural(_: &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }
            fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}
pub(crate) use kind;
