use super::*;
use kube::core::Status;

fn status(json: &str) -> Error {
    let status: Status = serde_json::from_str(json).unwrap();
    Error::Api(Box::new(status))
}

#[test]
fn each_row_of_the_reply_table_is_told_apart() {
    let rows = [
        (
            r#"{"code":422,"reason":"Invalid","message":"the server rejected our request","details":{}}"#,
            "lost",
        ),
        (
            r#"{"code":422,"reason":"Invalid","message":"x","details":{"causes":[{"reason":"FieldValueInvalid","field":"status"}]}}"#,
            "rule",
        ),
        (
            r#"{"code":422,"reason":"Invalid","message":"ValidatingAdmissionPolicy 'p' with binding 'p' denied request: no"}"#,
            "denied",
        ),
        (r#"{"code":403,"reason":"Forbidden","message":"x"}"#, "denied"),
        (
            r#"{"code":403,"reason":"Forbidden","message":"x","details":{"causes":[{"reason":"NamespaceTerminating"}]}}"#,
            "terminating",
        ),
        (r#"{"code":404,"reason":"NotFound","message":"x"}"#, "gone"),
        (r#"{"code":409,"reason":"Conflict","message":"x"}"#, "conflict"),
        (r#"{"code":409,"reason":"AlreadyExists","message":"x"}"#, "conflict"),
        (r#"{"code":413,"reason":"RequestEntityTooLarge","message":"x"}"#, "too_large"),
        (
            r#"{"code":429,"reason":"TooManyRequests","message":"x","details":{"retryAfterSeconds":7}}"#,
            "busy",
        ),
        (
            r#"{"code":500,"reason":"InternalError","message":"etcdserver: request is too large"}"#,
            "too_large",
        ),
        (r#"{"code":500,"reason":"InternalError","message":"boom"}"#, "ambiguous"),
        (r#"{"code":503,"reason":"ServiceUnavailable","message":"x"}"#, "ambiguous"),
        (r#"{"code":504,"reason":"Timeout","message":"x"}"#, "ambiguous"),
        (r#"{"code":408,"reason":"Timeout","message":"x"}"#, "ambiguous"),
    ];
    for (json, expected) in rows {
        assert_eq!(classify(Some(&status(json))).name(), expected, "{json}");
    }
    assert_eq!(classify(None).name(), "ambiguous");
}

#[test]
fn a_server_that_says_when_to_come_back_is_believed() {
    let busy = status(r#"{"code":429,"message":"x","details":{"retryAfterSeconds":7}}"#);
    assert_eq!(classify(Some(&busy)), Reply::Busy(Some(Duration::from_secs(7))));
}
