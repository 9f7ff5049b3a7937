//! The local directory as an under-storage, and the cache that outlives its process.

use super::super::*;
use ratchet_state_machine::effect::JobState;
use std::path::PathBuf;

/// A directory of its own for a test, removed with it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("ratchet-cache-{}-{name}", std::process::id()));
        drop(std::fs::remove_dir_all(&dir));
        std::fs::create_dir_all(&dir).expect("a directory");
        Self(dir)
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        let file = self.0.join(path);
        std::fs::create_dir_all(file.parent().expect("a parent")).expect("a directory");
        std::fs::write(file, bytes).expect("written");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[test]
fn a_directory_is_listed_recursively_and_sorted() {
    let place = Place::new("list");
    place.put("b/2", b"22");
    place.put("b/1", b"1");
    place.put("b.x", b"xxx");
    std::fs::create_dir_all(place.0.join("empty")).expect("a directory");
    let dir = Directory::open(&place.0).expect("it opens");
    let all = [("/b.x".to_owned(), 3), ("/b/1".to_owned(), 1), ("/b/2".to_owned(), 2)];
    assert_eq!(dir.list("/").expect("a list"), all);
    assert_eq!(dir.list("/b").expect("a list"), all[1..]);
    assert_eq!(dir.list("/b/2").expect("a list"), all[2..]);
    assert_eq!(dir.list("/empty").expect("a list"), []);
    assert_eq!(dir.list("/none"), Err(UfsError::NotFound("/none".into())));
    assert_eq!(dir.list("/b/2/3"), Err(UfsError::NotFound("/b/2/3".into())));
    assert_eq!(dir.read("/b/2").expect("bytes"), b"22");
    assert!(dir.exists("/b") && dir.exists("/b/1") && !dir.exists("/b/3"));
}

#[test]
fn nothing_leads_out_of_a_directory() {
    let (place, other) = (Place::new("inside"), Place::new("outside"));
    other.put("secret", b"s");
    place.put("in/file", b"f");
    for (link, to) in [("in/out", other.0.clone()), ("in/leak", other.0.join("secret"))] {
        std::os::unix::fs::symlink(to, place.0.join(link)).expect("a link");
    }
    std::os::unix::fs::symlink(place.0.join("in/file"), place.0.join("in/fine")).expect("a link");
    std::os::unix::fs::symlink(&place.0, place.0.join("in/loop")).expect("a link");
    let dir = Directory::open(&place.0).expect("it opens");
    for path in
        ["/../secret", "/in/../../x", "in/file", "/in//file", "/in/./file", "/in/out/secret", "/in/leak"]
    {
        assert!(dir.read(path).is_err(), "{path}");
        assert!(!dir.exists(path), "{path}");
    }
    assert_eq!(dir.read("/in/leak"), Err(UfsError::Outside("/in/leak".into())));
    assert!(dir.write("/in/out/new", b"n").is_err() && !other.0.join("new").exists());
    assert!(dir.write("/in/out/deep/new", b"n").is_err() && !other.0.join("deep").exists());
    assert_eq!(dir.list("/").expect("a list"), [("/in/file".to_owned(), 1), ("/in/fine".to_owned(), 1)]);
    dir.write("/made/new", b"new").expect("written");
    assert_eq!(dir.read("/made/new").expect("bytes"), b"new");
}

fn apply(cache: &Cache, effect: &Effect, path: &str) {
    let call = Call { effect, path, token: &Token("t".into()), fence: Fence::default(), mount: None };
    assert!(matches!(cache.apply(&call), Outcome::Done(_)));
}

fn job(cache: &Cache, path: &str) -> (JobState, i64) {
    match cache.inspect(&Query::LoadJob { path: path.into() }) {
        Ok(Answer::Job(view)) => (view.state, view.loaded_bytes),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_durable_cache_goes_on_where_its_process_was_killed() {
    let (home, data) = (Place::new("home"), Place::new("data"));
    for i in 0..4 {
        data.put(&format!("set/{i}"), &[i; 1_000]);
    }
    let profile = Profile { bytes_per_second: 1_000, ..Profile::alluxio() };
    let open = || {
        let ufs = Arc::new(Directory::open(&data.0).expect("it opens"));
        Cache::open(&home.0, "durable", profile.clone(), ufs).expect("it opens")
    };
    let cache = open();
    cache.advance(5_000_000);
    apply(&cache, &Effect::LoadMetadata { path: 0 }, "/set");
    cache.advance(5_000_000);
    apply(&cache, &Effect::SubmitLoad { path: 0 }, "/set");
    cache.advance(5_002_000);
    assert_eq!(job(&cache, "/set"), (JobState::Running, 2_000));
    drop(cache);
    // A crash between the bytes of a copy and the note of it; and one that is not whole.
    std::fs::write(home.0.join("worker-0").join("orphan"), b"o").expect("written");
    std::fs::write(home.0.join("cache.json.part"), b"{").expect("written");

    let cache = open();
    // Another clock, far behind the first one, and time that nobody saw is not worked through.
    cache.advance(70);
    assert_eq!(job(&cache, "/set"), (JobState::Running, 2_000));
    assert_eq!(cache.cached_files().len(), 2);
    assert!(!home.0.join("worker-0").join("orphan").exists());
    cache.advance(2_070);
    assert_eq!(job(&cache, "/set"), (JobState::Succeeded, 4_000));
    assert_eq!(cache.verify(), Vec::<String>::new());
    assert_eq!(cache.read("/set/3").expect("bytes"), [3; 1_000]);
}

#[test]
fn a_copy_that_is_not_whole_is_none() {
    let (home, data) = (Place::new("torn"), Place::new("torn-data"));
    data.put("f", &[1; 100]);
    let open = || {
        let ufs = Arc::new(Directory::open(&data.0).expect("it opens"));
        Cache::open(&home.0, "durable", Profile { workers: 1, ..Profile::alluxio() }, ufs).expect("it opens")
    };
    let cache = open();
    cache.read("/f").expect("bytes");
    assert_eq!(cache.cached_files().len(), 1);
    drop(cache);
    let worker = home.0.join("worker-0");
    let copy = std::fs::read_dir(worker).expect("a worker").next().expect("a copy").expect("a copy").path();
    std::fs::write(copy, [1; 99]).expect("written");
    let cache = open();
    assert_eq!(cache.cached_files().len(), 0);
    assert_eq!(cache.probe().expect("an answer").used, 0);
}

#[test]
fn one_advance_copies_a_bounded_amount() {
    let files: Vec<(String, Vec<u8>)> = (0..2).map(|i| (format!("/d/{i}"), vec![i; 40 << 20])).collect();
    let ufs = Memory::with(files.iter().map(|(p, b)| (p.as_str(), b.as_slice())));
    let cache = Cache::new("big", Profile::alluxio(), Arc::new(ufs));
    apply(&cache, &Effect::LoadMetadata { path: 0 }, "/d");
    cache.advance(1);
    apply(&cache, &Effect::SubmitLoad { path: 0 }, "/d");
    let seen: Vec<usize> = (0..2)
        .map(|_| {
            cache.advance(2);
            cache.cached_files().len()
        })
        .collect();
    assert_eq!(seen, [1, 2]);
}
