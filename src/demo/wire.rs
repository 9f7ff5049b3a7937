//! The way between a controller and the cache, on which the demo can hold back a reply.
//!
//! The worst moment to die is the one between an accepted call and its reply: the cache is at work, and nobody has
//! written down that it is. It is rare, so the demo makes it: the next submit lands, and its reply never arrives.

use crate::engine::local::Local;
use crate::engine::{Call, Engine, EngineInfo};
use futures::future::BoxFuture;
use ratchet_state_machine::effect::{Answer, Effect, EffectTraits, Outcome, Query, Trouble};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// What happens on the way.
#[derive(Debug, Default)]
pub struct Line {
    armed: AtomicBool,
    landed: Notify,
}

impl Line {
    /// The reply to the next submit of a load is held back for ever.
    pub fn hold_next_reply(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }

    /// Waits until such a submit has landed.
    pub async fn landed(&self) {
        self.landed.notified().await;
    }
}

/// An engine behind that way.
pub struct Wire {
    engine: Local,
    line: Arc<Line>,
}

impl Wire {
    /// Puts the way before an engine.
    pub const fn new(engine: Local, line: Arc<Line>) -> Self {
        Self { engine, line }
    }
}

impl Engine for Wire {
    fn probe(&self) -> BoxFuture<'_, Result<EngineInfo, Trouble>> {
        self.engine.probe()
    }

    fn inspect<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Answer, Trouble>> {
        self.engine.inspect(query)
    }

    fn perform<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        let submit = matches!(call.effect, Effect::SubmitLoad { .. });
        Box::pin(async move {
            let outcome = self.engine.perform(call).await;
            let landed = submit && matches!(outcome, Outcome::Done(_));
            if landed && self.line.armed.swap(false, Ordering::SeqCst) {
                self.line.landed.notify_one();
                // The controller that waits here is about to be killed, and this future with it.
                std::future::pending::<()>().await;
            }
            outcome
        })
    }

    fn describe(&self, effect: &Effect) -> EffectTraits {
        self.engine.describe(effect)
    }
}
