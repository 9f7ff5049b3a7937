//! Breadth first over every state of a model, and back again.
//!
//! ```text
//!   start --next--> states --next--> ...      a broken sentence: the shortest way to it
//!   settled <--fair actions-- states          a state that is never marked: from there the end cannot be reached
//! ```
//!
//! Whole states are compared, not their hashes. The way back uses no fault: from wherever the faults have led, the
//! world has to come to its end without any more of them.

use super::{Action, Faults, Model};
use std::collections::{HashMap, VecDeque};

/// What an exploration found.
#[derive(Debug)]
pub struct Found {
    pub states: usize,
    pub transitions: usize,
    /// States in which everything is settled.
    pub settled: usize,
    /// The sentence that is broken, and the shortest way to it.
    pub broken: Option<(&'static str, Vec<Action>)>,
    /// The way to a state from which the end cannot be reached.
    pub dead: Option<Vec<Action>>,
}

struct Graph {
    /// By which action of which state each state was found first.
    parents: Vec<(u32, u16)>,
    /// Fair transitions.
    fair: Vec<(u32, u32)>,
    settled: Vec<u32>,
}

/// Every state that `model` reaches; panics beyond `limit` of them.
pub fn explore(model: &Model, faults: Faults, limit: usize) -> Found {
    let start = model.tidy(model.start(faults));
    let mut known = HashMap::from([(start.clone(), 0_u32)]);
    let mut queue = VecDeque::from([(0_u32, start)]);
    let mut graph = Graph { parents: vec![(0, 0)], fair: Vec::new(), settled: Vec::new() };
    let (mut transitions, mut broken) = (0, None);
    'all: while let Some((id, world)) = queue.pop_front() {
        if model.settled(&world) {
            graph.settled.push(id);
        }
        for (k, next) in model.next(&world).into_iter().enumerate() {
            transitions += 1;
            let world = match next.world {
                Ok(world) => world,
                Err(why) => {
                    let mut way = way(model, faults, &graph, id);
                    way.push(next.action);
                    broken = Some((why, way));
                    break 'all;
                }
            };
            let fresh = u32::try_from(graph.parents.len()).unwrap();
            let to = *known.entry(world.clone()).or_insert(fresh);
            if to == fresh {
                graph.parents.push((id, u16::try_from(k).unwrap()));
                queue.push_back((fresh, world));
            }
            if next.fair && to != id {
                graph.fair.push((id, to));
            }
        }
        assert!(graph.parents.len() <= limit, "more than {limit} states");
    }
    let dead = broken.is_none().then(|| dead(&graph)).flatten();
    Found {
        states: graph.parents.len(),
        transitions,
        settled: graph.settled.len(),
        broken,
        dead: dead.map(|id| way(model, faults, &graph, id)),
    }
}

/// The first state from which no fair way leads to the end.
fn dead(graph: &Graph) -> Option<u32> {
    let states = graph.parents.len();
    // Counting sort of the transitions by where they lead.
    let mut first = vec![0_u32; states + 1];
    for (_, to) in &graph.fair {
        first[*to as usize + 1] += 1;
    }
    for i in 0..states {
        first[i + 1] += first[i];
    }
    let (mut at, mut from) = (first.clone(), vec![0_u32; graph.fair.len()]);
    for (a, b) in &graph.fair {
        from[at[*b as usize] as usize] = *a;
        at[*b as usize] += 1;
    }
    let mut ends = vec![false; states];
    let mut todo = graph.settled.clone();
    todo.iter().for_each(|s| ends[*s as usize] = true);
    while let Some(s) = todo.pop() {
        for a in &from[first[s as usize] as usize..first[s as usize + 1] as usize] {
            if !std::mem::replace(&mut ends[*a as usize], true) {
                todo.push(*a);
            }
        }
    }
    ends.iter().position(|e| !e).and_then(|s| u32::try_from(s).ok())
}

/// The actions that lead to a state.
fn way(model: &Model, faults: Faults, graph: &Graph, mut id: u32) -> Vec<Action> {
    let mut choices = Vec::new();
    while id != 0 {
        let (parent, k) = graph.parents[id as usize];
        choices.push(usize::from(k));
        id = parent;
    }
    let mut world = model.tidy(model.start(faults));
    let mut actions = Vec::new();
    for k in choices.into_iter().rev() {
        let next = model.next(&world).swap_remove(k);
        actions.push(next.action);
        world = next.world.unwrap_or_else(|why| panic!("{why}"));
    }
    actions
}

/// A trace as text: each action, and what it led to.
pub fn told(model: &Model, faults: Faults, way: &[Action]) -> String {
    let mut world = model.tidy(model.start(faults));
    let mut lines = Vec::new();
    for (i, action) in way.iter().enumerate() {
        let next = model.next(&world).into_iter().filter(|n| n.action == *action);
        let last = i + 1 == way.len();
        let Some(next) = next.min_by_key(|n| n.world.is_err() != last) else { break };
        match next.world {
            Ok(w) => {
                lines.push(format!("{:>3}. {action:?}\n       {}", i + 1, model.tell(&w)));
                world = w;
            }
            Err(why) => lines.push(format!("{:>3}. {action:?}\n       !!! {why}", i + 1)),
        }
    }
    lines.join("\n")
}
