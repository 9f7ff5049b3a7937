//! GET, LIST and the beginning of a WATCH.

use super::call::Call;
use super::failure::{self, Answer, Failure};
use super::render::{self, Format};
use super::route::{Query, Target};
use super::selector::Selector;
use super::store::{Entry, State};
use super::watch::{DEFAULT_TIMEOUT_S, Line, Queue, Watch};
use super::{Reply, Response, Server, meta};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const TOO_OLD_PAGE: &str = "The provided continue parameter is too old to display a consistent list result. You can \
    start a new list without the continue parameter, or use the continue token in this response to retrieve the \
    remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were \
    created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

/// A resourceVersion parameter.
fn revision(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!(
            "resourceVersion: Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": invalid syntax"
        )
    };
    if text.is_empty() { Ok(0) } else { text.parse().map_err(|_| wrong()) }
}

fn number(query: &Query, name: &str) -> Answer<i64> {
    let text = query.get(name);
    if text.is_empty() {
        return Ok(0);
    }
    let wrong = || Failure::bad_request(format!("strconv.ParseInt: parsing \"{text}\": invalid syntax"));
    text.parse().map_err(|_| wrong())
}

impl State {
    /// The revision that a read sees.
    fn seen(&self, call: &Call<'_>) -> u64 {
        call.at.map_or(self.revision, |at| at.max(self.forgotten).min(self.revision))
    }

    /// GET of one object.
    pub(crate) fn read(&self, call: &Call<'_>, target: &Target, name: &str) -> Answer<Response> {
        let asked = revision(call.query.get("resourceVersion")).map_err(Failure::bare)?;
        let seen = self.seen(call);
        if asked > seen {
            return Err(Failure::future(asked, seen));
        }
        let key = meta::key(&target.namespace, name);
        let entry = match call.at {
            Some(_) => self.get_at(&target.table, &key, Some(seen)),
            None => self.get(&target.table, &key).cloned(),
        };
        let entry = entry.ok_or_else(|| Failure::not_found(&target.kind, name))?;
        Ok(self.show(call, target, 200, &entry))
    }

    /// LIST.
    pub(crate) fn list(&self, call: &Call<'_>, target: &Target) -> Answer<Response> {
        let query = &call.query;
        let limit = usize::try_from(number(query, "limit")?.max(0)).unwrap_or_default();
        let selector = selector(query, target, list_options)?;
        let seen = self.seen(call);
        let prefix = prefix(target);
        let page = self.page(query, limit, seen)?;
        let all = self.range_at(&target.table, &prefix, Some(page.at));
        let start = format!("{prefix}{}", page.start);
        let mut chosen = all.into_iter().filter(|(key, entry)| {
            (page.start.is_empty() || *key >= start.as_str())
                && (selector.is_empty() || selector.matches(&entry.value))
        });
        let entries: Vec<(&str, &Arc<Entry>)> = match page.limit {
            0 => chosen.by_ref().collect(),
            limit => chosen.by_ref().take(limit).collect(),
        };
        let rest = chosen.count();
        let mut list_meta = Map::new();
        list_meta.insert("resourceVersion".into(), page.at.to_string().into());
        if let (1.., Some((last, _))) = (rest, entries.last()) {
            let last = last.strip_prefix(prefix.as_str()).unwrap_or(last);
            list_meta
                .insert("continue".into(), token(i64::try_from(page.at).unwrap_or_default(), last).into());
            if selector.is_empty() {
                list_meta.insert("remainingItemCount".into(), rest.into());
            }
        }
        let entries: Vec<&Arc<Entry>> = entries.into_iter().map(|(_, entry)| entry).collect();
        let of = self.tables.get(&target.table).map_or(&target.kind, |t| &t.kind);
        let now = (self.options.now)();
        Ok(failure::whole(200, render::list(&target.kind, of, &entries, &list_meta, call.format, now)))
    }

