use super::*;
use crate::lifecycle::step::{ARM_EDGES, BACK_STEPS, EDGES, STEPS, TAKEN_BACK_EDGES};
use crate::operation::{Event, State};
use crate::testing::{Samples, samples, shared_samples};
use std::collections::BTreeMap;

/// Every edge that some sample takes, after checking that `apply` and the table agree on each pair.
fn crossed(s: &Samples) -> BTreeSet<Edge> {
    let table = edges(s.table);
    let known = |from: &str, on: &str| table.iter().any(|e| e.from == from && e.on == on);
    let mut taken = BTreeSet::new();
    for (state, event) in s.states.iter().flat_map(|st| s.events.iter().map(move |e| (st, e))) {
        for busy in [false, true] {
            match state.clone().apply(event, busy) {
                Ok(next) => {
                    let edge = Edge { from: state.step(), on: event.name(), to: next.step() };
                    assert!(table.contains(&edge), "{}: {edge:?} is not in the table", s.table.kind);
                    taken.insert(edge);
                }
                Err(e) => {
                    assert!(
                        !known(state.step(), event.name()),
                        "{}: the table has an edge, but {e}",
                        s.table.kind
                    );
                    assert_eq!((e.step.as_str(), e.event.as_str()), (state.step(), event.name()));
                }
            }
        }
    }
    taken
}

#[test]
fn every_state_crossed_with_every_event_agrees_with_the_table_and_no_edge_is_dead() {
    for s in samples() {
        let taken = crossed(&s);
        let births = EDGES.iter().filter(|e| e.from.is_empty()).copied();
        let dead: Vec<Edge> =
            edges(s.table).into_iter().filter(|e| !e.from.is_empty() && !taken.contains(e)).collect();
        assert_eq!(dead, [], "{}: no sample takes these edges", s.table.kind);
        for edge in births {
            let born: Vec<&str> = [(true, true), (false, true), (false, false)]
                .map(|(after, approval)| State::born(&s.spec.operation, after, approval).step())
                .into();
            assert!(born.contains(&edge.to), "{}: nothing is born in {}", s.table.kind, edge.to);
        }
    }
}

#[test]
fn an_event_of_another_operation_is_illegal_everywhere() {
    let all = samples();
    for (own, other) in [(&all[0], &all[1]), (&all[1], &all[0])] {
        for (state, event) in own.states.iter().flat_map(|st| other.events.iter().map(move |e| (st, e))) {
            if !matches!(event, Event::Shared(_)) {
                assert!(state.clone().apply(event, false).is_err(), "{} took {}", state.step(), event.name());
            }
        }
    }
}

#[test]
fn the_list_of_shared_events_names_exactly_the_shared_events() {
    let sampled: BTreeSet<&str> = shared_samples().iter().map(|e| e.name()).collect();
    let listed: BTreeSet<&str> = SHARED_EVENTS.iter().copied().collect();
    assert_eq!(sampled, listed);
    assert_eq!(listed.len(), SHARED_EVENTS.len(), "a name stands twice");
}

#[test]
fn names_of_steps_and_events_mean_one_thing_only() {
    for s in samples() {
        let names: Vec<&str> = steps(s.table).collect();
        let once: BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!(once.len(), names.len(), "{}: a step's name stands twice", s.table.kind);
        for event in s.events.iter().filter(|e| !matches!(e, Event::Shared(_))) {
            assert!(!SHARED_EVENTS.contains(&event.name()), "{} is a shared event's name too", event.name());
        }
        let sampled: BTreeSet<&str> = s.states.iter().map(State::step).collect();
        assert_eq!(sampled, once, "{}: the samples miss a step", s.table.kind);
        for edge in edges(s.table) {
            assert!(edge.from.is_empty() || once.contains(edge.from), "{edge:?} leaves no step");
            assert!(once.contains(edge.to), "{edge:?} enters no step");
        }
    }
    assert!(ARM_EDGES.iter().chain(TAKEN_BACK_EDGES).all(|e| e.from == "*"));
}

#[test]
fn what_an_event_or_a_state_says_survives_being_stored() {
    for s in samples() {
        for event in &s.events {
            let data = event.data().unwrap();
            assert_eq!(Event::parse(s.table.kind, event.name(), &data).unwrap(), *event);
        }
        for state in &s.states {
            let stored = serde_json::to_value(state).unwrap();
            let inner = stored.get(s.table.kind).and_then(|v| v.get(state.step()));
            assert!(inner.is_some_and(serde_json::Value::is_object), "{stored} is not state.<kind>.<step>");
            assert_eq!(serde_json::from_value::<State>(stored).unwrap(), *state);
        }
    }
}

