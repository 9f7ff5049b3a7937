#!/usr/bin/env bash
# Runs every test: installs and builds what the bench needs (first time: about ten minutes), then `cargo test`.
# Without root the node level cannot run; the tests that need it then say so on one line (with CI set they fail).
set -euo pipefail
cd "$(dirname "$0")/.."
bench=tests/cluster/bench.sh
level=api
if [ "$(id -u)" = 0 ]; then
  level=node
  bash "$bench" install
fi
bash "$bench" build "$level"
# A bench that was already up before is left up; one that this run starts is taken down again.
if bash "$bench" status 2>/dev/null | grep -Eq '^kube-apiserver +running'; then keep=yes; else keep=no; fi
trap '[ "$keep" = yes ] || bash "$bench" down' EXIT
bash "$bench" up "$level"
cargo test --workspace --no-fail-fast "$@"
