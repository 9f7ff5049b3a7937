//! One call, from its bytes to the verb that answers it.

use super::failure::{self, Answer, Failure};
use super::render::{self, Format};
use super::route::{Query, Routed, Target};
use super::store::{Entry, State};
use super::{Reply, Request, Response, Server, builtin, discovery, patch, read};
use http::Method;
use serde_json::Value;
use std::sync::Arc;

/// The limit of a body.
const MAX_BODY: usize = 3 * 1024 * 1024;

/// What is to be done with fields that nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// Drop them.
    Ignore,
    /// Drop them and say so.
    Warn,
    /// Refuse.
    Strict,
}

/// A call while it is answered.
pub(crate) struct Call<'a> {
    /// As it came.
    pub request: &'a Request,
    /// Its parameters.
    pub query: Query,
    /// In which form to answer.
    pub format: Format,
    /// What the caller is warned of.
    pub warnings: Vec<String>,
    /// Reads are of this revision.
    pub at: Option<u64>,
    /// Nothing is to be stored.
    pub dry_run: bool,
    /// What is done with unknown fields.
    pub unknown: Unknown,
}

impl<'a> Call<'a> {
    fn new(request: &'a Request, query: &str, at: Option<u64>) -> Self {
        Self {
            request,
            query: Query::parse(query),
            format: Format::Json,
            warnings: Vec::new(),
            at,
            dry_run: false,
            unknown: Unknown::Warn,
        }
    }

    /// A call that the server makes itself.
    pub(crate) fn internal(request: &'a Request) -> Self {
        Self::new(request, "", None)
    }

    /// Reads the parameters that all writes have.
    pub(crate) fn write_options(&mut self, options: &str) -> Answer<()> {
        match self.query.get("dryRun") {
            "" => {}
            "All" => self.dry_run = true,
            other => {
                let message = format!("Unsupported value: [\"{other}\"]: supported values: \"All\"");
                return Err(Failure::options(options, "FieldValueNotSupported", "dryRun", message));
            }
        }
        self.unknown = match self.query.get("fieldValidation") {
            "" | "Warn" => Unknown::Warn,
            "Ignore" => Unknown::Ignore,
            "Strict" => Unknown::Strict,
            other => {
                let message = format!(
                    "Unsupported value: \"{other}\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\""
                );
                return Err(Failure::options(options, "FieldValueNotSupported", "fieldValidation", message));
            }
        };
        Ok(())
    }

    /// Warns, once for each text.
    pub(crate) fn warn(&mut self, text: String) {
        if !self.warnings.contains(&text) {
            self.warnings.push(text);
        }
    }

    /// Deals with fields that nobody knows.
    ///
    /// # Errors
    /// The text of the refusal, when they are refused.
    pub(crate) fn unknown_fields(&mut self, mut fields: Vec<String>) -> Result<(), String> {
        fields.sort();
        fields.dedup();
        let texts = fields.iter().map(|f| format!("unknown field {}", Value::from(&**f)));
        match self.unknown {
            Unknown::Ignore => Ok(()),
            _ if fields.is_empty() => Ok(()),
            Unknown::Strict => {
                Err(format!("strict decoding error: {}", texts.collect::<Vec<_>>().join(", ")))
            }
            Unknown::Warn => {
                texts.for_each(|text| self.warn(text));
                Ok(())
            }
        }
    }

    fn finish(self, mut response: Response) -> Response {
        for warning in self.warnings {
            response.headers.push(("Warning", format!("299 - {}", Value::from(warning))));
        }
        response
    }
}