/// The steps that can be reached from `start` along `edges`.
fn reach<'a>(edges: &BTreeSet<Edge>, start: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'a str> {
    let mut seen: BTreeSet<&str> = start.into_iter().collect();
    loop {
        let more: Vec<&str> =
            edges.iter().filter(|e| seen.contains(e.from) && !seen.contains(e.to)).map(|e| e.to).collect();
        if more.is_empty() {
            return seen;
        }
        seen.extend(more);
    }
}

#[test]
fn terminal_steps_are_those_without_an_edge_to_another_step() {
    for arm in ARMS {
        let all = edges(arm);
        for step in steps(arm) {
            let leaves = all.iter().any(|e| e.from == step && e.to != step);
            assert_eq!(phase(step).terminal(), !leaves, "{}: {step}", arm.kind);
        }
    }
}

#[test]
fn every_step_can_be_reached_and_can_reach_an_end() {
    for arm in ARMS {
        let all = edges(arm);
        let reached = reach(&all, births());
        for step in steps(arm) {
            assert!(reached.contains(step), "{}: {step} cannot be reached", arm.kind);
            let ends = reach(&all, [step]);
            assert!(ends.iter().any(|s| phase(s).terminal()), "{}: {step} is a trap", arm.kind);
        }
    }
}

#[test]
fn success_is_reached_only_by_the_arms_own_last_proof() {
    for arm in ARMS {
        let last: Vec<Edge> =
            edges(arm).into_iter().filter(|e| e.to == "succeeded" && e.from != "succeeded").collect();
        assert_eq!(last.len(), 1, "{}: {last:?}", arm.kind);
        assert_eq!(last[0].from, "verifying");
    }
}

#[test]
fn the_phase_of_a_state_is_the_phase_of_its_step() {
    for s in samples() {
        for state in &s.states {
            assert_eq!(state.phase(), phase(state.step()), "{}", state.step());
            assert_eq!(state.kind(), s.table.kind);
        }
    }
    let named: BTreeMap<&str, Phase> = STEPS.into_iter().collect();
    assert_eq!(named["paused"], Phase::Paused);
    assert_eq!(Phase::ALL.len(), Phase::ALL.iter().collect::<BTreeSet<_>>().len());
}

#[test]
fn no_phase_follows_a_terminal_one() {
    let moves = phase_edges();
    assert!(moves.iter().all(|(from, _)| !from.terminal()), "{moves:?}");
    assert!(moves.contains(&(Phase::Running, Phase::Succeeded)));
}

#[test]
fn the_admission_rules_name_every_step_and_every_move() {
    let (moves, states, phases) = (cel_steps(), cel_state(), cel_phase());
    for arm in ARMS {
        for step in steps(arm) {
            let entered = moves.contains(&format!(">{step}'")) || births().contains(&step);
            assert!(entered, "no move enters {step}");
            assert!(
                states.contains(&format!("has(self.state.{}.{step})", arm.kind)),
                "{step} is not in the states"
            );
        }
        for e in edges(arm).iter().filter(|e| !e.from.is_empty()) {
            assert!(moves.contains(&format!("'{}>{}'", e.from, e.to)), "{e:?} is not in the moves");
        }
    }
    for (step, phase) in STEPS.into_iter().chain(BACK_STEPS) {
        assert!(phases.contains(&format!("'{step}': '{phase}'")), "{step} has no phase");
    }
    assert_eq!(cel_terminal(), "['Succeeded', 'Failed', 'Cancelled', 'RolledBack']");
    assert_eq!(cel_births(), "['pending', 'awaitingApproval', 'queued']");
}

#[test]
fn the_diagram_shows_every_move_between_two_steps() {
    for arm in ARMS {
        let diagram = mermaid(arm);
        for e in edges(arm).iter().filter(|e| e.from != e.to) {
            let from = if e.from.is_empty() { "[*]" } else { e.from };
            assert!(diagram.contains(&format!("    {from} --> {}: {}\n", e.to, e.on)), "{e:?}");
        }
        assert!(diagram.contains("    succeeded --> [*]\n"));
    }
}