    /// Which part of which revision a list shows.
    fn page(&self, query: &Query, limit: usize, seen: u64) -> Answer<Page> {
        let version = query.get("resourceVersion");
        let asked = revision(version)
            .map_err(|why| Failure::bad_request(format!("invalid resource version: {why}")))?;
        let continued = query.get("continue");
        if !continued.is_empty() {
            if asked > 0 {
                let message = "specifying resource version is not allowed when using continue";
                return Err(Failure::bad_request(message));
            }
            let (at, start) = untoken(continued)?;
            let at = match u64::try_from(at) {
                Err(_) => seen,
                Ok(at) if at < self.forgotten => {
                    let mut refusal = Failure::expired(TOO_OLD_PAGE);
                    let last = start.trim_end_matches('\0');
                    refusal.metadata = json!({"continue": token(-1, last)});
                    return Err(refusal);
                }
                Ok(at) => at.min(self.revision),
            };
            let limit = if version == "0" { 0 } else { limit };
            return Ok(Page { at, start, limit });
        }
        if asked > seen {
            return Err(Failure::future(asked, seen));
        }
        let match_ = query.get("resourceVersionMatch");
        if asked > 0 && (match_ == "Exact" || (match_.is_empty() && limit > 0)) {
            if asked < self.forgotten {
                return Err(Failure::expired("The resourceVersion for the provided list is too old."));
            }
            return Ok(Page { at: asked, start: String::new(), limit });
        }
        // A list that any revision will do for comes from a cache, whole.
        let limit = if version == "0" { 0 } else { limit };
        Ok(Page { at: seen, start: String::new(), limit })
    }
}

struct Page {
    at: u64,
    start: String,
    limit: usize,
}

/// What the keys of a target begin with.
pub(crate) fn prefix(target: &Target) -> String {
    if target.namespace.is_empty() { String::new() } else { format!("{}/", target.namespace) }
}

/// The token of the page after `last`.
fn token(at: i64, last: &str) -> String {
    let start = if at < 0 { format!("{last}\0") } else { format!("/{last}\0") };
    URL_SAFE_NO_PAD.encode(json!({"v": "meta.k8s.io/v1", "rv": at, "start": start}).to_string())
}

fn untoken(text: &str) -> Answer<(i64, String)> {
    let wrong = |why: String| {
        Failure::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
    };
    let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|e| wrong(e.to_string()))?;
    let token: Value = serde_json::from_slice(&bytes).map_err(|e| wrong(super::write::syntax(&e, &bytes)))?;
    if token["v"] != "meta.k8s.io/v1" {
        return Err(wrong("server does not recognize this encoded version".into()));
    }
    let start = token["start"].as_str().unwrap_or_default();
    Ok((token["rv"].as_i64().unwrap_or(-1), start.strip_prefix('/').unwrap_or(start).to_owned()))
}

/// Checks the parameters of a list, as far as they forbid each other.
fn list_options(query: &Query) -> Answer<()> {
    let refuse =
        |reason, message: &str| Err(Failure::options("ListOptions", reason, "resourceVersionMatch", message));
    let version = query.get("resourceVersion");
    match query.get("resourceVersionMatch") {
        "" => Ok(()),
        _ if version.is_empty() => refuse(
            "FieldValueForbidden",
            "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
        ),
        _ if !query.get("continue").is_empty() => refuse(
            "FieldValueForbidden",
            "Forbidden: resourceVersionMatch is forbidden when continue is provided",
        ),
        "Exact" if version == "0" => refuse(
            "FieldValueForbidden",
            "Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
        ),
        "Exact" | "NotOlderThan" => Ok(()),
        other => refuse(
            "FieldValueNotSupported",
            &format!("Unsupported value: \"{other}\": supported values: \"Exact\", \"NotOlderThan\", \"\""),
        ),
    }
}

