//! The rules of a schema (`x-kubernetes-validations`).
//!
//! ```text
//!   text --cel's parser--> its tree --lower--> Code (names resolved, constants folded, regexes ready)
//!   Code x (self, oldSelf as JSON with their schema) --eval--> true, false or a fault
//! ```
//!
//! The parser and the rare functions are those of `cel` and `kube-cel`; the evaluator is one of its own, because
//! theirs (0.13, 0.8) knows no macros of two variables (`tail.all(i, e, ..)`), answers `false` for a field of what
//! is no map, compares set and map lists in order, pairs the items of atomic lists with old ones, and copies a
//! subtree for each step of a path. This one reads the JSON in place.
//!
//! Followed from the real server, although surprising: `optionalOldSelf` gives the old value without its schema (a
//! date-time is a string there, and so differs from itself); date-times are compared as instants; of two objects of
//! the same size, a field that the schema does not know and only the new one has makes no difference.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "rules are typed while they run: what no arm takes is always the same fault"
)]

mod calls;
mod code;
mod convert;
mod equal;
mod eval;
mod foreign;
mod lower;
mod operators;
mod rule;
mod value;
mod walk;

pub use rule::Rule;
pub use walk::check;
