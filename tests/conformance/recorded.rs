//! What the real server answered when a case was last recorded: the simulator is held against it also where there is no
//! bench. `RATCHET_CONFORMANCE_RECORD=1` writes it anew.

use crate::play::{Play, compare};
use std::path::PathBuf;

fn file(name: &str) -> PathBuf {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/conformance/recorded").join(format!("{name}.json"))
}

/// Writes down what the real server showed, where that is asked for.
pub fn record(name: &str, shown: &Play) {
    if std::env::var_os("RATCHET_CONFORMANCE_RECORD").is_some() {
        let text = serde_json::to_string_pretty(shown).expect("JSON") + "\n";
        std::fs::write(file(name), text).expect("the record is written");
    }
}

/// Holds what the simulator showed against the record.
pub fn compare_with(name: &str, shown: &Play) {
    if std::env::var_os("RATCHET_CONFORMANCE_RECORD").is_some() {
        return;
    }
    let text = std::fs::read_to_string(file(name)).unwrap_or_else(|e| panic!("{name} is not recorded: {e}"));
    let recorded: Play = serde_json::from_str(&text).expect("a record");
    if let Some(difference) = compare(&recorded, shown) {
        panic!("{name}: the simulator differs from what the real server answered: {difference:#?}");
    }
}
