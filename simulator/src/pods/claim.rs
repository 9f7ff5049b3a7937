//! Claims: each is bound at once, to a volume that nobody looks at.

use super::act::{Act, Table};
use super::look::{self, World};
use serde_json::json;

/// Binds what is not bound.
pub(super) fn step(world: &World, acts: &mut Vec<Act>) {
    for claim in world.claims.iter().filter(|c| c["status"]["phase"] != "Bound" && !look::terminating(c)) {
        let mut status = json!({"phase": "Bound"});
        for (field, said) in [
            ("accessModes", &claim["spec"]["accessModes"]),
            ("capacity", &claim["spec"]["resources"]["requests"]),
        ] {
            if !said.is_null() {
                look::set(&mut status, &[field], said.clone());
            }
        }
        acts.push(Act::Status {
            table: Table::Claims,
            namespace: look::namespace(claim).into(),
            name: look::name(claim).into(),
            uid: look::uid(claim).into(),
            status,
        });
    }
}
