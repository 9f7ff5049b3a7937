//! The law as tables: made from the arms' and the shared edges, and turned into the admission rules that the API
//! server enforces, the diagrams and the list of legal moves. Generated text is never edited by hand.

use crate::lifecycle::step;
use crate::machine::{Edge, Phase};
use crate::operation::{ARMS, ArmTable};
use std::collections::BTreeSet;

/// Names of the events that every operation knows.
pub const SHARED_EVENTS: &[&str] = &[
    "Created",
    "PredecessorsDone",
    "Approved",
    "HoldGranted",
    "Intended",
    "AttemptFailed",
    "Suspended",
    "Resumed",
    "CancelRequested",
    "CancelTooLate",
    "Aborted",
    "Halted",
    "GotStuck",
    "RetryRequested",
    "StepSkipped",
    "Sealed",
];

/// Every legal move of one operation.
#[must_use]
pub fn edges(arm: &ArmTable) -> BTreeSet<Edge> {
    let mut all: BTreeSet<Edge> = step::EDGES.iter().copied().collect();
    if !arm.taken_back.is_empty() {
        all.extend(step::BACK_EDGES);
    }
    for own in arm.steps {
        let back = arm.taken_back.contains(own);
        let ends = |e: &&Edge| back && matches!(e.on, "CancelRequested" | "Aborted");
        let kept = step::ARM_EDGES.iter().filter(|e| !ends(e));
        for shared in kept.chain(step::TAKEN_BACK_EDGES.iter().filter(|_| back)) {
            let to = if shared.to == "*" { own } else { shared.to };
            all.insert(Edge { from: own, on: shared.on, to });
        }
    }
    all.extend(arm.edges.iter().copied());
    all
}

/// The phase of a step, whichever operation it belongs to.
#[must_use]
pub fn phase(step: &str) -> Phase {
    shared_steps().find(|(n, _)| *n == step).map_or(Phase::Running, |(_, p)| p)
}

/// The shared steps, those of the way back among them.
fn shared_steps() -> impl Iterator<Item = (&'static str, Phase)> {
    step::STEPS.into_iter().chain(step::BACK_STEPS)
}

/// Every step of one operation, the shared ones first.
pub fn steps(arm: &ArmTable) -> impl Iterator<Item = &'static str> {
    let back = step::BACK_STEPS.into_iter().filter(|_| !arm.taken_back.is_empty());
    step::STEPS.into_iter().chain(back).map(|(n, _)| n).chain(arm.steps.iter().copied())
}

/// Every legal change of the phase, over all operations.
#[must_use]
pub fn phase_edges() -> BTreeSet<(Phase, Phase)> {
    let moves = ARMS.iter().flat_map(edges).filter(|e| !e.from.is_empty());
    moves.map(|e| (phase(e.from), phase(e.to))).filter(|(a, b)| a != b).collect()
}

/// Steps in which an operation may be born.
#[must_use]
pub fn births() -> Vec<&'static str> {
    step::EDGES.iter().filter(|e| e.from.is_empty()).map(|e| e.to).collect()
}

/// A CEL list of strings.
fn list<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = items.into_iter().map(|i| format!("'{i}'")).collect();
    format!("[{}]", quoted.join(", "))
}

/// CEL: the step may change only along an edge. `U` is the guard for a write that keeps `seq`.
#[must_use]
pub fn cel_steps() -> String {
    let tables: Vec<String> = ARMS
        .iter()
        .map(|arm| {
            let moves: BTreeSet<String> = edges(arm)
                .iter()
                .filter(|e| !e.from.is_empty())
                .map(|e| format!("{}>{}", e.from, e.to))
                .collect();
            format!("'{}': {}", arm.kind, list(moves.iter().map(String::as_str)))
        })
        .collect();
    let kinds = list(ARMS.iter().map(|a| a.kind));
    format!(
        "self.seq == oldSelf.seq || (self.kind == oldSelf.kind && self.kind in {kinds} && \
         (oldSelf.step + '>' + self.step) in {{{}}}[self.kind])",
        tables.join(", ")
    )
}

/// CEL: the state names the same operation and step as `kind` and `step`.
#[must_use]
pub fn cel_state() -> String {
    let arms: Vec<String> = ARMS
        .iter()
        .map(|arm| {
            let k = arm.kind;
            let steps: Vec<String> =
                steps(arm).map(|s| format!("(self.step == '{s}' && has(self.state.{k}.{s}))")).collect();
            format!("(self.kind == '{k}' && has(self.state.{k}) && ({}))", steps.join(" || "))
        })
        .collect();
    arms.join(" || ")
}

/// CEL: the phase is the one that belongs to the step.
#[must_use]
pub fn cel_phase() -> String {
    let pairs: Vec<String> = shared_steps().map(|(s, p)| format!("'{s}': '{p}'")).collect();
    let map = format!("{{{}}}", pairs.join(", "));
    format!("self.step in {map} ? self.phase == {map}[self.step] : self.phase == 'Running'")
}

/// CEL: the list of terminal phases.
#[must_use]
pub fn cel_terminal() -> String {
    list(Phase::ALL.iter().filter(|p| p.terminal()).map(|p| p.name()))
}

/// CEL: the list of steps in which an operation may be born.
#[must_use]
pub fn cel_births() -> String {
    list(births())
}

/// A mermaid state diagram of one operation. Self-edges and the common ways out are left away.
#[must_use]
pub fn mermaid(arm: &ArmTable) -> String {
    let mut out = String::from("stateDiagram-v2\n");
    for e in edges(arm) {
        let from = if e.from.is_empty() { "[*]" } else { e.from };
        if from != e.to {
            out.push_str(&format!("    {from} --> {}: {}\n", e.to, e.on));
        }
    }
    for s in steps(arm) {
        if phase(s).terminal() {
            out.push_str(&format!("    {s} --> [*]\n"));
        }
    }
    out
}

#[cfg(test)]
#[path = "legality_tests.rs"]
mod tests;
