//! Questions about oneself, answered without the server: `kubectl auth whoami` and `kubectl auth can-i`. Everybody
//! with a token may do everything that the admission rules leave open; there is no RBAC in dev.

use ratchet_simulator::api::User;
use serde_json::{Value, json};

const WHO: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const MAY: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// Whether the path is one of these questions.
pub fn is(path: &str) -> bool {
    path == WHO || path == MAY
}

/// The review, with its status.
///
/// # Errors
/// What is wrong with the body.
pub fn answer(path: &str, body: &[u8], user: &User) -> Result<Value, String> {
    let mut review: Value =
        serde_json::from_slice(body).map_err(|e| format!("the review cannot be read: {e}"))?;
    if !review.is_object() {
        return Err("the review is not an object".into());
    }
    review["status"] = if path == WHO {
        json!({"userInfo": {"username": user.name, "groups": user.groups}})
    } else {
        json!({"allowed": true, "reason": "there is no RBAC in dev"})
    };
    Ok(review)
}
