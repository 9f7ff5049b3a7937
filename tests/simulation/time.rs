//! Clocks of replicas over tokio's paused time: each may be wrong about the date and run fast or slow.

use chrono::{DateTime, Utc};
use ratchet::clock::Clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// The date at the beginning of every simulation: 2026-01-01T00:00:00Z, in seconds.
const BEGINNING_S: i64 = 1_767_225_600;

/// True time.
#[derive(Debug, Clone, Copy)]
pub struct Time(Instant);

impl Time {
    /// Time that begins now.
    pub fn begin() -> Self {
        Self(Instant::now())
    }

    /// Milliseconds since the beginning.
    pub fn ms(self) -> i64 {
        i64::try_from(self.0.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// The date.
    pub fn date(self) -> DateTime<Utc> {
        DateTime::from_timestamp(BEGINNING_S, 0).unwrap_or_default()
            + chrono::Duration::milliseconds(self.ms())
    }
}

/// The clocks of one replica.
#[derive(Debug)]
pub struct ReplicaClock {
    time: Time,
    /// Milliseconds by which the date is wrong.
    skew_ms: AtomicI64,
    /// Speed of the monotonic clock, in per cent.
    rate: u32,
}

impl ReplicaClock {
    /// A clock that is right.
    pub fn new(time: Time, skew_ms: i64, rate: u32) -> Arc<Self> {
        Arc::new(Self { time, skew_ms: AtomicI64::new(skew_ms), rate: rate.max(1) })
    }

    /// The date jumps.
    pub fn jump(&self, ms: i64) {
        self.skew_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for ReplicaClock {
    fn now(&self) -> DateTime<Utc> {
        self.time.date() + chrono::Duration::milliseconds(self.skew_ms.load(Ordering::Relaxed))
    }

    fn instant(&self) -> Instant {
        let true_ms = u64::try_from(self.time.ms()).unwrap_or(0);
        self.time.0 + Duration::from_millis(true_ms * u64::from(self.rate) / 100)
    }

    fn timer(&self, at: Instant) -> Instant {
        let shown = u64::try_from(at.saturating_duration_since(self.time.0).as_millis()).unwrap_or(u64::MAX);
        // One more: the clock must show `at` when the timer fires, and the division rounds down.
        self.time.0
            + Duration::from_millis((shown.saturating_mul(100) / u64::from(self.rate)).saturating_add(1))
    }
}