/// Answers a call; `at` is the revision of its reads. A quiet one goes by neither the sink nor the policies.
pub(crate) fn answer(server: &Server, request: &Request, at: Option<u64>, quiet: bool) -> Reply {
    let (path, query) = request.uri.split_once('?').unwrap_or((&request.uri, ""));
    let path = path.split('#').next().unwrap_or_default();
    let mut call = Call::new(request, query, at);
    let mut state = server.lock();
    state.quiet = quiet;
    let target = match state.route(path) {
        Routed::Target(target) => target,
        lost @ (Routed::NoResource | Routed::NoPage) => {
            let kinds = state.kinds();
            drop(state);
            let known = (request.method == Method::GET)
                .then(|| discovery::answer(&kinds, path, &request.accept))
                .flatten();
            let lost = || match lost {
                Routed::NoResource => Failure::no_resource().response(),
                Routed::NoPage | Routed::Target(_) => failure::page_not_found(),
            };
            return Reply::Whole(known.unwrap_or_else(lost));
        }
    };
    match verb(server, &mut state, &mut call, &target) {
        Ok(Reply::Whole(response)) => Reply::Whole(call.finish(response)),
        Ok(watch @ Reply::Watch(_)) => watch,
        Err(refusal) => Reply::Whole(call.finish(refusal.response())),
    }
}

fn verb(server: &Server, state: &mut State, call: &mut Call<'_>, target: &Target) -> Answer<Reply> {
    let kind = &target.kind;
    let custom = kind.schema.is_some();
    let method = &call.request.method;
    let pod = builtin::is_pod(kind);
    match target.sub.as_str() {
        "" => {}
        "status" if kind.status => {}
        "eviction" if pod => {
            if *method != Method::POST {
                return Err(Failure::method(kind, ""));
            }
            call.format = render::negotiate(&call.request.accept)?;
            return state.evict(call, target).map(Reply::Whole);
        }
        "finalize" if builtin::is_namespace(kind) => {}
        _ if custom => return Err(Failure::not_found(kind, target.name.as_deref().unwrap_or_default())),
        _ => return Err(Failure::no_resource()),
    }
    let whole = target.sub.is_empty();
    let everywhere = kind.namespaced && target.namespace.is_empty();
    let name = target.name.as_deref();
    let reads = *method == Method::GET || *method == Method::HEAD;
    if reads {
        call.format = render::negotiate(&call.request.accept)?.including(call.query.get("includeObject"));
        return match name {
            Some(name) => state.read(call, target, name).map(Reply::Whole),
            None if target.watch || call.query.on("watch") => read::watch(server, state, call, target),
            None => state.list(call, target).map(Reply::Whole),
        };
    }
    if call.request.body.len() > MAX_BODY {
        return Err(Failure::too_large(&format!("limit is {MAX_BODY}")));
    }
    call.format = render::negotiate(&call.request.accept)?;
    let response = match (method.as_str(), name) {
        ("POST", None) if everywhere && custom => Ok(failure::page_not_found()),
        ("POST", None) if !everywhere => state.create(call, target),
        ("POST", Some(_)) if whole && custom => state.create(call, target),
        ("POST", _) => Err(Failure::method(kind, "create")),
        ("PUT", Some(name)) => state.replace(call, target, name),
        ("PUT", None) if custom => Err(Failure::bad_request("name must be provided")),
        ("PUT", None) => Err(Failure::method(kind, "update")),
        ("PATCH", Some(name)) => state.patch(call, target, name),
        ("PATCH", None) => Err(patch::collection(call, kind)),
        ("DELETE", Some(name)) if whole => state.delete(call, target, name),
        ("DELETE", None) if !builtin::is_namespace(kind) => state.delete_collection(call, target),
        _ => Err(Failure::method(kind, "delete")),
    };
    response.map(Reply::Whole)
}

impl State {
    /// A stored object as an answer.
    pub(crate) fn show(&self, call: &Call<'_>, target: &Target, code: u16, entry: &Arc<Entry>) -> Response {
        let of = self.tables.get(&target.table).map_or(&target.kind, |t| &t.kind);
        let now = (self.options.now)();
        failure::whole(code, render::stored(&target.kind, of, entry, call.format, now))
    }

    /// An object that was not stored, or not as it is, as an answer.
    pub(crate) fn show_value(&self, call: &Call<'_>, target: &Target, code: u16, object: Value) -> Response {
        let of = self.tables.get(&target.table).map_or(&target.kind, |t| &t.kind);
        let entry = Entry::new(of, object, 0);
        failure::whole(code, render::stored(&target.kind, of, &entry, call.format, (self.options.now)()))
    }
}
