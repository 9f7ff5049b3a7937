//! Compiles the engines' wire formats. `protox` parses the `.proto` files in Rust, so
//! that no `protoc` binary is needed; only messages are generated, because the calls
//! themselves are listed in `src/engine/alluxio/client/calls.rs`.

use std::error::Error;

const PROTO_ROOT: &str = "proto";

const PROTOS: [&str; 9] = [
    "alluxio/common.proto",
    "alluxio/sasl.proto",
    "alluxio/version.proto",
    "alluxio/meta.proto",
    "alluxio/block.proto",
    "alluxio/journal.proto",
    "alluxio/worker.proto",
    "alluxio/file.proto",
    "alluxio/metric.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    for proto in PROTOS {
        println!("cargo:rerun-if-changed={PROTO_ROOT}/{proto}");
    }
    let descriptors = protox::compile(PROTOS, [PROTO_ROOT])?;
    tonic_prost_build::configure()
        .build_client(false)
        .build_server(false)
        .btree_map(".")
        .compile_fds(descriptors)?;
    Ok(())
}
