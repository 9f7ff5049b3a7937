#!/usr/bin/env bash
# The main job on real input, from nothing: a real Kubernetes node with a real Alluxio, 1,001 files, one DataLoad, the
# controller killed with SIGKILL in the middle, the history, the replay. Needs root (containers), Rust, Go, JDK 17, Maven.
set -euo pipefail
cd "$(dirname "$0")/.."
bench=tests/cluster/bench.sh
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
wait_phase() { kubectl -n try wait --for=condition=Finished --timeout=180s dataload/warm >/dev/null; }

say "1. a real Kubernetes with a real Alluxio 2.9.6 (the first time this builds them: about ten minutes)"
bash "$bench" install
bash "$bench" build node
bash "$bench" up node
eval "$(bash "$bench" env)"
bash "$bench" alluxio list | grep -qw try || bash "$bench" alluxio up try
master=$(bash "$bench" alluxio status try | awk '$1 == "master" {print $2; exit}')
cargo build --quiet --bin ratchet
ratchet=target/debug/ratchet

say "2. the kinds, the policies, the controller's account"
kubectl apply --server-side -f crds >/dev/null
kubectl apply -f charts/ratchet/templates/clusterrole.yaml >/dev/null
kubectl create namespace ratchet-system --dry-run=client -o yaml | kubectl apply -f - >/dev/null
kubectl -n ratchet-system create serviceaccount ratchet --dry-run=client -o yaml | kubectl apply -f - >/dev/null
kubectl create clusterrolebinding ratchet-controller --clusterrole=ratchet-controller \
  --serviceaccount=ratchet-system:ratchet --dry-run=client -o yaml | kubectl apply -f - >/dev/null
config=$RATCHET_BENCH_RUN/try.kubeconfig
token=$(kubectl -n ratchet-system create token ratchet --duration=12h)
(umask 077; cp "$RATCHET_BENCH_RUN/admin.kubeconfig" "$config")
kubectl --kubeconfig "$config" config set-credentials ratchet --token="$token" >/dev/null
kubectl --kubeconfig "$config" config set-context --current --user=ratchet >/dev/null

pid=
start() {
  KUBECONFIG=$config "$ratchet" controller --watch-namespace try --metrics-address "" 2>>"$RATCHET_BENCH_RUN/try.log" &
  pid=$!
}
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true' EXIT

say "3. 1,001 files in the under-storage, none of them cached"
root=$RATCHET_BENCH_UFS/try/root
data=data-$(date +%s)
mkdir -p "$root/$data"
for d in 0 1 2 3 4 5 6 7 8 9; do
  mkdir "$root/$data/$d"
  for f in $(seq 1 100); do head -c 8192 /dev/urandom >"$root/$data/$d/$f"; done
done
head -c 40000000 /dev/urandom >"$root/$data/large"

say "4. kubectl apply of a DataLoad"
if kubectl get namespace try -o name >/dev/null 2>&1; then kubectl -n try delete dataload,dataoperation --all --wait=false >/dev/null; fi
start
for _ in $(seq 1 60); do
  [ -n "$(kubectl -n try get dataoperation -o name 2>/dev/null)" ] || break
  sleep 1
done
kubectl apply -f - <<YAML
apiVersion: ratchet.dev/v1alpha1
kind: CacheCluster
metadata: {name: alluxio, namespace: try}
spec:
  attached:
    masters: ["$master"]
    security: {mode: NoSasl}
---
apiVersion: ratchet.dev/v1alpha1
kind: DataLoad
metadata: {name: warm, namespace: try}
spec:
  target: alluxio
  paths: [/$data]
YAML

say "5. the controller is killed with SIGKILL as soon as the load is at work, and started again"
for _ in $(seq 1 600); do
  step=$(kubectl -n try get dataload warm -o jsonpath='{.status.step}')
  case $step in loadingMetadata | loadingData | verifying | succeeded) break ;; esac
  sleep 0.1
done
kill -9 "$pid"
wait "$pid" 2>/dev/null || true
echo "killed in step $step"
start
wait_phase
kubectl -n try get dataloads.ratchet.dev,dataoperations.ratchet.dev,cacheclusters.ratchet.dev

say "6. what happened, and the proof"
op=$(kubectl -n try get dataload warm -o jsonpath='{.status.operation}')
"$ratchet" history "$op" -n try
"$ratchet" replay "$op" -n try | tail -1
bash "$bench" alluxio exec try -- fs ls "/$data" | awk '/large/ {print "Alluxio says of the large file: " $0}'

say "done. Look around: eval \"\$(tests/cluster/bench.sh env)\"; take it down: tests/cluster/bench.sh down"
