//! One rule: what is checked, and what is said when it does not hold.

use super::super::Cause;
use super::super::cause::{self, DUPLICATE, FORBIDDEN, INVALID, REQUIRED, ROOT};
use super::super::node::Node;
use super::super::path::Path;
use super::code::Code;
use super::eval::Env;
use super::lower::{Lowered, lower};
use super::value::{Fault, Val};
use serde_json::Value;
use std::rc::Rc;

/// A compiled rule.
#[derive(Debug)]
pub struct Rule {
    /// Whether it compares with the old value.
    pub transition: bool,
    optional_old: bool,
    text: String,
    check: Lowered,
    message: Option<String>,
    message_code: Option<Lowered>,
    reason: &'static str,
    field_path: Option<String>,
}

impl Rule {
    /// Compiles an entry of `x-kubernetes-validations`.
    ///
    /// # Errors
    /// The part that is wrong, and how.
    pub fn compile(rule: &Value) -> Result<Self, (&'static str, String)> {
        let word = |name: &str| rule.get(name).and_then(Value::as_str).map(str::to_owned);
        let text = word("rule").unwrap_or_default();
        let fault = |e: String| format!("Invalid value: compilation failed: {e}");
        let check = lower(&text).map_err(|e| ("rule", fault(e)))?;
        let message_code = match word("messageExpression") {
            Some(source) => Some(lower(&source).map_err(|e| ("messageExpression", fault(e)))?),
            None => None,
        };
        let reason = match word("reason").as_deref() {
            Some(FORBIDDEN) => FORBIDDEN,
            Some(REQUIRED) => REQUIRED,
            Some(DUPLICATE) => DUPLICATE,
            None | Some(INVALID) => INVALID,
            Some(other) => return Err(("reason", format!("Unsupported value: {other:?}"))),
        };
        Ok(Self {
            transition: check.old || message_code.as_ref().is_some_and(|m| m.old),
            optional_old: rule.get("optionalOldSelf").and_then(Value::as_bool).unwrap_or(false),
            text: text.trim().to_owned(),
            check,
            message: word("message").filter(|m| !m.is_empty()),
            message_code,
            reason,
            field_path: word("fieldPath").filter(|p| !p.is_empty()),
        })
    }

    /// Whether it applies when there is an old value or none.
    pub fn applies(&self, old: Option<&Value>) -> bool {
        !self.transition || self.optional_old || old.is_some()
    }

    /// What is wrong with a value, if anything.
    pub fn check(&self, node: &Node, new: &Value, old: Option<&Value>, path: &Path<'_>) -> Option<Cause> {
        let slots = self.check.slots.max(self.message_code.as_ref().map_or(0, |m| m.slots));
        let old = match (old, self.optional_old) {
            // The real server hands the old value over without its schema here.
            (old, true) => Val::Optional(old.map(|o| Rc::new(Val::lift(o, None)))),
            (Some(old), false) => Val::lift(old, Some(node)),
            (None, false) => Val::Null,
        };
        let slots = vec![Ok(Val::Null); slots];
        let mut env = Env { new: Val::lift(new, Some(node)), old, slots };
        match env.truth(&self.check.code) {
            Ok(true) => None,
            Ok(false) => Some(self.refusal(&mut env, new, path)),
            Err(fault) => Some(self.failure(&fault, node, path)),
        }
    }

    fn failure(&self, fault: &Fault, node: &Node, path: &Path<'_>) -> Cause {
        let name = self.message.as_ref().unwrap_or(&self.text);
        let kind = cause::quoted(node.kind.name());
        let message = if *fault == Fault::overload() {
            format!(
                "Invalid value: {kind}: 'no such overload': call arguments did not match a supported operator, \
                 function or macro signature for rule: {name}"
            )
        } else {
            format!("Invalid value: {kind}: {} evaluating rule: {name}", fault.0)
        };
        Cause { reason: INVALID, message, field: path.field() }
    }

    fn refusal<'a>(&'a self, env: &mut Env<'a>, new: &Value, path: &Path<'_>) -> Cause {
        let detail = self.detail(env);
        let value = match new {
            Value::Array(_) | Value::Object(_) => String::new(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                format!("{}: ", cause::shown(new))
            }
        };
        let message = match self.reason {
            FORBIDDEN => format!("Forbidden: {detail}"),
            REQUIRED => format!("Required value: {detail}"),
            DUPLICATE => format!("Duplicate value: {value}").trim_end_matches([' ', ':']).to_owned(),
            _ => format!("Invalid value: {value}{detail}"),
        };
        Cause { reason: self.reason, message, field: self.field(path) }
    }

    fn detail<'a>(&'a self, env: &mut Env<'a>) -> String {
        let said = self.message_code.as_ref().and_then(|m| said(env, &m.code));
        said.or_else(|| self.message.clone()).unwrap_or_else(|| format!("failed rule: {}", self.text))
    }

    fn field(&self, path: &Path<'_>) -> String {
        let base = path.plain();
        let text = match &self.field_path {
            Some(below) => base + &plain_path(below),
            None => base,
        };
        let text = text.strip_prefix('.').unwrap_or(&text);
        if text.is_empty() { ROOT.into() } else { text.into() }
    }
}

/// The text of a messageExpression, unless it fails or says nothing that fits a line.
fn said<'a>(env: &mut Env<'a>, code: &'a Code) -> Option<String> {
    match env.eval(code) {
        Ok(Val::Text(text)) => Some(text.trim().to_owned()).filter(|t| !t.is_empty() && !t.contains('\n')),
        Ok(_) | Err(_) => None,
    }
}

/// `.a['b.c']` as causes have it: `.a[b.c]`.
fn plain_path(path: &str) -> String {
    path.replace("['", "[").replace("']", "]")
}
