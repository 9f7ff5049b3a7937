//! Time, injected. Ages come from the monotonic clock, so that a jump of the wall clock ends nothing early; the
//! wall clock only dates what people read.

use chrono::{DateTime, Utc};
use tokio::time::Instant;

/// Where the time comes from.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock.
    fn now(&self) -> DateTime<Utc>;
    /// The monotonic clock.
    fn instant(&self) -> Instant;
    /// The timer that fires when this clock shows `at`. Another instant only where this clock does not run as fast as
    /// the timers do: in a simulation.
    fn timer(&self, at: Instant) -> Instant {
        at
    }
}

/// The machine's own clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the one place where the wall clock is read")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// Milliseconds from `earlier` to `later`, 0 when the order is the other way round.
#[must_use]
pub fn ms_between(earlier: Instant, later: Instant) -> i64 {
    i64::try_from(later.saturating_duration_since(earlier).as_millis()).unwrap_or(i64::MAX)
}
