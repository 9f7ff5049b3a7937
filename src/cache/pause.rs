//! The pauses of a watch that fails: each twice as long as the one before, from under a second to half a minute, spread
//! out so that many replicas do not come back at once. The spread comes from a seed and not from chance: one seed, one
//! history.

use kube::runtime::utils::Backoff;
use std::time::Duration;

const SHORTEST_MS: u64 = 800;
const LONGEST_MS: u64 = 30_000;

/// Pauses that grow.
#[derive(Debug, Clone)]
pub struct Pauses {
    seed: u64,
    failures: u32,
}

impl Pauses {
    /// Pauses spread by `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed, failures: 0 }
    }
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let base = (SHORTEST_MS << self.failures.min(8)).min(LONGEST_MS);
        self.failures = self.failures.saturating_add(1);
        // One step of a linear congruence: enough to keep replicas apart.
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Some(Duration::from_millis(base + (self.seed >> 33) % (base / 2)))
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_half_a_minute_and_begin_anew_after_a_success() {
        let mut pauses = Pauses::new(7);
        let all: Vec<u128> = pauses.by_ref().take(12).map(|p| p.as_millis()).collect();
        assert!((800..1_200).contains(&all[0]), "{all:?}");
        assert!(all.iter().skip(6).all(|p| (30_000..45_000).contains(p)), "{all:?}");
        pauses.reset();
        assert!(pauses.next().is_some_and(|p| p < Duration::from_millis(1_200)));
        let again: Vec<u128> = Pauses::new(7).take(12).map(|p| p.as_millis()).collect();
        assert_eq!(all, again, "one seed gives one history");
    }
}
