//! How a cache behaves: what protects its effects, how large and how fast it is, what it forgets.

use ratchet_state_machine::effect::{EffectClass, EffectTraits};

/// What protects an effect against being applied twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protection {
    /// Nothing, as with Alluxio: class (d).
    #[default]
    None,
    /// A second application with a token that was seen changes nothing: class (b).
    Token,
    /// An application with a fence below the highest that its path has seen is refused: class (c).
    Fence,
}

/// The behaviour of a [`Cache`](super::Cache). Times in milliseconds, sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// What protects its effects.
    pub protection: Protection,
    /// Hard limit of one call, as it is declared. The cache itself answers at once.
    pub call_timeout_ms: i64,
    /// Longest time after which a received call may still be applied, as it is declared.
    pub longest_delay_ms: i64,
    /// Workers, 1 or more.
    pub workers: usize,
    /// Bytes that each of them holds.
    pub worker_capacity: u64,
    /// Speed of each load job; 0: as much as one `advance` may do, at the next one.
    pub bytes_per_second: u64,
    /// Time from an accepted free until the copies are gone.
    pub free_lag_ms: i64,
    /// Time that a listing of metadata takes.
    pub listing_ms: i64,
    /// A restarted master knows its load jobs (Alluxio journals them: running ones start over). Else they are gone.
    pub jobs_survive: bool,
    /// A worker that stops and starts again has its copies still.
    pub tier_survives: bool,
}

impl Profile {
    /// As Alluxio 2.9 behaves, with two workers of 1 GiB.
    #[must_use]
    pub const fn alluxio() -> Self {
        Self {
            protection: Protection::None,
            call_timeout_ms: 10_000,
            longest_delay_ms: 3_000,
            workers: 2,
            worker_capacity: 1 << 30,
            bytes_per_second: 0,
            free_lag_ms: 2_000,
            listing_ms: 0,
            jobs_survive: true,
            tier_survives: false,
        }
    }

    pub(super) const fn traits(&self) -> EffectTraits {
        let class = match self.protection {
            Protection::None => EffectClass::Repeatable,
            Protection::Token => EffectClass::Token,
            Protection::Fence => EffectClass::Fenced,
        };
        EffectTraits { class, call_timeout_ms: self.call_timeout_ms, longest_delay_ms: self.longest_delay_ms }
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self::alluxio()
    }
}
