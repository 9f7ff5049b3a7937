//! ```text
//! proto/alluxio/*.proto --build.rs--> alluxio.grpc.*.rs --included here--> grpc::{block, file, ...}
//! ```
//! The messages as generated, nested as their packages are, because generated code refers
//! to a neighbouring package by `super`. They never leave this client: every public type
//! is written by hand beside the call that answers it. There is no generated service code.

#[allow(
    clippy::all,
    clippy::pedantic,
    dead_code,
    reason = "generated; enums carry values that are only received"
)]
pub(super) mod grpc {
    include!(concat!(env!("OUT_DIR"), "/alluxio.grpc.rs"));

    pub(in super::super) mod block {
        include!(concat!(env!("OUT_DIR"), "/alluxio.grpc.block.rs"));
    }
    pub(in super::super) mod file {
        include!(concat!(env!("OUT_DIR"), "/alluxio.grpc.file.rs"));
    }
    pub(in super::super) mod journal {
        include!(concat!(env!("OUT_DIR"), "/alluxio.grpc.journal.rs"));
    }
    pub(in super::super) mod meta {
        include!(concat!(env!("OUT_DIR"), "/alluxio.grpc.meta.rs"));
    }
    pub(in super::super) mod metric {
        include!(concat!(env!("OUT_DIR"), "/alluxio.grpc.metric.rs"));
    }
    pub(in super::super) mod sasl {
        include!(concat!(env!("OUT_DIR"), "/alluxio.grpc.sasl.rs"));
    }
    pub(in super::super) mod version {
        include!(concat!(env!("OUT_DIR"), "/alluxio.grpc.version.rs"));
    }
}

use grpc::TtlAction;
use grpc::file::CommonOptions;

/// The options that every file call carries.
///
/// Absent, the master takes the proto2 defaults ttl = 0 and action DELETE for each inode
/// that the call creates, and its TTL checker then deletes the files in the under-storage
/// (seen on 2.9.6). `-1` is "no ttl"; FREE is the harmless action; `-1` for the interval
/// is "do not sync on the way".
pub(super) const fn safe_options() -> CommonOptions {
    CommonOptions { sync_interval_ms: Some(-1), ttl: Some(-1), ttl_action: Some(TtlAction::Free as i32) }
}
