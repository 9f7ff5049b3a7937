# Where things are, what they are called, and how the bench talks. Sourced by bench.sh.
# shellcheck shell=bash

BENCH_DIR=${RATCHET_BENCH_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/ratchet-bench}
BIN=$BENCH_DIR/bin
IMAGES=$BENCH_DIR/images
RUN=$(realpath -m "${RATCHET_BENCH_RUN:-$BENCH_DIR/run}")
LOGS=$RUN/logs
PIDS=$RUN/pids
PKI=$RUN/pki
export RATCHET_BENCH_RUN=$RUN

# One base port; the others follow from it, so that two instances need only two bases.
PORT_BASE=${RATCHET_BENCH_PORT_BASE:-26443}
PORT_APISERVER=$PORT_BASE
PORT_ETCD=$((PORT_BASE + 1))
PORT_ETCD_PEER=$((PORT_BASE + 2))
PORT_CONTROLLER_MANAGER=$((PORT_BASE + 3))
PORT_SCHEDULER=$((PORT_BASE + 4))
PORT_KUBELET=$((PORT_BASE + 5))
PORT_KUBELET_HEALTH=$((PORT_BASE + 6))
PORT_CONTAINERD_STREAM=$((PORT_BASE + 7))
PORT_COREDNS_HEALTH=$((PORT_BASE + 8))

# Names and networks of this instance on the machine: another instance has another run directory and another base.
INSTANCE=$(printf '%s' "$RUN" | sha256sum | cut -c1-6)
NET_OCTET=$((PORT_BASE % 251))
BRIDGE=rbench-$INSTANCE
NODE_IP=10.213.$NET_OCTET.1
POD_CIDR=10.213.$NET_OCTET.0/24
SERVICE_CIDR=10.214.$NET_OCTET.0/24
CGROUP=ratchet-bench-$INSTANCE
NODE_NAME=bench-node

KUBERNETES_VERSION=v1.36.3
ALLUXIO_VERSIONS=(2.9.4 2.9.6)
ALLUXIO_DEFAULT_VERSION=2.9.6
PAUSE_IMAGE=ratchet-bench/pause:1

say() { printf 'bench: %s\n' "$*" >&2; }
die() {
  say "$*"
  exit 1
}

now() { date +%s; }

# The level named by a sub-command's only argument.
level_argument() {
  case ${1:-} in
    api | node) printf '%s' "$1" ;;
    *) die "a level is needed: api or node" ;;
  esac
}

need_root() { [[ $(id -u) == 0 ]] || die "the node level needs root"; }

# wait_for SECONDS WHAT COMMAND...: polls until the command succeeds; false when the time is over.
wait_for() {
  local limit=$1 what=$2 start
  shift 2
  start=$(now)
  until "$@" >/dev/null 2>&1; do
    if (($(now) - start >= limit)); then
      say "$what: not so after $limit s"
      return 1
    fi
    sleep 0.2
  done
}

log_tail() {
  local name=$1 lines=${2:-20}
  [[ -f $LOGS/$name.log ]] || return 0
  say "last lines of $LOGS/$name.log:"
  tail -n "$lines" "$LOGS/$name.log" | cut -c1-400 >&2
}

# One caller at a time changes a run directory. The lock is in the cache, because `down` removes the run directory.
take_run_lock() {
  mkdir -p "$BENCH_DIR/locks"
  exec 9>"$BENCH_DIR/locks/$INSTANCE"
  flock -w 600 9 || die "another bench command has been working on $RUN for ten minutes"
}

# The run directory is removed as a whole, so it must be one that the bench has made: the marker says so.
make_run_directory() {
  if [[ -d $RUN && ! -f $RUN/.ratchet-bench && -n $(ls -A "$RUN") ]]; then
    die "$RUN is not a run directory of the bench, and not empty: set RATCHET_BENCH_RUN to another one"
  fi
  mkdir -p "$RUN" "$LOGS" "$PIDS" "$RUN/ufs"
  touch "$RUN/.ratchet-bench"
}

remove_run_directory() {
  [[ -f $RUN/.ratchet-bench ]] || return 0
  if grep -q " $RUN/" /proc/mounts; then
    die "something is still mounted below $RUN: not removing it"
  fi
  # --one-file-system: should a mount appear after the check, its content is not ours to delete.
  rm -rf --one-file-system "$RUN"
}

kc() { "$BIN/kubectl" --kubeconfig "$RUN/admin.kubeconfig" --cache-dir "$RUN/kubectl-cache" "$@"; }
