//! Every schedule of a small world: two replicas, two operations on overlapping paths, few faults.
//!
//! ```text
//!   faults that may happen -> every interleaving -> no sentence is broken, and the end can be reached from everywhere
//!   the same with a piece of the protocol left out -> a sentence is broken, and the shortest way to it is shown
//! ```
//!
//! By default one fault at a time; with `RATCHET_EXHAUSTIVE` set, one crash of each replica and more of the rest
//! (minutes and some gigabytes in a release build). Show the figures and the traces with `--nocapture`.

use crate::spec::OperationSpec;
use crate::testing::model::explore::{Found, explore, told};
use crate::testing::model::{Class, Faults, Model, Mutation};
use crate::testing::{free, load};

const CALM: Faults = Faults { crashes: 0, replies: 0, calls: 0, freezes: 0, cancels: 0 };

fn frees() -> [OperationSpec; 2] {
    [free(&["/a"]), free(&["/a/b"])]
}

fn load_and_free() -> [OperationSpec; 2] {
    [load(&["/a"]), free(&["/a/b"])]
}

fn full() -> bool {
    std::env::var_os("RATCHET_EXHAUSTIVE").is_some()
}

/// Which faults may happen in one run: few by default, in full one crash of each replica beside others.
fn scopes(few: &[Faults]) -> Vec<Faults> {
    if !full() {
        return few.to_vec();
    }
    vec![
        Faults { crashes: 2, calls: 1, freezes: 1, ..CALM },
        Faults { crashes: 2, cancels: 1, ..CALM },
        Faults { crashes: 2, replies: 1, ..CALM },
    ]
}

fn report(what: &str, faults: Faults, found: &Found) {
    let Found { states, transitions, settled, .. } = found;
    println!("{what}, {faults:?}: {states} states, {transitions} transitions, {settled} settled");
}

/// Nothing is broken, and every state leads to the end.
fn holds(what: &str, specs: fn() -> [OperationSpec; 2], faults: Faults) {
    let model = Model::new(specs(), Mutation::None, Class::Repeatable);
    let found = explore(&model, faults, 60_000_000);
    report(what, faults, &found);
    if let Some((why, way)) = &found.broken {
        panic!("{why}\n{}", told(&model, faults, way));
    }
    if let Some(way) = &found.dead {
        panic!("no way leads to the end from here:\n{}", told(&model, faults, way));
    }
    assert!(found.settled > 0);
}

/// Something is broken, and this is the sentence; the shortest way to it is shown.
fn bites(mutation: Mutation, specs: fn() -> [OperationSpec; 2], faults: Faults, sentence: &str) {
    let model = Model::new(specs(), mutation, Class::Repeatable);
    let found = explore(&model, faults, 5_000_000);
    report(&format!("{mutation:?}"), faults, &found);
    let Some((why, way)) = &found.broken else { panic!("{mutation:?} is not noticed") };
    println!("{}\n", told(&model, faults, way));
    assert_eq!(*why, sentence);
}

#[test]
fn two_frees_on_overlapping_paths_survive_every_schedule() {
    for faults in scopes(&[Faults { crashes: 1, ..CALM }, Faults { replies: 1, ..CALM }]) {
        holds("two frees", frees, faults);
    }
}

#[test]
fn a_load_and_a_free_on_overlapping_paths_survive_every_schedule() {
    let few = [
        Faults { crashes: 1, ..CALM },
        Faults { calls: 1, ..CALM },
        Faults { freezes: 1, ..CALM },
        Faults { cancels: 1, ..CALM },
    ];
    for faults in scopes(&few) {
        holds("a load and a free", load_and_free, faults);
    }
}

#[test]
fn a_free_needs_no_wait_where_the_engine_knows_tokens_or_fences() {
    for class in [Class::Token, Class::Fenced] {
        // At most one takeover (without waits they have no end); so only what is broken is asked, not the end.
        let mut model = Model::new(frees(), Mutation::NoWait, class);
        model.symmetric = true;
        let faults = Faults { calls: u8::from(full()), ..CALM };
        let found = explore(&model, faults, 5_000_000);
        report(&format!("{class:?} without waits"), faults, &found);
        if let Some((why, way)) = &found.broken {
            panic!("{why}\n{}", told(&model, faults, way));
        }
    }
}

const LANDED: &str = "an effect landed whose intent does not stand";

#[test]
fn without_the_wait_before_a_takeover_a_late_call_lands_beside_the_new_one() {
    bites(Mutation::NoWait, frees, Faults { calls: 1, ..CALM }, LANDED);
    bites(Mutation::NoWait, frees, CALM, LANDED);
}

#[test]
fn a_wait_without_the_delay_of_the_engine_is_too_short() {
    bites(Mutation::ShortWait, frees, Faults { crashes: 1, ..CALM }, LANDED);
}

#[test]
fn an_effect_before_its_intent_is_noticed() {
    bites(Mutation::EffectFirst, frees, CALM, LANDED);
}

#[test]
fn a_steal_by_what_the_cache_says_lets_two_in() {
    let both = "two operations whose paths overlap are at work";
    bites(Mutation::StealFromCache, frees, CALM, both);
}

#[test]
fn a_lock_without_its_resource_version_lets_two_in() {
    let both = "two operations whose paths overlap are at work";
    bites(Mutation::LockUnguarded, frees, CALM, both);
}

#[test]
fn without_the_test_of_the_generation_an_intent_overtakes_a_cancel() {
    let over = "an intent was written over a cancel that its writer had not seen";
    bites(Mutation::NoGeneration, frees, Faults { cancels: 1, ..CALM }, over);
}

#[test]
fn without_the_test_of_seq_a_late_write_rewrites_history() {
    bites(Mutation::NoSeq, frees, CALM, "seq did not grow by one");
}

#[test]
fn a_lost_reply_that_counts_as_written_acts_without_an_intent() {
    bites(Mutation::LostIsWritten, frees, Faults { replies: 1, ..CALM }, LANDED);
}
