//! Random sequences that once showed a difference, made smaller: `pinned/NAME.json`, one a file.

use crate::cluster::runtime;
use crate::play::{compare, play};
use crate::real::Real;
use crate::recorded;
use crate::side::Side;
use crate::step::Sequence;
use crate::universe::Names;
use std::path::Path;

#[test]
fn what_once_differed_is_answered_alike() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/pinned");
    // No folder: nothing is pinned.
    let mut files: Vec<_> =
        std::fs::read_dir(root).into_iter().flatten().map(|f| f.expect("a file").path()).collect();
    files.sort();
    let real = Real::get();
    let group = real.map_or("nobench.conformance.ratchet.dev", |r| &r.group);
    for file in files {
        let name = format!("pinned-{}", file.file_stem().expect("a name").to_string_lossy());
        let text = std::fs::read_to_string(&file).expect("readable");
        let sequence: Sequence = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let names = Names::new(group, "nobench-0");
        let shown = runtime().block_on(play(&Side::simulator(&names), &names, &sequence, None));
        recorded::compare_with(&name, &shown);
        let Some(real) = real else { continue };
        runtime().block_on(async {
            let names = real.borrow().await;
            let answers = play(&Side::Real(real), &names, &sequence, Some(&shown)).await;
            recorded::record(&name, &answers);
            let difference = compare(&answers, &shown);
            assert!(
                difference.is_none(),
                "{name}: the real server and the simulator differ: {difference:#?}"
            );
            real.give_back(names);
        });
    }
}
