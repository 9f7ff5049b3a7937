//! Do the examples hold: is there one a kind, does it say what it is for, does it parse, is it sound?

#![allow(clippy::expect_used, clippy::panic, reason = "a test ends at the first thing that goes wrong")]

use ratchet::api::{
    CacheCluster, DataLoad, DataOperation, Dataset, OperationJournal, Request, TargetLock, Upgrade,
};
use ratchet_state_machine::journal::replay;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path());
    let (folders, mut files): (Vec<_>, Vec<_>) = entries.partition(|p| p.is_dir());
    files.extend(folders.iter().flat_map(|f| self::files(f)));
    files
}

fn parse<K: DeserializeOwned>(path: &Path, text: &str) -> K {
    // By way of JSON, as kubectl does it: YAML has a notation of its own for enums.
    let value: serde_json::Value = serde_yaml_ng::from_str(text).expect("YAML");
    serde_json::from_value(value).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn there_is_one_a_kind_that_parses_and_says_what_it_is_for() {
    let mut kinds = BTreeSet::new();
    for path in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("crds/examples")) {
        let text = std::fs::read_to_string(&path).expect("readable");
        assert!(text.starts_with("# "), "{} does not begin with what it is for", path.display());
        let value: serde_json::Value = parse(&path, &text);
        let kind = value["kind"].as_str().expect("a kind").to_owned();
        match kind.as_str() {
            "CacheCluster" => drop(parse::<CacheCluster>(&path, &text)),
            "DataLoad" => {
                let load: DataLoad = parse(&path, &text);
                assert_eq!(load.operation().problems(), Vec::<String>::new());
            }
            "Upgrade" => {
                let upgrade: Upgrade = parse(&path, &text);
                assert_eq!(upgrade.operation().problems(), Vec::<String>::new());
            }
            "DataOperation" => {
                let operation: DataOperation = parse(&path, &text);
                assert_eq!(operation.spec.problems(), Vec::<String>::new());
            }
            "Dataset" => drop(parse::<Dataset>(&path, &text)),
            "TargetLock" => drop(parse::<TargetLock>(&path, &text)),
            "OperationJournal" => sound(&parse::<OperationJournal>(&path, &text)),
            other => panic!("{}: no kind is called {other}", path.display()),
        }
        kinds.insert(kind);
    }
    let all =
        ["CacheCluster", "DataLoad", "DataOperation", "Dataset", "OperationJournal", "TargetLock", "Upgrade"];
    assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), all);
}

/// The example of a journal is a real one: it replays.
fn sound(journal: &OperationJournal) {
    let spec = journal.spec.spec.as_deref().expect("the first segment has the spec");
    let spec = serde_json::from_str(spec).expect("a spec");
    let steps = replay(&journal.spec.uid, &spec, &journal.spec.entries).expect("a sound journal");
    let last = steps.last().expect("entries");
    assert_eq!(last.after.digest, journal.spec.digest);
    assert_eq!(last.after.state.phase().name(), journal.spec.phase);
}
