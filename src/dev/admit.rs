//! What is not in dev, said clearly; and the rules of `api::admission`, kept natively.

/// Whether this is something that dev offers at all.
///
/// # Errors
/// The sentence for the user.
pub fn served(path: &str, content_type: &str) -> Result<(), String> {
    if content_type.starts_with("application/apply-patch") {
        return Err("not in dev: server-side apply; leave out --server-side".into());
    }
    for (end, what) in [("/log", "logs"), ("/exec", "exec"), ("/attach", "attach"), ("/portforward", "port-forward")]
    {
        if path.contains("/pods/") && path.ends_with(end) {
            return Err(format!("not in dev: {what}; there are no containers"));
        }
    }
    Ok(())
}
