#!/usr/bin/env bash
# Ratchet's test bench: a real Kubernetes control plane, and if asked a real node with a real Alluxio, on this machine.
# README.md beside this file says what it is and how to use it.
set -euo pipefail

BENCH_HOME=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly BENCH_HOME

# shellcheck source=lib/common.sh
source "$BENCH_HOME/lib/common.sh"
# shellcheck source=lib/process.sh
source "$BENCH_HOME/lib/process.sh"
# shellcheck source=lib/doctor.sh
source "$BENCH_HOME/lib/doctor.sh"
# shellcheck source=lib/build.sh
source "$BENCH_HOME/lib/build.sh"
# shellcheck source=lib/images.sh
source "$BENCH_HOME/lib/images.sh"
# shellcheck source=lib/api.sh
source "$BENCH_HOME/lib/api.sh"
# shellcheck source=lib/node.sh
source "$BENCH_HOME/lib/node.sh"
# shellcheck source=lib/alluxio.sh
source "$BENCH_HOME/lib/alluxio.sh"

usage() {
  cat <<'USAGE'
usage: bench.sh COMMAND
  doctor api|node      say what this machine lacks for the level; exit 1 if anything
  install              install the missing Debian packages (needs root)
  build api|node       build the programs and images of the level into the cache
  up api|node          start what is not running of the level, and wait until it is ready
  env                  print the export lines a test needs
  status               say of each component whether it runs
  down [api|node]      stop the level and everything above it (default: all), leaving nothing but the cache
  alluxio up NAME [--version V] [--masters 1|3] [--workers N] [--worker-storage emptydir|hostpath]
                  [--set key=value]...
  alluxio down NAME | list | status NAME | logs NAME [POD]
  alluxio exec NAME -- ARGS...      the file system shell, for example: fs stat /data
levels: api  = etcd, kube-apiserver, kube-controller-manager
        node = api, and kube-scheduler, containerd, kubelet, CoreDNS
variables: RATCHET_BENCH_DIR (cache), RATCHET_BENCH_RUN (run directory), RATCHET_BENCH_PORT_BASE (26443)
USAGE
}

main() {
  local command=${1:-}
  [[ $# -gt 0 ]] && shift
  case $command in
    doctor) doctor "$@" ;;
    install) install_packages "$@" ;;
    build) build "$@" ;;
    up) up "$@" ;;
    env) print_env "$@" ;;
    status) status "$@" ;;
    down) down "$@" ;;
    alluxio) alluxio "$@" ;;
    help | -h | --help) usage ;;
    *)
      usage >&2
      exit 2
      ;;
  esac
}

up() {
  local level
  level=$(level_argument "$@")
  take_run_lock
  api_up
  if [[ $level == node ]]; then node_up; fi
}

# A level cannot outlive what it stands on: taking the api level down takes the node down first.
down() {
  local level=${1:-all}
  case $level in
    node)
      take_run_lock
      node_down
      ;;
    api | all)
      take_run_lock
      node_down
      api_down
      remove_run_directory
      ;;
    *) die "down: api or node expected, not '$level'" ;;
  esac
}

status() {
  api_status
  node_status
}

print_env() {
  cat <<ENV
export KUBECONFIG=$(printf %q "$RUN/admin.kubeconfig")
export RATCHET_BENCH_RUN=$(printf %q "$RUN")
export RATCHET_BENCH_UFS=$(printf %q "$RUN/ufs")
export PATH=$(printf %q "$BIN"):\$PATH
ENV
}

main "$@"
