//! Sizes, and requests that are none.

use super::*;

fn large(bytes: usize) -> Body {
    let mut of = minimal("widgets");
    of["spec"]["free"] = json!({"blob": ""});
    Body::Large { of, at: "/spec/free/blob".into(), bytes }
}

#[test]
fn what_is_too_large_is_refused() {
    Case::new("what_is_too_large_is_refused")
        .send("POST", "widgets/a", "application/json", large(1_000_000))
        .gives(201)
        .send("POST", "widgets/b", "application/json", large(2_000_000))
        .gives(500)
        .says("etcdserver: request is too large")
        .send("POST", "widgets/c", "application/json", large(4_000_000))
        .refused(413, "RequestEntityTooLarge")
        .hold();
}

#[test]
fn a_request_that_is_none_is_refused() {
    let json = "application/json";
    let text = |t: &str| Body::Text(t.to_owned());
    Case::new("a_request_that_is_none_is_refused")
        .send("POST", "widgets/a", json, text("{"))
        .refused(400, "BadRequest")
        .send("POST", "widgets/a", json, text(""))
        .send("POST", "widgets/a", json, text("[]"))
        .send("POST", "widgets/a", json, text("{}"))
        .send("POST", "widgets/a", "text/plain", text("{}"))
        .send("PUT", "widgets", json, text("{}"))
        .refused(400, "BadRequest")
        .send("PUT", "configmaps", json, text("{}"))
        .refused(405, "MethodNotAllowed")
        .send("POST", "/apis/GROUP/v1/namespaces/NAMESPACE/widgets/a", json, text("{}"))
        .create_with("widgets/a", &[("/kind", json!("Gadget"))])
        .refused(422, "Invalid")
        .causes(1)
        .create_with("widgets/a", &[("/metadata/name", json!("Not_Good"))])
        .refused(422, "Invalid")
        .create_with("widgets/a", &[("/metadata/namespace", json!("default"))])
        .refused(400, "BadRequest")
        .create_with("widgets/a", &[("/metadata/labels", json!({"l": "not a label"}))])
        .refused(422, "Invalid")
        .create_with("widgets/a", &[("/metadata/finalizers", json!(["unqualified"]))])
        .hold();
}