fn watch_options(query: &Query) -> Answer<()> {
    let refuse =
        |reason, message: &str| Err(Failure::options("ListOptions", reason, "resourceVersionMatch", message));
    let match_ = query.get("resourceVersionMatch");
    if !query.has("sendInitialEvents") {
        return match match_ {
            "" => Ok(()),
            _ => refuse(
                "FieldValueForbidden",
                "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ),
        };
    }
    match match_ {
        "NotOlderThan" => Ok(()),
        _ => refuse(
            "FieldValueForbidden",
            "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
    }
}

/// The selector. That it does not parse is told before options that forbid each other, and those before fields that
/// cannot be selected.
fn selector(query: &Query, target: &Target, options: fn(&Query) -> Answer<()>) -> Answer<Selector> {
    let parsed = Selector::parse(&target.kind, query.get("labelSelector"), query.get("fieldSelector"));
    if parsed.as_ref().err().is_none_or(|refusal| unselectable(&refusal.message)) {
        options(query)?;
    }
    parsed
}

fn unselectable(message: &str) -> bool {
    message.starts_with("field label not supported") || message.contains("is not a known field selector")
}

/// WATCH: what there is or was is put into the line, then the line is hung into the table.
pub(crate) fn watch(server: &Server, state: &mut State, call: &Call<'_>, target: &Target) -> Answer<Reply> {
    let query = &call.query;
    let timeout = u64::try_from(number(query, "timeoutSeconds")?).unwrap_or_default();
    let selector = selector(query, target, watch_options)?;
    let asked = revision(query.get("resourceVersion")).map_err(Failure::bare)?;
    let bookmarks = query.on("allowWatchBookmarks");
    let seen = state.seen(call);
    let initial = if query.has("sendInitialEvents") { query.on("sendInitialEvents") } else { asked == 0 };
    if initial && asked > seen {
        return Err(Failure::future(asked, seen));
    }
    let from = if initial || asked == 0 { seen } else { asked };
    let stored = state.tables.get(&target.table).is_none_or(|t| render::same(&t.kind, &target.kind));
    let line = Arc::new(Line {
        kind: target.kind.clone(),
        stored,
        prefix: prefix(target),
        selector,
        after: from,
        format: call.format,
        queue: Mutex::new(Queue::default()),
    });
    if from < state.forgotten {
        let message = format!("too old resource version: {from} ({})", state.forgotten);
        let mut queue = line.queue();
        queue
            .ready
            .push_back(render::event("ERROR", Failure::expired(message).status().to_string().as_bytes()));
        queue.closed = true;
        drop(queue);
    } else {
        if initial {
            begin(state, &line, target, from, bookmarks);
        }
        let now = state.options.now.clone();
        let newer = state.log.iter().rev().take_while(|e| e.revision > from).count();
        for event in state.log.range(state.log.len() - newer..).filter(|e| *e.table == *target.table) {
            line.tell(event, &now);
        }
        if let Some(table) = state.tables.get_mut(&target.table) {
            table.lines.push(Arc::downgrade(&line));
        }
    }
    let timeout = Duration::from_secs(if timeout == 0 { DEFAULT_TIMEOUT_S } else { timeout });
    Ok(Reply::Watch(Watch::new(line, server.clone(), timeout, bookmarks)))
}

/// The state that a watch begins with.
fn begin(state: &State, line: &Line, target: &Target, at: u64, bookmark: bool) {
    let now = &state.options.now;
    let mut queue = line.queue();
    for (_, entry) in state.range_at(&target.table, &line.prefix, Some(at)) {
        if line.selector.is_empty() || line.selector.matches(&entry.value) {
            queue.ready.push_back(match line.format {
                Format::Json if line.stored => render::event("ADDED", &entry.bytes),
                Format::Json | Format::Table(_) | Format::Partial => line.render("ADDED", &entry.value, now),
            });
        }
    }
    if bookmark {
        queue.ready.push_back(line.bookmark(at, true));
    }
}
