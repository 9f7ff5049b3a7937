//! What the controller counts, for Prometheus.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use ratchet_state_machine::effect::Outcome;
use ratchet_state_machine::journal::Record;
use std::time::Duration;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Kind {
    operation: &'static str,
    phase: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reply {
    reply: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct EffectLabels {
    effect: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Sentence {
    invariant: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct What {
    what: &'static str,
}

/// The counters.
pub struct Metrics {
    registry: Registry,
    transitions: Family<Kind, Counter>,
    failures: Family<Reply, Counter>,
    effects: Family<EffectLabels, Counter>,
    broken: Family<Sentence, Counter>,
    writes: Family<What, Counter>,
    reads: Counter,
    parked: Counter,
    write_seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("ratchet");
        let buckets = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
        let m = Self {
            transitions: Family::default(),
            failures: Family::default(),
            effects: Family::default(),
            broken: Family::default(),
            writes: Family::default(),
            reads: Counter::default(),
            parked: Counter::default(),
            write_seconds: Histogram::new(buckets),
            registry: Registry::default(),
        };
        registry.register("transitions", "Transitions committed", m.transitions.clone());
        registry.register(
            "write_failures",
            "Writes without a 2xx, by what the reply means",
            m.failures.clone(),
        );
        registry.register("effects", "Effects tried, by outcome", m.effects.clone());
        registry.register(
            "invariants_broken",
            "Writes held back because an invariant would break",
            m.broken.clone(),
        );
        registry.register("writes", "Writes that are not transitions", m.writes.clone());
        registry.register(
            "consistent_reads",
            "Reads that settled an ambiguous or lost write",
            m.reads.clone(),
        );
        registry.register("parked", "Operations parked because a write is impossible", m.parked.clone());
        registry.register("status_write_seconds", "Time of a status PATCH", m.write_seconds.clone());
        Self { registry, ..m }
    }
}

impl Metrics {
    /// The text that Prometheus reads.
    ///
    /// # Errors
    /// When the text cannot be written, which a string always can.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        prometheus_client::encoding::text::encode(&mut out, &self.registry)?;
        Ok(out)
    }

    pub(super) fn transition(&self, record: &Record) {
        let state = &record.folded.state;
        self.transitions.get_or_create(&Kind { operation: state.kind(), phase: state.phase().name() }).inc();
    }

    pub(super) fn write_failed(&self, reply: &'static str) {
        self.failures.get_or_create(&Reply { reply }).inc();
    }

    pub(super) fn write_took(&self, took: Duration) {
        self.write_seconds.observe(took.as_secs_f64());
    }

    pub(super) fn effect(&self, effect: &'static str, outcome: &Outcome) {
        let outcome = match outcome {
            Outcome::Done(_) => "done",
            Outcome::Refused { .. } => "refused",
            Outcome::Unknown { .. } => "unknown",
        };
        self.effects.get_or_create(&EffectLabels { effect, outcome }).inc();
    }

    pub(super) fn invariant_broken(&self, invariant: &'static str) {
        self.broken.get_or_create(&Sentence { invariant }).inc();
    }

    pub(super) fn consistent_read(&self) {
        self.reads.inc();
    }

    pub(super) fn parked(&self) {
        self.parked.inc();
    }

    pub(super) fn segment(&self) {
        self.writes.get_or_create(&What { what: "segment" }).inc();
    }

    pub(super) fn lock_write(&self) {
        self.writes.get_or_create(&What { what: "lock" }).inc();
    }

    pub(super) fn display_write(&self) {
        self.writes.get_or_create(&What { what: "display" }).inc();
    }

    pub(crate) fn mirror_write(&self) {
        self.writes.get_or_create(&What { what: "mirror" }).inc();
    }
}
