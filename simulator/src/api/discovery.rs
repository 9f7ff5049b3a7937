//! What the server says of itself: groups, resources, version, schemas.

use super::{Kind, Response};
use std::sync::Arc;

/// The answer to `path` (without its query), if it is one of discovery.
pub(crate) fn answer(_kinds: &[Arc<Kind>], _path: &str, _accept: &str) -> Option<Response> {
    None
}
