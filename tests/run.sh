#!/usr/bin/env bash
# Runs every test: installs and builds what the bench needs (first time: about ten minutes), then `cargo test`.
# Without root the node level cannot run; the tests that need it then say so on one line (with CI set they fail).
# With arguments they go to `cargo test`. Without any, tests that only compute run beside those that wait for the bench,
# niced so that they do not slow them down; what they printed comes at the end.
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
if [ $# -gt 0 ]; then
  cargo test --workspace --no-fail-fast "$@"
  exit
fi
computing=(--test catalogue_simulated --test protocol --test seeds)
others=()
for file in {.,simulator,state-machine}/tests/*.rs tests/*/main.rs; do
  name=$(basename "${file%/main.rs}" .rs)
  [[ " ${computing[*]} " == *" $name "* ]] || others+=(--test "$name")
done
cargo test --workspace --no-run
log=$(mktemp)
{
  at_once=0
  nice -n 19 cargo test --workspace --no-fail-fast --lib "${computing[@]}" || at_once=$?
  nice -n 19 cargo test --workspace --doc || at_once=$?
  exit "$at_once"
} >"$log" 2>&1 &
beside=$!
failed=0
cargo test --workspace --no-fail-fast --bins "${others[@]}" || failed=$?
wait "$beside" || failed=$?
cat "$log"
rm -f "$log"
exit "$failed"
