use super::*;
use crate::drain::{DrainView, Files};
use crate::members::{Known, WorkerView};
use crate::observation::Observation;
use crate::testing::engine::serving;
use crate::testing::{calm, intending, recommission, recommissioning, says};

const REFRESH_MS: i64 = 120_000;

fn numbers(all: &[i32]) -> Numbers {
    all.iter().copied().collect()
}

/// Three workers, of which worker 1 is as the engine knows it.
fn cache(out: &[i32], one: &WorkerView) -> MembersView {
    let workers = vec![serving(0), one.clone(), serving(2)];
    MembersView { revision: 4, out: numbers(out), workers, ..MembersView::default() }
}

fn sees(answer: Answer, since_entry_ms: i64) -> Observation {
    Observation { answer: Some(Ok(answer)), since_entry_ms, watched_entry_ms: since_entry_ms, ..calm() }
}

fn one(known: Known) -> WorkerView {
    WorkerView { known, ..serving(1) }
}

fn looks(out: &[i32], one: WorkerView, drain: DrainView, since: i64) -> Observation {
    let members = cache(out, &one);
    let view = LeavingView { workers: vec![one], drain, refresh_ms: REFRESH_MS };
    sees(Answer::Leaving(members, Box::new(view)), since)
}

fn known(word: &str) -> Known {
    Known::As(word.into())
}

#[test]
fn the_mark_is_taken_off_first_and_only_where_there_is_one() {
    let spec = recommission(&[1]);
    let op = recommissioning(&spec, Recommission::first());
    let asks = |out: &[i32]| says(&spec, &op, &sees(Answer::Members(cache(out, &one(known("Disabled")))), 0));
    assert_eq!(asks(&[1]), "Chosen + markWorkers");
    assert_eq!(asks(&[2]), "Chosen", "nobody has marked it");
    let unknown = recommission(&[7]);
    let op = recommissioning(&unknown, Recommission::first());
    let seen = sees(Answer::Members(cache(&[1], &one(known("Disabled")))), 0);
    assert_eq!(says(&unknown, &op, &seen), "fails NoSuchWorker");
}

#[test]
fn they_are_rescued_let_in_and_made_anew_until_each_serves() {
    let spec = recommission(&[1]);
    let op = recommissioning(&spec, Recommission::Returning { back: numbers(&[1]) });
    let files = Files { count: 1, example: Some("/f".into()) };
    let stranded = DrainView { stranded: files, rescuable: 1, ..DrainView::default() };
    let next = |word: &str, drain, since| says(&spec, &op, &looks(&[], one(known(word)), drain, since));
    assert_eq!(next("Disabled", stranded, 0), "Intended + rescueBlocks");
    assert_eq!(next("Disabled", DrainView::default(), 0), "Intended + admitWorkers");
    let early = next("Decommissioned", DrainView::default(), REFRESH_MS - 1);
    assert!(early.starts_with("WaitingForMembers: the pod of worker 1 is made anew when"), "{early}");
    assert_eq!(next("Decommissioned", DrainView::default(), REFRESH_MS), "Intended + replaceWorker");
    // Forgotten by the master, and its process has ended: it cannot register before it is let in.
    let ended = WorkerView { ready: false, settled: false, ..one(Known::No) };
    assert_eq!(says(&spec, &op, &looks(&[], ended, DrainView::default(), 0)), "Intended + admitWorkers");
    let old = DrainView { master_up_ms: i64::MAX, ..DrainView::default() };
    let forgotten = looks(&[], one(Known::No), old, REFRESH_MS);
    assert_eq!(says(&spec, &op, &forgotten), "Intended + replaceWorker", "which lets it in as well");
    let young = WorkerView { settled: false, ..one(known("Decommissioned")) };
    let waits = says(&spec, &op, &looks(&[], young, DrainView::default(), REFRESH_MS));
    assert!(waits.starts_with("WaitingForMembers: worker 1 does not serve again"), "{waits}");
    assert_eq!(says(&spec, &op, &looks(&[], one(Known::Serves), DrainView::default(), 0)), "Serving");
    let verifying = recommissioning(&spec, Recommission::Verifying { back: numbers(&[1]) });
    let reads = |known| says(&spec, &verifying, &sees(Answer::Members(cache(&[], &one(known))), 0));
    assert_eq!(reads(Known::Serves), "Proven");
    assert_eq!(reads(Known::As("LOST".into())), "Lost");
    let marked = looks(&[1], one(Known::Serves), DrainView::default(), 0);
    assert_eq!(says(&spec, &op, &marked), "again OutOfUse", "somebody has taken it out again");
}

#[test]
fn what_was_asked_for_last_is_not_asked_for_again_at_once() {
    let spec = recommission(&[1]);
    let returning = recommissioning(&spec, Recommission::Returning { back: numbers(&[1]) });
    let admit = Effect::OnWorkers { call: crate::drain::Call::Admit, workers: numbers(&[1]) };
    let op = intending(returning, admit);
    let next = |since| says(&spec, &op, &looks(&[], one(known("Disabled")), DrainView::default(), since));
    let answered = Observation {
        outcome: Some(crate::effect::Outcome::Done(crate::effect::Receipt::default())),
        ..looks(&[], one(known("Decommissioned")), DrainView::default(), REFRESH_MS)
    };
    assert_eq!(says(&spec, &op, &answered), "Intended + replaceWorker", "the look decides, not the reply");
    assert!(next(29_999).starts_with("WaitingForMembers"));
    assert_eq!(next(30_000), "Intended + admitWorkers");
}
