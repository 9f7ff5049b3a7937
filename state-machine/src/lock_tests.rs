use super::*;
use crate::testing::{free, load, paths};
use proptest::prelude::*;

fn request(uid: &str, mode: Mode, scope: &[&str]) -> Request {
    Request {
        uid: uid.into(),
        namespace: "ns".into(),
        name: format!("op-{uid}"),
        kind: "load",
        mode,
        paths: paths(scope),
        seq: Seq(2),
    }
}

fn shared(uid: &str, scope: &[&str]) -> Request {
    request(uid, Mode::Shared, scope)
}

fn exclusive(uid: &str) -> Request {
    request(uid, Mode::Exclusive, &[])
}

fn end(uid: &str) -> Final {
    Final { uid: uid.into(), seq: Seq(9), digest: Digest("d".into()) }
}

/// The lock after each of these was granted.
fn held(requests: &[&Request]) -> Lock {
    requests.iter().fold(Lock::default(), |lock, r| lock.grant(r).0)
}

#[test]
fn sharers_exclude_one_another_only_where_their_paths_overlap() {
    let (s, x) = (Mode::Shared, Mode::Exclusive);
    for (a, b, excludes) in [
        ("/a", "/a", true),
        ("/a", "/a/b", true),
        ("/a/b", "/a", true),
        ("/", "/a", true),
        ("/a", "/ab", false),
        ("/a/b", "/a/c", false),
        ("/a/b/c", "/a/bc", false),
    ] {
        let (pa, pb) = (paths(&["/x/y", a]), paths(&[b, "/z"]));
        assert_eq!(conflict((s, &pa), (s, &pb)), excludes, "{a} with {b}");
        assert_eq!(conflict((s, &pb), (s, &pa)), excludes, "{b} with {a}");
        for (m, n) in [(s, x), (x, s), (x, x)] {
            assert!(conflict((m, &pa), (n, &pb)), "{m:?} with {n:?}");
        }
    }
    assert!(conflict((x, &[]), (s, &[])), "an exclusive one needs no paths to exclude");
}

#[test]
fn a_holder_blocks_what_overlaps_and_says_who_it_is() {
    let lock = held(&[&shared("a", &["/data/x"])]);
    let by = lock.blocker(&shared("b", &["/data"]), []).unwrap().by;
    assert_eq!(by, "load ns/op-a, which works on the same paths");
    assert_eq!(lock.blocker(&shared("b", &["/data/xy"]), []), None);
    assert!(lock.blocker(&exclusive("c"), []).is_some());
    assert!(held(&[&exclusive("c")]).blocker(&shared("b", &["/other"]), []).is_some());
    assert_eq!(lock.blocker(&shared("a", &["/data/x"]), []), None, "its own hold blocks nobody");
}

#[test]
fn an_earlier_waiter_blocks_only_what_it_conflicts_with() {
    let lock = held(&[&shared("a", &["/a"])]);
    let (wide, other) = (exclusive("x"), shared("y", &["/y"]));
    let late = shared("z", &["/z"]);
    let by = lock.blocker(&late, [&other, &wide]).unwrap().by;
    assert_eq!(by, "load ns/op-x, which comes first in the queue");
    assert_eq!(lock.blocker(&late, [&other]), None);
    assert_eq!(lock.blocker(&late, [&late]), None, "nobody waits for itself");
}

#[test]
fn places_are_bounded() {
    let all: Vec<Request> = (0..MAX_HOLDERS).map(|i| shared(&i.to_string(), &[&format!("/p{i}")])).collect();
    let lock = held(&all.iter().collect::<Vec<_>>());
    assert!(lock.blocker(&shared("more", &["/more"]), []).unwrap().by.contains("64 operations"));
}

#[test]
fn a_grant_that_is_repeated_gives_the_same_hold() {
    let first = shared("a", &["/a"]);
    let (lock, hold) = Lock::default().grant(&first);
    assert_eq!(lock.grant(&first), (lock.clone(), hold));
    let stale = Request { seq: Seq(1), ..first.clone() };
    assert_eq!(lock.grant(&stale), (lock.clone(), hold));
    let (moved, newer) = lock.grant(&Request { seq: Seq(5), ..first });
    assert!(newer > hold && moved.holders.len() == 1, "a hold of an operation that moved on is void");
}

#[test]
fn a_late_release_of_an_old_hold_harms_nobody() {
    let (a, b) = (shared("a", &["/p"]), shared("b", &["/p"]));
    let (lock, old) = Lock::default().grant(&a);
    let (lock, new) = lock.release("a", old, Some(end("a"))).unwrap().grant(&b);
    assert_eq!(lock.release("a", old, Some(end("a"))), None);
    assert_eq!(lock.release("b", old, None), None);
    assert_eq!(lock.release("a", new, None), None);
    assert_eq!(lock.hold_of("b").unwrap().hold, new);
    assert!(lock.release("b", new, None).unwrap().holders.is_empty());
}

#[test]
fn an_operation_that_has_ended_is_never_granted_again() {
    let a = shared("a", &["/p"]);
    let (lock, hold) = Lock::default().grant(&a);
    assert_eq!(lock.blocker(&a, []), None);
    let ended = lock.release("a", hold, Some(end("a"))).unwrap();
    assert!(ended.blocker(&a, []).unwrap().by.contains("it has ended"));
    assert_eq!(ended.blocker(&shared("b", &["/p"]), []), None);
}

