//! Watches. Each has a line of its own: a commit puts the event there before the call that made it is answered, and
//! the stream takes it out. Bytes are shared between the lines that show the same thing.

use super::render::{self, Format};
use super::selector::Selector;
use super::store::Event;
use super::{Kind, Now, Server};
use bytes::Bytes;
use futures::Stream;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// At least this often a watch that allows bookmarks gets one.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// How long a watch lasts that names no end.
pub(crate) const DEFAULT_TIMEOUT_S: u64 = 1800;

/// What waits for one watcher, and what it wants.
pub(crate) struct Line {
    /// The kind, in the version that was asked for.
    pub kind: Arc<Kind>,
    /// Whether that is the version that is stored.
    pub stored: bool,
    /// What the keys begin with.
    pub prefix: String,
    /// Which objects.
    pub selector: Selector,
    /// Only changes after this revision.
    pub after: u64,
    /// In which form.
    pub format: Format,
    /// What waits.
    pub queue: Mutex<Queue>,
}

/// What waits for one watcher.
#[derive(Default)]
pub(crate) struct Queue {
    /// Whole lines.
    pub ready: VecDeque<Bytes>,
    /// Who is to be woken.
    pub waker: Option<Waker>,
    /// Nothing comes any more.
    pub closed: bool,
}

impl Line {
    /// The queue.
    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a change into the line, if it is wanted. Whether the watch goes on.
    pub(crate) fn tell(&self, event: &Event, now: &Now) -> bool {
        if event.revision > self.after
            && let Some(bytes) = self.show(event, now)
        {
            let mut queue = self.queue();
            queue.ready.push_back(bytes);
            if let Some(waker) = queue.waker.take() {
                waker.wake();
            }
        }
        true
    }

    /// Ends the watch, after what already waits.
    pub(crate) fn close(&self) {
        let mut queue = self.queue();
        queue.closed = true;
        if let Some(waker) = queue.waker.take() {
            waker.wake();
        }
    }

    /// How a change looks to this watcher: one that enters the selection is ADDED, one that leaves it DELETED.
    pub(crate) fn show(&self, event: &Event, now: &Now) -> Option<Bytes> {
        if !event.key.starts_with(&self.prefix) {
            return None;
        }
        if self.selector.is_empty() {
            if self.stored && self.format == Format::Json {
                let line = || render::event(event.type_, &event.new.bytes);
                return Some(event.line.get_or_init(line).clone());
            }
            return Some(self.render(event.type_, &event.new.value, now));
        }
        let matched = event.old.as_ref().is_some_and(|old| self.selector.matches(&old.value));
        let matches = event.type_ != "DELETED" && self.selector.matches(&event.new.value);
        let type_ = match (matched, matches) {
            (false, false) => return None,
            (true, true) => "MODIFIED",
            (false, true) => "ADDED",
            (true, false) => "DELETED",
        };
        if type_ == "DELETED" && event.type_ != "DELETED" {
            // The last that the watcher was to see, with the revision of its going.
            let mut last = event.old.as_ref().map(|old| (*old.value).clone())?;
            super::meta::set(&mut last, "resourceVersion", event.revision.to_string());
            return Some(self.render(type_, &Arc::new(last), now));
        }
        if self.stored && self.format == Format::Json {
            if type_ == event.type_ {
                return Some(event.line.get_or_init(|| render::event(type_, &event.new.bytes)).clone());
            }
            return Some(render::event(type_, &event.new.bytes));
        }
        Some(self.render(type_, &event.new.value, now))
    }

    /// A line in another form than the shared one.
    pub(crate) fn render(&self, type_: &str, object: &Arc<Value>, now: &Now) -> Bytes {
        let object = if self.stored { object.clone() } else { render::converted(object, &self.kind) };
        render::event(type_, &render::one(&self.kind, &object, self.format, now()))
    }

    /// A bookmark.
    pub(crate) fn bookmark(&self, revision: u64, initial: bool) -> Bytes {
        let mut object = json!({
            "apiVersion": self.kind.api_version(), "kind": self.kind.kind,
            "metadata": {"resourceVersion": revision.to_string()},
        });
        if initial {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        if self.format == Format::Partial {
            object["apiVersion"] = "meta.k8s.io/v1".into();
            object["kind"] = "PartialObjectMetadata".into();
        }
        let object: Bytes = match self.format {
            Format::Table(_) => {
                let table =
                    render::one(&self.kind, &Arc::new(object), self.format, chrono::DateTime::UNIX_EPOCH);
                table.to_vec().into()
            }
            Format::Json | Format::Partial => object.to_string().into(),
        };
        render::event("BOOKMARK", &object)
    }
}

/// The stream of a watch. Ends after its `timeoutSeconds`, by tokio's clock: it has to be polled inside a runtime
/// of tokio whose time is enabled.
pub struct Watch {
    line: Arc<Line>,
    server: Server,
    deadline: Instant,
    /// When the next bookmark is due; `None` when none are wanted.
    bookmark: Option<Instant>,
    sleep: Option<(Instant, Pin<Box<Sleep>>)>,
    ended: bool,
}

impl Watch {
    pub(crate) fn new(line: Arc<Line>, server: Server, timeout: Duration, bookmarks: bool) -> Self {
        let now = Instant::now();
        let deadline = now + timeout;
        let bookmark = bookmarks.then(|| (now + BOOKMARK_EVERY).min(deadline));
        Self { line, server, deadline, bookmark, sleep: None, ended: false }
    }

    /// Polls until `at`.
    fn wait(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if self.sleep.as_ref().is_none_or(|(until, _)| *until != at) {
            self.sleep = Some((at, Box::pin(tokio::time::sleep_until(at))));
        }
        match &mut self.sleep {
            Some((_, sleep)) => sleep.as_mut().poll(cx),
            None => Poll::Ready(()),
        }
    }
}

impl Stream for Watch {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        // The revision first: whatever it counts is in the line already.
        let revision = this.server.revision();
        {
            let mut queue = this.line.queue();
            if let Some(bytes) = queue.ready.pop_front() {
                return Poll::Ready(Some(bytes));
            }
            if queue.closed {
                this.ended = true;
                return Poll::Ready(None);
            }
            queue.waker = Some(cx.waker().clone());
        }
        let due = this.bookmark.unwrap_or(this.deadline).min(this.deadline);
        if this.wait(due, cx).is_pending() {
            return Poll::Pending;
        }
        this.ended = due >= this.deadline;
        if this.bookmark.is_some() {
            this.bookmark = Some((due + BOOKMARK_EVERY).min(this.deadline));
            return Poll::Ready(Some(this.line.bookmark(revision, false)));
        }
        Poll::Ready(None)
    }
}
