//! Does `ratchet demo` show what it says, leave nothing behind, and touch nothing of the user's?

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod dev_process;

use dev_process::Scratch;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// The demo, with its temporary files in `scratch`.
fn demo(scratch: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ratchet"));
    command.arg("demo").args(args).env("TMPDIR", scratch).stdin(Stdio::null());
    command
}

fn names(directory: &Path) -> Vec<String> {
    std::fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

/// Every file below a directory, with its bytes.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.insert(path.display().to_string(), std::fs::read(path).unwrap());
        }
    }
    all
}

/// Lines that begin with `ok`, cut to what does not change from run to run.
const CLAIMS: [&str; 18] = [
    "Ready, with 3 workers",
    "before the call, this stood in the status: will submitLoad",
    "nobody is there: the cache copied",
    "taken over after",
    "nobody is there: the cache copied",
    "the cache was asked to load once: 2 effects with 2 tokens",
    "nothing was loaded twice: 60 files, each read once",
    "all 60 copies have the bytes of their files",
    "one history, written by 3 controllers, two of them dead",
    "folded from nothing, it gives the state that the object has",
    "30 files of ",
    "load-a and free-b held the lock at the same time; meanwhile free-a: WaitingForLock",
    "free-a was let in after load-a had ended",
    "Bound: 12 files of a second store are in the cache's namespace",
    "two edits, two operations; the mount was changed and never removed",
    "it is unmounted before it is gone; the store has its 12 files",
    "the replay names the very entry",
    "the chain is sound by itself, and the digest that the lock kept gives it away",
];

fn told(text: &str) {
    let claims: Vec<&str> = text.lines().filter_map(|l| l.trim_start().strip_prefix("ok ")).collect();
    assert_eq!(claims.len(), CLAIMS.len(), "{text}");
    for (claim, wanted) in claims.iter().zip(CLAIMS) {
        assert!(claim.starts_with(wanted), "{claim:?} is not {wanted:?}:\n{text}");
    }
    assert_eq!(
        text.lines().filter(|l| l.trim_start().starts_with("killed: controller-")).count(),
        3,
        "{text}"
    );
    assert!(text.contains(", confirmed by the object and the lock"), "{text}");
    assert!(!text.contains('\x1b'), "colour was written into a pipe: {text}");
}

#[test]
fn every_step_holds_and_nothing_is_left() {
    let scratch = Scratch::new();
    let out = demo(&scratch.0, &["--files", "60", "--plain"]).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{text}\n{}", String::from_utf8_lossy(&out.stderr));
    told(&text);
    assert_eq!(names(&scratch.0), [""; 0]);
}

#[test]
fn a_directory_of_the_user_is_only_read() {
    let (scratch, own) = (Scratch::new(), Scratch::new());
    for (folder, count) in [("a: b", 30), ("ü", 20), ("c", 10)] {
        let folder = own.0.join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        for n in 0..count {
            std::fs::write(folder.join(format!("file {n}")), vec![n; 20_000]).unwrap();
        }
    }
    let before = files(&own.0);
    let out = demo(&scratch.0, &["--path", own.0.to_str().unwrap()]).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{text}\n{}", String::from_utf8_lossy(&out.stderr));
    told(&text);
    assert_eq!(files(&own.0), before);
    assert_eq!(names(&scratch.0), [""; 0]);
}

#[test]
fn an_interrupted_demo_leaves_nothing() {
    let scratch = Scratch::new();
    let mut child =
        demo(&scratch.0, &["--files", "60"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|l| l.unwrap().contains("killed: ")), "it gets as far as that");
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    while lines.next().is_some() {}
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(names(&scratch.0), [""; 0]);
}

#[test]
fn what_cannot_be_used_is_refused_with_a_sentence() {
    let (scratch, own) = (Scratch::new(), Scratch::new());
    let refused = |args: &[&str]| {
        let out = demo(&scratch.0, args).output().unwrap();
        assert!(!out.status.success());
        String::from_utf8_lossy(&out.stderr).into_owned()
    };
    let said = refused(&["--path", own.0.to_str().unwrap()]);
    assert!(said.contains("name one with 10 files"), "{said}");
    assert!(refused(&["--path", "/no/such/place"]).contains("name a directory"));
    assert!(refused(&["--files", "3"]).contains("40..=20000"));
    assert_eq!(names(&scratch.0), [""; 0]);
}
