//! Mounts have Alluxio's habits.

use super::*;
use ratchet_state_machine::mounts::MountTable;

const MOUNT: Effect = Effect::Mount { path: 0 };
const UPDATE: Effect = Effect::UpdateMount { path: 0 };
const UNMOUNT: Effect = Effect::Unmount { path: 0 };

fn wanted(path: &str, uri: &str) -> MountSpec {
    MountSpec {
        path: path.into(),
        uri: uri.into(),
        read_only: false,
        shared: false,
        options: Vec::new(),
        replace: false,
    }
}

fn mounted(profile: Profile) -> (Cache, Arc<Memory>) {
    let store = Arc::new(Memory::with([("/x", &[1_u8; 10][..]), ("/deep/y", &[2; 20])]));
    let (cache, _) = cache(profile);
    let shared = Arc::clone(&store);
    let open = move |uri: &str| -> Result<Arc<dyn UnderStorage>, UfsError> {
        if uri == "mem://s" { Ok(shared.clone()) } else { Err(UfsError::NotFound(uri.into())) }
    };
    (cache.with_stores("mem://root", open), store)
}

fn change(cache: &Cache, effect: &Effect, mount: &MountSpec) -> Outcome {
    let (token, fence) = (Token("t".into()), Fence::default());
    cache.apply(&Call { effect, path: &mount.path, token: &token, fence, mount: Some(mount) })
}

fn table(cache: &Cache) -> MountTable {
    match cache.inspect(&Query::Mounts { count: Some("/m".into()), secrets: false }) {
        Ok(Answer::Mounts(table)) => table,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_mounted_is_listed_loaded_and_read_and_goes_with_the_mount() {
    let (cache, store) = mounted(small());
    let m = wanted("/m", "mem://s");
    done(change(&cache, &MOUNT, &m));
    load(&cache, "/m", 5);
    assert_eq!(names(&cache), ["/m/deep/y", "/m/x"]);
    assert_eq!(cache.read("/m/deep/y"), Ok(vec![2; 20]));
    assert_eq!(tree(&cache, "/").files, 2, "the root knows what it was told of");
    load(&cache, "/", 5);
    assert_eq!(tree(&cache, "/").files, 6);
    done(change(&cache, &UPDATE, &MountSpec { read_only: true, ..m.clone() }));
    assert!(table(&cache).at("/m").is_some_and(|m| m.read_only));
    assert_eq!(names(&cache).len(), 6, "an update keeps what is cached");
    done(change(&cache, &UNMOUNT, &m));
    assert_eq!(table(&cache).at("/m"), None);
    assert_eq!(names(&cache).len(), 4);
    assert!(store.exists("/x") && cache.verify().is_empty());
}

#[test]
fn a_mount_needs_a_place_a_store_and_a_distance_to_others() {
    let (cache, _) = mounted(small());
    for (path, uri) in [("/data", "mem://s"), ("/m", "mem://nowhere"), ("/m", "mem://root/x")] {
        let refused = change(&cache, &MOUNT, &wanted(path, uri));
        assert!(matches!(refused, Outcome::Refused { retryable: false, .. }), "{path} {uri}: {refused:?}");
    }
    let m = wanted("/m", "mem://s");
    assert!(matches!(change(&cache, &UPDATE, &m), Outcome::Refused { .. }));
    assert!(matches!(change(&cache, &UNMOUNT, &m), Outcome::Refused { reason, .. } if reason == "NotFound"));
    done(change(&cache, &MOUNT, &m));
    assert!(matches!(change(&cache, &MOUNT, &m), Outcome::Refused { .. }), "there already");
    let inside = MountSpec { path: "/n".into(), uri: "mem://s/deep".into(), ..m };
    assert!(matches!(change(&cache, &MOUNT, &inside), Outcome::Refused { .. }));
}

#[test]
fn what_only_the_cache_has_is_counted_and_a_failover_takes_a_mount_back() {
    let (cache, _) = mounted(small());
    let m = wanted("/m", "mem://s");
    done(change(&cache, &MOUNT, &m));
    cache.write_cached_only("/m/new", vec![3; 5]).unwrap();
    assert_eq!(table(&cache).unpersisted, 1);
    cache.persist("/m/new").unwrap();
    assert_eq!(table(&cache).unpersisted, 0);
    cache.fail_over(10);
    assert_eq!(table(&cache).at("/m"), None);
}