#[test]
fn the_last_digests_are_kept_once_each_and_bounded() {
    let mut lock = Lock::default();
    for i in 0..3 * MAX_FINALS {
        let uid = (i / 2).to_string();
        let r = Request { seq: Seq(i as i64), ..shared(&uid, &["/p"]) };
        let (next, hold) = lock.grant(&r);
        lock = next.release(&uid, hold, Some(end(&uid))).unwrap();
    }
    let kept: Vec<usize> = lock.finals.iter().map(|f| f.uid.parse().unwrap()).collect();
    assert_eq!(kept, (MAX_FINALS / 2..MAX_FINALS * 3 / 2).collect::<Vec<_>>());
}

#[test]
fn a_spec_asks_for_its_own_paths() {
    let r = Request::new("u", "ns", "n", Seq(2), &load(&["/a/b", "/a", "/c"]));
    assert_eq!((r.kind, r.mode, r.paths), ("load", Mode::Shared, paths(&["/a", "/c"])));
    let r = Request::new("u", "ns", "n", Seq(2), &free(&["/"]));
    assert_eq!((r.kind, r.paths), ("free", paths(&["/"])));
}

#[test]
fn counters_at_their_end_do_not_panic() {
    let lock = Lock { epoch: i64::MAX, ..Lock::default() };
    assert_eq!(lock.grant(&shared("a", &["/a"])).1, i64::MAX);
}

/// Paths of few components, so that prefixes, repetitions and lookalikes are frequent; some too long for a scope.
fn any_path() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        6 => "[ab]{1,2}",
        1 => "[xü]{90,130}",
        1 => Just("y".repeat(300)),
    ];
    proptest::collection::vec(part, 0..6).prop_map(|c| format!("/{}", c.join("/")))
}

/// Whether `parent` is `path` or above it.
fn above(parent: &str, path: &str) -> bool {
    parent == "/" || path == parent || path.starts_with(&format!("{parent}/"))
}

#[derive(Debug, Clone)]
enum Move {
    Ask { who: u8, exclusive: bool, paths: Vec<String> },
    Release { who: u8, stale: bool, ended: bool },
}

fn any_move() -> impl Strategy<Value = Move> {
    let ask = (0..12_u8, prop::bool::weighted(0.15), proptest::collection::vec(any_path(), 1..4));
    prop_oneof![
        3 => ask.prop_map(|(who, exclusive, paths)| Move::Ask { who, exclusive, paths }),
        2 => (0..12_u8, prop::bool::ANY, prop::bool::weighted(0.1))
            .prop_map(|(who, stale, ended)| Move::Release { who, stale, ended }),
    ]
}

proptest! {
    #![proptest_config(crate::testing::cases(256))]

    #[test]
    fn a_scope_covers_every_path_and_keeps_its_bounds(all in proptest::collection::vec(any_path(), 1..33)) {
        let scope = scope(&all);
        prop_assert!((1..=MAX_SCOPE).contains(&scope.len()));
        for s in &scope {
            prop_assert!(s.len() <= MAX_SCOPE_PATH && s.starts_with('/'), "{s}");
        }
        for path in &all {
            prop_assert!(scope.iter().any(|s| above(s, path)), "{path} is not in {scope:?}");
        }
        for (i, a) in scope.iter().enumerate() {
            prop_assert!(!scope[i + 1..].iter().any(|b| paths_overlap(a, b)), "{scope:?}");
        }
    }

    #[test]
    fn no_schedule_of_grants_and_releases_lets_two_conflicting_holders_in(
        moves in proptest::collection::vec(any_move(), 1..60),
    ) {
        let (mut lock, mut holds) = (Lock::default(), std::collections::BTreeMap::new());
        for (n, m) in moves.into_iter().enumerate() {
            let before = lock.epoch;
            match m {
                Move::Ask { who, exclusive, paths } => {
                    let mode = if exclusive { Mode::Exclusive } else { Mode::Shared };
                    let uid = who.to_string();
                    if lock.hold_of(&uid).is_some() {
                        continue;
                    }
                    let r = Request { paths: scope(&paths), seq: Seq(n as i64), ..request(&uid, mode, &[]) };
                    if lock.blocker(&r, []).is_none() {
                        let (next, hold) = lock.grant(&r);
                        prop_assert!(hold > before && next.epoch == hold, "the epoch did not grow");
                        lock = next;
                        holds.insert(uid, hold);
                    }
                }
                Move::Release { who, stale, ended } => {
                    let uid = who.to_string();
                    let Some(hold) = holds.get(&uid).copied() else { continue };
                    let id = if stale { hold - 1 } else { hold };
                    let next = lock.release(&uid, id, ended.then(|| end(&uid)));
                    let mine = lock.hold_of(&uid).is_some_and(|h| h.hold == id);
                    prop_assert_eq!(next.is_some(), mine);
                    lock = next.unwrap_or(lock);
                    prop_assert_eq!(lock.epoch, before);
                }
            }
            for (i, a) in lock.holders.iter().enumerate() {
                for b in &lock.holders[i + 1..] {
                    prop_assert!(!conflict((a.mode, &a.paths), (b.mode, &b.paths)), "{a:?} and {b:?}");
                    prop_assert!(a.uid != b.uid && a.hold != b.hold);
                }
            }
        }
    }
}
